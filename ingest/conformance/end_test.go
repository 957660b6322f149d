package conformance

import (
	"strings"
	"testing"

	"muster/ingest/broker"
	"muster/tsdb/vfs"
)

// limitCases are of what the server may refuse; it says so, and the connection lives where the standard lets it.
var limitCases = []testCase{
	{v5: "3.2.2-15", run: func(k *kit) { // a client that goes over what CONNACK says is told why
		c := k.client("large")
		most, ok := property(c.props, 39)
		if !ok {
			k.Fatal("no maximum packet size")
		}
		size := int(most[1])<<16 | int(most[2])<<8 | int(most[3])
		c.send(append(varInt([]byte{publish}, size), strings.Repeat("x", 100)...))
		c.closed(0x95)
	}},
	{v5: "3.3.4-7", run: func(k *kit) {
		c := k.client("window")
		most, ok := property(c.props, 33)
		if !ok {
			k.Fatal("no receive maximum")
		}
		var all []byte
		for id := range uint16(most[1]) + 1 {
			all = append(all, message{topic: "app/w", payload: "x", qos: 2, id: id + 1}.bytes(5)...)
		}
		c.send(all)
		for id := range uint16(most[1]) {
			c.expect(with(pubrec, id+1))
		}
		c.closed(0x93)
	}},
	{v3: "3.8.4-5", v5: "3.8.4-7", run: func(k *kit) { // more subscriptions than a session may have
		s := k.setup
		s.config.Sessions = broker.DefaultLimits()
		s.config.Sessions.Subscriptions = 2
		k.server = s.start(k.T, nil, nil)
		c := k.client("many")
		c.subscribe("app/1", 0)
		c.subscribe("app/2", 0)
		c.send(c.filters(subscribe, 9, nil, 0, "app/3"))
		code := byte(0x80)
		if k.v5() {
			code = 0x97
		}
		c.expect(c.subscribed(suback, 9, code))
		c.subscribe("app/2", 1)
	}},
}

