package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// hostileSequence is something that is done to a connection.
type hostileSequence struct {
	name string
	fits func(s *hostileState) bool
	do   func(c *hostileConn)
	ends bool // the gateway must end the connection
}

// hostilePair is a sequence in a state.
type hostilePair struct {
	state    hostileState
	sequence hostileSequence
}

// hostilePairs returns all sequences, or the one called only, in each state where they fit.
func hostilePairs(only string) (pairs []hostilePair) {
	for _, q := range hostileSequences() {
		for _, s := range hostileStates {
			if (only == "" || q.name == only) && q.fits(&s) {
				pairs = append(pairs, hostilePair{s, q})
			}
		}
	}
	return pairs
}

func anyState(*hostileState) bool           { return true }
func inTLS(s *hostileState) bool            { return s.kind == stateTLS }
func inMQTT(s *hostileState) bool           { return s.kind >= stateMQTT4 }
func beforeSession(s *hostileState) bool    { return s.kind < stateMQTT4 && s.name != "before https" }
func inWebSocket(s *hostileState) bool      { return strings.HasPrefix(s.name, "websocket") }
func (s *hostileState) is(k stateKind) bool { return s.kind == k }

// hostileSequences makes the library.
func hostileSequences() []hostileSequence {
	list := []hostileSequence{
		{"close", anyState, func(c *hostileConn) { c.raw.Close() }, false},
		{"reset", anyState, func(c *hostileConn) {
			c.raw.SetLinger(0)
			c.raw.Close()
		}, false},
		{"half close", anyState, func(c *hostileConn) { c.raw.CloseWrite() }, true},
		{"silence", beforeSession, func(*hostileConn) {}, true},
		{"zeros", anyState, func(c *hostileConn) { c.raw.Write(make([]byte, 64<<10)) }, true},
		{"ones", anyState, func(c *hostileConn) { c.raw.Write(bytes.Repeat([]byte{0xff}, 64<<10)) }, true},
		{"random bytes", anyState, func(c *hostileConn) { c.stream.Write(c.random(1 + c.rng.IntN(4096))) }, false},
		{"random bytes, one by one", anyState, func(c *hostileConn) {
			for _, b := range c.random(20) {
				c.stream.Write([]byte{b})
				time.Sleep(2 * time.Millisecond)
			}
		}, false},
		{"http request", beforeTLSOrConnect, func(c *hostileConn) { c.stream.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) }, true},
		{"mqtt without tls", inTLSOnly("before tls"), func(c *hostileConn) { c.raw.Write(appendConnect(nil, mqtt5, c.thing(), 60)) }, true},
		{"ssl 2 hello", inTLSOnly("before tls"), func(c *hostileConn) { c.raw.Write([]byte{0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10}) }, true},
		{"record of 65535 bytes", inTLS, func(c *hostileConn) { c.raw.Write([]byte{22, 3, 3, 0xff, 0xff, 1, 0xff, 0xff, 0xff}) }, false},
		{"hello of 16 MB", inTLSOnly("before tls"), func(c *hostileConn) { c.raw.Write([]byte{22, 3, 1, 0, 8, 1, 0xff, 0xff, 0xff, 3, 3, 0, 0}) }, true},
		{"hello twice", inTLSOnly("before tls"), func(c *hostileConn) { c.raw.Write(append(bytes.Clone(c.enemy.hello), c.enemy.hello...)) }, true},
		{"hello with flipped bits", inTLSOnly("before tls"), func(c *hostileConn) { c.raw.Write(c.flip(c.enemy.hello)) }, false},
		{"empty records", inTLS, func(c *hostileConn) { c.raw.Write(bytes.Repeat([]byte{22, 3, 3, 0, 0}, 5000)) }, false},
		{"alerts", inTLS, func(c *hostileConn) { c.raw.Write(bytes.Repeat([]byte{21, 3, 3, 0, 2, 1, 90}, 5000)) }, false},
		{"change cipher specs", inTLS, func(c *hostileConn) { c.raw.Write(bytes.Repeat([]byte{20, 3, 3, 0, 1, 1}, 5000)) }, false},
		{"heartbeat", inTLS, func(c *hostileConn) { c.raw.Write([]byte{24, 3, 3, 0, 3, 1, 0x40, 0}) }, false},
		{"pings, nothing read", inMQTT, func(c *hostileConn) { c.stream.Write(bytes.Repeat([]byte{0xc0, 0}, 20_000)) }, false},
		{"publishes, nothing read", inMQTT, func(c *hostileConn) { c.publishMany(2000, 1) }, false},
		{"qos 2 never released", inMQTT, func(c *hostileConn) { c.publishMany(300, 2) }, false},
		{"retained on many topics", inMQTT, func(c *hostileConn) {
			for i := range 200 {
				p := appendPublish(nil, c.speaks, 0, 0, fmt.Sprintf("%s/%d", c.ownTopic(), i), []byte("x"))
				p[0] |= 1
				if _, err := c.stream.Write(p); err != nil {
					return
				}
			}
		}, false},
		{"filters without end", inMQTT, func(c *hostileConn) {
			for i := range uint16(300) {
				if _, err := c.stream.Write(appendSubscribe(nil, c.speaks, i+1, fmt.Sprintf("%s/%d/#", c.ownTopic(), i))); err != nil {
					return
				}
			}
		}, false},
		{"packets full of filters", inMQTT, func(c *hostileConn) {
			filters := strings.Split(strings.Repeat("a,", 20_000)+strings.Repeat("a/", 10_000), ",")
			for i := range uint16(10) {
				if _, err := c.stream.Write(appendFilters(nil, c.speaks, 2*i+1, true, filters)); err != nil {
					return
				}
				if _, err := c.stream.Write(appendFilters(nil, c.speaks, 2*i+2, false, filters)); err != nil {
					return
				}
			}
		}, false},
		{"packet that does not end", inMQTT, func(c *hostileConn) {
			c.stream.Write(append([]byte{0x30, 0xff, 0xff, 0x07}, c.random(4000)...))
		}, false},
		{"publish with flipped bits", inMQTT, func(c *hostileConn) {
			for range 20 {
				c.stream.Write(c.flip(appendPublish(nil, c.speaks, 1, 9, c.ownTopic(), []byte(`{"ts":1,"a":[1,2,{"b":true}]}`))))
			}
		}, false},
		{"deep json", inMQTT, func(c *hostileConn) {
			c.stream.Write(appendPublish(nil, c.speaks, 1, 9, c.ownTopic(), bytes.Repeat([]byte(`{"a":[`), 10_000)))
		}, false},
		{"json of 10,000 columns", inMQTT, func(c *hostileConn) {
			payload := []byte(`{"c0":1`)
			for i := range 9999 {
				payload = fmt.Appendf(payload, `,"c%d":1`, i+1)
			}
			c.stream.Write(appendPublish(nil, c.speaks, 1, 9, c.ownTopic(), payload))
		}, false},
		{"numbers without end", inMQTT, func(c *hostileConn) {
			c.stream.Write(appendPublish(nil, c.speaks, 1, 9, c.ownTopic(), append(append([]byte(`{"a":1`), bytes.Repeat([]byte("9"), 90_000)...), '}')))
		}, false},
		{"topic of another thing", inMQTT, func(c *hostileConn) {
			c.stream.Write(appendPublish(nil, c.speaks, 1, 9, "dt/honest-00000", []byte(`{"energy_kwh":1}`)))
		}, false},
	}
	list = append(list, webSocketSequences()...)
	return append(list, packetSequences()...)
}

