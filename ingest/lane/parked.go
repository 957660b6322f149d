package lane

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"muster/ingest/conn"
	"muster/ingest/conn/record"
)

// ErrParked is what Run returns when the connection goes on in a loop.
var ErrParked = errors.New("the connection is parked")

var (
	errWait  = errors.New("the packet may have to wait") // and has changed nothing yet
	errFiles = Violation{Code: codeQuotaExceeded, Reason: "no file descriptor is free"}
)

// parked is what a connection has for its loop. Conn implements conn.Client.
type parked struct {
	socket atomic.Pointer[conn.Socket] // nil: it is not parked
	readBy atomic.Int64                // when the keep alive is over; 0: there is none
	away   atomic.Bool                 // Resume has it, or will
	where  atomic.Uint32               // inStore, inFullStore
	secure *record.Parked              // nil: plain TCP

	// Of who reads.
	sealed []byte // records of which not all is there, or that were not opened yet

	// Guarded by the connection's mutex.
	backlog  []byte // the socket had no room for it
	writeBy  int64  // when there must have been some; 0: there is no backlog
	farewell bool   // nothing follows the backlog
	aborted  bool   // nothing more is written
	finished bool   // the socket is closed, or will be at once
	fault    error  // of secure
}

const (
	inStore     = 1 // Append was called
	inFullStore = 2 // and has held up a loop; Env.behind counts it
)

// maxReads is how often a connection may read before others come.
const maxReads = 8

// parkable returns what is below a connection that can be parked: a TCP socket, or one with a record layer of ours.
func parkable(raw net.Conn) (tcp *net.TCPConn, secure *record.Conn, ok bool) {
	secure, _ = raw.(*record.Conn)
	if secure != nil {
		raw = secure.NetConn()
		if hello, ok := raw.(interface{ NetConn() net.Conn }); ok { // what counted the time of the handshake
			raw = hello.NetConn()
		}
	}
	if proxied, ok := raw.(*conn.Proxied); ok {
		raw = proxied.TCPConn
	}
	tcp, ok = raw.(*net.TCPConn)
	return tcp, secure, ok
}

// tcpBelow returns the TCP connection that carries raw, nil if there is none.
func tcpBelow(raw net.Conn) *net.TCPConn {
	for {
		switch c := raw.(type) {
		case *net.TCPConn:
			return c
		case *conn.Proxied:
			return c.TCPConn
		case interface{ NetConn() net.Conn }:
			raw = c.NetConn()
		default:
			return nil
		}
	}
}

// runToPark reads the CONNECT, in the caller's goroutine, and parks the connection.
func (c *Conn) runToPark(tcp *net.TCPConn, secure *record.Conn) error {
	c.connecting = true
	parked := false
	reason := error(errPanic)
	defer func() {
		if !parked { // also on the way of a panic
			c.refuseConnect(reason)
		}
	}()
	if reason = c.readLoop(); reason != nil {
		return reason
	}
	c.connecting = false
	socket, err := c.env.Loops.Take(tcp, c)
	if err != nil {
		c.env.Log.Warn("connection not parked", "err", err)
		reason = c.refuse(errFiles)
		return reason
	}
	parked = true
	var plain []byte
	if secure != nil {
		if c.park.secure, plain, c.park.sealed, err = secure.Detach(); err != nil {
			c.End(lost(err))
		}
	}
	if c.in = append(append([]byte(nil), c.in...), plain...); len(c.in) == 0 {
		c.in = nil
	}
	c.unfed = len(c.in)+len(c.park.sealed) > 0
	c.mu.Lock()
	c.raw = nil
	c.mu.Unlock()
	c.park.socket.Store(socket)
	if c.keepaliveSec > 0 {
		c.park.readBy.Store(socket.Now() + c.patience().Milliseconds())
		socket.Schedule(c.park.readBy.Load())
	}
	_ = c.Flush(nil) // the answer does not wait for the loop's next round
	if err := socket.Park(); err != nil {
		c.End(lost(err))
	}
	return ErrParked
}

// refuseConnect ends a connection without a session, and without a writer.
func (c *Conn) refuseConnect(reason error) {
	c.End(reason)
	buf, _ := c.collect(&writer{})
	if len(buf) > 0 {
		n, _ := c.raw.Write(buf) // it is closed in any case
		c.env.BytesOut.Add(n)
	}
	c.closeRaw(len(buf) > 0)
}

