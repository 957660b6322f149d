package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What grows is named, and what only swings is not.
func TestSoakJudges(t *testing.T) {
	f := func(want string, of func(round int) soakMark) {
		t.Helper()
		var out strings.Builder
		s := soak{out: &out}
		for n := range 12 {
			m := of(n)
			m.at = time.Duration(n) * time.Minute
			s.marks = append(s.marks, m)
		}
		if got := fmt.Sprint(s.judge()); got != want {
			t.Errorf("got %s\nwant %s\n%s", got, want, out.String())
		}
	}
	swing := func(n int) float64 { return float64(n % 2) }
	f("<nil>", func(n int) soakMark { return soakMark{rssMB: 40 + 3*swing(n), goroutines: 27 + swing(n), files: 26} })
	// what grows until the gateway is warm is no growth
	f("<nil>", func(n int) soakMark { return soakMark{rssMB: 10 * float64(min(n, 4)), goroutines: 27, files: 26} })
	f("goroutines grow from 56.5 to 96.5", func(n int) soakMark { return soakMark{rssMB: 40, goroutines: 1.5 + 10*float64(n), files: 26} })
	f("memory grow from 255.0 to 455.0\nopen files grow from 5.5 to 9.5", func(n int) soakMark { return soakMark{rssMB: 50*float64(n) - 20, goroutines: 27, files: float64(n)} })
	line := func(m soakMark) float64 { return 7 + 60*m.at.Hours() }
	if got := slopePerHour([]soakMark{{at: 0}, {at: time.Minute}, {at: 5 * time.Minute}}, line); got < 59.99 || got > 60.01 {
		t.Errorf("slope %v", got)
	}
}
