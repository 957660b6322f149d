package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"muster/bench"
)

// asGateway makes this test binary the program itself, for tests that need a gateway in a process of its own.
const asGateway = "MUSTER_TEST_IS_GATEWAY"

func TestMain(m *testing.M) {
	if os.Getenv(asGateway) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestBenchRegistry runs the benchmark of the registry small: every answer of it is checked, and kills lose nothing.
func TestBenchRegistry(t *testing.T) {
	t.Setenv(asGateway, "1")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	code := bench.Command{}.Main(ctx, []string{"registry", "--binary", binary, "--things=200", "--clients=4", "--queries=20", "--groups=10",
		"--telemetry-groups=4", "--probes=25", "--load=500ms", "--kills=3"}, &out, &errs)
	if code != 0 {
		t.Fatalf("code %d\n%s%s", code, out.String(), errs.String())
	}
	for _, line := range []string{"query of 12 terms, first page", "members show a sample", "3 kills: answered changes, lost ones"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the table lacks %q:\n%s", line, out.String())
		}
	}
	if code := (bench.Command{}).Main(ctx, []string{"registry", "--things=1"}, io.Discard, &errs); code != 2 || !strings.Contains(errs.String(), "--things 1: want 100 to 1000000") {
		t.Errorf("wrong arguments end with %d: %s", code, errs.String())
	}
}
