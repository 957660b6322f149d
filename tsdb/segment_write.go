package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"muster/tsdb/vfs"
)

// writeBufferBytes is how much of a segment is written at once: a few erase blocks of an SD card.
const writeBufferBytes = 256 << 10

// segmentWriter writes one segment: blocks by ascending thing and time, then finish. After an error only abort
// may be called. Not safe for concurrent use.
type segmentWriter struct {
	fs      vfs.FS
	dir     string
	file    vfs.File
	index   *indexBuilder
	encoder blockEncoder
	buf     []byte
	offset  int64 // of buf in the file
	parsed  block
}

func (w *segmentWriter) tmpName() string {
	return path.Join(w.dir, segmentName(w.index.head.tier, w.index.head.id)+tmpSuffix)
}

// createSegment begins a segment under a temporary name.
func createSegment(fsys vfs.FS, dir string, head segmentHead) (*segmentWriter, error) {
	w := &segmentWriter{fs: fsys, dir: dir, index: newIndexBuilder(head)}
	f, err := fsys.Create(w.tmpName())
	if err != nil {
		return nil, fmt.Errorf("create segment %q: %w", w.tmpName(), err)
	}
	w.file = f
	w.parsed.tier, w.encoder.plain = head.tier, head.tier != rawTier
	w.buf = head.append(make([]byte, 0, writeBufferBytes+writeBufferBytes/4))
	return w, nil
}

// add writes rows lo to hi-1 of t as blocks.
func (w *segmentWriter) add(thing ThingID, t *table, lo, hi int) error {
	for lo < hi {
		n := min(blockRows, hi-lo)
		start := len(w.buf)
		w.buf = w.encoder.appendBlock(w.buf, thing, t, lo, lo+n)
		if err := w.parsed.parseBody(w.buf[start+blockHeadBytes:]); err != nil {
			panic("BUG: a block that was just made does not parse")
		}
		w.index.add(&w.parsed, w.offset+int64(start), len(w.buf)-start)
		if len(w.buf) >= writeBufferBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
		lo += n
	}
	return nil
}

// copyBlock writes a block as it is.
func (w *segmentWriter) copyBlock(b *block, src []byte) error {
	w.index.add(b, w.offset+int64(len(w.buf)), len(src))
	w.buf = append(w.buf, src...)
	if len(w.buf) < writeBufferBytes {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	if _, err := w.file.WriteAt(w.buf, w.offset); err != nil {
		return err
	}
	w.offset += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// finish writes the index and makes the segment durable under its name.
func (w *segmentWriter) finish() (*segment, error) {
	at := w.offset + int64(len(w.buf))
	start := len(w.buf)
	w.buf = w.index.append(w.buf)
	index := w.buf[start:]
	var trailer [trailerBytes]byte
	binary.LittleEndian.PutUint64(trailer[:], uint64(at))
	binary.LittleEndian.PutUint32(trailer[8:], uint32(len(index)))
	binary.LittleEndian.PutUint32(trailer[12:], crc32.Checksum(index, castagnoli))
	binary.LittleEndian.PutUint32(trailer[16:], crc32.Checksum(trailer[:16], castagnoli))
	copy(trailer[20:], segmentMagic)
	w.buf = append(w.buf, trailer[:]...)
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, fmt.Errorf("%w: %w", errSync, err)
	}
	name := segmentName(w.index.head.tier, w.index.head.id)
	if err := w.fs.Rename(w.tmpName(), path.Join(w.dir, name)); err != nil {
		return nil, err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return nil, fmt.Errorf("%w: %w", errSync, err)
	}
	x := w.index.segmentIndex
	x.layouts, x.blocks = slices.Clip(x.layouts), slices.Clip(x.blocks)
	g := &segment{segmentIndex: x, file: w.file, name: name, sizeBytes: w.offset}
	g.finish()
	return g, nil
}

// errSync is a failed fsync, which is never a full disk that passes.
var errSync = errors.New("the disk did not take the bytes")

// abort removes what was written, as far as the disk lets us: what is left is removed at the next start.
func (w *segmentWriter) abort() error {
	return errors.Join(w.file.Close(), w.fs.Remove(w.tmpName()))
}
