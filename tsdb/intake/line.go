package intake

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// lineReader reads InfluxDB line protocol, a point at a time
// [https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/]:
//
//	measurement[,tag=value...] field=value[,field=value...] [timestamp]
//
// A line that cannot be read costs itself only. What next found is valid until the next call.
type lineReader struct {
	src  []byte
	i    int // where the next line begins
	line int // of the point, from 1
	text []byte

	measurement []byte
	tags        []linePair
	fields      []lineField
	timestamp   int64
	timed       bool
}

type linePair struct{ name, value []byte }

// lineField is a field. kind is one of "fbs": number, boolean, text.
type lineField struct {
	name   []byte
	text   []byte
	number float64
	kind   byte
}

// maxLineParts bounds the tags and the fields of one line.
const maxLineParts = 4096

func (l *lineReader) reset(src []byte) {
	*l = lineReader{src: src, text: l.text[:0], tags: l.tags[:0], fields: l.fields[:0]}
}

// next reads the next point. ok is false at the end; err is that of one line, and the next call goes on behind it.
func (l *lineReader) next() (ok bool, err error) {
	for l.i < len(l.src) {
		l.line++
		start := l.i
		for l.i < len(l.src) && (l.src[l.i] == ' ' || l.src[l.i] == '\t' || l.src[l.i] == '\r') {
			l.i++
		}
		if c := l.peek(); c == '\n' || c == '#' {
			l.skipLine()
			continue
		}
		err := l.point()
		if err != nil {
			l.i = start
			l.skipLine()
			return true, err
		}
		// Texts may span lines.
		l.line += bytes.Count(l.src[start:max(start, l.i-1)], []byte("\n"))
		return true, nil
	}
	return false, nil
}

// peek returns the next byte; the end of the body ends a line.
func (l *lineReader) peek() byte {
	if l.i < len(l.src) {
		return l.src[l.i]
	}
	return '\n'
}

func (l *lineReader) skipLine() {
	if n := bytes.IndexByte(l.src[l.i:], '\n'); n >= 0 {
		l.i += n + 1
		return
	}
	l.i = len(l.src)
}

// point reads one line and its end.
func (l *lineReader) point() error {
	l.text, l.tags, l.fields, l.timed = l.text[:0], l.tags[:0], l.fields[:0], false
	l.measurement = l.word(", ", false)
	if len(l.measurement) == 0 {
		return errors.New("the measurement has no name")
	}
	for l.peek() == ',' {
		l.i++
		name := l.word(",= ", true)
		if len(name) == 0 || l.peek() != '=' {
			return errors.New("a tag is not name=value")
		}
		l.i++
		value := l.word(",= ", true)
		if len(value) == 0 || l.peek() == '=' {
			return fmt.Errorf("the value of tag %.64q is missing or has a bare =", name)
		}
		if len(l.tags) == maxLineParts {
			return fmt.Errorf("more than %d tags", maxLineParts)
		}
		l.tags = append(l.tags, linePair{name, value})
	}
	if !l.spaces() {
		return errors.New("there are no fields")
	}
	for {
		if err := l.field(); err != nil {
			return err
		}
		if l.peek() != ',' {
			break
		}
		l.i++
	}
	if l.spaces() && !l.atEnd() {
		word := l.plain()
		var err error
		if l.timestamp, err = strconv.ParseInt(string(word), 10, 64); err != nil {
			return fmt.Errorf("the timestamp %.32q is no whole number", word)
		}
		l.timed = true
		l.spaces()
	}
	if !l.atEnd() {
		return fmt.Errorf("there is more behind the point: %.32q", l.plain())
	}
	l.skipLine()
	return nil
}

func (l *lineReader) atEnd() bool {
	return l.peek() == '\n' || l.peek() == '\r' && (l.i+1 == len(l.src) || l.src[l.i+1] == '\n')
}

func (l *lineReader) spaces() bool {
	start := l.i
	for l.peek() == ' ' {
		l.i++
	}
	return l.i > start
}

