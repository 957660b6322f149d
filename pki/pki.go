// Package pki is the identity service: it owns the gateway's certificate authority, the allow-list of device keys,
// enrolment over EST, renewal, revocation, and the TLS configurations of both listeners.
//
// It speaks neither HTTP nor SQL: admin carries the EST bodies, registry/store keeps the rows. Authority is safe for
// concurrent use. It starts no goroutine; the caller runs Run in one, which renews the server certificate, keeps
// the last seen time and drops rows of certificates that ended long ago.
//
// Locks, in order: Authority.allowMu, Authority.statusMu, revocations.mu, special.mu, lastSeen.mu, refusals.mu. None but statusMu
// is held while a callback runs.
package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// FS is the part of the file system that pki needs; names are slash paths. WriteFile replaces a file in one step.
type FS interface {
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte, perm fs.FileMode) error
	MkdirAll(dir string, perm fs.FileMode) error
	Remove(name string) error
}

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Options are the settings of an Authority. Dir, FS, Clock and Store are required, all else has a default.
type Options struct {
	Dir     string // <data-dir>/pki: authority.pem, server.pem, master.key, last-seen
	FS      FS
	Clock   Clock
	Log     *slog.Logger
	Metrics *metrics.Set
	Store   Store

	RootFile    string // public root certificate; default <Dir>/../ca.pem
	RootKeyFile string // root key, written once for the operator to take away; default <Dir>/../root-key.pem

	// What unlocks the keys at rest: the passphrase, or else a file with a random key. UnlockKeyFile empty: the file
	// "muster-unlock-key" in CredentialsDirectory (systemd's $CREDENTIALS_DIRECTORY) if it is there, or else
	// <Dir>/unlock.key, which is made at first start.
	KeyPassphrase        string
	UnlockKeyFile        string
	CredentialsDirectory string

	ServerNames []string            // more DNS names and IP addresses for the server certificate, at most 32
	Addresses   func() []netip.Addr // addresses of this machine for the server certificate; default: those of its interfaces
	Life        time.Duration       // of a device certificate, 1 h to 825 d; default 30 d
	AllowRSA    bool                // accept RSA keys of 2048 to 4096 bits from devices

	// Enrolled is called before the first certificate of an allowed key is issued, so that the thing can be made.
	// An error refuses the enrolment.
	Enrolled func(ctx context.Context, thingName, thingTypeName string) error
	// Changed is called after a certificate was made, changed its status or was deleted (then its status is Inactive or
	// Revoked), before who asked for it is answered. cert is as it is now, maybe without PEM.
	Changed func(ctx context.Context, cert Certificate) error
	// ServerKeys lets CreateKeys make keys of devices here.
	ServerKeys bool
}

const (
	rootLife   = 20 * 365 * 24 * time.Hour
	interLife  = 10 * 365 * 24 * time.Hour
	serverLife = 90 * 24 * time.Hour
	deviceLife = 30 * 24 * time.Hour
	// backdate lets a device whose clock is a little slow use its certificate at once.
	backdate = 5 * time.Minute

	minDeviceLife = time.Hour
	maxDeviceLife = 825 * 24 * time.Hour
	maxNames      = 32
)

// Authority is the certificate authority of one gateway.
type Authority struct {
	opts Options
	log  *slog.Logger

	ring     *keyring
	time     *lastSeen
	root     *x509.Certificate
	inter    *x509.Certificate
	interKey *ecdsa.PrivateKey
	rootPEM  []byte
	caCerts  []byte // EST body: intermediate and root

	server    atomic.Pointer[tls.Certificate]
	clientCAs atomic.Pointer[[]clientCA] // copied on write
	addCA     sync.Mutex                 // serializes AddClientCA

	signed  signedCache
	revoked revocations
	special special
	refused refusals

	allowMu  sync.Mutex // one change of the allow-list at a time
	statusMu sync.Mutex // one change of a certificate's status at a time
}

