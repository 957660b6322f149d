package broker

import "muster/ingest/lane"

// maxReceived bounds the QoS 2 packet ids that a client leaves unreleased: a 3.1.1 client knows no receive maximum, and a v5 client may
// leave some on each of several connections.
const maxReceived = 10_000

// receiving says whether a QoS 2 packet id is a repetition of a message that was delivered [MQTT-4.3.3-10], or that the
// client has more open than it may.
func (s *session) receiving(id uint16, limit int) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine, again := s.received[id]
	if again {
		if !mine {
			s.received[id] = true
			s.fresh++
		}
		return true, nil
	}
	if s.fresh >= limit || len(s.received) >= maxReceived {
		return false, s.b.refuse(lane.Violation{Code: 0x93, Reason: "receive maximum exceeded"})
	}
	return false, nil
}

// noteReceived notes the packet id of a QoS 2 message that was delivered; it returns how many are open.
func (s *session) noteReceived(id uint16) (held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return s.fresh
	}
	if s.received == nil {
		s.received = make(map[uint16]bool)
	}
	s.received[id] = true
	s.fresh++
	if s.kept() {
		s.b.journal.put(receivedKey(s.client, id), nil)
	}
	return s.fresh
}

// release forgets a QoS 2 packet id; known is false where it was not there. answer sends the PUBCOMP: after a crash the id must
// not be taken for that of a repetition, so the journal comes first.
func (s *session) release(id uint16, answer func(known bool)) (held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine, known := s.received[id]
	if mine {
		s.fresh--
	}
	delete(s.received, id)
	if s.b.journal.delete(receivedKey(s.client, id)); s.kept() && known {
		s.b.journal.after(func() { answer(true) })
	} else {
		answer(known)
	}
	return s.fresh
}
