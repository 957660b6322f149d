// Package lane reads MQTT from one connection in place: it frames the stream, screens every packet strictly, takes telemetry
// out of it straight into the store, and hands the rest to a Handler (package broker).
//
// Two goroutines serve a connection: Run's caller reads and handles packets; a writer sends what others queued with Write,
// and the PUBACKs whose rows have become durable, all that is ready in one write. Nothing else writes to the socket, and
// nobody but the reader waits for the peer.
package lane

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"muster/tsdb"
)

// Handler answers what the lane does not do itself. Connect, Publish, Fanout and Packet are called by the reading
// goroutine, Room by the writing one. The bytes that they are given are valid during the call only. An error ends the
// connection; a Violation tells a v5 client why.
type Handler interface {
	// Connect opens the session of a screened CONNECT: it queues the CONNACK and calls Open.
	Connect(info *Connect) error
	// Publish handles a message that is not plain telemetry and answers it.
	Publish(p *Publish) error
	// Fanout delivers telemetry to subscribers; the lane answers it.
	Fanout(p *Publish)
	// Packet handles a screened packet of any other type but PINGREQ.
	Packet(first byte, body []byte) error
	// Room is called when all that was queued is written: more may be sent.
	Room()
}

// ErrDisconnected is the reason of a connection that its client ended with DISCONNECT, reason code 0.
var ErrDisconnected = errors.New("disconnected by the client")

var (
	errClosed   = errors.New("connection closed by the client")
	errPanic    = Violation{Code: 0x83, Reason: "internal error"}
	errRows     = Violation{Code: 0x83, Reason: "the store takes no more rows"}
	errSlow     = Violation{Code: codeQuotaExceeded, Reason: "client reads too slowly"}
	errDiskFull = Violation{Code: codeQuotaExceeded, Reason: "disk full"}
	errTimeout  = Violation{Code: 0x8d, Reason: "keep alive timeout"}
	errConnect  = Violation{Reason: "connect timeout"}
)

const (
	startBuffer = 2 << 10  // most packets of devices are smaller
	keepBuffer  = 16 << 10 // a larger buffer is given back once it is empty
	maxQueued   = 1 << 20  // bytes waiting to be written; above, the client reads too slowly
	roomBytes   = 64 << 10 // below, a session may send more
	endGrace    = time.Second
)

// Conn is one MQTT connection.
type Conn struct {
	env *Env
	raw net.Conn
	h   Handler

	// Of the reading goroutine.
	in        []byte
	grant     Grant
	prefix    string // dt/<thing>
	aliases   []topicName
	names     [4]topicName // the last topics, so that a device's own few cost no allocation
	nextName  int
	msg       Publish // the one being handled; here because a handler's argument would be allocated
	arrivalMs int64
	heldQoS2  int
	deadline  time.Time

	// Set by the reading goroutine before Open, read by all after it.
	info    Connect
	version byte

	durable atomic.Uint64 // rows up to this seq are on disk
	failed  atomic.Bool   // rows of this connection will never be
	opened  atomic.Bool
	ended   atomic.Bool // cause is set
	wake    chan struct{}
	written chan struct{} // closed when the writer has ended

	mu       sync.Mutex // guards what follows
	room     sync.Cond  // the ring has room, or the connection ends
	owed     ackRing
	refused  uint64 // the last row that a full disk refused
	out      []byte
	spare    []byte
	cause    error // why it ends; nil: it does not
	draining bool  // before it ends, owed acks may still become ready
}

// topicName is a topic that was seen, and whether it is telemetry of the connection's thing.
type topicName struct {
	name      string
	telemetry bool
}

// New wraps raw, whose read deadline must be the one by which the CONNECT has to be there. The Conn owns raw once Run is called.
func New(env *Env, raw net.Conn) *Conn {
	c := &Conn{env: env, raw: raw, wake: make(chan struct{}, 1), written: make(chan struct{})}
	c.room.L = &c.mu
	return c
}