// Open loads the authority kept in opts.Dir or, at first start, makes it.
//
// Errors are sentences that say what to do: keys that do not unlock, files that do not belong together, a clock that
// cannot be right at first start.
func Open(opts Options) (*Authority, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	if err := opts.FS.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pki folder %q: %w", opts.Dir, err)
	}
	a := &Authority{opts: opts, log: opts.Log}
	a.refused.init(opts.Metrics)
	a.time = openLastSeen(opts.FS, opts.Clock, path.Join(opts.Dir, "last-seen"), opts.Log)
	a.clientCAs.Store(&[]clientCA{})
	var err error
	if a.ring, err = openKeyring(&opts); err != nil {
		return nil, err
	}
	if err := a.openAuthority(); err != nil {
		return nil, err
	}
	if err := a.loadRevoked(context.Background()); err != nil {
		return nil, fmt.Errorf("load revoked certificates: %w", err)
	}
	if err := a.loadSpecial(context.Background()); err != nil {
		return nil, fmt.Errorf("load inactive certificates: %w", err)
	}
	if err := a.openServer(); err != nil {
		return nil, err
	}
	if _, err := opts.FS.ReadFile(opts.RootKeyFile); err == nil {
		a.log.Warn("the root key is still on this machine: move it to a safe place offline, muster does not need it", "file", opts.RootKeyFile)
	}
	if left := a.inter.NotAfter.Sub(a.time.now()); left < 365*24*time.Hour {
		a.log.Warn("the intermediate certificate ends within a year: make a new one with the root key (docs/security.md)", "until", a.inter.NotAfter)
	}
	opts.Metrics.GetOrCreateGauge(`muster_pki_not_after_seconds{certificate="intermediate"}`, func() float64 { return float64(a.inter.NotAfter.Unix()) })
	opts.Metrics.GetOrCreateGauge(`muster_pki_not_after_seconds{certificate="server"}`, func() float64 { return float64(a.server.Load().Leaf.NotAfter.Unix()) })
	return a, nil
}

// complete checks the options and fills the defaults in.
func (o *Options) complete() error {
	if o.Dir == "" || o.FS == nil || o.Clock == nil || o.Store == nil {
		return errors.New("BUG: pki needs Dir, FS, Clock and Store")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.RootFile == "" {
		o.RootFile = path.Join(o.Dir, "..", "ca.pem")
	}
	if o.RootKeyFile == "" {
		o.RootKeyFile = path.Join(o.Dir, "..", "root-key.pem")
	}
	if o.Addresses == nil {
		o.Addresses = interfaceAddresses
	}
	if o.Life == 0 {
		o.Life = deviceLife
	}
	if o.Life < minDeviceLife || o.Life > maxDeviceLife {
		return fmt.Errorf("the life of device certificates is %v: it must be between %v and %v", o.Life, minDeviceLife, maxDeviceLife)
	}
	return checkServerNames(o.ServerNames)
}

// RootPEM returns the root certificate, which devices and browsers trust. The caller must not change it.
func (a *Authority) RootPEM() []byte { return a.rootPEM }

// TimeTrusted returns nil, or why the clock is not trusted now and nothing is issued.
func (a *Authority) TimeTrusted() error { _, err := a.time.issuing(); return err }

// tick is how often Run looks at the time and the server certificate.
const tick = 10 * time.Minute

// Run keeps the authority current until ctx ends: the server certificate is renewed at two thirds of its life or when
// this machine's addresses change, the last seen time is kept, rows of certificates that ended long ago are dropped.
func (a *Authority) Run(ctx context.Context) {
	var purged time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.opts.Clock.After(tick):
		}
		if err := a.TimeTrusted(); err != nil {
			a.log.Warn("no certificate is issued", "err", err)
			continue
		}
		if err := a.renewServer(); err != nil {
			a.log.Error("renew the server certificate", "err", err)
		}
		if now := a.time.now(); now.Sub(purged) >= 24*time.Hour {
			purged = now
			if err := a.opts.Store.Purge(ctx, now.Add(-keepEnded).UnixMilli()); err != nil && ctx.Err() == nil {
				a.log.Error("drop ended certificates", "err", err)
			}
		}
	}
}

// keepEnded is how long the row of a certificate stays after its end.
const keepEnded = 30 * 24 * time.Hour

// Seal encrypts a secret for keeping at rest; only this gateway's master key opens it. Format: docs/formats/keyfile.md.
func (a *Authority) Seal(plain []byte) ([]byte, error) { return a.ring.seal("secret", plain) }

// Unseal opens what Seal made. It refuses changed bytes, other gateways' bytes and unknown versions.
func (a *Authority) Unseal(sealed []byte) ([]byte, error) { return a.ring.unseal("secret", sealed) }

// certPEM returns certificates as PEM, in order.
func certPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
