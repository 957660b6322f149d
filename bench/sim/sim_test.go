package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"muster/agent/wire"
)

func TestFleetMessages(t *testing.T) {
	names := map[string]bool{}
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range Fleet(200, 1, nil) {
		if err := wire.CheckThingName(d.Name); err != nil || names[d.Name] {
			t.Fatalf("name %q: %v, seen before: %v", d.Name, err, names[d.Name])
		}
		names[d.Name] = true
		for step := range 100 {
			at := start.Add(time.Duration(step) * 10 * time.Minute)
			var message struct {
				TS         int64    `json:"ts"`
				PowerW     *float64 `json:"power_w"`
				BatteryPct float64  `json:"battery_pct"`
				GPS        struct{ Lat, Lon float64 }
			}
			text := d.AppendJSON(nil, at)
			if err := json.Unmarshal(text, &message); err != nil {
				t.Fatalf("%s: %v in %s", d.Name, err, text)
			}
			if message.TS != at.UnixMilli() || message.PowerW == nil || message.BatteryPct > 100 {
				t.Fatalf("%s: %s", d.Name, text)
			}
			if d.Type == Vehicle && (message.GPS.Lat < 30 || message.GPS.Lat > 65) {
				t.Fatalf("%s left Europe: %s", d.Name, text)
			}
		}
	}
}

func TestFleetIsDeterministic(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	a, b := Fleet(10, 7, nil), Fleet(10, 7, nil)
	for i := range a {
		if x, y := string(a[i].AppendJSON(nil, at)), string(b[i].AppendJSON(nil, at)); x != y {
			t.Fatalf("device %d of one seed:\n%s\n%s", i, x, y)
		}
	}
}

func TestReplay(t *testing.T) {
	series, err := ReadSeries(fstest.MapFS{
		"a_temperature_b.csv": {Data: []byte("timestamp,value\n2013-12-02 21:15:00,73.25\n2013-12-02 21:20:00,74.5\n")},
		"LICENSE.txt":         {Data: []byte("text")},
	})
	if err != nil || len(series) != 1 || !slices.Equal(series[0].Values, []float64{73.25, 74.5}) {
		t.Fatalf("ReadSeries = %v, %v", series, err)
	}
	fleet := Fleet(4, 1, series)
	got := string(fleet[0].AppendJSON(nil, time.Now()))
	if !strings.Contains(got, `"temp_c":73.25`) && !strings.Contains(got, `"temp_c":74.50`) {
		t.Errorf("lamp does not replay the temperature: %s", got)
	}
	if fleet[1].replay != nil || fleet[2].replay != nil {
		t.Error("a vehicle replays a temperature, or the second pair replays")
	}
	if _, err := ReadSeries(fstest.MapFS{"x.csv": {Data: []byte("timestamp,value\nnow,hot\n")}}); err == nil || !strings.Contains(err.Error(), `x.csv`) {
		t.Errorf("a bad file: %v", err)
	}
}
