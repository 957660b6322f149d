package tsdb

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"muster/tsdb/vfs"
)

// Damage is one thing that Fsck found wrong.
type Damage struct {
	File string // name in the folder
	Text string // what and where
}

// Report is what Fsck has read.
type Report struct {
	Files, Blocks, Groups int
	Samples               int64    // in segments
	Deleted               int      // things and sources that were ever deleted
	DeletedBlocks         int      // blocks that still have rows of them: some minutes later they are gone
	TornTails             []string // log files that end in a group which was never acknowledged: no damage
	Damage                []Damage
}

// Fsck checks every checksum of a store that is not open, decodes every value, and changes nothing. The error says that
// the folder cannot be read at all; damage is in the report.
func Fsck(dir string, fsys vfs.FS) (Report, error) {
	var r Report
	names, err := fsys.List(dir)
	if err != nil {
		return r, fmt.Errorf("check the twin store: %w", err)
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return r, err
	}
	c := checker{fs: fsys, dir: dir, report: &r, blocks: map[ThingID]int{}}
	for _, name := range names {
		c.file(name)
	}
	r.Deleted = len(c.deleted)
	for _, id := range c.deleted {
		r.DeletedBlocks += c.blocks[id]
	}
	return r, lock.Close()
}

type checker struct {
	fs     vfs.FS
	dir    string
	report *Report
	want   uint64 // the log group that should come next

	blocks  map[ThingID]int
	deleted []ThingID
	block   block
	dec     blockDecoder
}

func (c *checker) damaged(file, format string, args ...any) {
	c.report.Damage = append(c.report.Damage, Damage{file, fmt.Sprintf(format, args...)})
}

// file checks one file. Names come in ascending order, so that log files follow each other.
func (c *checker) file(name string) {
	if strings.HasSuffix(name, badSuffix) {
		c.damaged(name, "was set aside at an earlier start")
		return
	}
	t, segment, isSegment := parseSegmentName(name)
	number, isLog := parseNumbered(name, logSuffix)
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".0"), ".1")
	isPair := base != name && (base == dictBase || base == twinBase || base == sourceBase)
	if !isSegment && !isLog && !isPair {
		return
	}
	c.report.Files++
	data, err := c.fs.ReadFile(path.Join(c.dir, name))
	switch {
	case err != nil:
		c.damaged(name, "does not read: %v", err)
	case isSegment:
		c.segment(name, t, segment, data)
	case isLog:
		c.log(name, number, data)
	case base == dictBase:
		c.pair(name, data, dictMagic, NewDict().load)
	case base == sourceBase:
		c.pair(name, data, sourceMagic, NewDict().loadSources)
	default:
		c.pair(name, data, twinMagic, func(payload []byte) error {
			var l live
			l.start()
			_, err := l.loadTwin(payload, math.MaxInt)
			c.deleted = c.deleted[:0]
			for i := range l.shards {
				c.deleted = slices.AppendSeq(c.deleted, maps.Keys(l.shards[i].deleted))
			}
			return err
		})
	}
}

func (c *checker) pair(name string, data []byte, magic string, load func([]byte) error) {
	_, payload, err := parsePairFile(data, magic)
	if err == nil {
		err = load(payload)
	}
	if err != nil {
		c.damaged(name, "%v", err)
	}
}

func (c *checker) log(name string, number uint64, data []byte) {
	var rec record
	scan, err := scanLog(data, number, c.want, func(_ groupHead, payload []byte) error {
		_, err := rec.each(payload, func() bool { return true })
		return err
	})
	if err != nil {
		if len(data) > logHeaderBytes && !allZero(data[logHeaderBytes:]) {
			c.damaged(name, "%v", err)
		}
		return
	}
	for _, d := range scan.damage {
		c.damaged(name, "%s", d)
	}
	if scan.torn {
		c.report.TornTails = append(c.report.TornTails, name)
	}
	c.report.Groups += scan.groups
	if scan.lastSeq > 0 {
		c.want = scan.lastSeq + 1
	}
}

func (c *checker) segment(name string, t tier, id uint64, data []byte) {
	head, err := parseSegmentHead(data)
	if err != nil {
		c.damaged(name, "%v", err)
	} else if head.id != id || head.tier != t {
		c.damaged(name, "it says that it is segment %q", segmentName(head.tier, head.id))
	}
	f, err := c.fs.Open(path.Join(c.dir, name))
	if err != nil {
		c.damaged(name, "does not open: %v", err)
		return
	}
	index, err := readSegmentIndex(f, int64(len(data)))
	if err = errors.Join(err, f.Close()); err != nil {
		c.damaged(name, "%v", err)
		return
	}
	if index.head.id != id || index.head.tier != t {
		c.damaged(name, "its index says that it is segment %q", segmentName(index.head.tier, index.head.id))
		return
	}
	end, samples := int64(segmentHeadBytes), int64(0)
	for i := range index.blocks {
		ref := &index.blocks[i]
		if ref.offset != end {
			c.damaged(name, "bytes %d to %d belong to no block", end, ref.offset)
		}
		end = ref.offset + int64(ref.size)
		n, err := c.checkBlock(index, ref, data[ref.offset:end])
		if err != nil {
			c.damaged(name, "block of thing %d at byte %d: %v", ref.thing, ref.offset, err)
		}
		samples += n
		c.report.Blocks++
		c.blocks[ref.thing]++
	}
	if t == rawTier {
		c.report.Samples += samples
	}
	if len(c.report.Damage) == 0 && samples != index.samples {
		c.damaged(name, "it has %d samples and says %d", samples, index.samples)
	}
}

// checkBlock decodes everything in a block and compares it with what index and header say.
func (c *checker) checkBlock(index *segmentIndex, ref *blockRef, src []byte) (int64, error) {
	b, d := &c.block, &c.dec
	b.tier = index.head.tier
	if err := b.parse(src); err != nil {
		return 0, err
	}
	if b.thing != ref.thing || b.rows != int(ref.rows) || b.minMs != ref.minMs || b.maxMs != ref.maxMs {
		return 0, errors.New("the index describes another block")
	}
	if err := d.decodeTimes(b); err != nil {
		return 0, err
	}
	var samples int64
	for i := range b.cols {
		col := &b.cols[i]
		if !index.has(ref, col.metric) {
			return samples, errors.New("the index lacks a column")
		}
		if err := d.decodeColumn(b, col); err != nil {
			return samples, err
		}
		if col.summary != nil && !col.agrees(d) {
			return samples, fmt.Errorf("the summary of column %d is wrong", col.metric)
		}
		samples += int64(col.count)
	}
	return samples, nil
}

// agrees says whether the summary in the header is that of the decoded values.
func (c *blockColumn) agrees(d *blockDecoder) bool {
	if c.kind == Float {
		return bytes.Equal(c.summary, appendFloatStats(nil, d.floats))
	}
	return bytes.Equal(c.summary, appendIntStats(nil, d.ints))
}