func beforeTLSOrConnect(s *hostileState) bool { return s.name == "before tls" || s.is(stateFirst) }

func inTLSOnly(name string) func(*hostileState) bool {
	return func(s *hostileState) bool { return s.name == name }
}

// webSocketSequences break RFC 6455 below an open MQTT session.
func webSocketSequences() (list []hostileSequence) {
	for _, f := range []struct {
		name string
		raw  []byte
		ends bool
	}{
		{"frame without a mask", []byte{0x82, 2, 0xc0, 0}, true},
		{"frame with reserved bits", []byte{0xf2, 0x82, 0, 0, 0, 0, 0xc0, 0}, true},
		{"frame of an unknown opcode", []byte{0x8b, 0x80, 0, 0, 0, 0}, true},
		{"text frame", []byte{0x81, 0x82, 0, 0, 0, 0, 0xc0, 0}, true},
		{"continuation of nothing", []byte{0x80, 0x82, 0, 0, 0, 0, 0xc0, 0}, true},
		{"ping frame of 126 bytes", append([]byte{0x89, 0xfe, 0, 126, 0, 0, 0, 0}, make([]byte, 126)...), true},
		{"ping frame in pieces", []byte{0x09, 0x80, 0, 0, 0, 0}, true},
		{"close frame of one byte", []byte{0x88, 0x81, 0, 0, 0, 0, 3}, true},
		{"frame of 2^63 bytes", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0}, false},
		{"empty frames", bytes.Repeat([]byte{0x82, 0x80, 0, 0, 0, 0}, 5000), false},
		{"ping frames, nothing read", bytes.Repeat([]byte{0x89, 0x84, 0, 0, 0, 0, 1, 2, 3, 4}, 5000), false},
	} {
		list = append(list, hostileSequence{f.name, inWebSocket, func(c *hostileConn) { c.below().Write(f.raw) }, f.ends})
	}
	return list
}

