package tsdb

import (
	"fmt"
	"slices"
)

const (
	// aheadBytes is how much of a segment is read at once where blocks are wanted one after the other, as by a query over the fleet: some twenty
	// blocks of 720 rows.
	aheadBytes = 64 << 10
	// aheadGap is how much may lie between two blocks that are wanted one after the other: a few blocks of other things.
	aheadGap = 16 << 10
	// aheadWindows is how many segments are read side by side.
	aheadWindows = 4
)

// readAhead reads blocks of segments, many at once where they are wanted in the order in which they are on the disk. Not safe for concurrent use.
type readAhead struct {
	windows [aheadWindows]aheadWindow
	oldest  int // of windows, the one to give up next
}

// aheadWindow is some bytes of a segment.
type aheadWindow struct {
	id     uint64 // of the segment
	tier   tier
	offset int64
	bytes  []byte
}

// read returns the bytes of block i of g, good until the next call.
func (a *readAhead) read(g *segment, i int) ([]byte, error) {
	ref := &g.blocks[i]
	w := a.window(g)
	end := w.offset + int64(len(w.bytes))
	if ref.offset >= w.offset && ref.offset+int64(ref.size) <= end {
		return w.bytes[ref.offset-w.offset:][:ref.size], nil
	}
	if len(w.bytes) > 0 && ref.offset > w.offset && ref.offset-end <= aheadGap && w.fill(g, ref, min(aheadBytes, g.sizeBytes-ref.offset)) == nil {
		return w.bytes[:ref.size], nil
	}
	// The first one, a single one, or one beside bytes that the disk does not read.
	if err := w.fill(g, ref, int64(ref.size)); err != nil {
		return nil, fmt.Errorf("read %q at byte %d: %w", g.name, ref.offset, err)
	}
	return w.bytes, nil
}

// window returns that of g.
func (a *readAhead) window(g *segment) *aheadWindow {
	for i := range a.windows {
		if w := &a.windows[i]; w.id == g.head.id && w.tier == g.head.tier {
			return w
		}
	}
	w := &a.windows[a.oldest]
	a.oldest = (a.oldest + 1) % aheadWindows
	*w = aheadWindow{id: g.head.id, tier: g.head.tier, bytes: w.bytes[:0]}
	return w
}

// fill reads size bytes or the whole block, whichever is more, from where the block begins.
func (w *aheadWindow) fill(g *segment, ref *blockRef, size int64) error {
	size = max(size, int64(ref.size))
	w.offset, w.bytes = ref.offset, slices.Grow(w.bytes[:0], int(size))[:size]
	_, err := g.file.ReadAt(w.bytes, w.offset)
	if err != nil {
		w.bytes = w.bytes[:0]
	}
	return err
}
