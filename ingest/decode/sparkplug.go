package decode

import (
	"bytes"
	"math"
	"unicode/utf8"

	"muster/tsdb"
)

// Datatypes of Sparkplug (specification 3.0.0, chapter 6, as sparkplug_b.proto of Eclipse Tahu numbers them).
const (
	spInt8     = 1
	spInt16    = 2
	spInt32    = 3
	spInt64    = 4
	spUInt8    = 5
	spUInt64   = 8
	spDateTime = 13
)

// metric is one metric of a Sparkplug payload.
type metric struct {
	name      []byte
	alias     uint64
	timestamp uint64
	datatype  uint32
	field     uint32 // of the value, 0: none
	value     uint64 // as protoNext returned it
	end       int    // of a value of bytes
	hasAlias  bool
	hasTime   bool
	isNull    bool
	transient bool
}

// Fields of the payload and of a metric (sparkplug_b.proto).
const (
	spPayloadTimestamp = 1
	spPayloadMetrics   = 2

	spName      = 1
	spAlias     = 2
	spTimestamp = 3
	spDatatype  = 4
	spTransient = 6
	spNull      = 7
	spIntValue  = 10
	spLongValue = 11
	spFloat     = 12
	spDouble    = 13
	spBoolean   = 14
	spString    = 15
	spLastValue = 19 // from 16 on: bytes, data set, template, extension
)

// Sparkplug decodes a Sparkplug B payload.
//
// A birth (NBIRTH, DBIRTH) begins births anew, and defines in it the names and datatypes that data messages (NDATA, DDATA) leave
// out; if one is not known, the *Malformed says that a rebirth is needed. births may be nil where every message has
// names and datatypes. It is changed by a birth only, and empty after one that is refused.
//
// The time of a metric is its own, else the payload's, else arrivalMs. Metrics of the same time that follow each other are one row,
// or several of 256 columns. Metrics that control the node (bdSeq, Node Control/..., Device Control/...), that are null
// or transient give no column; those whose value is no column's (bytes, files, data sets, templates, arrays) are counted as
// skipped.
func (d *Decoder) Sparkplug(payload []byte, birth bool, births *Births, arrivalMs int64) ([]Row, error) {
	d.reset()
	if birth && births != nil {
		births.Reset()
	}
	rows, err := d.result(d.sparkplug(payload, birth, births, arrivalMs))
	if err != nil && birth && births != nil {
		births.Reset()
	}
	return rows, err
}

func (d *Decoder) sparkplug(p []byte, birth bool, births *Births, arrivalMs int64) (int, fault) {
	if len(p) == 0 {
		return 0, faultEmpty
	}
	// The timestamp may come behind the metrics that need it.
	nowMs := arrivalMs
	for i := 0; i < len(p); {
		number, wire, value, next := protoNext(p, i, len(p))
		if number == 0 {
			return i, faultProto
		}
		if number == spPayloadTimestamp && wire == wireVarint {
			var f fault
			if nowMs, f = sparkplugTime(value); f != ok {
				return i, f
			}
		}
		i = next
	}
	parent, f := d.parent()
	if f != ok {
		return 0, f
	}
	rowOpen, rowMs := false, int64(0)
	var m metric
	for i := 0; i < len(p); {
		number, wire, value, next := protoNext(p, i, len(p))
		at := i
		i = next
		if number != spPayloadMetrics {
			continue
		}
		if wire != wireBytes {
			return at, faultProto
		}
		bad, f := m.read(p, int(value), next)
		if f != ok {
			return bad, f
		}
		if birth {
			if len(m.name) == 0 {
				return at, faultMetricName
			}
			if !utf8.Valid(m.name) {
				return at, faultUTF8
			}
			if births != nil {
				if f := births.define(&m); f != ok {
					return at, f
				}
			}
		} else if f := births.complete(&m); f != ok {
			return at, f
		}
		if m.isNull || m.transient || m.field == 0 || isControl(m.name) {
			continue
		}
		v, text, there, f := d.sparkplugValue(p, &m)
		if f != ok {
			return at, f
		}
		if !there {
			d.skipped++
			continue
		}
		ms := nowMs
		if m.hasTime {
			if ms, f = sparkplugTime(m.timestamp); f != ok {
				return at, f
			}
		}
		if !rowOpen || ms != rowMs || len(d.values)-d.start == maxColumns {
			if rowOpen {
				if f := d.finish(rowMs); f != ok {
					return at, f
				}
			}
			d.begin()
			rowOpen, rowMs = true, ms
		}
		key, f := d.keys.findPlain(m.name, parent)
		if f != ok {
			return at, f
		}
		if v.Kind == tsdb.String {
			_, f = d.addText(at, at, key, text)
		} else {
			_, f = d.add(at, at, key, v)
		}
		if f != ok {
			return at, f
		}
	}
	if rowOpen {
		return len(p), d.finish(rowMs)
	}
	return len(p), ok
}

