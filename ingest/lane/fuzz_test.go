package lane

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzScreen: whatever passes the screen is decoded by mochi's codec, which trusts its input more than it should, and by
// ours to the same values; nothing panics.
func FuzzScreen(f *testing.F) {
	for _, version := range []byte{4, 5} {
		for b := conversation(version, 30); len(b) > 0; {
			h, _, _ := parseHeader(b)
			f.Add(version == 5, b[0], b[h.sizeHead:h.sizeHead+h.sizeBody])
			b = b[h.sizeHead+h.sizeBody:]
		}
	}
	f.Add(true, byte(0x82), []byte{0, 1, 0, 0, 1, 'a'}) // mochi 501
	f.Add(true, byte(0x10), []byte("\x00\x04MQTT\x05\xee\x00\x3c\x05\x11\x00\x00\x00\x05\x00\x01a\x05\x18\x00\x00\x00\x01\x00\x01w\x00\x01p\x00\x01u\x00\x01s"))
	f.Add(true, byte(0x34), []byte("\x00\x01t\x00\x07\x0a\x02\x00\x00\x00\x09\x26\x00\x01k\x00\x00payload"))
	f.Add(true, byte(0x30), []byte("\x00\x01t\x08\x03\x00\x05text/payload"))
	f.Add(true, byte(0xe0), []byte{4, 5, 17, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, five bool, first byte, body []byte) {
		version := byte(4)
		if five {
			version = 5
		}
		lim := DefaultLimits()
		if first>>4 == typeConnect {
			if info, v := screenConnect(body, &lim); !v.bad() {
				checkConnect(t, &info, body)
			}
			return
		}
		if checkFlags(first, version).bad() {
			return
		}
		if first>>4 == typePublish {
			if p, topic, alias, v := parsePublish(first, version, body, &lim); !v.bad() {
				checkPublish(t, version, first, body, &p, topic, alias)
			}
			return
		}
		if screen(first, version, body, &lim).bad() {
			return
		}
		decodeAnswer(t, version, first, body)
	})
}

func checkConnect(t *testing.T, info *Connect, body []byte) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	if err := pk.ConnectDecode(bytes.Clone(body)); err != nil {
		t.Fatalf("mochi: %v", err)
	}
	c, props := pk.Connect, pk.Properties
	if pk.ProtocolVersion != info.Version || c.ClientIdentifier != info.ClientID || c.Keepalive != info.Keepalive || c.Clean != info.Clean ||
		c.WillFlag != (info.Will != nil) || props.SessionExpiryInterval != info.SessionExpirySec || props.MaximumPacketSize != info.MaxPacketBytes {
		t.Fatalf("ours %+v, mochi %+v", info, pk)
	}
	if w := info.Will; w != nil && (w.Topic != c.WillTopic || !bytes.Equal(w.Payload, c.WillPayload) || w.QoS != c.WillQos || w.Retain != c.WillRetain) {
		t.Fatalf("ours %+v, mochi %+v", w, c)
	}
}

func checkPublish(t *testing.T, version, first byte, body []byte, p *Publish, topic []byte, alias uint16) {
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		t.Fatalf("mochi: %v", err)
	}
	pk.FixedHeader.Remaining = len(body)
	if err := pk.PublishDecode(bytes.Clone(body)); err != nil {
		t.Fatalf("mochi: %v", err)
	}
	if code := pk.PublishValidate(10); code != packets.CodeSuccess {
		t.Fatalf("mochi: %v", code)
	}
	if pk.TopicName != string(topic) || pk.PacketID != p.ID || pk.FixedHeader.Qos != p.QoS || !bytes.Equal(pk.Payload, p.Payload) || pk.Properties.TopicAlias != alias ||
		pk.Properties.ContentType != string(p.ContentType) {
		t.Fatalf("ours %+v %q %d, mochi %+v", p, topic, alias, pk)
	}
	// what is forwarded decodes to the same properties, without the three that are not
	forward, expiry, _ := ForwardProperties(nil, p.Properties)
	var got packets.Properties
	encoded := appendLength(nil, len(forward))
	if _, err := got.Decode(packets.Publish, bytes.NewBuffer(append(encoded, forward...))); err != nil {
		t.Fatalf("forwarded properties %x: %v", forward, err)
	}
	want := pk.Properties
	if max(expiry, 0) != int64(want.MessageExpiryInterval) || got.ContentType != want.ContentType || got.ResponseTopic != want.ResponseTopic ||
		!bytes.Equal(got.CorrelationData, want.CorrelationData) || len(got.User) != len(want.User) || got.TopicAliasFlag || got.MessageExpiryInterval != 0 {
		t.Fatalf("forwarded %+v of %+v", got, want)
	}
}

func appendLength(dst []byte, n int) []byte {
	for ; n >= 128; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

func decodeAnswer(t *testing.T, version, first byte, body []byte) {
	pk := packets.Packet{ProtocolVersion: version}
	err := pk.FixedHeader.Decode(first)
	pk.FixedHeader.Remaining = len(body)
	px := bytes.Clone(body)
	if err == nil {
		switch pk.FixedHeader.Type {
		case packets.Puback:
			err = pk.PubackDecode(px)
		case packets.Pubrec:
			err = pk.PubrecDecode(px)
		case packets.Pubrel:
			err = pk.PubrelDecode(px)
		case packets.Pubcomp:
			err = pk.PubcompDecode(px)
		case packets.Subscribe:
			if err = pk.SubscribeDecode(px); err == nil && pk.SubscribeValidate() != packets.CodeSuccess {
				t.Fatal("mochi does not find the subscribe valid")
			}
		case packets.Unsubscribe:
			if err = pk.UnsubscribeDecode(px); err == nil && pk.UnsubscribeValidate() != packets.CodeSuccess {
				t.Fatal("mochi does not find the unsubscribe valid")
			}
		case packets.Disconnect:
			err = pk.DisconnectDecode(px)
		}
	}
	if err != nil {
		t.Fatalf("mochi refuses %x %x: %v", first, body, err)
	}
}

// FuzzConn feeds arbitrary bytes behind a CONNECT, cut at an arbitrary place: the cut changes nothing.
func FuzzConn(f *testing.F) {
	env := newTestEnv(f)
	for _, version := range []byte{4, 5} {
		b := conversation(version, 30)
		f.Add(version == 5, b[len(connectBytes(version, "lamp-1")):], uint16(5))
	}
	f.Fuzz(func(t *testing.T, five bool, b []byte, cut uint16) {
		version := byte(4)
		if five {
			version = 5
		}
		stream := append(connectBytes(version, "lamp-1"), b...)
		whole, reason := listen(t, env, stream, func(int) int { return 1500 })
		parts, reason2 := listen(t, env, stream, func(left int) int {
			if left == len(stream) {
				return int(cut)
			}
			return 1500
		})
		if len(whole) != len(parts) || reason.Error() != reason2.Error() {
			t.Fatalf("whole %q %v\ncut %q %v", whole, reason, parts, reason2)
		}
	})
}