// Run serves the connection until it ends, closes it and returns the reason, never nil.
func (c *Conn) Run(h Handler) error {
	c.h = h
	go c.writeLoop()
	defer func() { // also on the way of a panic
		c.End(errPanic)
		<-c.written
	}()
	c.End(c.readLoop())
	<-c.written
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Open marks the session as open: the connect deadline gives way to the keep alive. Called from Handler.Connect, after
// the CONNACK is queued.
func (c *Conn) Open(grant Grant, keepaliveSec uint16) {
	c.grant = grant
	c.prefix = "dt/" + grant.ThingName
	c.info.Keepalive = keepaliveSec
	c.opened.Store(true)
	c.deadline = time.Time{}
	if keepaliveSec == 0 {
		_ = c.raw.SetReadDeadline(time.Time{}) // an error here is one of the next read too
	}
}

// Version returns the MQTT version of the client, 4 or 5. Valid from Handler.Connect on.
func (c *Conn) Version() byte { return c.version }

// ProblemInfo says whether the client wants reason strings [MQTT-3.1.2-29]. Valid from Handler.Connect on.
func (c *Conn) ProblemInfo() bool { return c.info.ProblemInfo }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Raw returns the connection below, to look at its TLS state.
func (c *Conn) Raw() net.Conn { return c.raw }

// SetHeld tells how many QoS 2 messages the session holds open: they count for the receive maximum. Reading goroutine only.
func (c *Conn) SetHeld(n int) { c.heldQoS2 = n }

// Write queues whole packets for the client. It keeps no reference to b and never blocks. A client that leaves too much
// unread is cut off. Safe for concurrent use.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	if len(c.out)+len(b) > maxQueued {
		c.endLocked(errSlow)
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	c.out = append(c.out, b...)
	c.mu.Unlock()
	c.signal()
	return len(b), nil
}

// HasRoom says whether little enough is queued that messages may be added. Safe for concurrent use.
func (c *Conn) HasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause == nil && len(c.out) < roomBytes
}

// Ack owes the PUBACK of a QoS 1 message that waits for no row; it leaves after those owed before it.
func (c *Conn) Ack(id uint16, code byte, reason string) {
	c.owe(ack{id: id, code: code, reason: reason})
}

func (c *Conn) owe(a ack) {
	c.mu.Lock()
	if a.seq > 0 && a.first <= c.refused { // the group failed before we came here
		a.first, a.seq, a.code, a.reason = 0, 0, errDiskFull.Code, errDiskFull.Reason
	}
	c.owed.push(a)
	ready := c.owed.at(0).seq <= c.durable.Load()
	c.mu.Unlock()
	if ready {
		c.signal()
	}
}

// Durable implements tsdb.Waiter: rows up to upTo are on disk, or never will be. It does not block. The store calls it from
// one goroutine, with rising upTo.
func (c *Conn) Durable(upTo uint64, err error) {
	switch {
	case err == nil:
		c.durable.Store(upTo)
	case errors.Is(err, tsdb.ErrDiskFull):
		c.diskFull(upTo)
	default:
		c.failed.Store(true)
	}
	c.signal()
}

// diskFull refuses the messages with rows up to upTo that are not on disk. Later ones may get there.
func (c *Conn) diskFull(upTo uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = upTo
	c.env.RowsRefused.Inc()
	if c.version < 5 { // no way to say no
		c.draining = false
		c.endLocked(errDiskFull)
		return
	}
	c.owed.refuse(c.durable.Load(), upTo, errDiskFull.Code, errDiskFull.Reason)
}

// End ends the connection for the given reason; the first one counts. What is queued is still written, for a second at
// most. It does not wait. Safe for concurrent use.
func (c *Conn) End(reason error) {
	c.mu.Lock()
	c.endLocked(reason)
	c.mu.Unlock()
	c.signal()
}

