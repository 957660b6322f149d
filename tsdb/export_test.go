package tsdb

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"path"

	"muster/tsdb/vfs"
)

// Compact merges once, on the keeper's goroutine.
func Compact(s *Store) error { return s.order(context.Background(), s.compact) }

// ScanBytes returns the size of the dense columns.
func ScanBytes(s *Store) int64 { return s.live.scanBytes.Load() }

// Tend lets the keeper do what is due.
func Tend(s *Store) error {
	return s.order(context.Background(), func() error { s.tend(); return nil })
}

// SetVersion writes another format version, with a good checksum, into the first header of a file.
func SetVersion(fsys vfs.FS, name string, version uint32) error {
	data, err := fsys.ReadFile(name)
	if err != nil {
		return err
	}
	heads := []int{0}
	size := len(data) - 4 // a checkpoint file is one sum
	switch path.Ext(name) {
	case segmentSuffix, tier5m.suffix(), tier1h.suffix():
		size = segmentHeadBytes - 4
	case logSuffix:
		size, heads = logHeadBytes-4, []int{0, logSector}
	}
	for _, at := range heads {
		binary.LittleEndian.PutUint32(data[at+4:], version)
		binary.LittleEndian.PutUint32(data[at+size:], crc32.Checksum(data[at:at+size], castagnoli))
	}
	return fsys.WriteFile(name, data, 0o600)
}

// SourceOf interns a label set and returns it as it is kept.
func SourceOf(d *Dict, set *LabelSet) ([]Label, error) {
	id, err := d.source(set)
	if err != nil {
		return nil, err
	}
	list, ok := appendSourceLabels(nil, d.sources.word(uint32(id-FirstSource)))
	if !ok {
		panic("a key does not decode")
	}
	return list, nil
}

// DecodeSource decodes any text as a key of a label set.
func DecodeSource(key string) ([]Label, bool) { return appendSourceLabels(nil, key) }
