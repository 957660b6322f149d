package lane

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"time"

	"muster/ingest/conn"
)

// Run serves the connection until it ends, closes it and returns the reason, never nil. Or it returns ErrParked once the
// session is open: then the connection goes on in a loop and Handler.Ended is told of its end.
func (c *Conn) Run(h Handler) error {
	c.h = h
	if c.env.Loops != nil {
		if tcp, secure, ok := parkable(c.raw); ok {
			return c.runToPark(tcp, secure)
		}
	}
	w := &writer{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.writer = w
	go c.writeLoop(w)
	defer func() { // also on the way of a panic
		c.End(errPanic)
		<-w.ended
	}()
	c.End(c.readLoop())
	<-w.ended
	return c.reason()
}

// closeRaw closes a connection that is not parked. With lastWord, TCP stays until the client has read that.
func (c *Conn) closeRaw(lastWord bool) {
	var held *net.TCPConn
	if lastWord {
		if tcp := tcpBelow(c.raw); tcp != nil {
			held, _ = conn.Hold(tcp) // without it is closed at once
		}
	}
	_ = c.raw.Close() // nobody is there to be told
	switch {
	case held == nil:
	case c.env.Loops != nil:
		c.env.Loops.Linger(held)
	default:
		c.env.Remains.Linger(held)
	}
}

// lastWord says whether the connection ends with a word of ours why. The mutex is held.
func (c *Conn) lastWord() bool {
	v, ok := c.cause.(Violation)
	return ok && v.Code != 0
}

// reason returns why the connection ends.
func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// writer is the goroutine that writes to a connection that is not parked.
type writer struct {
	wake  chan struct{}
	ended chan struct{} // closed at its end
	spare []byte        // for Conn.out; the connection's mutex guards it
}

func (c *Conn) writeLoop(w *writer) {
	lastWord := false
	defer close(w.ended)
	defer func() { c.closeRaw(lastWord) }()
	defer func() {
		if p := recover(); p != nil {
			c.env.Panics.Inc()
			c.env.Log.Error("panic while writing to a connection", "err", p, "remote", c.raw.RemoteAddr(), "stack", string(debug.Stack()))
			c.End(errPanic)
		}
	}()
	for range w.wake {
		buf, last := c.collect(w)
		if len(buf) > 0 {
			n, err := c.raw.Write(buf)
			c.env.BytesOut.Add(n)
			if err != nil {
				c.End(lost(err))
				return
			}
		}
		if last {
			c.mu.Lock()
			lastWord = c.lastWord()
			c.mu.Unlock()
			return
		}
		c.mu.Lock()
		if cap(buf) <= keepBuffer {
			w.spare = buf[:0]
		}
		more := len(c.out) > 0
		c.mu.Unlock()
		if !more {
			c.h.Room()
		}
	}
}

// collect takes all that can be written now; last is true when nothing may follow it.
func (c *Conn) collect(w *writer) (buf []byte, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf, last = c.appendReady(c.out)
	c.out, w.spare = w.spare, nil
	if c.cause != nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(endGrace)) // an error here is one of the write too
	} else if len(buf) > 0 {
		_ = c.raw.SetWriteDeadline(time.Now().Add(c.env.WriteTimeout)) // the same
	}
	return buf, last
}

// readLoop reads until the connection ends; while it is connecting, until the session is open.
func (c *Conn) readLoop() error {
	if c.in == nil {
		c.in = make([]byte, 0, startBuffer)
	}
	for {
		if c.unfed {
			c.unfed = false
			used, err := c.feed(c.in)
			if err != nil {
				return err
			}
			c.keep(used)
		}
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
			if c.connecting && c.opened.Load() {
				return nil
			}
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
	if !c.opened.Load() || c.keepaliveSec == 0 || !c.fresh {
		return
	}
	c.fresh = false
	_ = c.raw.SetReadDeadline(time.Now().Add(c.patience())) // an error here is one of the read too
}

// patience is how long the client may take for a packet.
func (c *Conn) patience() time.Duration {
	return time.Duration(c.keepaliveSec) * 1500 * time.Millisecond
}

func (c *Conn) readError(err error) error {
	switch cause := c.reason(); {
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
