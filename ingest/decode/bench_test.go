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
