package conformance

import (
	"fmt"
	"strings"
)

var subscribeCases = []testCase{
	{v3: "3.8.1-1", v5: "3.8.1-1", run: func(k *kit) { k.wrongFlags(subscribe) }},
	{v3: "3.10.1-1", v5: "3.10.1-1", run: func(k *kit) { k.wrongFlags(unsubscribe) }},
	{v3: "3.8.3-1", v5: "3.8.3-1", run: func(k *kit) { k.wrongFilters(subscribe, 0, badText) }},
	{v3: "3.10.3-1", v5: "3.10.3-1", run: func(k *kit) { k.wrongFilters(unsubscribe, -1, badText) }},
	{v3: "3.8.3-3", v5: "3.8.3-2", run: func(k *kit) { k.noFilter(subscribe) }},
	{v3: "3.10.3-2", v5: "3.10.3-2", run: func(k *kit) { k.noFilter(unsubscribe) }},
	{v5: "3.8.3-3", run: func(k *kit) {
		c := k.client("local")
		topic := k.topic(c)
		c.subscribe(topic+"/#", options(1, true, false, 0))
		c.publish(message{topic: topic + "/x", payload: value(1), qos: 1})
		other := k.client("other")
		other.publish(message{topic: topic + "/x", payload: value(2), qos: 1})
		c.got(message{topic: topic + "/x", payload: value(2), qos: 1})
		c.subscribe(topic+"/+", options(0, false, false, 0)) // this one wants its own
		c.send(message{topic: topic + "/x", payload: value(3)}.bytes(5))
		c.got(message{topic: topic + "/x", payload: value(3)})
		c.quiet()
	}},
	{v5: "3.8.3-4", run: func(k *kit) {
		c := k.client("local")
		c.send(c.filters(subscribe, 1, nil, int(options(0, true, false, 0)), "$share/g/app/x"))
		c.closed(0x82)
	}},
	{v3: "3-8.3-4", v5: "3.8.3-5", run: func(k *kit) {
		bad := []int{3, 0x40, 0x80, 0x30}
		if !k.v5() {
			bad = append(bad, 4, 8, 0x10, 0x20)
		}
		for _, o := range bad {
			c := k.client("options")
			c.send(c.filters(subscribe, 1, nil, o, "app/x"))
			c.closed(0x81, 0x82)
		}
	}},
	{v3: "3.8.4-1 3.8.4-2", v5: "3.8.4-1 3.8.4-2", run: func(k *kit) {
		c := k.client("sub")
		for id := range uint16(5) {
			c.send(c.filters(subscribe, 1+1000*id, nil, 0, "app/x"))
			c.expect(c.subscribed(suback, 1+1000*id, 0))
		}
	}},
	{v3: "3.8.4-4 3.8.4-5 3.9.3-1 3.9.3-2", v5: "3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2", run: func(k *kit) {
		c := k.client("sub")
		root := k.topic(c)
		k.client("pub").publish(message{topic: root + "/b", payload: value(1), qos: 2, retain: true})
		body := []byte{0, 1}
		if k.v5() {
			body = append(body, 0)
		}
		body = append(text(body, root+"/a"), 2)
		body = append(text(body, root+"/secret"), 1)
		body = append(text(body, root+"/b"), 1)
		body = append(text(body, root+"/a"), 0) // replaces the first
		refused := byte(0x80)
		if k.v5() {
			refused = 0x87
		}
		c.send(packet(subscribe, body))
		c.expect(c.subscribed(suback, 1, 2, refused, 1, 0))
		c.got(message{topic: root + "/b", payload: value(1), qos: 1, retain: true})
		pub := k.client("pub")
		for _, name := range []string{"/a", "/secret", "/b"} {
			if name == "/secret" {
				continue // nobody may send it, so nobody can miss it
			}
			pub.publish(message{topic: root + name, payload: value(2), qos: 2})
		}
		c.got(message{topic: root + "/a", payload: value(2)})
		c.got(message{topic: root + "/b", payload: value(2), qos: 1})
		c.quiet()
	}},
	{v3: "3.8.4-6", v5: "3.8.4-8", run: func(k *kit) {
		pub := k.client("pub")
		topic := k.topic(pub)
		for granted := range byte(3) {
			c := k.client("sub")
			c.subscribe(topic, granted)
			for sent := range byte(3) {
				pub.publish(message{topic: topic, payload: value(1), qos: sent})
				c.got(message{topic: topic, payload: value(1), qos: min(granted, sent)})
				pub.publish(message{topic: topic + "/kept", payload: value(1), qos: sent, retain: true})
				c.subscribe(topic+"/kept", granted)
				c.got(message{topic: topic + "/kept", payload: value(1), qos: min(granted, sent), retain: true})
				c.unsubscribe(topic + "/kept")
			}
			c.quiet()
		}
	}},
	{v5: "3.9.2-1 3.9.2-2 3.11.2-1 3.11.2-2", run: func(k *kit) { // the shortest that there can be
		c := k.connect(newHello(5, k.name("small")).withProps(39, 0, 0, 0, 24))
		c.send(c.filters(subscribe, 1, nil, 0, "app/secret"))
		c.expect(with(suback, 1, 0, 0x87))
		c.send(c.filters(unsubscribe, 2, nil, -1, "app/secret"))
		c.expect(with(unsuback, 2, 0, 0x11))
	}},
	{v3: "3.10.4-1", v5: "3.10.4-1", run: func(k *kit) { // to the letter, not by what a filter matches
		c := k.client("un")
		root := k.topic(c)
		c.subscribe(root+"/+", 0)
		for _, other := range []string{root + "/#", root + "/x", root, strings.ToUpper(root) + "/+", root + "/+/"} {
			id := c.freshID()
			c.send(c.filters(unsubscribe, id, nil, -1, other))
			if k.v5() {
				c.expect(with(unsuback, id, 0, 0x11))
			} else {
				c.expect(with(unsuback, id))
			}
		}
		c.send(message{topic: root + "/x", payload: value(1)}.bytes(k.version))
		c.got(message{topic: root + "/x", payload: value(1)})
		c.unsubscribe(root + "/+")
		c.publish(message{topic: root + "/x", payload: value(1)})
	}},
	{v3: "3.10.4-2 3.10.4-3", v5: "3.10.4-2 3.10.4-3", run: func(k *kit) {
		c := k.keeper("un")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		pub := k.client("pub")
		pub.publish(message{topic: topic, payload: value(1), qos: 1})
		pub.publish(message{topic: topic, payload: value(2), qos: 2})
		one, two := c.message(), c.message()
		c.unsubscribe(topic)
		pub.publish(message{topic: topic, payload: value(3), qos: 2})
		c.quiet()
		k.drop(c)
		c = k.again(c) // what was begun is completed
		c.got(message{topic: topic, payload: one.payload, qos: 1, dup: true})
		c.got(message{topic: topic, payload: two.payload, qos: 2, dup: true})
		c.quiet()
	}},
	{v3: "3.10.4-4 3.10.4-5", v5: "3.10.4-4 3.10.4-5", run: func(k *kit) {
		c := k.client("un")
		for _, id := range []uint16{1, 500, 0xffff} {
			c.send(c.filters(unsubscribe, id, nil, -1, "app/never"))
			if k.v5() {
				c.expect(with(unsuback, id, 0, 0x11))
			} else {
				c.expect(with(unsuback, id))
			}
		}
	}},
	{v3: "3.10.4-6", v5: "3.10.4-6 3.11.3-1 3.11.3-2", run: func(k *kit) {
		c := k.client("un")
		root := k.topic(c)
		c.subscribe(root+"/a", 0)
		c.subscribe(root+"/b", 0)
		c.send(c.filters(unsubscribe, 9, nil, -1, root+"/b", root+"/never", root+"/a"))
		if k.v5() {
			c.expect(with(unsuback, 9, 0, 0, 0x11, 0))
		} else {
			c.expect(with(unsuback, 9))
		}
		c.publish(message{topic: root + "/a", payload: value(1)})
		c.publish(message{topic: root + "/b", payload: value(1)})
	}},
	{v3: "3.12.4-1", v5: "3.12.4-1", run: func(k *kit) {
		c := k.client("ping")
		c.send([]byte{pingreq, 0, pingreq, 0, pingreq, 0})
		c.expect([]byte{pingresp, 0}, []byte{pingresp, 0}, []byte{pingresp, 0})
	}},
}

