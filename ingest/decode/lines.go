package decode

import (
	"math"
	"time"
	"unicode/utf8"

	"muster/tsdb"
)

// Tag is one tag of a point, without escapes.
type Tag struct {
	Key, Value []byte
	at         int
}

// Field is one field of a point, without escapes.
type Field struct {
	Key   []byte
	Value tsdb.Value // of a number or a boolean; of a string only the kind
	Text  []byte     // of a string
	at    int
}

// Lines reads the points of a payload in InfluxDB line protocol one after the other:
//
//	for lines.Reset(payload); lines.Next(); {
//		... lines.Measurement, lines.Tags, lines.Fields, lines.TimeMs
//	}
//	err := lines.Err()
//
// It is the format of https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. It allocates nothing once its
// buffers are large enough. The exported fields but Unit are those of the point that Next found, valid until the next call. The zero
// Lines is ready; it is not safe for concurrent use.
type Lines struct {
	Unit time.Duration // of the timestamps; 0: nanoseconds, and coarser ones are told by their magnitude

	Measurement []byte
	Tags        []Tag
	Fields      []Field // at least one
	TimeMs      int64   // Unix milliseconds, valid if HasTime
	HasTime     bool

	p     []byte
	start int    // of the point
	i     int    // the next line, or where it failed
	f     fault  // why it failed
	text  []byte // names and values whose escapes are taken out
}

// Reset begins with a payload, which must not change while it is read.
func (l *Lines) Reset(payload []byte) {
	l.p, l.i, l.f = payload, 0, ok
	if !utf8.Valid(payload) {
		l.f = faultUTF8
		for len(payload) > 0 {
			r, size := utf8.DecodeRune(payload)
			if r == utf8.RuneError && size == 1 {
				break
			}
			l.i += size
			payload = payload[size:]
		}
	}
}

// Err returns why Next stopped, a *Malformed, or nil at the end of the payload.
func (l *Lines) Err() error {
	if l.f != ok {
		return &Malformed{Reason: reasons[l.f], Offset: l.i}
	}
	return nil
}

// Next goes to the next point. It returns false at the end, and where a line is not well-formed.
func (l *Lines) Next() bool {
	if l.f != ok {
		return false
	}
	p := l.p
	i := l.i
	for i < len(p) { // blank lines and comments
		switch p[i] {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case '#':
			for i < len(p) && p[i] != '\n' {
				i++
			}
			continue
		}
		break
	}
	if l.i = i; i == len(p) {
		return false
	}
	l.start = i
	l.i, l.f = l.point(i)
	return l.f == ok
}

// point reads the point at p[i] with its line end.
func (l *Lines) point(i int) (int, fault) {
	l.text = l.text[:0]
	l.Tags = l.Tags[:0]
	l.Fields = l.Fields[:0]
	l.HasTime = false
	p := l.p
	at := i
	l.Measurement, i = l.word(i, false)
	if len(l.Measurement) == 0 {
		return at, faultLineMeasurement
	}
	for i < len(p) && p[i] == ',' {
		if len(l.Tags) == maxColumns {
			return i, faultColumns
		}
		t := Tag{at: i + 1}
		t.Key, i = l.word(i+1, true)
		if len(t.Key) == 0 || i == len(p) || p[i] != '=' {
			return t.at, faultLineTag
		}
		t.Value, i = l.word(i+1, true)
		if len(t.Value) == 0 || i < len(p) && p[i] == '=' {
			return t.at, faultLineTag
		}
		if len(t.Value) > maxValueBytes {
			return t.at, faultStringLen
		}
		l.Tags = append(l.Tags, t)
	}
	if i == len(p) || p[i] != ' ' {
		return i, faultLineFields
	}
	i = blanks(p, i)
	for {
		if len(l.Fields) == maxColumns {
			return i, faultColumns
		}
		l.Fields = append(l.Fields, Field{at: i})
		field := &l.Fields[len(l.Fields)-1]
		field.Key, i = l.word(i, true)
		if len(field.Key) == 0 || i == len(p) || p[i] != '=' {
			return field.at, faultLineFields
		}
		var f fault
		if i, f = l.value(i+1, field); f != ok {
			return i, f
		}
		if i == len(p) || p[i] != ',' {
			break
		}
		i++
	}
	return l.ending(i)
}

