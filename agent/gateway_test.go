package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"muster/agent/wire"
	"muster/pki"
	"muster/registry/store"
	"muster/tsdb/vfs"
)

// testGateway is a real certificate authority behind HTTPS, and, once listen or script was called, a listener for
// devices: a real broker or a script.
type testGateway struct {
	t     *testing.T
	ca    *pki.Authority
	est   string // URL
	mqtt  string // address
	mu    sync.Mutex
	polls int // requests for cacerts; guarded by mu
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func newTestGateway(t *testing.T) *testGateway {
	t.Helper()
	dataDir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dataDir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	g := &testGateway{t: t}
	g.ca, err = pki.Open(pki.Options{Dir: filepath.Join(dataDir, "pki"), FS: vfs.OS{}, Clock: wallClock{}, Store: db.Identity()})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", g.ca.HTTPConfig())
	if err != nil {
		t.Fatal(err)
	}
	g.est = "https://" + listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(g.serveEST), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	g.mqtt = g.freeAddr()
	return g
}

// freeAddr returns an address that nothing listens on now.
func (g *testGateway) freeAddr() string {
	g.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (g *testGateway) serveEST(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, pki.MaxESTBody+1))
	if err != nil {
		return
	}
	var answer []byte
	switch peers := r.TLS.PeerCertificates; {
	case r.URL.Path == wire.PathESTCACerts:
		answer = g.ca.CACerts()
		g.mu.Lock()
		g.polls++
		g.mu.Unlock()
	case len(peers) == 0:
		err = errors.New("no certificate")
	case r.URL.Path == wire.PathESTEnroll:
		answer, err = g.ca.Enroll(r.Context(), peers[0], body)
	case r.URL.Path == wire.PathESTReenroll:
		answer, err = g.ca.Reenroll(r.Context(), peers[0], body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	// in lines, as RFC 8951 lets a server do
	for len(answer) > 76 {
		w.Write(append(answer[:76:76], '\r', '\n'))
		answer = answer[76:]
	}
	w.Write(answer)
}

func (g *testGateway) polled() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.polls
}

// config returns the configuration of a device that trusts the gateway.
func (g *testGateway) config(thing, dir string) Config {
	return Config{Thing: thing, MQTTAddr: g.mqtt, ESTURL: g.est, RootPEM: g.ca.RootPEM(), Dir: dir}
}

func (g *testGateway) newDevice(cfg Config) *Device {
	g.t.Helper()
	d, err := NewDevice(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	return d
}

func (g *testGateway) allow(d *Device) {
	g.t.Helper()
	if err := g.ca.Allow(g.t.Context(), []pki.Allowed{{Key: d.KeyHash(), ThingName: d.Thing()}}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *testGateway) rootHash() string {
	block, _ := pem.Decode(g.ca.RootPEM())
	h := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(h[:])
}

// run runs d until the returned function is called, which waits for it.
func (g *testGateway) run(d *Device) (stop func() error) {
	ctx, cancel := context.WithCancel(g.t.Context())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

// broker is a real MQTT broker on g.mqtt.
type broker struct {
	server *mqtt.Server
	seen   chan string // topic and payload of each message
	close  func()
}

func (g *testGateway) broker() *broker {
	g.t.Helper()
	b := &broker{server: mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)}), seen: make(chan string, 1000)}
	err := errors.Join(
		b.server.AddHook(new(auth.AllowHook), nil),
		b.server.AddListener(listeners.NewTCP(listeners.Config{ID: "tls", Address: g.mqtt, TLSConfig: g.ca.MQTTConfig()})),
		b.server.Subscribe("dt/#", 1, func(_ *mqtt.Client, _ packets.Subscription, p packets.Packet) {
			b.seen <- p.TopicName + " " + string(p.Payload)
		}),
		b.server.Serve())
	if err != nil {
		g.t.Fatal(err)
	}
	b.close = sync.OnceFunc(func() { b.server.Close() })
	g.t.Cleanup(b.close)
	return b
}

// next returns the next message that the broker gets.
func (b *broker) next(t *testing.T) string {
	t.Helper()
	select {
	case m := <-b.seen:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("the broker gets nothing")
		return ""
	}
}

// script accepts device connections on g.mqtt one after the other and lets step n speak with the n-th. The test fails
// if one returns an error. It waits for all of them.
func (g *testGateway) script(steps ...func(*peer) error) (wait func()) {
	g.t.Helper()
	listener, err := tls.Listen("tcp", g.mqtt, g.ca.MQTTConfig())
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer listener.Close()
		for _, step := range steps {
			conn, err := listener.Accept()
			if err != nil {
				done <- err
				return
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			err = step(&peer{conn: conn})
			conn.Close()
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	g.t.Cleanup(func() { listener.Close() })
	return func() {
		g.t.Helper()
		if err := <-done; err != nil {
			g.t.Fatal(err)
		}
	}
}

// peer is the server's end of a scripted connection. It reads with the packet library of the broker, so that what the
// agent writes is judged by others.
type peer struct{ conn net.Conn }

func (p *peer) read() (packets.Packet, error) {
	var head [1]byte
	if _, err := io.ReadFull(p.conn, head[:]); err != nil {
		return packets.Packet{}, err
	}
	packet := packets.Packet{ProtocolVersion: 5}
	if err := packet.FixedHeader.Decode(head[0]); err != nil {
		return packet, err
	}
	size, _, err := packets.DecodeLength(oneByteReader{p.conn})
	if err != nil {
		return packet, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(p.conn, body); err != nil {
		return packet, err
	}
	packet.FixedHeader.Remaining = size
	switch packet.FixedHeader.Type {
	case packets.Connect:
		err = packet.ConnectDecode(body)
	case packets.Publish:
		err = packet.PublishDecode(body)
	case packets.Disconnect:
		err = packet.DisconnectDecode(body)
	}
	return packet, err
}

type oneByteReader struct{ r io.Reader }

func (o oneByteReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.r, b[:])
	return b[0], err
}

// welcome reads CONNECT and answers it with the given CONNACK after its first byte and length.
func (p *peer) welcome(connack ...byte) (packets.Packet, error) {
	packet, err := p.read()
	if err != nil {
		return packet, err
	}
	if packet.FixedHeader.Type != packets.Connect {
		return packet, errors.New("the first packet is no CONNECT")
	}
	return packet, p.send(append([]byte{packetConnack, byte(len(connack))}, connack...)...)
}

func (p *peer) send(bytes ...byte) error {
	_, err := p.conn.Write(bytes)
	return err
}

// testLog is a log to search in.
type testLog struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *testLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// eventually polls until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}
