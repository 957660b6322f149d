package ingest_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"
)

// proxied dials as a load balancer would, for a client at 203.0.113.<last>.
func (f *fixture) proxied(addr string, last byte) net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	header := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f"), 203, 0, 113, last, 192, 0, 2, 1, 0x12, 0x34, 0x22, 0xb3, 4, 0, 0)
	for _, b := range header { // as slowly as a network may
		if _, err := conn.Write([]byte{b}); err != nil {
			break // turned away already
		}
	}
	return conn
}

func TestProxyProtocol(t *testing.T) {
	eachTLS(t, true, func(t *testing.T, f *fixture) {
		f.config.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		f.config.AddressRate, f.config.AddressBurst = 0.001, 2
		f.start()
		watch := f.proxied(f.plain, 1)
		watcher := &client{t: t, conn: watch, version: 4}
		watcher.open("watcher")
		watcher.subscribe(1, "$aws/events/presence/connected/#", 0)

		secure := tls.Client(f.proxied(f.addr, 7), f.tlsConfigFor("lamp"))
		lamp := &client{t: t, conn: secure, version: 5}
		lamp.open("lamp")
		if e := watcher.event(); e.IPAddress != "203.0.113.7" {
			t.Fatalf("connected from %q", e.IPAddress)
		}
		lamp.send(publishPacket(5, "dt/lamp", `{"t":1}`, 1, 1, false))
		if first, _ := lamp.read(); first != 0x40 {
			t.Fatalf("got %x", first)
		}
		plain := &client{t: t, conn: f.proxied(f.plain, 8), version: 4}
		plain.open("fan")
		if e := watcher.event(); e.IPAddress != "203.0.113.8" {
			t.Fatalf("connected from %q", e.IPAddress)
		}
		plain.send(publishPacket(4, "dt/fan", `{"t":1}`, 1, 1, false))
		plain.expect(0x40, 2, 0, 1)

		// the limit is of who is behind the proxy: two each
		(&client{t: t, conn: f.proxied(f.plain, 8), version: 4}).open("fan2")
		(&client{t: t, conn: f.proxied(f.plain, 8), version: 4}).expectEnd()
		if n := f.server.Stats().RefusedBy["address rate"]; n != 1 {
			t.Fatalf("%d refused for their address", n)
		}
		// without a header, or with a wrong one, nobody comes in
		bare := f.dialPlain(4)
		bare.send(append(connectPacket(4, "bare"), make([]byte, 16)...))
		bare.expectEnd()
		if _, err := tls.Dial("tcp", f.addr, f.tlsConfigFor("lamp")); err == nil {
			t.Fatal("TLS without a header")
		}
		if n := f.server.Stats().RefusedBy["proxy header"]; n != 2 {
			t.Fatalf("%d refused for their header", n)
		}
	})
}

// A header from anywhere else is no header.
func TestProxyProtocolFromStrangers(t *testing.T) {
	f := newFixture(t, true)
	f.config.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.start()
	c := &client{t: t, conn: f.proxied(f.plain, 7), version: 4}
	c.expectEnd()
	f.connect(4, "lamp")
}

// A proxy that sends no header is given up.
func TestProxyHeaderInTime(t *testing.T) {
	f := newFixture(t, true)
	f.config.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	f.config.HelloTimeout = 50 * time.Millisecond
	f.start()
	c := f.dialPlain(4)
	c.send([]byte("\r\n\r\n"))
	c.expectEnd()
	eventually(t, "the connection is given up", func() bool { return f.server.Stats().RefusedBy["proxy header"] == 1 })
}

func (f *fixture) tlsConfigFor(name string) *tls.Config {
	config := f.tlsConfig(name)
	config.ServerName = "127.0.0.1"
	return config
}