func (c *Conn) endLocked(reason error) {
	if c.cause != nil {
		return
	}
	c.cause = reason
	c.ended.Store(true)
	c.room.Broadcast()
	_ = c.raw.SetWriteDeadline(time.Now().Add(endGrace)) // an error here is one of the next write too
}

// Drain ends the connection like End, but waits for the acks of rows that are not on disk yet. Abort cuts that short.
func (c *Conn) Drain(reason error) {
	c.mu.Lock()
	if c.cause == nil {
		c.draining = true
		c.endLocked(reason)
	}
	c.mu.Unlock()
	_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	c.signal()
}

// Abort closes the connection at once.
func (c *Conn) Abort(reason error) {
	c.mu.Lock()
	c.draining = false
	c.endLocked(reason)
	c.mu.Unlock()
	c.signal()
	below := c.raw
	if t, ok := below.(interface{ NetConn() net.Conn }); ok { // TLS would wait for its farewell to be read
		below = t.NetConn()
	}
	_ = below.Close() // it is being given up
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Conn) writeLoop() {
	defer close(c.written)
	defer c.raw.Close()
	defer func() {
		if p := recover(); p != nil {
			c.env.Panics.Inc()
			c.env.Log.Error("panic while writing to a connection", "err", p, "remote", c.raw.RemoteAddr(), "stack", string(debug.Stack()))
			c.End(errPanic)
		}
	}()
	for range c.wake {
		buf, last := c.collect()
		if len(buf) > 0 {
			n, err := c.raw.Write(buf)
			c.env.BytesOut.Add(n)
			if err != nil {
				c.End(lost(err))
				return
			}
		}
		if last {
			return
		}
		c.mu.Lock()
		if cap(buf) <= keepBuffer {
			c.spare = buf[:0]
		}
		more := len(c.out) > 0
		c.mu.Unlock()
		if !more {
			c.h.Room()
		}
	}
}

// collect takes all that can be written now; last is true when nothing may follow it.
func (c *Conn) collect() (buf []byte, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed.Load() {
		c.endLocked(errRows)
		c.draining = false
	}
	var acks int
	c.out, acks = c.owed.appendReady(c.out, c.durable.Load(), c.version, c.info.ProblemInfo)
	if acks > 0 {
		c.env.Acks.Add(acks)
		c.room.Signal()
	}
	last = c.cause != nil && (c.owed.size == 0 || !c.draining)
	if last {
		c.out = c.appendFarewell(c.out)
	} else if len(c.out) > 0 && c.cause == nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(c.env.WriteTimeout)) // an error here is one of the write too
	}
	if c.cause != nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(endGrace)) // the same
	}
	buf, c.out, c.spare = c.out, c.spare, nil
	return buf, last
}

// appendFarewell appends what tells the client why the connection ends.
func (c *Conn) appendFarewell(dst []byte) []byte {
	v, ok := c.cause.(Violation)
	switch {
	case !ok || v.Code == 0:
		return dst
	case !c.opened.Load():
		return appendRefusal(dst, c.version, v)
	case c.version == 5:
		return appendDisconnect(dst, v.Code, v.Reason)
	}
	return dst // 3.1.1 has no DISCONNECT of a server
}

func (c *Conn) readLoop() error {
	c.in = make([]byte, 0, startBuffer)
	for {
		if len(c.in) == cap(c.in) { // grown as bytes arrive, never by what a length claims
			c.in = append(make([]byte, 0, 2*cap(c.in)), c.in...)
		}
		c.refreshDeadline()
		n, err := c.raw.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if n > 0 {
			c.env.BytesIn.Add(n)
			c.arrivalMs = c.env.Clock.Now().UnixMilli()
			used, ferr := c.feed(c.in)
			if ferr != nil {
				return ferr
			}
			if used > 0 && c.opened.Load() {
				c.env.Seen(c.grant.Thing, c.arrivalMs)
			}
			c.keep(used)
		}
		if err != nil {
			return c.readError(err)
		}
	}
}

