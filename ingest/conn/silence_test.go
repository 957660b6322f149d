package conn

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// helloBytes returns a whole ClientHello.
func helloBytes(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	hello := make([]byte, 16<<10)
	go tls.Client(here, &tls.Config{InsecureSkipVerify: true}).Handshake()
	n, err := there.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

// connFrom is a connection from an address that it has not.
type connFrom struct {
	net.Conn
	from net.Addr
}

func (c connFrom) RemoteAddr() net.Addr { return c.from }

// host returns an address of the n-th host.
func host(n int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, byte(n>>8), byte(n)), Port: 4711} }

// newSilenceDoor returns a door and the handshake of a listener with a certificate, for clients on machines that have other things to do.
func newSilenceDoor(t *testing.T, patience time.Duration) (*Door, handshake) {
	t.Helper()
	d := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Refused: func(string) {}, CompactTLS: true,
		HelloTimeout: patience, MaxConns: 10_000, MaxHandshakes: 2, AddressRate: 10_000, AddressBurst: 10_000})
	d.paused.Store(int64(time.Second))
	shake, err := d.handshakeOf(&tls.Config{Certificates: []tls.Certificate{newPair(t)}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	return d, shake
}

// sayHello connects to d from the n-th host, says hello and reads until it is cut off. It returns how long that took.
func sayHello(t *testing.T, d *Door, shake handshake, n int, hello []byte) time.Duration {
	t.Helper()
	here, there := net.Pipe()
	d.admit(connFrom{there, host(n)}, shake)
	began := time.Now()
	if _, err := here.Write(hello); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, here) // until it is closed
	return time.Since(began)
}

// TestSilenceAfterTheHello: who has said a whole hello is answered, which is the expensive half of a handshake. However many say
// nothing more then, from one host or some, who comes from another has its answer at once.
func TestSilenceAfterTheHello(t *testing.T) {
	hello := helloBytes(t)
	for _, hosts := range []int{1, 3, 9} {
		synctest.Test(t, func(t *testing.T) {
			d, shake := newSilenceDoor(t, 5*time.Second)
			const places = 40
			d.turns, d.slow = newTurns(places), newShares(places)
			var group sync.WaitGroup
			for i := range 4 * places {
				group.Go(func() { sayHello(t, d, shake, i%hosts, hello) })
			}
			synctest.Wait()
			honest, there := net.Pipe()
			d.admit(connFrom{there, host(hosts)}, shake)
			began := time.Now()
			if _, err := honest.Write(hello); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1)
			if _, err := honest.Read(first); err != nil || first[0] != 22 { // a record of a handshake
				t.Errorf("an honest client reads %x, %v", first, err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%d silent hosts: an honest client waits %v", hosts, took)
			}
			honest.Close()
			group.Wait()
			d.Close()
			d.Abort()
			if a, b, c := d.strangers.left, d.turns.shares.left, d.slow.left; a != maxStrangers || b != places || c != places {
				t.Errorf("at the end %d, %d and %d places are free", a, b, c)
			}
		})
	}
}

// TestSlowHandshakesAreBounded: a host of which too many are slow already has the next ones cut off as soon as they are; others are not.
func TestSlowHandshakesAreBounded(t *testing.T) {
	hello := helloBytes(t)
	synctest.Test(t, func(t *testing.T) {
		const patience = 5 * time.Second
		d, shake := newSilenceDoor(t, patience)
		d.slow = newShares(8)
		took := make([]time.Duration, 12)
		var group sync.WaitGroup
		for i := range took {
			group.Go(func() { took[i] = sayHello(t, d, shake, i/10, hello) })
		}
		group.Wait()
		count := map[time.Duration]int{}
		for _, one := range took[:10] {
			count[one]++
		}
		if count[patience] != 3 || count[maxSlow] != 7 {
			t.Errorf("ten of a host end after %v", took[:10])
		}
		if took[10] != patience || took[11] != patience {
			t.Errorf("two of another host end after %v", took[10:])
		}
		d.Close()
		d.Abort()
	})
}

// TestStrangersAreBounded: a host has its share of the places of those who have not shown who they are, and another host finds some.
func TestStrangersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 5 * time.Second
		d, shake := newSilenceDoor(t, patience)
		d.strangers = newShares(8)
		var refused atomic.Int32
		d.opts.Refused = func(reason string) {
			if reason == "too many handshakes" {
				refused.Add(1)
			}
		}
		f := func(n int, want time.Duration) {
			t.Helper()
			here, there := net.Pipe()
			d.admit(connFrom{there, host(n)}, shake)
			synctest.Wait()
			_ = here.SetReadDeadline(time.Now().Add(time.Second))
			began := time.Now()
			_, _ = here.Read(make([]byte, 1))
			if took := time.Since(began); took != want {
				t.Errorf("a connection of host %d is open for %v", n, took)
			}
		}
		const open, closed = time.Second, 0
		f(1, open)
		f(1, open)
		f(1, open)
		f(1, closed)
		if n := refused.Load(); n != 1 {
			t.Errorf("%d refused for that", n)
		}
		f(2, open)
		time.Sleep(patience)
		f(1, open)
		d.Close()
		d.Abort()
	})
}

