// Package agent is the device side: it makes a key that never leaves the device, enrolls over EST, renews its
// certificate, publishes over MQTT 5 with mutual TLS, and reads the telemetry of a Linux host.
//
// Device is a library for one device, used by the agent's own command and by simulated fleets; a process may have
// thousands. It imports nothing of muster but agent/wire. A connected device costs two goroutines.
package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"muster/agent/wire"
)

// Config says who a device is and where its gateway is. Thing, MQTTAddr and ESTURL are required; RootPEM or RootSHA256
// is, unless Dir has the root from before.
type Config struct {
	Thing    string
	MQTTAddr string // host:port
	ESTURL   string // https://host:port

	RootPEM    []byte // the gateway's root certificate
	RootSHA256 string // or the SHA-256 of its DER in hex: the root is fetched and must have this hash

	Dir string // for key.pem, cert.pem and ca.pem, made with mode 0700; empty: in memory only

	Log           *slog.Logger
	QueueMessages int           // messages waiting to be sent; default 1000; the oldest is dropped for a new one
	QueueBytes    int           // their payloads together; default 1 MiB
	KeepAlive     time.Duration // default 60 s; at most 18 h
	SessionExpiry time.Duration // how long the gateway keeps the MQTT session; default 1 h

	// Dial opens the TCP connection; default net.Dialer with 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Connected is called after each connect; it must not block.
	Connected func()
}

// Device is one device. Publish, Send and Stats are safe for concurrent use; Run runs once at a time.
type Device struct {
	cfg   Config
	log   *slog.Logger
	host  string // of MQTTAddr, for the server's name
	queue queue

	mu       sync.Mutex // guards all below; Run writes, others read
	identity *identity
	sessions tls.ClientSessionCache // holds tickets of the present certificate only
	stats    Stats
}

// Stats counts what a device has done since it was made.
type Stats struct {
	Connected bool
	Connects  uint64 // MQTT connections made
	Resumed   uint64 // of these, with a TLS session ticket
	Failures  uint64 // connections that failed or broke
	Enrolled  uint64 // certificates got, first ones and renewed ones
	Queued    int    // messages waiting or not yet acknowledged
	Acked     uint64 // messages the gateway has acknowledged
	Refused   uint64 // messages the gateway has refused
	Dropped   uint64 // messages dropped from a full queue
}

const (
	defaultQueueMessages = 1000
	defaultQueueBytes    = 1 << 20
	defaultKeepAlive     = time.Minute
	defaultSessionExpiry = time.Hour

	// handshakeTime bounds dialing, and TLS and CONNECT together. Small devices need about a second for TLS.
	handshakeTime = 10 * time.Second
	// stableAfter is how long a connection must hold for the back-off to start anew.
	stableAfter = 10 * time.Second
)

// NewDevice makes a device or loads the one in cfg.Dir. It does not use the network.
func NewDevice(cfg Config) (*Device, error) {
	if err := wire.CheckThingName(cfg.Thing); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(cfg.MQTTAddr)
	if err != nil || host == "" {
		return nil, fmt.Errorf("gateway address %q is not host:port", cfg.MQTTAddr)
	}
	if u, err := url.Parse(cfg.ESTURL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("enrollment address %q is not https://host:port", cfg.ESTURL)
	}
	cfg.ESTURL = strings.TrimSuffix(cfg.ESTURL, "/")
	if cfg.RootSHA256 != "" {
		if _, err := wire.ParseKeyHash(cfg.RootSHA256); err != nil {
			return nil, fmt.Errorf("root hash %q: want the SHA-256 of the root certificate as 64 hex digits", cfg.RootSHA256)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.QueueMessages = orDefault(cfg.QueueMessages, defaultQueueMessages)
	cfg.QueueBytes = orDefault(cfg.QueueBytes, defaultQueueBytes)
	cfg.KeepAlive = min(orDefault(cfg.KeepAlive, defaultKeepAlive), 65535*time.Second)
	cfg.SessionExpiry = orDefault(cfg.SessionExpiry, defaultSessionExpiry)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: handshakeTime}).DialContext
	}
	id, err := openIdentity(&cfg)
	if err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, log: cfg.Log.With("thing", cfg.Thing), host: host, identity: id, sessions: tls.NewLRUClientSessionCache(1)}
	d.queue.init(cfg.QueueMessages, cfg.QueueBytes)
	return d, nil
}

func orDefault[T int | time.Duration](value, fallback T) T {
	if value <= 0 {
		return fallback
	}
	return value
}

// Thing returns the device's name.
func (d *Device) Thing() string { return d.cfg.Thing }

// KeyHash returns the hash of the device's public key, for the gateway's allow-list.
func (d *Device) KeyHash() wire.KeyHash { return d.present().hash }

// Certificate returns the certificate got from the gateway, or nil.
func (d *Device) Certificate() *x509.Certificate { return d.present().leaf }

// Stats returns a snapshot of the counters.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	s := d.stats
	d.mu.Unlock()
	s.Queued, s.Acked, s.Refused, s.Dropped = d.queue.counts()
	return s
}

func (d *Device) present() *identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identity
}

// Run enrolls if needed, keeps a connection to the gateway and sends what is queued, until ctx ends; then it returns
// nil. What goes wrong is logged and tried again with full-jitter exponential back-off of at most a minute; an error
// is only what trying again cannot mend. Messages not acknowledged stay queued for the next Run.
func (d *Device) Run(ctx context.Context) error {
	attempt := 0
	for ctx.Err() == nil {
		err := d.ensureCertificate(ctx)
		if err == nil {
			started := time.Now()
			err = d.session(ctx)
			if time.Since(started) >= stableAfter {
				attempt = 0
			}
		}
		if errors.As(err, new(*permanentError)) {
			return err
		}
		if err == nil || ctx.Err() != nil { // the session ended by itself to use a renewed certificate
			continue
		}
		d.count(func(s *Stats) { s.Failures++ })
		delay := backoff(attempt, rand.Int64N)
		attempt++
		d.log.Warn("not connected", "err", err, "retryIn", delay.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
	return nil
}

func (d *Device) count(f func(*Stats)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.stats)
}

// permanentError is one that trying again does not mend.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Back-off bounds: a fleet that lost its gateway comes back spread over a minute.
const (
	backoffBase = 500 * time.Millisecond
	backoffCap  = time.Minute
)

// backoff returns how long to wait after the given number of failures in a row: a uniformly random time up to a
// ceiling that doubles from half a second to a minute ("full jitter"). random(n) returns a number in [0, n).
func backoff(attempt int, random func(n int64) int64) time.Duration {
	ceiling := backoffCap
	if attempt < 7 { // 2^7 * 500 ms is above the cap
		ceiling = min(backoffBase<<attempt, backoffCap)
	}
	return time.Duration(random(int64(ceiling))) + 1
}
