package record

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// farewellTime is how long the writing of a last alert may take.
const farewellTime = time.Second

// Conn is a TLS connection after its handshake. Safe for concurrent use, as a net.Conn is: one Read at a time, one Write at a time.
//
// Read returns io.EOF after the peer's close_notify; Write goes on to work then. A connection that ends without it, which
// anyone on the way could bring about, is an io.ErrUnexpectedEOF (section 6.1).
type Conn struct {
	raw    net.Conn
	layer  *Layer
	state  *State // of parked
	parked *Parked
	resume bool // the handshake resumed a session
	closed atomic.Bool

	rmu      sync.Mutex // guards what follows, and state but for Seal and CloseOut; taken before wmu
	head     [HeaderSize]byte
	headLen  uint8
	buf      []byte // borrowed from layer while a record is being read or its data waits; else nil
	from, to int    // what was read and not opened is buf[from:to]
	data     []byte // a part of buf, not yet read by the caller
	readErr  error  // of all further reads

	wmu      sync.Mutex // guards Seal and CloseOut of state, and writeErr
	writeErr error      // of all further writes
}

func makeConn(l *Layer, raw net.Conn) *Conn {
	p := &Parked{layer: l}
	return &Conn{raw: raw, layer: l, state: &p.state, parked: p}
}

// NetConn returns the connection below. Closing it ends the TLS connection without a word; Close must still be called.
func (c *Conn) NetConn() net.Conn { return c.raw }

// LocalAddr returns the address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline sets the deadlines of the connection below. A Read that has timed out may be repeated, a Write not: a part of a
// record may be out.
func (c *Conn) SetDeadline(t time.Time) error { return c.raw.SetDeadline(t) }

// SetReadDeadline is a part of SetDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline is a part of SetDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// ConnectionState returns what is still known of the handshake: version, cipher suite and whether a session was resumed. The
// certificate of the peer is not kept; Layer.Handshake returned it.
func (c *Conn) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, DidResume: c.resume, CipherSuite: c.state.suite.id()}
}

// Read reads application data.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rmu.Lock()
	defer c.rmu.Unlock()
	for len(c.data) == 0 {
		if c.readErr != nil {
			return 0, c.readErr
		}
		record, err := c.nextRecord()
		if err == nil {
			c.data, err = c.state.Receive(record, c.layer.now())
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err // what has come of the record is kept
		}
		if err != nil {
			c.endRead(err)
		} else if len(c.data) == 0 {
			c.release()
		}
	}
	n := copy(b, c.data)
	if c.data = c.data[n:]; len(c.data) == 0 {
		c.release()
	}
	return n, nil
}

// nextRecord reads until buf holds one whole record and takes it from there. Without a whole header there is no buffer.
func (c *Conn) nextRecord() ([]byte, error) {
	for c.buf == nil {
		if c.headLen == HeaderSize {
			size, err := Size(c.head[:])
			if err != nil {
				return nil, err
			}
			c.buf = c.layer.acquireBuffer(size)
			c.from, c.to = 0, copy(c.buf, c.head[:])
			c.headLen = 0
			break
		}
		n, err := c.readRaw(c.head[c.headLen:])
		c.headLen += uint8(n)
		if err != nil && c.headLen < HeaderSize {
			return nil, err
		}
	}
	size, err := Size(c.buf[c.from:])
	if err != nil {
		return nil, err
	}
	if c.from+size > len(c.buf) {
		c.makeRoom(size)
	}
	for c.to-c.from < size {
		n, err := c.readRaw(c.buf[c.to:])
		c.to += n
		if err != nil && c.to-c.from < size {
			return nil, err
		}
	}
	record := c.buf[c.from : c.from+size]
	c.from += size
	return record, nil
}

// readRaw reads from the connection below, whose end is not the end of the data without a close_notify (section 6.1).
func (c *Conn) readRaw(b []byte) (int, error) {
	n, err := c.raw.Read(b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// makeRoom moves what was read to the front of a buffer that is large enough for size bytes.
func (c *Conn) makeRoom(size int) {
	old := c.buf
	if size > len(old) {
		c.buf = c.layer.acquireBuffer(size)
	}
	c.to = copy(c.buf, old[c.from:c.to])
	c.from = 0
	if size > len(old) {
		c.layer.releaseBuffer(old)
	}
}

// release gives the buffer back if it holds no whole header. It is called when no data waits in it.
func (c *Conn) release() {
	if rest := c.to - c.from; rest < HeaderSize {
		c.headLen = uint8(copy(c.head[:], c.buf[c.from:c.to]))
		c.dropBuffer()
	}
}

func (c *Conn) dropBuffer() {
	if c.buf != nil {
		c.layer.releaseBuffer(c.buf)
	}
	c.buf, c.data, c.from, c.to = nil, nil, 0, 0
}

// endRead makes err the end of reading and does what it asks for.
func (c *Conn) endRead(err error) {
	defer c.dropBuffer()
	var failed *Error
	if errors.As(err, &failed) {
		c.layer.countFailure(failed)
		c.fail(failed)
	}
	c.readErr = err
	c.state.CloseIn()
}

// fail ends the outgoing direction too: both parties MUST immediately close the connection upon transmission or receipt of a
// fatal alert (section 6.2), and forget the keys of it (section 6). The socket is left to Close.
func (c *Conn) fail(err *Error) {
	_ = c.raw.SetWriteDeadline(time.Now().Add(farewellTime)) // also ends a Write that is stuck; an error here is one of the write too
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.writeErr == nil {
		if !err.Remote {
			c.sendAlert(levelFatal, err.Alert)
		}
		c.writeErr = err
	}
	c.state.CloseOut()
}

// sendAlert sends the last record. wmu is held.
func (c *Conn) sendAlert(level byte, alert Alert) {
	var room [HeaderSize + 2 + 1 + tagSize]byte
	_, _ = c.raw.Write(c.state.Seal(room[:0], TypeAlert, []byte{level, byte(alert)})) // nobody is there to be told
}

// Write writes b as records. After an error, a timeout too, nothing more can be written.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	if len(b) == 0 {
		return 0, nil
	}
	buf := c.layer.acquireBuffer(min(len(b), MaxPlain) + maxSealed)
	defer c.layer.releaseBuffer(buf)
	for n < len(b) {
		chunk := b[n:min(n+MaxPlain, len(b))]
		if _, err := c.raw.Write(c.state.Seal(buf[:0], TypeApplicationData, chunk)); err != nil {
			c.writeErr = err // the peer may have a part of the record
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// maxSealed is what Seal adds to a chunk: a record's header, type and tag, and a KeyUpdate.
const maxSealed = HeaderSize + 1 + tagSize + HeaderSize + 5 + 1 + tagSize

// Close sends a close_notify, as each party MUST before it closes its side (section 6.1), closes the connection below and wipes the
// keys. It waits a second at most for a peer that does not read.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(farewellTime)) // as in fail
	c.wmu.Lock()
	if c.writeErr == nil {
		c.sendAlert(levelWarning, alertCloseNotify)
		c.writeErr = net.ErrClosed
	}
	c.state.CloseOut()
	c.wmu.Unlock()
	err := c.raw.Close() // ends a Read that waits
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.readErr = net.ErrClosed
	c.state.CloseIn()
	c.dropBuffer()
	return err
}