// Readable implements conn.Client.
func (c *Conn) Readable(buf []byte, hangup bool) conn.Next {
	c.hurried = true
	socket := c.park.socket.Load()
	if c.unfed {
		c.unfed = false
		if next := c.consume(c.in); next != conn.More {
			return next
		}
		if c.park.secure != nil {
			if next := c.open(c.park.sealed); next != conn.More {
				return next
			}
		}
	}
	if c.park.secure != nil {
		return c.readSecure(socket, buf, hangup)
	}
	for range maxReads {
		if c.ended.Load() {
			return conn.Drained
		}
		dst := buf
		if len(c.in) > 0 {
			dst = c.grow()
		}
		n, would, err := socket.Read(dst)
		if would {
			return conn.Drained
		}
		if err != nil || n == 0 {
			c.End(errClosed)
			return conn.Drained
		}
		c.env.BytesIn.Add(n)
		b := dst[:n]
		if len(c.in) > 0 {
			c.in = c.in[:len(c.in)+n]
			b = c.in
		}
		if next := c.consume(b); next != conn.More {
			return next
		}
		if n < len(dst) && !hangup { // what comes from now on is a new event
			return conn.Drained
		}
	}
	return conn.More
}

// grow makes room in the buffer of a packet that has begun; never by what a length claims.
func (c *Conn) grow() []byte {
	if free := cap(c.in) - len(c.in); free < startBuffer/2 {
		c.in = append(make([]byte, 0, max(2*len(c.in), startBuffer)), c.in...)
	}
	return c.in[len(c.in):cap(c.in)]
}

// consume handles the whole packets in b and keeps the rest. b is the loop's buffer or c.in. More says that it took all it could.
func (c *Conn) consume(b []byte) conn.Next {
	c.arrivalMs = c.env.Clock.Now().UnixMilli()
	used, err := c.feed(b)
	if used > 0 {
		c.heard()
	}
	rest := b[used:]
	switch {
	case len(rest) == 0:
		c.in = nil
	case len(c.in) == 0 || cap(c.in) > keepBuffer && cap(c.in) > 4*len(rest):
		c.in = append(make([]byte, 0, len(rest)), rest...)
	default:
		c.in = c.in[:copy(c.in, rest)]
	}
	switch {
	case err == errWait:
		c.park.away.Store(true)
		return conn.Blocks
	case err != nil:
		c.End(err)
		return conn.Drained
	}
	return conn.More
}

// heard notes that a packet was completed.
func (c *Conn) heard() {
	c.env.Seen(c.grant.Thing, c.arrivalMs)
	if c.keepaliveSec > 0 {
		c.park.readBy.Store(c.park.socket.Load().Now() + c.patience().Milliseconds())
	}
}

// Resume implements conn.Client.
func (c *Conn) Resume() {
	c.hurried = false
	_ = c.consume(c.in) // it does not block again
	c.unfed = len(c.park.sealed) > 0
	if c.keepaliveSec > 0 { // it could not be heard meanwhile
		c.park.readBy.Store(c.park.socket.Load().Now() + c.patience().Milliseconds())
	}
	c.park.away.Store(false)
}

// Flush implements conn.Client.
func (c *Conn) Flush(scratch []byte) []byte {
	scratch, room := c.flush(scratch)
	if room {
		c.h.Room()
	}
	return scratch
}

// flush writes what is ready. room says that all that was queued is out.
func (c *Conn) flush(scratch []byte) (buf []byte, room bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.park
	if p.finished || p.aborted {
		c.finish()
		return scratch, false
	}
	room = len(p.backlog)+len(c.out) > 0
	if len(p.backlog) > 0 {
		p.backlog = c.send(p.backlog)
		if len(p.backlog) > 0 || p.finished {
			return scratch, false
		}
		p.backlog, p.writeBy = nil, 0
	}
	if p.farewell {
		c.finish()
		return scratch, false
	}
	buf, p.farewell = c.appendReady(append(scratch[:0], c.out...))
	c.out = nil
	if wire := c.seal(&buf); len(wire) > 0 {
		if rest := c.send(wire); len(rest) > 0 {
			p.backlog = append([]byte(nil), rest...)
			room = false
		}
	}
	if p.farewell && len(p.backlog) == 0 {
		c.finish()
	}
	return buf, room && c.cause == nil
}

// send writes what there is room for and returns the rest. The mutex is held.
func (c *Conn) send(b []byte) (rest []byte) {
	n, err := c.park.socket.Load().Write(b)
	c.env.BytesOut.Add(n)
	if err != nil {
		c.endLocked(lost(err))
		c.finish()
		return nil
	}
	switch {
	case n == len(b):
	case c.cause != nil:
		c.expectRoom(endGrace)
	case n > 0 || c.park.writeBy == 0:
		c.park.writeBy = 0
		c.expectRoom(c.env.WriteTimeout)
	}
	return b[n:]
}

