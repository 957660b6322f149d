package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// AppendGroupNames appends the names of the groups that a thing is in, those above them included, each once.
func (r *Registry) AppendGroupNames(dst []string, id uint32) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	start := len(dst)
	for _, g := range r.groupsOf(id) {
		for ; g != nil && !slices.Contains(dst[start:], g.name); g = g.parent {
			dst = append(dst, g.name)
		}
	}
	return dst
}

// FindThings sets in dst the bit of each thing that has one of the values in one of the fields that isField names, or, without values, one
// that begins with prefix. It finds more than that, as the index has values without case and in words: look again. The fields are those of fleet
// queries.
func (r *Registry) FindThings(dst *bitset.BitSet, isField func(name string) bool, values []string, prefix string) {
	var matches []*index.Match
	for _, v := range values {
		if v != "" {
			matches = append(matches, index.Phrase(v))
		}
	}
	if words := strings.Fields(prefix); len(values) == 0 && len(words) > 0 {
		matches = append(matches, index.Prefix(words[0]))
	} else if len(values) == 0 {
		matches = append(matches, index.Exists())
	}
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	for _, field := range append(r.index.Fields(), fieldInGroup) {
		if !isField(field) {
			continue
		}
		for _, m := range matches {
			// It ends early with its context only.
			if _, err := r.index.Select(context.Background(), dst, field, m, nil); err != nil {
				panic("BUG: " + err.Error())
			}
		}
	}
}
