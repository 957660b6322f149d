package conformance

import (
	"slices"
	"strings"
	"time"
)

var connectCases = []testCase{
	{v3: "3.1.0-1", v5: "3.1.0-1", run: func(k *kit) {
		c := &client{version: k.version}
		for _, p := range [][]byte{
			message{topic: "a"}.bytes(k.version), c.filters(subscribe, 1, nil, 0, "a"), {pingreq, 0}, {disconnect, 0}, with(puback, 1), {auth, 0}, {0, 0},
		} {
			c := k.raw()
			c.send(p)
			if _, _, err := c.tryRead(patience); !ended(err) {
				k.Fatalf("after %x: %v", p, err)
			}
		}
	}},
	{v3: "3.1.0-2", v5: "3.1.0-2", run: func(k *kit) {
		h := newHello(k.version, k.name("twice"))
		c := k.connect(h)
		c.send(h.bytes())
		c.closed(0x82)
		c = k.say(h, h.bytes()).accepted() // in one write
		c.closed(0x82)
	}},
	{v3: "3.1.2-1", v5: "3.1.2-1", run: func(k *kit) {
		for _, name := range []string{"mqtt", "MQT", "MQTTT", "", "HTTP"} {
			h := newHello(k.version, k.name("name"))
			h.protocol = name
			k.say(h).refused(0, 0)
		}
	}},
	{v3: "3.1.2-2", v5: "3.1.2-2", run: func(k *kit) {
		for _, level := range []byte{0, 1, 2, 3, 6, 7, 0x84, 255} {
			h := newHello(4, k.name("level"))
			h.level = level
			c := k.raw()
			c.version = 4
			c.send(h.bytes())
			c.refused(1, 0)
		}
	}},
	{v3: "3.1.2-3", v5: "3.1.2-3", run: func(k *kit) {
		h := newHello(k.version, k.name("reserved"))
		h.flags |= 1
		k.say(h).refused(0, 0x81)
	}},
	{v3: "3.1.2-9", v5: "3.1.2-9", run: func(k *kit) { // the will is promised and not there
		h := newHello(k.version, k.name("will"))
		p := h.bytes()
		flags := slices.Index(p, 'T') + 3 // after MQTT and the level
		for _, more := range []string{"", "\x00", "\x00\x01a", "\x00\x01a\x00", "\x00\x01a\x00\x05x"} {
			bad := slices.Clone(p)
			bad[flags] |= flagWill
			if k.v5() {
				bad = append(bad, 0)
			}
			bad = append(bad, more...)
			bad[1] = byte(len(bad) - 2)
			c := k.raw()
			c.send(bad)
			c.refused(0, 0x81)
		}
	}},
	{v3: "3.1.2-11 3.1.2-13 3.1.2-15", v5: "3.1.2-11 3.1.2-13", run: func(k *kit) {
		for _, flags := range []byte{1 << 3, 2 << 3, 3 << 3, flagWillRetain} {
			h := newHello(k.version, k.name("flags"))
			h.flags |= flags
			k.say(h).refused(0, 0x81)
		}
	}},
	{v3: "3.1.2-14", v5: "3.1.2-12", run: func(k *kit) {
		watcher := k.client("watch")
		topic := k.topic(watcher)
		watcher.subscribe(topic, 2)
		for qos := range byte(3) {
			c := k.connect(newHello(k.version, k.name("will")).withWill(topic, value(1), qos, false))
			_ = c.conn.Close()
			watcher.got(message{topic: topic, payload: value(1), qos: qos})
		}
		k.say(newHello(k.version, k.name("will")).withWill(topic, value(1), 3, false)).refused(0, 0x81)
	}},
	{v3: "3.1.2-18 3.1.2-19 3.1.2-20 3.1.2-21", v5: "3.1.2-16 3.1.2-17 3.1.2-18 3.1.2-19", run: func(k *kit) {
		user, password := "somebody", "\x00secret\xff" // a password is any bytes
		h := newHello(k.version, k.name("user"))
		h.user = &user
		k.connect(h)
		h.password = &password
		k.connect(h)
		for _, surplus := range []string{"\x00\x01u", "\x00\x01u\x00\x01p", "\x00"} { // fields without their flags
			h := newHello(k.version, k.name("user"))
			h.surplus = []byte(surplus)
			k.say(h).refused(0, 0x81)
		}
		for _, flags := range []byte{0x80, 0xc0} { // flags without their fields
			h := newHello(k.version, k.name("user"))
			h.flags |= flags
			k.say(h).refused(0, 0x81)
		}
		h = newHello(k.version, k.name("user"))
		h.user, h.flags = &user, h.flags|0x40
		k.say(h).refused(0, 0x81)
	}},
	{v3: "3.1.2-22", run: func(k *kit) {
		password := "p"
		h := newHello(4, k.name("user"))
		h.password = &password
		k.say(h).refused(0, 0)
	}},
	{v3: "3.1.2-24", v5: "3.1.2-22 3.2.2-22", alone: true, run: func(k *kit) {
		watcher := k.client("watch")
		watcher.subscribe("app/will", 0)
		h := newHello(k.version, k.name("silent")).withWill("app/will", "x", 0, false)
		h.keepAlive = 1
		c := k.connect(h)
		if _, ok := property(c.props, 19); ok {
			k.Fatal("the server sent a keep alive of its own")
		}
		for attempt := 0; ; attempt++ {
			start := time.Now()
			heard := start
			for time.Since(start) < 2*time.Second { // what it sends, of any kind, keeps it alive
				heard = time.Now()
				c.quiet()
				time.Sleep(200 * time.Millisecond)
			}
			c.closed(0x8d)
			silence := time.Since(heard)
			watcher.got(message{topic: "app/will", payload: "x"})
			if silence < 1500*time.Millisecond || silence > 2500*time.Millisecond && attempt == 3 { // the machine may be busy, but not each time
				k.Fatalf("closed after %v, want one and a half seconds", silence)
			}
			if silence <= 2500*time.Millisecond {
				break
			}
			c = k.connect(h)
		}
		h = newHello(k.version, k.name("forever")) // 0: no limit
		h.keepAlive = 0
		c = k.connect(h)
		time.Sleep(2 * time.Second)
		c.quiet()
	}},
	{v3: "3.1.3-1", v5: "3.1.3-1", run: func(k *kit) { // all fields in their order, each of its own content
		user, password := "topic/of/the/user", "payload of the password"
		watcher := k.client("watch")
		watcher.subscribe("app/order/#", 0)
		h := newHello(k.version, k.name("order")).withWill("app/order/will", "the will", 0, false)
		if k.v5() {
			h.willProps = []byte{1, 1}
		}
		h.user, h.password = &user, &password
		c := k.connect(h)
		_ = c.conn.Close()
		watcher.got(message{topic: "app/order/will", payload: "the will", props: h.willProps})
	}},
	{v3: "3.1.4-1", v5: "3.1.4-1", run: func(k *kit) {
		good := newHello(k.version, k.name("cut")).withWill("a", "b", 1, true).bytes()
		for n := 2; n < len(good); n++ { // the packet cut everywhere, with a length that fits
			c := k.raw()
			c.send(packet(connect, good[2:n]))
			c.refused(0, 0)
		}
		h := newHello(k.version, k.name("long"))
		h.surplus = []byte("xyz")
		k.say(h).refused(0, 0x81)
	}},
	{v5: "3.1.4-2", run: func(k *kit) { k.say(newHello(5, k.name("denied"))).refused(0, 0x87) }},
	{v3: "3.1.4-2", v5: "3.1.4-3", run: func(k *kit) {
		h := newHello(k.version, k.name("one"))
		old := k.connect(h)
		c := k.connect(h)
		old.closed(0x8e)
		c.quiet()
	}},
	{v3: "3.1.4-4", v5: "3.1.4-5", run: func(k *kit) {
		c := k.say(newHello(k.version, k.name("hello")))
		if first, body := c.read(); first != connack || body[0] != 0 || body[1] != 0 {
			k.Fatalf("got %x %x", first, body)
		}
	}},
	{v3: "3.1.4-5", v5: "3.1.4-6", run: func(k *kit) {
		watcher := k.client("watch")
		watcher.subscribe("app/after/#", 0)
		more := message{topic: "app/after/refusal", payload: "x", retain: true}.bytes(k.version)
		k.say(newHello(k.version, k.name("denied")), more).refused(5, 0x87)
		h := newHello(k.version, k.name("bad"))
		h.flags |= 1
		k.say(h, more).refused(0, 0x81)
		watcher.quiet()
		late := k.client("late")
		late.subscribe("app/after/#", 0)
		late.quiet()
	}},
	{v3: "3.2.0-1", v5: "3.2.0-1", run: func(k *kit) { // also before what waits for a session
		c := k.keeper("first")
		topic := k.topic(c)
		c.subscribe(topic, 1)
		k.drop(c)
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 1})
		d := k.say(newHello(k.version, c.name).kept(), []byte{pingreq, 0}).accepted()
		d.got(message{topic: topic, payload: value(1), qos: 1})
		d.expect([]byte{pingresp, 0})
	}},
	{v5: "3.2.0-2", run: func(k *kit) {
		c := k.client("once")
		topic := k.topic(c)
		c.subscribe(topic, 2)
		c.publish(message{topic: topic + "/x", payload: value(1), qos: 2})
		c.quiet() // anything else would have failed to be what was expected
	}},
	{v5: "3.2.2-1 3.2.2-8", run: func(k *kit) { // every CONNACK of every case is read with this check; here those of failure
		known := []byte{0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f}
		ok := newHello(5, k.name("codes"))
		denied, empty := ok, ok
		denied.id = k.name("denied")
		empty.id = "bad/id"
		for _, h := range []hello{denied, empty, ok.withProps(99), ok.withProps(33, 0, 0), ok.withProps(21, 0, 1, 'x'), ok.withWill("+", "", 0, false),
			ok.withWill("secret", "", 0, false)} {
			c := k.say(h)
			first, body := c.read()
			if first != connack || body[0] != 0 || !slices.Contains(known, body[1]) {
				k.Fatalf("got %x %x", first, body)
			}
		}
	}},
	{v3: "3.2.2-1", v5: "3.2.2-2", run: func(k *kit) {
		c := k.keeper("clean")
		k.drop(c)
		if d := k.connect(newHello(k.version, c.name)); d.present {
			k.Fatal("session present after a clean start")
		}
	}},
	{v3: "3.2.2-2 3.2.2-3", v5: "3.2.2-3", run: func(k *kit) {
		c := k.keeper("present")
		if c.present {
			k.Fatal("session present at the first connection")
		}
		k.drop(c)
		k.again(c)
	}},
	{v3: "3.2.2-4 3.2.2-5", v5: "3.2.2-6 3.2.2-7", run: func(k *kit) { // refused checks both
		c := k.keeper("refused")
		h := newHello(k.version, c.name).kept().withWill("secret", "x", 0, false)
		k.say(h).refused(5, 0x87)
		k.drop(c)
		k.say(h).refused(5, 0x87)
		k.say(newHello(k.version, "not/allowed")).refused(2, 0x85)
	}},
	{v3: "3.2.2-6", run: func(k *kit) { // no return code says "malformed"
		h := newHello(4, k.name("none"))
		h.flags |= 0x18
		k.say(h).refused(0, 0)
	}},
	{v5: "3.2.2-19 3.2.2-20", run: func(k *kit) { // a reason would be longer than the client takes
		for _, size := range []byte{4, 5, 8, 20} {
			h := newHello(5, k.name("denied")).withProps(39, 0, 0, 0, size)
			first, body, err := k.say(h).tryRead(patience)
			if err == nil && (first != connack || len(body)+2 > int(size)) {
				k.Fatalf("got %x %x, longer than %d bytes", first, body, size)
			}
		}
	}},
}

