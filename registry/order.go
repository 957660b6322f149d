package registry

import "slices"

// nameOrder holds the records by name ascending, in chunks of at most maxChunk, so that an insert moves little.
// Guarded by Registry.mu.
type nameOrder struct {
	chunks [][]*record // none is empty
}

const maxChunk = 1024

// load replaces the contents. records is sorted in place and not kept.
func (o *nameOrder) load(records []*record) {
	slices.SortFunc(records, func(a, b *record) int { return compareNames(a, b.name) })
	o.chunks = nil
	for chunk := range slices.Chunk(records, maxChunk/2) {
		o.chunks = append(o.chunks, slices.Clone(chunk))
	}
}

// find returns the place of the first record whose name is not below name.
func (o *nameOrder) find(name string) (chunk, i int, found bool) {
	chunk, _ = slices.BinarySearchFunc(o.chunks, name, func(c []*record, name string) int {
		return compareNames(c[len(c)-1], name)
	})
	if chunk == len(o.chunks) {
		return chunk, 0, false
	}
	i, found = slices.BinarySearchFunc(o.chunks[chunk], name, compareNames)
	return chunk, i, found
}

// put inserts rec, or replaces the record of its name.
func (o *nameOrder) put(rec *record) {
	c, i, found := o.find(rec.name)
	if found {
		o.chunks[c][i] = rec
		return
	}
	if len(o.chunks) == 0 {
		o.chunks = append(o.chunks, nil)
	}
	if c == len(o.chunks) {
		c--
		i = len(o.chunks[c])
	}
	o.chunks[c] = slices.Insert(o.chunks[c], i, rec)
	if len(o.chunks[c]) > maxChunk {
		upper := slices.Clone(o.chunks[c][maxChunk/2:])
		o.chunks[c] = slices.Clone(o.chunks[c][:maxChunk/2])
		o.chunks = slices.Insert(o.chunks, c+1, upper)
	}
}

func (o *nameOrder) remove(name string) {
	c, i, found := o.find(name)
	if !found {
		return
	}
	o.chunks[c] = slices.Delete(o.chunks[c], i, i+1)
	if len(o.chunks[c]) == 0 {
		o.chunks = slices.Delete(o.chunks, c, c+1)
	}
}

// appendAfter appends to dst some records whose names are above after, ascending: at least one if there is one.
func (o *nameOrder) appendAfter(dst []*record, after string) []*record {
	c, i, found := o.find(after)
	if found {
		i++
	}
	if c < len(o.chunks) && i == len(o.chunks[c]) {
		c, i = c+1, 0
	}
	if c == len(o.chunks) {
		return dst
	}
	return append(dst, o.chunks[c][i:]...)
}

func compareNames(rec *record, name string) int {
	switch {
	case rec.name < name:
		return -1
	case rec.name > name:
		return 1
	}
	return 0
}
