package decode

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"muster/tsdb"
)

const arrival = 1_700_000_000_000

// render prints rows as "timeMs name=value ...;": decimals as mantissa and exponent, floats with a leading ~, strings quoted.
func render(dict *tsdb.Dict, rows []Row) string {
	var b strings.Builder
	for _, r := range rows {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		if r.TimeMs == arrival {
			b.WriteString("arrival")
		} else {
			fmt.Fprintf(&b, "%d", r.TimeMs)
		}
		for _, v := range r.Values {
			fmt.Fprintf(&b, " %s=", dict.MetricName(v.Metric))
			switch v.Kind {
			case tsdb.Decimal:
				fmt.Fprintf(&b, "%de%d", v.Mantissa, v.Exp)
			case tsdb.Bool:
				b.WriteString(strconv.FormatBool(v.Mantissa != 0))
			case tsdb.Float:
				fmt.Fprintf(&b, "~%v", math.Float64frombits(uint64(v.Mantissa)))
			case tsdb.String:
				fmt.Fprintf(&b, "%q", dict.StringValue(uint32(v.Mantissa)))
			}
		}
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	dict := tsdb.NewDict()
	shared := New(dict)
	f := func(payload, want string) {
		t.Helper()
		// A decoder that knows other layouts must say the same as a new one.
		for _, d := range []*Decoder{New(dict), shared, shared} {
			rows, err := d.JSON([]byte(payload), arrival)
			if err != nil {
				t.Fatalf("JSON(%s): %v", payload, err)
			}
			if got := render(dict, rows); got != want {
				t.Fatalf("JSON(%s)\n got %s\nwant %s", payload, got, want)
			}
		}
	}
	// numbers keep their decimals; trailing zeros go into the exponent
	f(`{"a":41.2}`, `arrival a=412e-1`)
	f(`{"a":-0.05,"b":1500,"c":0,"d":-0,"e":0.0e9}`, `arrival a=-5e-2 b=15e2 c=0e0 d=0e0 e=0e0`)
	f(`{"a":1e3,"b":2.50E-2,"c":1.0,"d":12e+2}`, `arrival a=1e3 b=25e-3 c=1e0 d=12e2`)
	f(`{"a":100000000000000000000000}`, `arrival a=1e23`)
	f(`{"a":999999999999999999,"b":-999999999999999999}`, `arrival a=999999999999999999e0 b=-999999999999999999e0`)
	f(`{"a":1234567890123456780}`, `arrival a=123456789012345678e1`)
	f(`{"a":1e127,"b":1e-128}`, `arrival a=1e127 b=1e-128`)
	// what no short decimal can be is a float
	f(`{"a":1234567890123456789}`, `arrival a=~1.2345678901234568e+18`)
	f(`{"a":0.1234567890123456789,"b":1e128,"c":1e-129,"d":-1e308}`, `arrival a=~0.12345678901234568 b=~1e+128 c=~1e-129 d=~-1e+308`)
	f(`{"a":1000000000000000000.5}`, `arrival a=~1e+18`)
	f(`{"a":1e-400}`, `arrival a=~0`)
	// booleans, strings, null, empty arrays and objects
	f(`{"on":true,"off":false,"gone":null,"list":[],"list2":[ ],"o":{}}`, `arrival on=true off=false`)
	f(`{"s":"","t":"on","u":"gr\u00fcn \"x\" \\ \/ \b\f\n\r\t","v":"\ud83d\ude00","w":"grün"}`,
		`arrival s="" t="on" u="grün \"x\" \\ / \b\f\n\r\t" v="😀" w="grün"`)
	f(`{"s":"`+strings.Repeat(`\u0061`, 1024)+`"}`, `arrival s="`+strings.Repeat("a", 1024)+`"`)
	// nested keys are joined; names become PromQL's
	f(`{"pos":{"lat":1.5,"gps":{"sats":7}},"lat":2}`, `arrival pos_lat=15e-1 pos_gps_sats=7e0 lat=2e0`)
	f(`{"temp °C":1,"a.b":2,"3v3":3,"x:y_Z9":4}`, `arrival temp___C=1e0 a_b=2e0 _3v3=3e0 x:y_Z9=4e0`)
	f(`{"1":{"2":5},"":{"x":1},"y":{"":2}}`, `arrival _1_2=5e0 _x=1e0 y_=2e0`)
	f(`{"":null,"a":1}`, `arrival a=1e0`)
	f(`{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":1}}}}}}}}`, `arrival a_b_c_d_e_f_g_h=1e0`)
	// the last of equal names wins, wherever it comes from
	f(`{"a":1,"b":2,"a":3}`, `arrival a=3e0 b=2e0`)
	f(`{"a_b":1,"c":2,"a":{"b":"x"}}`, `arrival a_b="x" c=2e0`)
	f(`{"a":1,"\u0061":true}`, `arrival a=true`)
	f(`{"a":1,"a":null}`, `arrival a=1e0`)
	f(`{"a":{"x":1},"a":{"y":2},"a":5}`, `arrival a_x=1e0 a_y=2e0 a=5e0`)
	// time
	f(`{"ts":1700000001,"a":1}`, `1700000001000 a=1e0`)
	f(`{"a":1,"ts":1700000001.2345}`, `1700000001234 a=1e0`)
	f(`{"timestamp":1700000001234,"a":1}`, `1700000001234 a=1e0`)
	f(`{"time":1700000001234567,"a":1}`, `1700000001234 a=1e0`)
	f(`{"time":1700000001234567891,"a":1}`, `1700000001234 a=1e0`)
	f(`{"ts":1.700000001234e9,"a":1}`, `1700000001234 a=1e0`)
	f(`{"ts":0,"a":1}`, `0 a=1e0`)
	f(`{"ts":0.0000000000000000000000001,"a":1}`, `0 a=1e0`)
	f(`{"ts":"2023-11-14T22:13:21.5Z","a":1}`, `1700000001500 a=1e0`)
	f(`{"ts":"2023-11-15T00:13:21+02:00","a":1}`, `1700000001000 a=1e0`)
	f(`{"ts":"2023\u002d11-15t00:13:21.0009+02:00","a":1}`, `1700000001000 a=1e0`)
	f(`{"ts":"1969-12-31 23:59:60z","a":1}`, `0 a=1e0`)
	f(`{"time":5,"ts":7,"timestamp":6,"a":1}`, `7000 a=1e0`)
	f(`{"ts":null,"time":5,"a":1}`, `5000 a=1e0`)
	f(`{"ts":null,"a":1}`, `arrival a=1e0`)
	f(`{"a":{"ts":3,"time":"x"}}`, `arrival a_ts=3e0 a_time="x"`)
	f(`{"ts":1,"ts":2,"a":1}`, `2000 a=1e0`)
	// several rows, each with its own time and its own columns; a row without columns is none
	f(`[{"ts":1,"a":1},{"a":2},{"ts":2,"b":true,"a":3},{},{"ts":4}]`, `1000 a=1e0; arrival a=2e0; 2000 b=true a=3e0`)
	f(`[]`, ``)
	f(`{}`, ``)
	f(`{"ts":1}`, ``)
	// white space anywhere
	f(" \r\n\t{ \"a\" : 1 , \"b\" : { \"c\" : -2.5 } , \"d\" : [ ] } \n", `arrival a=1e0 b_c=-25e-1`)
	f(" [ { \"a\" : true } , { \"a\":false}]\n", `arrival a=true; arrival a=false`)
}

func TestJSONMalformed(t *testing.T) {
	f := func(payload string, offset int, want fault) {
		t.Helper()
		rows, err := New(tsdb.NewDict()).JSON([]byte(payload), arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil {
			t.Fatalf("JSON(%.80s) = %v, %v, want malformed: %s", payload, rows, err, reasons[want])
		}
		if m.Reason != reasons[want] || m.Offset != offset {
			t.Fatalf("JSON(%.80s)\n got %q at %d\nwant %q at %d", payload, m.Reason, m.Offset, reasons[want], offset)
		}
	}
	columns := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"c%d":%d`, i, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	f(``, 0, faultEmpty)
	f(" \n", 2, faultEmpty)
	f(`7`, 0, faultTop)
	f(`"a"`, 0, faultTop)
	f(`null`, 0, faultTop)
	f("\xef\xbb\xbf{}", 0, faultTop)
	f(`{`, 1, faultEnd)
	f(`{"a"`, 4, faultEnd)
	f(`{"a":`, 5, faultEnd)
	f(`{"a":1`, 6, faultEnd)
	f(`{"a":1,`, 7, faultEnd)
	f(`{"ts":`, 6, faultEnd)
	f(`{"a`, 3, faultEnd)
	f(`{"a\`, 4, faultEnd)
	f(`[`, 1, faultEnd)
	f(`[{}`, 3, faultEnd)
	f(`[{},`, 4, faultEnd)
	f(`{"a":1,}`, 7, faultKey)
	f(`{a:1}`, 1, faultKey)
	f(`{'a':1}`, 1, faultKey)
	f(`{"a" 1}`, 5, faultColon)
	f(`{"a"::1}`, 5, faultValue)
	f(`{"a":1 "b":2}`, 7, faultComma)
	f(`{"a":1]`, 6, faultComma)
	f(`[{} {}]`, 4, faultComma)
	f(`{"a":1}{`, 7, faultTrailing)
	f(`{"a":1},`, 7, faultTrailing)
	f("{\"a\":1}\x00", 7, faultTrailing)
	f(`{"a":}`, 5, faultValue)
	f(`{"a":tru}`, 5, faultValue)
	f(`{"a":falsy}`, 5, faultValue)
	f(`{"a":nul`, 5, faultValue)
	f(`{"a":True}`, 5, faultValue)
	f(`{"a":NaN}`, 5, faultValue)
	f(`{"a":+1}`, 5, faultValue)
	f(`{"a":.5}`, 5, faultValue)
	f(`{"a":-}`, 6, faultNumber)
	f(`{"a":-Infinity}`, 6, faultNumber)
	f(`{"a":01}`, 5, faultNumber)
	f(`{"a":-00.5}`, 6, faultNumber)
	f(`{"a":1.}`, 7, faultNumber)
	f(`{"a":1e}`, 7, faultNumber)
	f(`{"a":1e+}`, 8, faultNumber)
	f(`{"a":1.e5}`, 7, faultNumber)
	f(`{"a":0x10}`, 6, faultComma)
	f(`{"a":1_000}`, 6, faultComma)
	f(`{"a":1e400}`, 5, faultNumberRange)
	f(`{"a":-1e99999999999999999999}`, 5, faultNumberRange)
	f("{\"a\":\"\n\"}", 6, faultString)
	f("{\"a\x00\":1}", 3, faultString)
	f(`{"a":"\x"}`, 6, faultEscape)
	f(`{"a":"\u12g4"}`, 6, faultEscape)
	f(`{"a":"\u12"}`, 6, faultEscape)
	f(`{"\q":1}`, 2, faultEscape)
	f(`{"a":"ab\ud83d"}`, 8, faultSurrogate)
	f(`{"a":"\ud83dx\ude00"}`, 6, faultSurrogate)
	f(`{"a":"\ud83d\u0041"}`, 6, faultSurrogate)
	f(`{"a":"\ude00\ud83d"}`, 6, faultSurrogate)
	f("{\"a\":\"\xff\"}", 6, faultUTF8)
	f("{\"a\":\"\xed\xa0\x80\"}", 6, faultUTF8)
	f("{\"\xc0\xaf\":1}", 2, faultUTF8)
	f(`{"a":"`+strings.Repeat("x", 1025)+`"}`, 6, faultStringLen)
	f(`{"a":[1]}`, 5, faultArray)
	f(`{"a":[`, 5, faultArray)
	f(`[1]`, 1, faultElement)
	f(`[[]]`, 1, faultElement)
	f(`[{},]`, 4, faultElement)
	f(`[`+strings.Repeat(`{},`, 1000)+`{}]`, 3001, faultRows)
	f(`{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":1}}}}}}}}}`, 40, faultDepth)
	f(columns(257), len(columns(256)+`"c256":`), faultColumns)
	f(`{"":1}`, 4, faultName)
	f(`{"`+strings.Repeat("n", 129)+`":1}`, 2, faultNameLen)
	f(`{"`+strings.Repeat("n", 64)+`":{"`+strings.Repeat("n", 64)+`":1}}`, 136, faultNameLen)
	f(`{"1`+strings.Repeat("n", 127)+`":1}`, 132, faultNameLen)
	f(`{"ts":true}`, 6, faultTime)
	f(`{"ts":{}}`, 6, faultTime)
	f(`{"ts":"yesterday"}`, 6, faultTime)
	f(`{"ts":""}`, 6, faultTime)
	f(`{"ts":"2023-02-29T00:00:00Z"}`, 6, faultTime)
	f(`{"ts":"2023-02-28T00:00:00"}`, 6, faultTime)
	f(`{"ts":"2023-02-28T24:00:00Z"}`, 6, faultTime)
	f(`{"ts":"2023-02-28T00:00:00+0200"}`, 6, faultTime)
	f(`{"ts":-1}`, 6, faultTimeRange)
	f(`{"ts":1e20}`, 6, faultTimeRange)
	f(`{"ts":"1969-12-31T23:59:59Z"}`, 6, faultTimeRange)
}

// TestLimitsAllow holds the largest payloads that are not refused.
func TestLimitsAllow(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	var b strings.Builder
	b.WriteString("[")
	for row := range maxRows {
		if row > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"ts":%d`, row)
		columns := 2
		if row == 500 {
			columns = maxColumns
		}
		for c := range columns {
			fmt.Fprintf(&b, `,"%s%d":%d`, strings.Repeat("n", maxNameBytes-3), 100+c, row)
		}
		b.WriteString("}")
	}
	b.WriteString("]")
	rows, err := d.JSON([]byte(b.String()), arrival)
	if err != nil || len(rows) != maxRows {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		want := 2
		if i == 500 {
			want = maxColumns
		}
		if len(r.Values) != want || r.TimeMs != int64(i)*1000 {
			t.Fatalf("row %d: %d values at %d", i, len(r.Values), r.TimeMs)
		}
		for _, v := range r.Values {
			if got := float64(v.Mantissa) * math.Pow10(int(v.Exp)); got != float64(i) {
				t.Fatalf("row %d has the value %v", i, got)
			}
		}
	}
}

// TestKeysForgotten: a fleet of more names than a decoder remembers, and a dictionary that is full, are no fault of the others.
func TestKeysForgotten(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	var full *Malformed
	for i := range 70_000 {
		payload := fmt.Sprintf(`{"name%d":%d,"same":1}`, i, i+1)
		rows, err := d.JSON([]byte(payload), arrival)
		if errors.As(err, &full) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m, _ := strconv.Atoi(strings.TrimRight(strconv.Itoa(i+1), "0"))
		if len(rows) != 1 || rows[0].Values[0].Mantissa != int64(m) || dict.MetricName(rows[0].Values[0].Metric) != fmt.Sprintf("name%d", i) {
			t.Fatalf("message %d: %s", i, render(dict, rows))
		}
		if n := len(d.keys.nodes); n > maxKeys+3 {
			t.Fatalf("the decoder remembers %d keys", n)
		}
	}
	if full == nil || full.Reason != reasons[faultNamesFull] {
		t.Fatalf("full dictionary: %v", full)
	}
	if _, err := d.JSON([]byte(`{"same":1}`), arrival); err != nil {
		t.Fatalf("a known name after the dictionary was full: %v", err)
	}
}

func TestMalformedError(t *testing.T) {
	_, err := New(tsdb.NewDict()).JSON([]byte(`{"a":[1,2]}`), arrival)
	if want := "payload refused at byte 5: an array inside an object is not supported, use one key per value"; err.Error() != want {
		t.Fatalf("got %q, want %q", err, want)
	}
	seen := map[string]bool{}
	for f, reason := range reasons {
		if fault(f) != ok && (reason == "" || seen[reason]) {
			t.Errorf("fault %d has the reason %q, empty or not its own", f, reason)
		}
		seen[reason] = true
	}
}
