package lane

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Packet types of MQTT (v5 section 2.1.2).
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
	typeAuth        = 15
)

// Limits are the caps on what a client may send. The zero value is of no use; see DefaultLimits.
type Limits struct {
	PacketBytes      int // a whole packet
	FirstPacketBytes int // the CONNECT
	PropertyBytes    int // the properties of one packet, and of a will
	TopicLevels      int // levels of a topic or filter beyond dt/<thing> or $aws/things/<thing>
	Filters          int // filters of one SUBSCRIBE that are looked at; those beyond are refused
	TopicAliases     int // highest topic alias
	InFlight         int // unacknowledged QoS 1 and 2 messages of one client (receive maximum)
}

// DefaultLimits allow 128 KiB a packet, 8 KiB before a client is known, and what a device's own topics need.
func DefaultLimits() Limits {
	return Limits{PacketBytes: 128 << 10, FirstPacketBytes: 8 << 10, PropertyBytes: 4 << 10, TopicLevels: 8, Filters: 8, TopicAliases: 10, InFlight: 100}
}

// Violation is why a packet is refused and its connection ends. The zero Violation is no violation.
type Violation struct {
	Code   byte   // MQTT 5 reason code for CONNACK or DISCONNECT
	Return byte   // MQTT 3.1.1 return code for CONNACK; 0: the connection is closed without one
	Reason string // a few fixed words: the label of the counter and the end of the log line
}

// Error makes a Violation an error, so that it can travel as the reason why a connection ended.
func (v Violation) Error() string { return v.Reason }

func (v Violation) bad() bool { return v.Reason != "" }

const (
	codeMalformed      = 0x81
	codeProtocolError  = 0x82
	codeVersion        = 0x84
	codeClientID       = 0x85
	codeNotAuthorized  = 0x87
	codeUnavailable    = 0x88
	codeShuttingDown   = 0x8b
	codeAuthMethod     = 0x8c
	codeTakenOver      = 0x8e
	codeFilterInvalid  = 0x8f
	codeTopicInvalid   = 0x90
	codeReceiveMaximum = 0x93
	codeAliasInvalid   = 0x94
	codePacketTooLarge = 0x95
	codeQuotaExceeded  = 0x97
	codeAdministrative = 0x98
)

func malformed(reason string) Violation { return Violation{Code: codeMalformed, Reason: reason} }
func protocolError(reason string) Violation {
	return Violation{Code: codeProtocolError, Reason: reason}
}

// header is the fixed header of a packet.
type header struct {
	first    byte // type and flags
	sizeHead int  // bytes of the fixed header
	sizeBody int  // remaining length
}

// parseHeader reads the fixed header at the start of b. whole is false while bytes of it are missing.
func parseHeader(b []byte) (h header, whole bool, v Violation) {
	if len(b) == 0 {
		return h, false, v
	}
	h.first = b[0]
	// v5 section 1.5.5: at most four bytes, least significant first, and in the fewest bytes that hold the value [MQTT-1.5.5-1].
	length, n, v := parseVarInt(b[1:])
	if v.bad() || n == 0 {
		return h, false, v
	}
	h.sizeHead, h.sizeBody = 1+n, length
	return h, true, v
}

// parseVarInt reads a variable byte integer; n is 0 while bytes of it are missing.
func parseVarInt(b []byte) (value, n int, v Violation) {
	for n < 4 && n < len(b) {
		c := b[n]
		value |= int(c&0x7f) << (7 * n)
		n++
		if c&0x80 == 0 {
			if n > 1 && c == 0 {
				return 0, 0, malformed("length not in its shortest form")
			}
			return value, n, v
		}
	}
	if n == 4 {
		return 0, 0, malformed("length of more than four bytes")
	}
	return 0, 0, v
}

