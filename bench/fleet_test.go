//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runFleet runs `bench fleet` with --json and returns its exit code and result.
func runFleet(t *testing.T, args ...string) (int, fleetResult) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := Command{}.Main(ctx, append([]string{"fleet", "--json"}, args...), &stdout, &stderr)
	var r fleetResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("fleet %v: exit %d, %v\n%s%s", args, code, err, &stdout, &stderr)
	}
	return code, r
}

func TestFleetCountsEveryMessage(t *testing.T) {
	f := func(version string, secure bool) {
		t.Helper()
		ca, err := newAuthority()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := ca.save(dir); err != nil {
			t.Fatal(err)
		}
		args := []string{"--mqtt", version, "--devices", "20", "--rate", "20", "--warmup", "100ms", "--duration", "600ms", "--loops", "3",
			"--subscribe", "cmd/%s/#", "--pid", strconv.Itoa(os.Getpid())}
		var b *testBroker
		if secure {
			b = startBroker(t, mutual(t, ca), nil)
			caFile, keyFile := filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile)
			args = append(args, "--tls", "--ca", caFile, "--bench-ca", caFile+","+keyFile)
		} else {
			b = startBroker(t, nil, nil)
		}
		code, r := runFleet(t, append(args, "--addr", b.addr)...)
		if code != 0 || r.Connected != 20 || r.Lost != 0 || r.Refused != 0 || r.Dropped != 0 || r.Sent != r.Acked {
			t.Fatalf("exit %d, %+v", code, r)
		}
		// 700 ms at 20 messages a second, of which the first is due at the start; a busy machine ends late, or stalls.
		if r.Sent < 20*10 || r.Sent > 20*20 {
			t.Errorf("%d messages sent, want about 290", r.Sent)
		}
		if math.Abs(r.SentRate-400) > 120 {
			t.Errorf("%.1f messages per second, want about 400", r.SentRate)
		}
		if r.Latency == nil || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.Max {
			t.Errorf("latency %+v", r.Latency)
		}
		if s := r.Server; s == nil || s.RSS <= 0 || s.Threads < 1 || s.Files < 40 {
			t.Errorf("server %+v", s)
		}
		var got uint64
		b.serving.Wait() // every client has left
		for id, c := range b.clients {
			n := c.topics["dt/"+id]
			got += uint64(n)
			if len(c.topics) != 1 || n < 10 || c.sizes[200] != n || !c.goodbye || c.filter != "cmd/"+id+"/#" || c.keepAlive < 300 {
				t.Errorf("client %s: %v, sizes %v, goodbye %v, filter %q, keep alive %d s", id, c.topics, c.sizes, c.goodbye, c.filter, c.keepAlive)
			}
			if secure && c.commonName != id {
				t.Errorf("client %s has the certificate of %q", id, c.commonName)
			}
		}
		if got != r.Sent || len(b.clients) != 20 {
			t.Errorf("the broker has %d messages of %d clients, sent were %d of 20", got, len(b.clients), r.Sent)
		}
	}
	f("3.1.1", false)
	f("5", false)
	f("3.1.1", true)
	f("5", true)
}

// TestFleetSpreadsMessages: the fleet's messages come evenly, not all at the begin of a second.
func TestFleetSpreadsMessages(t *testing.T) {
	b := startBroker(t, nil, nil)
	code, r := runFleet(t, "--addr", b.addr, "--devices", "50", "--rate", "2", "--warmup", "0s", "--duration", "1s", "--loops", "2")
	if code != 0 {
		t.Fatalf("exit %d, %+v", code, r)
	}
	b.serving.Wait()
	var first time.Time
	for _, c := range b.clients {
		if first.IsZero() || c.times[0].Before(first) {
			first = c.times[0]
		}
	}
	var perTenth [10]int
	for _, c := range b.clients {
		for _, at := range c.times {
			if i := int(at.Sub(first) / (100 * time.Millisecond)); i < 10 {
				perTenth[i]++
			}
		}
	}
	// 10 of 100 messages in each tenth of the second; a machine that stalls moves some into a later one.
	used := 0
	for _, n := range perTenth {
		if n > 0 {
			used++
		}
		if n > 45 {
			t.Errorf("a tenth of the second has %d of 100 messages: %v", n, perTenth)
		}
	}
	if used < 5 {
		t.Errorf("the messages come in %d tenths of the second: %v", used, perTenth)
	}
}

func TestFleetFlatOut(t *testing.T) {
	b := startBroker(t, nil, nil)
	code, r := runFleet(t, "--addr", b.addr, "--devices", "5", "--flat-out", "--window", "8", "--warmup", "0s", "--duration", "300ms")
	if code != 0 || r.Sent != r.Acked || r.Sent < 500 {
		t.Fatalf("exit %d, %+v", code, r)
	}
}

// TestFleetWindow: a device has never more than its window in flight.
func TestFleetWindow(t *testing.T) {
	b := startBroker(t, nil, func(b *testBroker) {
		b.acknowledge = func(string, int) (byte, bool) { return 0, false }
	})
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	if code := (Command{}).Main(ctx, []string{"fleet", "--addr", b.addr, "--devices", "3", "--flat-out", "--window", "7", "--warmup", "0s", "--duration", "300ms"}, &out, &errs); code != 1 {
		t.Fatalf("exit %d\n%s%s", code, &out, &errs)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("a cancelled run took %v to end", took)
	}
	b.serving.Wait()
	for id, c := range b.clients {
		if n := c.topics["dt/"+id]; n != 7 {
			t.Errorf("%s has %d messages in flight, want 7", id, n)
		}
	}
	if !strings.Contains(out.String(), "lost             21\n") {
		t.Errorf("the table does not say that 21 are lost:\n%s", &out)
	}
}

