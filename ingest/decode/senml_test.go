package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/tsdb"
)

// toCBOR converts a SenML pack in JSON to its CBOR form, with integer labels.
func toCBOR(t *testing.T, pack string) []byte {
	t.Helper()
	labels := map[string]int{"bs": -6, "bv": -5, "bu": -4, "bt": -3, "bn": -2, "bver": -1, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}
	dec := json.NewDecoder(strings.NewReader(pack))
	dec.UseNumber()
	var records []map[string]any
	if err := dec.Decode(&records); err != nil {
		t.Fatalf("%s: %v", pack, err)
	}
	var list cborList
	for _, r := range records {
		var names []string
		for name := range r {
			names = append(names, name)
		}
		sort.Strings(names)
		var pairs cborPairs
		for _, name := range names {
			var key any = name
			if label, known := labels[name]; known {
				key = label
			}
			value := r[name]
			if n, isNumber := value.(json.Number); isNumber {
				f, err := n.Float64()
				if err != nil {
					t.Fatal(err)
				}
				if i, err := n.Int64(); err == nil {
					value = i
				} else {
					value = f
				}
			}
			if name == "vd" {
				value = cborBytesItem("data")
			}
			switch value.(type) {
			case []any, map[string]any:
				value = cborPairs{"y", cborOpen{cborList{nil, 1.5, cborOpen{"skipped"}, cborTagged{99, cborBytesItem("z")}}}}
			}
			pairs = append(pairs, key, value)
		}
		list = append(list, pairs)
	}
	return encodeCBOR(nil, list)
}

func TestSenML(t *testing.T) {
	dict := tsdb.NewDict()
	shared := New(dict)
	thing := ""
	f := func(pack, want string) {
		t.Helper()
		for _, d := range []*Decoder{New(dict), shared, shared} {
			d.Thing = thing
			for contentType, payload := range map[string][]byte{"application/senml+json": []byte(pack), "application/senml+cbor": toCBOR(t, pack)} {
				rows, err := d.Decode([]byte(contentType), payload, arrival)
				if err != nil {
					t.Fatalf("%s %s: %v", contentType, pack, err)
				}
				if got := render(dict, rows); got != want {
					t.Fatalf("%s %s\n got %s\nwant %s", contentType, pack, got, want)
				}
			}
		}
	}
	// the examples of RFC 8428 section 5.1
	f(`[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]`, `arrival value=231e-1`)
	f(`[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]`, `arrival voltage=1201e-1 current=12e-1`)
	f(`[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
		{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","v":1.7}]`,
		`1276020076001 voltage=1201e-1; 1276020071001 current=12e-1; 1276020072001 current=13e-1; 1276020076001 current=17e-1`)
	f(`[{"bn":"urn:dev:mac:0024befffe804ff1/","bt":1276020091,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1}]`, `1276020091000 voltage=1201e-1`)
	f(`[{"n":"urn:dev:ow:10e2073a01080063/temp_sensor","vs":"ok"}]`, `arrival temp_sensor="ok"`)
	// base values, sums
	f(`[{"bn":"m/","bv":100,"bs":0.5,"n":"a","v":-0.25},{"n":"b","v":1,"s":2},{"n":"c","s":3},{"bv":0,"bs":0,"n":"d","v":7,"s":8}]`,
		`arrival m_a=9975e-2 m_b=101e0 m_b_sum=25e-1 m_c_sum=35e-1 m_d=7e0 m_d_sum=8e0`)
	// base fields hold for their own record, wherever they stand, and until they change
	f(`[{"n":"a","v":1,"bn":"x/","t":1,"bt":1700000000},{"n":"b","v":2},{"bn":"y/","bt":1700000001},{"n":"b","vb":true},{"bn":"","n":"c","vb":false}]`,
		`1700000001000 x_a=1e0; arrival x_b=2e0; 1700000001000 y_b=true c=false`)
	f(`[{"bn":"room"},{"v":20.5}]`, `arrival room=205e-1`)
	// relative times count from arrival, below 2^28 s
	f(`[{"n":"a","v":1,"t":-2.5},{"n":"a","v":2,"t":10},{"n":"a","v":3,"t":268435455},{"n":"a","v":4,"t":268435456}]`,
		`1699999997500 a=1e0; 1700000010000 a=2e0; 1968435455000 a=3e0; 268435456000 a=4e0`)
	f(`[{"n":"a","v":1,"t":-0.0001}]`, `1699999999999 a=1e0`)
	// records that follow each other at the same time are one row; the last of equal names wins
	f(`[{"n":"a","v":1},{"n":"b","v":2},{"n":"a","v":3,"t":0},{"n":"c","v":4,"t":-1},{"n":"d","v":5}]`,
		`arrival a=3e0 b=2e0; 1699999999000 c=4e0; arrival d=5e0`)
	// what is not read
	f(`[{"n":"a","v":1,"u":"Cel","ut":60,"x":{"y":[1,null,true,"z"]},"l":[]}]`, `arrival a=1e0`)
	f(`[{"n":"a","vd":"YWJj"},{"n":"b","v":1},{"n":"c","vd":"YWJj","s":2}]`, `arrival b=1e0 c_sum=2e0`)
	f(`[]`, ``)
	f(`[{}]`, ``)
	f(`[{"bn":"a","bver":10}]`, ``)
	// the device in front of a name
	f(`[{"n":"urn:dev:mac:0024befffe804ff1_indoor/temp","v":1}]`, `arrival indoor_temp=1e0`)
	f(`[{"n":"urn:dev:org:32473-foo:bar","v":1}]`, `arrival bar=1e0`)
	f(`[{"n":"urn:dev:","v":1}]`, `arrival value=1e0`)
	f(`[{"n":"lamp-1/power","v":1},{"n":"lamp-10","v":2}]`, `arrival lamp_1_power=1e0 lamp_10=2e0`)
	thing = "lamp-1"
	f(`[{"n":"lamp-1/power","v":1},{"n":"lamp-10","v":2},{"n":"lamp-1","v":3},{"n":"lamp-1:","v":4,"s":5},{"n":"lamp-1.x","v":6}]`,
		`arrival power=1e0 lamp_10=2e0 value=4e0 value_sum=5e0 x=6e0`)
}

