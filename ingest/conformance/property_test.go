package conformance

import (
	"encoding/binary"
	"strings"
	"time"
)

// expiry is a Message Expiry Interval.
func expiry(sec uint32) []byte { return binary.BigEndian.AppendUint32([]byte{2}, sec) }

var propertyCases = []testCase{
	{v5: "3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20", run: func(k *kit) { // passed on unaltered, in their order
		c := k.client("props")
		topic := k.topic(c)
		watcher := k.client("watch")
		watcher.subscribe(topic, 2)
		var all []byte
		all = append(all, pair("z", "1")...)
		all = append(all, 1, 1)
		all = append(all, pair("a", "\ufeff")...)
		all = append(all, text([]byte{8}, "app/answer")...)
		all = append(all, pair("z", "1")...)
		all = append(all, text([]byte{9}, "\x00\x01\xff")...)
		all = append(all, text([]byte{3}, "application/json")...)
		all = append(all, pair("", "")...)
		for _, props := range [][]byte{all, {1, 0}, pair("only", "one"), text([]byte{9}, ""), nil} {
			for qos := range byte(3) {
				c.publish(message{topic: topic, payload: value(1), qos: qos, props: props})
				watcher.got(message{topic: topic, payload: value(1), qos: qos, props: props})
			}
			c.publish(message{topic: topic + "/kept", payload: value(1), qos: 1, retain: true, props: props})
			late := k.client("late")
			late.subscribe(topic+"/kept", 0)
			late.got(message{topic: topic + "/kept", payload: value(1), retain: true, props: props})
		}
	}},
	{v5: "3.3.2-5 3.3.2-6", alone: true, run: func(k *kit) {
		pub := k.client("pub")
		c := k.keeper("away")
		c.subscribe("app/exp/#", 1)
		k.drop(c)
		pub.publish(message{topic: "app/exp/short", payload: "x", qos: 1, props: expiry(5)})
		pub.publish(message{topic: "app/exp/long", payload: "x", qos: 1, props: append(pair("a", "b"), expiry(60)...)})
		pub.publish(message{topic: "app/kept/short", payload: "x", qos: 1, retain: true, props: expiry(5)})
		pub.publish(message{topic: "app/kept/long", payload: "x", qos: 1, retain: true, props: expiry(60)})
		pub.publish(message{topic: "app/exp/now", payload: "x", qos: 1, props: expiry(0)})
		k.advance(20 * time.Second)
		late := k.client("late")
		late.subscribe("app/kept/#", 1)
		for _, d := range []*client{k.again(c), late} {
			m := d.message()
			left, _ := property(m.props, 2)
			if !strings.HasSuffix(m.topic, "/long") || len(left) != 4 || left[3] < 39 || left[3] > 40 {
				k.Fatalf("got %+v", m)
			}
			d.finish(m)
			d.quiet()
		}
	}},
	{v5: "4.3.3-7 4.3.3-13", alone: true, run: func(k *kit) { // once sent, it does not expire
		c := k.keeper("slow")
		c.subscribe("app/two", 2)
		k.client("pub").publish(message{topic: "app/two", payload: "x", qos: 2, props: expiry(5)})
		m := c.message()
		k.advance(20 * time.Second)
		k.drop(c)
		c = k.again(c)
		again := c.message()
		if again.id != m.id || !again.dup || again.payload != "x" {
			k.Fatalf("got %+v", again)
		}
		c.finish(again)
		c.quiet()
	}},
	{v5: "3.3.2-7", run: func(k *kit) {
		c := k.keeper("alias")
		topic := k.topic(c)
		c.send(message{topic: topic, payload: value(1), qos: 1, id: 1, props: []byte{35, 0, 3}}.bytes(5))
		c.expect(with(puback, 1))
		k.drop(c)
		c = k.again(c)
		c.send(message{payload: value(1), qos: 1, id: 1, props: []byte{35, 0, 3}}.bytes(5))
		c.closed(0x82, 0x94)
	}},
	{v5: "3.3.2-8", run: func(k *kit) {
		c := k.client("alias")
		c.send(message{topic: "app/x", payload: "x", props: []byte{35, 0, 0}}.bytes(5))
		c.closed(0x94)
	}},
	{v5: "3.3.2-12", run: func(k *kit) {
		c := k.client("alias")
		most, ok := property(c.props, 34)
		if !ok || most[1] == 0 {
			k.Fatal("no topic alias maximum")
		}
		topic := k.topic(c)
		watcher := k.client("watch")
		watcher.subscribe(topic+"/#", 0)
		for round := range 2 { // an alias may be set anew
			for alias := byte(1); alias <= most[1]; alias++ {
				name := topic + "/" + string(rune('a'+alias)) + strings.Repeat("x", round)
				props := []byte{35, 0, alias}
				c.publish(message{topic: name, payload: value(1), qos: alias % 3, props: props})
				c.publish(message{payload: value(2), qos: alias % 3, props: props})
				watcher.got(message{topic: name, payload: value(1)})
				watcher.got(message{topic: name, payload: value(2)})
			}
		}
		c.send(message{topic: topic, payload: value(1), props: []byte{35, 0, most[1] + 1}}.bytes(5))
		c.closed(0x94)
	}},
	{v5: "3.1.2-26 3.1.2-27 3.3.2-11", run: func(k *kit) {
		pub := k.client("pub")
		topic := k.topic(pub)
		for most := range byte(4) {
			c := k.connect(newHello(5, k.name("aliases")).withProps(34, 0, most))
			c.subscribe(topic+"/#", 0)
			known := map[byte]string{}
			for i := range 12 {
				name := topic + "/" + string(rune('a'+i%3))
				pub.publish(message{topic: name, payload: value(i)})
				m := c.message()
				if alias, ok := property(m.props, 35); ok {
					if alias[0] != 0 || alias[1] == 0 || alias[1] > most {
						k.Fatalf("topic alias %x of at most %d", alias, most)
					}
					if m.topic == "" {
						m.topic = known[alias[1]]
					}
					known[alias[1]] = m.topic
				}
				if m.topic != name {
					k.Fatalf("got %+v, want the topic %s", m, name)
				}
			}
		}
	}},
	{v5: "3.3.2-13 3.3.2-14", run: func(k *kit) {
		for _, s := range append([]string{"a/+", "#", "a/#"}, badText...) {
			c := k.client("answer")
			c.send(message{topic: "app/x", payload: "x", props: text([]byte{8}, s)}.bytes(5))
			c.closed(0x81, 0x82, 0x90)
		}
	}},
	{v5: "3.3.2-19", run: func(k *kit) {
		for _, s := range badText {
			c := k.client("type")
			c.send(message{topic: "app/x", payload: "x", props: text([]byte{3}, s)}.bytes(5))
			c.closed(0x81)
		}
	}},
	{v5: "3.3.4-6", run: func(k *kit) {
		c := k.client("id")
		c.send(message{topic: "app/x", payload: "x", props: []byte{11, 1}}.bytes(5))
		c.closed(0x81, 0x82)
	}},
	{v5: "3.1.2-28", run: func(k *kit) {
		for _, props := range [][]byte{nil, {25, 0}} {
			c := k.connect(newHello(5, k.name("answer")).withProps(props...))
			if _, ok := property(c.props, 26); ok {
				k.Fatal("response information that nobody asked for")
			}
		}
		k.connect(newHello(5, k.name("answer")).withProps(25, 1))
	}},
	{v5: "3.1.2-29", run: func(k *kit) {
		for wanted := range byte(2) {
			c := k.connect(newHello(5, k.name("problem")).withProps(23, wanted))
			topic := k.topic(c)
			c.subscribe(topic, 0)
			bad := []message{{topic: "app/secret", payload: "x", qos: 1, id: 1}, {topic: "app/secret", payload: "x", qos: 2, id: 2}}
			if !k.app {
				bad = append(bad, message{topic: topic, payload: "{", qos: 1, id: 3})
			}
			for _, m := range bad {
				c.send(m.bytes(5))
				first, body := c.read()
				if body[2] < 0x80 || wanted == 0 && len(body) > 3 || wanted == 1 && len(body) < 6 {
					k.Fatalf("%d: got %x %x", wanted, first, body)
				}
			}
			m := message{topic: topic, payload: value(1), props: pair("a", "b")} // those of a message go on
			c.send(m.bytes(5))
			c.got(m)
		}
	}},
	{v5: "4.13.1-1", run: func(k *kit) { // where the standard names the code (v5 sections 2.2.2.2, 3.3.2.1, 3.3.4)
		c := &client{version: 5}
		for _, wrong := range []struct {
			code   byte
			packet []byte
		}{
			{0x81, message{topic: "a", props: []byte{17, 0, 0, 0, 1}}.bytes(5)},
			{0x81, c.filters(unsubscribe, 1, []byte{11, 1}, -1, "a")},
			{0x81, packet(disconnect, []byte{0, 3, 33, 0, 1})},
			{0x82, message{topic: "a", props: []byte{11, 1}}.bytes(5)},
			{0x82, message{}.bytes(5)},
		} {
			c := k.client("code")
			c.send(wrong.packet)
			c.closed(wrong.code)
		}
		k.say(newHello(5, k.name("code")).withProps(35, 0, 1)).refused(0, 0x81)
	}},
	{v5: "4.13.1-1", run: func(k *kit) { // properties out of place, twice, out of range, unknown, cut
		c := &client{version: 5}
		for _, p := range [][]byte{
			message{topic: "a", props: []byte{17, 0, 0, 0, 1}}.bytes(5),
			message{topic: "a", props: []byte{1, 0, 1, 0}}.bytes(5),
			message{topic: "a", props: []byte{1, 2}}.bytes(5),
			message{topic: "a", props: []byte{99}}.bytes(5),
			message{topic: "a", props: []byte{2, 0, 0}}.bytes(5),
			c.filters(subscribe, 1, []byte{11, 0}, 0, "a"),
			c.filters(subscribe, 1, []byte{11, 1, 11, 2}, 0, "a"),
			c.filters(unsubscribe, 1, []byte{11, 1}, -1, "a"),
			packet(disconnect, []byte{0, 3, 33, 0, 1}),
			packet(puback, []byte{0, 1, 0, 2, 1, 0}),
		} {
			c := k.client("place")
			c.send(p)
			c.closed(0x81, 0x82)
		}
		for _, props := range [][]byte{{33, 0, 0}, {39, 0, 0, 0, 0}, {23, 2}, {25, 2}, {17, 0, 0, 0, 1, 17, 0, 0, 0, 1}, {1, 0}, {35, 0, 1}, {22, 0, 1, 'x'}} {
			k.say(newHello(5, k.name("place")).withProps(props...)).refused(0, 0)
		}
	}},
}
