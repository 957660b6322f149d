package broker

import (
	"encoding/binary"
	"slices"
	"time"
)

// frames are PUBLISH packets of one message, each encoded for the first of the subscribers that get the same but for packet id and dup. Sessions
// borrow them for a write: whoever fans a message out finds again what it has encoded for the session before. One goroutine at a time.
type frames struct {
	m    *message
	left uint32         // seconds that remained of m when they were encoded
	list [2][3][2]frame // by version 5, QoS, retain
}

// frame is one encoded PUBLISH.
type frame struct {
	b      []byte // empty: not encoded yet
	subIDs []int  // the identifiers in it; never changed
	id     int    // where the packet id is in b
}

// maxKeptFrame is the largest buffer of a frame that is kept for the next message, bytes.
const maxKeptFrame = 4 << 10

// reset makes f empty for m, of which left seconds remain.
func (f *frames) reset(m *message, left uint32) {
	f.m, f.left = m, left
	for v := range f.list {
		for q := range f.list[v] {
			for r := range f.list[v][q] {
				at := &f.list[v][q][r]
				at.b, at.subIDs = at.b[:0], nil
				if cap(at.b) > maxKeptFrame {
					at.b = nil
				}
			}
		}
	}
}

// publish returns d as a PUBLISH (v5 section 3.3). The packet is valid until the next call. subIDs of d are kept.
func (f *frames) publish(d *delivery, version byte, dup bool, now time.Time) []byte {
	left := d.m.left(now)
	if f.m != d.m || f.left != left {
		f.reset(d.m, left)
	}
	isV5, subIDs := 0, []int(nil)
	if version == 5 {
		isV5, subIDs = 1, d.subIDs
	}
	retain := 0
	if d.retain {
		retain = 1
	}
	p := &f.list[isV5][d.qos][retain]
	if len(p.b) == 0 || !slices.Equal(p.subIDs, subIDs) {
		p.b = appendPublish(p.b[:0], d.m, version, d.qos, d.retain, subIDs, left)
		p.subIDs = subIDs
		p.id = len(p.b) - len(d.m.payload) - 2
		if version == 5 {
			size := propertiesSize(d.m, subIDs)
			p.id -= varLen(size) + size
		}
	}
	if dup {
		p.b[0] |= 8
	} else {
		p.b[0] &^= 8
	}
	if d.qos > 0 {
		binary.BigEndian.PutUint16(p.b[p.id:], d.id)
	}
	return p.b
}
