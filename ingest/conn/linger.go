package conn

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Who closes a TCP socket in which there are bytes that nobody has read resets the connection, and a reset throws away what is on its way to the
// peer (RFC 1122 section 4.2.2.13, RFC 9293 section 3.6.1): a client that keeps sending would not learn why it was cut off. So the last
// word is followed by the end of our direction only. What the peer sends is read and thrown away until it has ended its own.
const (
	// lingerTime is how long a peer has for that, lingerBytes how much is read of it; then it has to stop sending.
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
	// maxLingering bounds how many sockets, of a loop where there are some, wait for their peer. More are closed at once.
	maxLingering = 1000
	// lastLinger is what is left of lingerTime when the server ends.
	lastLinger = 100 * time.Millisecond
)

// remains is the Client of a socket whose last word is said.
type remains struct {
	socket  *Socket
	left    int   // bytes that are read still
	byMs    int64 // when it is closed in any case
	over    atomic.Bool
	counted bool // in loop.lingering
}

// linger ends our direction of s and leaves its descriptor, its slot and its place in the epoll set to remains. It reports whether it did.
func (s *Socket) linger() bool {
	if shutdownSocket(int(s.fd)) != nil { // the peer is gone
		return false
	}
	l := s.loop
	r := newRemains(l.owner)
	r.socket = &Socket{loop: l, client: r, fd: s.fd, slot: s.slot}
	r.socket.state.Store(stateAgain)
	l.mu.Lock()
	if l.lingering == maxLingering {
		l.mu.Unlock()
		return false
	}
	l.lingering++
	r.counted = true
	l.wheel.remove(s)
	l.slots[s.slot] = r.socket
	l.wheel.put(r.socket, tickOf(r.byMs))
	l.mu.Unlock()
	r.socket.Wake()
	return true
}

func newRemains(o *Loops) *remains {
	return &remains{left: lingerBytes, byMs: o.Now() + lingerTime.Milliseconds()}
}

// Linger closes tcp, to which the last word was written, once the peer has ended its direction too, or soon. It does not wait.
func (o *Loops) Linger(tcp *net.TCPConn) {
	r := newRemains(o)
	s, err := o.Take(tcp, r)
	if err != nil {
		_ = tcp.Close() // as it would be without
		return
	}
	r.socket = s
	l := s.loop
	l.mu.Lock()
	if l.lingering < maxLingering {
		l.lingering++
		r.counted = true
	}
	l.mu.Unlock()
	if !r.counted || shutdownSocket(int(s.fd)) != nil {
		r.end()
	}
	s.Schedule(r.byMs)
	if s.Park() != nil {
		r.end()
	}
}

// Remains are such sockets where there are no loops: each has a goroutine. The zero value is ready.
type Remains struct {
	mu    sync.Mutex // guards conns
	conns map[*net.TCPConn]struct{}
	wg    sync.WaitGroup
}

// Linger is as that of Loops.
func (r *Remains) Linger(tcp *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) == maxLingering || tcp.CloseWrite() != nil || tcp.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		_ = tcp.Close() // as it would be without; or the peer is gone
		return
	}
	if r.conns == nil {
		r.conns = make(map[*net.TCPConn]struct{})
	}
	r.conns[tcp] = struct{}{}
	r.wg.Go(func() {
		_, _ = io.CopyN(io.Discard, tcp, lingerBytes) // until it ends
		_ = tcp.Close()                               // nobody is there to be told
		r.mu.Lock()
		delete(r.conns, tcp)
		r.mu.Unlock()
	})
}

// Close gives the last ones a moment and returns when all have ended.
func (r *Remains) Close() {
	r.mu.Lock()
	for tcp := range r.conns {
		_ = tcp.SetReadDeadline(time.Now().Add(lastLinger)) // an error here is one of the read too
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Hold returns a second handle of tcp: closing the first one closes nothing then.
func Hold(tcp *net.TCPConn) (*net.TCPConn, error) {
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	held, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return held.(*net.TCPConn), nil
}

// Readable implements Client.
func (r *remains) Readable(buf []byte, hangup bool) Next {
	for range lingerReads {
		if r.left <= 0 {
			if hangup {
				r.end()
			}
			return Drained
		}
		n, would, err := readSocket(int(r.socket.fd), buf)
		if would {
			return Drained
		}
		if n == 0 || err != nil {
			r.end()
			return Drained
		}
		r.left -= n
	}
	return More
}

// lingerReads is how often one is read before others come.
const lingerReads = 4

// end closes the socket, once.
func (r *remains) end() {
	if !r.over.Swap(true) {
		r.socket.Close(false)
	}
}

// Due implements Client.
func (r *remains) Due(nowMs int64) (nextMs int64) {
	if nowMs >= r.byMs {
		r.end()
	}
	return r.byMs
}

// Ended implements Client.
func (r *remains) Ended() {
	if r.counted {
		l := r.socket.loop
		l.mu.Lock()
		l.lingering--
		l.mu.Unlock()
	}
}

func (r *remains) Resume()                     {}
func (r *remains) Flush(scratch []byte) []byte { return scratch }
func (r *remains) Stalled()                    {}
func (r *remains) Fail()                       { r.end() }

// lingering returns how many sockets wait for their peer.
func (o *Loops) lingering() (n int) {
	for _, l := range o.loops {
		l.mu.Lock()
		n += l.lingering
		l.mu.Unlock()
	}
	return n
}

// awaitRemains gives the last ones some time.
func (o *Loops) awaitRemains() {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for by := time.Now().Add(lastLinger); o.lingering() > 0 && time.Now().Before(by); {
		<-ticker.C
	}
}