// checkFlags screens the fixed header as soon as it is there, before the body is read (v5 section 2.1.3).
func checkFlags(first, version byte) Violation {
	flags := first & 0x0f
	switch first >> 4 {
	case typePublish:
		if flags&0x06 == 0x06 {
			return malformed("qos 3") // [MQTT-3.3.1-4]
		}
		if flags&0x0e == 0x08 {
			return malformed("dup on qos 0") // [MQTT-3.3.1-2]
		}
		return Violation{}
	case typePubrel, typeSubscribe, typeUnsubscribe:
		if flags != 2 {
			return malformed("fixed header flags") // [MQTT-3.8.1-1]
		}
		return Violation{}
	case 0:
		return malformed("packet type 0")
	case typeConnack, typeSuback, typeUnsuback, typePingresp:
		return protocolError("packet of a server")
	case typeAuth:
		// No enhanced authentication was begun: CONNECT with a method is refused [MQTT-4.12.0-1].
		return protocolError("auth packet")
	}
	if flags != 0 {
		return malformed("fixed header flags")
	}
	return Violation{}
}

// screen says whether body is a well-formed packet of a client and within the limits. It takes every type but
// CONNECT (screenConnect) and PUBLISH (parsePublish). It does not allocate.
func screen(first, version byte, body []byte, lim *Limits) Violation {
	r := reader{b: body}
	switch first >> 4 {
	case typePuback, typePubrec, typePubrel, typePubcomp:
		return screenAck(first>>4, version, &r, lim)
	case typeSubscribe, typeUnsubscribe:
		return screenSubscribe(first>>4, version, &r, lim)
	case typePingreq:
		if len(body) != 0 {
			return malformed("pingreq with a body")
		}
		return Violation{}
	case typeDisconnect:
		return screenDisconnect(version, &r, lim)
	}
	return protocolError("unexpected packet")
}

func screenAck(kind, version byte, r *reader, lim *Limits) Violation {
	if r.u16() == 0 {
		return malformed("packet id 0") // [MQTT-2.2.1-3]; also a body of less than two bytes
	}
	if version < 5 {
		return r.end("acknowledgement with surplus bytes")
	}
	if r.left() == 0 {
		return Violation{}
	}
	code := r.u8()
	known := code == 0x00 || code == 0x92
	if kind == typePuback || kind == typePubrec {
		switch code {
		case 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99:
			known = true
		default:
			known = false
		}
	}
	if !known {
		return protocolError("unknown reason code")
	}
	if r.left() == 0 {
		return Violation{}
	}
	if v := screenProperties(r, inAck, lim, nil); v.bad() {
		return v
	}
	return r.end("acknowledgement with surplus bytes")
}

func screenSubscribe(kind, version byte, r *reader, lim *Limits) Violation {
	if r.u16() == 0 {
		return malformed("packet id 0") // [MQTT-2.2.1-3]
	}
	if version == 5 {
		where := inSubscribe
		if kind == typeUnsubscribe {
			where = inUnsubscribe
		}
		if v := screenProperties(r, where, lim, nil); v.bad() {
			return v
		}
	}
	for first := true; r.left() > 0 || first; first = false {
		filter := r.bytes()
		if r.short {
			return malformed("no filter or a cut one") // [MQTT-3.8.3-2] [MQTT-3.10.3-2]
		}
		shared, v := checkFilter(filter)
		if v.bad() {
			return v
		}
		if kind == typeUnsubscribe {
			continue
		}
		options := r.u8()
		if r.short {
			return malformed("filter without its options byte")
		}
		if options&3 == 3 {
			return malformed("qos 3")
		}
		if version < 5 && options&0xfc != 0 || options&0xc0 != 0 || options&0x30 == 0x30 {
			return malformed("subscription options") // [MQTT-3-8.3-4] [MQTT-3.8.3-5]
		}
		if shared && options&0x04 != 0 {
			return protocolError("no-local on a shared subscription") // [MQTT-3.8.3-4]
		}
	}
	return Violation{}
}

func screenDisconnect(version byte, r *reader, lim *Limits) Violation {
	if version < 5 || r.left() == 0 {
		return r.end("disconnect with a body")
	}
	switch r.u8() {
	case 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99:
	default:
		return protocolError("unknown reason code")
	}
	if r.left() == 0 {
		return Violation{}
	}
	if v := screenProperties(r, inDisconnect, lim, nil); v.bad() {
		return v
	}
	return r.end("disconnect with surplus bytes")
}