func TestSenMLText(t *testing.T) {
	dict := tsdb.NewDict()
	f := func(pack, want string) {
		t.Helper()
		rows, err := New(dict).Decode(nil, []byte(pack), arrival)
		if err != nil {
			t.Fatalf("%s: %v", pack, err)
		}
		if got := render(dict, rows); got != want {
			t.Fatalf("%s\n got %s\nwant %s", pack, got, want)
		}
	}
	// escapes
	f(`[{"\u0062n":"a\/","n":"\u0062","\u0076s":"x\ny"}]`, `arrival bn="a/" n="b" vs="x\ny"`) // a label with escapes is not looked for
	f(`[{"bn":"a\/","n":"\u0062","vs":"x\ny"},{"n":"c","vs":"z"}]`, `arrival a_b="x\ny" a_c="z"`)
	// told from rows without a content type
	f(` [ { "bn" : "x/" , "n" : "a" , "v" : 1 } ] `, `arrival x_a=1e0`)
	f(`[{"n":"a","u":"Cel","v":1}]`, `arrival a=1e0`)
	f(`[{"n":"a","s":1}]`, `arrival a_sum=1e0`)
	f(`[{"v":1,"n":2}]`, `arrival v=1e0 n=2e0`)
	f(`[{"n":"a","t":1}]`, `arrival n="a" t=1e0`)
	f(`[{"v":1,"t":2}]`, `arrival v=1e0 t=2e0`)
	f(`[{"n":"a","v":1,"w":2}]`, `arrival n="a" v=1e0 w=2e0`)
	// CBOR with text labels
	rows, err := New(dict).Decode([]byte("application/senml+cbor"), encodeCBOR(nil, cborOpen{cborList{cborOpen{cborPairs{"n", cborOpen{"name"}, "vs", cborOpen{"text"}, "bn", cborOpen{"x/"}}}}}), arrival)
	if got := render(dict, rows); err != nil || got != `arrival x_name="text"` {
		t.Fatalf("%s %v", got, err)
	}
	// and told by its integer labels
	rows, err = New(dict).Decode(nil, encodeCBOR(nil, cborTagged{55799, cborList{cborPairs{0, "a", 2, 1.5}}}), arrival)
	if got := render(dict, rows); err != nil || got != `arrival a=15e-1` {
		t.Fatalf("%s %v", got, err)
	}
	rows, err = New(dict).Decode([]byte("application/senml+cbor"), encodeCBOR(nil, cborList{cborPairs{0, "a", 2, math.NaN()}, cborPairs{0, "b", 2, 1}}), arrival)
	if got := render(dict, rows); err != nil || got != `arrival b=1e0` {
		t.Fatalf("%s %v", got, err)
	}
}

