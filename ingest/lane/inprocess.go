package lane

import "encoding/binary"

// Properties are the MQTT 5 properties of a message that is made or read inside the gateway (v5 section 3.3.2.3). Zero fields
// are absent. Topic alias and subscription identifiers belong to one connection and are not here.
type Properties struct {
	Text            bool // payload format indicator: the payload is UTF-8
	ExpirySec       uint32
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            [][2]string // name and value, in order
}

const (
	propPayloadFormat   = 1
	propResponseTopic   = 8
	propCorrelationData = 9
	maxText             = 65535 // bytes of a text or binary property (v5 section 1.5.4)
)

// AppendProperties encodes p but for the message expiry, as they go on to subscribers. ok is false where a text is longer than
// MQTT can say; CheckPublish does the rest.
func AppendProperties(dst []byte, p *Properties) (out []byte, ok bool) {
	ok = true
	text := func(s string) {
		ok = ok && len(s) <= maxText
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
		dst = append(dst, s...)
	}
	if p.Text {
		dst = append(dst, propPayloadFormat, 1)
	}
	if p.ContentType != "" {
		dst = append(dst, propContentType)
		text(p.ContentType)
	}
	if p.ResponseTopic != "" {
		dst = append(dst, propResponseTopic)
		text(p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		dst = append(dst, propCorrelationData)
		text(string(p.CorrelationData))
	}
	for _, pair := range p.User {
		dst = append(dst, propUser)
		text(pair[0])
		text(pair[1])
	}
	return dst, ok
}

// ParseProperties reads screened PUBLISH properties. What it returns shares nothing with raw.
func ParseProperties(raw []byte) (p Properties) {
	r := reader{b: raw}
	for r.left() > 0 && !r.short {
		switch id, _ := r.varInt(); id {
		case propPayloadFormat:
			p.Text = r.u8() == 1
		case propMessageExpiry:
			p.ExpirySec = r.u32()
		case propContentType:
			p.ContentType = string(r.bytes())
		case propResponseTopic:
			p.ResponseTopic = string(r.bytes())
		case propCorrelationData:
			p.CorrelationData = append([]byte{}, r.bytes()...)
		case propUser:
			name := string(r.bytes())
			p.User = append(p.User, [2]string{name, string(r.bytes())})
		default:
			skipProperty(&r, id)
		}
	}
	return p
}

// CheckPublish says whether a client could have sent the message: its topic, its encoded properties and its size. The error
// is a Violation.
func (lim *Limits) CheckPublish(topic string, properties []byte, payloadBytes int) error {
	if len(topic) > maxText {
		return Violation{Code: codeTopicInvalid, Reason: "topic too long"}
	}
	if v := checkTopic([]byte(topic)); v.bad() {
		return v
	}
	if lim.TooDeep(topic) {
		return errTooDeep
	}
	if len(properties)+payloadBytes+len(topic) > lim.PacketBytes {
		return Violation{Code: codePacketTooLarge, Reason: "packet too large"}
	}
	if len(properties) > lim.PropertyBytes {
		return Violation{Code: codePacketTooLarge, Reason: "properties too large"}
	}
	framed := appendVarInt(make([]byte, 0, 4+len(properties)), len(properties))
	r := reader{b: append(framed, properties...)}
	if v := screenProperties(&r, inPublish, lim, nil); v.bad() {
		return v
	}
	return nil
}

// appendVarInt appends a variable byte integer (v5 section 1.5.5).
func appendVarInt(dst []byte, v int) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// IsServerFault says of a Violation with the code quota exceeded that not the client has exceeded one.
func IsServerFault(v Violation) bool { return v == errDiskFull || v == errFiles }

// StoreFor stores telemetry of a thing that did not come over a connection of its own, and returns when it is on disk. p.Topic is
// one of the thing's telemetry topics. A refused message has a reason; an error says that the store takes no rows.
func (e *Env) StoreFor(grant Grant, p *Publish) (reason string, err error) {
	c := New(e, nil)
	c.grant, c.version = grant, 5
	c.arrivalMs = e.Clock.Now().UnixMilli()
	e.MessagesLane.Inc()
	_, reason, err = c.StoreTelemetry(p)
	return reason, err
}