// reader walks over a packet's body. Once bytes are missing, short stays true and every read gives zero.
type reader struct {
	b     []byte
	i     int
	short bool
}

func (r *reader) left() int { return len(r.b) - r.i }

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.b)-r.i {
		r.short = true
		return nil
	}
	r.i += n
	return r.b[r.i-n : r.i]
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// bytes reads binary data or a string: two bytes of length, then the bytes (v5 section 1.5.4, 1.5.6).
func (r *reader) bytes() []byte { return r.take(int(r.u16())) }

func (r *reader) varInt() (int, Violation) {
	value, n, v := parseVarInt(r.b[r.i:])
	if v.bad() {
		return 0, v
	}
	if n == 0 {
		r.short = true
	}
	r.i += n
	return value, v
}

// end is the violation of a body that is too short or goes on.
func (r *reader) end(reason string) Violation {
	if r.short || r.left() != 0 {
		return malformed(reason)
	}
	return Violation{}
}

// validText says whether s is UTF-8 without U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func validText(s []byte) bool { return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0 }

// checkTopic screens the form of a topic name: valid text, not empty, no wildcard.
func checkTopic(topic []byte) Violation {
	if !validText(topic) {
		return malformed("text not utf-8")
	}
	if len(topic) == 0 {
		return protocolError("topic empty") // [MQTT-4.7.3-1]; v5 section 3.3.2.1 names the code
	}
	if bytes.IndexByte(topic, '+') >= 0 || bytes.IndexByte(topic, '#') >= 0 {
		return Violation{Code: codeTopicInvalid, Reason: "topic with a wildcard"} // [MQTT-3.3.2-2]
	}
	return Violation{}
}

// errTooDeep is the reason of a topic name that is well-formed and not accepted (v5 section 3.4.2.1).
var errTooDeep = Violation{Code: codeTopicInvalid, Reason: "topic with too many levels"}

// checkFilter screens the form of a topic filter (v5 sections 4.7 and 4.8.2) and says whether it is a shared one.
func checkFilter(filter []byte) (shared bool, v Violation) {
	if !validText(filter) {
		return false, malformed("text not utf-8")
	}
	bad := Violation{Code: codeFilterInvalid, Reason: "filter syntax"}
	if rest, ok := bytes.CutPrefix(filter, sharePrefix); ok {
		group, after, found := bytes.Cut(rest, slash)
		if !found || len(group) == 0 || bytes.ContainsAny(group, "+#") { // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
			return true, bad
		}
		filter, shared = after, true
	}
	if len(filter) == 0 {
		return shared, bad // [MQTT-4.7.3-1]
	}
	for rest := filter; ; {
		level, after, found := bytes.Cut(rest, slash)
		if len(level) > 1 && bytes.ContainsAny(level, "+#") || len(level) == 1 && level[0] == '#' && found {
			return shared, bad // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
		}
		if !found {
			return shared, v
		}
		rest = after
	}
}

var (
	slash       = []byte("/")
	sharePrefix = []byte("$share/")
	awsPrefix   = []byte("$aws/")
	dtPrefix    = []byte("dt/")
)

// TooDeep says whether a topic, or a filter without $share and group, has more levels than a topic may have.
func (l *Limits) TooDeep(filter string) bool { return l.tooDeep([]byte(filter)) }

func (l *Limits) tooDeep(topic []byte) bool {
	return bytes.Count(topic, slash)+1 > l.TopicLevels+prefixLevels(topic)
}

// prefixLevels is how many levels of a topic belong to its prefix and are not counted: dt/<thing>, $aws/things/<thing>.
func prefixLevels(topic []byte) int {
	switch {
	case bytes.HasPrefix(topic, dtPrefix):
		return 2
	case bytes.HasPrefix(topic, awsPrefix):
		return 3
	}
	return 0
}
