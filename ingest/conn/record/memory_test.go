package record

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

// idleBytes returns the heap and the stacks of one connection while a goroutine of the server waits to read from it. The other
// end of the socket is in there too, without a TLS state.
func idleBytes(t *testing.T, server handshaker, config *tls.Config) int {
	t.Helper()
	const connections = 400
	memory := func() int {
		for range 6 { // each halves the stacks that have become too large
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := memory()
	ends := make([]net.Conn, 0, 2*connections)
	var ready, served sync.WaitGroup
	ready.Add(connections)
	for range connections {
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		serverRaw, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, raw, serverRaw)
		done := make(chan net.Conn, 1)
		go func() {
			conn, _, err := server(context.Background(), serverRaw)
			if err != nil {
				t.Error(err)
				conn = serverRaw
			}
			done <- conn
		}()
		hello := raw
		if config != nil {
			hello = tls.Client(raw, config)
		}
		if _, err := hello.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		conn := <-done
		served.Go(func() {
			defer conn.Close()
			var b [64]byte
			if _, err := conn.Read(b[:]); err != nil || b[0] != 'x' {
				t.Errorf("read %q, %v", b, err)
			}
			ready.Done()
			_, _ = conn.Read(b[:]) // until the end of the test
		})
	}
	ready.Wait()
	size := (memory() - before) / connections
	for _, c := range ends {
		c.Close()
	}
	served.Wait()
	return size
}

// plainTCP is a handshaker that makes none.
func plainTCP(_ context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error) {
	return raw, tls.ConnectionState{}, nil
}

// TestMemory: what an idle connection costs over plain TCP, with this record layer and with crypto/tls.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 1,600 connections")
	}
	l, err := New(Options{TLS: serverConfig(), Metrics: metrics.NewSet(), Cache: 16})
	if err != nil {
		t.Fatal(err)
	}
	idleBytes(t, l.Handshake, clientConfig()) // what is made once
	plain := idleBytes(t, plainTCP, nil)
	compact := idleBytes(t, l.Handshake, clientConfig()) - plain
	std := idleBytes(t, stdlib(serverConfig()), clientConfig()) - plain
	t.Logf("an idle connection of mutual TLS takes, over the %d bytes of plain TCP, %d bytes with this record layer and %d with crypto/tls", plain, compact, std)
	if compact > 1024 {
		t.Errorf("%d bytes, the budget is 1,024", compact)
	}
	if compact*4 > std {
		t.Errorf("%d bytes are not worth the trouble: crypto/tls takes %d", compact, std)
	}
}
