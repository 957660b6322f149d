package index

import (
	"bytes"
	"math/bits"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// grams are the pairs of neighboring bytes that a text has, hashed into numPlanes bits. A value that matches a wildcard or an expression has
// all pairs that are in its literals: this tells nearly all other values apart without reading them.
//
// The ends of a value and the white space in it are a byte of their own (edge), so that the beginning and the end of a word count.
type grams [numPlanes / 64]uint64

const (
	edge      = '\x00'
	numPlanes = 128
)

func (g *grams) add(a, b byte) {
	bit := (uint32(a)<<8 | uint32(b)) * 0x9e3779b1 >> 25 // Fibonacci hashing to 7 bits
	g[bit>>6] |= 1 << (bit & 63)
}

// addPiece adds the pairs of what is within a value; it may have edges in it.
func (g *grams) addPiece(text []byte) {
	for i := 1; i < len(text); i++ {
		g.add(text[i-1], text[i])
	}
}

// addWord adds the pairs of a whole value or word.
func (g *grams) addWord(text []byte) {
	if len(text) > 0 {
		text = edges(text)
		g.add(edge, text[0])
		g.addPiece(text)
		g.add(text[len(text)-1], edge)
	}
}

// gramsOf returns the pairs of a whole value.
func gramsOf(text []byte) (g grams) {
	before := byte(edge)
	for _, c := range text {
		if c >= utf8.RuneSelf {
			g = grams{}
			g.addWord(text)
			return g
		}
		if c == ' ' || '\t' <= c && c <= '\r' {
			c = edge
		}
		g.add(before, c)
		before = c
	}
	if len(text) > 0 {
		g.add(before, edge)
	}
	return g
}

// addGlob adds the pairs that every word of a form has.
func (g *grams) addGlob(glob string) {
	form := []byte(string(edge) + glob + string(edge))
	start := 0
	for i := 1; i < len(form)-1; i++ {
		if form[i] == AnyRun || form[i] == AnyOne {
			g.addPiece(form[start:i])
			start = i + 1
		}
	}
	g.addPiece(form[start:])
}

// addRegex adds the pairs that every value has in which an expression, in lower case, is found.
func (g *grams) addRegex(tree *syntax.Regexp) {
	switch tree.Op {
	case syntax.OpLiteral:
		g.addPiece(edges([]byte(string(tree.Rune))))
	case syntax.OpCapture, syntax.OpPlus:
		g.addRegex(tree.Sub[0])
	case syntax.OpRepeat:
		if tree.Min > 0 {
			g.addRegex(tree.Sub[0])
		}
	case syntax.OpAlternate:
		var each grams // that all of them have
		each.addRegex(tree.Sub[0])
		for _, sub := range tree.Sub[1:] {
			var some grams
			some.addRegex(sub)
			for w := range each {
				each[w] &= some[w]
			}
		}
		for w := range g {
			g[w] |= each[w]
		}
	case syntax.OpConcat:
		var piece []byte // of what is side by side
		for _, sub := range tree.Sub {
			switch sub.Op {
			case syntax.OpLiteral:
				piece = append(piece, edges([]byte(string(sub.Rune)))...)
			case syntax.OpBeginText, syntax.OpEndText:
				piece = append(piece, edge)
			default:
				g.addPiece(piece)
				piece = piece[:0]
				g.addRegex(sub)
			}
		}
		g.addPiece(piece)
	}
}

// list returns the numbers of the bits.
func (g *grams) list() (bitNumbers []uint8) {
	for w, word := range g {
		for ; word != 0; word &= word - 1 {
			bitNumbers = append(bitNumbers, uint8(w<<6|bits.TrailingZeros64(word)))
		}
	}
	return bitNumbers
}

// addAll adds the pairs of another text.
func (g *grams) addAll(other grams) {
	for w := range g {
		g[w] |= other[w]
	}
}

// haveAll says whether all pairs of another text are there.
func (g *grams) haveAll(other grams) bool {
	for w := range g {
		if other[w]&^g[w] != 0 {
			return false
		}
	}
	return true
}

// planes are the grams of the values of a chunk, turned over: for each bit, which values have it.
type planes [numPlanes]valueBits

// valueBits has one bit per value of a chunk.
type valueBits [maxChunkValues / 64]uint64

// set notes the grams of value i, which has none yet.
func (p *planes) set(i int, g grams) {
	for w, word := range g {
		for ; word != 0; word &= word - 1 {
			p[w<<6|bits.TrailingZeros64(word)][i>>6] |= 1 << (i & 63)
		}
	}
}

// fill notes the grams of n values, of which none has any yet: 64 at a time, turned over as a square of bits.
func (p *planes) fill(n int, value func(i int) []byte) {
	for from := 0; from < n; from += 64 {
		var squares [len(grams{})][64]uint64
		for i := range min(64, n-from) {
			for w, word := range gramsOf(value(from + i)) {
				squares[w][i] = word
			}
		}
		for w := range squares {
			transpose(&squares[w])
			for k, plane := range squares[w] {
				p[w<<6|k][from>>6] = plane
			}
		}
	}
}

// transpose makes bit i of word k bit k of word i (Hacker's Delight, 7-3).
func transpose(square *[64]uint64) {
	for j, mask := 32, uint64(1<<32-1); j > 0; j, mask = j>>1, mask^mask<<(j>>1) {
		for k := 0; k < 64; k = (k + j + 1) &^ j {
			t := (square[k]>>j ^ square[k+j]) & mask
			square[k] ^= t << j
			square[k+j] ^= t
		}
	}
}

// some returns the pairs that any value has.
func (p *planes) some() (g grams) {
	for k := range p {
		if p[k] != (valueBits{}) {
			g[k>>6] |= 1 << (k & 63)
		}
	}
	return g
}

// insert makes room for value i, without grams.
func (p *planes) insert(i int) {
	for k := range p {
		plane := &p[k]
		w := i >> 6
		below := plane[w] & (1<<(i&63) - 1)
		carry := plane[w] >> 63
		plane[w] = below | (plane[w]^below)<<1
		for w++; w < len(plane); w++ {
			carry, plane[w] = plane[w]>>63, plane[w]<<1|carry
		}
	}
}

// remove takes value i out.
func (p *planes) remove(i int) {
	for k := range p {
		plane := &p[k]
		w := i >> 6
		below := plane[w] & (1<<(i&63) - 1)
		plane[w] = below | (plane[w]^below)>>1&^(1<<(i&63)-1)
		for w++; w < len(plane); w++ {
			plane[w-1] |= plane[w] << 63
			plane[w] >>= 1
		}
	}
}

// having returns the first n values, those only that have all of some bits.
func (p *planes) having(bitNumbers []uint8, n int) (all valueBits) {
	for w := range n >> 6 {
		all[w] = ^uint64(0)
	}
	if n&63 > 0 {
		all[n>>6] = 1<<(n&63) - 1
	}
	for _, k := range bitNumbers {
		plane := &p[k]
		for w := range all {
			all[w] &= plane[w]
		}
	}
	return all
}

// edges puts an edge in the place of each white space.
func edges(text []byte) []byte {
	if !hasSpace(text) {
		return text
	}
	return bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return edge
		}
		return r
	}, text)
}
