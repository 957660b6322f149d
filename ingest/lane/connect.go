package lane

import "muster/agent/wire"

// Connect is what the lane reads from a screened CONNECT.
type Connect struct {
	Version          byte     // 4 (MQTT 3.1.1) or 5
	ClientID         string   // may be empty
	Keepalive        uint16   // seconds; 0: none
	Clean            bool     // clean session (3.1.1), clean start (5)
	SessionExpirySec uint32   // v5; 0xffffffff: never
	ReceiveMaximum   uint16   // v5; 65535 where absent
	MaxPacketBytes   uint32   // v5; 0: no limit
	Will             *Publish // nil: none. Its bytes are valid during the call only
	// ProblemInfo is false when the client wants no reason strings but on CONNACK and DISCONNECT [MQTT-3.1.2-29].
	ProblemInfo bool
}

// screenConnect screens the CONNECT in body (v3.1.1 and v5 sections 3.1). Where it is refused, Connect.Version says in which
// version to answer; 0: close without an answer.
func screenConnect(body []byte, lim *Limits) (c Connect, v Violation) {
	r := reader{b: body}
	name := r.bytes()
	level := r.u8()
	if r.short || string(name) != "MQTT" && string(name) != "MQIsdp" {
		return c, protocolError("protocol name") // [MQTT-3.1.2-1]
	}
	if string(name) != "MQTT" || level != 4 && level != 5 {
		// A client of another version reads the short CONNACK of 3.1.1 [MQTT-3.1.2-2].
		c.Version = 4
		return c, Violation{Code: codeVersion, Return: 0x01, Reason: "protocol version"}
	}
	c.Version = level
	c.ProblemInfo, c.ReceiveMaximum = true, 65535
	flags := r.u8()
	c.Clean = flags&0x02 != 0
	c.Keepalive = r.u16()
	if v := checkConnectFlags(flags, level); v.bad() {
		return c, v
	}
	if level == 5 {
		var props properties
		if v := screenProperties(&r, inConnect, lim, &props); v.bad() {
			return c, v
		}
		if props.authMethod {
			return c, Violation{Code: codeAuthMethod, Reason: "enhanced authentication"} // [MQTT-4.12.0-1]
		}
		c.readProperties(props.raw)
	}
	id := r.bytes()
	if r.short || !validText(id) {
		return c, malformed("client id")
	}
	c.ClientID = string(id)
	if flags&0x04 != 0 {
		c.Will = &Publish{QoS: flags >> 3 & 3, Retain: flags&0x20 != 0}
		if v := c.Will.readWill(&r, level, lim); v.bad() {
			return c, v
		}
	}
	if flags&0x80 != 0 && !validText(r.bytes()) { // [MQTT-3.1.3-11]
		return c, malformed("text not utf-8")
	}
	if flags&0x40 != 0 {
		r.bytes()
	}
	if v := r.end("connect cut or with surplus bytes"); v.bad() {
		return c, v
	}
	if len(id) == 0 {
		if level == 4 && flags&0x02 == 0 {
			return c, Violation{Code: codeClientID, Return: 0x02, Reason: "client id empty on a kept session"} // [MQTT-3.1.3-8]
		}
	} else if wire.CheckThingName(c.ClientID) != nil {
		return c, Violation{Code: codeClientID, Return: 0x02, Reason: "client id characters or length"}
	}
	return c, v
}

func checkConnectFlags(flags, level byte) Violation {
	switch {
	case flags&0x01 != 0:
		return malformed("connect flags") // [MQTT-3.1.2-3]
	case flags&0x04 == 0 && flags&0x38 != 0:
		return malformed("will flags without a will") // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
	case flags&0x18 == 0x18:
		return malformed("qos 3")
	case level == 4 && flags&0xc0 == 0x40:
		return malformed("password without a user name") // v3.1.1 [MQTT-3.1.2-22]
	}
	return Violation{}
}

// readWill screens and reads the will of a CONNECT (v5 sections 3.1.3.2 to 3.1.3.4).
func (p *Publish) readWill(r *reader, level byte, lim *Limits) Violation {
	if level == 5 {
		var props properties
		if v := screenProperties(r, inWill, lim, &props); v.bad() {
			return v
		}
		p.Properties = props.raw
	}
	topic := r.bytes()
	if r.short {
		return malformed("will cut")
	}
	if v := checkTopic(topic); v.bad() {
		return v
	}
	if lim.tooDeep(topic) {
		return errTooDeep
	}
	p.Topic = string(topic)
	if p.Payload = r.bytes(); r.short {
		return malformed("will cut")
	}
	return Violation{}
}

// readProperties takes from the screened CONNECT properties raw what the session needs (v5 section 3.1.2.11).
func (c *Connect) readProperties(raw []byte) {
	r := reader{b: raw}
	for r.left() > 0 {
		id, _ := r.varInt()
		switch id {
		case propSessionExpiry:
			c.SessionExpirySec = r.u32()
		case propReceiveMaximum:
			c.ReceiveMaximum = r.u16()
		case propMaximumPacketSize:
			c.MaxPacketBytes = r.u32()
		case propRequestProblemInfo:
			c.ProblemInfo = r.u8() == 1
		default:
			skipProperty(&r, id)
		}
	}
}

// skipProperty moves r over the value of screened property id.
func skipProperty(r *reader, id int) {
	switch kind, _ := propertyOf(id); kind {
	case kindByte:
		r.u8()
	case kindU16:
		r.u16()
	case kindU32:
		r.u32()
	case kindVarInt:
		_, _ = r.varInt()
	case kindPair:
		r.bytes()
		r.bytes()
	default:
		r.bytes()
	}
}
