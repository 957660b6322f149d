package decode

import (
	"testing"

	"muster/tsdb"
)

// streetLight is the payload of the fleet benchmark: 8 values in 200 bytes.
const streetLight = `{"ts":1763761378123,"power_w":41.25,"voltage_v":229.7,"current_a":0.182,"temperature_c":-12.5,` +
	`"brightness_percent":80,"energy_kwh":18446.744,"lamp_on":true,"state":"dimmed by schedule 7-winter-weekd"}`

var payloads = []struct{ name, json string }{
	{"flat200", streetLight},
	{"nested", `{"ts":1763761378.125,"pos":{"lat":52.520008,"lon":13.404954,"alt":34.5},"can":{"rpm":2150,"load":37.5,"temp":{"oil":98,"water":87}},"speed":63.4}`},
	{"spaced", "{ \"ts\": 1763761378123,\n  \"power_w\": 41.25,\n  \"voltage_v\": 229.7,\n  \"current_a\": 0.182,\n  \"state\": \"on\\u002fauto\" }"},
	{"array", `[{"ts":1763761378123,"a":1.25,"b":2},{"ts":1763761378223,"a":1.5,"b":3},{"ts":"2026-11-21T21:42:58.323+01:00","a":1.75,"b":4}]`},
	{"float", `{"a":0.12345678901234567891234567890123456789,"b":-1.7976931348623157e308}`},
}

func TestNoAllocations(t *testing.T) {
	d := New(tsdb.NewDict())
	f := func(name string, messages ...[]byte) {
		t.Helper()
		next := 0
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := d.JSON(messages[next%len(messages)], arrival); err != nil {
				t.Fatal(err)
			}
			next++
		}); n != 0 {
			t.Errorf("%s: %v allocations per message, want 0", name, n)
		}
	}
	if len(streetLight) != 200 {
		t.Errorf("the benchmark's payload has %d bytes, want 200", len(streetLight))
	}
	var all [][]byte
	for _, p := range payloads {
		f(p.name, []byte(p.json)) // AllocsPerRun calls once before it counts
		all = append(all, []byte(p.json))
	}
	// Devices of different models behind one decoder.
	f("mixed", all...)
}

// formats are the fleet benchmark's 8 values in each format, and what else there is.
func formats(t testing.TB) []struct {
	name, contentType string
	payload           []byte
} {
	row := cborPairs{"ts", uint64(1763761378123), "power_w", 41.25, "voltage_v", 229.7, "current_a", 0.182, "temperature_c", -12.5,
		"brightness_percent", 80, "energy_kwh", 18446.744, "lamp_on", true, "state", "dimmed by schedule 7-winter-weekd"}
	singles := cborPairs{"ts", uint64(1763761378123), "power_w", float32(41.25), "voltage_v", float32(229.7), "current_a", float32(0.182),
		"temperature_c", float32(-12.5), "brightness_percent", 80, "energy_kwh", float32(18446.744), "lamp_on", true, "state", "dimmed by schedule 7-winter-weekd"}
	fractions := cborPairs{"ts", uint64(1763761378123), "power_w", fraction(4125, -2), "voltage_v", fraction(2297, -1), "current_a", fraction(182, -3),
		"temperature_c", fraction(-125, -1), "brightness_percent", 80, "energy_kwh", fraction(18446744, -3), "lamp_on", true, "state", "dimmed by schedule 7-winter-weekd"}
	noise := cborPairs{"a", 0.30000000000000004, "b", 1.0 / 3, "c", 1e-9 / 7, "d", 123456.78901234567}
	pack := `[{"bn":"urn:dev:mac:0024befffe804ff1/","bt":1763761378.123,"n":"power_w","u":"W","v":41.25},{"n":"voltage_v","u":"V","v":229.7},{"n":"current_a","u":"A","v":0.182},` +
		`{"n":"temperature_c","u":"Cel","v":-12.5},{"n":"brightness_percent","v":80},{"n":"energy_kwh","v":18446.744},{"n":"lamp_on","vb":true},{"n":"state","vs":"dimmed by schedule 7-winter-weekd"}]`
	records := cborList{}
	for i := 2; i < len(row); i += 2 {
		label := 2
		switch row[i+1].(type) {
		case bool:
			label = 4
		case string:
			label = 3
		}
		records = append(records, cborPairs{0, row[i], label, row[i+1]})
	}
	records[0] = append(cborPairs{-2, "urn:dev:mac:0024befffe804ff1/", -3, 1763761378.123}, records[0].(cborPairs)...)
	line := `lamp power_w=41.25,voltage_v=229.7,current_a=0.182,temperature_c=-12.5,brightness_percent=80i,energy_kwh=18446.744,lamp_on=t,state="dimmed by schedule 7-winter-weekd" 1763761378123000000`
	tagged := "weather\\ station,city=Paris,site=roof\\ 2 temperature=7.5,wind=\"a \\\"strong\\\" one\",rain=.5 1763761378123000000\npower value=5u,phase=\"l1\"\n"
	return []struct {
		name, contentType string
		payload           []byte
	}{
		{"json", "", []byte(streetLight)},
		{"json/typed", "application/json; charset=utf-8", []byte(streetLight)},
		{"json/gzip", "", packers["gzip"](t, []byte(streetLight))},
		{"json/zlib", "", packers["zlib"](t, []byte(streetLight))},
		{"json/zstd", "", packers["zstd"](t, []byte(streetLight))},
		{"cbor", "", encodeCBOR(nil, row)},
		{"cbor/singles", "application/cbor", encodeCBOR(nil, singles)},
		{"cbor/fractions", "application/cbor", encodeCBOR(nil, fractions)},
		{"cbor/noise", "application/cbor", encodeCBOR(nil, noise)},
		{"cbor/open", "application/cbor", encodeCBOR(nil, cborOpen{cborList{cborOpen{cborPairs{"a", cborOpen{"in two pieces"}, cborOpen{"key"}, 1}}}})},
		{"senml", "application/senml+json", []byte(pack)},
		{"senml/detected", "", []byte(pack)},
		{"senml/cbor", "application/senml+cbor", encodeCBOR(nil, records)},
		{"lines", "text/vnd.influx.line", []byte(line)},
		{"lines/escapes", "", []byte(tagged)},
		{"sparkplug", "application/vnd.eclipse.sparkplug.b", spPayload(1763761378123, spMetric{"power_w", -1, 9, 0, float32(41.25)}, spMetric{"voltage_v", -1, 9, 0, float32(229.7)},
			spMetric{"current_a", -1, 9, 0, float32(0.182)}, spMetric{"temperature_c", -1, 9, 0, float32(-12.5)}, spMetric{"brightness_percent", -1, 5, 0, uint32(80)},
			spMetric{"energy_kwh", -1, 10, 0, 18446.744}, spMetric{"lamp_on", -1, 11, 0, true}, spMetric{"state", -1, 12, 0, "dimmed by schedule 7-winter-weekd"})},
	}
}

