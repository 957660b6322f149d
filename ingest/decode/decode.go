// Package decode turns payloads of telemetry messages into rows of the twin store, without an allocation once it has seen
// the keys of a fleet.
//
// It does not know topics, connections or the store beyond the store's value type and dictionary. The lane and the broker
// call it, each worker with a Decoder of its own; it has no goroutines and no locks.
//
// Decode tells the format by the content type or the first bytes (dispatch.go), after taking off a compression (unpack.go). JSON is
// RFC 8259, strictly: an object is one row, an array of objects several. Numbers go straight from text to a decimal mantissa and
// exponent, booleans and strings (as dictionary entries) become columns of their own kinds, null is left out, keys of nested
// objects are joined by an underscore. CBOR is of the same shape; SenML, InfluxDB line protocol (also without a Decoder: Lines)
// and Sparkplug B have rules of their own. All of them are in docs/formats/payloads.md.
package decode

import (
	"strconv"
	"unicode/utf8"
	"unsafe"

	"muster/tsdb"
)

// Limits of one payload. Beyond them it is refused.
const (
	maxRows       = 1000
	maxColumns    = 256 // of a row
	maxDepth      = 8   // of objects in a row, itself included
	maxNameBytes  = 128
	maxValueBytes = 1024 // of a string, after its escapes
)

// Row is one message: the values of one thing at one time. Each metric occurs once in Values.
type Row struct {
	TimeMs int64 // Unix milliseconds
	Values []tsdb.Value
}

// Decoder decodes one payload after the other and reuses its buffers, which stay as large as the largest payload needed.
// It is not safe for concurrent use.
type Decoder struct {
	Thing  string  // whose payloads come; the names of SenML records lose it. Set it as often as it changes
	Schema *Schema // of that thing; nil: none
	// Encoding is the content encoding that the next payload of Decode is said to have, "" if nothing is said: its first bytes tell.
	Encoding []byte
	// Device is a device of a Sparkplug edge node whose metrics are columns of the node's thing: its name stands in front of theirs.
	Device []byte

	dict   *tsdb.Dict
	keys   keys
	rows   []Row
	values []tsdb.Value // of all rows of the payload, row by row
	text   []byte       // the string that is being unescaped

	skipped  uint64
	unpacked unpacker
	lines    Lines
	senml    senml

	// The row that is being decoded.
	start    int   // where its values begin
	timeMs   int64 // valid if timeRank > 0
	timeRank uint8
}

// New returns a decoder that names columns and strings by dict.
func New(dict *tsdb.Dict) *Decoder {
	return &Decoder{dict: dict, keys: newKeys()}
}

// JSON decodes a payload. Rows come in the order of the payload; one without a column is left out. The time of a row is its
// top-level key ts, else timestamp, else time (a number in s, ms, us or ns, or an RFC 3339 string), else arrivalMs.
//
// If a key occurs twice in a row, or two keys make the same column name, the last one wins. The rows are valid until the next
// call; payload is not kept. Every error is a *Malformed.
func (d *Decoder) JSON(payload []byte, arrivalMs int64) ([]Row, error) {
	d.reset()
	return d.result(d.document(payload, arrivalMs))
}

// reset prepares for the next payload.
func (d *Decoder) reset() {
	d.rows = d.rows[:0]
	d.values = d.values[:0]
	d.keys.trim()
}

// result is what a call returns after the decoding of its payload ended at i.
func (d *Decoder) result(i int, f fault) ([]Row, error) {
	if f != ok {
		return nil, &Malformed{Reason: reasons[f], Offset: i}
	}
	return d.rows, nil
}

// document decodes the whole payload: one object, or an array of them. As in all functions here, the index that comes with a
// fault is its place.
func (d *Decoder) document(p []byte, arrivalMs int64) (int, fault) {
	i := skip(p, 0)
	if i == len(p) {
		return i, faultEmpty
	}
	var f fault
	switch p[i] {
	case '{':
		i, f = d.row(p, i, arrivalMs)
	case '[':
		i, f = d.array(p, i+1, arrivalMs)
	default:
		return i, faultTop
	}
	if f != ok {
		return i, f
	}
	if i = skip(p, i); i < len(p) {
		return i, faultTrailing
	}
	return i, ok
}

