// Package index keeps, for each field of the things of a fleet, which things have which value: bitsets and short lists
// over dense thing ids. It answers matches (match.go), pages in the order of a field (page.go) and aggregates
// (aggregate.go) exactly, from memory.
//
// Values are texts, compared without case (Fold). Words are separated by Unicode white space. A value that is a number
// (ParseNumber) is one as well, for ranges and statistics. A thing may have several values of a field. Times and
// versions, which every thing has and which change often, are columns: one number per thing.
//
// An Index is not safe for concurrent use: its owner, the registry, lets several read or one write. It starts nothing.
package index

import (
	"maps"
	"slices"
	"sync"

	"github.com/bits-and-blooms/bitset"
)

// Index is the index of a fleet.
type Index struct {
	nameField string                 // the field that orders things that are equal otherwise
	name      func(id uint32) string // value of nameField, as it is
	live      bitset.BitSet
	fields    map[string]*field
	loading   sync.Mutex // guards fields while they are loaded
	columns   map[string]*Column
	elsewhere map[string]func(dst *bitset.BitSet, m *Match) (values int) // fields of SelectField
	other     Elsewhere                                                  // nil: nothing
	changes   uint64                                                     // of all fields
}

// New returns an empty index. Things that are equal in what they are sorted by are in the order of nameField, of which
// each thing must have one value; name returns it.
func New(nameField string, name func(id uint32) string) *Index {
	return &Index{nameField: nameField, name: name, fields: map[string]*field{}, columns: map[string]*Column{},
		elsewhere: map[string]func(*bitset.BitSet, *Match) int{}}
}

// SelectField makes a field that is kept elsewhere and can be matched, but has no order. lookUp sets the bits
// of the things that match and returns how many values it looked at; it must be fast and safe for concurrent use.
func (x *Index) SelectField(name string, lookUp func(dst *bitset.BitSet, m *Match) (values int)) {
	x.elsewhere[name] = lookUp
}

// AddThing makes a thing known; ids are from 1 to 1<<31 - 1.
func (x *Index) AddThing(id uint32) { x.live.Set(uint(id)) }

// RemoveThing forgets a thing and its numbers. Its values must be removed before.
func (x *Index) RemoveThing(id uint32) {
	x.live.Clear(uint(id))
	for _, c := range x.columns {
		c.Clear(id)
	}
}

// Add notes that a thing has a value of a field, which it must not have already. At most 8 KiB; an empty value is none.
func (x *Index) Add(id uint32, field, value string) {
	if value != "" {
		x.fieldFor(field, value).add(id, Fold(value))
	}
}

// fieldFor returns the field that is to get a value now.
func (x *Index) fieldFor(name, value string) *field {
	if len(value) > maxValueBytes {
		panic("BUG: a value of " + name + " is too long for the index")
	}
	f := x.fields[name]
	if f == nil {
		f = newField()
		x.fields[name] = f
	}
	x.noteChange(f)
	return f
}

func (x *Index) noteChange(f *field) {
	x.changes++
	f.changes = x.changes
}

// Remove notes that a thing has a value no longer.
func (x *Index) Remove(id uint32, field, value string) {
	f := x.fields[field]
	if f == nil || value == "" {
		return
	}
	x.noteChange(f)
	f.remove(id, Fold(value))
	if f.has.n == 0 {
		delete(x.fields, field)
	}
}

// Live returns the bits of all things. Do not change it.
func (x *Index) Live() *bitset.BitSet { return &x.live }

// Fields returns the names of the fields that have a value, ascending, without the columns.
func (x *Index) Fields() []string { return slices.Sorted(maps.Keys(x.fields)) }