// keep drops the first used bytes of the buffer.
func (c *Conn) keep(used int) {
	if used == 0 {
		return
	}
	rest := c.in[used:]
	if len(rest) == 0 && cap(c.in) > keepBuffer {
		c.in = make([]byte, 0, startBuffer)
		return
	}
	c.in = c.in[:copy(c.in[:cap(c.in)], rest)]
}

// refreshDeadline gives the client 1.5 keep alives for its next packet [MQTT-3.1.2-22].
// Bytes of a packet that does not end earn no time.
func (c *Conn) refreshDeadline() {
	if !c.opened.Load() || c.info.Keepalive == 0 || !c.deadline.IsZero() {
		return
	}
	c.deadline = time.Now().Add(time.Duration(c.info.Keepalive) * 1500 * time.Millisecond)
	_ = c.raw.SetReadDeadline(c.deadline) // an error here is one of the read too
}

func (c *Conn) readError(err error) error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	switch {
	case cause != nil:
		return cause
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.opened.Load():
		c.env.Refuse(errConnect.Reason)
		return errConnect
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	}
	return lost(err)
}

// lost makes the reason of a broken connection; the text of the network error would only repeat the addresses.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return errClosed
	}
	return errLost
}

var errLost = errors.New("connection lost")

// feed handles every whole packet in b and returns how many bytes they were.
func (c *Conn) feed(b []byte) (used int, err error) {
	for {
		rest := b[used:]
		h, whole, v := parseHeader(rest)
		if !v.bad() && len(rest) > 0 {
			v = c.checkStart(rest[0], h, whole)
		}
		if v.bad() {
			return used, c.refuse(v)
		}
		if !whole || len(rest) < h.sizeHead+h.sizeBody {
			return used, nil
		}
		if c.ended.Load() {
			return used, net.ErrClosed // Run returns the reason that came first
		}
		if err := c.packet(h.first, rest[h.sizeHead:h.sizeHead+h.sizeBody]); err != nil {
			return used, err
		}
		c.deadline = time.Time{}
		used += h.sizeHead + h.sizeBody
	}
}

// checkStart screens what is known once a packet has begun, so that no buffer fills for a packet that will be refused.
func (c *Conn) checkStart(first byte, h header, whole bool) Violation {
	limit := c.env.Limits.PacketBytes
	switch opened := c.opened.Load(); {
	case !opened && first != typeConnect<<4:
		return protocolError("first packet is no connect") // [MQTT-3.1.0-1]
	case opened && first>>4 == typeConnect:
		return protocolError("second connect") // [MQTT-3.1.0-2]
	case !opened:
		limit = c.env.Limits.FirstPacketBytes
	default:
		if v := checkFlags(first, c.version); v.bad() {
			return v
		}
	}
	if whole && h.sizeHead+h.sizeBody > limit {
		return Violation{Code: codePacketTooLarge, Reason: "packet too large"}
	}
	return Violation{}
}

func (c *Conn) refuse(v Violation) error {
	c.env.Refuse(v.Reason)
	return v
}

func (c *Conn) packet(first byte, body []byte) error {
	lim := &c.env.Limits
	switch first >> 4 {
	case typeConnect:
		info, v := screenConnect(body, lim)
		c.mu.Lock()
		c.info, c.version = info, info.Version
		c.mu.Unlock()
		if v.bad() {
			return c.refuse(v)
		}
		return c.h.Connect(&info)
	case typePublish:
		return c.publish(first, body)
	}
	if v := screen(first, c.version, body, lim); v.bad() {
		return c.refuse(v)
	}
	if first>>4 == typePingreq {
		_, err := c.Write(pingResponse)
		return err
	}
	return c.h.Packet(first, body)
}

var pingResponse = []byte{typePingresp << 4, 0}
