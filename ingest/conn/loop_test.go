//go:build linux

package conn

import (
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// echo is a Client that sends back what it reads. Some bytes make it misbehave, and one waits to be woken.
type echo struct {
	socket  *Socket
	out     []byte
	gate    chan struct{}
	resumed atomic.Int32
	stalled atomic.Int32
	over    atomic.Bool
	due     atomic.Int32
	got     atomic.Int32 // bytes that nobody has asked for since
	ended   chan struct{}
}

func (e *echo) Readable(buf []byte, _ bool) Next {
	for {
		n, would, err := e.socket.Read(buf)
		if would {
			return Drained
		}
		if err != nil || n == 0 {
			e.over.Store(true)
			e.socket.Wake()
			return Drained
		}
		e.out = append(e.out, buf[:n]...)
		e.got.Add(int32(n))
		if buf[n-1] == 'd' {
			continue
		}
		e.socket.Wake()
		switch buf[n-1] {
		case 'w': // waits, though it must not
			<-e.gate
		case 'b':
			return Blocks
		case 'p':
			panic("a fault of the client")
		}
	}
}

func (e *echo) Resume() {
	e.resumed.Add(1)
	<-e.gate
}

func (e *echo) Flush(scratch []byte) []byte {
	if e.over.Load() {
		if e.ended != nil && !e.closed() {
			e.socket.Close(false)
		}
		return scratch
	}
	n, _ := e.socket.Write(e.out)
	e.out = e.out[n:]
	return scratch
}

func (e *echo) closed() bool { return e.socket.state.Load()&stateClosing != 0 }

func (e *echo) Due(int64) int64 {
	e.due.Add(1)
	return 0
}

func (e *echo) Stalled() { e.stalled.Add(1) }

func (e *echo) Fail() {
	e.over.Store(true)
	e.socket.Wake()
}

func (e *echo) Ended() { close(e.ended) }

// dialEcho makes a parked connection to loops.
func dialEcho(t *testing.T, loops *Loops) (client net.Conn, e *echo) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	raw, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	e = &echo{gate: make(chan struct{}), ended: make(chan struct{})}
	if e.socket, err = loops.Take(raw.(*net.TCPConn), e); err != nil {
		t.Fatal(err)
	}
	if err := e.socket.Park(); err != nil {
		t.Fatal(err)
	}
	return client, e
}