// TestStrangersTakeNoPlaces: who has not shown a certificate takes no place of the connections that may be open; who has shows it in vain where
// there is none.
func TestStrangersTakeNoPlaces(t *testing.T) {
	d, l, pair := newGreeter(t, 20*time.Second)
	d.opts.MaxConns = 2
	var refused atomic.Int32
	d.opts.Refused = func(reason string) {
		if reason == "too many connections" {
			refused.Add(1)
		}
	}
	stay := make(chan struct{})
	var served atomic.Int32
	serve := d.opts.Serve
	d.opts.Serve = func(conn net.Conn, cert *x509.Certificate, over func()) bool {
		if served.Add(1) > 1 {
			<-stay
		}
		return serve(conn, cert, over)
	}
	for range 5 {
		silent, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { silent.Close() })
	}
	greeted(t, l, pair)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
			if err == nil {
				_, _ = io.Copy(io.Discard, conn) // until it is served, or turned away
				conn.Close()
			}
		})
	}
	for by := time.Now().Add(10 * time.Second); served.Load() < 3 || refused.Load() < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%d served and %d refused, want 2 and 1", served.Load()-1, refused.Load())
		}
	}
	close(stay)
	group.Wait()
	d.Close()
	d.Abort()
	if a, b := served.Load(), refused.Load(); a != 3 || b != 1 || d.unknown != 0 {
		t.Errorf("%d served and %d refused, want 2 and 1; %d are unknown", a-1, b, d.unknown)
	}
}

// TestShares: hosts take all that they can, one after the other, which leaves ever less, and whoever comes then finds a place.
func TestShares(t *testing.T) {
	at := func(n int) netip.Addr { return addrOf(connFrom{from: host(n)}) }
	s := newShares(32)
	for n, want := range []int{12, 6, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0} {
		got := 0
		for s.take(at(n)) {
			got++
		}
		if got != want {
			t.Errorf("host %d gets %d places, want %d", n, got, want)
		}
	}
	for range 12 {
		s.giveBack(at(0))
	}
	if !s.take(at(99)) || s.left != 11 {
		t.Errorf("%d places are left", s.left)
	}
}

// TestTurns: hosts that wait take turns, and one that comes new does not wait for those who have more than it.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(n int) netip.Addr { return addrOf(connFrom{from: host(n)}) }
		turns := newTurns(8)
		var order []int
		var mu sync.Mutex
		begin := func(n int) {
			go func() {
				turns.begin(at(n))
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		f := func(want ...int) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(order, want) {
				t.Errorf("got %v, want %v", order, want)
			}
			order = nil
		}
		all := func(hosts ...int) {
			for _, n := range hosts {
				begin(n)
			}
		}
		end := func(hosts ...int) {
			for _, n := range hosts {
				turns.end(at(n))
			}
		}
		all(1, 1, 1, 1, 1, 1)
		f(1, 1, 1)
		all(2, 2, 2, 3, 3)
		f(2, 2, 3)
		all(4, 5, 6) // two places are theirs
		f(4, 5)
		end(1)
		f(6) // 1 has two others
		end(1, 2)
		f()
		end(3)
		f(3) // it has none now, and 1 and 2 do
		end(4)
		f()
		end(5)
		f(1) // it is asked first
		end(2)
		f(2)
		end(1, 1)
		f(1, 1)
		end(2, 3, 1, 1, 6)
		f()
		synctest.Wait()
		if turns.shares.left != 8 || len(turns.waiting) != 0 || len(turns.ring) != 0 {
			t.Errorf("at the end %+v", turns)
		}
	})
}

// TestSilenceInTheHello: who says nothing, a byte, or half a hello is cut off when its time is over, however many do the same and however slow
// those are that come to an end: they wait for nobody, and nobody for them.
func TestSilenceInTheHello(t *testing.T) {
	hello := helloBytes(t)
	for _, said := range []int{0, 1, len(hello) / 2} {
		synctest.Test(t, func(t *testing.T) {
			const patience = 5 * time.Second
			d, shake := newSilenceDoor(t, patience)
			var group sync.WaitGroup
			for range 4 * maxBegun {
				here, there := net.Pipe()
				d.admit(there, shake)
				group.Go(func() {
					began := time.Now()
					if _, err := here.Write(hello[:said]); err != nil {
						t.Error(err)
					}
					_, _ = io.Copy(io.Discard, here) // until it is closed
					if took := time.Since(began); took > patience {
						t.Errorf("%d bytes said: open for %v", said, took)
					}
				})
			}
			// without a word of the others, one who means it has its answer at once
			synctest.Wait()
			honest, there := net.Pipe()
			d.admit(there, shake)
			began := time.Now()
			if _, err := honest.Write(hello); err != nil {
				t.Fatal(err)
			}
			if _, err := honest.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%d bytes said: an honest client waits %v", said, took)
			}
			honest.Close()
			group.Wait()
			d.Close()
			d.Abort()
		})
	}
}
