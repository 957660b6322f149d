package agent

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muster/pki"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	f := func(code int, want string, args ...string) {
		t.Helper()
		var out, errs testLog
		if got := Main(t.Context(), args, &out, &errs); got != code || !out.has(want) && !errs.has(want) {
			t.Fatalf("%q: code %d, want %d and %q\n%s%s", args, got, code, want, &out.buf, &errs.buf)
		}
	}
	f(0, "Examples:", "--help")
	f(0, "Examples:", "key", "-h")
	f(2, "--gateway is missing")
	f(2, "--thing: thing name must have", "--gateway", "gw")
	f(2, "flag provided but not defined", "--gatway", "gw")
	f(2, `"gw" is not understood`, "gw")
	f(2, "not between 1s and 24h", "--gateway", "gw", "--thing", "lamp-1", "--interval", "1ms")
	f(2, "nothing says which gateway to trust", "--gateway", "gw", "--thing", "lamp-1", "--dir", dir)
	f(2, "give one", "--gateway", "gw", "--thing", "lamp-1", "--ca", "x", "--ca-sha256", "y")
	f(1, "no such file", "--gateway", "gw", "--thing", "lamp-1", "--ca", filepath.Join(dir, "none.pem"))
	f(2, "--thing", "key", "--dir", dir)
	f(1, "not a directory", "key", "--thing", "lamp-1", "--dir", "/dev/null/x")
}

// The command from the key to telemetry at the broker.
func TestAgentCommand(t *testing.T) {
	g := newTestGateway(t)
	b := g.broker()
	dir := filepath.Join(t.TempDir(), "agent")
	var out testLog
	if code := Main(t.Context(), []string{"key", "--thing", "lamp-1", "--type", "lamp", "--dir", dir}, &out, &out); code != 0 {
		t.Fatalf("code %d: %s", code, &out.buf)
	}
	// what it prints is an allow-list
	added, rows, err := g.ca.AllowCSV(t.Context(), strings.NewReader(out.buf.String()))
	if err != nil || added != 1 || len(rows) != 0 {
		t.Fatal(added, rows, err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, g.ca.RootPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	_, estPort, err := net.SplitHostPort(strings.TrimPrefix(g.est, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--gateway", g.mqtt, "--http-port", estPort, "--thing", "lamp-1", "--dir", dir, "--interval", "1s"}
	for range 2 { // the second time there is nothing to do
		if got := Main(t.Context(), append([]string{"enroll", "--ca", ca}, args...), &out, &out); got != 0 || !out.has("lamp-1 has a certificate until") {
			t.Fatalf("code %d: %s", got, &out.buf)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var errs testLog
	go func() {
		code <- Main(ctx, args, &out, &errs) // the root certificate is known by now
	}()
	topic, payload, _ := strings.Cut(b.next(t), " ")
	var reading map[string]float64
	if err := json.Unmarshal([]byte(payload), &reading); err != nil || topic != "dt/lamp-1" || reading["memory_total_bytes"] == 0 {
		t.Fatalf("%s %s: %v", topic, payload, err)
	}
	cancel()
	if got := <-code; got != 0 {
		t.Fatalf("code %d: %s", got, &errs.buf)
	}
	allowed, err := g.ca.ListAllowed(t.Context(), pki.Allowed{}.Key, 10)
	if err != nil || len(allowed) != 1 || allowed[0].UsedMs == 0 || allowed[0].ThingTypeName != "lamp" {
		t.Fatalf("%+v, %v", allowed, err)
	}
}

// The stand-alone agent stays small.
func TestSize(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command")
	}
	file := filepath.Join(t.TempDir(), "muster-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./muster-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() >= 8_000_000 {
		t.Fatalf("the agent has %d bytes, 8 MB are allowed", info.Size())
	}
}