// expectRoom gives the client some time to read, if it has not less already. The mutex is held.
func (c *Conn) expectRoom(patience time.Duration) {
	socket := c.park.socket.Load()
	by := socket.Now() + patience.Milliseconds()
	if c.park.writeBy == 0 || by < c.park.writeBy {
		c.park.writeBy = by
		socket.Schedule(by)
	}
}

// finish closes the socket; nothing is written any more. The mutex is held.
func (c *Conn) finish() {
	if c.park.finished {
		return
	}
	c.endLocked(errClosed) // it has ended mostly
	gently := c.park.farewell && len(c.park.backlog) == 0 && c.lastWord()
	c.park.finished = true
	c.park.backlog, c.out = nil, nil
	c.park.socket.Load().Close(gently)
}

// Due implements conn.Client.
func (c *Conn) Due(nowMs int64) (nextMs int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.park
	if p.finished {
		return 0
	}
	if p.writeBy > 0 && nowMs >= p.writeBy {
		c.endLocked(errLost)
		c.finish()
		return 0
	}
	if c.cause != nil {
		return p.writeBy
	}
	readBy := p.readBy.Load()
	switch {
	case readBy == 0:
		return p.writeBy
	case p.away.Load(): // it is not the client who takes its time
		readBy = nowMs + time.Second.Milliseconds()
	case nowMs >= readBy:
		c.endLocked(errTimeout)
		c.signal()
		return 0
	}
	if p.writeBy > 0 {
		return min(readBy, p.writeBy)
	}
	return readBy
}

// Stalled implements conn.Client.
func (c *Conn) Stalled() {
	if c.park.where.CompareAndSwap(inStore, inFullStore) {
		c.env.behind.Add(1)
	}
}

// Fail implements conn.Client.
func (c *Conn) Fail() {
	if c.park.where.Swap(0) == inFullStore {
		c.env.behind.Add(-1)
	}
	c.End(errPanic)
}

// Ended implements conn.Client.
func (c *Conn) Ended() {
	if c.park.secure != nil {
		c.park.secure.Wipe()
	}
	c.h.Ended(c.reason())
}

// readSecure is the rest of Readable where the socket carries records.
func (c *Conn) readSecure(socket *conn.Socket, buf []byte, hangup bool) conn.Next {
	for range maxReads {
		if c.ended.Load() {
			return conn.Drained
		}
		start := copy(buf, c.park.sealed) // less than a record, which buf has room for several of
		n, would, err := socket.Read(buf[start:])
		if would {
			return conn.Drained
		}
		if err != nil || n == 0 {
			c.End(errClosed)
			return conn.Drained
		}
		c.env.BytesIn.Add(n)
		full := start+n == len(buf)
		if next := c.open(buf[:start+n]); next != conn.More {
			return next
		}
		if !full && !hangup {
			return conn.Drained
		}
	}
	return conn.More
}

// open handles the whole records in b, which it opens in place, and keeps the rest.
func (c *Conn) open(b []byte) conn.Next {
	next := conn.More
	for next == conn.More && len(b) >= record.HeaderSize {
		size, err := record.Size(b)
		if err == nil && len(b) < size {
			break
		}
		if err != nil {
			size = len(b) // Receive says the same, and counts it
		}
		plain, err := c.park.secure.Receive(b[:size])
		if err != nil {
			c.endSecure(err)
			return conn.Drained
		}
		b = b[size:]
		if len(plain) == 0 {
			continue
		}
		if len(c.in) > 0 {
			c.in = append(c.in, plain...)
			plain = c.in
		}
		next = c.consume(plain)
	}
	if len(b) == 0 {
		c.park.sealed = nil
	} else {
		c.park.sealed = append(make([]byte, 0, len(b)), b...)
	}
	return next
}

// endSecure ends the connection after a record that was the last, or a fault.
func (c *Conn) endSecure(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.park.fault = err
	c.endLocked(lost(err))
	c.signal()
}

// seal returns what is to be written for the plain bytes in buf. The mutex is held.
func (c *Conn) seal(buf *[]byte) (wire []byte) {
	p := &c.park
	if p.secure == nil {
		return *buf
	}
	plain := *buf
	*buf = p.secure.Seal(plain, plain)
	if p.farewell {
		*buf = p.secure.AppendFarewell(*buf, p.fault)
	}
	return (*buf)[len(plain):]
}
