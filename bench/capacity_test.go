package bench

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestCapacityLimits: the limit that broke is named.
func TestCapacityLimits(t *testing.T) {
	c := &capacity{rate: 1, p99: 100 * time.Millisecond}
	l := &capacityLimits{memoryBytes: 100 << 20, cores: 2, files: 1000}
	f := func(want string, change func(*capacityStep)) {
		t.Helper()
		s := capacityStep{Devices: 500, Connected: 500, RSS: 50 << 20, Cores: 1, Messages: 500, P99: 20 * time.Millisecond, Files: 520}
		change(&s)
		if got := l.broken(&s, c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", func(*capacityStep) {})
	f("memory: 95 MB of 100 MB", func(s *capacityStep) { s.RSS = 95 << 20 })
	f("open files: 990 of 1000 (ulimit -n)", func(s *capacityStep) { s.Files = 990 })
	f("CPU: 1.95 of 2 cores", func(s *capacityStep) { s.Cores = 1.95 })
	f("connections: 2 of 500 refused: EOF", func(s *capacityStep) { s.Connected, s.Failure = 498, "EOF" })
	f("3 connections broke: reset", func(s *capacityStep) { s.Lost, s.Failure = 3, "reset" })
	f("acknowledgements: 99 of 100 within 120ms, 100ms is asked for", func(s *capacityStep) { s.P99 = 120 * time.Millisecond })
	f("the simulated devices themselves: 300 messages per second of 500", func(s *capacityStep) { s.Messages = 300 })
}

// TestCapacityConclusion: 30 MB and 10 KB for each device are found again, and told for each box.
func TestCapacityConclusion(t *testing.T) {
	r := capacityResult{Rate: 0.1}
	for n := 1000; n <= 40_000; n += 3000 {
		r.Steps = append(r.Steps, capacityStep{Connected: n, RSS: int64(30<<20 + n*10<<10), CPUMicros: 20})
	}
	r.conclude()
	if math.Abs(r.BytesPerDevice-10<<10) > 1 || math.Abs(r.BytesBefore-30<<20) > 1024 {
		t.Errorf("%v bytes before, %v per device", r.BytesBefore, r.BytesPerDevice)
	}
	if len(r.Boxes) != 5 || r.Boxes[0].Devices < 36_200 || r.Boxes[0].Devices > 36_300 || r.Boxes[0].Extrapolated || !r.Boxes[1].Extrapolated {
		t.Errorf("boxes %+v", r.Boxes)
	}
	// 36,000 devices with a message each 10 s of 20 us: 0.072 cores, of which four fifths are used
	if cores := r.Boxes[0].Cores; cores < 0.089 || cores > 0.092 {
		t.Errorf("%v cores", cores)
	}
	var out strings.Builder
	if err := r.print(&out); err != nil || !strings.Contains(out.String(), "0 devices at 0.1 messages per second each: no limit broke, the ramp was over\n") {
		t.Errorf("%v\n%s", err, &out)
	}
	single := capacityResult{Steps: r.Steps[:1]}
	single.conclude()
	if single.BytesPerDevice != 0 || len(single.Boxes) != 0 {
		t.Errorf("one step gives %+v", single)
	}
}

func TestProfile(t *testing.T) {
	f := func(text string, cores int, memory int64) {
		t.Helper()
		var p profile
		err := p.parse(text)
		if (err == nil) != (cores > 0) || p.cores != cores || p.memoryBytes != memory {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
	f("1x512MB", 1, 512<<20)
	f("4x8GB", 4, 8<<30)
	f("", 0, 0)
	f("0x1GB", 0, 0)
	f("2x1", 0, 0)
	f("2x1MB", 0, 0)
	f("2", 0, 0)
	f("axb", 0, 0)
}
