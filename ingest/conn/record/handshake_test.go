package record

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestTicketsOfGo holds crypto/tls to what the take-over relies on: one ticket under the application keys, in the flight of the
// handshake when no certificate is asked for and after the client's when one is. A Go release that does otherwise fails here.
func TestTicketsOfGo(t *testing.T) {
	c, conn, _ := connect(t, newLayer(t, serverConfig()).Handshake, clientConfig()) // this client asks for no ticket
	if sent := conn.(*Conn).state.out.seq; sent != 0 {
		t.Fatalf("%d records were sent", sent)
	}
	echo(conn)
	exchange(t, c, text(100))
	for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert, tls.RequireAndVerifyClientCert} {
		for _, disabled := range []bool{false, true} {
			t.Run(fmt.Sprint(auth, " tickets disabled ", disabled), func(t *testing.T) {
				eachSuite(t, func(t *testing.T, id uint16) {
					config := serverConfig()
					config.ClientAuth, config.SessionTicketsDisabled = auth, disabled
					l := newLayer(t, config)
					client := clientConfig()
					client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
					for round := range 2 {
						c, conn, state := connect(t, l.Handshake, client)
						want := uint64(1)
						if disabled {
							want = 0
						}
						s := conn.(*Conn).state
						if s.out.seq != want || s.in.seq != 0 || state.CipherSuite != id || state.DidResume != (round == 1 && !disabled) {
							t.Fatalf("round %d: %d records were sent and %d read, suite %#x, resumed %v", round, s.out.seq, s.in.seq, state.CipherSuite, state.DidResume)
						}
						ended := echo(conn)
						exchange(t, c, text(100))
						c.Close()
						if err := <-ended; err != nil {
							t.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// exchange sends b to an echo and reads it back.
func exchange(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		for rest := b; len(rest) > 0; {
			n := min(1+rand.IntN(1+len(b)), len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				written <- err
				return
			}
			rest = rest[n:]
		}
		written <- nil
	}()
	got := make([]byte, len(b))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes went, %d came back: %v", len(b), n, err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// TestEcho: crypto/tls' client and this record layer understand each other at every size.
func TestEcho(t *testing.T) {
	eachSuite(t, func(t *testing.T, _ uint16) {
		c, conn, _ := connect(t, newLayer(t, serverConfig()).Handshake, clientConfig())
		ended := echo(conn)
		sizes := []int{1, 2, 15, 16, 17, smallBuffer - 30, smallBuffer, smallBuffer + 1, MaxPlain - 1, MaxPlain, MaxPlain + 1, 3*MaxPlain + 7, 500_000}
		for range 50 {
			sizes = append(sizes, 1+rand.IntN(3*MaxPlain))
		}
		for _, n := range sizes {
			exchange(t, c, text(n))
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// heldConn holds what is written until flush.
type heldConn struct {
	net.Conn
	held []byte
	hold atomic.Bool
}

func (h *heldConn) Write(b []byte) (int, error) {
	if !h.hold.Load() {
		return h.Conn.Write(b)
	}
	h.held = append(h.held, b...)
	return len(b), nil
}

// TestNothingIsReadTooEarly: the client's data may come in one segment with its Finished.
func TestNothingIsReadTooEarly(t *testing.T) {
	eachSuite(t, func(t *testing.T, _ uint16) {
		raw, serverRaw := socketPair(t)
		held := &heldConn{Conn: raw}
		config := clientConfig()
		config.VerifyConnection = func(tls.ConnectionState) error { // the flight of the server is there; the client's comes
			held.hold.Store(true)
			return nil
		}
		client := tls.Client(held, config)
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		l := newLayer(t, serverConfig())
		go func() {
			conn, _, err := l.Handshake(t.Context(), serverRaw)
			done <- result{conn, err}
		}()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		want := text(20_000)
		if _, err := client.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := raw.SetDeadline(time.Time{}); err != nil { // CloseWrite has ended it
			t.Fatal(err)
		}
		if _, err := raw.Write(held.held); err != nil {
			t.Fatal(err)
		}
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		defer r.conn.Close()
		if got, err := io.ReadAll(r.conn); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of %d: %v", len(got), len(want), err)
		}
	})
}

// TestResumption: a session is resumed, with its certificate, and VerifyConnection has its say then too.
func TestResumption(t *testing.T) {
	revoked := errors.New("revoked")
	for name, make := range map[string]func(*tls.Config) handshaker{"compact": func(c *tls.Config) handshaker { return newLayer(t, c).Handshake }, "stdlib": stdlib} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			var refuse atomic.Bool
			config := serverConfig()
			config.VerifyConnection = func(state tls.ConnectionState) error {
				calls.Add(1)
				if len(state.PeerCertificates) != 1 || refuse.Load() {
					return revoked
				}
				return nil
			}
			server := make(config)
			client := clientConfig()
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 3 {
				c, conn, state := connect(t, server, client)
				if state.DidResume != (i > 0) || int(calls.Load()) != i+1 || state.PeerCertificates[0].Subject.CommonName != "lamp-1" {
					t.Fatalf("connection %d: resumed %v, %d checks, %v", i, state.DidResume, calls.Load(), state.PeerCertificates)
				}
				echo(conn)
				exchange(t, c, text(10)) // the ticket is read
				c.Close()
			}
			refuse.Store(true)
			raw, serverRaw := socketPair(t)
			c := tls.Client(raw, client)
			go func() {
				_ = c.HandshakeContext(context.Background()) // ends on the client's side before the server has said no
			}()
			if _, _, err := server(t.Context(), serverRaw); !errors.Is(err, revoked) {
				t.Fatalf("a revoked certificate came back: %v", err)
			}
		})
	}
}

// TestTLS12KeepsCryptoTLS: and its secrets are not logged.
func TestTLS12KeepsCryptoTLS(t *testing.T) {
	l := newLayer(t, serverConfig())
	config := clientConfig()
	config.MaxVersion = tls.VersionTLS12
	c, conn, state := connect(t, l.Handshake, config)
	std, ok := conn.(*tls.Conn)
	if !ok || state.Version != tls.VersionTLS12 || len(state.PeerCertificates) != 1 {
		t.Fatalf("%T, version %#x", conn, state.Version)
	}
	if below := std.NetConn().(*tap); below.log != (keyLog{}) || len(below.sent) > 0 {
		t.Fatal("something of a TLS 1.2 handshake is kept")
	}
	echo(conn)
	exchange(t, c, text(100_000))
	if l.tls12.Get() != 1 || l.compact.Get() != 0 {
		t.Fatalf("counted %d and %d", l.tls12.Get(), l.compact.Get())
	}
	// a listener that wants no TLS 1.3 gets none
	old := serverConfig()
	old.MaxVersion = tls.VersionTLS12
	if _, conn, _ := connect(t, newLayer(t, old).Handshake, clientConfig()); conn.(*tls.Conn).ConnectionState().Version != tls.VersionTLS12 {
		t.Fatal("MaxVersion is not kept")
	}
}

// TestTap: a read ends with its record, whatever has come; after stop nothing is lost.
func TestTap(t *testing.T) {
	first, second := "\x16\x03\x01\x00\x04abcd", "\x14\x03\x03\x00\x01\x01"
	for _, size := range []int{1, 3, 5, 7, 8, 100} {
		raw := &pieces{Conn: discard{}, next: func() int { return size }, stream: []byte(first + second + "\x17\x03\x03the rest")}
		c := &tap{Conn: raw, buf: make([]byte, smallBuffer)}
		var got []byte
		b := make([]byte, 100)
		for len(got) < len(first+second) {
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b[:n]...)
			if len(got) > len(first) && len(got)-n < len(first) {
				t.Fatalf("pieces of %d: %q was read over the end of a record", size, b[:n])
			}
		}
		c.stop()
		c.buf = nil
		rest, err := io.ReadAll(c)
		if err != nil || string(got)+string(rest) != first+second+"\x17\x03\x03the rest" {
			t.Fatalf("pieces of %d: %q %q %v", size, got, rest, err)
		}
	}
}

// TestEarlyDataOfTLS12: on a resumed session of TLS 1.2 too, data may come in one segment with the Finished.
func TestEarlyDataOfTLS12(t *testing.T) {
	l := newLayer(t, serverConfig())
	config := clientConfig()
	config.MaxVersion = tls.VersionTLS12
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	connect(t, l.Handshake, config)
	raw, serverRaw := socketPair(t)
	held := &heldConn{Conn: raw}
	config.VerifyConnection = func(tls.ConnectionState) error {
		held.hold.Store(true)
		return nil
	}
	client := tls.Client(held, config)
	received := make(chan string, 1)
	go func() {
		conn, state, err := l.Handshake(t.Context(), serverRaw)
		if err != nil || !state.DidResume {
			received <- fmt.Sprintf("resumed %v, %v", state.DidResume, err)
			return
		}
		got, err := io.ReadAll(conn)
		received <- fmt.Sprint(string(got), err)
	}()
	if _, err := client.Write([]byte("at once")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := raw.SetDeadline(time.Time{}); err != nil { // CloseWrite has ended it
		t.Fatal(err)
	}
	if _, err := raw.Write(held.held); err != nil {
		t.Fatal(err)
	}
	if got := <-received; got != "at once<nil>" {
		t.Fatal(got)
	}
}

// TestTakeOver: the records under the application keys are found among the others, and what does not add up is refused.
func TestTakeOver(t *testing.T) {
	handshakeRecord := "\x17\x03\x03\x00\x20" + strings.Repeat("h", 32)
	changeCipherSpec := "\x14\x03\x03\x00\x01\x01"
	sender, _ := newPair(t, tls.TLS_AES_128_GCM_SHA256)
	tickets := make([]string, 3)
	for i := range tickets {
		tickets[i] = string(sender.Seal(nil, TypeHandshake, []byte{4, 0, 0, byte(i)}))
	}
	f := func(want int, sent ...string) {
		t.Helper()
		c := &tap{sent: []byte(strings.Join(sent, ""))}
		c.log.clientSize, c.log.serverSize = 32, 32
		copy(c.log.client[:], sender.in.secret[:32])
		copy(c.log.server[:], sender.out.secret[:32])
		var s State
		err := c.takeOver(&s, NewCache(2), tls.TLS_AES_128_GCM_SHA256)
		if (err != nil) != (want < 0) || err == nil && (s.out.seq != uint64(want) || s.in.seq != 0) {
			t.Fatalf("%d records, %v; want %d", s.out.seq, err, want)
		}
	}
	f(0)
	f(0, changeCipherSpec, handshakeRecord)
	f(1, changeCipherSpec, handshakeRecord, tickets[0])
	f(3, tickets...)
	f(-1, tickets[0], handshakeRecord)
	f(-1, tickets[0], tickets[0])
	f(-1, tickets[0], tickets[1][:20])
	f(-1, tickets[0], tickets[1][:3])
	var s State
	c := &tap{headLen: HeaderSize}
	if err := c.takeOver(&s, NewCache(2), tls.TLS_AES_128_GCM_SHA256); err == nil {
		t.Fatal("taken over within a record")
	}
	if err := new(tap).takeOver(&s, NewCache(2), tls.TLS_AES_128_GCM_SHA256); err == nil {
		t.Fatal("taken over without secrets")
	}
}

// TestConfigIsKept: what the configuration of the listener says counts, but for its key log.
func TestConfigIsKept(t *testing.T) {
	var log bytes.Buffer
	inner := serverConfig()
	inner.KeyLogWriter = &log
	outer := &tls.Config{KeyLogWriter: &log, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "refused.example" {
			return nil, errors.New("not here")
		}
		return inner, nil
	}}
	l := newLayer(t, outer)
	c, conn, state := connect(t, l.Handshake, clientConfig())
	if len(state.PeerCertificates) != 1 {
		t.Fatal("the configuration of GetConfigForClient was not used")
	}
	echo(conn)
	exchange(t, c, text(10))
	old := clientConfig()
	old.MaxVersion = tls.VersionTLS12
	connect(t, l.Handshake, old)
	if log.Len() > 0 {
		t.Fatalf("secrets were written to the key log of the configuration: %q", log.String())
	}
	got := conn.(*Conn).ConnectionState()
	if got.Version != tls.VersionTLS13 || !got.HandshakeComplete || got.CipherSuite != state.CipherSuite || got.PeerCertificates != nil {
		t.Fatalf("%+v", got)
	}

	raw, serverRaw := socketPair(t)
	config := clientConfig()
	config.ServerName = "refused.example"
	failed := make(chan error, 1)
	go func() { failed <- tls.Client(raw, config).Handshake() }()
	if _, _, err := l.Handshake(t.Context(), serverRaw); err == nil || !strings.Contains(err.Error(), "not here") {
		t.Fatalf("the error of GetConfigForClient: %v", err)
	}
	if <-failed == nil {
		t.Fatal("the client was let in")
	}
}

// TestNoCertificate: what crypto/tls refuses stays refused.
func TestNoCertificate(t *testing.T) {
	raw, serverRaw := socketPair(t)
	config := clientConfig()
	config.Certificates = nil
	go func() { _ = tls.Client(raw, config).HandshakeContext(context.Background()) }() // the server says how it ends
	if _, _, err := newLayer(t, serverConfig()).Handshake(t.Context(), serverRaw); err == nil {
		t.Fatal("a client without a certificate was let in")
	}
}

// TestKeyLog: only the two secrets are taken, the line is wiped, and nothing is left after the handshake.
func TestKeyLog(t *testing.T) {
	random, secret := strings.Repeat("ab", 32), strings.Repeat("c0", 32)
	var k keyLog
	write := func(label, secret string) error {
		line := []byte(label + " " + random + " " + secret + "\n")
		_, err := k.Write(line)
		if !bytes.Equal(line, make([]byte, len(line))) {
			t.Fatalf("the line %q is not wiped", line)
		}
		return err
	}
	for _, label := range []string{"CLIENT_RANDOM", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "EXPORTER_SECRET"} {
		if err := write(label, secret); err != nil || k != (keyLog{}) {
			t.Fatalf("%s is taken, %v", label, err)
		}
	}
	if err := write("CLIENT_TRAFFIC_SECRET_0", secret); err != nil || k.clientSize != 32 || k.client[31] != 0xc0 || k.serverSize != 0 {
		t.Fatalf("%+v %v", k, err)
	}
	if err := write("SERVER_TRAFFIC_SECRET_0", strings.Repeat("01", 48)); err != nil || k.serverSize != 48 || k.server[47] != 1 {
		t.Fatalf("%+v %v", k, err)
	}
	for _, bad := range []string{"xy", "0", strings.Repeat("01", 49)} {
		if err := write("SERVER_TRAFFIC_SECRET_0", bad); err == nil {
			t.Fatalf("%q is taken", bad)
		}
	}
	if k.wipe(); k != (keyLog{}) {
		t.Fatal("not wiped")
	}
}

// TestKeyUpdatesAgainstCryptoTLS: crypto/tls and this package answer a client's key updates in the same way, and agree on the keys that follow.
func TestKeyUpdatesAgainstCryptoTLS(t *testing.T) {
	eachSuite(t, func(t *testing.T, _ uint16) {
		for name, server := range map[string]handshaker{"compact": newLayer(t, serverConfig()).Handshake, "stdlib": stdlib(serverConfig())} {
			t.Run(name, func(t *testing.T) {
				p, conn := connectPeer(t, server)
				ended := echo(conn)
				for i := range 20 {
					want := fmt.Sprint("message ", i)
					asked := i%3 == 1
					switch i % 3 {
					case 1:
						p.keyUpdate(updateRequested)
					case 2:
						p.keyUpdate(updateNotRequested)
					}
					p.send(TypeApplicationData, []byte(want), 5*i)
					if asked {
						p.expectUpdate(updateNotRequested)
					}
					p.expect(TypeApplicationData, want)
				}
				p.send(TypeAlert, []byte{levelWarning, 0}, 0)
				p.expect(TypeAlert, "\x01\x00")
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}

// TestScriptsAgainstCryptoTLS plays what a client may send, at random and cut at random, to both servers: each echoes the same data.
func TestScriptsAgainstCryptoTLS(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachSuite(t, func(t *testing.T, _ uint16) {
		for name, server := range map[string]handshaker{"compact": newLayer(t, serverConfig()).Handshake, "stdlib": stdlib(serverConfig())} {
			t.Run(name, func(t *testing.T) {
				for script := range 6 {
					playScript(t, server, rand.New(rand.NewPCG(seed, uint64(script))))
				}
			})
		}
	})
}

func playScript(t *testing.T, server handshaker, r *rand.Rand) {
	p, conn := connectPeer(t, server)
	ended := echo(conn)
	var stream, data []byte
	updates := 0
	for range 60 {
		switch kind := r.IntN(10); {
		case kind == 0:
			stream = p.state.seal(stream, TypeApplicationData, nil, r.IntN(50))
		case kind == 1 && updates < 10:
			updates++
			message := []byte{typeKeyUpdate, 0, 0, 1, byte(r.IntN(2))}
			cut := r.IntN(len(message))
			if cut > 0 {
				stream = p.state.seal(stream, TypeHandshake, message[:cut], r.IntN(3))
			}
			stream = p.state.seal(stream, TypeHandshake, message[cut:], r.IntN(3))
			p.state.update(&p.state.out)
			fallthrough
		default: // data, so that records without it never become too many
			n := 1 + r.IntN(1<<r.IntN(14))
			b := text(n)
			stream = p.state.seal(stream, TypeApplicationData, b, r.IntN(1+min(200, MaxPlain-n)))
			data = append(data, b...)
		}
	}
	stream = p.state.seal(stream, TypeAlert, []byte{levelWarning, 0}, 0)
	sent := make(chan error, 1)
	go func() {
		for len(stream) > 0 {
			n := min(1+r.IntN(1<<r.IntN(16)), len(stream))
			if _, err := p.raw.Write(stream[:n]); err != nil {
				sent <- err
				return
			}
			stream = stream[n:]
		}
		sent <- nil
	}()
	var got []byte
	for {
		typ, content := p.next()
		if typ == TypeAlert {
			break
		}
		if typ == TypeHandshake {
			p.state.update(&p.state.in)
			continue
		}
		got = append(got, content...)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), len(data), err)
	}
}