// aliased is a birth and the data message of the fleet benchmark's 8 values by aliases.
func aliased() (birth, data []byte) {
	var named, short []spMetric
	for i, m := range []spMetric{{"power_w", 1, 9, 0, float32(41.25)}, {"voltage_v", 2, 9, 0, float32(229.7)}, {"current_a", 3, 9, 0, float32(0.182)}, {"temperature_c", 4, 9, 0, float32(-12.5)},
		{"brightness_percent", 5, 5, 0, uint32(80)}, {"energy_kwh", 6, 10, 0, 18446.744}, {"lamp_on", 7, 11, 0, true}, {"state", 8, 12, 0, "dimmed by schedule 7-winter-weekd"}} {
		named = append(named, m)
		short = append(short, spMetric{"", i + 1, 0, 0, m.value})
	}
	return spPayload(1763761378123, named...), spPayload(1763761378123, short...)
}

func TestNoAllocationsOfFormats(t *testing.T) {
	d := New(tsdb.NewDict())
	d.Thing = "lamp-1"
	all := formats(t)
	f := func(name string, run func()) {
		t.Helper()
		if n := testing.AllocsPerRun(300, run); n != 0 {
			t.Errorf("%s: %v allocations per message, want 0", name, n)
		}
	}
	contentTypes := make([][]byte, len(all))
	for i := range all {
		contentTypes[i] = []byte(all[i].contentType)
	}
	decode := func(i int) {
		if rows, err := d.Decode(contentTypes[i], all[i].payload, arrival); err != nil || len(rows) == 0 {
			t.Fatalf("%s: %v", all[i].name, err)
		}
	}
	for i := range all {
		f(all[i].name, func() { decode(i) })
	}
	next := 0
	f("mixed", func() { decode(next % len(all)); next++ })
	var births Births
	birth, data := aliased()
	if _, err := d.Sparkplug(birth, true, &births, arrival); err != nil {
		t.Fatal(err)
	}
	f("sparkplug aliases", func() {
		if rows, err := d.Sparkplug(data, false, &births, arrival); err != nil || len(rows[0].Values) != 8 {
			t.Fatal(err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	run := func(name string, payload []byte, decode func(d *Decoder) ([]Row, error)) {
		b.Run(name, func(b *testing.B) {
			d := New(tsdb.NewDict())
			samples := 0
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				rows, err := decode(d)
				if err != nil {
					b.Fatal(err)
				}
				for i := range rows {
					samples += len(rows[i].Values)
				}
			}
			b.ReportMetric(float64(samples)/b.Elapsed().Seconds(), "samples/s")
		})
	}
	for _, f := range formats(b) {
		contentType := []byte(f.contentType)
		run(f.name, f.payload, func(d *Decoder) ([]Row, error) { return d.Decode(contentType, f.payload, arrival) })
	}
	var births Births
	birth, data := aliased()
	if _, err := New(tsdb.NewDict()).Sparkplug(birth, true, &births, arrival); err != nil {
		b.Fatal(err)
	}
	run("sparkplug/aliases", data, func(d *Decoder) ([]Row, error) { return d.Sparkplug(data, false, &births, arrival) })
}

func BenchmarkJSON(b *testing.B) {
	for _, p := range payloads {
		b.Run(p.name, func(b *testing.B) {
			d := New(tsdb.NewDict())
			payload := []byte(p.json)
			samples := 0
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				rows, err := d.JSON(payload, arrival)
				if err != nil {
					b.Fatal(err)
				}
				for i := range rows {
					samples += len(rows[i].Values)
				}
			}
			b.ReportMetric(float64(samples)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
