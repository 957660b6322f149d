package conn

import (
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Client is what is served over a parked connection. Its loop calls one method at a time and none of them may wait, but for
// Resume, which has a goroutine of its own and runs beside Flush and Due; one that waits nevertheless, for a lock or the disk,
// is left with its goroutine after a while and holds up nobody but itself.
type Client interface {
	// Readable reads the socket until nothing is left; buf is borrowed for the call. After a hangup, that is known by the
	// end of the file or an error only, not by a short read.
	Readable(buf []byte, hangup bool) Next
	// Resume does what Readable returned Blocks for.
	Resume()
	// Flush writes what is ready. scratch is borrowed; it is returned, perhaps grown.
	Flush(scratch []byte) []byte
	// Due is called when a deadline that was given to Schedule may be over. It returns the next one, 0 for none.
	Due(nowMs int64) (nextMs int64)
	// Stalled is called, beside another method, when that has held up its loop.
	Stalled()
	// Fail ends the connection after a panic in a method. It has a goroutine of its own.
	Fail()
	// Ended is called last, once, in a goroutine of its own: the socket is closed.
	Ended()
}

// Next is what comes after Readable.
type Next uint8

const (
	Drained Next = iota // nothing is left: the connection is parked until there is
	More                // something may be left: others come first
	Blocks              // what comes next may have to wait: Resume is called
)

// Socket is a parked connection: a file descriptor in the loop's epoll set, and this. Without work it has neither goroutine
// nor buffer. Its methods are safe for concurrent use, but after Close only Wake may be called.
type Socket struct {
	loop   *loop
	client Client
	fd     int32
	slot   int32 // in loop.slots
	state  atomic.Uint32
	// flushed is the round in which Flush was last called; of the goroutine that is the loop.
	flushed uint32

	// Guarded by loop.mu.
	tick  int64 // of the wheel; 0: not in it
	place int32 // there
}

// Bits of Socket.state.
const (
	stateBusy    = 1 << iota // someone reads: the loop, or a goroutine that it handed the socket to
	stateAgain               // there was something to read meanwhile
	stateHangup              // the peer sends nothing more
	stateQueued              // in loop.woken
	stateBlocked             // Write had no room
	stateClosing             // Close was called
	stateGently              // and the peer is to read the last word
)

// Take makes a parked connection of raw, which must not be used any more. Nothing is read from it before Park, which must follow. After an
// error raw is as it was.
func (l *Loops) Take(raw *net.TCPConn, client Client) (*Socket, error) {
	fd, err := detach(raw)
	if err != nil {
		return nil, err
	}
	s := &Socket{loop: l.loops[l.next.Add(1)%uint32(len(l.loops))], client: client, fd: int32(fd)}
	s.state.Store(stateBusy) // by the caller, until Park: the descriptor stays open
	s.loop.enter(s)
	return s, nil
}

// Park begins to serve the socket. After an error the client has to close it.
func (s *Socket) Park() error {
	err := s.loop.poller.add(int(s.fd), s.slot)
	s.state.Or(stateAgain) // the client may hold what was read before
	s.end()
	return err
}

// Wake has Flush called soon.
func (s *Socket) Wake() {
	if s.state.Or(stateQueued)&stateQueued == 0 {
		s.loop.push(s)
	}
}

// Read reads what is there; would says that nothing is. At the end of the file n is 0 without an error. Readable only.
func (s *Socket) Read(b []byte) (n int, would bool, err error) {
	n, would, err = readSocket(int(s.fd), b)
	s.loop.bytes.Add(int64(n))
	return n, would, err
}

// Write writes what there is room for. Where that is not all of b, Flush is called once there is room again. Flush only.
func (s *Socket) Write(b []byte) (n int, err error) {
	for {
		m, would, err := writeSocket(int(s.fd), b[n:])
		if n += m; err != nil || n == len(b) {
			return n, err
		}
		// The room may have come between the attempt and the mark: the second attempt sees it.
		if would && s.state.Or(stateBlocked)&stateBlocked != 0 {
			return n, nil
		}
	}
}

// Schedule has Due called when atMs (of Loops.Now) is over, or soon after.
func (s *Socket) Schedule(atMs int64) {
	l := s.loop
	l.mu.Lock()
	if s.state.Load()&stateClosing == 0 {
		l.wheel.put(s, tickOf(atMs))
	}
	l.mu.Unlock()
	l.rouse() // it may sleep for longer
}

// Now returns a time in milliseconds that only goes forward.
func (s *Socket) Now() int64 { return s.loop.owner.Now() }

// Close closes the socket as soon as nobody reads it; gently, the peer may read first what was written. It is called once.
func (s *Socket) Close(gently bool) {
	bits := uint32(stateClosing)
	if gently {
		bits |= stateGently
	}
	if s.state.Or(bits)&stateBusy == 0 {
		s.release()
	}
}

// release ends the socket. Closing it takes it out of the epoll set.
func (s *Socket) release() {
	if s.state.Load()&stateGently == 0 || !s.linger() {
		s.loop.leave(s)
		closeSocket(int(s.fd))
	}
	s.loop.owner.wg.Go(func() {
		defer s.rescue()
		s.client.Ended()
	})
}

// read lets the client read, unless someone does already.
func (s *Socket) read(w *worker) {
	if !s.begin() {
		return
	}
	next := Drained
	defer func() {
		if p := recover(); p != nil {
			s.failed(p)
			next = Drained
		}
		switch next {
		case Blocks:
			s.loop.owner.handOver(s)
		case More:
			s.state.Or(stateAgain)
			s.end()
		default:
			s.end()
		}
	}()
	next = s.client.Readable(w.buf, s.state.Load()&stateHangup != 0)
}

// begin makes the caller the one who reads; else that one is told that there is more.
func (s *Socket) begin() bool {
	for {
		old := s.state.Load()
		switch {
		case old&stateClosing != 0:
			return false
		case old&stateBusy != 0:
			if s.state.CompareAndSwap(old, old|stateAgain) {
				return false
			}
		case s.state.CompareAndSwap(old, old&^stateAgain|stateBusy):
			return true
		}
	}
}

// end undoes begin. What came meanwhile is read in the loop's next round.
func (s *Socket) end() {
	old := s.state.And(^uint32(stateBusy))
	if old&stateClosing != 0 {
		s.release()
	} else if old&stateAgain != 0 {
		s.Wake()
	}
}

// resume finishes in a goroutine what the client could not do in the loop.
func (s *Socket) resume() {
	defer func() {
		if p := recover(); p != nil {
			s.failed(p)
		}
		s.state.Or(stateAgain) // it was not read meanwhile
		s.end()
	}()
	s.client.Resume()
}

func (s *Socket) flush(w *worker) {
	defer s.rescue()
	s.state.And(^uint32(stateBlocked))
	w.scratch = s.client.Flush(w.scratch)
	if cap(w.scratch) > keepScratch {
		w.scratch = make([]byte, 0, startScratch)
	}
}

const (
	startScratch = 4 << 10
	keepScratch  = 64 << 10
)

// due asks for the next deadline.
func (s *Socket) due(nowMs int64) {
	defer s.rescue()
	if next := s.client.Due(nowMs); next > 0 {
		s.Schedule(next)
	}
}

// rescue is deferred around the client's work: a panic there ends that connection only.
func (s *Socket) rescue() {
	if p := recover(); p != nil {
		s.failed(p)
	}
}

func (s *Socket) failed(p any) {
	o := s.loop.owner
	o.panics.Inc()
	o.log.Error("panic in a parked connection, which ends", "err", p, "stack", string(debug.Stack()))
	o.wg.Go(func() { // the client may hold a lock for ever
		defer func() { _ = recover() }() // it is counted and logged already
		s.client.Fail()
	})
}

// stallAfter is how long a client may hold up its loop, twice that at most.
const stallAfter = 20 * time.Millisecond
