// Package bytesort orders a great many texts or numbers by radix: the names and values of a fleet at a start. It takes a third of the time of
// a sort by comparisons at a million texts. Pure functions; safe for concurrent use.
package bytesort

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Keyed is a place, such as that of a text in a list, with the number that it is ordered by.
type Keyed struct {
	Key   uint64
	Place uint32
}

// few is up to how many are sorted by comparisons.
const few = 256

// Order returns the places 0 to n-1 in the order of their texts, by bytes; equal texts are in the order of their places. at is called many times
// for each place.
func Order[T string | []byte](n int, at func(place uint32) T) []uint32 {
	list, room := make([]Keyed, n), make([]Keyed, n)
	for i := range list {
		list[i].Place = uint32(i)
	}
	order(list, room, 0, at)
	places := make([]uint32, n)
	for i := range list {
		places[i] = list[i].Place
	}
	return places
}

// order sorts texts that are the same up to depth, which come by place.
func order[T string | []byte](list, room []Keyed, depth int, at func(place uint32) T) {
	if len(list) < 2 {
		return
	}
	if len(list) <= few {
		slices.SortFunc(list, func(a, b Keyed) int {
			return cmp.Or(compare(at(a.Place), at(b.Place)), cmp.Compare(a.Place, b.Place))
		})
		return
	}
	depth += common(list, depth, at)
	longest := 0
	for i := range list {
		text := at(list[i].Place)
		longest = max(longest, len(text))
		list[i].Key = keyOf(text, depth)
	}
	if longest <= depth { // only the lengths differ, if anything
		for i := range list {
			list[i].Key = uint64(len(at(list[i].Place)))
		}
		ByKey(list, room)
		return
	}
	ByKey(list, room)
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && list[end].Key == list[start].Key {
			end++
		}
		order(list[start:end], room[start:end], depth+8, at)
		start = end
	}
}

// common returns how many bytes from depth on all texts have in common, which all reach that far or none has.
func common[T string | []byte](list []Keyed, depth int, at func(place uint32) T) int {
	first := at(list[0].Place)
	if len(first) <= depth {
		return 0
	}
	n := len(first) - depth
	for _, k := range list[1:] {
		text := at(k.Place)
		if len(text)-depth < n {
			n = max(len(text)-depth, 0)
		}
		i := 0
		for i < n && text[depth+i] == first[depth+i] {
			i++
		}
		if n = i; n == 0 {
			return 0
		}
	}
	return n
}

// keyOf returns 8 bytes of a text from depth on, zeros where it ends.
func keyOf[T string | []byte](text T, depth int) uint64 {
	var bytes [8]byte
	if depth < len(text) {
		copy(bytes[:], text[depth:])
	}
	return binary.BigEndian.Uint64(bytes[:])
}

func compare[T string | []byte](a, b T) int {
	// The compiler does not copy what is only compared.
	switch {
	case string(a) < string(b):
		return -1
	case string(a) > string(b):
		return 1
	}
	return 0
}

// ByKey sorts list by key; equal keys stay in their order. room is of the same length, and is overwritten.
func ByKey(list, room []Keyed) {
	if len(list) <= few {
		slices.SortStableFunc(list, func(a, b Keyed) int { return cmp.Compare(a.Key, b.Key) })
		return
	}
	var counts [8][256]uint32
	sorted := true
	last := uint64(0)
	for i := range list {
		key := list[i].Key
		sorted = sorted && last <= key
		last = key
		for d := range counts {
			counts[d][byte(key>>(8*d))]++
		}
	}
	if sorted {
		return
	}
	from, to := list, room
	for d := range counts {
		shift := 8 * d
		if counts[d][byte(from[0].Key>>shift)] == uint32(len(list)) {
			continue // all have the same byte here
		}
		start := uint32(0)
		for b, n := range counts[d] {
			counts[d][b] = start
			start += n
		}
		for _, k := range from {
			b := byte(k.Key >> shift)
			to[counts[d][b]] = k
			counts[d][b]++
		}
		from, to = to, from
	}
	if &from[0] != &list[0] {
		copy(list, from)
	}
}
