package record

import (
	"fmt"
	"io"
	"time"
)

const (
	typeKeyUpdate      = 24 // section 4
	updateNotRequested = 0  // section 4.6.3
	updateRequested    = 1
)

const (
	// maxUseless bounds the records in a row that carry no application data: empty ones, which are allowed as cover traffic
	// (section 5.1), pieces of handshake messages, KeyUpdates and warnings.
	maxUseless = 16
	// maxUpdates bounds the KeyUpdates of a minute. Each costs a few hashes and a new cipher.
	maxUpdates = 32
)

// Receive opens one whole record in place and does what it says. data is the application data in it, a part of record, or nil if
// there is none. now is for the limit on KeyUpdates.
//
// The error is io.EOF after the close_notify of the peer, which ends the incoming direction only (section 6.1); else an *Error
// that ends the connection. An Error that is not Remote is to be sent as an alert (section 6.2).
func (s *State) Receive(record []byte, now time.Time) (data []byte, err error) {
	if len(record) < HeaderSize {
		return nil, fault(alertDecodeError, "a record without a header")
	}
	content, typ, err := s.Open(record[HeaderSize:HeaderSize], record)
	if err != nil {
		return nil, err
	}
	// There MUST NOT be other records between the pieces of a handshake message (section 5.1).
	if s.handLen > 0 && typ != TypeHandshake {
		return nil, fault(alertUnexpectedMessage, "a record within a handshake message")
	}
	if typ == TypeApplicationData && len(content) > 0 {
		s.useless = 0
		return content, nil
	}
	if s.useless++; s.useless > maxUseless {
		return nil, fault(alertUnexpectedMessage, "too many records without data")
	}
	switch typ {
	case TypeAlert:
		return nil, receiveAlert(content)
	case TypeHandshake:
		return nil, s.receiveHandshake(content, now)
	}
	return nil, nil
}

func receiveAlert(content []byte) error {
	// A record of alerts MUST contain exactly one (section 5.1), which is a level and a description (section 6).
	if len(content) != 2 {
		return fault(alertDecodeError, fmt.Sprintf("an alert of %d bytes", len(content)))
	}
	switch alert := Alert(content[1]); alert {
	case alertCloseNotify:
		return io.EOF // what follows MUST be ignored (section 6.1)
	case alertUserCanceled:
		return nil // a close_notify follows (section 6.1)
	default:
		// All others MUST be treated as error alerts whatever the level says, unknown ones too (section 6).
		return &Error{Alert: alert, Remote: true}
	}
}

// receiveHandshake takes a piece of a handshake message. The only one that a client may send unasked is KeyUpdate: we never ask for
// a certificate after the handshake (section 4.6.2), tickets come from servers (section 4.6.1) and there is no second ClientHello (section 4.1.2).
func (s *State) receiveHandshake(piece []byte, now time.Time) error {
	const headLen = 4 // msg_type and a length of 24 bits (section 4)
	n := copy(s.hand[s.handLen:], piece)
	s.handLen += uint8(n)
	piece = piece[n:]
	if s.hand[0] != typeKeyUpdate { // MUST be answered with unexpected_message (section 4)
		return fault(alertUnexpectedMessage, fmt.Sprintf("a handshake message of type %d", s.hand[0]))
	}
	if s.handLen < headLen {
		return nil
	}
	if s.hand[1] != 0 || s.hand[2] != 0 || s.hand[3] != 1 { // decode_error: the length of the message was incorrect (section 6.2)
		return fault(alertDecodeError, "a key update of a wrong length")
	}
	if len(piece) == 0 {
		return nil
	}
	s.handLen = 0
	if len(piece) > 1 { // a key change MUST align with the end of a record (section 5.1)
		return fault(alertUnexpectedMessage, "a record goes on after a key update")
	}
	if piece[0] > updateRequested { // MUST terminate the connection with illegal_parameter (section 4.6.3)
		return fault(alertIllegalParameter, fmt.Sprintf("key update request %d", piece[0]))
	}
	minute := uint32(now.Unix() / 60)
	if s.minute != minute {
		s.minute, s.updates = minute, 0
	}
	if s.updates++; s.updates > maxUpdates {
		return fault(alertUnexpectedMessage, "too many key updates")
	}
	s.update(&s.in) // all that follows is under the next key (section 4.6.3)
	if piece[0] == updateRequested {
		// MUST send one of our own prior to the next application data (section 4.6.3). Not before: a peer that does not read
		// must not hold the reader up, and one answer is enough for all requests until then.
		s.owe(oweUpdate)
	}
	return nil
}
