// Package lane reads MQTT from one connection in place: it frames the stream, screens every packet strictly, takes telemetry
// out of it straight into the store, and hands the rest to a Handler (package broker).
//
// A connection is served in one of two ways, which see the same packets in the same order. Parked (parked.go), it belongs to a
// loop of package conn once its CONNECT is done. Else it has two goroutines (blocking.go): Run's caller reads and handles
// packets; a writer sends what others queued with Write, and the PUBACKs whose rows have become durable, all that is ready in
// one write. In both, nobody waits for the peer but who reads from it.
package lane

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"muster/ingest/decode"
	"muster/tsdb"
)

// Handler answers what the lane does not do itself. Connect, Publish, Fanout and Packet are called by who reads, one at a
// time, Room by who writes. The bytes that they are given are valid during the call only. An error ends the connection; a
// Violation tells a v5 client why. Connect, Publish, and Packet for SUBSCRIBE, UNSUBSCRIBE and DISCONNECT, may wait; the others hold up a
// loop.
type Handler interface {
	// Connect opens the session of a screened CONNECT: it queues the CONNACK and calls Open.
	Connect(info *Connect) error
	// Publish handles a message that is not plain telemetry and answers it.
	Publish(p *Publish) error
	// Fanout delivers telemetry to subscribers; the lane answers it. kept says that some of them are away and their copies on the way to
	// the disk; OnceKept calls f when they are there.
	Fanout(p *Publish) (kept bool)
	OnceKept(f func())
	// Packet handles a screened packet of any other type but PINGREQ.
	Packet(first byte, body []byte) error
	// Room is called when all that was queued is written: more may be sent.
	Room()
	// Ended is called once at the end of a connection whose Run has returned ErrParked.
	Ended(reason error)
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

// Conn is one MQTT connection. Most are idle, and its size counts: it is made for a size class of Go's allocator, 480 bytes.
type Conn struct {
	env *Env
	h   Handler

	// Of who reads: Run's caller, then a loop or who that hands the connection to.
	in         []byte
	grant      Grant
	schema     *decode.Schema
	schemas    uint64 // the epoch that schema is of
	meter      *meter // of the thing; nil: it has no quota
	aliases    []topicName
	names      []topicName // the last topics, maxNames at most, so that a device's own few cost no allocation
	arrivalMs  int64
	copies     uint64 // messages whose copies had to be kept
	heldQoS2   uint16
	nextName   uint8
	fresh      bool // a packet was completed since the deadline was set
	connecting bool // only the CONNECT is taken
	unfed      bool // in holds bytes that were not looked at
	hurried    bool // in a loop: what may wait is left to Resume

	// Set by who reads before Open, read by all after it.
	keepaliveSec uint16
	problemInfo  bool   // the client wants reason strings on acknowledgements, and takes packets large enough for any
	maxPacket    uint32 // that the client takes; 0: any
	version      byte

	durable atomic.Uint64 // rows up to this seq are on disk
	kept    atomic.Uint64 // copies up to this number are on disk
	failed  atomic.Bool   // rows of this connection will never be
	opened  atomic.Bool
	ended   atomic.Bool // cause is set
	writer  *writer     // nil: there is none

	park parked

	mu       sync.Mutex // guards what follows
	raw      net.Conn   // nil once it is parked
	room     *sync.Cond // the ring has room, or the connection ends; nil: nobody has waited yet
	owed     ackRing
	refused  uint64 // the last row that a full disk refused
	out      []byte
	cause    error // why it ends; nil: it does not
	draining bool  // before it ends, owed acks may still become ready
	answered bool  // something was queued: the CONNACK
}

// topicName is a topic that was seen, and whether it is telemetry of the connection's thing.
type topicName struct {
	name      string
	telemetry bool
	deep      bool // it has too many levels; then name is empty: such a topic is not kept
}

// New wraps raw, whose read deadline must be the one by which the CONNECT has to be there. The Conn owns raw once Run is called.
func New(env *Env, raw net.Conn) *Conn {
	return &Conn{env: env, raw: raw}
}

// Open marks the session as open: the connect deadline gives way to the keep alive. Called from Handler.Connect, after
// the CONNACK is queued.
func (c *Conn) Open(grant Grant, keepaliveSec uint16) {
	c.grant = grant
	c.keepaliveSec = keepaliveSec
	c.opened.Store(true)
	c.fresh = true
	if keepaliveSec == 0 {
		_ = c.raw.SetReadDeadline(time.Time{}) // an error here is one of the next read too
	}
}

// Version returns the MQTT version of the client, 4 or 5. Valid from Handler.Connect on.
func (c *Conn) Version() byte { return c.version }

// ProblemInfo says whether the client wants reason strings [MQTT-3.1.2-29]. Valid from Handler.Connect on.
func (c *Conn) ProblemInfo() bool { return c.problemInfo }

// SetHeld tells how many QoS 2 messages the session holds open: they count for the receive maximum. Who reads calls it.
func (c *Conn) SetHeld(n int) { c.heldQoS2 = uint16(n) }

// Write queues whole packets for the client. It keeps no reference to b and never blocks. A client that leaves too much
// unread is cut off. Safe for concurrent use.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	if c.queued()+len(b) > maxQueued {
		c.endLocked(errSlow)
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	c.out = append(c.out, b...)
	c.answered = true
	c.mu.Unlock()
	c.signal()
	return len(b), nil
}