func (k *kit) wrongFlags(kind byte) {
	for flags := range byte(16) {
		if flags == 2 {
			continue
		}
		c := k.client("flags")
		o := 0
		if kind == unsubscribe {
			o = -1
		}
		c.send(c.filters(kind&0xf0|flags, 1, nil, o, "app/x"))
		c.closed(0x81)
	}
}

func (k *kit) wrongFilters(kind byte, options int, filters []string) {
	for _, f := range filters {
		c := k.client("filter")
		c.send(c.filters(kind, 1, nil, options, "app/"+f))
		c.closed(0x81)
	}
}

func (k *kit) noFilter(kind byte) {
	c := k.client("none")
	c.send(c.filters(kind, 1, nil, 0))
	c.closed(0x81, 0x82)
}

var filterCases = []testCase{
	{v3: "4.7.1-2 4.7.1-3", v5: "4.7.1-1 4.7.1-2", run: func(k *kit) {
		for _, f := range []string{"app#", "app/#/x", "#/x", "app/x#", "##", "app+", "app/+x", "app/x+/y", "++"} {
			c := k.client("filter")
			c.send(c.filters(subscribe, 1, nil, 0, f))
			if k.v5() { // refused one by one, or with the connection
				first, body := c.read()
				if first == suback && body[3] == 0x8f || first == disconnect && body[0] >= 0x81 {
					continue
				}
				k.Fatalf("%s: got %x %x", f, first, body)
			}
			c.closed()
		}
		c := k.client("filter")
		root := k.topic(c)
		topics := []string{"", "/", "/a", "/a/", "/a/b", "/a/b/c", "//", "//b"}
		for filter, want := range map[string][]string{
			"/#": {"", "/", "/a", "/a/", "/a/b", "/a/b/c", "//", "//b"}, "/+": {"/", "/a"}, "/+/+": {"/a/", "/a/b", "//", "//b"},
			"/+/b": {"/a/b", "//b"}, "/a/#": {"/a", "/a/", "/a/b", "/a/b/c"}, "/+/#": {"/", "/a", "/a/", "/a/b", "/a/b/c", "//", "//b"}, "": {""},
			"/+/": {"/a/", "//"}, "/a/+/c": {"/a/b/c"}, "/+/+/#": {"/a/", "/a/b", "/a/b/c", "//", "//b"},
		} {
			c.subscribe(root+filter, 0)
			for _, topic := range topics {
				c.send(message{topic: root + topic, payload: value(1)}.bytes(k.version))
			}
			for _, topic := range want {
				c.got(message{topic: root + topic, payload: value(1)})
			}
			c.quiet()
			c.unsubscribe(root + filter)
		}
	}},
	{v3: "4.7.2-1", v5: "4.7.2-1", alone: true, run: func(k *kit) {
		c := k.client("dollar")
		c.subscribe("#", 0)
		c.subscribe("+/things/#", 0)
		c.subscribe("+/#", 0)
		if k.v5() {
			c.subscribe("$share/g/#", 0)
		}
		topic := "$aws/things/" + c.name + "/x"
		c.send(message{topic: topic, payload: value(1), retain: true}.bytes(k.version))
		for seen := false; !seen; { // others' topics are seen
			c.send([]byte{pingreq, 0})
			first, body := c.read()
			if seen = first == pingresp; first&0xf0 == publish && body[2] == '$' {
				k.Fatalf("%s was matched", topic)
			}
		}
		d := k.client("dollar")
		for _, filter := range []string{"#", "+/things/#", "+/+/" + c.name + "/x"} { // retained ones neither
			d.subscribe(filter, 0)
			d.quiet()
			d.unsubscribe(filter)
		}
		d.subscribe("$aws/things/"+c.name+"/#", 0)
		d.got(message{topic: topic, payload: value(1), retain: true})
		c.send(message{topic: topic, retain: true}.bytes(k.version))
		d.got(message{topic: topic})
	}},
	{v3: "4.7.3-1", v5: "4.7.3-1", run: func(k *kit) {
		c := k.client("empty")
		for _, p := range [][]byte{message{topic: "", payload: "x"}.bytes(k.version), c.filters(subscribe, 1, nil, 0, ""), c.filters(unsubscribe, 1, nil, -1, "")} {
			c := k.client("empty")
			c.send(p)
			c.closed(0x81, 0x82, 0x8f, 0x90)
		}
		c.subscribe("/", 0) // one character is enough
		c.send(message{topic: "/", payload: "x"}.bytes(k.version))
		c.got(message{topic: "/", payload: "x"})
	}},
	{v3: "4.7.3-2", v5: "4.7.3-2", run: func(k *kit) {
		c := k.client("nul")
		for _, p := range [][]byte{message{topic: "a\x00", payload: "x"}.bytes(k.version), c.filters(subscribe, 1, nil, 0, "\x00"), c.filters(unsubscribe, 1, nil, -1, "a\x00b")} {
			c := k.client("nul")
			c.send(p)
			c.closed(0x81)
		}
	}},
	{v3: "4.7.3-4", v5: "4.7.3-4", run: func(k *kit) { // no normalization: case, accents, slashes and dots are as they are
		c := k.client("letter")
		root := k.topic(c)
		all := []string{"/a", "/A", "/ä", "/a\u0308", "//a", "/a/", "/./a", "/a b", "/\u200ba"}
		for i, name := range all {
			c.subscribe(root+name, 0)
			for _, topic := range all {
				c.send(message{topic: root + topic, payload: value(i)}.bytes(k.version))
			}
			c.got(message{topic: root + name, payload: value(i)})
			c.quiet()
			c.unsubscribe(root + name)
		}
	}},
	{v3: "4.7.3-3", v5: "4.7.3-3", run: func(k *kit) { // 65,535 bytes are the most that the length has room for; longer ones than ours are refused
		c := k.client("long")
		long := "app/" + strings.Repeat("x", 0xffff-4)
		c.send(c.filters(subscribe, 1, nil, 0, long))
		c.expect(c.subscribed(suback, 1, 0))
		c.send(message{topic: long, payload: "x"}.bytes(k.version))
		c.got(message{topic: long, payload: "x"})
	}},
}

