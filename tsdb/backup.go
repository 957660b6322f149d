package tsdb

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"muster/tsdb/vfs"
)

// backupFile is one file of a backup, held open so that it can be read also after it was removed or replaced.
type backupFile struct {
	name      string
	file      vfs.File
	segment   *segment // of which file is, else nil
	log       uint64   // number of a log file, else 0
	sizeBytes int64
}

// Backup makes the folder dir, which must not exist, with a copy of the store as it is now: every row and deletion that was
// acknowledged before the call is in it, and Open or Fsck take it as they take the store's own folder. It is durable when
// Backup returns.
//
// Segments, which never change, become hard links where the file system has them, and copies elsewhere; the checkpoint and the log
// are copied. Rows are taken meanwhile: only the list of files is made while the keeper waits. Copies leave keepFree bytes free
// (vfs.ErrNoRoom). After an error dir may hold a part, which the caller removes.
func (s *Store) Backup(ctx context.Context, dir string, keepFree int64) error {
	if err := s.opts.FS.MkdirAll(dir, folderPerm); err != nil {
		return err
	}
	files, err := s.backupSet(ctx)
	defer func() {
		for _, f := range files {
			f.close(s)
		}
	}()
	if err != nil {
		return fmt.Errorf("list the files of the twin store: %w", err)
	}
	for _, f := range files {
		if err := s.backupOne(ctx, f, path.Join(dir, f.name), keepFree); err != nil {
			return err
		}
	}
	return errors.Join(s.opts.FS.SyncDir(dir), s.opts.FS.SyncDir(path.Dir(dir)))
}

// backupSet opens the files that belong together. The keeper does it between two works of its own, so that the checkpoint, the
// segments and the log fit each other.
func (s *Store) backupSet(ctx context.Context) (files []backupFile, err error) {
	err = s.order(context.WithoutCancel(ctx), func() error {
		answer := s.log.sync(context.Background(), true)
		if answer.err != nil && !errors.Is(answer.err, ErrDiskFull) {
			return answer.err
		}
		names, err := s.opts.FS.List(s.opts.Dir)
		if err != nil {
			return err
		}
		for _, g := range s.allSegments() {
			if !g.acquire() {
				panic("BUG: the keeper's own segment is gone")
			}
			files = append(files, backupFile{name: g.name, file: g.file, segment: g, sizeBytes: g.sizeBytes})
		}
		for _, name := range names {
			number, isLog := parseNumbered(name, logSuffix)
			isPair := strings.HasSuffix(name, ".0") || strings.HasSuffix(name, ".1")
			if !isPair && !(isLog && number > s.logDone && number <= answer.lastFile) {
				continue
			}
			f, err := s.opts.FS.Open(path.Join(s.opts.Dir, name))
			if err != nil {
				return err
			}
			size, err := f.Size()
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
			}
			files = append(files, backupFile{name: name, file: f, log: number, sizeBytes: size})
		}
		return nil
	})
	return files, err
}

func (f backupFile) close(s *Store) {
	if f.segment != nil {
		f.segment.release(s.opts.Log)
		return
	}
	if err := f.file.Close(); err != nil {
		s.opts.Log.Warn("file does not close", "file", f.name, "err", err)
	}
}

// backupOne links or copies one file. A link of a file of the checkpoint could be that of a newer one, and a log file is cut at
// the next start after a power cut: only segments are linked.
func (s *Store) backupOne(ctx context.Context, f backupFile, to string, keepFree int64) error {
	if linker, ok := s.opts.FS.(vfs.Linker); ok && f.segment != nil {
		if err := linker.Link(path.Join(s.opts.Dir, f.name), to); err == nil {
			return nil
		} // else: another file system, or one without links, or a merge has removed it
	}
	if f.log > 0 && f.sizeBytes > 0 {
		var err error
		if f.sizeBytes, err = f.loggedBytes(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return vfs.Copy(ctx, s.opts.FS, f.file, f.sizeBytes, to, keepFree)
}

// loggedBytes returns how much of a log file counts: what follows the last good group is reserved, or was never acknowledged.
func (f backupFile) loggedBytes() (int64, error) {
	data := make([]byte, f.sizeBytes)
	if _, err := f.file.ReadAt(data, 0); err != nil {
		return 0, err
	}
	scan, err := scanLog(data, f.log, 0, func(groupHead, []byte) error { return nil })
	if err != nil {
		return f.sizeBytes, nil // it cannot be read: it goes as it is, for the next start or Fsck to name
	}
	return scan.end, nil
}
