package registry

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bits-and-blooms/bitset"
)

// elsewhere has the values of fields that the index does not keep: group, and the last values of telemetry. It is asked with fleet held.
type elsewhere struct{ *Registry }

// Values implements index.Elsewhere.
func (r elsewhere) Values(set *bitset.BitSet, field string, visit func(num float64, isNumber bool, text []byte, things int)) {
	if field == fieldInGroup {
		for _, folded := range slices.Sorted(maps.Keys(r.groups.byFolded)) {
			if n := r.inGroup(set, folded).Count(); n > 0 {
				visit(0, false, []byte(folded), int(n))
			}
		}
		return
	}
	counts := map[float64]int{}
	r.eachLast(set, field, func(_ uint, value float64) { counts[value]++ })
	for _, value := range slices.Sorted(maps.Keys(counts)) {
		visit(value, true, appendNumber(nil, value), counts[value])
	}
}

// Having implements index.Elsewhere.
func (r elsewhere) Having(set *bitset.BitSet, field, text string) *bitset.BitSet {
	if field == fieldInGroup {
		return r.inGroup(set, text)
	}
	out := new(bitset.BitSet)
	r.eachLast(set, field, func(id uint, value float64) {
		if string(appendNumber(nil, value)) == text {
			out.Set(id)
		}
	})
	return out
}

// inGroup returns the things of a set that are in a group or below it, in a new bitset. Names that differ in case only are one, as in queries.
func (r elsewhere) inGroup(set *bitset.BitSet, folded string) *bitset.BitSet {
	members := new(bitset.BitSet)
	for _, g := range r.groups.byFolded[folded] {
		r.addMembers(members, g, true)
	}
	members.InPlaceIntersection(set)
	return members
}

// eachLast calls f with the things of a set that have a last value of the metric in the name of a field.
func (r elsewhere) eachLast(set *bitset.BitSet, field string, f func(id uint, value float64)) {
	metric, ok := strings.CutPrefix(field, "telemetry.")
	if !ok || r.dynamic.live == nil {
		return
	}
	for id := range set.EachSet() {
		if value, ok := r.dynamic.live.Last(metric, uint32(id)); ok && value == value { // not a number: none
			f(id, value)
		}
	}
}

func appendNumber(dst []byte, value float64) []byte {
	return strconv.AppendFloat(dst, value, 'g', -1, 64)
}
