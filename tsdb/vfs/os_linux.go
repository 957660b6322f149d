package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the bytes and the length of f durable without its times (fdatasync(2)).
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR { // nothing was tried yet
			return pathError("fdatasync", f, err)
		}
	}
}

// allocate reserves blocks, so that later writes into them need no free space (fallocate(2)). Where the file
// system cannot, the file becomes that long and writes may still find the disk full.
func allocate(f *os.File, sizeBytes int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, sizeBytes)
		switch {
		case err == unix.EINTR:
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS):
			return f.Truncate(sizeBytes)
		default:
			return pathError("fallocate", f, err)
		}
	}
}

func pathError(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.Name(), Err: err}
}
