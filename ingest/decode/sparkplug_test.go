package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"muster/tsdb"
)

// A plain protobuf writer: the twin of the reader.

func pbVarint(dst []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(field)<<3), v)
}

func pbBytes(dst []byte, field int, v string) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(field)<<3|2), uint64(len(v))), v...)
}

func pbFloat(dst []byte, field int, v float32) []byte {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(dst, uint64(field)<<3|5), math.Float32bits(v))
}

func pbDouble(dst []byte, field int, v float64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(dst, uint64(field)<<3|1), math.Float64bits(v))
}

// spMetric is a metric to be encoded. alias -1 and an empty name are left out, as is a datatype of 0 and a time of 0.
type spMetric struct {
	name     string
	alias    int
	datatype int
	timeMs   uint64
	value    any // uint32, uint64, float32, float64, bool, string, nil, or []byte: fields as they are
}

func (m spMetric) encode() string {
	var b []byte
	if m.name != "" {
		b = pbBytes(b, 1, m.name)
	}
	if m.alias >= 0 {
		b = pbVarint(b, 2, uint64(m.alias))
	}
	if m.timeMs > 0 {
		b = pbVarint(b, 3, m.timeMs)
	}
	if m.datatype > 0 {
		b = pbVarint(b, 4, uint64(m.datatype))
	}
	switch v := m.value.(type) {
	case nil:
		b = pbVarint(b, 7, 1)
	case uint32:
		b = pbVarint(b, 10, uint64(v))
	case uint64:
		b = pbVarint(b, 11, v)
	case float32:
		b = pbFloat(b, 12, v)
	case float64:
		b = pbDouble(b, 13, v)
	case bool:
		b = pbVarint(b, 14, map[bool]uint64{false: 0, true: 1}[v])
	case string:
		b = pbBytes(b, 15, v)
	case []byte:
		b = append(b, v...)
	}
	return string(b)
}

func spPayload(timeMs uint64, metrics ...spMetric) []byte {
	var b []byte
	for _, m := range metrics {
		b = pbBytes(b, 2, m.encode())
	}
	b = pbVarint(b, 3, 7) // seq
	if timeMs > 0 {
		b = pbVarint(b, 1, timeMs) // behind the metrics, as fields may be
	}
	return pbBytes(b, 4, "uuid")
}

