package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is the unit that disks write whole or, when the power goes, in any order.
const sectorBytes = 512

// PowerCut returns the file system as a machine could find it after losing power now. The seed chooses, for the names
// and for each file, how much of what was not synced is there: nothing, all, all up to a write torn at any byte, or any
// set of writes and sectors. The receiver goes on unharmed; locks and faults are not carried over.
func (m *Mem) PowerCut(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x6d757374))
	after := NewMem()
	after.limit = m.limit
	maps.Copy(after.dirs, m.dirs)

	names := maps.Clone(m.durable)
	for _, op := range survivors(rng, m.journal) {
		op.apply(names)
	}
	copies := map[*node]*node{} // in the order of names, so that one seed gives one outcome
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		c := copies[n]
		if c == nil {
			c = &node{linked: true, data: n.afterCut(rng)}
			c.synced = slices.Clone(c.data)
			copies[n] = c
			after.used += int64(len(c.data))
		}
		after.entries[name], after.durable[name] = c, c
	}
	return after
}

// survivors returns which of the operations in list the disk has seen.
func survivors[T any](rng *rand.Rand, list []T) []T {
	switch rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return list
	case 2:
		return list[:rng.IntN(len(list)+1)]
	}
	var kept []T
	for _, op := range list {
		if rng.IntN(2) == 0 {
			kept = append(kept, op)
		}
	}
	return kept
}

func (n *node) afterCut(rng *rand.Rand) []byte {
	data := slices.Clone(n.synced)
	kept := survivors(rng, n.pending)
	tear := rng.IntN(3)
	for i, c := range kept {
		switch {
		case c.data == nil || tear == 0:
			data = c.apply(data)
		case tear == 1 && i < len(kept)-1:
			data = c.apply(data)
		case tear == 1:
			if at := rng.IntN(len(c.data) + 1); at > 0 {
				data = change{c.off, c.data[:at]}.apply(data)
			}
		default:
			data = c.applySectors(rng, data)
		}
	}
	return data
}

// applySectors applies some of the sectors that c touches.
func (c change) applySectors(rng *rand.Rand, data []byte) []byte {
	for off := c.off; off < c.off+int64(len(c.data)); {
		end := min((off/sectorBytes+1)*sectorBytes, c.off+int64(len(c.data)))
		if rng.IntN(2) == 0 {
			data = change{off, c.data[off-c.off : end-c.off]}.apply(data)
		}
		off = end
	}
	return data
}