var clientIDCases = []testCase{
	{v3: "3.1.3-2", v5: "3.1.3-2", run: func(k *kit) { // the id names the session, to the letter
		a := k.keeper("mine")
		topic := k.topic(a)
		a.subscribe(topic, 1)
		k.drop(a)
		b := k.connect(newHello(k.version, strings.ToUpper(a.name)).kept())
		if b.present {
			k.Fatal("a session under another id")
		}
		k.client("pub").publish(message{topic: topic, payload: value(1), qos: 1})
		b.quiet()
		k.again(a).got(message{topic: topic, payload: value(1), qos: 1})
	}},
	{v3: "3.1.3-3", v5: "3.1.3-3", run: func(k *kit) {
		p := newHello(k.version, "x").bytes()
		c := k.raw()
		c.send(packet(connect, p[2:len(p)-3]))
		c.refused(0, 0x81)
	}},
	{v3: "3.1.3-4", v5: "3.1.3-4", run: func(k *kit) {
		for _, s := range badText {
			k.say(newHello(k.version, s)).refused(0, 0x81)
		}
	}},
	{v3: "3.1.3-5", v5: "3.1.3-5", run: func(k *kit) {
		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for n := 1; n <= 23; n++ {
			k.connect(newHello(k.version, letters[2*n:][:min(n, len(letters)-2*n)])).leave()
		}
		for from := 0; from < len(letters); from += 20 {
			k.connect(newHello(k.version, letters[from:min(from+23, len(letters))])).leave()
		}
	}},
	{v3: "3.1.3-6", v5: "3.1.3-6 3.1.3-7 3.2.2-16", run: func(k *kit) {
		c := k.connect(newHello(k.version, ""))
		id, ok := property(c.props, 18)
		if ok != k.v5() || k.v5() && len(id) < 3 {
			k.Fatalf("assigned client identifier %q", id)
		}
		c.subscribe("app/noname", 1)
		c.send(message{topic: "app/noname", payload: "x", qos: 1, id: 9}.bytes(k.version))
		first, body := c.read()
		second, body2 := c.read()
		if first&0xf0+second&0xf0 != publish+puback {
			k.Fatalf("got %x %x, %x %x", first, body, second, body2)
		}
		if k.tls { // one certificate, so one session
			return
		}
		d := k.connect(newHello(k.version, ""))
		c.quiet()
		d.quiet()
		if other, _ := property(d.props, 18); k.v5() && string(other) == string(id) {
			k.Fatalf("two clients are %q", id)
		}
	}},
	{v5: "3.1.3-6 3.2.2-16", run: func(k *kit) { // a client without a name gets no session that is there
		c := k.connect(newHello(5, "").kept())
		id, _ := property(c.props, 18)
		k.drop(c)
		d := k.connect(newHello(5, "").kept())
		if d.present {
			k.Fatalf("it was given the session of %q", id)
		}
	}},
	{v3: "3.1.3-8", run: func(k *kit) {
		h := newHello(4, "")
		h.flags = 0
		k.say(h).refused(2, 0)
	}},
	{v3: "3.1.3-9", v5: "3.1.3-8", run: func(k *kit) {
		for _, id := range []string{"a/b", "a+", "#", "a b", strings.Repeat("x", 200), "ä"} {
			k.say(newHello(k.version, id)).refused(2, 0x85)
		}
	}},
	{v3: "3.1.3-11", v5: "3.1.3-12", run: func(k *kit) {
		for _, s := range badText {
			h := newHello(k.version, k.name("user"))
			h.user = &s
			k.say(h).refused(0, 0x81)
		}
	}},
}
