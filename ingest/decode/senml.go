package decode

import (
	"bytes"
	"strings"

	"muster/tsdb"
)

// senmlVersion is the newest version of SenML that is understood (RFC 8428 section 4.4).
const senmlVersion = 10

// relativeMs: a SenML time below 2^28 seconds counts from now (RFC 8428 section 4.5.3).
const relativeMs = 1000 << 28

// senmlField is a field of a SenML record by its CBOR label (RFC 8428 section 6, table 4).
type senmlField int8

const (
	fieldBaseSum     senmlField = -6
	fieldBaseValue   senmlField = -5
	fieldBaseUnit    senmlField = -4
	fieldBaseTime    senmlField = -3
	fieldBaseName    senmlField = -2
	fieldBaseVersion senmlField = -1
	fieldName        senmlField = 0
	fieldUnit        senmlField = 1
	fieldValue       senmlField = 2
	fieldString      senmlField = 3
	fieldBool        senmlField = 4
	fieldSum         senmlField = 5
	fieldTime        senmlField = 6
	fieldUpdateTime  senmlField = 7
	fieldData        senmlField = 8
	fieldUnknown     senmlField = 9
)

// senmlFieldOf returns the field of a JSON label.
func senmlFieldOf(label []byte) senmlField {
	switch string(label) {
	case "bn":
		return fieldBaseName
	case "bt":
		return fieldBaseTime
	case "bu":
		return fieldBaseUnit
	case "bv":
		return fieldBaseValue
	case "bs":
		return fieldBaseSum
	case "bver":
		return fieldBaseVersion
	case "n":
		return fieldName
	case "u":
		return fieldUnit
	case "v":
		return fieldValue
	case "vs":
		return fieldString
	case "vb":
		return fieldBool
	case "vd":
		return fieldData
	case "s":
		return fieldSum
	case "t":
		return fieldTime
	case "ut":
		return fieldUpdateTime
	}
	return fieldUnknown
}

// has is a set of fields that a record has; only those from fieldName on are in it.
type has uint16

func (h *has) set(f senmlField)    { *h |= 1 << f }
func (h has) of(f senmlField) bool { return h&(1<<f) != 0 }
func (h has) values() (n int) {
	for _, f := range [...]senmlField{fieldValue, fieldString, fieldBool, fieldData} {
		if h.of(f) {
			n++
		}
	}
	return n
}

// senml is the state of a pack: what the records before say of those behind them, and the record that is being decoded.
type senml struct {
	now       int64 // arrival, Unix milliseconds
	baseName  []byte
	baseTime  scalar // seconds
	baseValue scalar
	baseSum   scalar
	rowOpen   bool
	rowMs     int64

	has   has
	name  []byte // n, not escaped
	time  scalar
	value scalar
	sum   scalar
	text  []byte // vs, not escaped
	truth bool

	nameText, textText []byte // what name and text point to if the payload has them in another form
	resolved           []byte // bn + n
}

// startPack forgets the pack before.
func (s *senml) startPack(arrivalMs int64) {
	*s = senml{now: arrivalMs, baseName: s.baseName[:0], nameText: s.nameText, textText: s.textText, resolved: s.resolved}
}

// startRecord forgets the record before.
func (s *senml) startRecord() {
	s.has = 0
	s.name, s.text = nil, nil
}

// setText keeps n or vs; bn is copied elsewhere.
func (s *senml) setText(field senmlField, text []byte) {
	switch field {
	case fieldName:
		s.name = text
	case fieldString:
		s.text = text
		s.has.set(field)
	}
}

// setNumber keeps the number of a field, or checks the version of the pack.
func (s *senml) setNumber(field senmlField, v scalar) fault {
	switch field {
	case fieldBaseTime:
		s.baseTime = v
	case fieldBaseValue:
		s.baseValue = v
	case fieldBaseSum:
		s.baseSum = v
	case fieldBaseVersion:
		if version, fits := v.asFloat(); !fits || version > senmlVersion {
			return faultSenMLVersion
		}
	case fieldValue:
		s.value = v
		s.has.set(field)
	case fieldSum:
		s.sum = v
		s.has.set(field)
	case fieldTime:
		s.time = v
		s.has.set(field)
	}
	return ok
}

