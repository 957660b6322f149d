package tsdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"

	"muster/tsdb/vfs"
)

// A checkpoint is what is not in segments and would otherwise have to be in the log for ever: the dictionary, and the last values.
// Each is a file that is replaced whole, kept twice so that one damaged copy costs nothing. Layout: docs/formats/checkpoint.md.
const (
	dictBase        = "dict"
	twinBase        = "twin"
	sourceBase      = "source"
	dictMagic       = "MDIC"
	twinMagic       = "MTWN"
	sourceMagic     = "MSRC"
	pairVersion     = 1
	pairHeadBytes   = 16
	filePerm        = 0o600
	folderPerm      = 0o700
	lockName        = "LOCK"
	maxSegmentMerge = 64 << 20
)

// writePair replaces both copies of a checkpoint file, one after the other.
func writePair(fsys vfs.FS, dir, base, magic string, generation uint64, payload []byte) error {
	buf := make([]byte, 0, pairHeadBytes+len(payload)+4)
	buf = append(buf, magic...)
	buf = binary.LittleEndian.AppendUint32(buf, pairVersion)
	buf = binary.LittleEndian.AppendUint64(buf, generation)
	buf = append(buf, payload...)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
	for _, suffix := range [...]string{".0", ".1"} {
		if err := fsys.WriteFile(path.Join(dir, base+suffix), buf, filePerm); err != nil {
			return fmt.Errorf("write %q: %w", base+suffix, err)
		}
	}
	return nil
}

// pair is the newest good copy of a checkpoint file; generation is 0 if there never was one.
type pair struct {
	generation uint64
	payload    []byte
	notes      []error // about damaged copies
	lost       bool    // there were copies, and none is good
}

func readPair(fsys vfs.FS, dir, base, magic string) (pair, error) {
	var p pair
	seen := 0
	for _, suffix := range [...]string{".0", ".1"} {
		buf, err := fsys.ReadFile(path.Join(dir, base+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return p, err
		}
		seen++
		generation, payload, err := parsePairFile(buf, magic)
		if errors.Is(err, errVersion) {
			return p, fmt.Errorf("file %q: %w", base+suffix, err)
		}
		if err != nil {
			p.notes = append(p.notes, fmt.Errorf("%s: %w", base+suffix, err))
			continue
		}
		if generation > p.generation {
			p.generation, p.payload = generation, payload
		}
	}
	p.lost = seen > 0 && p.generation == 0
	return p, nil
}

func parsePairFile(buf []byte, magic string) (uint64, []byte, error) {
	n := len(buf) - 4
	if n < pairHeadBytes || !bytes.HasPrefix(buf, []byte(magic)) || crc32.Checksum(buf[:n], castagnoli) != binary.LittleEndian.Uint32(buf[n:]) {
		return 0, nil, errors.New("the copy is damaged")
	}
	if v := binary.LittleEndian.Uint32(buf[4:]); v != pairVersion {
		return 0, nil, fmt.Errorf("checkpoint format %d %w", v, errVersion)
	}
	return binary.LittleEndian.Uint64(buf[8:]), buf[pairHeadBytes:n], nil
}

// append encodes all words; label sets are apart (source.go).
func (d *Dict) append(dst []byte) []byte {
	for _, words := range [...][]string{d.metrics.since(0), d.strings.since(0)} {
		dst = binary.AppendUvarint(dst, uint64(len(words)))
		for _, word := range words {
			dst = append(binary.AppendUvarint(dst, uint64(len(word))), word...)
		}
	}
	return dst
}

// load restores what append encoded.
func (d *Dict) load(src []byte) error {
	r := reader{src: src}
	for _, w := range [...]*words{&d.metrics, &d.strings} {
		for i := range r.count() {
			word := r.bytes(int(r.uvarintMax(MaxStringBytes)))
			if r.err != nil {
				return r.err
			}
			if err := w.restore(uint32(i), string(word)); err != nil {
				return err
			}
		}
	}
	return r.err
}

// twinHead is what stands before the last values in the twin file.
type twinHead struct {
	logDone     uint64 // log files up to this one are in segments
	nextSegment uint64
}

func (h twinHead) append(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, h.logDone), h.nextSegment)
}

// appendTwin encodes the kinds, the deleted things and every last value, which follow the head.
func (l *live) appendTwin(dst []byte) []byte {
	n := len(l.kinds)
	for ; n > 0 && l.kinds[n-1].Load() == 0; n-- {
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	for i := range n {
		dst = append(dst, byte(l.kinds[i].Load()))
	}
	for i := range l.shards {
		dst = l.shards[i].appendTwin(dst)
	}
	return dst
}

func (sh *shard) appendTwin(dst []byte) []byte {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	dst = binary.AppendUvarint(dst, uint64(len(sh.deleted)))
	for _, id := range slices.Sorted(maps.Keys(sh.deleted)) {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	dst = binary.AppendUvarint(dst, uint64(sh.things.count))
	for t := range sh.things.all() {
		dst = binary.AppendUvarint(dst, uint64(t.id))
		dst = binary.AppendUvarint(dst, uint64(len(t.cols)))
		for i := range t.cols {
			c := &t.cols[i]
			dst = binary.AppendUvarint(dst, uint64(t.metrics[i]))
			dst = append(dst, byte(c.kind), byte(c.exp))
			dst = binary.AppendVarint(dst, c.lastMs)
			dst = binary.AppendVarint(dst, c.mantissa)
		}
	}
	return dst
}

// loadTwin restores a head and what appendTwin encoded, into an empty live. known is how many column names there are.
func (l *live) loadTwin(src []byte, known int) (twinHead, error) {
	r := reader{src: src}
	head := twinHead{r.uvarint(), r.uvarint()}
	kinds := r.bytes(int(r.uvarintMax(MaxMetrics)))
	for i, k := range kinds {
		l.kinds[i].Store(uint32(k))
	}
	for range l.shards {
		for range r.count() {
			id := ThingID(r.uvarintMax(math.MaxUint32))
			l.shard(id).deleted[id] = struct{}{}
			l.deleted.Add(1)
		}
		for range r.count() {
			id := ThingID(r.uvarintMax(math.MaxUint32))
			n := int(r.uvarintMax(MaxThingColumns))
			t := l.thing(l.shard(id), id)
			for range n {
				m := MetricID(r.uvarintMax(MaxMetrics - 1))
				c := column{kind: Kind(r.byte()), exp: int8(r.byte()), lastMs: r.varint(), mantissa: r.varint()}
				if r.err != nil || int(m) >= known || c.kind > String || t.find(m) >= 0 {
					return head, errRecord
				}
				t.cols[t.addColumn(m)] = c
				l.series.Add(1)
			}
		}
	}
	if r.err == nil && len(r.src) > 0 {
		r.fail()
	}
	return head, r.err
}