func exchange(t *testing.T, client net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

func newLoops(t *testing.T) *Loops {
	t.Helper()
	loops, err := StartLoops(LoopOptions{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Count: 1, Coalesce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return loops
}

// TestClientsDoNotHoldUpTheirLoop: one that waits, one that hands itself over and one that panics share a loop with an honest one.
func TestClientsDoNotHoldUpTheirLoop(t *testing.T) {
	loops := newLoops(t)
	honest, h := dialEcho(t, loops)
	exchange(t, honest, "hello")
	type party struct {
		net.Conn
		e *echo
	}
	var waiting []party
	for range 3 {
		c, e := dialEcho(t, loops)
		_, _ = io.WriteString(c, "w")
		waiting = append(waiting, party{c, e})
		exchange(t, honest, "still here")
		if e.stalled.Load() != 1 {
			t.Fatalf("stalled %d times, want once", e.stalled.Load())
		}
	}
	handed, b := dialEcho(t, loops)
	exchange(t, handed, "b")
	exchange(t, honest, "still here")
	for start := time.Now(); b.resumed.Load() != 1; time.Sleep(time.Millisecond) { // the answer may be there before
		if time.Since(start) > 5*time.Second {
			t.Fatalf("resumed %d times", b.resumed.Load())
		}
	}
	_, _ = io.WriteString(handed, "later")
	broken, p := dialEcho(t, loops)
	_, _ = io.WriteString(broken, "p")
	<-p.ended
	exchange(t, honest, "still here")
	// those that waited go on where they were
	for _, w := range waiting {
		close(w.e.gate)
		exchange(t, w.Conn, "")
		got := make([]byte, 1)
		if _, err := io.ReadFull(w.Conn, got); err != nil || got[0] != 'w' {
			t.Fatalf("got %q, %v", got, err)
		}
		exchange(t, w.Conn, "again")
	}
	close(b.gate)
	got := make([]byte, 5)
	if _, err := io.ReadFull(handed, got); err != nil || string(got) != "later" {
		t.Fatalf("got %q, %v", got, err)
	}
	if n := loops.Parked(); n != 5 {
		t.Fatalf("%d parked, want 5", n)
	}
	for _, w := range append(waiting, party{honest, h}, party{handed, b}) {
		w.Close()
		<-w.e.ended
	}
	if n := loops.Parked(); n != 0 {
		t.Fatalf("%d parked, want none", n)
	}
	if err := loops.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWheel: every socket is looked at in its tick or, where that is too far, earlier; none twice.
func TestWheel(t *testing.T) {
	var w wheel
	w.advance(1000, nil)
	ticks := map[*Socket]int64{}
	for i := range int64(1000) {
		s := &Socket{}
		ticks[s] = 1001 + i*7%(3*wheelSlots)
		w.put(s, ticks[s])
		w.put(s, ticks[s]+10) // later: changes nothing
		if i%10 == 0 {
			w.remove(s)
			w.remove(s)
			delete(ticks, s)
		}
	}
	early := &Socket{}
	w.put(early, 1100)
	w.put(early, 1050)
	ticks[early] = 1050
	for now := int64(1001); w.count > 0; now++ {
		if next := w.next(); next < now {
			t.Fatalf("next tick %d at %d", next, now)
		}
		for _, s := range w.advance(now, nil) {
			at := ticks[s]
			switch {
			case at > now:
				w.put(s, at)
			case at < now:
				t.Fatalf("tick %d came at %d", at, now)
			default:
				delete(ticks, s)
			}
		}
	}
	if len(ticks) != 0 || w.next() != 0 {
		t.Fatalf("%d sockets never came", len(ticks))
	}
}

// TestDeadlines come in time, from a loop that sleeps.
func TestDeadlines(t *testing.T) {
	loops := newLoops(t)
	client, e := dialEcho(t, loops)
	exchange(t, client, "hello")
	start := time.Now()
	e.socket.Schedule(e.socket.Now() + 300)
	for e.due.Load() == 0 {
		if time.Since(start) > 3*time.Second {
			t.Fatal("never")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if d := time.Since(start); d < 300*time.Millisecond || d > time.Second {
		t.Fatalf("came after %v", d)
	}
	client.Close()
	<-e.ended
	if err := loops.Close(); err != nil {
		t.Fatal(err)
	}
}

// storeAsked is a Store that commits nothing by itself and hands on who is to be told.
type storeAsked chan chan<- struct{}

func (s storeAsked) Expect() {}

func (s storeAsked) Commit(_ bool, done chan<- struct{}) bool {
	s <- done
	return false
}

// TestCommitDoesNotWaitForThePause: what a round has handed on is committed at its end, and written when that is done.
func TestCommitDoesNotWaitForThePause(t *testing.T) {
	const pause = time.Second
	commits := make(storeAsked, 10)
	loops, err := StartLoops(LoopOptions{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Count: 1, Coalesce: pause, Store: commits})
	if err != nil {
		t.Fatal(err)
	}
	client, e := dialEcho(t, loops)
	<-commits // after Park, when it may hold something
	if _, err := io.WriteString(client, "d"); err != nil {
		t.Fatal(err)
	}
	done := <-commits
	start := time.Now()
	e.socket.Wake() // as the store does
	done <- struct{}{}
	exchange(t, client, "")
	got := make([]byte, 1)
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(client, got); err != nil || got[0] != 'd' {
		t.Fatalf("got %q, %v", got, err)
	}
	if d := time.Since(start); d > pause*2/3 {
		t.Errorf("written %v after the commit, the pause is %v", d, pause)
	}
	client.Close()
	<-e.ended
	if err := loops.Close(); err != nil {
		t.Fatal(err)
	}
}

// storeHere is a Store that commits by itself what a client has sent, for as long as gate holds it, and wakes the client then.
type storeHere struct {
	expected atomic.Int32
	busy     atomic.Bool
	began    chan struct{}
	gate     chan struct{}
	client   atomic.Pointer[echo]
}

func (s *storeHere) Expect() { s.expected.Add(1) }

func (s *storeHere) Commit(wait bool, done chan<- struct{}) bool {
	s.expected.Add(-1)
	client := s.client.Load()
	got := client != nil && client.got.Swap(0) > 0
	here := got && wait && s.busy.CompareAndSwap(false, true)
	if here {
		s.began <- struct{}{}
		<-s.gate
		s.busy.Store(false)
	}
	if got && !s.busy.Load() {
		client.socket.Wake()
	}
	if !here {
		select {
		case done <- struct{}{}:
		default:
		}
	}
	return here
}

// TestCommitInTheLoop: a loop that may wait for its commit writes what that has woken at once, and where the disk takes its time another
// goroutine becomes the loop. Every Expect has its Commit.
func TestCommitInTheLoop(t *testing.T) {
	const pause = 300 * time.Millisecond
	store := &storeHere{began: make(chan struct{}), gate: make(chan struct{})}
	loops, err := StartLoops(LoopOptions{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Count: 1, Coalesce: pause, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	client, e := dialEcho(t, loops)
	store.client.Store(e)
	heard := make(chan struct{})
	go func() {
		got := make([]byte, 1)
		for {
			if _, err := io.ReadFull(client, got); err != nil {
				return // closed at the end
			}
			heard <- struct{}{}
		}
	}()
	other, o := dialEcho(t, loops)
	// say has the loop commit by itself; it does not where rounds have no pause between them: for a client that was answered just before, and
	// after a test that was held up.
	say := func() {
		t.Helper()
		for range 20 {
			exchange(t, other, "hello")
			exchange(t, other, "hello")
			if _, err := io.WriteString(client, "d"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-store.began:
				return
			case <-heard:
			}
		}
		t.Fatal("the loop never commits")
	}
	soonest := time.Hour
	for range 3 {
		say()
		start := time.Now()
		store.gate <- struct{}{}
		<-heard
		soonest = min(soonest, time.Since(start))
	}
	if soonest > pause/2 {
		t.Errorf("written %v after the commit, the pause is %v", soonest, pause)
	}
	say()
	exchange(t, other, "still here")
	store.gate <- struct{}{}
	<-heard
	client.Close()
	other.Close()
	for _, over := range []chan struct{}{e.ended, o.ended} {
		for open := true; open; {
			select {
			case <-store.began:
				store.gate <- struct{}{}
			case <-over:
				open = false
			}
		}
	}
	over := make(chan error)
	go func() { over <- loops.Close() }()
	for open := true; open; {
		select {
		case <-store.began:
			store.gate <- struct{}{}
		case err := <-over:
			if open = false; err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := store.expected.Load(); n != 0 {
		t.Errorf("%d commits are missing", n)
	}
}

// TestNoPauseForClientsThatWait: who goes on when it is answered does not wait for a pause each time, nor does who brings much.
func TestNoPauseForClientsThatWait(t *testing.T) {
	const pause = 500 * time.Millisecond
	loops, err := StartLoops(LoopOptions{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Count: 1, Coalesce: pause})
	if err != nil {
		t.Fatal(err)
	}
	client, e := dialEcho(t, loops)
	start := time.Now()
	for range 40 {
		exchange(t, client, "ping")
	}
	if d := time.Since(start); d > 6*pause {
		t.Errorf("40 exchanges took %v, the pause is %v", d, pause)
	}
	client.Close()
	<-e.ended
	if err := loops.Close(); err != nil {
		t.Fatal(err)
	}
}
