package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// device is one connected client. It belongs to one loop.
type device struct {
	index   int // in the fleet
	place   int // in its loop
	topic   string
	sock    *socket
	stream  io.ReadWriter // sock, or TLS over it
	seq     uint64        // messages sent
	sentAt  []int64       // by packet id - 1: when the message was due, ns since the start
	free    []uint16      // packet ids that are not in use
	partial []byte        // the begin of a packet that is not complete
	waiting bool          // for room in the socket
	gone    bool
}

// loop is one goroutine that carries its share of the fleet: it sends what is due and reads what came, many sockets in
// one wake-up.
type loop struct {
	fleet    *fleet
	epoll    int
	devices  []*device
	start    time.Time
	offsetNs float64 // of the first message
	stepNs   float64 // between two messages of this loop
	next     uint64  // message of the loop that is due next
	open     int     // messages sent and not answered

	sent, acked, refused, dropped atomic.Uint64 // read while the loop runs

	latency histogram // of the measured window; to be read after the loop has ended
	window  *windowed // what is taken out while the loop runs; nil: nothing is
	failure error     // of the first connection that was dropped
	in      []byte
	out     []byte
	body    []byte
}

// newLoop takes over devices that are connected and detached.
func newLoop(f *fleet, devices []*device) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{fleet: f, epoll: epoll, devices: devices, in: make([]byte, 64<<10)}
	for place, d := range devices {
		d.place = place
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(place)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, d.sock.fd, &event); err != nil {
			return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(epoll))
		}
	}
	return l, nil
}

// maxWait bounds how late a loop sees that the phase has changed.
const maxWait = 50 * time.Millisecond

