package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"muster/ingest/conn/record"
)

const (
	// maxHandshake bounds the whole handshake with the waiting for others, which is not the client's fault.
	maxHandshake = time.Minute
	// minFirstPacket is left for the first packet however slow the handshake was.
	minFirstPacket = time.Second
	// maxStrangers bounds how many connections there are whose client has shown no certificate. Of one host that is a fleet of 12,000 behind
	// one address that comes at once. One takes 6 KB of memory, and 18 KB once its handshake has begun.
	maxStrangers = 32_768
	// maxBegun bounds how many handshakes are under way. When a whole fleet comes at once, the first are through before the last begin,
	// whose clients wait for our first word; with all under way all would end together, at the end, and clients would give up.
	maxBegun = 512
	// A client that pauses for so long in its handshake is slow: others begin theirs beside it, so that those who say hello and nothing
	// else stop nobody. It is four times what clients take that come to an end, within these bounds.
	minSlow, maxSlow = 250 * time.Millisecond, 3 * time.Second
	// maxSlowHandshakes bounds how many of those there are, for each takes memory of crypto/tls. A host that has its share of them does no more
	// than say hello; those of it that are slow then are cut off.
	maxSlowHandshakes = 2048
)

// helloConn is a connection during its handshake. Before the client has said a whole hello there is nothing to compute: until then it waits
// for nobody, so that its time is over when it is over, and nobody for it. Then it takes a turn, which it keeps while its client is not
// slow; and it holds one of the tokens that bound how many handshakes compute, but not while it waits for the peer, or four idle
// peers would stop all others. It counts the time the peer takes.
type helloConn struct {
	net.Conn
	door *Door
	host netip.Addr
	left time.Duration

	hello  []byte        // the client's first record, what crypto/tls has not read of it
	over   bool          // the handshake is
	holds  bool          // a token of hands
	paused time.Duration // since the hello

	mu    sync.Mutex // guards place
	place place
}

// place is what a handshake holds.
type place uint8

const (
	placeNone place = iota
	placeTurn
	placeSlow
)

// finish makes the handshake, its deep part in a goroutine of its own: the stack that it needs goes with it. A panic there becomes one of the
// caller. cert is the certificate of the client, nil for none. Afterwards the client is no stranger.
func (c *helloConn) finish(shake handshake) (conn net.Conn, cert *x509.Certificate, err error) {
	defer c.door.strangers.giveBack(c.host)
	if err := c.greet(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxHandshake)
	defer cancel()
	c.door.turns.begin(c.host)
	c.place = placeTurn
	err = ctx.Err() // nobody is there any more
	if err == nil {
		err = c.allowAnswer()
	}
	if err != nil {
		c.leave()
		return nil, nil, err
	}
	finished := make(chan any)
	go func() {
		defer func() {
			p := recover()
			if p != nil {
				p = fmt.Sprintf("%v in %s", p, debug.Stack())
			}
			finished <- p
		}()
		defer c.done()
		c.acquire()
		var state tls.ConnectionState
		conn, state, err = shake(ctx, c)
		if len(state.PeerCertificates) > 0 {
			cert = state.PeerCertificates[0]
			mean := c.door.paused.Load()
			c.door.paused.Store(mean + (int64(c.paused)-mean)/8) // two at once may count as one
		}
	}()
	if p := <-finished; p != nil {
		panic(p)
	}
	return conn, cert, err
}

// helloStep is by how many bytes the room for a hello grows, as they come.
const helloStep = 2 << 10

// greet reads the client's first record, which holds its hello, and nothing after it. One that is longer than TLS has any is left to
// crypto/tls, which says so.
func (c *helloConn) greet() error {
	began := time.Now()
	if err := c.Conn.SetReadDeadline(began.Add(c.left)); err != nil {
		return err
	}
	for size := record.HeaderSize; len(c.hello) < size; {
		room := min(size, len(c.hello)+helloStep)
		c.hello = slices.Grow(c.hello, room-len(c.hello))
		n, err := c.Conn.Read(c.hello[len(c.hello):room])
		c.hello = c.hello[:len(c.hello)+n]
		if len(c.hello) == record.HeaderSize {
			if size += int(binary.BigEndian.Uint16(c.hello[3:])); size > record.MaxRecord {
				break
			}
		}
		if err != nil && len(c.hello) < size {
			return err
		}
	}
	c.left -= time.Since(began)
	return nil
}

// allowAnswer sets the time for the next words of ours. What this one has waited for others is not its time: without this the answer
// would be late for those that waited long.
func (c *helloConn) allowAnswer() error {
	return c.Conn.SetWriteDeadline(time.Now().Add(max(c.left, minFirstPacket)))
}

// NetConn returns the connection below.
func (c *helloConn) NetConn() net.Conn { return c.Conn }

func (c *helloConn) acquire() {
	c.door.hands <- struct{}{}
	c.holds = true
}

func (c *helloConn) release() {
	if c.holds {
		c.holds = false
		<-c.door.hands
	}
}

// done ends the handshake: what it holds is given back, and reads and writes go straight through.
func (c *helloConn) done() {
	c.release()
	c.over = true
	c.leave()
}

// leave gives its place back.
func (c *helloConn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.place {
	case placeTurn:
		c.door.turns.end(c.host)
	case placeSlow:
		c.door.slow.giveBack(c.host)
	}
	c.place = placeNone
}

// isSlow gives the turn to another. Where too many of the host are slow, this one is cut off.
func (c *helloConn) isSlow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.place != placeTurn {
		return
	}
	c.door.turns.end(c.host)
	c.place = placeNone
	if !c.door.slow.take(c.host) {
		c.door.opts.Refused("too many slow handshakes")
		_ = c.Conn.Close() // ends the read that waits
		return
	}
	c.place = placeSlow
}

func (c *helloConn) Read(b []byte) (int, error) {
	if len(c.hello) > 0 {
		n := copy(b, c.hello)
		if c.hello = c.hello[n:]; len(c.hello) == 0 {
			c.hello = nil
		}
		return n, nil
	}
	if c.over {
		return c.Conn.Read(b)
	}
	c.release()
	n, err := c.readSlowly(b)
	if err != nil {
		return n, err
	}
	c.acquire()
	return n, c.allowAnswer()
}

// readSlowly reads without a token of those that compute.
func (c *helloConn) readSlowly(b []byte) (int, error) {
	began := time.Now()
	if err := c.Conn.SetReadDeadline(began.Add(c.left)); err != nil {
		return 0, err
	}
	slow := time.AfterFunc(min(max(time.Duration(4*c.door.paused.Load()), minSlow), maxSlow), c.isSlow)
	n, err := c.Conn.Read(b)
	slow.Stop()
	took := time.Since(began)
	c.left -= took
	c.paused += took
	return n, err
}
