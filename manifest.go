package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"muster/tsdb/vfs"
)

// The manifest of a backup. Layout: docs/formats/backup.md.
const (
	manifestName    = "manifest.json"
	manifestSumName = "manifest.sha256"
	manifestFormat  = 1
	maxManifest     = 64 << 20
)

// manifest lists what a backup holds.
type manifest struct {
	Format    int            `json:"format"`
	Version   string         `json:"version"` // of the muster that made it
	CreatedMs int64          `json:"createdMs"`
	UnlockKey bool           `json:"unlockKey"` // the key that unlocks the CA is in it
	Files     []manifestFile `json:"files"`     // by name
}

type manifestFile struct {
	Name      string `json:"name"` // slash path
	SizeBytes int64  `json:"sizeBytes"`
	SHA256    string `json:"sha256"` // hex
}

func (m *manifest) find(name string) (manifestFile, bool) {
	i, ok := slices.BinarySearchFunc(m.Files, name, func(f manifestFile, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return manifestFile{}, false
	}
	return m.Files[i], true
}

// hashFiles lists the files below dir, by name.
func hashFiles(ctx context.Context, dir string) (list []manifestFile, err error) {
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		inside, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		sum := sha256.New()
		size, err := io.Copy(sum, contextReader{ctx, file})
		list = append(list, manifestFile{filepath.ToSlash(inside), size, hex.EncodeToString(sum.Sum(nil))})
		return errors.Join(err, file.Close())
	})
	slices.SortFunc(list, func(a, b manifestFile) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// contextReader ends reading with ctx.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// sumLine is the text of manifest.sha256, which sha256sum --check reads too.
func sumLine(text []byte) string {
	return fmt.Sprintf("%x  %s\n", sha256.Sum256(text), manifestName)
}

func (m *manifest) write(files vfs.FS, dir string) error {
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	return errors.Join(files.WriteFile(filepath.Join(dir, manifestName), text, 0o600),
		files.WriteFile(filepath.Join(dir, manifestSumName), []byte(sumLine(text)), 0o600))
}

// parseManifest checks a manifest with its sum. Names that lead out of the backup are refused.
func parseManifest(text, sum []byte) (*manifest, error) {
	if string(sum) != sumLine(text) {
		return nil, fmt.Errorf("%s or %s is damaged", manifestName, manifestSumName)
	}
	m := &manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("the backup has format %d and this muster reads %d: use the muster that wrote it, %s", m.Format, manifestFormat, m.Version)
	}
	for i, f := range m.Files {
		local, err := filepath.Localize(f.Name)
		if err != nil || filepath.Clean(local) != local || i > 0 && m.Files[i-1].Name >= f.Name || f.SizeBytes < 0 {
			return nil, fmt.Errorf("%s: file %q is not one that a backup has", manifestName, f.Name)
		}
	}
	return m, nil
}

// eachFile hands the manifest of the backup at from, a folder or an archive, to begin and then each file to use, with its
// manifest entry. What is there besides is reported to use with known false.
func eachFile(ctx context.Context, from string, begin func(*manifest) error, use func(f manifestFile, known bool, r io.Reader) error) error {
	if isArchive(from) {
		return eachInArchive(ctx, from, begin, use)
	}
	text, err := readBounded(filepath.Join(from, manifestName))
	if err != nil {
		return fmt.Errorf("this is no backup, or not a whole one: %w", err)
	}
	sum, err := readBounded(filepath.Join(from, manifestSumName))
	if err != nil {
		return fmt.Errorf("this is no backup, or not a whole one: %w", err)
	}
	m, err := parseManifest(text, sum)
	if err == nil {
		err = begin(m)
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		inside = filepath.ToSlash(inside)
		if inside == manifestName || inside == manifestSumName {
			return nil
		}
		f, known := m.find(inside)
		if !known || !entry.Type().IsRegular() {
			return use(manifestFile{Name: inside}, false, nil)
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(use(f, true, contextReader{ctx, file}), file.Close())
	})
}

func eachInArchive(ctx context.Context, from string, begin func(*manifest) error, use func(f manifestFile, known bool, r io.Reader) error) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	unpack, err := zstd.NewReader(contextReader{ctx, file}, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer unpack.Close()
	archive := tar.NewReader(unpack)
	var m *manifest
	var text []byte
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// The checksum of the whole stands behind the archive's end.
			if _, err := io.Copy(io.Discard, unpack); err != nil {
				return fmt.Errorf("the archive is damaged: %w", err)
			}
			if m == nil {
				return errors.New("this is no backup: the archive has no manifest")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the archive is damaged or cut off: %w", err)
		}
		switch {
		case text == nil && head.Name == manifestName:
			if text, err = io.ReadAll(io.LimitReader(archive, maxManifest)); err != nil {
				return fmt.Errorf("the archive is damaged: %w", err)
			}
		case m == nil:
			sum, err := io.ReadAll(io.LimitReader(archive, 1024))
			if err != nil {
				return fmt.Errorf("the archive is damaged: %w", err)
			}
			if text == nil || head.Name != manifestSumName {
				return errors.New("this is no backup: the archive does not begin with a manifest")
			}
			if m, err = parseManifest(text, sum); err == nil {
				err = begin(m)
			}
			if err != nil {
				return err
			}
		default:
			f, known := m.find(head.Name)
			if !known || head.Typeflag != tar.TypeReg {
				f, known = manifestFile{Name: head.Name}, false
			}
			if err := use(f, known, archive); err != nil {
				return err
			}
		}
	}
}

// writeArchive packs the folder of a backup into the new file to, as long as room says that a file of a size fits. On an error no
// file is left.
func writeArchive(ctx context.Context, dir, to string, room func(sizeBytes int64) error) (err error) {
	partial := to + partialSuffix
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the gateway cannot write the backup: %w", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err == nil {
			if err = os.Rename(partial, to); err == nil {
				err = vfs.OS{}.SyncDir(filepath.Dir(to))
			}
		}
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(partial)))
		}
	}()
	pack, err := zstd.NewWriter(file, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	archive := tar.NewWriter(pack)
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	m := &manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return err
	}
	names := []string{manifestName, manifestSumName} // first, so that a reader knows what to expect
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	for _, name := range names {
		if err := addToArchive(ctx, archive, dir, name, room); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), pack.Close(), file.Sync())
}

func addToArchive(ctx context.Context, archive *tar.Writer, dir, name string, room func(sizeBytes int64) error) error {
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := room(info.Size()); err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, contextReader{ctx, file})
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
