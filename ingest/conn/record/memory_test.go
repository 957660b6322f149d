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

// idleBytes returns the heap and the stack of one connection while the goroutine that made its handshake waits to read from it.
// The other end of the socket is in there too, without a TLS state.
func idleBytes(t *testing.T, server handshaker, config *tls.Config) (heap, stack int) {
	t.Helper()
	const connections = 200
	memory := func() (heap, stack int) {
		for range 6 { // each halves the stacks that have become too large
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), int(m.StackInuse)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heapBefore, stackBefore := memory()
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
		served.Go(func() {
			conn, _, err := server(context.Background(), serverRaw)
			if err != nil {
				t.Error(err)
				conn = serverRaw
			}
			defer conn.Close()
			var b [64]byte
			if _, err := conn.Read(b[:]); err != nil || b[0] != 'x' {
				t.Errorf("read %q, %v", b, err)
			}
			ready.Done()
			_, _ = conn.Read(b[:]) // until the end of the test
		})
		hello := raw
		if config != nil {
			hello = tls.Client(raw, config)
		}
		if _, err := hello.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ready.Wait()
	heap, stack = memory()
	for _, c := range ends {
		c.Close()
	}
	served.Wait()
	return (heap - heapBefore) / connections, (stack - stackBefore) / connections
}

// plainTCP is a handshaker that makes none.
func plainTCP(_ context.Context, raw net.Conn) (net.Conn, tls.ConnectionState, error) {
	return raw, tls.ConnectionState{}, nil
}

// TestMemory: what an idle connection costs over plain TCP, with this record layer and with crypto/tls.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 800 connections")
	}
	l, err := New(Options{TLS: serverConfig(), Metrics: metrics.NewSet(), Cache: 16})
	if err != nil {
		t.Fatal(err)
	}
	idleBytes(t, l.Handshake, clientConfig()) // what is made once
	plain, plainStack := idleBytes(t, plainTCP, nil)
	compact, compactStack := idleBytes(t, l.Handshake, clientConfig())
	std, stdStack := idleBytes(t, stdlib(serverConfig()), clientConfig())
	t.Logf("bytes per idle connection, heap and stack: plain TCP %d + %d, mutual TLS with this record layer %d + %d, with crypto/tls %d + %d",
		plain, plainStack, compact, compactStack, std, stdStack)
	if got := compact - plain; got > 768 {
		t.Errorf("this record layer takes %d bytes of heap, the budget is 768", got)
	}
	if compact*4 > std { // stacks differ from run to run
		t.Error("this record layer is not worth the trouble")
	}
}
