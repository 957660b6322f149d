package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is the name part of a resource, or a value of a condition, as tokens.
type pattern []token

type token struct {
	kind  tokenKind
	text  string // of a literal
	index int    // of a variable: in Policy.variables
}

type tokenKind uint8

const (
	literal  tokenKind = iota
	anyOne             // ?: one character
	anyRun             // *: any characters, none too
	variable           // ${key}
)

// match says whether name is an instance of the pattern; values are those of the policy's variables. It goes back to
// the last * only, which finds a match if there is one; the time is at most len(p) * len(name) steps.
func (p pattern) match(name string, values []value, deny bool) bool {
	t, at := 0, 0         // next token, next byte of name
	star, starAt := -1, 0 // last *, and where what follows it was tried
	for t < len(p) || at < len(name) {
		if t < len(p) {
			if p[t].kind == anyRun {
				if t == len(p)-1 {
					return true
				}
				star, starAt = t, at
				t++
				continue
			}
			if n := p[t].length(name[at:], values, deny); n >= 0 {
				t++
				at += n
				continue
			}
		}
		if star < 0 || starAt == len(name) {
			return false
		}
		_, n := utf8.DecodeRuneInString(name[starAt:])
		starAt += n
		t, at = star+1, starAt
	}
	return true
}

// length returns how many bytes of name the token takes, -1 if it does not fit.
func (t *token) length(name string, values []value, deny bool) int {
	text := t.text
	switch t.kind {
	case anyOne:
		if name == "" {
			return -1
		}
		_, n := utf8.DecodeRuneInString(name)
		return n
	case variable:
		v := &values[t.index]
		if !v.usable(deny) {
			return -1
		}
		text = v.text
	}
	if !strings.HasPrefix(name, text) {
		return -1
	}
	return len(text)
}

// usable says whether a value may be substituted.
func (v *value) usable(deny bool) bool { return v.text != "" && (v.plain || deny) }

// complete says whether all variables of the pattern may be substituted in an Allow statement.
func (p pattern) complete(values []value) bool {
	for i := range p {
		if p[i].kind == variable && !values[p[i].index].usable(false) {
			return false
		}
	}
	return true
}

// text returns the text of a pattern without wildcards; false if a variable cannot be substituted.
func (p pattern) text(values []value, deny bool) (string, bool) {
	var b strings.Builder
	for i := range p {
		text := p[i].text
		if p[i].kind == variable {
			v := &values[p[i].index]
			if !v.usable(deny) {
				return "", false
			}
			text = v.text
		}
		b.WriteString(text)
	}
	return b.String(), true
}
