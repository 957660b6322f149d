package conformance

import (
	"slices"
	"sync"
)

var deliveryCases = []testCase{
	{v3: "4.3.1-1", v5: "4.3.1-1", run: func(k *kit) {
		c := k.client("zero")
		topic := k.topic(c)
		c.subscribe(topic, 0)
		for qos := range byte(3) {
			m := message{topic: topic, payload: value(int(qos)), qos: qos, id: 9}
			watcher := k.client("watch")
			watcher.publish(m)
			c.got(message{topic: topic, payload: m.payload})
		}
	}},
	{v3: "4.3.2-1", v5: "4.3.2-2 4.3.2-3", run: func(k *kit) {
		c := k.keeper("one")
		topic := k.topic(c)
		c.subscribe(topic, 1)
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 1})
		m := c.message()
		c.same(m, message{topic: topic, payload: value(1), qos: 1})
		for range 2 { // unacknowledged until the PUBACK
			k.drop(c)
			c = k.again(c)
			c.same(c.message(), message{topic: topic, payload: value(1), qos: 1, dup: true})
		}
		c.send(with(puback, m.id))
		c.quiet()
		k.drop(c)
		k.again(c).quiet()
	}},
	{v3: "4.3.3-1", v5: "4.3.3-2 4.3.3-3 4.3.3-4 4.3.3-5 4.3.3-6", run: func(k *kit) {
		c := k.keeper("two")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 2})
		m := c.message()
		c.same(m, message{topic: topic, payload: value(1), qos: 2})
		k.drop(c)
		c = k.again(c)
		c.same(c.message(), message{topic: topic, payload: value(1), qos: 2, dup: true})
		c.send(with(pubrec, m.id))
		c.expect(with(pubrel, m.id))
		for range 2 { // from now on the PUBREL is what comes again
			k.drop(c)
			c = k.again(c)
			c.expect(with(pubrel, m.id))
			c.send(with(pubrec, m.id)) // an old one, late
			c.expect(with(pubrel, m.id))
		}
		c.send(with(pubcomp, m.id))
		c.quiet()
		k.drop(c)
		k.again(c).quiet()
	}},
	{v3: "4.3.2-1 4.3.3-1", v5: "4.3.2-2 4.3.3-2", run: func(k *kit) { // a first time for each, though another has had it twice
		pub := k.client("pub")
		topic := k.topic(pub)
		for qos := byte(1); qos <= 2; qos++ {
			twice, once := k.keeper("twice"), k.keeper("once")
			twice.subscribe(topic, qos)
			once.subscribe(topic, qos)
			k.drop(once)
			want := message{topic: topic, payload: value(1), qos: qos}
			pub.publish(want)
			twice.message()
			k.drop(twice)
			again := want
			again.dup = true
			twice = k.again(twice)
			twice.got(again)
			once = k.again(once)
			once.got(want)
			twice.unsubscribe(topic)
			once.unsubscribe(topic)
		}
	}},
	{v3: "4.5.0-1", v5: "4.5.0-1", run: func(k *kit) {
		pub := k.client("pub")
		topic := k.topic(pub)
		var away, here []*client
		for range 3 {
			c := k.keeper("away")
			c.subscribe(topic, 1)
			k.drop(c)
			away = append(away, c)
			d := k.client("here")
			d.subscribe(topic, 2)
			here = append(here, d)
		}
		pub.publish(message{topic: topic, payload: value(1), qos: 2})
		for i := range away {
			here[i].got(message{topic: topic, payload: value(1), qos: 2})
			k.again(away[i]).got(message{topic: topic, payload: value(1), qos: 1})
		}
	}},
	{v3: "4.6.0-1", run: func(k *kit) {
		c := k.keeper("order")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		pub := k.client("pub")
		for i := range 40 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i/3%2)})
			c.message()
		}
		k.drop(c)
		c = k.again(c)
		for i := range 40 {
			c.same(c.message(), message{topic: topic, payload: value(i), qos: 1 + byte(i/3%2), dup: true})
		}
	}},
	{v3: "4.6.0-2 4.6.0-3 4.6.0-4", run: func(k *kit) { // the server keeps the order that a client must
		c := k.client("order")
		topic := k.topic(c)
		var all []byte
		for id := uint16(1); id <= 50; id++ {
			all = append(all, message{topic: topic, payload: value(int(id)), qos: 1, id: id}.bytes(4)...)
		}
		c.send(all)
		for id := uint16(1); id <= 50; id++ {
			c.expect(with(puback, id))
		}
		all = nil
		for id := uint16(1); id <= 50; id++ {
			all = append(all, message{topic: topic, payload: value(int(id)), qos: 2, id: id}.bytes(4)...)
		}
		c.send(all)
		for id := uint16(1); id <= 50; id++ {
			c.expect(with(pubrec, id))
		}
		watcher := k.client("watch")
		watcher.subscribe(topic, 2)
		for i := range 5 {
			c.send(message{topic: topic, payload: value(i), qos: 2, id: uint16(100 + i)}.bytes(4))
			c.expect(with(pubrec, uint16(100+i)))
		}
		var ids []uint16
		for range 5 {
			ids = append(ids, watcher.message().id)
		}
		slices.Reverse(ids) // PUBREL in the order of the PUBRECs
		for _, id := range ids {
			watcher.send(with(pubrec, id))
		}
		for _, id := range ids {
			watcher.expect(with(pubrel, id))
		}
	}},
	{v3: "4.6.0-5 4.6.0-6", v5: "4.6.0-5 4.6.0-6", run: func(k *kit) {
		pubs := []*client{k.client("pub"), k.client("pub")}
		topic := k.topic(pubs[0])
		subs := []*client{k.client("sub"), k.client("sub"), k.keeper("sub")}
		for i, c := range subs {
			c.subscribe(topic, byte(i))
		}
		k.drop(subs[2])
		const count = 60
		var wg sync.WaitGroup
		for p, pub := range pubs {
			wg.Go(func() {
				for i := range count {
					pub.publish(message{topic: topic, payload: value(1000*p + i), qos: 1})
				}
			})
		}
		read := func(c *client, qos byte) {
			var last [2]int
			for range count * len(pubs) {
				m := c.message()
				c.finish(m)
				n := 0
				for _, digit := range m.payload[5 : len(m.payload)-1] {
					n = 10*n + int(digit-'0')
				}
				if m.qos != qos || n%1000 != last[n/1000] {
					k.Errorf("%s got %+v after %v", c.name, m, last)
					return
				}
				last[n/1000]++
			}
		}
		wg.Go(func() { read(subs[0], 0) })
		wg.Go(func() { read(subs[1], 1) })
		wg.Wait()
		read(k.again(subs[2]), 1)
	}},
	{v3: "3.3.5-1", v5: "3.3.4-2", run: func(k *kit) { // overlapping subscriptions: the highest QoS
		c := k.client("overlap")
		topic := k.topic(c)
		c.subscribe(topic+"/#", 1)
		c.subscribe(topic+"/+", 0)
		c.subscribe(topic+"/x", 2)
		pub := k.client("pub")
		for qos := range byte(3) {
			pub.publish(message{topic: topic + "/x", payload: value(1), qos: qos})
			c.got(message{topic: topic + "/x", payload: value(1), qos: qos})
			pub.publish(message{topic: topic + "/y", payload: value(1), qos: qos})
			c.got(message{topic: topic + "/y", payload: value(1), qos: min(qos, 1)})
		}
		c.quiet()
	}},
	{v5: "3.3.4-3 3.3.4-4 3.3.4-5", run: func(k *kit) {
		c := k.client("ids")
		topic := k.topic(c)
		c.subscribe(topic+"/#", 1, 11, 1)
		c.subscribe(topic+"/+", 0, 11, 0xff, 0xff, 0xff, 0x7f)
		c.subscribe(topic+"/x", 2)
		pub := k.client("pub")
		expect := func(topic string, qos byte, retain bool, want ...string) {
			k.Helper()
			m := c.message()
			c.finish(m)
			var ids []string
			eachProperty(m.props, func(id byte, value []byte) bool {
				if id == 11 {
					ids = append(ids, string(value))
				}
				return true
			})
			slices.Sort(ids)
			if m.topic != topic || m.qos != qos || m.retain != retain || !slices.Equal(ids, want) {
				k.Fatalf("got %+v with the ids %x, want %x", m, ids, want)
			}
		}
		pub.publish(message{topic: topic + "/x", payload: value(1), qos: 2})
		expect(topic+"/x", 2, false, "\x01", "\xff\xff\xff\x7f")
		pub.publish(message{topic: topic + "/x/y", payload: value(1), qos: 2})
		expect(topic+"/x/y", 1, false, "\x01")
		c.subscribe(topic+"/+", 0) // the new one has none
		pub.publish(message{topic: topic + "/z", payload: value(1), qos: 2, retain: true})
		expect(topic+"/z", 1, false, "\x01")
		c.subscribe(topic+"/z", 0, 11, 7)
		expect(topic+"/z", 0, true, "\x07")
	}},
	{v5: "3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3", run: func(k *kit) {
		h := newHello(5, k.name("window")).kept().withProps(33, 0, 3)
		c := k.connect(h)
		topic := k.topic(c)
		c.subscribe(topic, 2)
		c.subscribe(topic+"/zero", 0)
		pub := k.client("pub")
		for i := range 10 {
			pub.publish(message{topic: topic, payload: value(i), qos: 1 + byte(i%2)})
		}
		open := []message{c.message(), c.message(), c.message()}
		c.quiet() // no fourth, but all else goes on
		pub.publish(message{topic: topic + "/zero", payload: value(1)})
		c.got(message{topic: topic + "/zero", payload: value(1)})
		c.subscribe(topic+"/more", 1)
		c.publish(message{topic: "app/own", payload: "x", qos: 2})
		c.send(with(pubrec, open[1].id)) // that alone makes no room
		c.expect(with(pubrel, open[1].id))
		c.quiet()
		c.send(with(pubcomp, open[1].id))
		open[1] = c.message()
		c.quiet()
		c.send(with(puback, open[0].id))
		open[0] = c.message() // number 4, QoS 1 or 2
		c.quiet()
		k.drop(c)
		h.props = append(h.props[:len(h.props)-1], 2) // now it takes two
		c = k.say(h).accepted()
		one, two := c.message(), c.message()
		if !one.dup || !two.dup {
			k.Fatalf("got %+v %+v", one, two)
		}
		c.quiet()
		c.finish(one)
		if three := c.message(); !three.dup {
			k.Fatalf("got %+v", three)
		}
		c.quiet()
	}},
	{v5: "3.1.2-24 3.1.2-25", run: func(k *kit) {
		const most = 60
		pub := k.client("pub")
		topic := k.topic(pub)
		c := k.connect(newHello(5, k.name("small")).kept().withProps(39, 0, 0, 0, most, 33, 0, 2))
		c.subscribe(topic, 1)
		large := `{"v":1,"text":"longer than the client wants to read, and longer still"}`
		for i := range 6 { // they take no place in the window either
			pub.publish(message{topic: topic, payload: large, qos: byte(i % 3)})
		}
		pub.publish(message{topic: topic, payload: value(2), qos: 1})
		c.got(message{topic: topic, payload: value(2), qos: 1})
		for i := range 2 { // also where it was sent before, to the same client with more patience
			pub.publish(message{topic: topic, payload: value(i), qos: 1})
			c.message()
		}
		k.drop(c)
		size := len(message{topic: topic, payload: value(1), qos: 1}.bytes(5))
		c = k.say(newHello(5, c.name).kept().withProps(39, 0, 0, 0, byte(size-1), 33, 0, 2)).accepted()
		c.subscribe("s", 1)
		pub.publish(message{topic: "s", payload: "x", qos: 1})
		c.got(message{topic: "s", payload: "x", qos: 1})
		c.quiet()
		refused := k.connect(newHello(5, k.name("small")).withProps(39, 0, 0, 0, 24)) // its own answers
		refused.send(message{topic: "app/secret", payload: "x", qos: 1, id: 1}.bytes(5))
		refused.read()
		first, body := refused.connectionEnd()
		if len(body)+2 > 24 {
			k.Fatalf("got %x %x, longer than 24 bytes", first, body)
		}
		for size := range byte(20) { // a CONNACK that is longer is not sent
			d := k.say(newHello(5, k.name("tiny")).withProps(39, 0, 0, 0, size+1))
			if first, body, err := d.tryRead(patience); err == nil && len(body)+2 > int(size)+1 {
				k.Fatalf("got %x %x, longer than %d bytes", first, body, size+1)
			}
		}
	}},
	{v5: "3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3", run: func(k *kit) {
		for size := byte(22); size < 40; size++ {
			c := k.connect(newHello(5, k.name("small")).withProps(39, 0, 0, 0, size))
			for _, m := range []message{{topic: "app/secret", payload: "x", qos: 1, id: 1}, {topic: "app/secret", payload: "x", qos: 2, id: 2}} {
				c.send(m.bytes(5))
				first, body := c.read()
				if body[2] != 0x87 || len(body)+2 > int(size) {
					k.Fatalf("%d: got %x %x", size, first, body)
				}
			}
			c.send(with(pubrel, 9), with(pubrec, 9))
			c.expect(with(pubcomp, 9, 0x92), with(pubrel, 9, 0x92))
		}
	}},
	{v5: "3.14.2-3 3.14.2-4", run: func(k *kit) {
		for size := byte(22); size < 40; size++ {
			c := k.connect(newHello(5, k.name("small")).withProps(39, 0, 0, 0, size))
			if first, body := c.connectionEnd(); first != disconnect || len(body)+2 > int(size) {
				k.Fatalf("%d: got %x %x", size, first, body)
			}
		}
	}},
}

// connectionEnd breaks the rules and returns the DISCONNECT.
func (c *client) connectionEnd() (first byte, body []byte) {
	c.t.Helper()
	c.send(message{topic: "app/x", payload: "x", props: []byte{35, 0, 0}}.bytes(5))
	return c.read()
}
