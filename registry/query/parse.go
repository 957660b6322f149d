package query

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"muster/registry/index"
)

// Limits of a query.
const (
	// DefaultMaxTerms is how many terms a query has at most. AWS's limit is 12.
	DefaultMaxTerms = 512
	maxBytes        = 16 << 10
	maxDepth        = 64
)

// Error says what is wrong with a query, and where.
type Error struct {
	At      int    // in characters from 0
	Message string // a sentence that says what to do
}

func (e *Error) Error() string { return fmt.Sprintf("%s (at position %d)", e.Message, e.At) }

// Options say how a query is read. Zero is the documented language.
type Options struct {
	// Typed reads bare words as people type them, see the package comment.
	Typed    bool
	MaxTerms int // default DefaultMaxTerms
}

// Parse reads a query. An error is an *Error.
func Parse(text string, opts Options) (*Query, error) {
	if opts.MaxTerms == 0 {
		opts.MaxTerms = DefaultMaxTerms
	}
	if len(text) > maxBytes {
		return nil, &Error{0, fmt.Sprintf("a query has at most %d bytes, this one has %d; make it shorter", maxBytes, len(text))}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{0, "the query is not valid UTF-8"}
	}
	p := &parser{text: []rune(text), opts: opts, prepared: map[*Term]*index.Match{}}
	for i, r := range p.text {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return nil, &Error{i, "there is a control character; take it out"}
		}
	}
	p.space()
	if p.done() {
		return nil, &Error{0, "the query is empty; * finds everything"}
	}
	root, err := p.or("", 0)
	if err != nil {
		return nil, err
	}
	if !p.done() {
		return nil, p.fail(p.at, "there is a ) too many")
	}
	return newQuery(root, opts, p.prepared)
}

// parser reads by recursive descent. Each method leaves p.at behind white space.
type parser struct {
	text     []rune
	at       int
	terms    int
	opts     Options
	prepared map[*Term]*index.Match // of regular expressions and areas
}

func (p *parser) fail(at int, format string, args ...any) error {
	return &Error{at, fmt.Sprintf(format, args...)}
}

func (p *parser) done() bool { return p.at == len(p.text) }

