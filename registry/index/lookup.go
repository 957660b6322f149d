package index

import "github.com/bits-and-blooms/bitset"

// Lookup says what is known of a match in a field before Select searches for it. bits are those of the things that match, where the index has
// them at hand; they are as long as the highest of these, must not be changed, and hold until the index changes. search says that Select
// would look at several values; changes is then a number of the field that becomes another one, never given before, whenever a thing gets a value or loses one.
func (x *Index) Lookup(field string, m *Match) (bits *bitset.BitSet, search bool, changes uint64) {
	f := x.fields[field]
	if f == nil || x.columns[field] != nil || x.elsewhere[field] != nil {
		return nil, false, 0
	}
	switch m.kind {
	case exists:
		return f.has.bits, false, 0
	case word:
		if f.spaced > 0 {
			break
		}
		o, num := f.orderOf(m.text)
		if at, i, found := o.find(num, m.text); found {
			if ref := o.chunks[at].refs[i]; ref >= multi {
				return f.sets[ref-multi].bits, false, 0
			}
		}
		return nil, false, 0
	case phrase:
		if f.spaced == 0 {
			return nil, false, 0
		}
	}
	return nil, true, f.changes
}
