package lane

import "bytes"

// place is a set of the places where a property may stand, one bit each (v5 section 2.2.2.2, table 2-4).
type place uint16

const (
	inConnect place = 1 << iota
	inWill
	inPublish
	inAck
	inSubscribe
	inUnsubscribe
	inDisconnect
)

// Property ids that the lane reads; the others are only checked.
const (
	propMessageExpiry      = 2
	propContentType        = 3
	propSubscriptionID     = 11
	propSessionExpiry      = 17
	propAuthMethod         = 21
	propAuthData           = 22
	propRequestProblemInfo = 23
	propReasonString       = 31
	propReceiveMaximum     = 33
	propTopicAlias         = 35
	propWillDelay          = 24
	propUser               = 38
	propMaximumPacketSize  = 39
)

type propertyKind uint8

const (
	kindNone propertyKind = iota
	kindByte              // 0 or 1: every byte property that a client may send is a flag
	kindU16
	kindU32
	kindVarInt
	kindText
	kindTopic // a text without wildcards
	kindBinary
	kindPair
)

// propertyOf gives the type of property id and where a client may use it.
func propertyOf(id int) (propertyKind, place) {
	switch id {
	case 1: // payload format indicator
		return kindByte, inPublish | inWill
	case propMessageExpiry:
		return kindU32, inPublish | inWill
	case propContentType:
		return kindText, inPublish | inWill
	case 8: // response topic [MQTT-3.3.2-14]
		return kindTopic, inPublish | inWill
	case 9: // correlation data
		return kindBinary, inPublish | inWill
	case propSubscriptionID:
		return kindVarInt, inSubscribe
	case propSessionExpiry:
		return kindU32, inConnect | inDisconnect
	case propAuthMethod:
		return kindText, inConnect
	case propAuthData:
		return kindBinary, inConnect
	case propRequestProblemInfo:
		return kindByte, inConnect
	case propWillDelay:
		return kindU32, inWill
	case 25: // request response information
		return kindByte, inConnect
	case propReasonString:
		return kindText, inAck | inDisconnect
	case propReceiveMaximum:
		return kindU16, inConnect
	case 34: // topic alias maximum
		return kindU16, inConnect
	case propTopicAlias:
		return kindU16, inPublish
	case propUser:
		return kindPair, inConnect | inWill | inPublish | inAck | inSubscribe | inUnsubscribe | inDisconnect
	case propMaximumPacketSize:
		return kindU32, inConnect
	}
	return kindNone, 0
}

var contentEncoding = []byte("content-encoding")

// properties is what the lane must know of a packet's properties.
type properties struct {
	raw         []byte // all of them, without their length
	contentType []byte
	encoding    []byte // the user property content-encoding
	alias       uint16 // 0: none
	authMethod  bool
}

// screenProperties walks over the properties at r: known ids, in their place, of the right type, none twice but the
// user property, within the limit (v5 section 2.2.2). found may be nil.
func screenProperties(r *reader, where place, lim *Limits, found *properties) Violation {
	size, v := r.varInt()
	if v.bad() {
		return v
	}
	if size > lim.PropertyBytes {
		return Violation{Code: codePacketTooLarge, Reason: "properties too large"}
	}
	raw := r.take(size)
	if r.short {
		return malformed("properties cut")
	}
	p := reader{b: raw}
	var seen uint64 // bit per id; the highest is 42
	var got properties
	got.raw = raw
	for p.left() > 0 {
		id, v := p.varInt()
		if v.bad() {
			return v
		}
		kind, places := propertyOf(id)
		if kind == kindNone {
			return malformed("unknown property")
		}
		if places&where == 0 {
			if id == propSubscriptionID && where == inPublish {
				return protocolError("property of a server") // [MQTT-3.3.4-6]
			}
			return malformed("property out of place") // v5 section 2.2.2.2
		}
		if id != propUser {
			if seen&(1<<id) != 0 {
				return protocolError("property twice")
			}
			seen |= 1 << id
		}
		if v := screenProperty(&p, id, kind, lim, &got); v.bad() {
			return v
		}
		if p.short {
			return malformed("property cut")
		}
	}
	if seen&(1<<propAuthData) != 0 && !got.authMethod {
		return protocolError("authentication data without a method") // v5 section 3.1.2.11.10
	}
	if found != nil {
		*found = got
	}
	return Violation{}
}

func screenProperty(p *reader, id int, kind propertyKind, lim *Limits, got *properties) Violation {
	switch kind {
	case kindByte:
		if p.u8() > 1 {
			return protocolError("property out of range")
		}
	case kindU16:
		value := p.u16()
		if id == propTopicAlias {
			if (value == 0 || int(value) > lim.TopicAliases) && !p.short {
				return Violation{Code: codeAliasInvalid, Reason: "topic alias out of range"} // [MQTT-3.3.2-8] [MQTT-3.2.2-17]
			}
			got.alias = value
		}
		if id == propReceiveMaximum && value == 0 {
			return protocolError("property out of range")
		}
	case kindU32:
		if p.u32() == 0 && id == propMaximumPacketSize {
			return protocolError("property out of range")
		}
	case kindVarInt:
		value, v := p.varInt()
		if v.bad() {
			return v
		}
		if value == 0 && !p.short {
			return protocolError("property out of range") // subscription identifier: 1 to 268,435,455
		}
	case kindText, kindTopic:
		text := p.bytes()
		if !validText(text) {
			return malformed("text not utf-8")
		}
		if kind == kindTopic && !p.short {
			return checkTopic(text) // who answers to it learns of its levels
		}
		got.authMethod = got.authMethod || id == propAuthMethod
		if id == propContentType {
			got.contentType = text
		}
	case kindBinary:
		p.bytes()
	case kindPair:
		name, value := p.bytes(), p.bytes()
		if !validText(name) || !validText(value) {
			return malformed("text not utf-8")
		}
		if len(name) == len(contentEncoding) && bytes.EqualFold(name, contentEncoding) {
			got.encoding = value
		}
	}
	return Violation{}
}
