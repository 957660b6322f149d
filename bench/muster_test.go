package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// musterDir is where the gateway of the tests is built; TestMain removes it.
func musterDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("muster-bench-test-%d", os.Getpid()))
}

// musterBinary builds a gateway, once.
var musterBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(musterDir(), "muster")
	build := exec.Command("go", "build", "-o", path, "muster")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build: " + string(out), Err: err}
	}
	return path, nil
})

// runAgainstMuster runs a sub-command with --json against a real gateway and returns its exit code and what it said. r gets the result.
func runAgainstMuster(t *testing.T, r any, args ...string) (code int, said string) {
	t.Helper()
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("builds and runs a gateway")
	}
	binary, err := musterBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = Command{}.Main(ctx, append(args, "--json", "--binary", binary), &out, &errs)
	if err := json.Unmarshal(out.Bytes(), r); err != nil {
		t.Fatalf("%v: exit %d, %v\n%s%s", args, code, err, &out, &errs)
	}
	return code, errs.String()
}

func TestStormOnMuster(t *testing.T) {
	var results []stormResult
	code, said := runAgainstMuster(t, &results, "storm", "--devices", "60", "--messages", "3", "--within", "1m", "--within-resumed", "1m")
	if code != 0 || len(results) != 1 {
		t.Fatalf("exit %d, %s", code, said)
	}
	r := results[0]
	if r.First.Back != 60 || r.Full.Back != 60 || r.Resumed.Back != 60 || r.Full.Tickets != 0 || r.Resumed.Tickets < 54 {
		t.Errorf("%+v", r)
	}
	// each device: one message per wave, three before each cut, and the last that nobody waited for
	if r.Acked < 60*9 || r.Sent < 60*11 || r.Stored < r.Acked || r.Stored > r.Sent || r.Lost != 0 {
		t.Errorf("sent %d, acknowledged %d, stored %d, lost %d", r.Sent, r.Acked, r.Stored, r.Lost)
	}
}

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

func TestHostileOnMuster(t *testing.T) {
	for _, only := range []string{"subscribe without options byte (v5)", "frame without a mask"} {
		var r hostileResult
		code, said := runAgainstMuster(t, &r, "hostile", "--for", "300ms", "--only", only, "--slow", "20", "--junk", "50", "--honest", "5")
		if code != 0 || len(r.Faults) > 0 || r.Panics != 0 || r.Sequences == 0 || r.Runs < 2*r.Sequences {
			t.Errorf("%s: exit %d, %+v\n%s", only, code, r, said)
		}
		if len(r.Honest) != hostileRounds || r.Honest[0].Acked == 0 || r.Honest[0].Lost != 0 {
			t.Errorf("%s: honest fleet %+v", only, r.Honest)
		}
	}
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
