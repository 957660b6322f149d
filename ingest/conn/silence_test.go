package conn

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// helloBytes returns a whole ClientHello.
func helloBytes(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	hello := make([]byte, 16<<10)
	go tls.Client(here, &tls.Config{InsecureSkipVerify: true}).Handshake()
	n, err := there.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

// TestSilenceInTheHello: who says nothing, a byte, or half a hello is cut off when its time is over, however many do the same and however slow
// those are that come to an end: they wait for nobody, and nobody for them.
func TestSilenceInTheHello(t *testing.T) {
	hello := helloBytes(t)
	for _, said := range []int{0, 1, len(hello) / 2} {
		synctest.Test(t, func(t *testing.T) {
			const patience = 5 * time.Second
			d := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Refused: func(string) {}, CompactTLS: true,
				HelloTimeout: patience, MaxConns: 10_000, MaxHandshakes: 2, AddressRate: 10_000, AddressBurst: 10_000})
			d.paused.Store(int64(time.Second)) // as of clients on a machine that has other things to do
			shake, err := d.handshakeOf(&tls.Config{ClientAuth: tls.RequireAnyClientCert})
			if err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			for range 4 * maxBegun {
				here, there := net.Pipe()
				d.admit(there, shake)
				group.Go(func() {
					began := time.Now()
					if _, err := here.Write(hello[:said]); err != nil {
						t.Error(err)
					}
					_, _ = io.Copy(io.Discard, here) // until it is closed
					if took := time.Since(began); took > patience {
						t.Errorf("%d bytes said: open for %v", said, took)
					}
				})
			}
			// without a word of the others, one who means it has its answer at once
			synctest.Wait()
			honest, there := net.Pipe()
			d.admit(there, shake)
			began := time.Now()
			if _, err := honest.Write(hello); err != nil {
				t.Fatal(err)
			}
			if _, err := honest.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%d bytes said: an honest client waits %v", said, took)
			}
			honest.Close()
			group.Wait()
			d.Close()
			d.Abort()
		})
	}
}
