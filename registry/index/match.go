package index

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bits-and-blooms/bitset"
)

// Match says which values a term matches. All texts in it are folded. It is made by the functions below and never
// changes: safe for concurrent use.
type Match struct {
	kind    matchKind
	text    string         // word, contains; of a glob the literal before its first wildcard
	words   []string       // phrase
	glob    string         // with AnyRun and AnyOne
	suffix  string         // the whole glob but its first AnyRun; "": it is another one
	regex   *regexp.Regexp // against the folded value
	literal string         // what every match has in it; "": nothing known

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
func Word(text string) *Match { return &Match{kind: word, text: Fold(text), literal: Fold(text)} }

// Phrase matches values that have these words one after the other.
func Phrase(text string) *Match {
	words := strings.Fields(Fold(text))
	if len(words) == 1 {
		return Word(words[0])
	}
	m := &Match{kind: phrase, words: words}
	for _, w := range words {
		if len(w) > len(m.literal) {
			m.literal = w
		}
	}
	return m
}

// Contains matches values that have the text somewhere in them.
func Contains(text string) *Match {
	return &Match{kind: contains, text: Fold(text), literal: Fold(text)}
}

// Glob matches values that have a word of that form.
func Glob(pattern string) *Match {
	m := &Match{kind: glob, glob: Fold(pattern)}
	if inner := strings.Trim(m.glob, string(AnyRun)); len(inner)+2 <= len(m.glob) && m.glob[0] == AnyRun && m.glob[len(m.glob)-1] == AnyRun &&
		!strings.ContainsAny(inner, string([]rune{AnyRun, AnyOne})) && !hasSpace(inner) {
		return Contains(inner) // what has no white space is within a word
	}
	m.text = m.glob[:strings.IndexAny(m.glob, string([]rune{AnyRun, AnyOne}))]
	for part := range strings.FieldsFuncSeq(m.glob, func(r rune) bool { return r == AnyRun || r == AnyOne }) {
		if len(part) > len(m.literal) {
			m.literal = part
		}
	}
	if m.glob == string(AnyRun)+m.literal { // looking at the ends is faster than looking for it
		m.suffix, m.literal = m.literal, ""
	}
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
		if oneWord && m.suffix != "" {
			return bytes.HasSuffix(value, []byte(m.suffix))
		}
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

// Select sets in dst the bit of every thing with a value of the field that matches. It returns how many different
// values it looked at, and ctx's error when ctx ends first; dst is then of no use.
func (x *Index) Select(ctx context.Context, dst *bitset.BitSet, field string, m *Match) (values int, err error) {
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
	n, err := f.scan(ctx, &f.numbers, dst, m)
	if err != nil {
		return n, err
	}
	if m.kind == between || m.kind == glob && f.spaced == 0 && m.text != "" {
		return n + f.selectTexts(dst, m), nil
	}
	more, err := f.scan(ctx, &f.texts, dst, m)
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

// selectTexts adds the things with a text that begins as m's literal, or that lies in m's range.
func (f *field) selectTexts(dst *bitset.BitSet, m *Match) (values int) {
	from := m.text
	if m.kind == between {
		from = m.lo
	}
	onlyPrefix := m.kind == glob && m.glob == m.text+string(AnyRun)
	o := &f.texts
	at, i, _ := o.find(0, from)
	for ; at < len(o.chunks); at, i = at+1, 0 {
		c := o.chunks[at]
		if last := c.value(len(c.refs) - 1); i == 0 && (onlyPrefix && bytes.HasPrefix(last, []byte(m.text)) ||
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
			case m.kind == glob && !bytes.HasPrefix(value, []byte(m.text)):
				return values
			}
			values++
			if onlyPrefix || m.verify(value, f.spaced == 0) {
				f.addTo(dst, c.refs[i])
			}
		}
	}
	return values
}

// scan looks at every value of an order. Where a match needs a literal, only values that have it are looked at closely.
func (f *field) scan(ctx context.Context, o *order, dst *bitset.BitSet, m *Match) (values int, err error) {
	literal := []byte(m.literal)
	for _, c := range o.chunks {
		if err := ctx.Err(); err != nil {
			return values, err
		}
		values += len(c.refs)
		if len(literal) == 0 {
			for i := range c.refs {
				if m.verify(c.value(i), f.spaced == 0) {
					f.addTo(dst, c.refs[i])
				}
			}
			continue
		}
		if m.kind == contains && c.nums == nil && f.scanTails(c, dst, literal) {
			continue
		}
		for from, i := 0, 0; ; {
			n := bytes.Index(c.blob[from:], literal)
			if n < 0 {
				break
			}
			from += n
			for int(c.ends[i]) <= from {
				i++
			}
			if from+len(literal) > int(c.ends[i]) { // across two values
				from++
				continue
			}
			if m.kind == contains || m.verify(c.value(i), f.spaced == 0) {
				f.addTo(dst, c.refs[i])
			}
			if from = int(c.ends[i]); from == len(c.blob) {
				break
			}
		}
	}
	return values, nil
}

// maxTail is up to how many bytes of a value a plain loop is faster than bytes.Index over the whole chunk.
const maxTail = 16

// scanTails adds the things with a text of a chunk that has the literal in it, by looking only behind what all texts of
// the chunk begin with, as numbered names and serials do. It returns false when that is not worth it.
func (f *field) scanTails(c *chunk, dst *bitset.BitSet, literal []byte) bool {
	common := c.common()
	if bytes.Contains(common, literal) {
		for _, ref := range c.refs {
			f.addTo(dst, ref)
		}
		return true
	}
	skip := len(common) - len(literal) + 1
	if skip <= 0 || len(c.blob)/len(c.refs)-skip > maxTail {
		return false
	}
	first, size, start := literal[0], len(literal), 0
	for i, end := range c.ends {
		for tail := c.blob[start+skip : end]; len(tail) >= size; tail = tail[1:] {
			if tail[0] == first && string(tail[:size]) == string(literal) {
				f.addTo(dst, c.refs[i])
				break
			}
		}
		start = int(end)
	}
	return true
}

// Keep clears in set the things whose value of a field does not match, by looking at each of them, if that is less work
// than looking at the values of the field: otherwise it returns false, and the set is as it was.
func (x *Index) Keep(set *bitset.BitSet, field string, m *Match) bool {
	f := x.fields[field]
	looksAtAll := m.kind == contains || m.kind == regex || m.kind == glob && m.text == ""
	if f == nil || x.value == nil || !looksAtAll {
		return false
	}
	// Looking up a value by thing takes about as long as looking at sixteen in a row.
	if values := f.numbers.len() + f.texts.len(); int(set.Count())*16 > values {
		return false
	}
	first, any := set.NextSet(0)
	if any {
		if _, ok := x.value(uint32(first), field); !ok {
			return false
		}
	}
	for id := range set.EachSet() {
		value, _ := x.value(uint32(id), field)
		if folded := Fold(value); folded == "" || !m.verify([]byte(folded), !hasSpace(folded)) {
			set.Clear(id)
		}
	}
	return true
}
