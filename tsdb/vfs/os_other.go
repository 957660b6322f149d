//go:build !linux

package vfs

import "os"

func syncData(f *os.File) error { return f.Sync() }

// allocate makes the file long enough; without fallocate(2) writes may still find the disk full.
func allocate(f *os.File, sizeBytes int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() >= sizeBytes {
		return err
	}
	return f.Truncate(sizeBytes)
}
