package conformance

import (
	"fmt"
	"strings"
)

var publishCases = []testCase{
	{v3: "3.3.1-2", v5: "3.3.1-2", run: func(k *kit) {
		c := k.client("dup")
		c.send(message{topic: "app/dup", payload: "x", dup: true}.bytes(k.version))
		c.closed(0x81, 0x82)
	}},
	{v3: "3.3.1-3", v5: "3.3.1-3", run: func(k *kit) {
		c := k.client("dup")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		for qos := byte(1); qos <= 2; qos++ {
			c.send(message{topic: topic, payload: value(1), qos: qos, id: 5, dup: true}.bytes(k.version))
			seen := 0
			for range 2 { // the acknowledgement and the message, in any order
				if first, body := c.read(); first&0xf0 == publish {
					if first&8 != 0 {
						k.Fatal("the flag of the publisher was passed on")
					}
					_, rest, _ := splitText(body)
					m := message{qos: first >> 1 & 3, id: uint16(rest[0])<<8 | uint16(rest[1])}
					seen++
					defer c.finish(m)
				}
			}
			if seen != 1 {
				k.Fatalf("%d messages", seen)
			}
			if qos == 2 {
				c.send(with(pubrel, 5))
				c.expect(with(pubcomp, 5))
			}
		}
	}},
	{v3: "3.3.1-4", v5: "3.3.1-4", run: func(k *kit) {
		c := k.client("qos")
		c.send(message{topic: "app/qos", payload: "x", qos: 3, id: 1}.bytes(k.version))
		c.closed(0x81)
	}},
	{v3: "3.3.2-1", v5: "3.3.2-1", run: func(k *kit) {
		for _, p := range [][]byte{packet(publish, nil), packet(publish, []byte{0}), packet(publish, []byte{0, 5, 'a'})} {
			c := k.client("topic")
			c.send(p)
			c.closed(0x81)
		}
		for _, s := range badText {
			c := k.client("topic")
			c.send(message{topic: s}.bytes(k.version))
			c.closed(0x81)
		}
	}},
	{v3: "3.3.2-2 4.7.1-1", v5: "3.3.2-2 4.7.0-1", run: func(k *kit) {
		for _, topic := range []string{"#", "+", "a/+", "a/#", "a/b#", "a+/b", "dt/x/+"} {
			c := k.client("wild")
			c.send(message{topic: topic, payload: "x", qos: 1, id: 1}.bytes(k.version))
			c.closed(0x81, 0x90)
		}
	}},
	{v3: "3.3.2-3", v5: "3.3.2-3", run: func(k *kit) {
		c := k.client("match")
		root := k.topic(c)
		c.subscribe(root+"/+/c", 0)
		for _, rest := range []string{"/b/c", "/b", "/b/c/d", "/b/d", "/x/c"} {
			c.send(message{topic: root + rest, payload: value(1)}.bytes(k.version))
		}
		c.got(message{topic: root + "/b/c", payload: value(1)})
		c.got(message{topic: root + "/x/c", payload: value(1)})
		c.quiet()
	}},
	{v3: "3.3.4-1 4.3.2-2 4.3.3-2", v5: "3.3.4-1 4.3.2-4 4.3.3-8 4.3.3-11", run: func(k *kit) {
		c := k.client("qos")
		topic := k.topic(c)
		c.send(message{topic: topic, payload: value(1)}.bytes(k.version))
		c.quiet()
		for _, retain := range []bool{false, true} {
			c.send(message{topic: topic, payload: value(1), qos: 1, id: 3, retain: retain}.bytes(k.version))
			c.expect(with(puback, 3))
			c.send(message{topic: topic, payload: value(1), qos: 2, id: 3, retain: retain}.bytes(k.version))
			c.expect(with(pubrec, 3))
			c.send(with(pubrel, 3))
			c.expect(with(pubcomp, 3))
		}
		c.quiet()
	}},
	{v3: "3.3.5-2", alone: true, run: func(k *kit) { // no false word of success: the connection ends
		for qos := range byte(3) {
			c := k.client("pub")
			watcher := k.client("watch")
			watcher.subscribe("app/#", 0)
			c.send(message{topic: "app/secret", payload: "x", qos: qos, id: 1}.bytes(4))
			c.closed()
			watcher.quiet()
		}
	}},
	{v5: "3.4.2-1 3.5.2-1 4.3.3-9", run: func(k *kit) { // a refused message is answered with a code of the list, and its id is free
		c := k.client("pub")
		for range 2 {
			c.send(message{topic: "app/secret", payload: "x", qos: 1, id: 1}.bytes(5))
			if first, body := c.read(); first != puback || body[1] != 1 || body[2] != 0x87 {
				k.Fatalf("got %x %x", first, body)
			}
			c.send(message{topic: "app/secret", payload: "x", qos: 2, id: 2}.bytes(5))
			if first, body := c.read(); first != pubrec || body[1] != 2 || body[2] != 0x87 {
				k.Fatalf("got %x %x", first, body)
			}
		}
		if !k.app { // telemetry that is none
			c.send(message{topic: k.topic(c), payload: "{", qos: 1, id: 1}.bytes(5))
			if first, body := c.read(); first != puback || body[2] != 0x99 {
				k.Fatalf("got %x %x", first, body)
			}
			c.send(message{topic: k.topic(c), payload: "{", qos: 2, id: 1}.bytes(5))
			if first, body := c.read(); first != pubrec || body[2] != 0x99 {
				k.Fatalf("got %x %x", first, body)
			}
		}
		topic := k.topic(c)
		c.subscribe(topic, 0)
		for id := range uint16(2) { // of both kinds of refusal
			c.send(message{topic: topic, payload: value(1), qos: 2, id: id + 1}.bytes(5))
			got := 0
			for range 2 {
				if first, _ := c.read(); first&0xf0 == publish {
					got++
				}
			}
			if got != 1 {
				k.Fatal("the id of a refused message was taken for a repetition")
			}
		}
	}},
	{v5: "3.6.2-1 3.7.2-1", run: func(k *kit) {
		c := k.client("codes")
		c.send(with(pubrel, 99)) // nobody's: 0x92 is the code for that
		c.expect(with(pubcomp, 99, 0x92))
		c.send(with(pubrec, 98))
		c.expect(with(pubrel, 98, 0x92))
		for _, p := range [][]byte{with(puback, 1, 1), with(pubrec, 1, 0x92), with(pubrel, 1, 0x80), with(pubcomp, 1, 0x10), packet(disconnect, []byte{1})} {
			c := k.client("codes") // codes that are not for these packets
			c.send(p)
			c.closed(0x81, 0x82)
		}
	}},
	{v3: "3.6.1-1", v5: "3.6.1-1", run: func(k *kit) {
		for _, first := range []byte{0x60, 0x61, 0x63, 0x64, 0x6a, 0x6f} {
			c := k.client("rel")
			c.send(message{topic: "app/rel", qos: 2, id: 1, payload: "x"}.bytes(k.version))
			c.expect(with(pubrec, 1))
			c.send(with(first, 1))
			c.closed(0x81)
		}
	}},
	{v3: "4.3.2-2", v5: "4.3.2-5", run: func(k *kit) { // after PUBACK the id means a new message, DUP or not
		c := k.client("new")
		topic := k.topic(c)
		watcher := k.client("watch")
		watcher.subscribe(topic, 0)
		for i, dup := range []bool{false, false, true} {
			c.send(message{topic: topic, payload: value(i), qos: 1, id: 4, dup: dup}.bytes(k.version))
			c.expect(with(puback, 4))
			watcher.got(message{topic: topic, payload: value(i)})
		}
	}},
	{v3: "4.3.3-2", v5: "4.3.3-10 4.3.3-12", run: func(k *kit) { // until PUBREL it is a repetition, after PUBCOMP a new message
		c := k.client("twice")
		topic := k.topic(c)
		watcher := k.client("watch")
		watcher.subscribe(topic, 0)
		for round := range 2 {
			for _, dup := range []bool{false, true, false} {
				c.send(message{topic: topic, payload: value(round), qos: 2, id: 4, dup: dup}.bytes(k.version))
				c.expect(with(pubrec, 4))
			}
			watcher.got(message{topic: topic, payload: value(round)})
			watcher.quiet()
			c.send(with(pubrel, 4))
			c.expect(with(pubcomp, 4))
		}
	}},
	{v3: "4.3.3-2", v5: "4.3.3-10", run: func(k *kit) { // over connections too
		c := k.keeper("twice")
		topic := k.topic(c)
		watcher := k.client("watch")
		watcher.subscribe(topic, 0)
		c.send(message{topic: topic, payload: value(1), qos: 2, id: 4}.bytes(k.version))
		c.expect(with(pubrec, 4))
		watcher.got(message{topic: topic, payload: value(1)})
		k.drop(c)
		c = k.again(c)
		c.send(message{topic: topic, payload: value(1), qos: 2, id: 4, dup: true}.bytes(k.version))
		c.expect(with(pubrec, 4))
		c.send(with(pubrel, 4))
		c.expect(with(pubcomp, 4))
		watcher.quiet()
	}},
	{v3: "4.3.3-2", v5: "4.3.3-8", run: func(k *kit) { // more at once than the receive maximum of v5, whose clients know it
		c := k.client("many")
		count := 100
		if !k.v5() {
			count = 1500
		}
		var all []byte
		for id := 1; id <= count; id++ {
			all = append(all, message{topic: "app/many", payload: "x", qos: 2, id: uint16(id)}.bytes(k.version)...)
		}
		c.send(all)
		for id := 1; id <= count; id++ {
			c.expect(with(pubrec, uint16(id)))
		}
		for id := 1; id <= count; id++ {
			c.send(with(pubrel, uint16(id)))
			c.expect(with(pubcomp, uint16(id)))
		}
	}},
}