// ending reads what follows the fields, from p[i] on: a timestamp or not, and the end of the line.
func (l *Lines) ending(i int) (int, fault) {
	p := l.p
	fields := i
	i = blanks(p, i)
	if i < len(p) && p[i] != '\n' && p[i] != '\r' {
		at := i
		if i == fields {
			return at, faultLineTime // right behind a string
		}
		neg, mant, end := lineInteger(p, i)
		if end == i {
			return at, faultLineTime
		}
		i = blanks(p, end)
		var f fault
		if l.TimeMs, f = l.milliseconds(neg, mant); f != ok {
			return at, f
		}
		l.HasTime = true
	}
	if i < len(p) && p[i] == '\r' {
		i++
	}
	if i < len(p) && p[i] != '\n' {
		return i, faultLineTime
	}
	return min(i+1, len(p)), ok
}

// milliseconds converts a timestamp.
func (l *Lines) milliseconds(neg bool, mant uint64) (int64, fault) {
	if l.Unit == 0 {
		return whole(neg, mant).unixMs()
	}
	const most = 1e14 // the year 5138
	if l.Unit < time.Millisecond {
		mant /= uint64(time.Millisecond / l.Unit)
	} else if unit := uint64(l.Unit / time.Millisecond); mant <= most/unit {
		mant *= unit
	} else {
		mant = most
	}
	if neg || mant >= most {
		return 0, faultTimeRange
	}
	return int64(mant), ok
}

// word reads a measurement, or a key or value, from p[i] on, without its escapes, and returns the index of the comma, equal
// sign, blank or line end behind it. An equal sign does not end a measurement.
func (l *Lines) word(i int, key bool) (word []byte, next int) {
	p := l.p
	start := i
	for ; i < len(p); i++ {
		switch p[i] {
		case ',', ' ', '\n', '\r':
			return p[start:i], i
		case '=':
			if key {
				return p[start:i], i
			}
		case '\\':
			return l.escapedWord(start, i, key)
		}
	}
	return p[start:], i
}

// escapedWord is word from start on, whose first backslash is p[i].
func (l *Lines) escapedWord(start, i int, key bool) (word []byte, next int) {
	p := l.p
	from := len(l.text)
	l.text = append(l.text, p[start:i]...)
	for ; i < len(p); i++ {
		c := p[i]
		switch {
		case c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '=' && key:
			return l.text[from:], i
		case c == '\\' && i+1 < len(p) && (p[i+1] == ',' || p[i+1] == ' ' || p[i+1] == '=' && key):
			i++
			c = p[i]
		}
		l.text = append(l.text, c)
	}
	return l.text[from:], i
}

// value reads the value at p[i] into field.
func (l *Lines) value(i int, field *Field) (int, fault) {
	p := l.p
	if i == len(p) {
		return i, faultLineValue
	}
	switch c := p[i]; {
	case c == '"':
		return l.quoted(i+1, field)
	case c-'0' <= 9 || c == '-': // most fields: a float as JSON writes it
		if n, end, f := scanNumber(p, i); f == ok && endsValue(p, end) {
			if v, short := n.decimalValue(); short {
				field.Value = v
				return end, ok
			}
		}
	}
	end := i
	for !endsValue(p, end) {
		end++
	}
	word := p[i:end]
	switch string(word) {
	case "t", "T", "true", "True", "TRUE":
		field.Value = tsdb.Value{Mantissa: 1, Kind: tsdb.Bool}
		return end, ok
	case "f", "F", "false", "False", "FALSE":
		field.Value = tsdb.Value{Kind: tsdb.Bool}
		return end, ok
	case "":
		return i, faultLineValue
	}
	switch c := word[len(word)-1]; c {
	case 'i', 'u':
		neg, mant, stop := lineInteger(word, 0)
		if stop == 0 || stop != len(word)-1 {
			return i, faultLineInteger
		}
		if c == 'u' && neg || c == 'i' && (mant > 1<<63 || mant == 1<<63 && !neg) {
			return i, faultLineInteger
		}
		var f fault
		field.Value, f = scalar{n: whole(neg, mant)}.value()
		return end, f
	}
	return l.float(i, end, field)
}

// endsValue reports whether an unquoted value that began before p[i] ends there.
func endsValue(p []byte, i int) bool {
	return i == len(p) || p[i] == ',' || p[i] == ' ' || p[i] == '\n' || p[i] == '\r'
}

// float reads the float p[i:end] into field. Digits may be missing on one side of the point.
func (l *Lines) float(i, end int, field *Field) (int, fault) {
	word := l.p[i:end]
	n, stop, f := scanNumber(word, 0)
	if f != ok || stop != len(word) {
		// Not as JSON writes numbers: put into that form.
		from := len(l.text)
		if l.text, f = appendJSONNumber(l.text, word); f != ok {
			return i, f
		}
		word = l.text[from:]
		if n, stop, f = scanNumber(word, 0); f != ok || stop != len(word) {
			return i, faultLineValue
		}
	}
	if v, short := n.decimalValue(); short {
		field.Value = v
		return end, ok
	}
	v, fits := parseFloat(word)
	if !fits {
		return i, faultNumberRange
	}
	field.Value = floatValue(v)
	return end, ok
}