func TestSenMLMalformed(t *testing.T) {
	f := func(contentType, payload string, offset int, want fault) {
		t.Helper()
		rows, err := New(tsdb.NewDict()).Decode([]byte(contentType), []byte(payload), arrival)
		var m *Malformed
		if !errors.As(err, &m) || rows != nil {
			t.Fatalf("%.80q = %v, %v, want malformed: %s", payload, rows, err, reasons[want])
		}
		if m.Reason != reasons[want] || m.Offset != offset {
			t.Fatalf("%.80q\n got %q at %d\nwant %q at %d", payload, m.Reason, m.Offset, reasons[want], offset)
		}
	}
	j := func(payload string, offset int, want fault) {
		t.Helper()
		f("application/senml+json", payload, offset, want)
	}
	j(``, 0, faultEmpty)
	j(`{"n":"a","v":1}`, 0, faultSenMLTop)
	j(`[1]`, 1, faultSenMLTop)
	j(`[`, 1, faultEnd)
	j(`[{`, 2, faultEnd)
	j(`[{"n"`, 5, faultEnd)
	j(`[{"n":`, 6, faultEnd)
	j(`[{"n":"a"`, 9, faultEnd)
	j(`[{"n":"a"}`, 10, faultEnd)
	j(`[{"n":"a"}]x`, 11, faultTrailing)
	j(`[{n:"a"}]`, 2, faultKey)
	j(`[{"n" "a"}]`, 6, faultColon)
	j(`[{"n":"a" "v":1}]`, 10, faultComma)
	j(`[{"n":"a",}]`, 10, faultKey)
	j(`[{},]`, 4, faultSenMLTop)
	j(`[{"n":1,"v":1}]`, 6, faultSenMLField)
	j(`[{"n":"a","v":"1"}]`, 14, faultSenMLField)
	j(`[{"n":"a","v":null}]`, 14, faultSenMLField)
	j(`[{"n":"a","vb":1}]`, 15, faultSenMLField)
	j(`[{"n":"a","t":"x"}]`, 14, faultSenMLField)
	j(`[{"n":"a","v":01}]`, 14, faultNumber)
	j(`[{"n":"a","v":1e400}]`, 1, faultNumberRange)
	j(`[{"n":"a","v":1e308,"bv":1e308}]`, 1, faultNumberRange)
	j(`[{"n":"\x","v":1}]`, 7, faultEscape)
	j("[{\"n\":\"a\",\"vs\":\"\xff\"}]", 16, faultUTF8)
	j(`[{"n":"a","vs":"`+strings.Repeat("x", 1025)+`"}]`, 1, faultStringLen)
	j(`[{"n":"`+strings.Repeat("x", 129)+`","v":1}]`, 1, faultNameLen)
	j(`[{"n":"`+strings.Repeat("x", 126)+`","s":1}]`, 1, faultNameLen)
	j(`[{"v":1}]`, 1, faultSenMLName)
	j(`[{"n":"a","v":1,"vb":true}]`, 1, faultSenMLValues)
	j(`[{"n":"a","v":1},{"bver":11}]`, 25, faultSenMLVersion)
	j(`[{"n":"a","v":1,"x_":1}]`, 16, faultSenMLMust)
	j(`[{"n":"a","v":1,"x":[[[[[[[[[1]]]]]]]]]}]`, 28, faultDepth)
	j(`[{"n":"a","v":1,"x":nul}]`, 20, faultValue)
	j(`[{"n":"a","v":1,"t":1e30}]`, 1, faultTimeRange)
	j(`[{"n":"a","v":1,"t":-1700000001}]`, 1, faultTimeRange)
	j(`[`+strings.Repeat(`{"n":"a","v":1,"t":1},{"n":"a","v":1},`, 501)+`{}]`, 1+500*38+22, faultRows)
	c := func(item any, offset int, want fault) {
		t.Helper()
		f("application/senml+cbor", string(encodeCBOR(nil, item)), offset, want)
	}
	c(cborPairs{}, 0, faultSenMLTop)
	c(cborList{1}, 1, faultSenMLTop)
	c(cborList{cborPairs{cborHalf(0), 1}}, 2, faultSenMLField)
	c(cborList{cborPairs{0, 1}}, 3, faultSenMLField)
	c(cborList{cborPairs{2, "x"}}, 3, faultSenMLField)
	c(cborList{cborPairs{4, 1}}, 3, faultSenMLField)
	c(cborList{cborPairs{6, math.NaN()}}, 3, faultSenMLField)
	c(cborList{cborPairs{-1, 11}}, 3, faultSenMLVersion)
	c(cborList{cborPairs{"x_", 11}}, 2, faultSenMLMust)
	c(cborList{cborPairs{0, "a", 3, "\xff"}}, 1, faultUTF8)
	c(cborList{cborPairs{99, cborRaw{0x5b, 255, 255, 255, 255, 255, 255, 255, 255}}}, 13, faultCut)
	c(cborList{cborPairs{0, "a", 2, 1, 99, cborRaw(strings.Repeat("\x81", 40))}}, 17, faultDepth)
}

