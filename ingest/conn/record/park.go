package record

import (
	"errors"
	"net"
)

// What follows is for connections that are parked: who calls Detach reads and writes the socket themselves, and uses c as the
// state of the connection and nothing else. One goroutine may Receive while another one uses Seal and AppendFarewell.

// Detach takes c off its socket, which is the caller's from now on. plain is application data that was opened and not read, raw
// is what was read and not opened; both are the caller's. Nobody may be in another method of c.
func (c *Conn) Detach() (plain, raw []byte, err error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := errors.Join(c.readErr, c.writeErr); err != nil {
		return nil, nil, err
	}
	plain = append(plain, c.data...)
	raw = append(raw, c.head[:c.headLen]...)
	if c.buf != nil {
		raw = append(raw, c.buf[c.from:c.to]...)
	}
	c.dropBuffer()
	c.headLen = 0
	c.raw = nil
	c.readErr, c.writeErr = net.ErrClosed, net.ErrClosed
	return plain, raw, nil
}

// Receive opens one whole record in place; see State.Receive. An error is counted.
func (c *Conn) Receive(record []byte) (data []byte, err error) {
	data, err = c.state.Receive(record, c.layer.now())
	var failed *Error
	if err != nil && errors.As(err, &failed) {
		c.failed.Store(true)
		c.layer.countFailure(failed)
	}
	return data, err
}

// Seal appends plain to dst as records of application data. After a fatal alert, of the peer or to be sent to it, there is none any more: both
// parties MUST immediately close the connection then (section 6.2).
func (c *Conn) Seal(dst, plain []byte) []byte {
	if c.failed.Load() {
		return dst
	}
	return c.state.Seal(dst, TypeApplicationData, plain)
}

// AppendFarewell appends the last record: the alert that err of Receive calls for (section 6.2), else a close_notify (section 6.1).
// There is none for an alert of the peer's.
func (c *Conn) AppendFarewell(dst []byte, err error) []byte {
	level, alert := byte(levelWarning), alertCloseNotify
	if failed := (*Error)(nil); errors.As(err, &failed) {
		if failed.Remote {
			return dst
		}
		level, alert = levelFatal, failed.Alert
	}
	return c.state.Seal(dst, TypeAlert, []byte{level, byte(alert)})
}

// Wipe forgets the keys. Nobody may be in another method of c.
func (c *Conn) Wipe() {
	c.state.CloseIn()
	c.state.CloseOut()
}