// run works until the fleet stops, or drains and nothing is open. It closes the connections.
func (l *loop) run() error {
	defer l.close()
	events := make([]unix.EpollEvent, 256)
	filled := false
	for {
		now := l.now()
		phase := l.fleet.phase.Load()
		if phase == phaseStop || phase == phaseDrain && l.open == 0 {
			return nil
		}
		wait := maxWait
		if phase == phaseSend {
			if l.fleet.flatOut {
				if !filled || l.fleet.qos == 0 {
					for _, d := range l.devices {
						l.fill(d, now)
					}
					filled = true
				}
				if l.fleet.qos == 0 {
					wait = 0
				}
			} else {
				wait = min(wait, l.sendDue(now))
			}
		}
		// Rounded up: a loop that asks again and again within a millisecond would take the cores that it measures.
		n, err := unix.EpollWait(l.epoll, events, int((wait+time.Millisecond-1)/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		for i := range max(n, 0) {
			l.serve(l.devices[events[i].Fd], events[i].Events)
		}
	}
}

func (l *loop) now() int64 { return int64(time.Since(l.start)) }

// due returns when message number n of the loop is to be sent.
func (l *loop) due(n uint64) int64 { return int64(l.offsetNs + float64(n)*l.stepNs) }

// sendDue sends what is due, and returns how long nothing more is.
func (l *loop) sendDue(now int64) time.Duration {
	if len(l.devices) == 0 || l.fleet.rate == 0 {
		return maxWait
	}
	for ; l.due(l.next) <= now; l.next++ {
		l.fill(l.devices[l.next%uint64(len(l.devices))], now)
	}
	return time.Duration(l.due(l.next) - now)
}

// fill sends what d owes: every message that is due by now, as far as its window and its socket have room.
func (l *loop) fill(d *device, now int64) {
	f := l.fleet
	if d.gone || d.waiting || f.phase.Load() != phaseSend {
		return
	}
	l.out = l.out[:0]
	count := 0
	for ; count < f.window && (f.qos == 0 || len(d.free) > 0); count++ {
		due := now
		if !f.flatOut {
			if due = l.due(d.seq*uint64(len(l.devices)) + uint64(d.place)); due > now {
				break
			}
		}
		id := uint16(0)
		if f.qos > 0 {
			id = d.free[len(d.free)-1]
			d.free = d.free[:len(d.free)-1]
			d.sentAt[id-1] = due
		}
		l.body = f.telemetry.append(l.body[:0], d.index, d.seq)
		l.out = appendPublish(l.out, f.version, byte(f.qos), id, d.topic, l.body)
		d.seq++
	}
	if count == 0 {
		return
	}
	l.sent.Add(uint64(count))
	if f.qos > 0 {
		l.open += count
	}
	if _, err := d.stream.Write(l.out); err != nil {
		l.drop(d, err)
		return
	}
	if len(d.sock.unsent) > 0 {
		d.waiting = true
		l.watch(d, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

// serve handles what epoll says of d.
func (l *loop) serve(d *device, events uint32) {
	if d.gone {
		return
	}
	if d.waiting && events&unix.EPOLLOUT != 0 {
		if err := d.sock.flush(); err != nil {
			l.drop(d, err)
			return
		}
		if len(d.sock.unsent) == 0 {
			d.waiting = false
			l.watch(d, unix.EPOLLIN)
		}
	}
	if events&^unix.EPOLLOUT != 0 {
		if err := l.receive(d); err != nil {
			l.drop(d, err)
			return
		}
	}
	if l.fleet.flatOut || l.fleet.rate > 0 {
		l.fill(d, l.now())
	}
}

// receive reads all that came for d.
func (l *loop) receive(d *device) error {
	d.sock.drained = false
	for {
		kept := copy(l.in, d.partial)
		n, err := d.stream.Read(l.in[kept:])
		if err == net.Error(errWouldBlock) {
			return nil
		}
		if err != nil {
			return err
		}
		rest := l.in[:kept+n]
		now := l.now()
		for {
			p, after, whole, err := cutPacket(rest)
			if err != nil {
				return err
			}
			if !whole {
				break
			}
			rest = after
			if err := l.packet(d, p, now); err != nil {
				return err
			}
		}
		if len(rest) == len(l.in) {
			return errors.New("the broker sends a packet that is too long for this client")
		}
		d.partial = append(d.partial[:0], rest...)
	}
}

// packet handles one packet of the broker.
func (l *loop) packet(d *device, p packet, now int64) error {
	switch p.kind {
	case packetPuback:
		id, reason, err := p.puback()
		if err != nil {
			return err
		}
		if id == 0 || int(id) > len(d.sentAt) || d.sentAt[id-1] < 0 {
			return fmt.Errorf("the broker acknowledges packet %d, which is not open", id)
		}
		due := d.sentAt[id-1]
		d.sentAt[id-1] = -1
		d.free = append(d.free, id)
		l.open--
		if reason >= 0x80 {
			l.refused.Add(1)
			return nil
		}
		l.acked.Add(1)
		if l.window != nil {
			l.window.record(time.Duration(now - due))
		}
		if f := l.fleet; int64(f.warmup) <= due && due < int64(f.warmup+f.duration) {
			l.latency.record(time.Duration(now - due))
		}
	case packetDisconnect:
		if len(p.body) > 0 {
			return fmt.Errorf("the broker disconnects with reason 0x%02x", p.body[0])
		}
		return errors.New("the broker disconnects")
	case packetPublish, packetPingresp:
	default:
		return fmt.Errorf("the broker sends packet type %d", p.kind)
	}
	return nil
}

// drop gives up a connection; its open messages stay unanswered.
func (l *loop) drop(d *device, err error) {
	if l.failure == nil {
		l.failure = fmt.Errorf("%s: %w", d.topic, err)
	}
	for _, at := range d.sentAt {
		if at >= 0 {
			l.open--
		}
	}
	d.gone = true
	d.sock.Close()
	l.dropped.Add(1)
}

// watch changes what epoll reports of d.
func (l *loop) watch(d *device, events uint32) {
	event := unix.EpollEvent{Events: events, Fd: int32(d.place)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, d.sock.fd, &event); err != nil {
		l.drop(d, err)
	}
}

// close says goodbye on every connection and closes it.
func (l *loop) close() {
	goodbye := appendDisconnect(nil)
	for _, d := range l.devices {
		if !d.gone {
			d.stream.Write(goodbye) // the broker may be gone; nothing depends on it
			d.sock.Close()
		}
	}
	unix.Close(l.epoll)
}

// newDevice makes the client side of a connection that is through its handshakes.
func newDevice(index int, topic string, sock *socket, stream io.ReadWriter, window int) *device {
	d := &device{index: index, topic: topic, sock: sock, stream: stream, sentAt: make([]int64, window), free: make([]uint16, 0, window)}
	for id := min(window, math.MaxUint16); id > 0; id-- {
		d.sentAt[id-1] = -1
		d.free = append(d.free, uint16(id))
	}
	return d
}
