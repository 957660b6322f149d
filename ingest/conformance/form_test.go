package conformance

import "strings"

// badText are strings that no UTF-8 string may be: cut, too long a form, a surrogate, beyond Unicode.
var badText = []string{"a\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}

// withText are packets with s in each place that takes a text.
func (k *kit) withText(s string) [][]byte {
	c := &client{version: k.version}
	all := [][]byte{
		message{topic: "app/" + s}.bytes(k.version),
		message{topic: "app/" + s, qos: 2, id: 9}.bytes(k.version),
		c.filters(subscribe, 7, nil, 0, "app/"+s),
		c.filters(unsubscribe, 7, nil, -1, "app/"+s),
	}
	if k.v5() {
		all = append(all,
			message{topic: "app", props: text([]byte{3}, s)}.bytes(5),
			message{topic: "app", props: text([]byte{8}, s)}.bytes(5),
			message{topic: "app", props: pair(s, "v")}.bytes(5),
			message{topic: "app", props: pair("n", s)}.bytes(5),
			c.filters(subscribe, 7, pair(s, "v"), 0, "app"),
			c.filters(unsubscribe, 7, pair("n", s), -1, "app"),
			packet(disconnect, properties([]byte{0}, text([]byte{31}, s))))
	}
	return all
}

// helloText are CONNECTs with s in each place that takes a text.
func (k *kit) helloText(s string) []hello {
	ok := newHello(k.version, k.name("text"))
	id, user := ok, ok
	id.id = s
	user.user = &s
	all := []hello{id, user, ok.withWill("app/"+s, "x", 0, false)}
	if k.v5() {
		all = append(all, ok.withProps(pair("n", s)...), ok.withWill("app", "x", 0, false, pair(s, "v")...),
			ok.withWill("app", "x", 0, false, text([]byte{3}, s)...), ok.withWill("app", "x", 0, false, text([]byte{8}, s)...))
	}
	return all
}

var formCases = []testCase{
	{v3: "1.5.3-1", v5: "1.5.4-1", run: func(k *kit) {
		for _, s := range badText {
			for _, p := range k.withText(s) {
				c := k.client("utf")
				c.send(p)
				c.closed(0x81)
			}
			for _, h := range k.helloText(s) {
				k.say(h).refused(0, 0x81)
			}
		}
	}},
	{v3: "1.5.3-2", v5: "1.5.4-2", run: func(k *kit) {
		for _, p := range k.withText("a\x00b") {
			c := k.client("nul")
			c.send(p)
			c.closed(0x81)
		}
		for _, h := range k.helloText("a\x00b") {
			k.say(h).refused(0, 0x81)
		}
	}},
	{v3: "1.5.3-3", v5: "1.5.4-3", run: func(k *kit) { // a byte order mark is a character like others
		c := k.client("bom")
		topic := k.topic(c) + "/\ufefflamp"
		c.subscribe(strings.ReplaceAll(topic, "\ufeff", ""), 0)
		c.publish(message{topic: topic, payload: value(1)})
		c.subscribe(topic, 0)
		c.send(message{topic: topic, payload: value(2)}.bytes(k.version))
		c.got(message{topic: topic, payload: value(2)})
	}},
	{v5: "1.5.5-1", run: func(k *kit) { // what the server sends is checked in every read
		for _, p := range [][]byte{
			{pingreq, 0x80, 0},
			{publish, 0x84, 0, 0, 1, 'a', 0},
			{publish, 5, 0, 1, 'a', 0x80, 0},
			{subscribe, 7, 0, 1, 2, 11, 0x81, 0x80, 0}, // a subscription identifier
			{publish, 0xff, 0xff, 0xff, 0xff, 1},
		} {
			c := k.client("form")
			c.send(p)
			c.closed(0x81)
		}
	}},
	{v5: "1.5.7-1", run: func(k *kit) {
		for _, bad := range badText {
			for _, p := range [][]byte{pair(bad, "v"), pair("n", bad)} {
				c := k.client("pair")
				c.send(message{topic: "app", props: p}.bytes(5))
				c.closed(0x81)
			}
		}
	}},
	{v3: "2.2.2-1 2.2.2-2", v5: "2.1.3-1", run: func(k *kit) {
		c := &client{version: k.version}
		for _, p := range [][]byte{
			with(puback, 1), with(pubrec, 1), with(pubrel, 1), with(pubcomp, 1), {pingreq, 0}, {disconnect, 0},
			c.filters(subscribe, 1, nil, 0, "a"), c.filters(unsubscribe, 1, nil, -1, "a"),
		} {
			for _, wrong := range []byte{1, 2, 4, 8, 15} {
				c := k.client("flags")
				c.send(append([]byte{p[0] ^ wrong}, p[1:]...))
				c.closed(0x81)
			}
		}
		for _, wrong := range []byte{1, 2, 8} {
			p := newHello(k.version, k.name("flags")).bytes()
			p[0] ^= wrong
			c := k.raw()
			c.send(p)
			c.refused(0, 0)
		}
	}},
	{v3: "2.3.1-5", v5: "2.2.1-2 2.2.2-1", run: func(k *kit) { // the bytes that leave have no packet id, and a property length of 0
		c := k.client("id")
		topic := k.topic(c)
		c.subscribe(topic, 0)
		m := message{topic: topic, payload: value(1)}
		c.send(m.bytes(k.version))
		c.expect(m.bytes(k.version))
	}},
	{v3: "2.3.1-1", v5: "2.2.1-3", run: func(k *kit) {
		c := &client{version: k.version}
		for _, p := range [][]byte{
			c.filters(subscribe, 0, nil, 0, "a"), c.filters(unsubscribe, 0, nil, -1, "a"),
			message{topic: "a", qos: 1}.bytes(k.version), message{topic: "a", qos: 2}.bytes(k.version),
		} {
			c := k.client("zero")
			c.send(p)
			c.closed(0x81, 0x82)
		}
	}},
	{v3: "2.3.1-4", v5: "2.2.1-4 4.3.2-1 4.3.3-1", run: func(k *kit) { // a new id for each message in flight; free again once acknowledged
		pub, sub := k.client("pub"), k.client("sub")
		topic := k.topic(pub)
		sub.subscribe(topic, 2)
		var open []message
		used := map[uint16]bool{}
		for i := range 60 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
			m := sub.message()
			if m.id == 0 || used[m.id] {
				k.Fatalf("message %d has the packet id %d, which is in use", i, m.id)
			}
			used[m.id] = true
			open = append(open, m)
			if i%3 == 0 { // not the oldest
				done := open[len(open)/2]
				sub.finish(done)
				sub.quiet()
				delete(used, done.id)
				open = append(open[:len(open)/2], open[len(open)/2+1:]...)
			}
		}
	}},
	{v3: "2.3.1-6", v5: "2.2.1-5", run: func(k *kit) {
		c := k.client("ack")
		topic := k.topic(c)
		for _, id := range []uint16{1, 0x0100, 0x1234, 0xffff} {
			c.send(message{topic: topic, payload: value(1), qos: 1, id: id}.bytes(k.version))
			c.expect(with(puback, id))
			c.send(message{topic: topic, payload: value(2), qos: 2, id: id}.bytes(k.version))
			c.expect(with(pubrec, id))
			c.send(with(pubrel, id))
			c.expect(with(pubcomp, id))
		}
	}},
	{v3: "2.3.1-7", v5: "2.2.1-6", run: func(k *kit) {
		c := k.client("ack")
		for _, id := range []uint16{1, 0x0100, 0x1234, 0xffff} {
			c.send(c.filters(subscribe, id, nil, 1, "app/ids"))
			c.expect(c.subscribed(suback, id, 1))
			c.nextID = id - 1
			c.unsubscribe("app/ids")
		}
	}},
	{v5: "2.2.2-1", run: func(k *kit) { // the property length may be left out of no packet that ends otherwise than with it
		for _, p := range [][]byte{
			{subscribe, 2, 0, 1}, {unsubscribe, 2, 0, 1}, {publish, 3, 0, 1, 'a'},
			{publish, 5, 0, 1, 'a', 9, 'x'}, // longer than the packet
		} {
			c := k.client("props")
			c.send(p)
			c.closed(0x81)
		}
		c := k.client("props") // those that may
		c.send([]byte{disconnect, 0})
		c.closed()
	}},
}
