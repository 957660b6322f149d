package index

import (
	"bytes"
	"context"
	"math/bits"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bits-and-blooms/bitset"
)

// Match says which values a term matches. All texts in it are folded. It is made by the functions below and never
// changes: safe for concurrent use.
type Match struct {
	kind     matchKind
	text     string         // word, contains; of a glob and a regex what the word or the value begins with
	allBegin bool           // all that begin with text match
	words    []string       // phrase
	glob     string         // with AnyRun and AnyOne
	regex    *regexp.Regexp // against the folded value
	grams    grams          // that every value has which matches

	lo, hi         string // between
	noLo, noHi     bool
	min, max       float64 // within
	loOpen, hiOpen bool    // the bound itself is not in
	shape          *Shape  // area
}

type matchKind uint8

const (
	exists matchKind = iota
	word
	phrase
	glob
	contains
	regex
	between
	within
	area
)

// Wildcards in the text of Glob.
const (
	AnyRun = '\x00' // any number of characters
	AnyOne = '\x01' // one character
)

// Exists matches every value.
func Exists() *Match { return &Match{kind: exists} }

// Word matches values that have that word.
func Word(text string) *Match {
	return &Match{kind: word, text: Fold(text), grams: gramsOf([]byte(Fold(text)))}
}

// Phrase matches values that have these words one after the other.
func Phrase(text string) *Match {
	words := strings.Fields(Fold(text))
	if len(words) == 1 {
		return Word(words[0])
	}
	m := &Match{kind: phrase, words: words}
	for _, w := range words {
		m.grams.addWord([]byte(w))
	}
	return m
}

// Contains matches values that have the text somewhere in them.
func Contains(text string) *Match {
	m := &Match{kind: contains, text: Fold(text)}
	m.grams.addPiece(edges([]byte(m.text)))
	return m
}

// Glob matches values that have a word of that form.
func Glob(pattern string) *Match {
	m := &Match{kind: glob, glob: Fold(pattern)}
	m.grams.addGlob(m.glob)
	if inner := strings.Trim(m.glob, string(AnyRun)); len(inner)+2 <= len(m.glob) && m.glob[0] == AnyRun && m.glob[len(m.glob)-1] == AnyRun &&
		!strings.ContainsAny(inner, string([]rune{AnyRun, AnyOne})) && !hasSpace(inner) {
		return Contains(inner) // what has no white space is within a word
	}
	m.text = m.glob[:strings.IndexAny(m.glob, string([]rune{AnyRun, AnyOne}))]
	m.allBegin = m.glob == m.text+string(AnyRun)
	return m
}

// Prefix matches values that have a word that begins with the text.
func Prefix(text string) *Match { return Glob(text + string(AnyRun)) }

// TextRange matches values between lo and hi by bytes; nil is no bound, open leaves the bound itself out.
func TextRange(lo, hi *string, loOpen, hiOpen bool) *Match {
	m := &Match{kind: between, noLo: lo == nil, noHi: hi == nil, loOpen: loOpen, hiOpen: hiOpen}
	if lo != nil {
		m.lo = Fold(*lo)
	}
	if hi != nil {
		m.hi = Fold(*hi)
	}
	return m
}

// NumberRange matches values that are numbers between lo and hi, which may be infinite; open leaves the bound itself out.
func NumberRange(lo, hi float64, loOpen, hiOpen bool) *Match {
	return &Match{kind: within, min: lo, max: hi, loOpen: loOpen, hiOpen: hiOpen}
}

// Geo matches values that are places (ParsePoint) in a shape.
func Geo(s *Shape) *Match { return &Match{kind: area, shape: s} }

func (m *Match) inNumbers(n float64) bool {
	return (n > m.min || n == m.min && !m.loOpen) && (n < m.max || n == m.max && !m.hiOpen)
}

// verify says whether a folded value matches. oneWord says that there is no white space in it. It is not called for
// numbers of NumberRange.
func (m *Match) verify(value []byte, oneWord bool) bool {
	switch m.kind {
	case exists:
		return true
	case contains:
		return bytes.Contains(value, []byte(m.text))
	case regex:
		return m.regex.Match(value)
	case area:
		p, ok := ParsePoint(string(value))
		return ok && m.shape.Contains(p)
	case between:
		lo, hi := compareText(value, m.lo), compareText(value, m.hi)
		return (m.noLo || lo > 0 || lo == 0 && !m.loOpen) && (m.noHi || hi < 0 || hi == 0 && !m.hiOpen)
	case word:
		if string(value) == m.text {
			return true
		}
		return !oneWord && eachWord(value, func(w []byte) bool { return string(w) == m.text })
	case glob:
		if oneWord {
			return globMatch(m.glob, value)
		}
		return eachWord(value, func(w []byte) bool { return globMatch(m.glob, w) })
	case phrase:
		words := bytes.Fields(value)
		for from := 0; from+len(m.words) <= len(words); from++ {
			n := 0
			for n < len(m.words) && string(words[from+n]) == m.words[n] {
				n++
			}
			if n == len(m.words) {
				return true
			}
		}
	}
	return false
}

// Exact returns the folded word that a value without white space must be, if that is all that the match says.
func (m *Match) Exact() (folded string, ok bool) { return m.text, m.kind == word }

// MatchesWord says whether a folded value without white space matches.
func (m *Match) MatchesWord(folded string) bool {
	if m.kind == within {
		num, ok := ParseNumber(folded)
		return ok && m.inNumbers(num)
	}
	return m.verify([]byte(folded), true)
}

