package prom

import (
	"slices"
	"strings"

	"github.com/bits-and-blooms/bitset"
	"github.com/prometheus/prometheus/model/labels"

	"muster/tsdb"
)

// Finder is a Directory that finds things by their labels, so that a query need not look at those of all things.
type Finder interface {
	// FindThings sets in dst the bit of every thing that has a label called name with one of the values or, where there are none, with any
	// value that begins with prefix. `thing`, thing_type, `group` and what AppendLabels gives are labels, under the names that LabelName
	// makes of theirs. It may set more bits, never fewer: the labels of what it finds are looked at again. It is false
	// where it cannot tell.
	FindThings(dst *bitset.BitSet, name string, values []string, prefix string) bool
}

// LabelName returns the name that a label of a Directory that is a Grouper has in PromQL, if no other label of the thing takes it.
func LabelName(name string) string {
	switch {
	case name == groupLabel:
		return "attribute_" + groupLabel
	case legalName(name) && name != thingLabel:
		return name
	}
	return legalize(name)
}

// candidates are the things and sources that matchers may let through; nil stands for all of them.
type candidates struct {
	things  *bitset.BitSet // by id
	sources *bitset.BitSet // by id - FirstSource
}

// candidates finds what can match all of the matchers: those on labels, and those on `group`.
func (q *querier) candidates(others, groups []*labels.Matcher) candidates {
	var c candidates
	narrow := func(some *bitset.BitSet) {
		if c.things == nil {
			c.things = some
		} else {
			c.things.InPlaceIntersection(some)
		}
	}
	for _, m := range others {
		if some := q.findThings(m); some != nil {
			narrow(some)
		}
	}
	for _, m := range groups {
		if some := q.findThings(m); some != nil {
			narrow(some)
		}
	}
	c.sources = q.sources.find(q.store, others, groups)
	return c
}

// findThings returns the things that one matcher can let through, nil where it is not known. A matcher that lets things without the
// label through leaves most of them, and is not worth it.
func (q *querier) findThings(m *labels.Matcher) *bitset.BitSet {
	if m.Matches("") {
		return nil
	}
	var values []string
	prefix := ""
	switch m.Type {
	case labels.MatchEqual:
		values = []string{m.Value}
	case labels.MatchRegexp: // Grafana's variables with several values are plain lists
		values, prefix = m.SetMatches(), m.Prefix()
	}
	set := new(bitset.BitSet)
	if m.Name == thingLabel && len(values) > 0 {
		for _, name := range values {
			if id, ok := q.dir.ThingByName(name); ok {
				set.Set(uint(id))
			}
		}
		return set
	}
	// What is not valid text shows as this character.
	unclear := func(s string) bool { return strings.ContainsRune(s, '\uFFFD') }
	if q.finder == nil || unclear(prefix) || slices.ContainsFunc(values, unclear) || !q.finder.FindThings(set, m.Name, values, prefix) {
		return nil
	}
	return set
}

// has says whether id is one of them.
func (c *candidates) has(id tsdb.ThingID) bool {
	if id >= tsdb.FirstSource {
		return c.sources == nil || c.sources.Test(uint(id-tsdb.FirstSource))
	}
	return c.things == nil || c.things.Test(uint(id))
}

// list appends all of them, ascending, to dst. It is false where they are not known one by one.
func (c *candidates) list(dst []tsdb.ThingID) ([]tsdb.ThingID, bool) {
	if c.things == nil || c.sources == nil {
		return dst, false
	}
	for id := range c.things.EachSet() {
		dst = append(dst, tsdb.ThingID(id))
	}
	for i := range c.sources.EachSet() {
		dst = append(dst, tsdb.FirstSource+tsdb.ThingID(i))
	}
	return dst, true
}
