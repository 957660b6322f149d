package conformance

import (
	"time"
)

var sessionCases = []testCase{
	{v3: "3.1.2-4", v5: "3.1.2-5", run: func(k *kit) { // subscriptions and what waits are there again
		c := k.keeper("resume")
		topic := k.topic(c)
		c.subscribe(topic, 1)
		k.drop(c)
		pub := k.client("pub")
		pub.publish(message{topic: topic, payload: value(1), qos: 1})
		c = k.again(c)
		c.got(message{topic: topic, payload: value(1), qos: 1})
		pub.publish(message{topic: topic, payload: value(2), qos: 1})
		c.got(message{topic: topic, payload: value(2), qos: 1})
	}},
	{v3: "3.1.2-5", run: func(k *kit) {
		c := k.keeper("store")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		c.leave() // a goodbye keeps the session too
		pub := k.client("pub")
		for i := range 10 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
		}
		c = k.again(c)
		var all []message
		for i := range 10 {
			m := c.message()
			c.same(m, message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
			all = append(all, m)
		}
		for _, m := range all {
			c.finish(m)
		}
		c.quiet()
	}},
	{v3: "3.1.2-6 3.1.4-3", v5: "3.1.2-4 3.1.4-4", run: func(k *kit) {
		c := k.keeper("clean")
		topic := k.topic(c)
		c.subscribe(topic, 1)
		k.drop(c)
		pub := k.client("pub")
		pub.publish(message{topic: topic, payload: value(1), qos: 1})
		c = k.connect(newHello(k.version, c.name)) // this one is a clean session
		pub.publish(message{topic: topic, payload: value(2), qos: 1})
		c.quiet()
		if c.leave(); k.v5() {
			c = k.connect(newHello(5, c.name).kept())
		} else if c = k.connect(newHello(4, c.name).kept()); c.present {
			k.Fatal("a clean session was kept")
		}
		c.quiet()
	}},
	{v5: "3.1.2-6", run: func(k *kit) {
		c := k.keeper("new")
		if c.present {
			k.Fatal("session present")
		}
		topic := k.topic(c)
		c.subscribe(topic, 0)
		c.send(message{topic: topic, payload: value(1)}.bytes(5))
		c.got(message{topic: topic, payload: value(1)})
	}},
	{v3: "3.1.2-7", run: func(k *kit) {
		c := k.client("retain")
		topic := k.topic(c)
		c.publish(message{topic: topic, payload: value(1), qos: 1, retain: true})
		c.leave()
		d := k.client("late")
		d.subscribe(topic, 1)
		d.got(message{topic: topic, payload: value(1), qos: 1, retain: true})
		k.connect(newHello(4, c.name)) // the session of who published it begins anew
		d.subscribe(topic, 1)
		d.got(message{topic: topic, payload: value(1), qos: 1, retain: true})
	}},
	{v5: "3.1.2-23", run: func(k *kit) { // the state of QoS 2 in both directions as well
		c := k.keeper("state")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 2})
		m := c.message()
		c.send(with(pubrec, m.id))
		c.expect(with(pubrel, m.id))
		c.send(message{topic: "app/other", payload: "x", qos: 2, id: 77}.bytes(5))
		c.expect(with(pubrec, 77))
		k.drop(c)
		c = k.again(c)
		c.expect(with(pubrel, m.id))
		c.send(with(pubcomp, m.id))
		c.send(with(pubrel, 77))
		c.expect(with(pubcomp, 77))
		c.send(with(pubrel, 77))
		c.expect(with(pubcomp, 77, 0x92))
	}},
	{v3: "4.1.0-1 4.1.0-2", v5: "4.1.0-1", alone: true, run: func(k *kit) { // no time ends the session of an open connection
		c := k.client("open")
		c.subscribe("app/long", 1)
		c.send(message{topic: "app/x", payload: "x", qos: 2, id: 5}.bytes(k.version))
		c.expect(with(pubrec, 5))
		k.advance(time.Minute)
		c.send(message{topic: "app/x", payload: "x", qos: 2, id: 5, dup: true}.bytes(k.version))
		c.expect(with(pubrec, 5))
		k.client("pub").publish(message{topic: "app/long", payload: "x", qos: 1})
		c.got(message{topic: "app/long", payload: "x", qos: 1})
	}},
	{v5: "4.1.0-2", alone: true, run: func(k *kit) {
		h := newHello(5, k.name("expiry"))
		h.flags = 0
		c := k.connect(h.withProps(17, 0, 0, 0, 10))
		c.subscribe("app/x", 1)
		k.drop(c)
		k.advance(8 * time.Second)
		if c = k.connect(h.withProps(17, 0, 0, 0, 10)); !c.present {
			k.Fatal("the session ended before its time")
		}
		k.drop(c)
		k.advance(12 * time.Second)
		if c = k.connect(h.withProps(17, 0, 0, 0, 10)); c.present {
			k.Fatal("the session outlived its expiry interval")
		}
		c.send(packet(disconnect, []byte{0, 5, 17, 0, 0, 0, 40})) // a DISCONNECT may change it
		c.closed()
		k.advance(20 * time.Second)
		if c = k.connect(h); !c.present {
			k.Fatal("the session ended before the time that DISCONNECT gave it")
		}
		c.send(packet(disconnect, []byte{0, 5, 17, 0, 0, 0, 40})) // but not from 0
		c.closed(0x82)
		if c = k.connect(h); c.present {
			k.Fatal("a session with the expiry interval 0 outlived its connection")
		}
	}},
	{v3: "4.4.0-1 3.3.1-1", v5: "4.4.0-1 3.3.1-1 4.3.3-6", run: func(k *kit) {
		c := k.keeper("resend")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		pub := k.client("pub")
		var sent []message
		for i := range 6 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
			sent = append(sent, c.message())
		}
		c.send(with(puback, sent[0].id), with(pubrec, sent[3].id))
		c.expect(with(pubrel, sent[3].id))
		c.quiet() // nothing is sent again on a connection that stands
		for range 2 {
			k.drop(c)
			c = k.again(c)
			for i, m := range sent {
				switch i {
				case 0: // acknowledged
				case 3:
					c.expect(with(pubrel, m.id))
				default:
					again := c.message()
					if again.id != m.id {
						k.Fatalf("message %d came again under another packet id: %+v", i, again)
					}
					m.dup = true
					c.same(again, m)
				}
			}
			c.quiet()
		}
	}},
	{v5: "4.4.0-2", run: func(k *kit) { // a refusal is an acknowledgement too
		c := k.keeper("refuse")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		pub := k.client("pub")
		for i := range 2 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i)})
		}
		one, two := c.message(), c.message()
		c.send(with(puback, one.id, 0x97), with(pubrec, two.id, 0x83))
		c.quiet()
		k.drop(c)
		k.again(c).quiet()
	}},
}