// senmlOracle resolves a pack by encoding/json and rationals: the values by time and column, in the order of the records.
func senmlOracle(payload []byte) (map[string]any, bool) {
	var records []map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(payload))
	if dec.Decode(&records) != nil {
		return nil, false
	}
	if dec.More() {
		return nil, false
	}
	number := func(raw json.RawMessage) (*big.Rat, bool) {
		if len(raw) > 40 || len(raw) == 0 || raw[0] != '-' && raw[0]-'0' > 9 || bytes.ContainsAny(raw, "eE") {
			return new(big.Rat), len(raw) == 0
		}
		return new(big.Rat).SetString(string(raw))
	}
	text := func(raw json.RawMessage) (string, bool) {
		var s string
		if len(raw) == 0 {
			return "", true
		}
		return s, raw[0] == '"' && json.Unmarshal(raw, &s) == nil
	}
	got := map[string]any{}
	baseName := ""
	base := map[string]*big.Rat{"bt": new(big.Rat), "bv": new(big.Rat), "bs": new(big.Rat)}
	for _, r := range records {
		if r == nil {
			return nil, false
		}
		for name, raw := range r {
			if strings.HasSuffix(name, "_") || string(raw) == "null" {
				return nil, false
			}
		}
		for name := range base {
			if raw, there := r[name]; there {
				n, good := number(raw)
				if !good {
					return nil, false
				}
				base[name] = n
			}
		}
		if raw, there := r["bver"]; there {
			if n, good := number(raw); !good || n.Cmp(big.NewRat(10, 1)) > 0 {
				return nil, false
			}
		}
		if raw, there := r["bn"]; there {
			s, good := text(raw)
			if !good {
				return nil, false
			}
			baseName = s
		}
		n, good := text(r["n"])
		t, good2 := number(r["t"])
		v, good3 := number(r["v"])
		s, good4 := number(r["s"])
		vs, good5 := text(r["vs"])
		if !(good && good2 && good3 && good4 && good5) {
			return nil, false
		}
		_, hasV := r["v"]
		_, hasVS := r["vs"]
		vb, hasVB := r["vb"]
		_, hasVD := r["vd"]
		_, hasS := r["s"]
		values := 0
		for _, has := range []bool{hasV, hasVS, hasVB, hasVD} {
			if has {
				values++
			}
		}
		name := baseName + n
		if values > 1 || hasVB && string(vb) != "true" && string(vb) != "false" {
			return nil, false
		}
		if values == 0 && !hasS || hasVD && !hasS {
			continue
		}
		if name == "" || len(name) > maxNameBytes-4 || strings.HasPrefix(name, "urn:") || len(vs) > maxValueBytes {
			return nil, false
		}
		seconds := new(big.Rat).Add(base["bt"], t)
		ms := new(big.Int).Div(new(big.Int).Mul(seconds.Num(), big.NewInt(1000)), seconds.Denom())
		if ms.Cmp(big.NewInt(1000<<28)) < 0 {
			ms.Add(ms, big.NewInt(arrival))
		}
		if ms.Sign() < 0 || ms.Cmp(big.NewInt(1e14)) >= 0 {
			return nil, false
		}
		column := strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf && isNameByte(byte(r)) {
				return r
			}
			return '_'
		}, widen(name))
		if column[0]-'0' <= 9 {
			column = "_" + column
		}
		at := ms.String() + " "
		switch {
		case hasV:
			got[at+column] = new(big.Rat).Add(base["bv"], v)
		case hasVS:
			got[at+column] = vs
		case hasVB:
			got[at+column] = string(vb) == "true"
		}
		if hasS {
			got[at+column+"_sum"] = new(big.Rat).Add(base["bs"], s)
		}
	}
	return got, len(got) < maxColumns
}

