package decode

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"muster/tsdb"
)

func TestSchema(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	f := func(rules []Rule, dropUnknown bool, payload, want string) {
		t.Helper()
		schema, err := NewSchema(dict, rules, dropUnknown)
		if err != nil {
			t.Fatal(err)
		}
		d.Schema = schema
		rows, err := d.Decode(nil, []byte(payload), arrival)
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if got := render(dict, rows); got != want {
			t.Fatalf("%s\n got %s\nwant %s", payload, got, want)
		}
	}
	f(nil, false, `{"a":1,"b":true}`, "arrival a=1e0 b=true")
	f(nil, true, `{"a":1,"b":true}`, "")
	f([]Rule{{Column: "a"}}, true, `{"a":1,"b":true}`, "arrival a=1e0")
	f([]Rule{{Column: "b", Drop: true}}, false, `{"a":1,"b":true,"c":"x"}`, `arrival a=1e0 c="x"`)
	f([]Rule{{Column: "a", Rename: "alpha"}, {Column: "pos_lat", Rename: "lat"}}, false, `{"a":1,"pos":{"lat":52.5,"lon":13}}`, "arrival alpha=1e0 lat=525e-1 pos_lon=13e0")

	// exact where it can be
	f([]Rule{{Column: "t", Scale: "0.1"}}, false, `{"t":215}`, "arrival t=215e-1")
	f([]Rule{{Column: "t", Scale: "0.1", Offset: "-40"}}, false, `{"t":615}`, "arrival t=215e-1")
	f([]Rule{{Column: "t", Scale: "0.1"}}, false, `{"t":200}`, "arrival t=2e1")
	f([]Rule{{Column: "t", Scale: "-1"}}, false, `{"t":0.5}`, "arrival t=-5e-1")
	f([]Rule{{Column: "t", Scale: "1e3"}}, false, `{"t":0}`, "arrival t=0e0")
	f([]Rule{{Column: "t", Offset: "273.15"}}, false, `{"t":-273.15}`, "arrival t=0e0")
	f([]Rule{{Column: "t", Scale: "1", Offset: "0"}}, false, `{"t":1.5}`, "arrival t=15e-1")
	f([]Rule{{Column: "t", Scale: "0.55555555555555555556"}}, false, `{"t":9}`, "arrival t=5e0")
	f([]Rule{{Column: "t", Scale: "3"}}, false, `{"t":999999999999999999}`, "arrival t=3e18")
	f([]Rule{{Column: "t", Scale: "10"}}, false, `{"t":0.1234567890123456789}`, "arrival t=~1.2345678901234567")
	// what no column can hold is left out
	f([]Rule{{Column: "t", Scale: "1e100"}}, false, `{"t":1e300,"a":1}`, "arrival a=1e0")
	if d.Skipped() != 1 {
		t.Fatalf("%d values skipped", d.Skipped())
	}
	// only numbers are scaled
	f([]Rule{{Column: "t", Scale: "2"}}, false, `[{"t":true},{"t":"1"},{"t":null}]`, `arrival t=true; arrival t="1"`)

	// two values for one column: the last in the payload counts, in each order
	rename := []Rule{{Column: "a", Rename: "b", Scale: "10"}}
	f(rename, false, `{"a":1,"b":2}`, "arrival b=2e0")
	f(rename, false, `{"b":2,"a":1}`, "arrival b=1e1")
	f(rename, true, `{"b":2,"a":1}`, "arrival b=1e1")
	f(rename, true, `{"a":1,"b":2}`, "arrival b=1e1")
	f([]Rule{{Column: "a", Rename: "c"}, {Column: "b", Rename: "c"}}, false, `{"a":1,"b":2}`, "arrival c=2e0")
	// names are swapped
	f([]Rule{{Column: "a", Rename: "b"}, {Column: "b", Rename: "a"}}, false, `{"a":1,"b":2}`, "arrival b=1e0 a=2e0")
	// rows by themselves; one that has nothing left is left out
	f([]Rule{{Column: "b", Drop: true}}, false, `[{"ts":1763761378,"b":1},{"ts":1763761379,"a":1,"b":2},{"ts":1763761380,"a":2}]`, "1763761379000 a=1e0; 1763761380000 a=2e0")
	f([]Rule{{Column: "power", Scale: "1000", Rename: "power_w"}}, false, "power value=1.5,raw=2 1763761378123000000", "1763761378123 power_w=15e2 power_raw=2e0")

	bad := func(want string, rules ...Rule) {
		t.Helper()
		if _, err := NewSchema(dict, rules, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q in it", err, want)
		}
	}
	bad(`column "a" has two rules`, Rule{Column: "a"}, Rule{Column: "b"}, Rule{Column: "a"})
	bad(`column "a": scale must not be 0`, Rule{Column: "a", Scale: "0.0"})
	bad(`column "a": scale: "x" is no number`, Rule{Column: "a", Scale: "x"})
	bad(`column "a": scale: "1.5x" is no number`, Rule{Column: "a", Scale: "1.5x"})
	bad(`column "a": offset: "1e999" is too large`, Rule{Column: "a", Offset: "1e999"})
	bad(`column "a": offset: "1e-999" is too large or too small`, Rule{Column: "a", Offset: "1e-999"})
}

