package lane

// Publish is a screened PUBLISH of a client. Payload, Properties and ContentType point into the connection's buffer: whoever
// keeps them past the call copies them.
type Publish struct {
	Topic       string // the alias is resolved
	Payload     []byte
	Properties  []byte // v5 properties as they came, without their length; see ForwardProperties
	ContentType []byte // the v5 property of that name, or nil
	Encoding    []byte // the user property content-encoding, or nil
	ID          uint16 // packet id; 0 for QoS 0
	QoS         byte
	Retain      bool
	Dup         bool
}

// parsePublish screens and reads a PUBLISH (v5 section 3.3). topic is empty where an alias stands for it. It may have too many levels.
func parsePublish(first, version byte, body []byte, lim *Limits) (p Publish, topic []byte, alias uint16, v Violation) {
	r := reader{b: body}
	topic = r.bytes()
	if r.short {
		return p, nil, 0, malformed("topic cut")
	}
	p.QoS, p.Retain, p.Dup = first>>1&3, first&1 != 0, first&8 != 0
	if p.QoS > 0 {
		if p.ID = r.u16(); p.ID == 0 {
			return p, nil, 0, malformed("packet id 0") // [MQTT-2.2.1-3]
		}
	}
	if version == 5 {
		var props properties
		if v := screenProperties(&r, inPublish, lim, &props); v.bad() {
			return p, nil, 0, v
		}
		p.Properties, p.ContentType, p.Encoding, alias = props.raw, props.contentType, props.encoding, props.alias
	}
	if len(topic) == 0 && alias != 0 {
		p.Payload = body[r.i:]
		return p, nil, alias, v
	}
	if v := checkTopic(topic); v.bad() {
		return p, nil, 0, v
	}
	p.Payload = body[r.i:]
	return p, topic, alias, v
}

// ForwardProperties appends to dst those of the screened PUBLISH or will properties raw that go on to subscribers: all but
// topic alias, message expiry and will delay, unaltered and in order [MQTT-3.3.2-15] to [MQTT-3.3.2-20].
// expirySec is the message expiry, or -1; delaySec the will delay.
func ForwardProperties(dst, raw []byte) (out []byte, expirySec int64, delaySec uint32) {
	r := reader{b: raw}
	expirySec = -1
	for r.left() > 0 {
		from := r.i
		id, _ := r.varInt()
		switch id {
		case propMessageExpiry:
			expirySec = int64(r.u32())
		case propWillDelay:
			delaySec = r.u32()
		case propTopicAlias:
			r.u16()
		default:
			skipProperty(&r, id)
			dst = append(dst, raw[from:r.i]...)
		}
	}
	return dst, expirySec, delaySec
}
