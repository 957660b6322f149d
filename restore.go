package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"muster/admin/audit"
	"muster/registry/store"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// unfinishedName is in a folder while a backup is restored into it: a gateway does not start with it.
const unfinishedName = "restore-unfinished"

// errUnfinished refuses a folder that was restored in part.
func errUnfinished(dir string) error {
	return fmt.Errorf("the restore into %q did not end: empty the folder and run muster restore again", dir)
}

// findings are what a backup holds and what is wrong with it.
type findings struct {
	manifest *manifest
	seen     map[string]bool
	problems []string
	files    int
	bytes    int64

	telemetry  tsdb.Report
	registry   store.Contents
	auditLines uint64
}

func (f *findings) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// readAll reads the backup at from and compares every file with the manifest. target, where it is not "", gets a copy of each. An
// error is one of reading or writing as such; damage is in the findings.
func (f *findings) readAll(ctx context.Context, from, target string) error {
	f.seen = map[string]bool{}
	err := eachFile(ctx, from, func(m *manifest) error { f.manifest = m; return nil },
		func(file manifestFile, known bool, r io.Reader) error {
			if !known || f.seen[file.Name] {
				f.problem("%s: is not in the manifest", file.Name)
				return nil
			}
			f.seen[file.Name] = true
			if target == "" {
				return f.readOne(file, r, io.Discard)
			}
			out, err := createFor(target, file.Name)
			if err != nil {
				return err
			}
			return errors.Join(f.readOne(file, r, out), out.Sync(), out.Close())
		})
	if f.manifest == nil {
		return err
	}
	if err != nil && isDamage(err) {
		f.problem("%v", err)
		err = nil
	}
	for _, file := range f.manifest.Files {
		if !f.seen[file.Name] {
			f.problem("%s: is missing", file.Name)
		}
	}
	return err
}

// isDamage says whether an error is about what the backup holds, and not about the disk that it is copied to.
func isDamage(err error) bool {
	var path *fs.PathError
	return !errors.As(err, &path) && !errors.Is(err, context.Canceled)
}

func (f *findings) readOne(file manifestFile, r io.Reader, to io.Writer) error {
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(sum, to), io.LimitReader(r, file.SizeBytes+1))
	if err != nil {
		return err
	}
	f.files, f.bytes = f.files+1, f.bytes+size
	if size != file.SizeBytes || hex.EncodeToString(sum.Sum(nil)) != file.SHA256 {
		f.problem("%s: is not what was backed up: its size or checksum is another", file.Name)
	}
	return nil
}