// Against the same done plainly, with many columns and rules.
func TestSchemaAtRandom(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	dict := tsdb.NewDict()
	d := New(dict)
	for round := range 3000 {
		var rules []Rule
		byName := map[string]Rule{}
		for _, c := range r.Perm(40)[:r.IntN(30)] {
			rule := Rule{Column: fmt.Sprintf("c%d", c), Drop: r.IntN(5) == 0}
			if r.IntN(3) == 0 {
				rule.Rename = fmt.Sprintf("c%d", r.IntN(50))
			}
			if r.IntN(3) == 0 {
				rule.Scale = []string{"0.1", "3", "-2.5", "1e-3", "0.3333333333333333333"}[r.IntN(5)]
			}
			if r.IntN(3) == 0 {
				rule.Offset = []string{"1", "-0.5", "1e6"}[r.IntN(3)]
			}
			rules = append(rules, rule)
			byName[rule.Column] = rule
		}
		dropUnknown := r.IntN(2) == 0
		schema, err := NewSchema(dict, rules, dropUnknown)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{}
		var payload []string
		for _, c := range r.Perm(60)[:r.IntN(40)] {
			name, value := fmt.Sprintf("c%d", c), float64(r.IntN(2_000_000)-1_000_000)/1000
			payload = append(payload, fmt.Sprintf("%q:%v", name, value))
			rule, known := byName[name]
			if rule.Drop || !known && dropUnknown {
				continue
			}
			if rule.Rename != "" {
				name = rule.Rename
			}
			var scale, offset float64 = 1, 0
			if rule.Scale != "" {
				fmt.Sscan(rule.Scale, &scale)
			}
			if rule.Offset != "" {
				fmt.Sscan(rule.Offset, &offset)
			}
			want[name] = value*scale + offset
		}
		d.Schema = schema
		rows, err := d.JSON([]byte("{"+strings.Join(payload, ",")+"}"), arrival)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, row := range rows {
			for _, v := range row.Values {
				name := dict.MetricName(v.Metric)
				if _, twice := got[name]; twice {
					t.Fatalf("seed %d round %d: %s twice", seed, round, name)
				}
				got[name] = v.Float()
			}
		}
		for name, value := range want {
			if g, there := got[name]; !there || math.Abs(g-value) > 1e-9*max(1, math.Abs(value)) {
				t.Fatalf("seed %d round %d: %s = %v, want %v\nrules %+v\npayload %v", seed, round, name, g, value, rules, payload)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d round %d: %d columns, want %d", seed, round, len(got), len(want))
		}
	}
}

func TestSchemaDoesNotAllocate(t *testing.T) {
	dict := tsdb.NewDict()
	d := New(dict)
	var err error
	d.Schema, err = NewSchema(dict, []Rule{{Column: "power_w", Scale: "0.001", Rename: "power_kw"}, {Column: "temperature_c", Scale: "1.8", Offset: "32", Rename: "temperature_f"},
		{Column: "state", Drop: true}, {Column: "a", Scale: "0.3333333333333333333333"}, {Column: "b", Scale: "0.5", Offset: "1"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range formats(t) {
		contentType := []byte(f.contentType)
		run := func() {
			if _, err := d.Decode(contentType, f.payload, arrival); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if n := testing.AllocsPerRun(300, run); n != 0 {
			t.Errorf("%s: %v allocations per message, want 0", f.name, n)
		}
	}
}

func BenchmarkSchema(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("schema=%v", with), func(b *testing.B) {
			dict := tsdb.NewDict()
			d := New(dict)
			if with {
				var err error
				if d.Schema, err = NewSchema(dict, []Rule{{Column: "power_w", Scale: "0.001", Rename: "power_kw"}, {Column: "temperature_c", Offset: "273.15"}}, false); err != nil {
					b.Fatal(err)
				}
			}
			payload := []byte(streetLight)
			b.ReportAllocs()
			for b.Loop() {
				if rows, err := d.JSON(payload, arrival); err != nil || len(rows) != 1 {
					b.Fatal(rows, err)
				}
			}
		})
	}
}
