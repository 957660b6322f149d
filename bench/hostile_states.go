package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
)

// hostileState is a state of the protocol: enter brings a connection there.
type hostileState struct {
	name  string
	kind  stateKind
	enter func(ctx context.Context, c *hostileConn) error
}

// stateKind says what sequences fit.
type stateKind uint8

const (
	stateTLS   stateKind = iota // TLS is not there yet
	stateFirst                  // the CONNECT is not
	stateMQTT4
	stateMQTT5
)

// hostileStates are all states, in the order of a connection's life.
var hostileStates = []hostileState{
	{"before tls", stateTLS, func(ctx context.Context, c *hostileConn) error { return c.tcp(ctx, c.enemy.mqtt) }},
	{"before https", stateTLS, func(ctx context.Context, c *hostileConn) error { return c.tcp(ctx, c.enemy.http) }},
	{"in hello", stateTLS, func(ctx context.Context, c *hostileConn) error {
		return c.said(ctx, c.enemy.hello[:len(c.enemy.hello)/2], 0)
	}},
	{"after hello", stateTLS, func(ctx context.Context, c *hostileConn) error { return c.said(ctx, c.enemy.hello, 1) }},
	{"before connect", stateFirst, func(ctx context.Context, c *hostileConn) error { return c.tls(ctx, c.enemy.mqtt) }},
	{"plain", stateFirst, func(ctx context.Context, c *hostileConn) error { return c.tcp(ctx, c.enemy.plain) }},
	{"connected", stateMQTT4, func(ctx context.Context, c *hostileConn) error { return c.connected(ctx, mqtt311) }},
	{"connected v5", stateMQTT5, func(ctx context.Context, c *hostileConn) error { return c.connected(ctx, mqtt5) }},
	{"subscribed", stateMQTT4, func(ctx context.Context, c *hostileConn) error { return c.subscribed(ctx, mqtt311) }},
	{"subscribed v5", stateMQTT5, func(ctx context.Context, c *hostileConn) error { return c.subscribed(ctx, mqtt5) }},
	{"in qos 2", stateMQTT4, func(ctx context.Context, c *hostileConn) error { return c.inFlight(ctx, mqtt311) }},
	{"in qos 2 v5", stateMQTT5, func(ctx context.Context, c *hostileConn) error { return c.inFlight(ctx, mqtt5) }},
	{"websocket", stateMQTT4, func(ctx context.Context, c *hostileConn) error { return c.webSocket(ctx, mqtt311) }},
	{"websocket v5", stateMQTT5, func(ctx context.Context, c *hostileConn) error { return c.webSocket(ctx, mqtt5) }},
}

func (c *hostileConn) tcp(ctx context.Context, addr string) (err error) {
	if c.raw, err = c.enemy.dial(ctx, addr, 3000+c.worker); err == nil {
		c.stream = c.raw
	}
	return err
}

// said begins a TLS handshake with the bytes of hello and waits for at least answer bytes.
func (c *hostileConn) said(ctx context.Context, hello []byte, answer int) error {
	if err := c.tcp(ctx, c.enemy.mqtt); err != nil {
		return err
	}
	if _, err := c.raw.Write(hello); err != nil {
		return err
	}
	_, err := io.ReadFull(c.raw, make([]byte, answer))
	return err
}

func (c *hostileConn) tls(ctx context.Context, addr string) error {
	if err := c.tcp(ctx, addr); err != nil {
		return err
	}
	secure, err := overTLS(ctx, c.raw, c.enemy.configs[c.worker])
	if err == nil {
		c.stream = secure
	}
	return err
}

// exchange sends a packet and takes the next one, of the given type.
func (c *hostileConn) exchange(b []byte, kind byte) error {
	reader := packetReader{conn: c.stream}
	return reader.exchange(b, func(p packet) error {
		if p.kind != kind || kind == packetConnack && p.connack() != nil {
			return fmt.Errorf("want packet type %d, got %d: %x", kind, p.kind, p.body)
		}
		return nil
	})
}

func (c *hostileConn) connected(ctx context.Context, v version) error {
	if err := c.tls(ctx, c.enemy.mqtt); err != nil {
		return err
	}
	return c.session(v)
}

// session sends the CONNECT.
func (c *hostileConn) session(v version) error {
	c.speaks = v
	return c.exchange(appendConnect(nil, v, c.thing(), 60), packetConnack)
}

func (c *hostileConn) subscribed(ctx context.Context, v version) error {
	if err := c.connected(ctx, v); err != nil {
		return err
	}
	return c.exchange(appendSubscribe(nil, v, 1, c.ownTopic()), packetSuback)
}

// packetPubrec is the first answer to a PUBLISH of QoS 2.
const packetPubrec = 5

// inFlight leaves a message of QoS 2 without its PUBREL.
func (c *hostileConn) inFlight(ctx context.Context, v version) error {
	if err := c.connected(ctx, v); err != nil {
		return err
	}
	return c.exchange(appendPublish(nil, v, 2, 7, c.ownTopic(), []byte(`{"a":1}`)), packetPubrec)
}

// webSocket connects over HTTPS.
func (c *hostileConn) webSocket(ctx context.Context, v version) error {
	if err := c.tls(ctx, c.enemy.http); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stream, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: bXVzdGVyLWJlbmNoLWtleQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", c.enemy.http)
	if err != nil {
		return err
	}
	reader := bufio.NewReader(c.stream)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the gateway answers %s", answer.Status)
	}
	c.stream = &frames{Conn: c.stream, reader: reader}
	return c.session(v)
}

// frames is the client side of a WebSocket: each Write is a binary message (RFC 6455 section 5.2).
type frames struct {
	net.Conn
	reader *bufio.Reader
	left   int // of the frame that is being read
}

func (f *frames) Write(b []byte) (int, error) {
	const final, binaryFrame, masked = 0x80, 2, 0x80
	head := []byte{final | binaryFrame}
	switch n := len(b); {
	case n < 126:
		head = append(head, masked|byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, masked|126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, masked|127), uint64(n))
	}
	head = append(head, 0, 0, 0, 0) // a mask that changes nothing
	if _, err := f.Conn.Write(append(head, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read reads the data of frames; the gateway's are not masked.
func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(f.reader, head[:]); err != nil {
			return 0, err
		}
		f.left = int(head[1] & 0x7f)
		if f.left == 126 {
			if _, err := io.ReadFull(f.reader, head[:]); err != nil {
				return 0, err
			}
			f.left = int(binary.BigEndian.Uint16(head[:]))
		}
	}
	n, err := f.reader.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// below returns the TLS connection below a WebSocket, to write frames that are none.
func (c *hostileConn) below() net.Conn {
	if f, ok := c.stream.(*frames); ok {
		return f.Conn
	}
	return c.stream
}
