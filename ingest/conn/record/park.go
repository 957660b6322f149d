package record

import (
	"errors"
	"net"
)

// Parked is a connection without its socket, which who called Detach reads and writes. It is all that stays of an idle one: 256 bytes, a
// size class of Go's allocator. One goroutine may Receive while another one uses Seal and AppendFarewell.
type Parked struct {
	layer *Layer
	state State
}

// Detach takes c off its socket, which is the caller's from now on. plain is application data that was opened and not read, raw
// is what was read and not opened; both are the caller's. Nobody may be in another method of c, which must not be used any more.
func (c *Conn) Detach() (p *Parked, plain, raw []byte, err error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := errors.Join(c.readErr, c.writeErr); err != nil {
		return c.parked, nil, nil, err
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
	return c.parked, plain, raw, nil
}

// Receive opens one whole record in place; see State.Receive. An error is counted.
func (p *Parked) Receive(record []byte) (data []byte, err error) {
	data, err = p.state.Receive(record, p.layer.now())
	var failed *Error
	if err != nil && errors.As(err, &failed) {
		p.state.owe(oweSilence)
		p.layer.countFailure(failed)
	}
	return data, err
}

// Seal appends plain to dst as records of application data. After a fatal alert, of the peer or to be sent to it, there is none any more: both
// parties MUST immediately close the connection then (section 6.2).
func (p *Parked) Seal(dst, plain []byte) []byte {
	if p.state.owed.Load()&oweSilence != 0 {
		return dst
	}
	return p.state.Seal(dst, TypeApplicationData, plain)
}

// AppendFarewell appends the last record: the alert that err of Receive calls for (section 6.2), else a close_notify (section 6.1).
// There is none for an alert of the peer's.
func (p *Parked) AppendFarewell(dst []byte, err error) []byte {
	level, alert := byte(levelWarning), alertCloseNotify
	if failed := (*Error)(nil); errors.As(err, &failed) {
		if failed.Remote {
			return dst
		}
		level, alert = levelFatal, failed.Alert
	}
	return p.state.Seal(dst, TypeAlert, []byte{level, byte(alert)})
}

// Wipe forgets the keys. Nobody may be in another method of p.
func (p *Parked) Wipe() {
	p.state.CloseIn()
	p.state.CloseOut()
}
