//go:build linux

package conn

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// TestCloseGently: the peer reads what was written last although it has sent what nobody read, and once it has closed too nothing is left. One
// that stays is closed after a while, one that sends without end is not read for ever.
func TestCloseGently(t *testing.T) {
	loops, err := StartLoops(LoopOptions{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Count: 1, Coalesce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	farewell := func(bytes int) (net.Conn, *echo) {
		t.Helper()
		client, e := dialEcho(t, loops)
		exchange(t, client, "hello")
		e.socket.state.Or(stateBusy) // nobody reads from here on
		if _, err := client.Write(make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
		if _, err := e.socket.Write([]byte("bye")); err != nil {
			t.Fatal(err)
		}
		e.socket.Close(true)
		e.socket.end()
		<-e.ended
		return client, e
	}
	hear := func(client net.Conn) {
		t.Helper()
		_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if got, err := io.ReadAll(client); string(got) != "bye" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	gone := func(within time.Duration) {
		t.Helper()
		start := time.Now()
		for loops.lingering() > 0 {
			if time.Since(start) > within {
				t.Fatalf("%d linger after %v", loops.lingering(), within)
			}
			time.Sleep(time.Millisecond)
		}
	}
	client, _ := farewell(10_000)
	if loops.lingering() != 1 || loops.Parked() != 0 {
		t.Fatalf("%d linger, %d are parked", loops.lingering(), loops.Parked())
	}
	hear(client)
	start := time.Now()
	client.Close()
	gone(5 * time.Second)
	if d := time.Since(start); d > lingerTime {
		t.Errorf("closed after %v", d)
	}

	client, _ = farewell(0)
	hear(client)
	gone(10 * time.Second)

	client, _ = farewell(10_000)
	flood := make(chan int)
	go func() {
		sent := 0
		_ = client.SetWriteDeadline(time.Now().Add(20 * time.Second))
		for {
			n, err := client.Write(make([]byte, 64<<10))
			if sent += n; err != nil {
				flood <- sent
				return
			}
		}
	}()
	gone(10 * time.Second)
	if sent := <-flood; sent > 64<<20 { // the buffers of the system, and what is read
		t.Errorf("took %d bytes", sent)
	}

	// what another listener has accepted, and the end of the loops
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	last, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	held, err := Hold(raw.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(last, "unread"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(raw, "bye"); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	loops.Linger(held)
	start = time.Now()
	if err := loops.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > lastLinger+5*time.Second {
		t.Errorf("the end of the loops took %v", d)
	}
	hear(last)
}
