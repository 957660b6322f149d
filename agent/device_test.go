package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"muster/pki"
)

// A device waits to be allowed, enrolls, publishes, and after a restart connects with what it has.
func TestDeviceLife(t *testing.T) {
	g := newTestGateway(t)
	b := g.broker()
	dir := filepath.Join(t.TempDir(), "device")
	cfg := g.config("lamp-1", dir)
	log := &testLog{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	d := g.newDevice(cfg)
	stop := g.run(d)
	eventually(t, "a refusal that names the key", func() bool { return log.has(d.KeyHash().String() + " is not on the allow-list") })
	if d.Certificate() != nil || d.Stats().Connected {
		t.Fatal("connected without being allowed")
	}
	g.allow(d)
	for i := range 3 {
		if err := d.Publish(t.Context(), "dt/lamp-1", fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
		if got, want := b.next(t), fmt.Sprintf(`dt/lamp-1 {"n":%d}`, i); got != want {
			t.Fatalf("the broker got %q, want %q", got, want)
		}
	}
	if s := d.Stats(); !s.Connected || s.Connects != 1 || s.Enrolled != 1 || s.Acked != 3 || s.Queued != 0 {
		t.Fatalf("%+v", s)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "key.pem": 0o600, "cert.pem": 0o644, "ca.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Fatalf("%q has mode %v, want %v (%v)", name, info.Mode().Perm(), want, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}

	// a restart: no enrollment; the root certificate is known from before; then a resumed connection
	polls := g.polled()
	cfg.RootPEM = nil
	d = g.newDevice(cfg)
	for i := range 2 {
		stop = g.run(d)
		if err := d.Publish(t.Context(), "dt/lamp-1", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		b.next(t)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if s := d.Stats(); s.Connected || s.Connects != uint64(i+1) || s.Resumed != uint64(i) {
			t.Fatalf("run %d: %+v", i, s)
		}
	}
	if g.polled() != polls {
		t.Fatal("it enrolled although it had a certificate")
	}
}

// A certificate that is due is renewed during a connection, and the new connection shows the new one.
func TestRenew(t *testing.T) {
	g := newTestGateway(t)
	b := g.broker()
	dir := t.TempDir()
	d := g.newDevice(g.config("lamp-1", dir))
	g.allow(d)
	if err := d.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := d.Certificate()
	life := first.NotAfter.Sub(first.NotBefore)
	if at := d.present().renewAt.Sub(first.NotBefore); at < life/3*2 || at > life/3*2+life/12 {
		t.Fatalf("renewal after %v of a life of %v", at, life)
	}
	d.identity.renewAt = time.Now().Add(200 * time.Millisecond)
	stop := g.run(d)
	eventually(t, "a renewed certificate in use", func() bool { return d.Stats().Connects == 2 && d.Stats().Connected })
	if d.Certificate().Equal(first) || d.Stats().Resumed != 0 || d.Stats().Failures != 0 {
		t.Fatalf("same certificate: %v, %+v", d.Certificate().Equal(first), d.Stats())
	}
	if err := d.Publish(t.Context(), "dt/lamp-1", []byte("1")); err != nil {
		t.Fatal(err)
	}
	b.next(t)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	certs, err := g.ca.Certificates(t.Context(), "lamp-1")
	if err != nil || len(certs) != 2 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	kept := g.newDevice(g.config("lamp-1", dir))
	if !kept.Certificate().Equal(d.Certificate()) {
		t.Fatal("the renewed certificate is not in the folder")
	}
	// a renewal that fails is put off, and no reason not to connect
	d.cfg.ESTURL = "https://" + g.freeAddr()
	d.identity.renewAt = time.Now().Add(-time.Second)
	stop = g.run(d)
	if err := d.Publish(t.Context(), "dt/lamp-1", []byte("2")); err != nil {
		t.Fatal(err)
	}
	stop()
	if until := time.Until(d.present().renewAt); until < time.Hour {
		t.Fatalf("the next try is in %v", until)
	}
}

func TestTrust(t *testing.T) {
	g := newTestGateway(t)
	f := func(change func(*Config), want string) {
		t.Helper()
		cfg := g.config("lamp-1", t.TempDir())
		change(&cfg)
		d, err := NewDevice(cfg)
		if err == nil {
			g.allow(d)
			err = d.Enroll(t.Context())
			if err := g.ca.RemoveAllowed(t.Context(), d.KeyHash()); err != nil {
				t.Fatal(err)
			}
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	f(func(*Config) {}, "")
	f(func(c *Config) { c.Dir = "" }, "")
	// the root's hash instead of the root, as openssl prints it
	f(func(c *Config) { c.RootPEM, c.RootSHA256 = nil, g.rootHash() }, "")
	f(func(c *Config) { c.RootPEM, c.RootSHA256 = nil, strings.ToUpper(g.rootHash()) }, "")
	f(func(c *Config) { c.RootPEM, c.RootSHA256 = nil, strings.Repeat("ab", 32) }, "not the gateway you named")
	f(func(c *Config) { c.RootPEM, c.RootSHA256 = nil, "abc" }, "64 hex digits")
	f(func(c *Config) { c.RootPEM = nil }, "nothing says which gateway to trust")
	f(func(c *Config) { c.RootPEM = []byte("x") }, "not a PEM certificate")
	// another gateway's root
	f(func(c *Config) { c.RootPEM = newTestGateway(t).ca.RootPEM() }, "certificate signed by unknown authority")
	f(func(c *Config) { c.MQTTAddr = "gateway" }, "not host:port")
	f(func(c *Config) { c.ESTURL = "http://gateway" }, "not https://")
	f(func(c *Config) { c.Thing = "a/b" }, "position 1")
}

func TestFolder(t *testing.T) {
	g := newTestGateway(t)
	dir := t.TempDir()
	d := g.newDevice(g.config("lamp-1", dir))
	hash := d.KeyHash()
	if again := g.newDevice(g.config("lamp-1", dir)); again.KeyHash() != hash {
		t.Fatal("a restart made another key")
	}
	f := func(thing, want string) {
		t.Helper()
		if _, err := NewDevice(g.config(thing, dir)); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	chmod := func(name string, mode fs.FileMode) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod("key.pem", 0o640)
	f("lamp-1", "chmod 600")
	chmod("key.pem", 0o600)
	chmod("", 0o770)
	f("lamp-1", "chmod 700")
	chmod("", 0o700)
	g.allow(d)
	if err := d.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	f("lamp-2", `is for thing "lamp-1", not "lamp-2"`)
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	f("lamp-1", "not a certificate of the key beside it")
}

// The allow-list decides on the name; a device that goes by another one says so and stops.
func TestOtherName(t *testing.T) {
	g := newTestGateway(t)
	dir := t.TempDir()
	d := g.newDevice(g.config("lamp-1", dir))
	if err := g.ca.Allow(t.Context(), []pki.Allowed{{Key: d.KeyHash(), ThingName: "lamp-7"}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `as thing "lamp-7", not "lamp-1"`) {
		t.Fatalf("got %v", err)
	}
	// the certificate is not lost
	if d = g.newDevice(g.config("lamp-7", dir)); d.Certificate() == nil {
		t.Fatal("no certificate")
	}
}

// Messages survive the broker: what was not acknowledged is sent again, in order.
func TestBrokerGoesAndComes(t *testing.T) {
	g := newTestGateway(t)
	d := g.newDevice(g.config("lamp-1", ""))
	g.allow(d)
	first := g.broker()
	stop := g.run(d)
	defer stop()
	if err := d.Publish(t.Context(), "dt/lamp-1", []byte("0")); err != nil {
		t.Fatal(err)
	}
	first.next(t)
	first.close()
	eventually(t, "the end of the connection", func() bool { return !d.Stats().Connected })
	for i := 1; i <= 50; i++ {
		if err := d.Send("dt/lamp-1", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	second := g.broker()
	for i := 1; i <= 50; i++ {
		if got, want := second.next(t), fmt.Sprint("dt/lamp-1 ", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	eventually(t, "all acknowledged", func() bool { s := d.Stats(); return s.Acked == 51 && s.Queued == 0 && s.Dropped == 0 })
	if s := d.Stats(); s.Failures == 0 || s.Connects != 2 {
		t.Fatalf("%+v", s)
	}
}

// A connection that breaks between a message and its acknowledgment: the message comes again with the same id, marked
// as a duplicate if the session was kept, and in the window that the gateway gives.
func TestSendAgain(t *testing.T) {
	g := newTestGateway(t)
	d := g.newDevice(g.config("lamp-1", ""))
	g.allow(d)
	var ids [2]uint16
	wait := g.script(
		func(p *peer) error {
			connect, err := p.welcome(0, 0, 3, propReceiveMaximum, 0, 2) // two in flight
			if err != nil {
				return err
			}
			if c := connect.Connect; c.ClientIdentifier != "lamp-1" || c.Clean || c.Keepalive != 60 || connect.Properties.SessionExpiryInterval != 3600 {
				return fmt.Errorf("CONNECT %+v %+v", c, connect.Properties)
			}
			for i := range ids {
				m, err := p.read()
				if err != nil {
					return err
				}
				if ids[i] = m.PacketID; m.FixedHeader.Dup || m.FixedHeader.Qos != 1 || string(m.Payload) != fmt.Sprint(i) {
					return fmt.Errorf("message %d: %+v", i, m)
				}
			}
			return nil // and no acknowledgment
		},
		func(p *peer) error {
			if _, err := p.welcome(1, 0, 3, propReceiveMaximum, 0, 1); err != nil {
				return err
			}
			for i := range 3 {
				m, err := p.read()
				if err != nil {
					return err
				}
				again := i < 2
				if string(m.Payload) != fmt.Sprint(i) || m.FixedHeader.Dup != again || again && m.PacketID != ids[i] || !again && (m.PacketID == ids[0] || m.PacketID == ids[1]) {
					return fmt.Errorf("message %d: %+v", i, m)
				}
				if i == 1 { // a duplicate acknowledgment is no harm
					p.send(packetPuback, 2, 0xFF, 0xFF)
				}
				if err := p.send(packetPuback, 2, byte(m.PacketID>>8), byte(m.PacketID)); err != nil {
					return err
				}
			}
			_, err := p.read() // until the device says goodbye
			return err
		})
	for i := range 3 {
		if err := d.Send("dt/lamp-1", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	stop := g.run(d)
	eventually(t, "three acknowledgments", func() bool { return d.Stats().Acked == 3 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wait()
}

// What a server may say instead of what a device hopes for ends the connection with a reason in the log.
func TestServerWords(t *testing.T) {
	g := newTestGateway(t)
	f := func(want string, step func(*peer) error) {
		t.Helper()
		g.mqtt = g.freeAddr()
		cfg := g.config("lamp-1", "")
		log := &testLog{}
		cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		d := g.newDevice(cfg)
		g.allow(d)
		wait := g.script(step)
		stop := g.run(d)
		eventually(t, want, func() bool { return log.has(want) })
		stop()
		wait()
	}
	// refused with a reason string
	f("refused the connection: not authorized: why", func(p *peer) error {
		_, err := p.welcome(0, 0x87, 6, propReason, 0, 3, 'w', 'h', 'y')
		return err
	})
	f("malformed packet", func(p *peer) error { p.read(); return p.send('H', 3, 'T', 'T', 'P') })
	f("at most 16384 were agreed on", func(p *peer) error {
		_, err := p.welcome(0, 0, 0)
		return errors.Join(err, p.send(packetPublish, 0xFF, 0xFF, 0x7F))
	})
	f("ended the connection: the server is shutting down", func(p *peer) error {
		_, err := p.welcome(0, 0, 0)
		return errors.Join(err, p.send(packetDisconnect, 1, 0x8B))
	})
	f("type 2, which has no place here", func(p *peer) error {
		_, err := p.welcome(0, 0, 0)
		return errors.Join(err, p.send(packetConnack, 3, 0, 0, 0))
	})
	// says nothing more, not even to pings
	f("silent for 2s", func(p *peer) error {
		_, err := p.welcome(0, 0, 3, propServerKeepAlive, 0, 1)
		for err == nil {
			_, err = p.read()
		}
		return nil
	})
}

// The server's keep-alive brings pings; a message that is refused tells its sender.
func TestPingAndRefusedMessage(t *testing.T) {
	g := newTestGateway(t)
	d := g.newDevice(g.config("lamp-1", ""))
	g.allow(d)
	pinged := make(chan struct{})
	wait := g.script(func(p *peer) error {
		if _, err := p.welcome(0, 0, 3, propServerKeepAlive, 0, 1); err != nil {
			return err
		}
		packet, err := p.read()
		if err != nil || packet.FixedHeader.Type != packets.Pingreq {
			return fmt.Errorf("want a ping, got %+v, %v", packet.FixedHeader, err)
		}
		p.send(packetPingresp, 0)
		close(pinged)
		if packet, err = p.read(); err != nil || packet.FixedHeader.Type != packets.Publish {
			return fmt.Errorf("want a message, got %+v, %v", packet.FixedHeader, err)
		}
		if err := p.send(packetPuback, 4, byte(packet.PacketID>>8), byte(packet.PacketID), 0x97, 0); err != nil {
			return err
		}
		packet, err = p.read()
		if err != nil || packet.FixedHeader.Type != packets.Disconnect {
			return fmt.Errorf("want a goodbye, got %+v, %v", packet.FixedHeader, err)
		}
		return nil
	})
	stop := g.run(d)
	<-pinged
	err := d.Publish(t.Context(), "dt/lamp-1", []byte("x"))
	if refused := (*RefusedError)(nil); !errors.As(err, &refused) || refused.Code != 0x97 || !strings.Contains(err.Error(), "quota") {
		t.Fatalf("got %v", err)
	}
	stop()
	wait()
}

// A revoked device is told by TLS and keeps its tries far apart.
func TestRevoked(t *testing.T) {
	g := newTestGateway(t)
	g.broker()
	cfg := g.config("lamp-1", "")
	log := &testLog{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	d := g.newDevice(cfg)
	g.allow(d)
	stop := g.run(d)
	eventually(t, "a connection", func() bool { return d.Stats().Connected })
	stop()
	if err := g.ca.RevokeThing(t.Context(), "lamp-1"); err != nil {
		t.Fatal(err)
	}
	stop = g.run(d)
	eventually(t, "a refusal", func() bool { return log.has("bad certificate") })
	stop()
	if s := d.Stats(); s.Connects != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestPublishEnds(t *testing.T) {
	g := newTestGateway(t)
	cfg := g.config("lamp-1", "")
	cfg.QueueMessages = 2
	d := g.newDevice(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Publish(ctx, "dt/lamp-1", []byte("x")); !errors.Is(err, context.Canceled) || d.Stats().Queued != 0 {
		t.Fatalf("%v, %+v", err, d.Stats())
	}
	// a message that has to make room tells its sender
	result := make(chan error, 1)
	go func() { result <- d.Publish(t.Context(), "dt/lamp-1", []byte("x")) }()
	eventually(t, "one queued", func() bool { return d.Stats().Queued == 1 })
	for range 2 {
		if err := d.Send("dt/lamp-1", []byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-result; !errors.Is(err, ErrDropped) {
		t.Fatalf("got %v", err)
	}
	if err := d.Send("", nil); err == nil {
		t.Fatal("a message without a topic")
	}
	if err := d.Send("a", make([]byte, maxPayload+1)); err == nil {
		t.Fatal("a payload without a bound")
	}
}

func TestBackoff(t *testing.T) {
	low := func(int64) int64 { return 0 }
	high := func(n int64) int64 { return n - 1 }
	want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	for attempt, ceiling := range want {
		if got := backoff(attempt, high); got != ceiling {
			t.Fatalf("attempt %d: up to %v, want %v", attempt, got, ceiling)
		}
		if got := backoff(attempt, low); got > time.Microsecond {
			t.Fatalf("attempt %d: at least %v, want next to nothing", attempt, got)
		}
	}
	if got := backoff(1_000_000, high); got != time.Minute {
		t.Fatalf("after very many: %v", got)
	}
}

// While the gateway is away for a day, a device tries about twice a minute, and stops at once when it is told to.
func TestGatewayAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		d, err := NewDevice(Config{
			Thing: "lamp-1", MQTTAddr: "gateway:8883", ESTURL: "https://gateway:8443", RootSHA256: strings.Repeat("ab", 32),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials++
				return nil, errors.New("no route to host")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		started := time.Now()
		if err := d.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(started); passed != 24*time.Hour {
			t.Fatalf("stopped after %v", passed)
		}
		if dials < 2400 || dials > 3400 { // the mean wait is 30 s: 2,880
			t.Fatalf("%d tries in a day", dials)
		}
	})
}