// peek returns the next character, 0 at the end.
func (p *parser) peek() rune {
	if p.done() {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) space() {
	for !p.done() && unicode.IsSpace(p.text[p.at]) {
		p.at++
	}
}

// keyword reads AND, OR, NOT or TO when it stands there as a word of its own.
func (p *parser) keyword(word string) bool {
	end := p.at + len(word)
	if end > len(p.text) || string(p.text[p.at:end]) != word {
		return false
	}
	if end < len(p.text) {
		if r := p.text[end]; !unicode.IsSpace(r) && (!endsWord(r) || r == '<' || r == '>') {
			return false
		}
	}
	p.at = end
	p.space()
	return true
}

// or reads a list of alternatives. field is that of the group around, "" if there is none.
func (p *parser) or(field string, depth int) (Node, error) {
	if depth > maxDepth {
		return nil, p.fail(p.at, "the query is nested deeper than %d levels; make it flatter", maxDepth)
	}
	return p.list(field, depth, "OR", p.and)
}

func (p *parser) and(field string, depth int) (Node, error) {
	return p.list(field, depth, "AND", p.not)
}

// list reads one or more parts with word between them; AND may be left out.
func (p *parser) list(field string, depth int, word string, part func(string, int) (Node, error)) (Node, error) {
	var parts []Node
	for {
		n, err := part(field, depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, n)
		if p.keyword(word) {
			continue
		}
		if word == "AND" && !p.done() && p.peek() != ')' && !p.ahead("OR") {
			continue
		}
		switch {
		case len(parts) == 1:
			return parts[0], nil
		case word == "AND":
			return And(parts), nil
		}
		return Or(parts), nil
	}
}

// ahead says whether a keyword comes next.
func (p *parser) ahead(word string) bool {
	from := p.at
	found := p.keyword(word)
	p.at = from
	return found
}

func (p *parser) not(field string, depth int) (Node, error) {
	if depth > maxDepth {
		return nil, p.fail(p.at, "the query is nested deeper than %d levels; make it flatter", maxDepth)
	}
	at := p.at
	switch {
	case p.done():
		return nil, p.fail(at, "a condition is missing at the end")
	case p.peek() == ')':
		return nil, p.fail(at, "a condition is missing before the )")
	case p.ahead("AND") || p.ahead("OR"):
		word := "AND"
		if p.ahead("OR") {
			word = "OR"
		}
		return nil, p.fail(at, "a condition is missing before %s; write \"%[1]s\" in quotes to search for the word", word)
	case p.keyword("NOT"):
		return p.negated(field, depth)
	case p.peek() == '-':
		p.at++
		p.space()
		return p.negated(field, depth)
	case p.peek() == '(':
		return p.group(field, depth)
	}
	return p.term(field, depth)
}

func (p *parser) negated(field string, depth int) (Node, error) {
	n, err := p.not(field, depth+1)
	if err != nil {
		return nil, err
	}
	return Not{n}, nil
}

func (p *parser) group(field string, depth int) (Node, error) {
	open := p.at
	p.at++
	p.space()
	n, err := p.or(field, depth+1)
	if err != nil {
		return nil, err
	}
	if p.peek() != ')' {
		return nil, p.fail(open, "this ( is not closed")
	}
	p.at++
	p.space()
	return n, nil
}

// term reads a term, or a field with a group behind it.
func (p *parser) term(field string, depth int) (Node, error) {
	at := p.at
	if p.terms++; p.terms > p.opts.MaxTerms {
		return nil, p.fail(at, "a query has at most %d terms; make it shorter", p.opts.MaxTerms)
	}
	if field != "" || p.peek() == '"' || p.peek() == '[' || p.peek() == '{' {
		// Inside a group of a field all is a value; elsewhere a quote cannot begin a field.
		return p.value(field, at)
	}
	word, err := p.word(true)
	if err != nil {
		return nil, err
	}
	if p.peek() == '(' && strings.HasPrefix(word, telemetryRoot) {
		if word, err = p.window(word, at); err != nil {
			return nil, err
		}
		if p.space(); p.peek() != ':' && p.peek() != '<' && p.peek() != '>' {
			return nil, p.fail(at, "after %s comes a comparison, such as >60, or :*", word)
		}
	}
	p.space()
	switch r := p.peek(); r {
	case ':':
		colon := p.at
		if err := p.checkField(word, at); err != nil {
			if p.opts.Typed && err == errBare {
				return p.bareWithColon(at)
			}
			return nil, err
		}
		p.at++
		p.space()
		if p.peek() == '(' {
			p.terms--
			return p.group(word, depth)
		}
		if p.done() || p.peek() == ')' {
			return nil, p.fail(colon, "a value is missing after %s:", word)
		}
		return p.value(word, at)
	case '<', '>':
		switch err := p.checkField(word, at); err {
		case nil:
			return p.comparison(word, at)
		case errBare:
			return nil, p.fail(at, "there is no field %s; write \\%c to search for the %[2]c", word, r)
		default:
			return nil, err
		}
	}
	return wordTerm("", word, at), nil
}

// comparison reads field < number.
func (p *parser) comparison(field string, at int) (Node, error) {
	op := string(p.peek())
	p.at++
	if p.peek() == '=' {
		op += "="
		p.at++
	}
	p.space()
	from := p.at
	text, err := p.word(false)
	if err != nil || !isBound(text) {
		return nil, p.fail(from, "after %s comes a number, such as 75, or a time, such as now-1h", op)
	}
	p.space()
	t := &Term{Field: field, Kind: Range, At: at}
	bound := Bound{Text: text, Open: len(op) == 1}
	if op[0] == '<' {
		t.Lo, t.Hi = Bound{Open: false}, bound
	} else {
		t.Lo, t.Hi = bound, Bound{Open: false}
	}
	return t, nil
}

// value reads what stands behind field and colon.
func (p *parser) value(field string, at int) (Node, error) {
	switch r := p.peek(); {
	case r == '"':
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		if len(strings.Fields(text)) == 0 {
			return nil, p.fail(at, "there is nothing in the quotes; * finds what has any value")
		}
		p.space()
		return &Term{Field: field, Kind: Phrase, Text: text, At: at}, nil
	case r == '[' || r == '{':
		return p.rangeOf(field, at)
	case r == '/' && field != "":
		return p.regex(field, at)
	case r == '<' || r == '>':
		if field == "" {
			return nil, p.fail(p.at, "a field is missing before the %c", r)
		}
		return p.comparison(field, at)
	}
	word, err := p.word(false)
	if err != nil {
		return nil, err
	}
	p.space()
	if field != "" && strings.HasPrefix(word, "geo_") && strings.Contains(word, ",") {
		return p.area(field, word, at)
	}
	return wordTerm(field, word, at), nil
}

// area makes a term of geo_distance,48.1,11.5,10km and the like.
func (p *parser) area(field, text string, at int) (Node, error) {
	shape, err := index.ParseShape(text)
	if err != nil {
		return nil, p.fail(at, "%v", err)
	}
	t := &Term{Field: field, Kind: Area, Text: text, At: at}
	p.prepared[t] = index.Geo(shape)
	return t, nil
}

func wordTerm(field, word string, at int) *Term {
	if strings.Trim(word, string(index.AnyRun)) == "" {
		return &Term{Field: field, Kind: Exists, At: at}
	}
	return &Term{Field: field, Kind: Word, Text: word, At: at}
}

// word reads a word with its escapes and wildcards. A bare one ends at a colon: it may be a field.
func (p *parser) word(bare bool) (string, error) {
	from := p.at
	var b strings.Builder
	for ; !p.done(); p.at++ {
		r := p.text[p.at]
		switch {
		case unicode.IsSpace(r) || endsWord(r) || bare && r == ':':
			return p.wordDone(&b, from)
		case r == '\\':
			if p.at++; p.done() {
				return "", p.fail(p.at-1, `there is nothing behind the \; write \\ to search for it`)
			}
			r = p.text[p.at]
		case r == '*':
			r = index.AnyRun
		case r == '?':
			r = index.AnyOne
		}
		b.WriteRune(r)
	}
	return p.wordDone(&b, from)
}

func (p *parser) wordDone(b *strings.Builder, from int) (string, error) {
	if b.Len() > 0 {
		return b.String(), nil
	}
	if p.done() {
		return "", p.fail(from, "a value is missing at the end")
	}
	return "", p.fail(from, `%q cannot stand here; write \%[1]c to search for it`, p.peek())
}

func (p *parser) quoted() (string, error) {
	open := p.at
	var b strings.Builder
	for p.at++; !p.done(); p.at++ {
		r := p.text[p.at]
		if r == '"' {
			p.at++
			return b.String(), nil
		}
		if r == '\\' {
			if p.at++; p.done() {
				break
			}
			r = p.text[p.at]
		}
		b.WriteRune(r)
	}
	return "", p.fail(open, "this quote is not closed")
}

func (p *parser) regex(field string, at int) (Node, error) {
	open := p.at
	var b strings.Builder
	for p.at++; !p.done(); p.at++ {
		r := p.text[p.at]
		if r == '/' {
			p.at++
			if text := b.String(); text != "" {
				p.space()
				m, err := index.Regex(text)
				if err != nil {
					return nil, p.fail(open, "this is not a regular expression (RE2, at most %d bytes): %v", index.MaxRegexLen, err)
				}
				t := &Term{Field: field, Kind: Regex, Text: text, At: at}
				p.prepared[t] = m
				return t, nil
			}
			return nil, p.fail(open, "there is nothing between the slashes")
		}
		if r == '\\' && p.at+1 < len(p.text) {
			if p.at++; p.text[p.at] != '/' {
				b.WriteRune('\\')
			}
			r = p.text[p.at]
		}
		b.WriteRune(r)
	}
	return nil, p.fail(open, `this regular expression is not closed by a /; write \/ to search for a value that begins with one`)
}

// rangeOf reads [lo TO hi].
func (p *parser) rangeOf(field string, at int) (Node, error) {
	open := p.at
	if field == "" {
		return nil, p.fail(open, "a range needs a field before it, such as attributes.floor:[1 TO 3]")
	}
	t := &Term{Field: field, Kind: Range, At: at}
	t.Lo.Open = p.peek() == '{'
	p.at++
	p.space()
	var err error
	if t.Lo.Text, t.Lo.Quoted, err = p.bound(); err != nil {
		return nil, err
	}
	if !p.keyword("TO") {
		return nil, p.fail(p.at, "TO is missing in the range; write [1 TO 3]")
	}
	if t.Hi.Text, t.Hi.Quoted, err = p.bound(); err != nil {
		return nil, err
	}
	if r := p.peek(); r != ']' && r != '}' {
		return nil, p.fail(open, "this range is not closed by a ] or }")
	}
	t.Hi.Open = p.peek() == '}'
	p.at++
	p.space()
	if t.Lo.Quoted != t.Hi.Quoted && !t.Lo.none() && !t.Hi.none() {
		return nil, p.fail(open, "a range is from number to number or from text to text; put both in quotes for texts")
	}
	// No bound is neither open nor closed.
	t.Lo.Open = t.Lo.Open && !t.Lo.none()
	t.Hi.Open = t.Hi.Open && !t.Hi.none()
	return t, nil
}

func (b Bound) none() bool { return b.Text == "" && !b.Quoted }

// bound reads an end of a range. Words that are no numbers are texts.
func (p *parser) bound() (text string, quoted bool, err error) {
	if p.peek() == '"' {
		text, err = p.quoted()
		p.space()
		return text, true, err
	}
	from := p.at
	if text, err = p.word(false); err != nil {
		return "", false, err
	}
	p.space()
	switch {
	case text == string(index.AnyRun):
		return "", false, nil
	case strings.ContainsAny(text, string([]rune{index.AnyRun, index.AnyOne})):
		return "", false, p.fail(from, "an end of a range has no wildcards; a * alone is no bound")
	}
	return text, !isBound(text), nil
}

// Fields that a typed query may have before a colon; others make a bare word with a colon in it.
var (
	plainFields = []string{"thingName", "thingId", "thingTypeName", "thingGroupNames", "group", "billingGroupName"}
	fieldRoots  = []string{"attributes.", "registry.", "connectivity.", "cert.", "telemetry.", "shadow.", "deviceDefender."}
)

// errBare says that what stands before a colon is no field.
var errBare = &Error{Message: "not a field"}

// checkField checks the name of a field. Names have case: one that differs in it only is a mistake.
func (p *parser) checkField(field string, at int) error {
	if strings.ContainsAny(field, string([]rune{index.AnyRun, index.AnyOne})) {
		if p.opts.Typed {
			return errBare
		}
		return p.fail(at, "the name of a field has no wildcards")
	}
	if !p.opts.Typed || slices.Contains(plainFields, field) {
		return nil
	}
	for _, root := range fieldRoots {
		if strings.HasPrefix(field, root) {
			return nil
		}
		if len(field) >= len(root) && strings.EqualFold(field[:len(root)], root) {
			return p.fail(at, "there is no field %s; the case of a field matters: %s%s", field, root, field[len(root):])
		}
	}
	for _, known := range plainFields {
		if strings.EqualFold(field, known) {
			return p.fail(at, "there is no field %s; the case of a field matters: %s", field, known)
		}
	}
	return errBare
}

// bareWithColon reads a bare word again, with its colons.
func (p *parser) bareWithColon(at int) (Node, error) {
	p.at = at
	word, err := p.word(false)
	if err != nil {
		return nil, err
	}
	p.space()
	return wordTerm("", word, at), nil
}