func TestSparkplug(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	var births Births
	f := func(birth bool, payload []byte, want string) {
		t.Helper()
		for range 2 {
			rows, err := d.Sparkplug(payload, birth, &births, arrival)
			if err != nil {
				t.Fatalf("%x: %v", payload, err)
			}
			if got := render(dict, rows); got != want {
				t.Fatalf("%x\n got %s\nwant %s", payload, got, want)
			}
		}
	}
	// a birth as in the specification's examples: control metrics, names, aliases and datatypes
	f(true, spPayload(1486144502122,
		spMetric{"bdSeq", -1, 8, 1486144502122, uint64(0)},
		spMetric{"Node Control/Reboot", -1, 11, 1486144502122, false},
		spMetric{"Device Control/Rebirth", -1, 11, 1486144502122, false},
		spMetric{"Properties/Hardware Make", 1, 12, 1486144502122, "Sony"},
		spMetric{"Supply Voltage (V)", 2, 9, 1486144502122, float32(12.3)},
		spMetric{"Outputs/LEDs/Green", 3, 11, 1479123452194, true},
		spMetric{"Counter", 4, 3, 0, uint32(0xffffffff)},
		spMetric{"Total", 5, 10, 0, 1.5},
	), `1486144502122 Properties_Hardware_Make="Sony" Supply_Voltage__V_=123e-1; 1479123452194 Outputs_LEDs_Green=true; `+
		`1486144502122 Counter=-1e0 Total=15e-1`)
	// data: aliases only, and names without datatypes
	f(false, spPayload(1486144502200, spMetric{"", 2, 0, 0, float32(12.25)}, spMetric{"", 4, 0, 0, uint32(0xfffffffe)}, spMetric{"Counter", -1, 0, 0, uint32(5)}, spMetric{"Counter", -1, 0, 1486144502201, uint32(6)}),
		`1486144502200 Supply_Voltage__V_=1225e-2 Counter=5e0; 1486144502201 Counter=6e0`)
	// nothing known is needed where a metric says all; no time but that of arrival
	f(false, spPayload(0, spMetric{"New", -1, 4, 0, uint64(math.MaxUint64)}), `arrival New=-1e0`)
	// datatypes
	f(true, spPayload(1000,
		spMetric{"a", -1, 1, 0, uint32(0xfb)}, spMetric{"b", -1, 1, 0, uint32(0xfffffffb)}, spMetric{"c", -1, 2, 0, uint32(0x8000)},
		spMetric{"d", -1, 3, 0, uint32(0x80000000)}, spMetric{"e", -1, 4, 0, uint64(1<<63 + 5)}, spMetric{"f", -1, 4, 0, uint32(0xffffffff)},
		spMetric{"g", -1, 5, 0, uint32(255)}, spMetric{"h", -1, 6, 0, uint32(65535)}, spMetric{"i", -1, 7, 0, uint64(4294967295)},
		spMetric{"j", -1, 8, 0, uint64(math.MaxUint64)}, spMetric{"k", -1, 13, 0, uint64(1486144502122)}, spMetric{"l", -1, 14, 0, "text"},
		spMetric{"m", -1, 15, 0, "uuid"}, spMetric{"n", -1, 9, 0, float32(-0.1)}, spMetric{"o", -1, 10, 0, 0.1}),
		`1000 a=-5e0 b=-5e0 c=-32768e0 d=-2147483648e0 e=~-9.223372036854776e+18 f=-1e0 g=255e0 h=65535e0 i=4294967295e0 `+
			`j=~1.8446744073709552e+19 k=1486144502122e0 l="text" m="uuid" n=-1e-1 o=1e-1`)
	// null, transient, no value: no column, but defined
	f(true, spPayload(1000, spMetric{"a", 1, 3, 0, nil}, spMetric{"b", 2, 3, 0, append(pbVarint(nil, 6, 1), pbVarint(nil, 10, 5)...)}, spMetric{"c", 3, 3, 0, []byte{}}), ``)
	f(false, spPayload(1000, spMetric{"", 1, 0, 0, uint32(1)}, spMetric{"", 3, 0, 0, uint32(3)}), `1000 a=1e0 c=3e0`)
	// unknown fields are left alone
	f(false, append(pbBytes(pbDouble(nil, 99, 1), 7, "x"), spPayload(1000, spMetric{"a", -1, 0, 0, append(pbBytes(pbFloat(nil, 8, 1), 9, "props"), pbVarint(nil, 10, 4)...)})...), `1000 a=4e0`)
	// what no column holds is counted
	before := d.Skipped()
	f(false, spPayload(1000, spMetric{"x", -1, 17, 0, pbBytes(nil, 16, "bytes")}, spMetric{"x", -1, 16, 0, pbBytes(nil, 17, "dataset")},
		spMetric{"x", -1, 19, 0, pbBytes(nil, 18, "template")}, spMetric{"x", -1, 10, 0, math.Inf(1)}, spMetric{"a", -1, 0, 0, uint32(1)}), `1000 a=1e0`)
	if got := d.Skipped() - before; got != 8 {
		t.Fatalf("%d values were counted as left out, want 8", got)
	}
	// more metrics than a row has columns
	var many []spMetric
	for i := range 600 {
		many = append(many, spMetric{fmt.Sprintf("metric %d", i), i, 7, 0, uint64(i)})
	}
	rows, err := d.Sparkplug(spPayload(5000, many...), true, &births, arrival)
	if err != nil || len(rows) != 3 || len(rows[0].Values) != 256 || len(rows[2].Values) != 88 || rows[2].TimeMs != 5000 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	f(false, spPayload(6000, spMetric{"", 599, 0, 0, uint64(7)}), `6000 metric_599=7e0`)
	// by content type, where nothing needs a birth
	rows, err = d.Decode([]byte("application/vnd.eclipse.sparkplug.b"), spPayload(1000, spMetric{"a", 1, 3, 0, uint32(9)}), arrival)
	if got := render(dict, rows); err != nil || got != `1000 a=9e0` {
		t.Fatalf("%s %v", got, err)
	}
}

