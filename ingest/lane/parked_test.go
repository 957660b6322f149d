//go:build linux

package lane

import (
	"io"
	"net"
	"testing"
	"time"

	"muster/ingest/conn"
)

// TestParkedTelemetryDoesNotAllocate is TestTelemetryDoesNotAllocate in a loop, over a real socket.
func TestParkedTelemetryDoesNotAllocate(t *testing.T) {
	env := newTestEnv(t)
	var err error
	env.Loops, err = conn.StartLoops(conn.LoopOptions{Log: env.Log, Metrics: env.set, Count: 1, Coalesce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := New(env, raw)
	ended := &endRecorder{recorder: recorder{c: c}, reason: make(chan error, 1)}
	if _, err := client.Write(connectBytes(4, "lamp-1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ended); err != ErrParked {
		t.Fatalf("Run returned %v", err)
	}
	answer := make([]byte, 4*60)
	read := func(n int) {
		if _, err := io.ReadFull(client, answer[:n]); err != nil {
			t.Fatal(err)
		}
	}
	read(4)
	packet := publishBytes(4, "dt/lamp-1", telemetry, 1, 7, nil)
	const window = 60
	exchange := func() {
		for range window {
			if _, err := client.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		read(4 * window)
	}
	for range 20 {
		exchange()
	}
	commits := env.Store.Stats().Commits
	const runs = 50
	n := testing.AllocsPerRun(runs, exchange)
	perRun := float64(env.Store.Stats().Commits-commits) / runs
	// A read may end within a packet, which is then kept.
	if n > commitAllocs*perRun+2 {
		t.Errorf("%v allocations per %d messages and %.1f commits, want none per message", n, window, perRun)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if reason := <-ended.reason; reason != errClosed {
		t.Errorf("reason: %v", reason)
	}
	if err := env.Loops.Close(); err != nil {
		t.Error(err)
	}
}

// endRecorder waits for the end of a parked connection.
type endRecorder struct {
	recorder
	reason chan error
}

func (r *endRecorder) Ended(reason error) { r.reason <- reason }