func createFor(target, name string) (*os.File, error) {
	path := filepath.Join(target, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	perm := fs.FileMode(0o600)
	if name == "ca.pem" {
		perm = 0o644
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
}

// readDeep checks what the files of dir say: every checksum and value of the telemetry, the registry, and the audit log's chain.
func (f *findings) readDeep(ctx context.Context, dir string) {
	var err error
	if f.telemetry, err = tsdb.Fsck(filepath.Join(dir, "tsdb"), readOnly{}); err != nil {
		f.problem("%v", err)
	}
	for _, d := range f.telemetry.Damage {
		f.problem("tsdb/%s: %s", d.File, d.Text)
	}
	if f.registry, err = store.Check(ctx, filepath.Join(dir, "registry.db")); err != nil {
		f.problem("%v", err)
	}
	if f.auditLines, err = audit.Verify(readOnly{}, dir); err != nil {
		f.problem("%v", err)
	}
}

// print writes what the backup has, and what is wrong with it.
func (f *findings) print(out io.Writer) {
	fmt.Fprintf(out, "made %s by muster %s: %d files, %d bytes\n",
		time.UnixMilli(f.manifest.CreatedMs).UTC().Format(time.RFC3339), f.manifest.Version, f.files, f.bytes)
	fmt.Fprintf(out, "%d things, %d certificates, %d users; %d samples in %d blocks, %d log groups; %d audit lines\n",
		f.registry.Things, f.registry.Certificates, f.registry.Users, f.telemetry.Samples, f.telemetry.Blocks, f.telemetry.Groups, f.auditLines)
	for _, problem := range f.problems {
		fmt.Fprintln(out, problem)
	}
}

func verifyCommand(ctx context.Context, args []string, out, _ io.Writer) error {
	flags := flag.NewFlagSet("backup verify", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() { fmt.Fprint(out, backupHelp) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name one backup: a folder, or a file that ends in .tar.zst")
	}
	from, f := flags.Arg(0), &findings{}
	if !isArchive(from) {
		if err := f.readAll(ctx, from, ""); err != nil {
			return err
		}
		f.readDeep(ctx, from)
	} else if err := f.verifyArchive(ctx, from); err != nil {
		return err
	}
	f.print(out)
	if n := len(f.problems); n > 0 {
		return fmt.Errorf("%d problems: make another backup, or restore what is good of this one with muster restore --damaged", n)
	}
	_, err := fmt.Fprintln(out, "no damage")
	return err
}

// verifyArchive unpacks an archive into a temporary folder, since a database is not read out of a stream.
func (f *findings) verifyArchive(ctx context.Context, from string) (err error) {
	dir, err := os.MkdirTemp("", "muster-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := f.readAll(ctx, from, dir); err != nil {
		return fmt.Errorf("unpack into %q (TMPDIR names another place): %w", dir, err)
	}
	f.readDeep(ctx, dir)
	return nil
}

const restoreHelp = `muster restore: makes a data folder out of a backup, and reads every byte of it.

  muster restore --from /media/usb/muster-2026-03-01 --data-dir /var/lib/muster
  muster restore --from /media/usb/muster-2026-03-01.tar.zst --data-dir /var/lib/muster

Do not run the old gateway and the restored one side by side: they are the same to devices.

`

func restoreCommand(ctx context.Context, args []string, out, _ io.Writer) error {
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	flags.SetOutput(out)
	from := flags.String("from", "", "the backup: a `folder`, or a file that ends in .tar.zst")
	dataDir := flags.String("data-dir", "", "new or empty `folder`")
	damaged := flags.Bool("damaged", false, "restore what is there although some of it is damaged")
	flags.Usage = func() {
		fmt.Fprint(out, restoreHelp)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *from == "" || *dataDir == "" || flags.NArg() > 0 {
		return errors.New("name the backup with --from and the new folder with --data-dir")
	}
	f := &findings{}
	if err := f.restore(ctx, *from, *dataDir, *damaged); err != nil {
		if f.manifest != nil && len(f.problems) > 0 {
			f.print(out)
		}
		return err
	}
	f.print(out)
	fmt.Fprintf(out, "restored to %s\n", *dataDir)
	if !f.manifest.UnlockKey {
		fmt.Fprintf(out, "before the start: put the old gateway's unlock key to %s, or name it with --pki.unlock-file, or its passphrase with --pki.passphrase-file\n",
			filepath.Join(*dataDir, filepath.FromSlash(backupUnlockKey)))
	}
	return nil
}

// restore copies a backup into a new folder. The folder has a mark until everything in it was checked; on an error it is emptied.
func (f *findings) restore(ctx context.Context, from, dir string, acceptDamage bool) (err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, unfinishedName)); err == nil {
		return errUnfinished(dir)
	}
	for _, entry := range entries {
		if entry.Name() != "lost+found" { // of a disk of its own
			return fmt.Errorf("%q is not empty: restore into a new folder", dir)
		}
	}
	files := vfs.OS{}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := files.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	mark := filepath.Join(dir, unfinishedName)
	if err := files.WriteFile(mark, nil, 0o600); err != nil {
		return errors.Join(err, lock.Close())
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	err = f.readAll(ctx, from, dir)
	if err == nil {
		f.readDeep(ctx, dir)
		if n := len(f.problems); n > 0 && !acceptDamage {
			err = fmt.Errorf("%d problems, so nothing was restored: take another backup, or what is good of this one with --damaged", n)
		}
	}
	if err == nil {
		err = syncFolders(files, dir)
	}
	if err != nil {
		return errors.Join(err, empty(dir))
	}
	return errors.Join(os.Remove(mark), files.SyncDir(dir))
}

// syncFolders makes all names below dir durable.
func syncFolders(files vfs.FS, dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || entry.Name() == "lost+found" {
			return err
		}
		return files.SyncDir(name)
	})
}

// empty removes what a restore has put into dir, the mark last.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, entry := range entries {
		if name := entry.Name(); name != "lost+found" && name != unfinishedName {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, unfinishedName))
}

// readOnly is the machine's file system for checks of a backup, which may lie on a medium that cannot be written and has no
// process of its own.
type readOnly struct{ vfs.OS }

// Lock locks nothing.
func (readOnly) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Open opens a file for reading.
func (readOnly) Open(name string) (vfs.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

type readOnlyFile struct{ *os.File }

func (f readOnlyFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Allocate refuses: the file is open for reading.
func (f readOnlyFile) Allocate(int64) error {
	return &fs.PathError{Op: "allocate", Path: f.Name(), Err: fs.ErrPermission}
}
