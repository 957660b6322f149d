package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"muster/bench"
)

// runBench runs a benchmark with --json against this program and returns its exit code and what it said. r gets the result.
func runBench(t *testing.T, r any, args ...string) (code int, said string) {
	t.Helper()
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("runs a gateway")
	}
	t.Setenv(asGateway, "1")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = bench.Command{}.Main(ctx, append(args, "--json", "--binary", binary), &out, &errs)
	if err := json.Unmarshal(out.Bytes(), r); err != nil {
		t.Fatalf("%v: exit %d, %v\n%s%s", args, code, err, &out, &errs)
	}
	return code, errs.String()
}

func TestBenchStorm(t *testing.T) {
	type wave struct{ Back, Tickets int }
	var results []struct {
		First, Full, Resumed      wave
		Sent, Acked, Stored, Lost int
	}
	code, said := runBench(t, &results, "storm", "--devices", "60", "--messages", "3", "--within", "1m", "--within-resumed", "1m")
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

func TestBenchHostile(t *testing.T) {
	for _, only := range []string{"subscribe without options byte (v5)", "frame without a mask"} {
		var r struct {
			Sequences, Runs int
			Honest          []struct{ Acked, Lost int }
			Panics          float64
			Faults          []string
		}
		code, said := runBench(t, &r, "hostile", "--for", "300ms", "--only", only, "--slow", "20", "--silent", "20", "--junk", "50", "--honest", "5")
		if code != 0 || len(r.Faults) > 0 || r.Panics != 0 || r.Sequences == 0 || r.Runs < 2*r.Sequences {
			t.Errorf("%s: exit %d, %+v\n%s", only, code, r, said)
		}
		if len(r.Honest) < 2 || r.Honest[0].Acked == 0 || r.Honest[0].Lost != 0 {
			t.Errorf("%s: honest fleet %+v", only, r.Honest)
		}
	}
}

func TestBenchFanout(t *testing.T) {
	var results []struct {
		Expected, Delivered int
		P50Ns, P99Ns        int64
	}
	code, said := runBench(t, &results, "fanout", "--subscribers", "30", "--slow", "3", "--messages", "40", "--rate", "200")
	if code != 0 || len(results) != 1 {
		t.Fatalf("exit %d, %+v\n%s", code, results, said)
	}
	if r := results[0]; r.Delivered != 30*40 || r.Expected != r.Delivered || r.P50Ns <= 0 || r.P50Ns > r.P99Ns {
		t.Errorf("%+v", r)
	}
}

func TestBenchCapacity(t *testing.T) {
	type result struct {
		Devices         int
		Limit, Confined string
		Steps           []struct {
			Connected, Files, RSSBytes, Lost int
			MessagesPerSecond                float64
			P50Ns, P99Ns                     int64
		}
	}
	var r result
	code, said := runBench(t, &r, "capacity", "--profile", "1x512MB", "--step", "20", "--max", "40", "--rate", "5", "--for", "2s", "--settle", "100ms", "--p99", "20s")
	if code != 0 || len(r.Steps) != 2 || r.Confined == "" {
		t.Fatalf("exit %d, %+v\n%s", code, r, said)
	}
	for i, s := range r.Steps {
		if s.Connected != 20*(i+1) || s.MessagesPerSecond <= 0 || s.RSSBytes < 10<<20 || s.Files < s.Connected || s.P50Ns <= 0 || s.P50Ns > s.P99Ns || s.Lost != 0 {
			t.Errorf("step %d: %+v", i, s)
		}
	}
	// a limit that is there from the begin
	r = result{}
	code, said = runBench(t, &r, "capacity", "--step", "10", "--max", "40", "--rate", "5", "--for", "200ms", "--settle", "0s", "--p99", "1us")
	if code != 0 || len(r.Steps) != 1 || r.Devices != 0 || !strings.HasPrefix(r.Limit, "acknowledgements: 99 of 100 within") && !strings.HasPrefix(r.Limit, "CPU") {
		t.Errorf("exit %d, %+v\n%s", code, r, said)
	}
}
