package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

// raspberry is what the agent reads of a small ARM board.
func raspberry() fstest.MapFS {
	return fstest.MapFS{
		"proc/stat":                              {Data: []byte("cpu  1000 50 500 8000 200 10 40 0 0 0\ncpu0 500 25 250 4000 100 5 20 0 0 0\nintr 12345\n")},
		"proc/loadavg":                           {Data: []byte("0.52 1.04 2.00 2/345 6789\n")},
		"proc/meminfo":                           {Data: []byte("MemTotal:         948304 kB\nMemFree:          120000 kB\nMemAvailable:     474152 kB\nHugePages_Total:       0\n")},
		"proc/uptime":                            {Data: []byte("86400.51 172000.10\n")},
		"sys/class/thermal/thermal_zone0/temp":   {Data: []byte("48312\n")},
		"sys/class/thermal/thermal_zone1/temp":   {Data: []byte("51500\n")},
		"sys/class/thermal/thermal_zone2/temp":   {Data: []byte("-274000\n")}, // a sensor that has no reading
		"sys/class/thermal/cooling_device0/type": {Data: []byte("fan\n")},
	}
}

func read(t *testing.T, h *host) map[string]float64 {
	t.Helper()
	raw := h.appendReading(nil, time.UnixMilli(1_700_000_000_123))
	var got map[string]float64
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return got
}

func halfDisk() (size, free uint64, err error) { return 32 << 30, 8 << 30, nil }

func TestHost(t *testing.T) {
	files := raspberry()
	h := &host{files: files, disk: halfDisk}
	want := map[string]float64{
		"ts": 1_700_000_000_123, "load1": 0.52, "load5": 1.04, "load15": 2, "memory_total_bytes": 948304 << 10, "memory_used_percent": 50,
		"disk_total_bytes": 32 << 30, "disk_used_percent": 75, "temperature_celsius": 51.5, "uptime_seconds": 86401,
	}
	if got := read(t, h); !maps.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	// 100 jiffies later, of which 30 busy
	files["proc/stat"].Data = []byte("cpu  1010 50 520 8060 210 10 40 0 0 0\n")
	want["cpu_percent"] = 30
	if got := read(t, h); !maps.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	// nothing has passed: no load
	delete(want, "cpu_percent")
	if got := read(t, h); !maps.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
}

// What a machine lacks is left out; nonsense is not passed on.
func TestHostLacks(t *testing.T) {
	f := func(files fstest.MapFS, want ...string) {
		t.Helper()
		h := &host{files: files, disk: func() (uint64, uint64, error) { return 0, 0, errors.New("no disk") }}
		read(t, h)
		got := slices.Sorted(maps.Keys(read(t, h)))
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	f(fstest.MapFS{}, "ts")
	f(fstest.MapFS{"proc/uptime": {Data: []byte("12.3 4\n")}}, "ts", "uptime_seconds")
	f(fstest.MapFS{
		"proc/stat": {Data: []byte("cpu x y z 1 2\n")}, "proc/loadavg": {Data: []byte("a b c\n")}, "proc/meminfo": {Data: []byte("MemTotal: 5 kB\nMemAvailable: 9 kB\n")},
		"proc/uptime": {Data: nil}, "sys/class/thermal/thermal_zone0/temp": {Data: []byte("hot\n")},
	}, "ts")
}

// The machine that runs the tests is read without an error.
func TestThisHost(t *testing.T) {
	h := &host{files: os.DirFS("/"), disk: diskOf(t.TempDir())}
	got := read(t, h)
	for _, name := range []string{"load1", "memory_total_bytes", "memory_used_percent", "disk_total_bytes", "uptime_seconds"} {
		if got[name] < 0 || name != "load1" && got[name] == 0 {
			t.Fatalf("%s is %v in %v", name, got[name], got)
		}
	}
}
