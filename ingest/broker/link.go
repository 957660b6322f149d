package broker

import (
	"crypto/x509"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"muster/ingest/lane"
)

// First bytes of acknowledgements.
const (
	puback  = 4 << 4
	pubrec  = 5 << 4
	pubrel  = 6<<4 | 2
	pubcomp = 7 << 4
)

// Reason codes that the broker gives.
const (
	codeNotAuthorized  = 0x87
	codeAdministrative = 0x98
	codeInternal       = 0x83
	codeQuota          = 0x97
	codeNotFound       = 0x92
	codeFilterInvalid  = 0x8f
	codeUnspecified    = 0x80
)

var errNotAuthorized = lane.Violation{Code: codeNotAuthorized, Return: 0x05, Reason: "not authorized"}

var errSmall = lane.Violation{Code: 0x95, Reason: "the client takes only packets that are too small"}

var errSubscribedLarge = lane.Violation{Code: 0x95, Reason: "the answer is larger than the client takes"}

var errAnswer = lane.Violation{Code: 0x82, Reason: "acknowledgement of another kind"}

var errSessionsLog = lane.Violation{Code: codeInternal, Reason: "sessions cannot be written to disk"}

// link is one connection and the session it serves. It implements lane.Handler.
type link struct {
	b      *Broker
	c      *lane.Conn
	cert   *x509.Certificate
	remote netip.AddrPort
	over   func() // is told when a parked connection has ended

	// Set by Connect, before the session knows the link.
	grant       lane.Grant
	id          identity
	session     *session // nil: none was opened
	window      int      // messages in flight to the client
	maxPacket   uint32   // 0: no limit
	wantsExpiry bool     // the client's session expiry was not 0

	ready bool // the CONNACK is queued; guarded by session.mu

	mu   sync.Mutex // guards what follows
	will *will
	gone bool // closed was run
}

// closed ends the link, once: the session goes on without it, the will fires unless the client said goodbye.
func (l *link) closed(reason error) {
	l.mu.Lock()
	again := l.gone
	l.gone = true
	l.mu.Unlock()
	if again || l.session == nil {
		return
	}
	w := l.takeWill()
	if reason == lane.ErrDisconnected { // [MQTT-3.14.4-3]
		w = nil
	}
	l.c.Unmeter()
	l.b.detach(l, w, reason)
}

// Room implements lane.Handler.
func (l *link) Room() {
	s := l.session
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.pump()
	}
}

// Ended implements lane.Handler.
func (l *link) Ended(reason error) {
	defer l.over()
	l.closed(reason)
}

// Packet implements lane.Handler.
func (l *link) Packet(first byte, body []byte) error {
	switch kind := first >> 4; kind {
	case puback >> 4, pubrec >> 4, pubcomp >> 4:
		return l.session.acknowledged(l, kind, packetID(body), reasonCode(body))
	case pubrel >> 4:
		l.released(packetID(body))
	case 8:
		return l.subscribe(body)
	case 10:
		return l.unsubscribe(body)
	case 14:
		return l.disconnect(body)
	}
	return nil
}

func packetID(body []byte) uint16 { return binary.BigEndian.Uint16(body) }

func reasonCode(body []byte) byte {
	if len(body) > 2 {
		return body[2]
	}
	return 0
}

// disconnect handles the client's goodbye (v5 section 3.14). With a reason code other than 0 its will is published.
func (l *link) disconnect(body []byte) error {
	if expiry, ok := lane.ReadDisconnect(body, l.c.Version()); ok {
		if expiry > 0 && !l.wantsExpiry {
			return l.b.refuse(lane.Violation{Code: 0x82, Reason: "session expiry set at disconnect"}) // v5 section 3.14.2.2.2
		}
		l.session.setExpiry(min(expiry, uint32(l.b.limits.SessionExpiry/time.Second)))
	}
	if len(body) > 0 && body[0] != 0 {
		return errGoodbye
	}
	// From here on nothing publishes it, neither a takeover before this connection has ended nor a crash [MQTT-3.14.4-3].
	if l.discardWill() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	return lane.ErrDisconnected
}

// errGoodbye is a DISCONNECT that asks for the will, or tells of an error of the client.
var errGoodbye = lane.Violation{Reason: "disconnected by the client with a reason code"}
