package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// copyPiece is how much is read and written at once.
const copyPiece = 256 << 10

// Linker is a file system that can give a file a second name.
type Linker interface {
	// Link makes to another name of the file from; it fails where to exists, or is on another file system.
	Link(from, to string) error
}

// Link makes to another name of the file from.
func (OS) Link(from, to string) error { return os.Link(from, to) }

// ErrNoRoom says that a copy was not made, or not ended, for want of space.
var ErrNoRoom = errors.New("not enough space")

// Copy writes the first sizeBytes of from as the new file name and syncs it; its name is durable after SyncDir. It leaves keepFree
// bytes of the file system free, else the error is ErrNoRoom. After an error no file is left, as far as the disk lets us.
func Copy(ctx context.Context, fsys FS, from io.ReaderAt, sizeBytes int64, name string, keepFree int64) (err error) {
	free, err := fsys.FreeBytes(path.Dir(name))
	if err != nil {
		return err
	}
	if int64(free) < sizeBytes+keepFree {
		return fmt.Errorf("%w for %q: it has %d bytes, %d are free in its folder, and %d are kept free", ErrNoRoom, name, sizeBytes, free, keepFree)
	}
	to, err := fsys.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			err = errors.Join(fmt.Errorf("copy to %q: %w", name, err), fsys.Remove(name))
		}
	}()
	buf := make([]byte, min(copyPiece, sizeBytes))
	for off := int64(0); off < sizeBytes; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), sizeBytes-off)]
		if _, err := from.ReadAt(buf, off); err != nil && !(errors.Is(err, io.EOF) && off+int64(len(buf)) == sizeBytes) {
			return err
		}
		if _, err := to.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return to.Sync()
}