// isControl reports whether a metric is of the session between node and host.
func isControl(name []byte) bool {
	return string(name) == "bdSeq" || bytes.HasPrefix(name, []byte("Node Control/")) || bytes.HasPrefix(name, []byte("Device Control/"))
}

// sparkplugTime checks a timestamp in Unix milliseconds.
func sparkplugTime(ms uint64) (int64, fault) {
	if ms >= 1e14 {
		return 0, faultTimeRange
	}
	return int64(ms), ok
}

// read reads the metric p[i:end].
func (m *metric) read(p []byte, i, end int) (int, fault) {
	*m = metric{}
	for i < end {
		number, wire, value, next := protoNext(p, i, end)
		if number == 0 {
			return i, faultProto
		}
		if want, known := metricWire(number); known && wire != want {
			return i, faultProto
		}
		switch number {
		case spName:
			m.name = p[value:next]
			if len(m.name) > maxNameBytes {
				return i, faultNameLen
			}
		case spAlias:
			m.alias, m.hasAlias = value, true
		case spTimestamp:
			m.timestamp, m.hasTime = value, true
		case spDatatype:
			m.datatype = uint32(value)
		case spTransient:
			m.transient = value != 0
		case spNull:
			m.isNull = value != 0
		default:
			if number >= spIntValue && number <= spLastValue {
				m.field, m.value, m.end = number, value, next // of a oneof the last counts
			}
		}
		i = next
	}
	return i, ok
}

// metricWire returns the wire type of a metric's field.
func metricWire(number uint32) (wire byte, known bool) {
	switch number {
	case spAlias, spTimestamp, spDatatype, spTransient, spNull, spIntValue, spLongValue, spBoolean:
		return wireVarint, true
	case spFloat:
		return wire32, true
	case spDouble:
		return wire64, true
	case spName, spString:
		return wireBytes, true
	}
	return 0, false
}

// sparkplugValue returns the value of a metric, or that it has none that a column holds.
func (d *Decoder) sparkplugValue(p []byte, m *metric) (v tsdb.Value, text []byte, there bool, f fault) {
	var s scalar
	switch m.field {
	case spIntValue, spLongValue:
		if s.n, f = m.integer(); f != ok {
			return v, nil, false, f
		}
	case spFloat:
		value := math.Float32frombits(uint32(m.value))
		if value-value != 0 {
			return v, nil, false, ok
		}
		s = single(value)
	case spDouble:
		value := math.Float64frombits(m.value)
		if value-value != 0 {
			return v, nil, false, ok
		}
		s = double(value)
	case spBoolean:
		if m.value != 0 {
			v.Mantissa = 1
		}
		v.Kind = tsdb.Bool
		return v, nil, true, ok
	case spString:
		text = p[m.value:m.end]
		if !utf8.Valid(text) {
			return v, nil, false, faultUTF8
		}
		v.Kind = tsdb.String
		return v, text, true, ok
	default:
		return v, nil, false, ok
	}
	v, f = s.value()
	return v, nil, f == ok, f
}

// integer returns the value of an integer metric. All come in unsigned fields, as two's complement, so without a datatype they mean
// nothing.
func (m *metric) integer() (number, fault) {
	signed := int64(m.value)
	switch {
	case m.datatype == 0:
		return number{}, faultRebirth
	case m.datatype == spInt8:
		signed = int64(int8(signed))
	case m.datatype == spInt16:
		signed = int64(int16(signed))
	case m.datatype == spInt32, m.datatype == spInt64 && m.field == spIntValue:
		signed = int64(int32(signed))
	case m.datatype == spInt64:
	case m.datatype >= spUInt8 && m.datatype <= spUInt64, m.datatype == spDateTime:
		return whole(false, m.value), ok
	default:
		return number{}, faultDatatype
	}
	return whole(signed < 0, uint64(max(signed, -signed))), ok
}