var retainCases = []testCase{
	{v3: "3.3.1-5 3.3.1-6 3.3.1-8", v5: "3.3.1-5 3.3.1-9", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		for i := range 3 {
			c.publish(message{topic: topic, payload: value(i), qos: byte(i), retain: true})
			late := k.client("late")
			late.subscribe(topic, 2)
			late.got(message{topic: topic, payload: value(i), qos: byte(i), retain: true})
			late.quiet()
		}
		for i := range 3 { // each of several topics
			c.publish(message{topic: fmt.Sprint(topic, "/", i), payload: value(i), qos: 1, retain: true})
		}
		late := k.client("late")
		late.subscribe(topic+"/+", 0)
		got := map[string]bool{}
		for range 3 {
			m := late.message()
			got[m.topic+" "+m.payload] = m.retain
		}
		late.quiet()
		for i := range 3 {
			if !got[fmt.Sprint(topic, "/", i, " ", value(i))] {
				k.Fatalf("got %v", got)
			}
		}
	}},
	{v3: "3.3.1-6", v5: "3.3.1-9", run: func(k *kit) { // however many there are
		c := k.client("retain")
		topic := k.topic(c)
		const count, large = 90, 4000
		for i := range count {
			c.publish(message{topic: fmt.Sprint(topic, "/", i), payload: fmt.Sprintf(`{"v":%d}%s`, i, strings.Repeat(" ", large)), qos: 1, retain: true})
		}
		for qos := range byte(2) {
			late := k.client("late")
			late.send(late.filters(subscribe, 1, nil, int(qos), topic+"/#"))
			late.expect(late.subscribed(suback, 1, qos))
			got := map[string]bool{}
			for range count {
				m := late.message()
				late.finish(m)
				got[m.topic] = m.retain
			}
			if len(got) != count {
				k.Fatalf("%d of %d retained messages", len(got), count)
			}
			late.quiet()
		}
	}},
	{v3: "3.3.1-7", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		c.publish(message{topic: topic, payload: value(1), qos: 2, retain: true})
		c.publish(message{topic: topic, payload: value(2), retain: true})
		late := k.client("late")
		late.subscribe(topic, 2)
		late.got(message{topic: topic, payload: value(2), retain: true})
		late.quiet()
	}},
	{v3: "3.3.1-9", v5: "3.3.1-12", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		c.subscribe(topic, 0)
		for _, retain := range []bool{true, false} {
			c.send(message{topic: topic, payload: value(1), retain: retain}.bytes(k.version))
			c.got(message{topic: topic, payload: value(1)})
		}
	}},
	{v5: "3.3.1-13", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		c.subscribe(topic, options(0, false, true, 0))
		for _, retain := range []bool{true, false} {
			c.send(message{topic: topic, payload: value(1), retain: retain}.bytes(5))
			c.got(message{topic: topic, payload: value(1), retain: retain})
		}
	}},
	{v3: "3.3.1-10 3.3.1-11", v5: "3.3.1-6 3.3.1-7", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		watcher := k.client("watch")
		for qos := range byte(3) {
			c.publish(message{topic: topic, payload: value(1), qos: 1, retain: true})
			watcher.subscribe(topic, 0)
			watcher.got(message{topic: topic, payload: value(1), retain: true})
			c.publish(message{topic: topic, qos: qos, retain: true})
			watcher.got(message{topic: topic}) // it is a message like others
			watcher.unsubscribe(topic)
			watcher.subscribe(topic, 0)
			watcher.quiet()
			watcher.unsubscribe(topic)
		}
	}},
	{v3: "3.3.1-12", v5: "3.3.1-8", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		watcher := k.client("watch")
		c.publish(message{topic: topic, payload: value(1), qos: 1})
		watcher.subscribe(topic, 1)
		watcher.quiet()
		watcher.unsubscribe(topic)
		c.publish(message{topic: topic, payload: value(2), qos: 1, retain: true})
		c.publish(message{topic: topic, payload: value(3), qos: 1})
		if k.app {
			c.publish(message{topic: topic, qos: 1}) // an empty one does not remove it either
		}
		watcher.subscribe(topic, 1)
		watcher.got(message{topic: topic, payload: value(2), qos: 1, retain: true})
	}},
	{v5: "3.3.1-10 3.3.1-11", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		c.publish(message{topic: topic, payload: value(1), retain: true})
		want := message{topic: topic, payload: value(1), retain: true}
		for _, filter := range []string{topic, topic + "/#"} {
			watcher := k.client("watch")
			watcher.subscribe(filter, options(0, false, false, 2))
			watcher.quiet()
			watcher.unsubscribe(filter)
			watcher.subscribe(filter, options(0, false, false, 1))
			watcher.got(want)
			watcher.subscribe(filter, options(0, false, false, 1))
			watcher.quiet()
			watcher.subscribe(filter, options(0, false, false, 0))
			watcher.got(want)
			watcher.subscribe(filter, options(0, false, false, 2))
			watcher.quiet()
		}
	}},
	{v3: "3.8.4-3", v5: "3.8.4-3 3.8.4-4", run: func(k *kit) {
		c := k.client("again")
		topic := k.topic(c)
		pub := k.client("pub")
		pub.publish(message{topic: topic, payload: value(1), qos: 1, retain: true})
		c.subscribe(topic, 0)
		c.got(message{topic: topic, payload: value(1), retain: true})
		c.subscribe(topic, 1) // retained messages come again, and the QoS is the new one
		c.got(message{topic: topic, payload: value(1), qos: 1, retain: true})
		pub.publish(message{topic: topic, payload: value(2), qos: 1})
		c.got(message{topic: topic, payload: value(2), qos: 1})
		c.quiet()           // one subscription, one message
		for i := range 50 { // and nothing is lost while it is replaced
			pub.send(message{topic: topic, payload: value(i), qos: 1, id: 7}.bytes(k.version))
			id := c.freshID()
			c.send(c.filters(subscribe, id, nil, 1, topic))
			live := 0
			for suback := false; !suback || live == 0; {
				first, body := c.read()
				if first&0xf0 != publish {
					suback = true
					continue
				}
				if first&1 == 0 {
					live++
				}
				_, rest, _ := splitText(body)
				c.send(with(puback, uint16(rest[0])<<8|uint16(rest[1])))
			}
			pub.expect(with(puback, 7))
			c.send([]byte{pingreq, 0})
			for first := byte(0); first != pingresp; { // the retained one may have come after the message
				var body []byte
				if first, body = c.read(); first&0xf0 == publish {
					_, rest, _ := splitText(body)
					c.send(with(puback, uint16(rest[0])<<8|uint16(rest[1])))
					if first&1 == 0 {
						k.Fatal("the message came twice")
					}
				}
			}
		}
	}},
}
