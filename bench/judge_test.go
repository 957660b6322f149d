package bench

import (
	"strings"
	"testing"
	"time"
)

// TestStormJudges: what is lost, late or not resumed is named.
func TestStormJudges(t *testing.T) {
	s := &storm{within: time.Second, withResume: time.Second}
	good := stormWave{Back: 10, Tickets: 10, All: time.Second / 2}
	f := func(want string, change func(*stormResult)) {
		t.Helper()
		r := stormResult{Devices: 10, Full: good, Resumed: good}
		change(&r)
		err := s.judge(&r)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("", func(*stormResult) {})
	f("3 acknowledged messages are lost", func(r *stormResult) { r.Lost = 3 })
	f("full handshakes: 9 of 10 devices came back; no route", func(r *stormResult) { r.Full.Back, r.Full.Failure = 9, "no route" })
	f("session tickets: all are back after 2s, 1s is asked for", func(r *stormResult) { r.Resumed.All = 2 * time.Second })
	f("8 of 10 handshakes were resumed", func(r *stormResult) { r.Resumed.Tickets = 8 })
}

// TestHostileJudges: what grows and what an honest device loses is named.
func TestHostileJudges(t *testing.T) {
	f := func(want string, change func(*hostileResult)) {
		t.Helper()
		h := &hostileTest{}
		mark := hostileMark{RSS: 50 << 20, Goroutines: 30, Files: 20}
		r := hostileResult{Before: mark, After: []hostileMark{mark, mark}, Honest: []fleetResult{{Devices: 2, Connected: 2, Sent: 9, Acked: 9}}}
		change(&r)
		h.judge(&r)
		if got := strings.Join(h.faults, "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", func(*hostileResult) {})
	f("2 panics", func(r *hostileResult) { r.Panics = 2 })
	f("round 2 leaves 80 goroutines", func(r *hostileResult) { r.After[1].Goroutines = 80 })
	f("memory grows from 50.0 MB after the first round to 90.0 MB", func(r *hostileResult) { r.After[1].RSS = 90 << 20 })
	f("of 9 messages 1 are lost", func(r *hostileResult) { r.Honest[0].Lost = 1 })
	f("a device that comes waits 11s at most, 10s is asked for", func(r *hostileResult) { r.Newcomers = []newcomers{{Came: 9, Max: 11 * time.Second}} })
	f("1 of 10 did not get in; EOF", func(r *hostileResult) { r.Newcomers = []newcomers{{Came: 9, Failed: 1, Failure: "EOF"}} })
	f("1 lost their connection", func(r *hostileResult) { r.Honest[0].Dropped = 1 })
}

// TestHostileLibrary: every sequence has a name of its own and fits somewhere, and every state has some.
func TestHostileLibrary(t *testing.T) {
	states, names := map[string]int{}, map[string]bool{}
	for _, p := range hostilePairs("") {
		states[p.state.name]++
	}
	for _, s := range hostileStates {
		if states[s.name] < 5 {
			t.Errorf("%s: %d sequences", s.name, states[s.name])
		}
	}
	for _, q := range hostileSequences() {
		if names[q.name] {
			t.Errorf("two sequences are called %q", q.name)
		}
		names[q.name] = true
		if len(hostilePairs(q.name)) == 0 {
			t.Errorf("%s fits nowhere", q.name)
		}
	}
}