var sharedCases = []testCase{
	{v5: "4.8.2-1 4.8.2-2", run: func(k *kit) {
		for _, f := range []string{"$share/", "$share//x", "$share/g", "$share/g/", "$share/+/x", "$share/#/x", "$share/g+/x", "$share/a#b/x"} {
			c := k.client("share")
			c.send(c.filters(subscribe, 1, nil, 0, f))
			first, body := c.read()
			if first == suback && body[3] == 0x8f || first == disconnect && body[0] >= 0x81 {
				continue
			}
			k.Fatalf("%s: got %x %x", f, first, body)
		}
		c := k.client("share")
		for _, f := range []string{"$SHARE/g/app/z", "$shared/g/app/z", "app/$share/g/z"} { // these are no shared ones
			c.subscribe(f, 0)
			c.unsubscribe(f)
		}
	}},
	{v5: "4.8.2-3", run: func(k *kit) { // one of each group gets it, with the QoS of its own subscription; others get it besides
		pub := k.client("pub")
		topic := k.topic(pub)
		var members [4]*client
		for i := range members {
			members[i] = k.client("member")
			members[i].subscribe(fmt.Sprintf("$share/g%d/%s", i/2, topic), byte(i%3))
		}
		own := k.client("own")
		own.subscribe(topic, 1, 11, 5)
		own.subscribe("$share/g9/"+topic, 0, 11, 6)
		const count = 12
		for i := range count {
			pub.publish(message{topic: topic, payload: value(i), qos: 2})
			for range 2 { // a copy of each of its subscriptions, for they are of different kinds
				m := own.message()
				own.finish(m)
				id, _ := property(m.props, 11)
				if id[0] == 5 && m.qos != 1 || id[0] == 6 && m.qos != 0 {
					k.Fatalf("got %+v", m)
				}
			}
			own.quiet()
		}
		for g := range 2 {
			got := 0
			for i := 2 * g; i < 2*g+2; i++ {
				members[i].send([]byte{pingreq, 0})
				for {
					first, body := members[i].read()
					if first == pingresp {
						break
					}
					if first == pubrel {
						continue
					}
					if first>>1&3 != byte(i%3) {
						k.Fatalf("member %d got %x %x", i, first, body)
					}
					got++
					if first>>1&3 > 0 {
						_, rest, _ := splitText(body)
						id := uint16(rest[0])<<8 | uint16(rest[1])
						if first>>1&3 == 1 {
							members[i].send(with(puback, id))
						} else {
							members[i].send(with(pubrec, id))
						}
					}
				}
			}
			if got != count {
				k.Fatalf("group %d got %d of %d messages", g, got, count)
			}
		}
	}},
	{v5: "4.8.2-4 4.8.2-5", run: func(k *kit) { // what was begun with one member stays its own
		pub := k.client("pub")
		topic := k.topic(pub)
		a := k.keeper("a")
		a.subscribe("$share/g/"+topic, 2)
		pub.publish(message{topic: topic, payload: value(1), qos: 2})
		m := a.message()
		b := k.client("b")
		b.subscribe("$share/g/"+topic, 2)
		k.drop(a)
		b.quiet()
		a = k.again(a)
		a.got(message{topic: topic, payload: m.payload, qos: 2, dup: true})
		pub.publish(message{topic: topic, payload: value(2), qos: 2})
		for _, c := range []*client{a, b} { // one of them has it open
			c.send([]byte{pingreq, 0})
			if first, _ := c.read(); first&0xf0 == publish {
				k.connect(newHello(5, c.name)).quiet() // its session ends
			}
		}
		b2 := k.client("b")
		b2.subscribe("$share/g/"+topic, 2)
		b2.quiet()
	}},
	{v5: "4.8.2-6", run: func(k *kit) {
		pub := k.client("pub")
		topic := k.topic(pub)
		a, b := k.client("a"), k.client("b")
		a.subscribe("$share/g/"+topic, 2)
		b.subscribe("$share/g/"+topic, 2)
		for i := range 8 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
			got := 0
			for _, c := range []*client{a, b} {
				c.send([]byte{pingreq, 0})
				first, body := c.read()
				if first&0xf0 != publish {
					continue
				}
				got++
				_, rest, _ := splitText(body)
				id := uint16(rest[0])<<8 | uint16(rest[1])
				if i%2 == 0 {
					c.send(with(puback, id, 0x80))
				} else {
					c.send(with(pubrec, id, 0x83))
				}
				c.expect([]byte{pingresp, 0})
			}
			if got != 1 {
				k.Fatalf("%d members got message %d", got, i)
			}
			a.quiet()
			b.quiet()
		}
	}},
}