func TestFleetReportsFailures(t *testing.T) {
	// one message in ten is refused
	b := startBroker(t, nil, func(b *testBroker) {
		b.acknowledge = func(_ string, n int) (byte, bool) {
			if n%10 == 3 {
				return 0x99, true
			}
			return 0, true
		}
	})
	code, r := runFleet(t, "--addr", b.addr, "--mqtt", "5", "--devices", "4", "--rate", "100", "--warmup", "0s", "--duration", "300ms")
	if code != 0 || r.Refused == 0 || r.Refused+r.Acked != r.Sent || r.Lost != 0 || r.Refused < r.Sent/20 || r.Refused > r.Sent/5 {
		t.Errorf("refused: exit %d, %+v", code, r)
	}
	// each connection ends after three messages, the last of them not answered in time or not at all
	b = startBroker(t, nil, func(b *testBroker) { b.hangUp = 3 })
	code, r = runFleet(t, "--addr", b.addr, "--devices", "4", "--rate", "100", "--warmup", "0s", "--duration", "300ms")
	if code != 1 || r.Dropped != 4 || r.DropFailure == "" || r.Acked > 12 {
		t.Errorf("dropped: exit %d, %+v", code, r)
	}
	// a broker that refuses the first try of each, and one device for good
	b = startBroker(t, nil, func(b *testBroker) {
		b.refuse = func(id string, try int) byte {
			if try == 1 || id == "bench-00002" {
				return 3
			}
			return 0
		}
	})
	code, r = runFleet(t, "--addr", b.addr, "--devices", "4", "--rate", "100", "--warmup", "0s", "--duration", "100ms")
	if code != 1 || r.Connected != 3 || !strings.Contains(r.ConnectFailure, "bench-00002: the broker refuses the connection with code 0x03") || r.Lost != 0 {
		t.Errorf("refused connection: exit %d, %+v", code, r)
	}
}

// TestFleetLatency: a slow broker is seen with its delay, also by messages that had to wait for the window.
func TestFleetLatency(t *testing.T) {
	b := startBroker(t, nil, func(b *testBroker) { b.delay = 20 * time.Millisecond })
	code, r := runFleet(t, "--addr", b.addr, "--devices", "2", "--rate", "10", "--warmup", "0s", "--duration", "500ms")
	if code != 0 || r.Latency.P50 < 20*time.Millisecond || r.Latency.P50 > 400*time.Millisecond {
		t.Errorf("exit %d, latency %+v, want about 20ms", code, r.Latency)
	}
	// 100 messages a second, of which the broker manages 50: in half a second the last is 250 ms late.
	b = startBroker(t, nil, func(b *testBroker) { b.delay = 20 * time.Millisecond })
	code, r = runFleet(t, "--addr", b.addr, "--devices", "1", "--rate", "100", "--window", "1", "--warmup", "0s", "--duration", "500ms")
	if code != 0 || r.Latency.Max < 150*time.Millisecond {
		t.Errorf("exit %d, latency %+v, want a maximum of about 250ms", code, r.Latency)
	}
}

func TestFleetUsage(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := (Command{}).Main(t.Context(), append([]string{"fleet"}, args...), &out, &errs)
		if code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("fleet %v: exit %d, want 2 and %q\n%s", args, code, want, &errs)
		}
	}
	f("--addr is missing")
	f("--devices 0", "--addr", "x:1", "--devices", "0")
	f("--qos 2", "--addr", "x:1", "--qos", "2")
	f("--topic", "--addr", "x:1", "--topic", "all")
	f("--topic", "--addr", "x:1", "--topic", "a/%s/%d")
	f("--subscribe", "--addr", "x:1", "--subscribe", "a/%d")
	f("--tls wants", "--addr", "x:1", "--tls")
	f("exclude each other", "--addr", "x:1", "--tls", "--plain")
	f("--mqtt", "--addr", "x:1", "--mqtt", "4")
	f("--prefix", "--addr", "x:1", "--prefix", "a/b")
	f("unexpected argument", "--addr", "x:1", "more")
	f("not defined", "--no-such-flag")

	var out, errs bytes.Buffer
	if code := (Command{}).Main(t.Context(), []string{"fleet", "--help"}, &out, &errs); code != 0 || !strings.Contains(errs.String(), "Examples:") {
		t.Errorf("--help: exit %d\n%s", code, &errs)
	}
	dir := t.TempDir()
	out.Reset()
	if code := (Command{}).Main(t.Context(), []string{"fleet", "--make-ca", dir}, &out, &errs); code != 0 || !strings.Contains(out.String(), "--bench-ca "+dir+"/bench-ca.pem") {
		t.Errorf("--make-ca: exit %d\n%s%s", code, &out, &errs)
	}
	if info, err := os.Stat(filepath.Join(dir, caKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key of the authority: %v %v", info, err)
	}
	// nobody listens
	errs.Reset()
	if code := (Command{}).Main(t.Context(), []string{"fleet", "--addr", "127.0.0.1:1", "--devices", "1"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "no device could connect") {
		t.Errorf("no broker: exit %d\n%s", code, &errs)
	}
}

func TestTelemetrySize(t *testing.T) {
	for _, size := range []int{0, 150, 200, 1000} {
		tel := newTelemetry(size)
		for seq := range uint64(3000) {
			text := tel.append(nil, int(seq)%7, seq*12_345)
			var values map[string]any
			if err := json.Unmarshal(text, &values); err != nil || len(values) != 8 {
				t.Fatalf("%s: %d values, %v", text, len(values), err)
			}
			if want := max(size, payloadFrame+3); len(text) != want {
				t.Fatalf("%s: %d bytes, want %d", text, len(text), want)
			}
		}
	}
	if got, want := string(appendFixed(nil, 12345, 2)), "123.45"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
