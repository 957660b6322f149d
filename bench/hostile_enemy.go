package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"muster/agent/wire"
)

// enemy knows the gateway's addresses, and has certificates as a device that was broken into has. Safe for concurrent use, but one
// worker number belongs to one goroutine.
type enemy struct {
	mqtt, plain, http string
	configs           []*tls.Config // by worker
	newcomer          *tls.Config   // of an honest device
	hello             []byte        // a whole ClientHello
}

// maxWorkers bounds the worker numbers of an enemy.
const maxWorkers = 8

func newEnemy(g *gateway, ca *authority) (*enemy, error) {
	e := &enemy{mqtt: g.mqtt, plain: g.plain, http: g.http}
	base, err := tlsSettings{caFile: g.caFile()}.base(g.mqtt)
	if err != nil {
		return nil, err
	}
	own := func(thing string) (*tls.Config, error) {
		cert, err := ca.device(thing)
		if err != nil {
			return nil, err
		}
		config := base.Clone()
		config.Certificates = []tls.Certificate{cert}
		return config, nil
	}
	for worker := range maxWorkers {
		config, err := own(hostileThing(worker))
		if err != nil {
			return nil, err
		}
		e.configs = append(e.configs, config)
	}
	if e.newcomer, err = own(newcomerThing); err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, base).Handshake() // ends with here
	e.hello = make([]byte, 16<<10)
	n, err := here.Read(e.hello)
	e.hello = e.hello[:n]
	return e, err
}

func hostileThing(worker int) string { return fmt.Sprintf("hostile-%d", worker) }

// attackTimeout bounds how long the gateway may take to come to a state, and to end a connection that it must end: longer than what it
// gives to slow clients.
const attackTimeout = 15 * time.Second

// dial opens a TCP connection from one of the enemy's addresses.
func (e *enemy) dial(ctx context.Context, addr string, from int) (*net.TCPConn, error) {
	dialer := net.Dialer{LocalAddr: loopbackAddr(addr, from)}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := raw.(*net.TCPConn)
	tcp.SetDeadline(time.Now().Add(attackTimeout))
	return tcp, nil
}

// attack brings a connection into the state of p and does its sequence there. The error is what the gateway did wrong.
func (e *enemy) attack(ctx context.Context, worker int, p hostilePair, seed uint64) error {
	ctx, cancel := context.WithTimeout(ctx, attackTimeout)
	defer cancel()
	c := &hostileConn{enemy: e, worker: worker, rng: mathrand.New(mathrand.NewPCG(seed, 0))}
	defer c.close()
	if err := p.state.enter(ctx, c); err != nil {
		return fmt.Errorf("not reached: %w", err)
	}
	p.sequence.do(c) // an error of writing is the end of the connection, which is seen below
	if p.sequence.ends {
		return c.awaitEnd()
	}
	return nil
}

// hostileConn is one connection of the enemy. What it sends goes through stream, which is TCP, TLS or a WebSocket over it.
type hostileConn struct {
	enemy  *enemy
	worker int
	rng    *mathrand.Rand
	speaks version // of its session
	raw    *net.TCPConn
	stream net.Conn
}

func (c *hostileConn) close() {
	if c.raw != nil {
		c.raw.Close()
	}
}

func (c *hostileConn) thing() string { return hostileThing(c.worker) }

// awaitEnd reads until the gateway has ended the connection.
func (c *hostileConn) awaitEnd() error {
	c.raw.SetReadDeadline(time.Now().Add(attackTimeout))
	_, err := io.Copy(io.Discard, c.stream)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("still open after %v", attackTimeout)
	}
	return nil
}

// slowSockets keeps n sockets open that say a byte a second, in four ways, and opens another one for each that is ended. It returns
// how many it has opened once ctx ends and all are closed.
func (e *enemy) slowSockets(ctx context.Context, n int) int {
	var opened atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				e.slowSocket(ctx, i, &opened)
				sleep(ctx, time.Second) // its error is that of ctx
			}
		})
	}
	group.Wait()
	return int(opened.Load())
}

func (e *enemy) slowSocket(ctx context.Context, i int, opened *atomic.Int64) {
	addr, text, whole := e.mqtt, e.hello, 0
	switch i % 4 {
	case 1: // a whole hello, and no more
		whole = len(text)
	case 2:
		addr, text = e.plain, appendConnect(nil, mqtt311, "slow", 60)
	case 3:
		addr, text = e.http, e.hello
	}
	tcp, err := e.dial(ctx, addr, 1000+i/20)
	if err != nil {
		return
	}
	defer tcp.Close()
	stop := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	opened.Add(1)
	tcp.SetDeadline(time.Time{})
	for at := 0; at < len(text) && ctx.Err() == nil; at = min(at+1, len(text)-1) {
		end := max(at+1, whole)
		if _, err := tcp.Write(text[at:end]); err != nil {
			return
		}
		if whole > 0 {
			io.Copy(io.Discard, tcp) // until the gateway ends it
			return
		}
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// silentHosts is from how many addresses silentSockets come.
const silentHosts = 2

// silentSockets keeps n sockets open that say a whole hello, which the gateway answers at some cost, and nothing more, and opens another one
// for each that is ended. It returns how many it has opened once ctx ends and all are closed.
func (e *enemy) silentSockets(ctx context.Context, n int) int {
	var opened atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				e.silentSocket(ctx, i%silentHosts, &opened)
				sleep(ctx, 100*time.Millisecond) // its error is that of ctx
			}
		})
	}
	group.Wait()
	return int(opened.Load())
}

func (e *enemy) silentSocket(ctx context.Context, host int, opened *atomic.Int64) {
	tcp, err := e.dial(ctx, e.mqtt, 2600+host)
	if err != nil {
		return
	}
	defer tcp.Close()
	stop := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	opened.Add(1)
	tcp.SetDeadline(time.Time{})
	if _, err := tcp.Write(e.hello); err == nil {
		io.Copy(io.Discard, tcp) // until the gateway ends it
	}
}

// junk opens perSecond connections a second, to all listeners in turn, says random bytes and goes. It returns how many.
func (e *enemy) junk(ctx context.Context, perSecond int, seed uint64) (opened int) {
	if perSecond == 0 {
		return 0
	}
	rng := mathrand.New(mathrand.NewPCG(seed, 1))
	addrs := []string{e.mqtt, e.plain, e.http}
	began := time.Now()
	buf := make([]byte, 512)
	for sleep(ctx, 10*time.Millisecond) == nil {
		for due := int(time.Since(began).Seconds() * float64(perSecond)); opened < due && ctx.Err() == nil; opened++ {
			tcp, err := e.dial(ctx, addrs[opened%len(addrs)], 2000+opened%500)
			if err != nil {
				continue
			}
			for i := range buf {
				buf[i] = byte(rng.Uint32())
			}
			tcp.Write(buf[:1+rng.IntN(len(buf))]) // it may be gone
			if opened%2 == 0 {
				tcp.SetLinger(0)
			}
			tcp.Close()
		}
	}
	return opened
}

// ownTopic is a topic that the enemy's certificate may use.
func (c *hostileConn) ownTopic() string { return wire.TelemetryTopic(c.thing()) + "/x" }
