package decode

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"muster/tsdb"
)

func TestLines(t *testing.T) {
	dict := tsdb.NewDict()
	shared := New(dict)
	f := func(payload, want string) {
		t.Helper()
		for _, d := range []*Decoder{New(dict), shared, shared} {
			for _, contentType := range []string{"text/vnd.influx.line", ""} {
				rows, err := d.Decode([]byte(contentType), []byte(payload), arrival)
				if err != nil {
					t.Fatalf("%s: %v", payload, err)
				}
				if got := render(dict, rows); got != want {
					t.Fatalf("%s\n got %s\nwant %s", payload, got, want)
				}
			}
		}
	}
	f(`weather temperature=82`, `arrival weather_temperature=82e0`)
	f(`weather,location=us-midwest,season=summer temperature=82.5,humidity=71i 1465839830100400200`,
		`1465839830100 weather_location="us-midwest" weather_season="summer" weather_temperature=825e-1 weather_humidity=71e0`)
	// the field "value" is the measurement
	f(`power,phase=1 value=230.1,q=2`, `arrival power_phase="1" power=2301e-1 power_q=2e0`)
	f("power value=1 1\npower value=2 2000000000000000000", `1000 power=1e0; 2000000000000 power=2e0`)
	// types
	f(`m a=t,b=T,c=true,d=True,e=TRUE,f=f,g=F,h=false,i=False,j=FALSE`,
		`arrival m_a=true m_b=true m_c=true m_d=true m_e=true m_f=false m_g=false m_h=false m_i=false m_j=false`)
	f(`m a=-12i,b=0u,c=9223372036854775807i,d=-9223372036854775808i,e=18446744073709551615u,f=+7i,g=007i`,
		`arrival m_a=-12e0 m_b=0e0 m_c=~9.223372036854776e+18 m_d=~-9.223372036854776e+18 m_e=~1.8446744073709552e+19 m_f=7e0 m_g=7e0`)
	f(`m a=1e3,b=-2.50E-2,c=.5,d=1.,e=+1.5,f=007.50,g=-0,h=1.e2,i=0.1234567890123456789,j=00`,
		`arrival m_a=1e3 m_b=-25e-3 m_c=5e-1 m_d=1e0 m_e=15e-1 m_f=75e-1 m_g=0e0 m_h=1e2 m_i=~0.12345678901234568 m_j=0e0`)
	f(`m s="",t="on",u="a,b c=d",v="line
two",w="q\"\\\n"`, `arrival m_s="" m_t="on" m_u="a,b c=d" m_v="line\ntwo" m_w="q\"\\\\n"`)
	// escapes in names
	f(`a\,b\ c,t\=ag\,\ =v\=a\,l\ u f\=\ \,=1`, `arrival a_b_c_t_ag__="v=a,l u" a_b_c_f___=1e0`)
	f(`a\=b=c\d f\x=1,g\\x=2`, `arrival a__b_c_d_f_x=1e0 a__b_c_d_g__x=2e0`)
	f(`3ph,°=ü v=1`, `arrival _3ph___="ü" _3ph_v=1e0`)
	// lines
	f("\n\r\n# comment, with =\n  m a=1  \r\n\n#x\nm b=2   17  \n", `arrival m_a=1e0; 17000 m_b=2e0`)
	f("m a=1\r\nm a=2\r\n", `arrival m_a=1e0; arrival m_a=2e0`)
	// the last of equal names wins
	f(`m a=1,a=2,a="x"`, `arrival m_a="x"`)
	f(`m,a=t a=1,b=2`, `arrival m_a=1e0 m_b=2e0`)
	// times
	f(`m a=1 1700000001234567891`, `1700000001234 m_a=1e0`)
	f(`m a=1 1700000001234567`, `1700000001234 m_a=1e0`)
	f(`m a=1 1700000001`, `1700000001000 m_a=1e0`)
	f(`m a=1 0`, `0 m_a=1e0`)
	// a measurement called ts is a column
	f(`ts value=5`, `arrival ts=5e0`)
}

