package lane

// ackRing holds the PUBACKs that a connection owes, in the order of the PUBLISHes [MQTT-4.6.0-2]. It grows by doubling up to
// its bound. The connection's mutex guards it.
type ackRing struct {
	slots []ack // length is 0 or a power of two
	head  uint  // index of the oldest; grows for ever, taken modulo len(slots)
	size  int
}

// ack is one owed PUBACK.
type ack struct {
	first  uint64 // the first and the last row that must be durable before; 0: none
	seq    uint64
	copies uint64 // the number of the copies for subscribers that must be kept before; 0: none
	reason string // v5 reason string
	id     uint16
	code   byte // v5 reason code
}

// ready says whether the ack may leave.
func (a *ack) ready(durable, kept uint64) bool { return a.seq <= durable && a.copies <= kept }

func (q *ackRing) push(a ack) {
	if q.size == len(q.slots) {
		bigger := make([]ack, max(1, 2*len(q.slots)))
		for i := range q.size {
			bigger[i] = *q.at(i)
		}
		q.slots, q.head = bigger, 0
	}
	q.size++
	*q.at(q.size - 1) = a
}

// at returns the i-th oldest ack.
func (q *ackRing) at(i int) *ack { return &q.slots[(q.head+uint(i))&uint(len(q.slots)-1)] }

func (q *ackRing) pop() {
	*q.at(0) = ack{}
	q.head++
	q.size--
}

// appendReady appends the PUBACKs at the head whose rows are durable and returns how many they were.
func (q *ackRing) appendReady(dst []byte, durable, kept uint64, version byte, problemInfo bool) ([]byte, int) {
	n := 0
	for q.size > 0 {
		a := q.at(0)
		if !a.ready(durable, kept) {
			break
		}
		dst = AppendAck(dst, typePuback<<4, a.id, a.code, a.reason, version, problemInfo)
		q.pop()
		n++
	}
	return dst, n
}

// refuse answers what waits for rows in (durable, upTo] with the code instead: they will not be on disk.
func (q *ackRing) refuse(durable, upTo uint64, code byte, reason string) {
	for i := range q.size {
		if a := q.at(i); a.seq > durable && a.first <= upTo {
			a.first, a.seq, a.code, a.reason = 0, 0, code, reason
		}
	}
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP; first is its first byte (v5 section 3.4). The reason code and
// string are left out where the version or the client does not know them.
func AppendAck(dst []byte, first byte, id uint16, code byte, reason string, version byte, problemInfo bool) []byte {
	if version < 5 || code == 0 {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	if reason == "" || !problemInfo {
		return append(dst, first, 3, byte(id>>8), byte(id), code)
	}
	reason = reason[:min(len(reason), maxReason)]
	// id, code, property length, property id, text: every length fits one byte (maxReason).
	dst = append(dst, first, byte(7+len(reason)), byte(id>>8), byte(id), code, byte(3+len(reason)), propReasonString, 0, byte(len(reason)))
	return append(dst, reason...)
}

// appendDisconnect appends a v5 DISCONNECT of the server (v5 section 3.14).
func appendDisconnect(dst []byte, code byte, reason string) []byte {
	reason = reason[:min(len(reason), maxReason)]
	if reason == "" {
		return append(dst, typeDisconnect<<4, 2, code, 0)
	}
	dst = append(dst, typeDisconnect<<4, byte(5+len(reason)), code, byte(3+len(reason)), propReasonString, 0, byte(len(reason)))
	return append(dst, reason...)
}

// appendRefusal appends the CONNACK that refuses a CONNECT, if the version has one for it (v5 section 3.2.2, v3.1.1 table 3.1).
func appendRefusal(dst []byte, version, code, returnCode byte, reason string) []byte {
	reason = reason[:min(len(reason), maxReason)]
	switch code { // a CONNACK has no such code (v5 table 3-1): the end came between CONNECT and its answer
	case codeShuttingDown, codeTakenOver:
		code = codeUnavailable
	case codeAdministrative:
		code = codeNotAuthorized
	}
	switch {
	case version == 5 && reason == "":
		return append(dst, typeConnack<<4, 3, 0, code, 0)
	case version == 5:
		dst = append(dst, typeConnack<<4, byte(6+len(reason)), 0, code, byte(3+len(reason)), propReasonString, 0, byte(len(reason)))
		return append(dst, reason...)
	case version == 4 && returnCode != 0:
		return append(dst, typeConnack<<4, 2, 0, returnCode)
	}
	return dst
}

// maxReason is the longest reason string sent: with it every length stays below 128, one byte.
const maxReason = 100
