// Package vfs is the file system and the clock under everything that writes or waits, as small interfaces,
// so that tests can cut the power, break a disk and turn the time.
//
// OS is the real file system. Mem (mem.go) is one in memory with seeded faults: it drops what was not synced,
// tears the last write and fails the N-th operation.
package vfs

import (
	"io"
	"io/fs"
	"time"
)

// FS is a file system. Names are slash paths, absolute or relative to the process. Safe for concurrent use.
type FS interface {
	// Create makes or truncates a file for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing; a missing one is fs.ErrNotExist.
	Open(name string) (File, error)
	// ReadFile returns the whole file; a missing one is fs.ErrNotExist.
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces name with data so that after a power cut it has the old bytes or the new ones, never a mix:
	// it writes a temporary file, syncs it, renames it over name and syncs the folder.
	WriteFile(name string, data []byte, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names, without their folder, of the files and folders in dir, ascending.
	List(dir string) ([]string, error)
	// MkdirAll makes dir and its parents; nothing happens where they exist.
	MkdirAll(dir string, perm fs.FileMode) error
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
	// FreeBytes returns the space left to this process on the file system that holds dir.
	FreeBytes(dir string) (uint64, error)
	// TotalBytes returns the size of the file system that holds dir.
	TotalBytes(dir string) (uint64, error)
	// Lock takes the exclusive lock file name, made if missing, until the returned Closer is closed.
	// A lock held by another process is an error that says so.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Sync makes its bytes and its length durable (fdatasync); after a failed Sync the
// file must not be written again (the kernel may have dropped the bytes).
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(sizeBytes int64) error
	Size() (int64, error)
	// Allocate reserves disk space up to sizeBytes and makes the file that long, zero-filled.
	Allocate(sizeBytes int64) error
}

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	// After delivers the time once, d from now.
	After(d time.Duration) <-chan time.Time
}