// FuzzSenML: a pack that the oracle takes is decoded to the same values, in JSON by a new and a used decoder; nothing panics.
func FuzzSenML(f *testing.F) {
	for _, seed := range []string{
		`[{"bn":"a/","bt":1700000000,"bv":1.5,"bs":2,"n":"x","v":1,"t":-5.25},{"n":"y","vs":"q\n","s":3},{"vb":true,"n":"z"}]`,
		`[{"n":"a","vd":"eA","u":"Cel","ut":5,"bver":5,"x":[1,{"y":null}]}]`,
		`[{"n":"a","v":0.1,"bv":99999999999999999}]`, `[{"v":1}]`, `[]`, `[{"n":"1","v":-0}]`, `[{"n":"a","t":268435456.0009,"v":1}]`,
	} {
		f.Add([]byte(seed))
	}
	dict := tsdb.NewDict()
	used := New(dict)
	f.Fuzz(func(t *testing.T, payload []byte) {
		rows, err := used.Decode([]byte("application/senml+json"), payload, arrival)
		fresh, freshErr := New(dict).Decode([]byte("application/senml+json"), payload, arrival)
		if render(dict, rows) != render(dict, fresh) || fmt.Sprint(err) != fmt.Sprint(freshErr) {
			t.Fatalf("%q: used decoder says\n%s %v\nnew decoder says\n%s %v", payload, render(dict, rows), err, render(dict, fresh), freshErr)
		}
		if encodingOf(payload) != identity {
			return
		}
		if !json.Valid(payload) || !utf8.Valid(payload) {
			if err == nil {
				t.Fatalf("%q: invalid JSON was taken as %s", payload, render(dict, rows))
			}
			return
		}
		want, good := senmlOracle(payload)
		if !good || bytes.Contains(payload, []byte(`\`)) || hasFold(payload) {
			return
		}
		if err != nil {
			var m *Malformed
			if errors.As(err, &m) && (m.Reason == reasons[faultDepth] || m.Reason == reasons[faultNamesFull] || m.Reason == reasons[faultSenMLField]) {
				return // of fields that have no meaning in the end; a duplicate that encoding/json drops
			}
			t.Fatalf("%q: refused: %v", payload, err)
		}
		seen := 0
		got := map[string]tsdb.Value{}
		for _, r := range rows {
			for _, v := range r.Values {
				got[fmt.Sprintf("%d %s", r.TimeMs, dict.MetricName(v.Metric))] = v
			}
		}
		for at, w := range want {
			v, there := got[at]
			if !there {
				t.Fatalf("%q: %s is missing in %s", payload, at, render(dict, rows))
			}
			seen++
			switch w := w.(type) {
			case bool:
				if v.Kind != tsdb.Bool || (v.Mantissa == 1) != w {
					t.Fatalf("%q: %s = %+v, want %v", payload, at, v, w)
				}
			case string:
				if v.Kind != tsdb.String || dict.StringValue(uint32(v.Mantissa)) != w {
					t.Fatalf("%q: %s = %+v, want %q", payload, at, v, w)
				}
			case *big.Rat:
				if v.Kind == tsdb.Float {
					exact, _ := w.Float64()
					if f := math.Float64frombits(uint64(v.Mantissa)); math.Abs(f-exact) > 1e-12*math.Abs(exact)+1e-6 {
						t.Fatalf("%q: %s = %v, want %v", payload, at, f, exact)
					}
				} else if r, _ := new(big.Rat).SetString(fmt.Sprintf("%de%d", v.Mantissa, v.Exp)); v.Kind != tsdb.Decimal || r.Cmp(w) != 0 {
					t.Fatalf("%q: %s = %+v, want %s", payload, at, v, w)
				}
			}
		}
		if seen != len(got) {
			t.Fatalf("%q: got %s, want %v", payload, render(dict, rows), want)
		}
	})
}

// hasFold reports whether an object may have a key twice, of which encoding/json keeps one.
func hasFold(payload []byte) bool {
	var records []json.RawMessage
	if json.Unmarshal(payload, &records) != nil {
		return true
	}
	for _, r := range records {
		dec := json.NewDecoder(bytes.NewReader(r))
		seen := map[string]bool{}
		depth := 0
		for key := true; ; {
			token, err := dec.Token()
			if err != nil {
				break
			}
			if delim, is := token.(json.Delim); is {
				if delim == '{' || delim == '[' {
					depth++
				} else {
					depth--
				}
				key = depth == 1
				continue
			}
			if depth != 1 {
				continue
			}
			if name, is := token.(string); key && is {
				if seen[name] {
					return true
				}
				seen[name] = true
			}
			key = !key
		}
	}
	return false
}