// plain reads up to a comma, a space or the end of the line.
func (l *lineReader) plain() []byte {
	start := l.i
	for c := l.peek(); c != ',' && c != ' ' && c != '\n' && !(c == '\r' && l.atEnd()); c = l.peek() {
		l.i++
	}
	return l.src[start:l.i]
}

// word reads a name or tag value up to one of stops or the end of the line and takes out its escapes: a backslash before a comma or
// space, and before = where equals. Other backslashes are themselves.
func (l *lineReader) word(stops string, equals bool) []byte {
	start, from := l.i, len(l.text)
	escaped := false
	for ; l.i < len(l.src); l.i++ {
		c := l.src[l.i]
		if c == '\\' && l.i+1 < len(l.src) {
			if next := l.src[l.i+1]; next == ',' || next == ' ' || equals && next == '=' {
				if !escaped {
					l.text, escaped = append(l.text, l.src[start:l.i]...), true
				}
				l.text = append(l.text, next)
				l.i++
				continue
			}
		}
		if c == '\n' || strings.IndexByte(stops, c) >= 0 {
			break
		}
		if escaped {
			l.text = append(l.text, c)
		}
	}
	if escaped {
		return l.text[from:len(l.text):len(l.text)]
	}
	return l.src[start:l.i:l.i]
}

// field reads name=value.
func (l *lineReader) field() error {
	name := l.word(",= ", true)
	if len(name) == 0 || l.peek() != '=' {
		return errors.New("a field is not name=value")
	}
	l.i++
	if len(l.fields) == maxLineParts {
		return fmt.Errorf("more than %d fields", maxLineParts)
	}
	f := lineField{name: name, kind: 'f'}
	if l.peek() == '"' {
		var ok bool
		if f.text, ok = l.quoted(); !ok {
			return fmt.Errorf("the text of field %.64q has no end", name)
		}
		f.kind = 's'
		l.fields = append(l.fields, f)
		return nil
	}
	word := l.plain()
	if len(word) == 0 {
		return fmt.Errorf("the value of field %.64q is missing", name)
	}
	var err error
	switch last := word[len(word)-1]; string(word) {
	case "t", "T", "true", "True", "TRUE":
		f.kind, f.number = 'b', 1
	case "f", "F", "false", "False", "FALSE":
		f.kind = 'b'
	default:
		switch {
		case last == 'i':
			var n int64
			n, err = strconv.ParseInt(string(word[:len(word)-1]), 10, 64)
			f.number = float64(n)
		case last == 'u':
			var n uint64
			n, err = strconv.ParseUint(string(word[:len(word)-1]), 10, 64)
			f.number = float64(n)
		case last < '0' && last != '.' || last > '9' || bytes.ContainsAny(word, "_xXpP"):
			err = strconv.ErrSyntax // words and other notations that ParseFloat knows
		default:
			f.number, err = strconv.ParseFloat(string(word), 64)
		}
	}
	if err != nil {
		return fmt.Errorf("the value %.32q of field %.64q is no number, boolean or quoted text", word, name)
	}
	l.fields = append(l.fields, f)
	return nil
}

// quoted reads a text in double quotes, in which a backslash escapes a quote or a backslash.
func (l *lineReader) quoted() ([]byte, bool) {
	l.i++
	start, from := l.i, len(l.text)
	escaped := false
	for ; l.i < len(l.src); l.i++ {
		c := l.src[l.i]
		if c == '\\' && l.i+1 < len(l.src) && (l.src[l.i+1] == '"' || l.src[l.i+1] == '\\') {
			if !escaped {
				l.text, escaped = append(l.text, l.src[start:l.i]...), true
			}
			l.i++
			l.text = append(l.text, l.src[l.i])
			continue
		}
		if c == '"' {
			l.i++
			if escaped {
				return l.text[from:len(l.text):len(l.text)], true
			}
			return l.src[start : l.i-1 : l.i-1], true
		}
		if escaped {
			l.text = append(l.text, c)
		}
	}
	return nil, false
}
