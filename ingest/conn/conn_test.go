package conn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// newPair returns a certificate with the serial number 1 and its key.
func newPair(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestPanicInHandshake ends that connection, is logged with its place, and gives back the token of the handshake.
func TestPanicInHandshake(t *testing.T) {
	for name, compact := range map[string]bool{"stdlib": false, "compact": true} {
		t.Run(name, func(t *testing.T) {
			pair := newPair(t)
			var calm atomic.Bool
			config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, VerifyConnection: func(tls.ConnectionState) error {
				if !calm.Load() {
					panic("certificate from hell")
				}
				return nil
			}}
			var log bytes.Buffer
			d := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: metrics.NewSet(), Refused: func(string) {}, CompactTLS: compact,
				HelloTimeout: 5 * time.Second, MaxConns: 10, MaxHandshakes: 1, AddressRate: 100, AddressBurst: 100,
				Serve: func(conn net.Conn, cert *x509.Certificate, _ func()) bool {
					_, _ = conn.Write(cert.SerialNumber.Bytes()) // read by the test
					conn.Close()
					return false
				}})
			l, err := d.Listen("127.0.0.1:0", config)
			if err != nil {
				t.Fatal(err)
			}
			go l.Accept()
			dial := func() []byte {
				t.Helper()
				raw, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer raw.Close()
				if err := raw.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(tls.Client(raw, &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})) // an error is no bytes
				return got
			}
			for range 3 {
				if got := dial(); len(got) > 0 {
					t.Fatalf("served %x", got)
				}
			}
			calm.Store(true)
			if got := dial(); !bytes.Equal(got, []byte{1}) {
				t.Fatalf("after the panics: %x", got)
			}
			d.Close()
			d.Abort()
			if n := d.panics.Get(); n != 3 || strings.Count(log.String(), "certificate from hell") != 3 || !strings.Contains(log.String(), "conn_test.go") {
				t.Fatalf("%d panics, logged as %s", n, log.String())
			}
		})
	}
}

// newGreeter returns a door whose TLS listener says a byte to everyone with a certificate, and that certificate.
func newGreeter(t *testing.T, helloTimeout time.Duration) (*Door, *Listener, tls.Certificate) {
	t.Helper()
	pair := newPair(t)
	d := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Refused: func(string) {}, CompactTLS: true,
		HelloTimeout: helloTimeout, MaxConns: 1000, MaxHandshakes: 2, AddressRate: 10_000, AddressBurst: 10_000,
		Serve: func(conn net.Conn, cert *x509.Certificate, _ func()) bool {
			_, _ = conn.Write(cert.SerialNumber.Bytes()) // read by the test
			conn.Close()
			return false
		}})
	l, err := d.Listen("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	go l.Accept()
	return d, l, pair
}

// greeted checks that a client with the certificate gets its byte.
func greeted(t *testing.T, l *Listener, pair tls.Certificate) {
	t.Helper()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, []byte{1}) {
		t.Fatalf("served %x, %v", got, err)
	}
}

// TestSlowHandshakesStopNobody: more clients than may be under way say hello and nothing else; who comes then does not wait for them.
func TestSlowHandshakesStopNobody(t *testing.T) {
	d, l, pair := newGreeter(t, 20*time.Second)
	hello := helloBytes(t)
	for range maxBegun + 20 {
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		if _, err := raw.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	greeted(t, l, pair)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("an honest client waited %v", took)
	}
	d.Close()
	d.Abort()
}

// TestWaitingIsNotTheClientsTime: who has to wait for others longer than it may pause itself is served all the same.
func TestWaitingIsNotTheClientsTime(t *testing.T) {
	const patience = 1500 * time.Millisecond
	d, l, pair := newGreeter(t, patience)
	host := addrOf(connFrom{from: l.Addr()})
	taken := 0
	for d.turns.shares.take(host) {
		taken++
	}
	time.AfterFunc(patience+300*time.Millisecond, func() {
		for range taken {
			d.turns.end(host)
		}
	})
	greeted(t, l, pair)
	d.Close()
	d.Abort()
}