func TestSparkplugMalformed(t *testing.T) {
	born := spPayload(1000, spMetric{"a", 1, 3, 0, uint32(1)}, spMetric{"s", 2, 12, 0, "x"})
	f := func(birth bool, payload []byte, offset int, want fault) {
		t.Helper()
		d := New(tsdb.NewDict())
		var births Births
		if _, err := d.Sparkplug(born, true, &births, arrival); err != nil {
			t.Fatal(err)
		}
		rows, err := d.Sparkplug(payload, birth, &births, arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil {
			t.Fatalf("%.80x = %v, %v, want malformed: %s", payload, rows, err, reasons[want])
		}
		if m.Reason != reasons[want] || m.Offset != offset {
			t.Fatalf("%.80x\n got %q at %d\nwant %q at %d", payload, m.Reason, m.Offset, reasons[want], offset)
		}
		// a birth that is refused leaves nothing, other data leaves what was there
		_, err = d.Sparkplug(spPayload(2000, spMetric{"", 1, 0, 0, uint32(2)}), false, &births, arrival)
		if (err != nil) != birth {
			t.Fatalf("%.80x: data after it: %v", payload, err)
		}
	}
	one := func(m spMetric) []byte { return pbBytes(nil, 2, m.encode()) }
	f(false, nil, 0, faultEmpty)
	f(false, one(spMetric{"", 9, 0, 0, uint32(1)}), 0, faultRebirth)
	f(false, one(spMetric{"", -1, 3, 0, uint32(1)}), 0, faultRebirth)
	f(false, one(spMetric{"unborn", -1, 0, 0, uint32(1)}), 0, faultRebirth)
	f(false, append(spPayload(5, spMetric{"a", -1, 0, 0, uint32(1)}), one(spMetric{"", 9, 0, 0, uint32(1)})...), 17, faultRebirth)
	f(false, one(spMetric{"s", -1, 0, 0, uint32(1)}), 0, faultDatatype)
	f(true, one(spMetric{"", 1, 3, 0, uint32(1)}), 0, faultMetricName)
	f(true, append(one(spMetric{"a", 1, 3, 0, uint32(1)}), one(spMetric{"b", 1, 3, 0, uint32(1)})...), 11, faultAlias)
	f(true, one(spMetric{strings.Repeat("n", 129), 1, 3, 0, uint32(1)}), 3, faultNameLen)
	f(true, one(spMetric{"\xff", 1, 3, 0, uint32(1)}), 0, faultUTF8)
	f(false, one(spMetric{"\xff", 1, 3, 0, uint32(1)}), 0, faultUTF8)
	f(true, one(spMetric{"a", 1, 12, 0, "\xff"}), 0, faultUTF8)
	f(true, one(spMetric{"a", 1, 12, 0, strings.Repeat("x", 1025)}), 0, faultStringLen)
	f(false, one(spMetric{"a", 1, 3, 1e14, uint32(1)}), 0, faultTimeRange)
	f(false, pbVarint(nil, 1, 1<<60), 0, faultTimeRange)
	// not protobuf, or not this message
	f(false, []byte("{}"), 0, faultProto)
	f(false, []byte{0x08}, 0, faultProto)
	f(false, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, 0, faultProto)
	f(false, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 0, faultProto)
	f(false, []byte{0x00, 0x01}, 0, faultProto)
	f(false, []byte{0x12, 0x05, 0x01}, 0, faultProto)
	f(false, []byte{0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 0, faultProto)
	f(false, []byte{0x10, 0x05}, 0, faultProto)
	f(false, []byte{0x0b, 0x0c}, 0, faultProto)
	f(false, []byte{0x09, 1, 2, 3}, 0, faultProto)
	f(false, []byte{0x0d, 1, 2, 3}, 0, faultProto)
	f(false, pbBytes(nil, 2, string(pbVarint(nil, 1, 5))), 2, faultProto)
	f(false, pbBytes(nil, 2, string(pbVarint(nil, 12, 5))), 2, faultProto)
	f(false, pbBytes(nil, 2, "\x0a\x05a"), 2, faultProto)
	var many []byte
	for i := range maxBirthMetrics + 1 {
		many = append(many, one(spMetric{strconv.Itoa(10000 + i), -1, 3, 0, nil})...)
	}
	f(true, many, len(many)/(maxBirthMetrics+1)*maxBirthMetrics, faultBirth)
	// without a state nothing is known
	_, err := New(tsdb.NewDict()).Sparkplug(spPayload(5, spMetric{"", 1, 3, 0, uint32(1)}), false, nil, arrival)
	if m := (*Malformed)(nil); !errors.As(err, &m) || m.Reason != reasons[faultRebirth] {
		t.Fatal(err)
	}
}

// FuzzSparkplug: the values of any metrics come back, and no bytes do harm.
func FuzzSparkplug(f *testing.F) {
	f.Add("Inputs/A", uint64(3), uint8(3), uint64(1486144502122), uint64(1<<63), 1.5, "text", []byte("\x12\x03\x08\x01"))
	f.Add("a b", uint64(0), uint8(10), uint64(0), uint64(5), -0.1, "", []byte{0x0b})
	dict := tsdb.NewDict()
	d := New(dict)
	f.Fuzz(func(t *testing.T, name string, alias uint64, datatype uint8, timeMs, whole uint64, number float64, text string, raw []byte) {
		var births Births
		_, _ = d.Sparkplug(raw, true, &births, arrival)
		_, _ = d.Sparkplug(raw, false, &births, arrival)
		births.Reset()
		var m []byte
		m = pbVarint(pbBytes(m, 1, name), 2, alias)
		var want any
		switch {
		case datatype%4 == 0:
			m = pbVarint(pbVarint(m, 4, 8), 11, whole)
			want = whole
		case datatype%4 == 1:
			m = pbDouble(pbVarint(m, 4, 10), 13, number)
			want = number
		case datatype%4 == 2:
			m = pbBytes(pbVarint(m, 4, 12), 15, text)
			want = text
		default:
			m = pbVarint(pbVarint(m, 4, 4), 11, whole)
			want = int64(whole)
		}
		if _, err := d.Sparkplug(pbVarint(pbBytes(nil, 2, string(m)), 1, timeMs), true, &births, arrival); err != nil {
			return // the name, the text or the time are not allowed; TestSparkplugMalformed says which
		}
		// the same value again, by its alias alone
		data := pbVarint(nil, 2, alias)
		switch v := want.(type) {
		case uint64:
			data = pbVarint(data, 11, v)
		case int64:
			data = pbVarint(data, 11, uint64(v))
		case float64:
			data = pbDouble(data, 13, v)
		case string:
			data = pbBytes(data, 15, v)
		}
		rows, err := d.Sparkplug(pbVarint(pbBytes(nil, 2, string(data)), 1, timeMs), false, &births, arrival)
		if err != nil {
			t.Fatalf("%x: %v", data, err)
		}
		if n, is := want.(float64); is && n-n != 0 || isControl([]byte(name)) {
			if len(rows) != 0 {
				t.Fatalf("%v became %s", want, render(dict, rows))
			}
			return
		}
		if len(rows) != 1 || rows[0].TimeMs != int64(timeMs) || len(rows[0].Values) != 1 {
			t.Fatalf("%v became %s", want, render(dict, rows))
		}
		v := rows[0].Values[0]
		got := math.Float64frombits(uint64(v.Mantissa))
		if v.Kind == tsdb.Decimal {
			n, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", v.Mantissa, v.Exp), 64)
			got = n
		}
		good := false
		switch w := want.(type) {
		case uint64:
			good = got == float64(w)
		case int64:
			good = got == float64(w)
		case float64:
			good = got == w
		case string:
			good = v.Kind == tsdb.String && dict.StringValue(uint32(v.Mantissa)) == w
		}
		if !good {
			t.Fatalf("%v became %s", want, render(dict, rows))
		}
	})
}