// HasRoom says whether little enough is queued that messages may be added. Safe for concurrent use.
func (c *Conn) HasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause == nil && c.queued() < roomBytes
}

// queued returns how many bytes wait to be written. The mutex is held.
func (c *Conn) queued() int { return len(c.out) + len(c.park.backlog) }

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
	ready := c.owed.at(0).ready(c.durable.Load(), c.kept.Load())
	c.mu.Unlock()
	if ready {
		c.signal()
	}
}

// Durable implements tsdb.Waiter: rows up to upTo are on disk, or never will be. It does not block. The store makes one call at a
// time, with rising upTo.
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
	if c.room != nil {
		c.room.Broadcast()
	}
	if c.raw != nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(endGrace)) // an error here is one of the next write too
	} else if len(c.park.backlog) > 0 {
		c.expectRoom(endGrace)
	}
}

// Drain ends the connection like End, but waits for the acks of rows that are not on disk yet. Abort cuts that short.
func (c *Conn) Drain(reason error) {
	c.mu.Lock()
	if c.cause == nil {
		c.draining = true
		c.endLocked(reason)
	}
	if c.raw != nil {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
	c.mu.Unlock()
	c.signal()
}

// Abort closes the connection at once.
func (c *Conn) Abort(reason error) {
	c.mu.Lock()
	c.draining, c.park.aborted = false, true
	c.endLocked(reason)
	below := c.raw
	c.mu.Unlock()
	c.signal()
	if below == nil {
		return
	}
	if t, ok := below.(interface{ NetConn() net.Conn }); ok { // TLS would wait for its farewell to be read
		below = t.NetConn()
	}
	_ = below.Close() // it is being given up
}

// signal tells who writes that there is something. Before there is one, who reads looks by itself.
func (c *Conn) signal() {
	if s := c.park.socket.Load(); s != nil {
		s.Wake()
		return
	}
	if c.writer != nil {
		select {
		case c.writer.wake <- struct{}{}:
		default:
		}
	}
}

// appendReady appends to dst, after what was queued, what can be written now besides: acks, and the farewell. last is true when
// nothing may follow it. The mutex is held.
func (c *Conn) appendReady(dst []byte) (buf []byte, last bool) {
	if c.failed.Load() {
		c.endLocked(errRows)
		c.draining = false
	}
	dst, acks := c.owed.appendReady(dst, c.durable.Load(), c.kept.Load(), c.version, c.problemInfo)
	if acks > 0 {
		c.env.Acks.Add(acks)
		if c.room != nil {
			c.room.Signal()
		}
	}
	last = c.cause != nil && (c.owed.size == 0 || !c.draining)
	if last {
		dst = c.appendFarewell(dst)
	}
	return dst, last
}

// appendFarewell appends what tells the client why the connection ends.
func (c *Conn) appendFarewell(dst []byte) []byte {
	v, ok := c.cause.(Violation)
	if !ok || v.Code == 0 {
		return dst
	}
	before := len(dst)
	for _, reason := range []string{v.Reason, ""} { // without it where the client would not take so much [MQTT-3.14.2-3]
		switch {
		case !c.answered:
			dst = appendRefusal(dst[:before], c.version, v.Code, v.Return, reason)
		case c.version == 5: // 3.1.1 has no DISCONNECT of a server
			dst = appendDisconnect(dst[:before], v.Code, reason)
		}
		if c.maxPacket == 0 || len(dst)-before <= int(c.maxPacket) {
			return dst
		}
	}
	return dst[:before]
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
		c.fresh = true
		used += h.sizeHead + h.sizeBody
		if c.connecting && c.opened.Load() {
			return used, nil
		}
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
		c.version, c.maxPacket = info.Version, info.MaxPacketBytes
		c.problemInfo = info.ProblemInfo && (info.MaxPacketBytes == 0 || info.MaxPacketBytes > maxReason+10)
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
	switch kind := first >> 4; {
	case kind == typePingreq:
		_, err := c.Write(pingResponse)
		return err
	case c.hurried && (kind == typeSubscribe || kind == typeUnsubscribe || kind == typeDisconnect):
		return errWait
	}
	return c.h.Packet(first, body)
}

var pingResponse = []byte{typePingresp << 4, 0}