// eachWord calls f for the words of a value until it returns true, and says whether it did.
func eachWord(value []byte, f func([]byte) bool) bool {
	for len(value) > 0 {
		n := bytes.IndexFunc(value, unicode.IsSpace)
		if n < 0 {
			return f(value)
		}
		if n > 0 && f(value[:n]) {
			return true
		}
		_, size := utf8.DecodeRune(value[n:])
		value = value[n+size:]
	}
	return false
}

// globMatch matches in time of at most the product of the lengths: only the last AnyRun is ever tried again.
func globMatch(pattern string, text []byte) bool {
	p, t := 0, 0
	retryP, retryT := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == AnyRun:
			retryP, retryT = p+1, t
			p++
		case p < len(pattern) && pattern[p] == AnyOne:
			_, size := utf8.DecodeRune(text[t:])
			p, t = p+1, t+size
		case p < len(pattern) && pattern[p] == text[t]:
			p, t = p+1, t+1
		case retryP >= 0:
			_, size := utf8.DecodeRune(text[retryT:])
			retryT += size
			p, t = retryP, retryT
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == AnyRun {
		p++
	}
	return p == len(pattern)
}

// Select sets in dst the bit of every thing with a value of the field that matches. Only those in among matter, nil for all:
// of others it may set the bit or not. It returns how many different values it looked at, and ctx's error when ctx ends
// first; dst is then of no use.
func (x *Index) Select(ctx context.Context, dst *bitset.BitSet, field string, m *Match, among *bitset.BitSet) (values int, err error) {
	if c := x.columns[field]; c != nil {
		c.match(dst, &x.live, m)
		return int(x.live.Count()), nil
	}
	if lookUp := x.elsewhere[field]; lookUp != nil {
		return lookUp(dst, m), nil
	}
	f := x.fields[field]
	if f == nil {
		return 0, nil
	}
	switch m.kind {
	case exists:
		f.has.AddTo(dst)
		return 1, nil
	case within:
		return f.selectNumbers(dst, m), nil
	case area:
		return f.cells.eachIn(m.shape, func(id uint32) { dst.Set(uint(id)) }), nil
	case word:
		if f.spaced == 0 {
			o, num := f.orderOf(m.text)
			if at, i, found := o.find(num, m.text); found {
				f.addTo(dst, o.chunks[at].refs[i])
				return 1, nil
			}
			return 0, nil
		}
	case phrase:
		if f.spaced == 0 {
			return 0, nil
		}
	}
	n, err := f.scan(ctx, &f.numbers, dst, m, among)
	if err != nil {
		return n, err
	}
	if m.kind == between || m.text != "" && (m.kind == glob && f.spaced == 0 || m.kind == regex) {
		return n + f.selectTexts(dst, m, among), nil
	}
	more, err := f.scan(ctx, &f.texts, dst, m, among)
	return n + more, err
}

// selectNumbers adds the things with a number in a range.
func (f *field) selectNumbers(dst *bitset.BitSet, m *Match) (values int) {
	o := &f.numbers
	at, i, _ := o.find(m.min, "")
	for ; at < len(o.chunks); at, i = at+1, 0 {
		c := o.chunks[at]
		for ; i < len(c.refs); i++ {
			if c.nums[i] > m.max {
				return values
			}
			values++
			if m.inNumbers(c.nums[i]) {
				f.addTo(dst, c.refs[i])
			}
		}
	}
	return values
}

// selectTexts adds the things with a text that begins as m's does, or that lies in m's range.
func (f *field) selectTexts(dst *bitset.BitSet, m *Match, among *bitset.BitSet) (values int) {
	from := m.text
	if m.kind == between {
		from = m.lo
	}
	o := &f.texts
	at, i, _ := o.find(0, from)
	for ; at < len(o.chunks); at, i = at+1, 0 {
		c := o.chunks[at]
		if last := c.value(len(c.refs) - 1); i == 0 && (m.allBegin && bytes.HasPrefix(last, []byte(m.text)) ||
			m.kind == between && (m.noLo || compareText(c.value(0), m.lo) > 0) && (m.noHi || compareText(last, m.hi) < 0)) {
			for _, ref := range c.refs { // the whole chunk lies within
				f.addTo(dst, ref)
			}
			values += len(c.refs)
			continue
		}
		for ; i < len(c.refs); i++ {
			value := c.value(i)
			switch {
			case m.kind == between && !m.noHi && compareText(value, m.hi) > 0:
				return values
			case m.kind != between && !bytes.HasPrefix(value, []byte(m.text)):
				return values
			}
			values++
			if m.allBegin || f.matches(c, i, m, among) {
				f.addTo(dst, c.refs[i])
			}
		}
	}
	return values
}

// scan looks at every value of an order.
func (f *field) scan(ctx context.Context, o *order, dst *bitset.BitSet, m *Match, among *bitset.BitSet) (values int, err error) {
	need := m.grams.list()
	for _, c := range o.chunks {
		if err := ctx.Err(); err != nil {
			return values, err
		}
		values += len(c.refs)
		if !c.some.haveAll(m.grams) {
			continue // as most chunks of names for a word that stands in none
		}
		for w, word := range c.grams.having(need, len(c.refs)) {
			for ; word != 0; word &= word - 1 {
				if i := w<<6 | bits.TrailingZeros64(word); f.matches(c, i, m, among) {
					f.addTo(dst, c.refs[i])
				}
			}
		}
	}
	return values, nil
}

// matches says whether a value matches and a thing in among has it.
func (f *field) matches(c *chunk, i int, m *Match, among *bitset.BitSet) bool {
	if ref := c.refs[i]; among != nil && ref < multi && !among.Test(uint(ref)) {
		return false
	}
	return m.verify(c.value(i), f.spaced == 0)
}