var endCases = []testCase{
	{v5: "3.14.0-1", run: func(k *kit) { // a refusal is a CONNACK, never a DISCONNECT
		for _, h := range []hello{newHello(5, k.name("denied")), newHello(5, "a/b"), newHello(5, k.name("x")).withProps(33, 0, 0)} {
			if first, body := k.say(h).read(); first != connack {
				k.Fatalf("got %x %x", first, body)
			}
		}
	}},
	{v3: "3.14.1-1", v5: "3.14.1-1", run: func(k *kit) {
		for _, first := range []byte{0xe1, 0xe2, 0xe8, 0xef} {
			watcher := k.client("watch")
			topic := k.topic(watcher)
			watcher.subscribe(topic, 0)
			c := k.connect(newHello(k.version, k.name("flags")).withWill(topic, value(1), 0, false))
			c.send([]byte{first, 0})
			c.closed(0x81)
			watcher.got(message{topic: topic, payload: value(1)})
		}
	}},
	{v5: "3.14.2-1 3.14.2-2", run: func(k *kit) { // the codes that the server gives are read with wellFormed; here those that there are
		for _, p := range [][]byte{{0xf0, 0}, {0x36, 0}, message{topic: "+"}.bytes(5), {publish, 0xff, 0xff, 0xff, 0x7f}, newHello(5, "x").bytes()} {
			c := k.client("codes")
			c.send(p)
			first, body := c.read()
			if first != disconnect || !strings.ContainsRune("\u0081\u0082\u0090\u0095", rune(body[0])) {
				k.Fatalf("%x: got %x %x", p, first, body)
			}
		}
	}},
	{v5: "3.14.4-1 3.14.4-2", run: func(k *kit) { // after its DISCONNECT the server is silent, and gone
		h := newHello(5, k.name("taken"))
		c := k.connect(h)
		topic := k.topic(c)
		c.subscribe(topic, 1)
		k.connect(h)
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 1})
		c.closed(0x8e)
	}},
	{v3: "3.14.4-1 3.14.4-2", run: func(k *kit) { // what a client sends after its goodbye counts no more
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 0)
		c := k.client("bye")
		c.send([]byte{disconnect, 0}, message{topic: topic, payload: value(1)}.bytes(4))
		if _, _, err := c.tryRead(patience); !ended(err) {
			k.Fatal(err)
		}
		watcher.quiet()
	}},
	{v3: "3.14.4-3", v5: "3.14.4-3", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 1)
		k.connect(newHello(k.version, k.name("bye")).withWill(topic, value(1), 1, true)).leave()
		k.connect(newHello(k.version, k.name("bye")).kept().withWill(topic, value(1), 1, true)).leave()
		if k.v5() {
			c := k.connect(newHello(5, k.name("bye")).kept().withWill(topic, value(1), 1, false, 24, 0, 0, 0, 1))
			c.send(packet(disconnect, []byte{0, 0}))
			c.closed()
		}
		watcher.quiet()
	}},
	{v5: "3.15.1-1 4.12.0-7", run: func(k *kit) { // no AUTH without a method in CONNECT, whatever its flags
		for _, p := range [][]byte{{auth, 0}, {auth | 1, 0}, {auth | 8, 2, 0x18, 0}, packet(auth, properties([]byte{0x19}, text([]byte{21}, "x")))} {
			c := k.client("auth")
			c.send(p)
			c.closed(0x81, 0x82)
		}
	}},
	{v5: "4.12.0-1 4.12.0-4", run: func(k *kit) {
		k.say(newHello(5, k.name("method")).withProps(text([]byte{21}, "SCRAM-SHA-1")...)).refused(0, 0x8c)
		h := newHello(5, k.name("method")).withProps(text([]byte{21}, "x")...)
		k.say(h.withProps(text([]byte{22}, "data")...)).refused(0, 0x8c)
	}},
	{v5: "4.12.0-6", run: func(k *kit) { // a CONNACK with a method would be an ill-formed one to accepted
		c := k.client("plain")
		if _, ok := property(c.props, 21); ok {
			k.Fatal("an authentication method that nobody asked for")
		}
		c.quiet()
	}},
	{v3: "4.8.0-1", run: func(k *kit) {
		c := &client{version: 4}
		for _, p := range [][]byte{
			{0, 0}, {connack, 2, 0, 0}, {suback, 3, 0, 1, 0}, {unsuback, 2, 0, 1}, {pingresp, 0}, {auth, 0}, {pingreq, 1, 0}, {disconnect, 1, 0},
			{puback, 1, 0}, {puback, 3, 0, 1, 0}, c.filters(subscribe, 1, nil, -1, "a"), append(c.filters(subscribe, 1, nil, 0, "a"), 0xff, 0xff, 0xff, 0xff, 0xff),
			{publish, 0xff, 0xff, 0xff, 0xff, 0x7f},
		} {
			c := k.client("violate")
			c.send(p)
			for {
				if _, _, err := c.tryRead(patience); ended(err) {
					break
				} else if err != nil {
					k.Fatalf("%x: %v", p, err)
				}
			}
		}
	}},
	{v3: "4.8.0-1", v5: "4.13.1-1", run: func(k *kit) { // answers that do not fit the message
		for _, wrong := range []struct {
			qos    byte
			answer []byte
		}{{1, with(pubrec, 1)}, {1, with(pubcomp, 1)}, {2, with(puback, 1)}, {2, with(pubcomp, 1)}, {2, append(with(pubrec, 1), with(puback, 1)...)}} {
			c := k.client("answer")
			topic := k.topic(c)
			c.subscribe(topic, 2)
			pub := k.client("pub")
			pub.publish(message{topic: topic, payload: value(1), qos: wrong.qos})
			m := c.message()
			answer := append([]byte(nil), wrong.answer...)
			for i := 0; i < len(answer); i += 4 {
				answer[i+2], answer[i+3] = byte(m.id>>8), byte(m.id)
			}
			c.send(answer)
			if len(answer) > 4 {
				if first, _, err := c.tryRead(patience); err != nil || first != pubrel && first != disconnect {
					k.Fatalf("got %x, %v", first, err)
				} else if first == disconnect {
					continue
				}
			}
			c.closed(0x82)
		}
	}},
	{v5: "4.13.2-1", run: func(k *kit) {
		for _, p := range [][]byte{{connack, 3, 0, 0, 0}, {suback, 4, 0, 1, 0, 0}, {pingresp, 0}, {pingreq, 1, 0}, {puback, 1, 0}, {publish, 0xff, 0xff, 0xff, 0xff, 0x7f}} {
			c := k.client("violate")
			c.send(p)
			c.closed(0x81, 0x82)
		}
	}},
	{v3: "7.0.0-2", run: func(k *kit) { // nothing but the standard is needed: no user, no property, no topic of ours
		c := k.client("plain")
		c.subscribe("any/topic", 1)
		c.send(message{topic: "any/topic", payload: "anything at all \x00\xff", qos: 0}.bytes(4))
		c.got(message{topic: "any/topic", payload: "anything at all \x00\xff"})
	}},
	{v3: "7.1.1-1", v5: "4.2.0-1", run: func(k *kit) { // bytes come in pieces of any size
		c := k.raw()
		m := message{topic: "app/pieces", payload: "x", qos: 1, id: 1}
		all := append(newHello(k.version, k.name("slow")).bytes(), c.filters(subscribe, 1, nil, 0, m.topic)...)
		for _, b := range append(all, m.bytes(k.version)...) {
			c.send([]byte{b})
		}
		c.accepted()
		c.expect(c.subscribed(suback, 1, 0))
		for range 2 {
			c.read()
		}
		c.quiet()
	}},
}

// TestTransientError is [MQTT-4.8.0-2] of 3.1.1: where the disk of the sessions fails, the message is not acknowledged and the connection ends.
func TestTransientError(t *testing.T) {
	for _, version := range []byte{4, 5} {
		files := vfs.NewMem()
		s := setups()[0]
		k := &kit{T: t, server: s.start(t, files, nil), version: version}
		sub := k.keeper("sub")
		sub.subscribe("app/x", 1)
		pub := k.client("pub")
		files.FailFrom(1, vfs.ErrNoRoom)
		pub.send(message{topic: "app/x", payload: "x", qos: 1, id: 1}.bytes(version))
		pub.closed(0x83)
		files.FailFrom(0, nil)
		k.eventually("the disk", func() bool {
			c := k.client("pub")
			c.send(message{topic: "app/x", payload: "x", qos: 1, id: 1}.bytes(version))
			first, _, err := c.tryRead(patience)
			return err == nil && first == puback
		})
	}
}
