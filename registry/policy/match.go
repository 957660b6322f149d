package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is the name part of a resource, as tokens.
type pattern []token

type token struct {
	kind tokenKind
	text string   // literal: itself; attribute: its key
	name variable // fixed
}

type tokenKind uint8

const (
	literal   tokenKind = iota
	anyOne              // ?: one character
	anyRun              // *: any characters, none too
	fixed               // a variable with a name of its own
	attribute           // ${iot:Connection.Thing.Attributes[key]}
)

// variable is a variable with a name of its own.
type variable uint8

const (
	clientID variable = iota
	thingName
	thingTypeName
	variables
)

var variableNames = [variables]string{
	"iot:ClientId", "iot:Connection.Thing.ThingName", "iot:Connection.Thing.ThingTypeName",
}

// values are the variables of one connection.
type values struct {
	fixed      [variables]value
	attributes []boundAttribute
}

type boundAttribute struct {
	key string
	value
}

// value is a text to substitute. One that is not plain is used by Deny statements only: there its text, still a
// literal, can but forbid more.
type value struct {
	text  string
	plain bool
}

// anyLevels is a value that may span topic levels.
func anyLevels(text string) value {
	return value{text, utf8.ValidString(text) && !strings.ContainsAny(text, "*?+#$\x00")}
}

// oneLevel is a value that is to stay within one topic level.
func oneLevel(text string) value {
	v := anyLevels(text)
	v.plain = v.plain && !strings.Contains(text, "/")
	return v
}

// match says whether name is an instance of the pattern. It goes back to the last * only, which finds a match if
// there is one; the time is at most len(p) * len(name) steps.
func (p pattern) match(name string, vals *values, deny bool) bool {
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
			if n := p[t].length(name[at:], vals, deny); n >= 0 {
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
func (t *token) length(name string, vals *values, deny bool) int {
	text := t.text
	switch t.kind {
	case anyOne:
		if name == "" {
			return -1
		}
		_, n := utf8.DecodeRuneInString(name)
		return n
	case fixed:
		v := vals.fixed[t.name]
		if v.text == "" || !v.plain && !deny {
			return -1
		}
		text = v.text
	case attribute:
		v := vals.attribute(t.text)
		if v.text == "" || !v.plain && !deny {
			return -1
		}
		text = v.text
	}
	if !strings.HasPrefix(name, text) {
		return -1
	}
	return len(text)
}

func (v *values) attribute(key string) value {
	for i := range v.attributes {
		if v.attributes[i].key == key {
			return v.attributes[i].value
		}
	}
	return value{}
}
