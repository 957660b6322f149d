package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// OS is the file system of the machine.
type OS struct{}

var _ FS = OS{}

// Create makes or truncates a file.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens an existing file.
func (OS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// ReadFile returns the whole file.
func (OS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// WriteFile replaces name with data, whole or not at all.
func (o OS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	err := writeSynced(tmp, data, perm)
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		// Best effort: the write has failed already, and the name is overwritten by the next one.
		_ = os.Remove(tmp)
		return err
	}
	return o.SyncDir(filepath.Dir(name))
}

func writeSynced(name string, data []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // O_CREATE leaves the mode of a file that was there
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Rename moves a file over another.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file or an empty folder.
func (OS) Remove(name string) error { return os.Remove(name) }

// List returns the names in dir, ascending.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// MkdirAll makes dir and its parents.
func (OS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }

// SyncDir makes creations, renames and removals in dir durable.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// FreeBytes returns the space left to this process.
func (OS) FreeBytes(dir string) (uint64, error) {
	free, _, err := diskBytes(dir)
	return free, err
}

// TotalBytes returns the size of the file system.
func (OS) TotalBytes(dir string) (uint64, error) {
	_, total, err := diskBytes(dir)
	return total, err
}

// Lock takes the exclusive lock file name and writes the process id into it.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 20)) // only for the sentence
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, lockedError(name, strings.TrimSpace(string(owner)))
		}
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	return f, nil
}

// errLocked says that another process has a lock.
var errLocked = errors.New("locked")

func lockedError(name, owner string) error {
	if owner != "" {
		owner = " (process " + owner + ")"
	}
	return fmt.Errorf("the folder %q is in use by another process%s: stop it, or choose another folder", filepath.Dir(name), owner)
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Allocate(sizeBytes int64) error { return allocate(f.File, sizeBytes) }

// SystemClock is the clock of the machine.
type SystemClock struct{}

// Now returns the time of day.
func (SystemClock) Now() time.Time { return time.Now() }

// After delivers the time once, d from now.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