// endRecord resolves the record that began at i (RFC 8428 section 4.6) and adds its value to the row of its time, or to a new
// row if the record before had another time.
func (d *Decoder) endRecord(i int) (int, fault) {
	s := &d.senml
	values := s.has.values()
	if values > 1 {
		return i, faultSenMLValues
	}
	if values == 0 && !s.has.of(fieldSum) {
		return i, ok // only base fields
	}
	if s.has.of(fieldData) {
		d.skipped++
		if !s.has.of(fieldSum) {
			return i, ok
		}
	}
	s.resolved = append(append(s.resolved[:0], s.baseName...), s.name...)
	if len(s.resolved) == 0 {
		return i, faultSenMLName
	}
	if f := d.senmlRow(); f != ok {
		return i, f
	}
	name := d.senmlColumn(s.resolved)
	if values == 1 && !s.has.of(fieldData) {
		if f := d.addSenML(i, name); f != ok {
			return i, f
		}
	}
	if s.has.of(fieldSum) {
		sum, f := s.sum.plus(s.baseSum)
		if f != ok {
			return i, f
		}
		s.resolved = append(append(s.resolved[:0], name...), "_sum"...) // name may lie in resolved, at or behind its start
		key, f := d.keys.findPlain(s.resolved, rootKey)
		if f != ok {
			return i, f
		}
		return d.addScalar(i, i, key, sum)
	}
	return i, ok
}

// addSenML adds the value of the record at i, which has one, as the column called name.
func (d *Decoder) addSenML(i int, name []byte) fault {
	s := &d.senml
	key, f := d.keys.findPlain(name, rootKey)
	if f != ok {
		return f
	}
	switch {
	case s.has.of(fieldValue):
		var v scalar
		if v, f = s.value.plus(s.baseValue); f == ok {
			_, f = d.addScalar(i, i, key, v)
		}
	case s.has.of(fieldBool):
		v := tsdb.Value{Kind: tsdb.Bool}
		if s.truth {
			v.Mantissa = 1
		}
		_, f = d.add(i, i, key, v)
	default:
		_, f = d.addString(i, i, key, s.text)
	}
	return f
}

// senmlRow goes to the row of the record's time.
func (d *Decoder) senmlRow() fault {
	s := &d.senml
	at := s.baseTime
	if s.has.of(fieldTime) {
		var f fault
		if at, f = at.plus(s.time); f != ok {
			return faultTimeRange
		}
	}
	ms, fits := at.floorMs()
	if ms < relativeMs {
		ms += s.now
	}
	switch {
	case !fits || ms < 0:
		return faultTimeRange
	case s.rowOpen && ms == s.rowMs:
		return ok
	}
	f := d.endRows()
	d.begin()
	s.rowOpen, s.rowMs = true, ms
	return f
}

// endRows ends the row that is open, if one is.
func (d *Decoder) endRows() fault {
	if !d.senml.rowOpen {
		return ok
	}
	d.senml.rowOpen = false
	return d.finish(d.senml.rowMs)
}

// senmlColumn returns what of a resolved name becomes the column: the device in front of it is left out, be it a device URN
// (RFC 9039) or the thing's own name, and so is one separator behind that. If nothing else is left, the column is "value".
func (d *Decoder) senmlColumn(name []byte) []byte {
	rest := name
	if urn, is := bytes.CutPrefix(name, []byte("urn:dev:")); is {
		_, id, _ := bytes.Cut(urn, []byte(":"))
		rest = nil
		for i, c := range id {
			if c == ':' || c == '/' || c == '_' {
				rest = id[i+1:]
				break
			}
		}
	} else if d.Thing != "" && len(name) >= len(d.Thing) && string(name[:len(d.Thing)]) == d.Thing {
		switch {
		case len(name) == len(d.Thing):
			rest = nil
		case strings.IndexByte(":/_.-", name[len(d.Thing)]) >= 0:
			rest = name[len(d.Thing)+1:]
		}
	}
	if len(rest) == 0 {
		return append(name[:0], "value"...)
	}
	return rest
}