var willCases = []testCase{
	{v3: "3.1.2-8", v5: "3.1.2-7 3.1.2-8", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 1)
		h := newHello(k.version, k.name("will")).withWill(topic, value(1), 1, false)
		gone := func(end func(*client)) {
			k.Helper()
			c := k.connect(h)
			watcher.quiet()
			end(c)
			watcher.got(message{topic: topic, payload: value(1), qos: 1})
		}
		gone(func(c *client) { _ = c.conn.Close() })
		gone(func(c *client) { c.send([]byte{0xf0, 0, 0}) })           // a violation
		gone(func(c *client) { c.send(h.bytes()) })                    // another
		gone(func(c *client) { k.connect(newHello(k.version, h.id)) }) // a takeover
		if k.v5() {
			gone(func(c *client) { c.send([]byte{disconnect, 1, 4}) }) // on request
		}
	}},
	{v3: "3.1.2-10", v5: "3.1.2-10", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 1)
		name := k.name("will")
		c := k.connect(newHello(k.version, name).kept().withWill(topic, value(1), 1, false))
		k.drop(c)
		watcher.got(message{topic: topic, payload: value(1), qos: 1})
		c = k.again(c) // without a will
		k.drop(c)
		watcher.quiet()
		c = k.connect(newHello(k.version, name).kept().withWill(topic, value(1), 1, false))
		c.leave()
		c = k.again(c)
		k.drop(c)
		watcher.quiet()
	}},
	{v3: "3.1.2-12", alone: true, run: func(k *kit) {
		watcher := k.client("watch")
		watcher.subscribe("#", 1)
		c := k.client("none")
		k.drop(c)
		watcher.quiet()
	}},
	{v3: "3.1.2-16 3.1.2-17", v5: "3.1.2-14 3.1.2-15", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		for i, retain := range []bool{false, true} {
			c := k.connect(newHello(k.version, k.name("will")).withWill(topic, value(i), 1, retain))
			k.drop(c)
			watcher.subscribe(topic, 1)
			if retain {
				watcher.got(message{topic: topic, payload: value(i), qos: 1, retain: true})
			}
			watcher.quiet()
			watcher.unsubscribe(topic)
		}
	}},
	{v3: "3.1.3-10", v5: "3.1.3-11", run: func(k *kit) {
		for _, s := range append(badText, "a/+", "#", "") {
			k.say(newHello(k.version, k.name("will")).withWill(s, "x", 0, false)).refused(0, 0)
		}
	}},
	{v5: "3.1.3-9", alone: true, run: func(k *kit) {
		watcher := k.client("watch")
		watcher.subscribe("app/late", 1)
		h := newHello(5, k.name("late")).kept().withWill("app/late", "x", 1, false, 24, 0, 0, 0, 10)
		c := k.connect(h)
		k.drop(c)
		k.advance(5 * time.Second)
		c = k.connect(h) // in time
		k.advance(10 * time.Second)
		watcher.quiet()
		k.drop(c)
		k.advance(9 * time.Second)
		watcher.quiet()
		k.advance(3 * time.Second)
		watcher.got(message{topic: "app/late", payload: "x", qos: 1})
		k.drop(k.connect(h))
		k.connect(newHello(5, h.id)).quiet() // the session ends, and with it the delay
		watcher.got(message{topic: "app/late", payload: "x", qos: 1})
		h.props = []byte{17, 0, 0, 0, 2} // the session's end comes before the delay's
		k.drop(k.connect(h))
		k.advance(4 * time.Second)
		watcher.got(message{topic: "app/late", payload: "x", qos: 1})
	}},
	{v5: "3.1.3-10", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 0)
		var props []byte
		for _, s := range []string{"z", "a", "m", "a", ""} {
			props = append(props, pair(s, "of "+s)...)
		}
		props = append(props, 1, 1)
		props = append(props, text([]byte{3}, "text/plain")...)
		props = append(props, text([]byte{8}, "app/answer")...)
		props = append(props, text([]byte{9}, "\x00\xff")...)
		h := newHello(5, k.name("will")).withWill(topic, value(1), 0, false, append([]byte{24, 0, 0, 0, 0}, props...)...)
		k.drop(k.connect(h))
		watcher.got(message{topic: topic, payload: value(1), props: props})
	}},
	{v5: "3.3.2-6 3.1.2-8", alone: true, run: func(k *kit) { // a will's expiry counts from when it is published
		watcher := k.client("watch")
		watcher.subscribe("app/expiring", 1)
		c := k.connect(newHello(5, k.name("will")).withWill("app/expiring", "x", 1, false, 2, 0, 0, 0, 20))
		k.advance(30 * time.Second)
		k.drop(c)
		watcher.got(message{topic: "app/expiring", payload: "x", qos: 1, props: []byte{2, 0, 0, 0, 20}})
	}},
}