// appendJSONNumber appends a number such as +1, 007, .5 or 1.e3 as JSON writes it.
func appendJSONNumber(dst, word []byte) ([]byte, fault) {
	if len(word) > 0 && (word[0] == '-' || word[0] == '+') {
		if word[0] == '-' {
			dst = append(dst, '-')
		}
		word = word[1:]
	}
	for len(word) > 1 && word[0] == '0' && word[1]-'0' <= 9 {
		word = word[1:]
	}
	point := 0
	for point < len(word) && word[point]-'0' <= 9 {
		point++
	}
	dst = append(dst, word[:point]...)
	if point == 0 {
		dst = append(dst, '0')
	}
	if point == len(word) || word[point] != '.' {
		if point == 0 {
			return dst, faultLineValue
		}
		return append(dst, word[point:]...), ok
	}
	frac := point + 1
	for frac < len(word) && word[frac]-'0' <= 9 {
		frac++
	}
	dst = append(dst, word[point:frac]...)
	if frac == point+1 {
		if point == 0 {
			return dst, faultLineValue
		}
		dst = append(dst, '0')
	}
	return append(dst, word[frac:]...), ok
}

// quoted reads the string whose first byte is p[i] into field. Only \" and \\ are escapes in it.
func (l *Lines) quoted(i int, field *Field) (int, fault) {
	p := l.p
	start := i
	field.Value.Kind = tsdb.String
	for ; i < len(p) && p[i] != '\\'; i++ {
		if p[i] == '"' {
			field.Text = p[start:i]
			return l.checkText(i+1, field)
		}
	}
	from := len(l.text)
	l.text = append(l.text, p[start:i]...)
	for ; i < len(p); i++ {
		c := p[i]
		if c == '"' {
			field.Text = l.text[from:]
			return l.checkText(i+1, field)
		}
		if c == '\\' && i+1 < len(p) && (p[i+1] == '"' || p[i+1] == '\\') {
			i++
			c = p[i]
		}
		l.text = append(l.text, c)
	}
	return start - 1, faultLineQuote
}

// checkText checks the length of a string field that ends before next.
func (l *Lines) checkText(next int, field *Field) (int, fault) {
	if len(field.Text) > maxValueBytes {
		return field.at, faultStringLen
	}
	return next, ok
}

// lineInteger reads a whole number at p[i] and returns the index behind it, which is i if there is none, or none that 64 bits hold.
func lineInteger(p []byte, i int) (neg bool, mant uint64, next int) {
	start := i
	if i < len(p) && (p[i] == '-' || p[i] == '+') {
		neg = p[i] == '-'
		i++
	}
	first := i
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		c := uint64(p[i] - '0')
		if mant > (math.MaxUint64-c)/10 {
			return false, 0, start
		}
		mant = mant*10 + c
	}
	if i == first {
		return false, 0, start
	}
	return neg, mant, i
}

// blanks returns the index of the first byte at or after p[i] that is no blank.
func blanks(p []byte, i int) int {
	for i < len(p) && p[i] == ' ' {
		i++
	}
	return i
}

// influx decodes the points of a payload. A field is the column measurement_field, or measurement if it is called "value"; a tag
// is the string column measurement_tag.
func (d *Decoder) influx(p []byte, arrivalMs int64) (int, fault) {
	l := &d.lines
	for l.Reset(p); l.Next(); {
		d.begin()
		measurement, f := d.keys.findPlain(l.Measurement, rootKey)
		if f != ok {
			return l.start, f
		}
		for i := range l.Tags {
			t := &l.Tags[i]
			key, f := d.keys.findPlain(t.Key, measurement)
			if f == ok {
				_, f = d.addText(t.at, t.at, key, t.Value)
			}
			if f != ok {
				return t.at, f
			}
		}
		for i := range l.Fields {
			if f := d.influxField(measurement, &l.Fields[i]); f != ok {
				return l.Fields[i].at, f
			}
		}
		at := arrivalMs
		if l.HasTime {
			at = l.TimeMs
		}
		if f := d.finish(at); f != ok {
			return l.start, f
		}
	}
	return l.i, l.f
}

func (d *Decoder) influxField(measurement keyID, field *Field) fault {
	key := measurement
	var f fault
	if string(field.Key) != "value" {
		if key, f = d.keys.findPlain(field.Key, measurement); f != ok {
			return f
		}
	}
	if field.Value.Kind == tsdb.String {
		_, f = d.addText(field.at, field.at, key, field.Text)
	} else {
		_, f = d.add(field.at, field.at, key, field.Value)
	}
	return f
}
