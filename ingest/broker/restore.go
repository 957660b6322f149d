package broker

import (
	"encoding/binary"
	"strings"
	"time"
)

// restore makes the sessions and retained messages of the journal. A record that cannot be read is logged and left out.
func (b *Broker) restore() {
	bad := 0
	now := b.clock.Now().Unix()
	type state struct {
		id       uint16
		released bool
	}
	states := make(map[string]state) // by the key of the delivery
	of := func(client string) *session {
		s := b.sessions[client]
		if s == nil {
			s = newSession(b, client)
			b.sessions[client] = s
		}
		return s
	}
	var deliveries, wills []func()
	var lost []openRecord
	b.journal.each(func(key string, value []byte) {
		kind := key[0]
		if kind == keyRetained {
			if m, ok := decodeMessage(value); !ok || m.topic != key[1:] || !b.retained.set(m) {
				bad++
			}
			return
		}
		client, rest, ok := strings.Cut(key[1:], "\x00")
		switch {
		case !ok:
			bad++
		case kind == keyWill:
			wills = append(wills, func() {
				if !b.restoreWill(client, rest, value) {
					bad++
				}
			})
		case kind == keyOpen:
			if o, ok := decodeOpen(client, value); ok {
				lost = append(lost, o)
			} else {
				bad++
			}
		case kind == keySession:
			if !of(client).decode(value) {
				bad++
			}
		case kind == keySubscription:
			if sub, ok := decodeSubscription(rest, value); ok {
				of(client).subs[rest] = sub
			} else {
				bad++
			}
		case kind == keyReceived && len(rest) == 2:
			s := of(client)
			if s.received == nil {
				s.received = make(map[uint16]bool)
			}
			s.received[binary.BigEndian.Uint16([]byte(rest))] = false
		case kind == keyState && len(value) == 3:
			states[client+"\x00"+rest] = state{id: binary.BigEndian.Uint16(value[1:]), released: value[0] == 1}
		case kind == keyQueue && len(rest) == 8:
			d, ok := decodeDelivery(binary.BigEndian.Uint64([]byte(rest)), value)
			if !ok {
				bad++
				return
			}
			deliveries = append(deliveries, func() {
				s := of(client)
				if st, sent := states[client+"\x00"+rest]; sent {
					delete(states, client+"\x00"+rest)
					d.id, d.released = st.id, st.released
					s.flight = append(s.flight, d)
				} else {
					s.pending = append(s.pending, d)
				}
			})
		default:
			bad++
		}
	})
	for _, place := range deliveries {
		place()
	}
	for name := range states { // format 1 could leave one, which would become the state of a later message
		b.journal.delete(string(keyState) + name)
	}
	for client, s := range b.sessions {
		s.restoreOrder()
		if s.expirySec == 0 { // its own record was lost
			s.expirySec = uint32(b.limits.SessionExpiry / time.Second)
		}
		if s.offSince == 0 || s.offSince > now { // connected until the end, or the clock was turned back
			s.offSince = now
		}
		for _, sub := range s.subs {
			b.index.add(client, sub, true)
		}
	}
	for _, place := range wills {
		place()
	}
	b.tellLost(lost)
	if bad > 0 {
		b.log.Error("records of the session log could not be read and were left out", "count", bad)
	}
}