// array decodes the rows of the top-level array whose bracket is behind it.
func (d *Decoder) array(p []byte, i int, arrivalMs int64) (int, fault) {
	if i = skip(p, i); i < len(p) && p[i] == ']' {
		return i + 1, ok
	}
	for n := 1; ; n++ {
		switch {
		case i == len(p):
			return i, faultEnd
		case p[i] != '{':
			return i, faultElement
		case n > maxRows:
			return i, faultRows
		}
		var f fault
		if i, f = d.row(p, i, arrivalMs); f != ok {
			return i, f
		}
		if i = skip(p, i); i == len(p) {
			return i, faultEnd
		}
		if p[i] == ']' {
			return i + 1, ok
		}
		if p[i] != ',' {
			return i, faultComma
		}
		i = skip(p, i+1)
	}
}

// row decodes the object at p[i] into a row.
func (d *Decoder) row(p []byte, i int, arrivalMs int64) (int, fault) {
	d.begin()
	i, f := d.object(p, i+1, rootKey, 1)
	if f != ok {
		return i, f
	}
	if d.timeRank > 0 {
		arrivalMs = d.timeMs
	}
	return i, d.finish(arrivalMs)
}

// begin starts a row.
func (d *Decoder) begin() {
	d.start = len(d.values)
	d.timeRank = 0
	d.keys.startRow()
}

// finish ends the row and keeps it if it has a column.
func (d *Decoder) finish(timeMs int64) fault {
	if d.Schema != nil {
		d.shape()
	}
	if len(d.values) == d.start {
		return ok
	}
	if len(d.rows) == maxRows {
		return faultRows
	}
	d.rows = append(d.rows, Row{TimeMs: timeMs, Values: d.values[d.start:len(d.values):len(d.values)]})
	return ok
}

// object decodes the members of the object below parent; its brace is behind i.
func (d *Decoder) object(p []byte, i int, parent keyID, depth int) (int, fault) {
	if i = skip(p, i); i < len(p) && p[i] == '}' {
		return i + 1, ok
	}
	for {
		if i == len(p) {
			return i, faultEnd
		}
		if p[i] != '"' {
			return i, faultKey
		}
		key, i2, f := d.keys.find(p, i+1, parent)
		if f != ok {
			return i2, f
		}
		i = i2
		if i == len(p) || p[i] != ':' {
			if i = skip(p, i); i == len(p) {
				return i, faultEnd
			}
			if p[i] != ':' {
				return i, faultColon
			}
		}
		i = skip(p, i+1)
		if rank := d.keys.nodes[key].timeRank; rank > 0 {
			i, f = d.time(p, i, rank)
		} else {
			i, f = d.value(p, i, key, depth)
		}
		if f != ok {
			return i, f
		}
		if i = skip(p, i); i == len(p) {
			return i, faultEnd
		}
		if p[i] == '}' {
			return i + 1, ok
		}
		if p[i] != ',' {
			return i, faultComma
		}
		i = skip(p, i+1)
	}
}

// value decodes the value of a key, at p[i].
func (d *Decoder) value(p []byte, i int, key keyID, depth int) (int, fault) {
	if i == len(p) {
		return i, faultEnd
	}
	switch c := p[i]; c {
	case '"':
		return d.str(p, i+1, key)
	case '{':
		if depth == maxDepth {
			return i, faultDepth
		}
		return d.object(p, i+1, key, depth+1)
	case '[':
		if end := skip(p, i+1); end < len(p) && p[end] == ']' {
			return end + 1, ok
		}
		return i, faultArray
	case 't':
		if !literal(p, i, "true") {
			return i, faultValue
		}
		return d.add(i, i+len("true"), key, tsdb.Value{Mantissa: 1, Kind: tsdb.Bool})
	case 'f':
		if !literal(p, i, "false") {
			return i, faultValue
		}
		return d.add(i, i+len("false"), key, tsdb.Value{Kind: tsdb.Bool})
	case 'n':
		if !literal(p, i, "null") {
			return i, faultValue
		}
		return i + len("null"), ok
	default:
		if c != '-' && c-'0' > 9 {
			return i, faultValue
		}
		return d.number(p, i, key)
	}
}