// packetSequences are packets that end their connection: each breaks one rule of MQTT.
func packetSequences() (list []hostileSequence) {
	for _, line := range strings.Split(strings.TrimSpace(hostilePackets), "\n") {
		name, text, _ := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			panic("BUG: " + name + ": " + err.Error())
		}
		version, rest, _ := strings.Cut(name, " ")
		fits := inMQTT
		switch version {
		case "v4":
			name, fits = rest, func(s *hostileState) bool { return s.is(stateMQTT4) }
		case "v5":
			name, fits = rest+" (v5)", func(s *hostileState) bool { return s.is(stateMQTT5) }
		case "first":
			name, fits = rest+" (first)", func(s *hostileState) bool { return s.is(stateFirst) }
		}
		list = append(list, hostileSequence{name, fits, func(c *hostileConn) { c.stream.Write(raw) }, true})
	}
	return list
}

// hostilePackets are name and bytes. v4 and v5 are for one version, first for the place of the CONNECT.
const hostilePackets = `
v5 subscribe without options byte : 8206 0001 00 0001 61
v4 subscribe without options byte : 8205 0001 0001 61
v4 subscribe without filters      : 8202 0001
v5 subscribe without filters      : 8203 0001 00
v4 subscribe with packet id 0     : 8206 0000 0001 61 00
subscribe with flags 0            : 8006 0001 0001 61 00
v4 subscribe qos 3                : 8206 0001 0001 61 03
v5 subscribe retain handling 3    : 8207 0001 00 0001 61 30
v5 subscribe reserved bits        : 8207 0001 00 0001 61 40
v4 subscribe options of v5        : 8206 0001 0001 61 04
v5 subscribe shared no-local      : 8210 0001 00 000a 2473686172652f672f61 05
v5 subscribe identifier 0         : 8209 0001 02 0b00 0001 61 00
v5 subscribe identifier twice     : 820b 0001 04 0b010b02 0001 61 00
v5 subscribe property of publish  : 820a 0001 03 230001 0001 61 00
v5 subscribe properties too long  : 8204 0001 7f 00
v4 subscribe filter a#            : 8207 0001 0002 6123 00
v4 subscribe filter #/a           : 8208 0001 0003 232f61 00
v4 subscribe empty filter         : 8205 0001 0000 00
v4 subscribe filter not utf-8     : 8206 0001 0001 ff 00
v4 unsubscribe without filters    : a202 0001
v4 unsubscribe cut                : a205 0001 0002 61
publish qos 3                     : 3603 0001 61
publish dup qos 0                 : 3803 0001 61
v4 publish wildcard               : 3003 0001 2b
v4 publish empty topic            : 3002 0000
v5 publish without topic or alias : 3003 0000 00
v4 publish topic with nul         : 3003 0001 00
v4 publish surrogate              : 3005 0003 eda080
v4 publish packet id 0            : 3205 0001 61 0000
publish topic beyond the packet   : 3003 ffff 61
v5 publish alias 0                : 3007 0001 61 03 230000
v5 publish alias 65535            : 3007 0001 61 03 23ffff
v5 publish unknown property       : 3006 0001 61 02 7f00
v5 publish format twice           : 3008 0001 61 04 01000100
v5 publish format 2               : 3006 0001 61 02 0102
v5 publish subscription id        : 3006 0001 61 02 0b01
v5 publish property cut           : 3006 0001 61 02 0200
puback id 0                       : 4002 0000
v4 puback too long                : 4003 0001 00
v5 puback reason code             : 4003 0001 01
pubrel flags                      : 6002 0001
empty puback                      : 4000
connack of a client               : 2002 0000
suback of a client                : 9003 0001 00
unsuback of a client              : b002 0001
pingresp of a client              : d000
pingreq with a body               : c001 00
pingreq flags                     : c100
v4 disconnect with a body         : e001 00
v5 disconnect reason code         : e001 01
v5 disconnect property            : e004 00 02 2600
type 0                            : 0000
auth                              : f000
length of five bytes              : 30ffffffff7f
length not shortest               : c08000
packet of 256 MB                  : 30ffffff7f
v4 second connect                 : 100c 0004 4d515454 04 02 003c 0000
v5 second connect                 : 100d 0004 4d515454 05 02 003c 00 0000
first publish                     : 3003 0001 61
first pingreq                     : c000
first puback                      : 4002 0001
first subscribe                   : 8206 0001 0001 61 00
first disconnect                  : e000
first type 0                      : 0000
first connect of 256 MB           : 10ffffff7f
first connect of 16 KB            : 10808001
first connect empty               : 1000
first connect wrong name          : 100c 0004 4d515455 04 02 003c 0000
first connect of mqtt 3.1         : 100e 0006 4d5149736470 03 02 003c 0000
first connect version 6           : 100c 0004 4d515454 06 02 003c 0000
first connect reserved flag       : 100c 0004 4d515454 04 03 003c 0000
first connect will qos 3          : 1012 0004 4d515454 04 1e 003c 0000 0001 61 0001 62
first connect will retain only    : 100c 0004 4d515454 04 22 003c 0000
first connect surplus bytes       : 100d 0004 4d515454 04 02 003c 0000 00
first connect user missing        : 100c 0004 4d515454 04 82 003c 0000
first connect will cut            : 100f 0004 4d515454 04 06 003c 0000 0001 61
first connect id with wildcard    : 100d 0004 4d515454 04 02 003c 0001 2b
first connect id with slash       : 100f 0004 4d515454 04 02 003c 0003 612f62
first connect receive maximum 0   : 1010 0004 4d515454 05 02 003c 03 210000 0000
first connect auth method         : 1011 0004 4d515454 05 02 003c 04 15000178 0000
first connect auth data alone     : 1011 0004 4d515454 05 02 003c 04 16000178 0000
first connect cut                 : 1010 0004 4d5154
first hello of tls                : 1603010200010001fc0303
`

// random returns n random bytes.
func (c *hostileConn) random(n int) []byte {
	b := make([]byte, 0, n+7)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, c.rng.Uint64())
	}
	return b[:n]
}

// flip returns a copy of b with some bits turned.
func (c *hostileConn) flip(b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + c.rng.IntN(8) {
		b[c.rng.IntN(len(b))] ^= 1 << c.rng.IntN(8)
	}
	return b
}

func (c *hostileConn) publishMany(n int, qos byte) {
	body := []byte(`{"a":1}`)
	var out []byte
	for i := range n {
		out = appendPublish(out, c.speaks, qos, uint16(i+1), c.ownTopic(), body)
	}
	c.stream.Write(out)
}