func TestLinesMalformed(t *testing.T) {
	f := func(payload string, offset int, want fault) {
		t.Helper()
		rows, err := New(tsdb.NewDict()).Decode([]byte("text/vnd.influx.line"), []byte(payload), arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil {
			t.Fatalf("%.80q = %v, %v, want malformed: %s", payload, rows, err, reasons[want])
		}
		if m.Reason != reasons[want] || m.Offset != offset {
			t.Fatalf("%.80q\n got %q at %d\nwant %q at %d", payload, m.Reason, m.Offset, reasons[want], offset)
		}
	}
	f(`m`, 1, faultLineFields)
	f(`m `, 2, faultLineFields)
	f(`m a`, 2, faultLineFields)
	f(`m =1`, 2, faultLineFields)
	f(`m a=1,`, 6, faultLineFields)
	f(`m a=1,b`, 6, faultLineFields)
	f(`m a b=1`, 2, faultLineFields)
	f(`m,t=1`, 5, faultLineFields)
	f("m,t=1\nm a=1", 5, faultLineFields)
	f(`,t=1 a=1`, 0, faultLineMeasurement)
	f(`m, a=1`, 2, faultLineTag)
	f(`m,t a=1`, 2, faultLineTag)
	f(`m,t= a=1`, 2, faultLineTag)
	f(`m,t=1, a=1`, 6, faultLineTag)
	f(`m,t=1=2 a=1`, 2, faultLineTag)
	f(`m,=1 a=1`, 2, faultLineTag)
	f(`m a=`, 4, faultLineValue)
	f(`m a= 5`, 4, faultLineValue)
	f(`m a=yes`, 4, faultLineValue)
	f(`m a=1.2.3`, 4, faultLineValue)
	f(`m a=.`, 4, faultLineValue)
	f(`m a=-`, 4, faultLineValue)
	f(`m a=e5`, 4, faultLineValue)
	f(`m a=1e`, 4, faultLineValue)
	f(`m a=NaN`, 4, faultLineValue)
	f(`m a=0x10`, 4, faultLineValue)
	f(`m a=1e400`, 4, faultNumberRange)
	f(`m a=i`, 4, faultLineInteger)
	f(`m a=1.5i`, 4, faultLineInteger)
	f(`m a=9223372036854775808i`, 4, faultLineInteger)
	f(`m a=-9223372036854775809i`, 4, faultLineInteger)
	f(`m a=18446744073709551616u`, 4, faultLineInteger)
	f(`m a=-1u`, 4, faultLineInteger)
	f(`m a="x`, 4, faultLineQuote)
	f(`m a="x\"`, 4, faultLineQuote)
	f(`m a="x"y`, 7, faultLineTime)
	f(`m a=1 x`, 6, faultLineTime)
	f(`m a=1 1.5`, 7, faultLineTime)
	f(`m a=1 1 2`, 8, faultLineTime)
	f(`m a=1 99999999999999999999`, 6, faultLineTime)
	f(`m a=1 -5`, 6, faultTimeRange)
	f("m a=1\rm b=2", 6, faultLineTime)
	f("m a=1\n\xff", 6, faultUTF8)
	f(`m a="`+strings.Repeat("x", 1025)+`"`, 2, faultStringLen)
	f(`m,t=`+strings.Repeat("x", 1025)+` a=1`, 2, faultStringLen)
	f(strings.Repeat("x", 129)+` a=1`, 0, faultNameLen)
	f(strings.Repeat("x", 127)+` a=1`, 128, faultNameLen)
	f("m a=1\n"+`m `+strings.Repeat("x", 129)+`=1`, 8, faultNameLen)
	f(strings.Repeat("m a=1\n", 1001), 6000, faultRows)
	wide := "m "
	for i := range 257 {
		wide += "f" + strconv.Itoa(1000+i) + "=1,"
	}
	f(strings.TrimSuffix(wide, ","), 2+256*8, faultColumns)
	f("m,t=x "+strings.TrimSuffix(wide[2:2+256*8], ","), 6+255*8, faultColumns)
	// without a content type: the place is told if it began as lines
	for payload, want := range map[string]string{
		"nonsense":     reasons[faultUnknown],
		"41.5":         reasons[faultUnknown],
		"m a=1\nm a=x": reasons[faultLineValue],
		"# nothing":    reasons[faultUnknown],
		"":             reasons[faultEmpty],
	} {
		_, err := New(tsdb.NewDict()).Decode(nil, []byte(payload), arrival)
		if m := (*Malformed)(nil); !errors.As(err, &m) || m.Reason != want {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

// TestLinesIterator is the use of Lines without a Decoder.
func TestLinesIterator(t *testing.T) {
	var l Lines
	f := func(payload, want string) {
		t.Helper()
		var b strings.Builder
		for l.Reset([]byte(payload)); l.Next(); {
			fmt.Fprintf(&b, "%s|", l.Measurement)
			for _, tag := range l.Tags {
				fmt.Fprintf(&b, "%s=%s ", tag.Key, tag.Value)
			}
			for _, field := range l.Fields {
				fmt.Fprintf(&b, "%s:%d:%d,%d%q ", field.Key, field.Value.Kind, field.Value.Mantissa, field.Value.Exp, field.Text)
			}
			if l.HasTime {
				fmt.Fprintf(&b, "@%d", l.TimeMs)
			}
			b.WriteString(";")
		}
		if err := l.Err(); err != nil {
			b.WriteString(err.Error())
		}
		if b.String() != want {
			t.Fatalf("%q\n got %s\nwant %s", payload, b.String(), want)
		}
	}
	f("cpu\\ x,a\\,b=c\\ d,e=f u=1.5,s=\"a\\\"b\" 1700000000000000000\nm b=t", `cpu x|a,b=c d e=f u:0:15,-1"" s:3:0,0"a\"b" @1700000000000;m|b:1:1,0"" ;`)
	f("m a=1\nbad", `m|a:0:1,0"" ;payload refused at byte 9: `+reasons[faultLineFields])
	f("", "")
	for unit, want := range map[time.Duration]string{
		time.Nanosecond: "@0", time.Microsecond: "@1", time.Millisecond: "@1700", time.Second: "@1700000", time.Minute: "@102000000", time.Hour: "@6120000000",
	} {
		l.Unit = unit
		f("m a=1 1700", `m|a:0:1,0"" `+want+`;`)
	}
	l.Unit = time.Hour
	f("m a=1 1700000000000", `payload refused at byte 6: `+reasons[faultTimeRange])
	f("m a=1 -1", `payload refused at byte 6: `+reasons[faultTimeRange])
	l.Unit = 0
	payload := []byte("cpu\\ x,a\\,b=c\\ d,e=f u=1.5,s=\"a\\\"b\" 1700000000000000000\nm b=.5")
	if n := testing.AllocsPerRun(1000, func() {
		for l.Reset(payload); l.Next(); {
		}
		if l.Err() != nil {
			t.Fatal(l.Err())
		}
	}); n != 0 {
		t.Errorf("%v allocations per payload, want 0", n)
	}
}

// naivePoint is a point as the naive parser reads it: values are *big.Rat, bool or string.
type naivePoint struct {
	columns map[string]any
	time    string
}

// naiveLines is the plain twin of Lines and the naming rule: it splits a payload at what is neither escaped nor quoted.
func naiveLines(payload string) ([]naivePoint, bool) {
	var points []naivePoint
	for _, line := range naiveSplit(payload, '\n', false) {
		line = strings.TrimLeft(line, " \t\r")
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		var parts []string
		for _, part := range naiveSplit(line, ' ', false) {
			if part != "" {
				parts = append(parts, part)
			}
		}
		if len(parts) < 2 || len(parts) > 3 {
			return nil, false
		}
		p := naivePoint{columns: map[string]any{}}
		if len(parts) == 3 {
			p.time = parts[2]
		}
		head := naiveSplit(parts[0], ',', false)
		measurement := naiveUnescape(head[0], ", ")
		set := func(key string, value any) {
			name := measurement
			if key != "" {
				name += "_" + key
			}
			p.columns[name] = value
		}
		for _, tag := range head[1:] {
			pair := naiveSplit(tag, '=', false)
			if len(pair) != 2 || pair[0] == "" || pair[1] == "" {
				return nil, false
			}
			set(naiveUnescape(pair[0], ",= "), naiveUnescape(pair[1], ",= "))
		}
		if measurement == "" {
			return nil, false
		}
		for _, field := range naiveSplit(parts[1], ',', true) {
			pair := naiveSplit(field, '=', true)
			if len(pair) != 2 || pair[0] == "" {
				return nil, false
			}
			key := naiveUnescape(pair[0], ",= ")
			if key == "value" {
				key = ""
			}
			value, good := naiveValue(pair[1])
			if !good {
				return nil, false
			}
			set(key, value)
		}
		points = append(points, p)
	}
	return points, true
}

// naiveSplit splits at sep where no backslash is before it and no string is open. A string opens behind an equal sign of the fields:
// behind the first blank of a line, unless s is nothing but fields.
func naiveSplit(s string, sep byte, fields bool) []string {
	var parts []string
	part := ""
	inside := false
	opens := fields
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && !inside && strings.IndexByte(", =", s[i+1]) >= 0:
			part += s[i : i+2]
			i++
		case c == '"' && opens && (inside || strings.HasSuffix(part, "=") || sep == '=' && part == "" && len(parts) > 0):
			inside = !inside
			part += s[i : i+1]
		case c == sep && !inside:
			parts = append(parts, part)
			part = ""
			opens = fields || c == ' ' && strings.Join(parts, "") != ""
		default:
			part += s[i : i+1]
			opens = opens || c == ' ' && strings.Trim(part, " ") != ""
		}
	}
	return append(parts, part)
}

func naiveUnescape(s, special string) string {
	for _, c := range special {
		s = strings.ReplaceAll(s, `\`+string(c), string(c))
	}
	return s
}

func naiveValue(s string) (any, bool) {
	switch strings.ToLower(s) {
	case "t", "true":
		return true, s == "t" || s == "T" || s == "true" || s == "True" || s == "TRUE"
	case "f", "false":
		return false, s == "f" || s == "F" || s == "false" || s == "False" || s == "FALSE"
	case "":
		return nil, false
	}
	if s[0] == '"' {
		if len(s) < 2 || s[len(s)-1] != '"' {
			return nil, false
		}
		return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s[1:len(s)-1], `\\`, "\x00"), `\"`, `"`), "\x00", `\`), true
	}
	switch s[len(s)-1] {
	case 'i':
		n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
		return new(big.Rat).SetInt64(n), err == nil
	case 'u':
		n, err := strconv.ParseUint(strings.TrimPrefix(s[:len(s)-1], "+"), 10, 64)
		return new(big.Rat).SetUint64(n), err == nil && s[0] != '_'
	}
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return nil, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, false
	}
	if r, good := new(big.Rat).SetString(s); good && short(strings.TrimPrefix(s, "+")) {
		return r, true
	}
	return f, true
}

// FuzzLines: a payload is taken if the naive parser takes it, and gives the same values; nothing panics.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		"weather,location=us,b=c temperature=82,h=71i,s=\"a b,c=\\\"d\\\\\" 1465839830100400200\nm value=.5,x=t",
		"a\\,b\\ c,t\\=x=v\\ w f\\ \\==1 5", "# x\n\n m a=1,b=2u,c=-3i,d=1e5,e=\"\" \r\n", "m a=\"x\ny\" 1", "m,t=\\,\\ \\= a=-0", "m a=1 1 1", "m a=\"\\\"", `m "a=1`, "0 Ԗ=0", "0 0=\"\"0",
	} {
		f.Add([]byte(seed))
	}
	dict := tsdb.NewDict()
	used := New(dict)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if encodingOf(payload) != identity {
			return
		}
		contentType := []byte("text/vnd.influx.line")
		rows, err := used.Decode(contentType, payload, arrival)
		fresh, freshErr := New(dict).Decode(contentType, payload, arrival)
		if render(dict, rows) != render(dict, fresh) || fmt.Sprint(err) != fmt.Sprint(freshErr) {
			t.Fatalf("%q: used decoder says\n%s %v\nnew decoder says\n%s %v", payload, render(dict, rows), err, render(dict, fresh), freshErr)
		}
		if !utf8.Valid(payload) {
			if err == nil {
				t.Fatalf("%q: was taken", payload)
			}
			return
		}
		if strings.ContainsAny(string(payload), "\x00\r\t") || strings.Contains(string(payload), `\\`) || strings.Contains(string(payload), `\"`) ||
			strings.Contains(string(payload), "#") && strings.Contains(string(payload), `"`) {
			return // where the naive parser is too naive
		}
		points, good := naiveLines(string(payload))
		var m *Malformed
		switch {
		case !good && err == nil:
			t.Fatalf("%q: should be refused, was taken as %s", payload, render(dict, rows))
		case !good:
			return
		case errors.As(err, &m) && (m.Reason == reasons[faultNameLen] || m.Reason == reasons[faultStringLen] || m.Reason == reasons[faultLineTime] ||
			m.Reason == reasons[faultTimeRange] || m.Reason == reasons[faultNamesFull] || m.Reason == reasons[faultLineInteger] || m.Reason == reasons[faultLineQuote]):
			return
		case err != nil:
			t.Fatalf("%q: refused: %v", payload, err)
		}
		if len(points) != len(rows) {
			t.Fatalf("%q: %d rows, want %d", payload, len(rows), len(points))
		}
		for i, p := range points {
			want := map[string]any{}
			for name, value := range p.columns {
				name = strings.Map(func(r rune) rune {
					if r < utf8.RuneSelf && isNameByte(byte(r)) {
						return r
					}
					return '_'
				}, widen(name))
				if name[0]-'0' <= 9 {
					name = "_" + name
				}
				if _, twice := want[name]; twice {
					return // which one wins depends on their order
				}
				want[name] = value
			}
			if len(want) != len(rows[i].Values) {
				t.Fatalf("%q: row %d is %s, want %v", payload, i, render(dict, rows[i:i+1]), want)
			}
			for _, v := range rows[i].Values {
				w, there := want[dict.MetricName(v.Metric)]
				good := there
				switch w := w.(type) {
				case bool:
					good = good && v.Kind == tsdb.Bool && (v.Mantissa == 1) == w
				case string:
					good = good && v.Kind == tsdb.String && dict.StringValue(uint32(v.Mantissa)) == w
				case float64:
					good = good && v.Kind == tsdb.Float && math.Float64frombits(uint64(v.Mantissa)) == w
				case *big.Rat:
					if v.Kind == tsdb.Float { // an integer of 19 digits
						exact, _ := w.Float64()
						good = good && math.Float64frombits(uint64(v.Mantissa)) == exact
						break
					}
					r, parsed := new(big.Rat).SetString(fmt.Sprintf("%de%d", v.Mantissa, v.Exp))
					good = good && parsed && v.Kind == tsdb.Decimal && r.Cmp(w) == 0
				}
				if !good {
					t.Fatalf("%q: row %d: %s is %+v, want %v", payload, i, dict.MetricName(v.Metric), v, w)
				}
			}
		}
	})
}