// number decodes the number at p[i] into a column.
func (d *Decoder) number(p []byte, i int, key keyID) (int, fault) {
	n, end, f := scanNumber(p, i)
	if f != ok {
		return end, f
	}
	if v, short := n.decimalValue(); short {
		return d.add(i, end, key, v)
	}
	v, fits := parseFloat(p[i:end])
	if !fits {
		return i, faultNumberRange
	}
	return d.add(i, end, key, floatValue(v))
}

// parseFloat returns the double nearest to the number that text, which must not be empty, spells, or false if it is too large.
// TestFloatText holds this against the plain conversion.
func parseFloat(text []byte) (float64, bool) {
	// ParseFloat does not keep its argument; a conversion to string would allocate for texts of more than 32 bytes.
	v, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return v, err == nil
}

// str decodes the string behind the quote before p[i] into a column.
func (d *Decoder) str(p []byte, i int, key keyID) (int, fault) {
	s, end, f := d.stringAt(p, i)
	if f != ok {
		return end, f
	}
	return d.addText(i, end, key, s)
}

// addText is add of a string value, which must be UTF-8.
func (d *Decoder) addText(i, end int, key keyID, s []byte) (int, fault) {
	if len(s) > maxValueBytes {
		return i, faultStringLen
	}
	id, err := d.dict.String(s)
	if err != nil {
		return i, faultStringsFull
	}
	return d.add(i, end, key, tsdb.Value{Mantissa: int64(id), Kind: tsdb.String})
}

// addString is add of a string value that may not be UTF-8.
func (d *Decoder) addString(i, end int, key keyID, s []byte) (int, fault) {
	if !utf8.Valid(s) {
		return i, faultUTF8
	}
	return d.addText(i, end, key, s)
}

// addScalar is add of a number.
func (d *Decoder) addScalar(i, end int, key keyID, s scalar) (int, fault) {
	v, f := s.value()
	if f != ok {
		return i, f
	}
	return d.add(i, end, key, v)
}

// stringAt returns the text of the string behind the quote before p[i], valid until the next call, and the index behind it.
func (d *Decoder) stringAt(p []byte, i int) ([]byte, int, fault) {
	raw, escaped, end, f := scanString(p, i)
	if f != ok || !escaped {
		return raw, end, f
	}
	s, at, f := unescape(d.text[:0], raw)
	d.text = s
	if f != ok {
		return nil, i + at, f
	}
	return s, end, ok
}

// add sets the column of key in the current row to v, whose text is p[i:end], and passes end on.
func (d *Decoder) add(i, end int, key keyID, v tsdb.Value) (int, fault) {
	column := d.keys.nodes[key].column
	if column == noKey {
		var f fault
		if column, f = d.keys.resolve(d.dict, key); f != ok {
			return i, f
		}
	}
	node := &d.keys.nodes[column]
	v.Metric = node.metric
	if node.row == d.keys.row { // the column was set before in this row
		d.values[node.at] = v
		return end, ok
	}
	if len(d.values)-d.start == maxColumns {
		return i, faultColumns
	}
	node.row = d.keys.row
	node.at = int32(len(d.values))
	d.values = append(d.values, v)
	return end, ok
}

// time decodes the value of a time key, at p[i]. The key of the highest rank in a row gives its time.
func (d *Decoder) time(p []byte, i int, rank uint8) (int, fault) {
	if i == len(p) {
		return i, faultEnd
	}
	var ms int64
	end := i
	var f fault
	switch c := p[i]; {
	case c == '"':
		var s []byte
		if s, end, f = d.stringAt(p, i+1); f != ok {
			return end, f
		}
		ms, f = parseTime(s)
	case c == '-' || c-'0' <= 9:
		var n number
		if n, end, f = scanNumber(p, i); f != ok {
			return end, f
		}
		ms, f = n.unixMs()
	case literal(p, i, "null"):
		return i + len("null"), ok
	default:
		return i, faultTime
	}
	if f != ok {
		return i, f
	}
	if rank >= d.timeRank {
		d.timeRank, d.timeMs = rank, ms
	}
	return end, ok
}

// literal reports whether p[i:] begins with word.
func literal(p []byte, i int, word string) bool {
	return len(p)-i >= len(word) && string(p[i:i+len(word)]) == word
}

// skip returns the index of the first byte at or after i that is no white space (RFC 8259 section 2).
func skip(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}
