package query

import (
	"cmp"
	"strings"
	"unicode"
)

// Place says what a person is writing at a place in a query, for completion.
type Place struct {
	Field     string // whose value it is; "": a field, a bare word or a keyword
	Prefix    string // what of it stands before the place, without escapes and quotes
	From, To  int    // of the whole word, in characters from 0
	AfterTerm bool   // a term stands before, so that AND and OR may follow
	Number    bool   // what is compared with a number follows: <, >, or a range
}

// PlaceAt reads a query, which may be unfinished, up to a place in characters from 0.
func PlaceAt(text string, at int) Place {
	runes := []rune(text)
	at = max(0, min(at, len(runes)))
	p := Place{}
	var word strings.Builder
	groups := []string{""} // fields of the groups around
	field, quoted := "", false
	before := "" // a word with only white space behind it: it may be a field
	begin := func(i int) {
		word.Reset()
		p.From = i
	}
	end := func(i int) { // of a word
		if w := word.String(); w != "" {
			p.AfterTerm = w != "AND" && w != "OR" && w != "NOT" || field != ""
		}
		before, field, p.Number = "", "", false
		begin(i)
	}
	for i := 0; i < at; i++ {
		c := runes[i]
		switch {
		case quoted && c == '"':
			quoted = false
			p.AfterTerm = true
			end(i + 1)
		case c == '\\' && i+1 < at:
			i++
			word.WriteRune(runes[i])
		case quoted:
			word.WriteRune(c)
		case c == '"' && word.Len() == 0:
			quoted = true
		case unicode.IsSpace(c) && p.Number && word.Len() == 0:
			p.From = i + 1
		case unicode.IsSpace(c):
			last := word.String()
			if field != "" || last == "" {
				last = before
			}
			end(i + 1)
			before = last
		case c == '(':
			if strings.HasPrefix(word.String(), telemetryRoot) && field == "" {
				word.WriteRune(c) // a window
				continue
			}
			inner := field
			if inner == "" {
				inner = groups[len(groups)-1]
			}
			groups = append(groups, inner)
			end(i + 1)
			p.AfterTerm = false
		case c == ')':
			if strings.Contains(word.String(), "(") {
				word.WriteRune(c)
				continue
			}
			end(i + 1)
			p.AfterTerm = true
			if len(groups) > 1 {
				groups = groups[:len(groups)-1]
			}
		case c == ':' && field == "" && groups[len(groups)-1] == "" && word.Len()+len(before) > 0:
			field, p.AfterTerm = cmp.Or(word.String(), before), false
			begin(i + 1)
		case c == '<' || c == '>' || c == '[' || c == '{':
			if field == "" {
				field = cmp.Or(word.String(), before)
			}
			p.Number, p.AfterTerm = true, false
			begin(i + 1)
		case c == '=' && p.Number && word.Len() == 0:
			begin(i + 1)
		case c == ']' || c == '}':
			end(i + 1)
			p.AfterTerm = true
		case c == '-' && word.Len() == 0 && field == "":
			begin(i + 1)
		default:
			word.WriteRune(c)
		}
	}
	p.Prefix = word.String()
	if p.Field = field; field == "" {
		p.Field = groups[len(groups)-1]
	}
	p.To = at
	for p.To < len(runes) && (quoted && runes[p.To] != '"' || !quoted && !unicode.IsSpace(runes[p.To]) && !endsWord(runes[p.To]) && runes[p.To] != ':') {
		p.To++
	}
	if quoted && p.To < len(runes) {
		p.To++
	}
	return p
}

// QuoteField returns the name of a field as it stands before the colon.
func QuoteField(name string) string {
	var b strings.Builder
	printWord(&b, name, true)
	return b.String()
}

// Quote returns a value as it stands behind field and colon, so that it is found as it is.
func Quote(value string) string {
	var b strings.Builder
	if strings.IndexFunc(value, unicode.IsSpace) >= 0 {
		printQuoted(&b, value)
	} else {
		printWord(&b, value, false)
	}
	return b.String()
}
