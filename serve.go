package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/admin"
	"muster/admin/ui"
	"muster/ingest"
	"muster/pki"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/account"
	"muster/registry/fleetmetric"
	"muster/registry/store"
	"muster/tsdb"
	"muster/tsdb/intake"
	"muster/tsdb/prom"
	"muster/tsdb/remote"
	"muster/tsdb/vfs"
)

// closeBound is how long one part may take to end.
const closeBound = 10 * time.Second

// gateway is everything that runs in one process, opened in the order of its fields.
type gateway struct {
	settings *settings
	log      *slog.Logger
	metrics  *metrics.Set
	files    vfs.FS
	clock    vfs.Clock

	database   *store.DB
	things     *registry.Registry
	identities *pki.Authority
	access     *access.Book
	reviews    *reviews
	topics     *ingest.Topics // besides dt/<thing>; nil: none
	accounts   *account.Accounts
	telemetry  *tsdb.Store
	forward    *remote.Forwarder // nil: remote.url is not set
	readings   *typeReadings
	queries    *prom.API
	intake     *intake.Intake
	devices    *ingest.Server
	switches   *admin.Events
	metering   *fleetmetric.Metrics
	people     *admin.Server

	backing sync.Mutex // held while a backup is made

	closers []closer
}

// closer ends one part.
type closer struct {
	name  string
	bound time.Duration
	close func(context.Context) error
}

func serveCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	s, err := loadSettings("serve", args, os.Environ(), out)
	if err != nil {
		return err
	}
	if s.check {
		s.print(out)
		return nil
	}
	collectAt(gcPercent)
	g, err := openGateway(ctx, s, errs)
	if err != nil {
		return err
	}
	g.offerSetup(ctx)
	g.announce(out)
	return g.run(ctx)
}

// openGateway opens every part in order. When one does not open, those before it are closed again.
func openGateway(ctx context.Context, s *settings, logTo io.Writer) (_ *gateway, err error) {
	g := &gateway{settings: s, log: newLog(s, logTo), metrics: metrics.NewSet(), files: vfs.OS{}, clock: vfs.SystemClock{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	boot, err := readBootstrap(s.bootstrap)
	if err != nil {
		return nil, err
	}
	if boot.AccountID != "" {
		s.awsAccount, s.origin["aws.account-id"] = boot.AccountID, "file "+s.bootstrap
		if err := s.validate(); err != nil {
			return nil, err
		}
	}
	for _, open := range []func(context.Context, *bootstrap) error{
		g.openFolder, g.openRegistry, g.openIdentities, g.openAccess, g.openAccounts, g.openTelemetry, g.openDevices, g.openRecords, g.openPeople,
	} {
		if err := open(ctx, boot); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func newLog(s *settings, to io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		panic("BUG: log.level was validated: " + err.Error())
	}
	opts := &slog.HandlerOptions{Level: level}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, opts))
	}
	return slog.New(slog.NewTextHandler(to, opts))
}

func (g *gateway) path(elements ...string) string {
	return filepath.Join(append([]string{g.settings.dataDir}, elements...)...)
}

func (g *gateway) onClose(name string, close func(context.Context) error) {
	g.closers = append(g.closers, closer{name, closeBound, close})
}

func (g *gateway) openFolder(context.Context, *bootstrap) error {
	if err := g.files.MkdirAll(g.settings.dataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	lock, err := g.files.Lock(g.path("lock"))
	if err != nil {
		return err
	}
	g.onClose("data folder", func(context.Context) error { return lock.Close() })
	if _, err := os.Lstat(g.path(unfinishedName)); err == nil {
		return errUnfinished(g.settings.dataDir)
	}
	return os.RemoveAll(g.path(stagingName)) // of a backup that a power cut has ended
}

func (g *gateway) openRegistry(ctx context.Context, _ *bootstrap) (err error) {
	if g.database, err = store.Open(ctx, g.path("registry.db")); err != nil {
		return err
	}
	g.onClose("registry database", func(context.Context) error { return g.database.Close() })
	defer collectLate()()
	g.things, err = registry.Open(ctx, registry.Options{
		Store: g.database, Clock: g.clock, Log: g.log, Metrics: g.metrics,
		AccountID: g.settings.awsAccount, Region: g.settings.awsRegion,
		MaxAttributes: g.settings.limits.attributes, MaxTypeAttributes: g.settings.limits.typeAttributes,
		MaxGroupDepth: g.settings.limits.groupDepth, MaxGroupChildren: g.settings.limits.groupChildren,
		MaxGroupsPerThing: g.settings.limits.groupsPerThing, MaxGroupsPerHierarchy: g.settings.limits.groupsPerHierarchy,
		MaxQueryTerms: g.settings.limits.queryTerms,
	})
	if err != nil {
		return err
	}
	g.onClose("registry", func(context.Context) error { return g.things.Close() })
	return nil
}

func (g *gateway) openIdentities(ctx context.Context, boot *bootstrap) error {
	passphrase := ""
	if name := g.settings.pkiPassphraseFile; name != "" {
		text, err := readBounded(name)
		if err != nil {
			return fmt.Errorf("setting pki.passphrase-file: %w", err)
		}
		passphrase = strings.TrimRight(string(text), "\r\n")
	}
	var err error
	g.identities, err = pki.Open(pki.Options{
		Dir: g.path("pki"), FS: g.files, Clock: g.clock, Log: g.log, Metrics: g.metrics, Store: g.database.Identity(),
		RootFile: g.path("ca.pem"), RootKeyFile: g.path("root-key.pem"),
		KeyPassphrase: passphrase, UnlockKeyFile: g.settings.pkiUnlockFile, CredentialsDirectory: os.Getenv("CREDENTIALS_DIRECTORY"),
		ServerNames: splitNames(g.settings.httpNames), Life: time.Duration(g.settings.pkiLife),
		Enrolled: enrolled(g.things), Changed: g.certificateChanged, ServerKeys: g.settings.pkiServerKeys,
	})
	if err != nil {
		return err
	}
	renew, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.identities.Run(renew)
	}()
	g.onClose("identities", func(ctx context.Context) error {
		stop()
		return wait(ctx, done)
	})
	if err := boot.clientCAs(g.identities.AddClientCA); err != nil {
		return err
	}
	allowed, err := boot.allowed()
	if err != nil {
		return err
	}
	if _, err := g.identities.EnsureAllowed(ctx, allowed); err != nil {
		return fmt.Errorf("bootstrap file: allow: %w", err)
	}
	return nil
}

// openAccess opens the policies. Until the devices' listener is open, nobody has rights that could change.
func (g *gateway) openAccess(ctx context.Context, boot *bootstrap) error {
	document, err := boot.devicePolicy()
	if err != nil {
		return err
	}
	if g.topics, err = ingest.ParseTopics(splitNames(g.settings.ingestTopics)); err != nil {
		return err
	}
	g.reviews = newReviews()
	opts := access.Options{
		Store: g.database.Access(), Things: g.things, Groups: g.things, Now: g.clock.Now, Log: g.log, Metrics: g.metrics,
		Region: g.settings.awsRegion, AccountID: g.settings.awsAccount,
		Default: document, Certificate: g.facts, Changed: g.reviews.add, Linked: g.indexCertificates,
	}
	if g.topics != nil && len(boot.DefaultPolicy) == 0 { // the least-privilege policy knows dt/<thing> only
		opts.Telemetry = g.topics.Match
	}
	if g.access, err = access.Open(ctx, opts); err != nil {
		return err
	}
	g.things.Taggable("policy", g.access.Exists)
	things, groups := g.access.Orphans()
	for _, thing := range things {
		if err := g.forgetIdentity(ctx, thing); err != nil {
			return fmt.Errorf("certificates of a deleted thing: %w", err)
		}
	}
	for _, group := range groups {
		if err := g.access.ForgetGroup(ctx, group); err != nil {
			return fmt.Errorf("policies of a deleted group: %w", err)
		}
	}
	if err := g.indexAllCertificates(ctx); err != nil {
		return fmt.Errorf("certificates of things: %w", err)
	}
	return nil
}

func (g *gateway) openAccounts(ctx context.Context, boot *bootstrap) (err error) {
	g.accounts, err = account.New(account.Options{Store: g.database.Accounts(), Sealer: g.identities, Clock: g.clock, Log: g.log, Metrics: g.metrics})
	if err != nil {
		return err
	}
	if err := g.accounts.Apply(ctx, boot.Bootstrap); err != nil {
		return fmt.Errorf("bootstrap file: %w", err)
	}
	return nil
}

func (g *gateway) openTelemetry(context.Context, *bootstrap) (err error) {
	retire, err := g.openForward()
	if err != nil {
		return err
	}
	g.telemetry, err = tsdb.Open(tsdb.Options{
		Dir: g.path("tsdb"), FS: g.files, Clock: g.clock, Log: g.log, Metrics: g.metrics,
		MemoryBytes: cmp.Or(int64(g.settings.tsdbMemory), machineMemory()/4), Retention: time.Duration(g.settings.tsdbRetention),
		RetentionTier5m: time.Duration(g.settings.tsdbRetention5m), RetentionTier1h: time.Duration(g.settings.tsdbRetention1h),
		DiskLimitBytes: int64(g.settings.tsdbDiskLimit), AckMemory: g.settings.ingestAck == "memory", Retire: retire,
	})
	if err != nil {
		return err
	}
	g.onClose("telemetry", func(context.Context) error { return g.telemetry.Close() })
	g.things.FollowTelemetry(newLiveTelemetry(g.telemetry))
	g.onClose("dynamic groups", func(context.Context) error { g.things.StopFollowing(); return nil })
	g.startForward(g.telemetry, directory{g.things})
	if g.readings, err = openReadings(g.database.Readings(), g.things, g.telemetry.Dict(), g.clock, g.log); err != nil {
		return err
	}
	g.queries = prom.New(g.telemetry, directory{g.things}, prom.Options{Units: g.readings.Units, Clock: g.clock, Version: version, Log: g.log, Metrics: g.metrics})
	g.things.FollowExpressions(expressions{g.queries, directory{g.things}})
	g.intake = intake.New(intake.Options{Store: g.telemetry, Things: g.queries, Clock: g.clock, Log: g.log, Metrics: g.metrics})
	return nil
}

func (g *gateway) openDevices(context.Context, *bootstrap) (err error) {
	sessions := g.settings.ingestSessions
	sessions.SessionExpiry = time.Duration(g.settings.ingestSessionExpiry)
	drain := cmp.Or(time.Duration(g.settings.ingestDrain), -1)
	g.devices, err = ingest.Open(ingest.Options{
		Store: g.telemetry, Gate: &gate{g.identities, g.things, g.access}, Presence: presence{g.things}, Things: directory{g.things}, Schemas: g.readings,
		TLS: g.identities.MQTTConfig(), Addr: g.settings.mqttAddr,
		PlainAddr: g.settings.mqttPlainAddr, PlainAnywhere: g.settings.mqttPlainAnywhere,
		Dir: g.path("sessions"), FS: g.files, Clock: g.clock, Log: g.log, Metrics: g.metrics,
		Config: ingest.Config{Drain: drain, Packets: g.settings.ingestPackets, Sessions: sessions, Topics: g.topics, Sparkplug: g.settings.ingestSparkplug,
			CompactTLS: g.settings.ingestTLS == "compact", Ciphers: ciphersIn(machineMemory()), Loop: g.settings.ingestLoop, ProxyFrom: g.settings.ingestProxyFrom,
			MaxConns: g.settings.ingestMaxConns, ThingRates: g.settings.ingestThingRates, TotalRates: g.settings.ingestRates,
			AddressRate: float64(g.settings.mqttPerAddress), AddressBurst: 20 * g.settings.mqttPerAddress},
	})
	if err != nil {
		return err
	}
	g.closers = append(g.closers, closer{"devices", closeBound + 2*time.Duration(g.settings.ingestDrain), g.devices.Shutdown})
	g.watchRights()
	g.forgetDeleted()
	if g.switches, err = admin.OpenEvents(g.files, g.settings.dataDir); err != nil {
		return err
	}
	events := &registryEvents{on: g.switches, devices: g.devices, clock: g.clock, accountID: g.settings.awsAccount}
	g.things.OnChange(events.thing)
	g.things.OnChange(events.typeOfThing)
	g.things.OnType(events.thingType)
	g.things.OnGroup(groupEvents{events, g.things}.announce)
	g.things.OnMembership(membershipEvents{events, g.things}.announce)
	return nil
}

// watchRights lets changes of things and groups be in force on each device's next packet, and closes the connections that
// they no longer allow.
func (g *gateway) watchRights() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.reviews.run(ctx, g.things, g.devices)
	}()
	g.onClose("reviews of rights", func(ctx context.Context) error {
		stop()
		return wait(ctx, done)
	})
	g.things.OnChange(func(c registry.Change) {
		if c.Op != registry.Created {
			g.access.ThingChanged(c.Thing.ID)
		}
	})
	g.things.OnMembership(func(c registry.MembershipChange) { g.access.MembershipChanged(c.Thing) })
	g.things.OnGroup(func(c registry.GroupChange) {
		if c.Op == registry.Moved {
			g.access.GroupMoved()
		}
	})
}

// forgetDeleted ends what deleted things and groups leave behind, beside the registry's writer.
func (g *gateway) forgetDeleted() {
	type ending struct {
		name string
		end  func(context.Context) error
	}
	deleted := make(chan ending, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d := range deleted {
			if err := d.end(context.Background()); err != nil {
				g.log.Error("something stays of what was deleted", "name", d.name, "err", err)
			}
		}
	}()
	g.onClose("deletions", func(ctx context.Context) error {
		close(deleted)
		return wait(ctx, done)
	})
	g.things.OnChange(func(c registry.Change) {
		if c.Op == registry.Deleted {
			deleted <- ending{c.Thing.Name, func(ctx context.Context) error { return g.forget(ctx, c.Thing.Name, c.Thing.ID) }}
		}
	})
	g.things.OnGroup(func(c registry.GroupChange) {
		if c.Op == registry.Deleted {
			deleted <- ending{c.Group.Name, func(ctx context.Context) error { return g.access.ForgetGroup(ctx, c.Group.ID) }}
		}
	})
}

func (g *gateway) openPeople(context.Context, *bootstrap) (err error) {
	g.people, err = admin.Open(admin.Options{
		Addr: g.settings.httpAddr, LocalSocket: g.path(localSocketName), TLS: g.identities.HTTPConfig(),
		DataDir: g.settings.dataDir, FS: g.files, Clock: g.clock, Log: g.log, Metrics: g.metrics, Version: version,
		Accounts: g.accounts, Registry: g.things, Telemetry: g.telemetry, Identity: g.identities, Access: g.access, FleetMetrics: g.metering,
		Query: func(ctx context.Context, method, path string, form url.Values) (int, string, []byte) {
			r := g.queries.Serve(ctx, method, path, form)
			return r.Status, r.ContentType, r.Body
		},
		Intake: g.intake.Serve, Raw: raw{g.queries},
		Traffic: g.traffic, NotReady: g.notReady, MQTT: g.devices.ServeConn, Messages: messages{g.devices}, Troubles: troubles{g.devices}, Readings: g.readings, Events: g.switches, MQTTAddr: g.devices.Addr, UI: ui.FS(),
		Backup: g.backup,
	})
	if err != nil {
		return err
	}
	g.onClose("people", g.people.Shutdown)
	return nil
}

// traffic is what the devices have sent, for the overview.
func (g *gateway) traffic() admin.Traffic {
	stats := g.devices.Stats()
	return admin.Traffic{Messages: stats.Messages, Refused: stats.Refused}
}

// notReady says why nothing can be enrolled now; "" where it can.
func (g *gateway) notReady() string {
	if err := g.identities.TimeTrusted(); err != nil {
		return err.Error()
	}
	return ""
}

// run serves until ctx ends or a part fails for good, and closes everything.
func (g *gateway) run(ctx context.Context) error {
	go g.devices.Serve()
	go g.people.Serve()
	failed := g.watch(ctx)
	if failed == nil {
		g.log.Info("stopping")
	}
	return errors.Join(failed, g.close())
}

// watch waits for the end of ctx, or for a disk that failed: nothing can be acknowledged then, so that a clean end with
// a sentence is best.
func (g *gateway) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.clock.After(time.Second):
			if err := g.telemetry.Ready(); errors.Is(err, tsdb.ErrFailed) {
				return err
			}
		}
	}
}

// close ends the parts in reverse order, each within its bound. A part that does not end is left behind, so that those
// below it, which have data to commit, still end.
func (g *gateway) close() error {
	var errs []error
	for _, part := range slices.Backward(g.closers) {
		if err := part.end(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", part.name, err))
		}
	}
	g.closers = nil
	return errors.Join(errs...)
}

func (c closer) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.bound)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.close(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(c.bound + time.Second):
		return fmt.Errorf("not done after %s", c.bound)
	}
}

// announce prints a line per listener and then "ready".
func (g *gateway) announce(out io.Writer) {
	fmt.Fprintln(out, "listening mqtt", g.devices.Addr())
	if plain := g.devices.PlainAddr(); plain != nil {
		fmt.Fprintln(out, "listening mqtt-plain", plain)
	}
	fmt.Fprintln(out, "listening http", g.people.Addr())
	fmt.Fprintln(out, "ready")
}

// offerSetup logs the one-time setup code until an admin exists.
func (g *gateway) offerSetup(ctx context.Context) {
	code, err := g.people.OpenSetup(ctx)
	switch {
	case err != nil:
		g.log.Error("no setup code", "err", err)
	case code != "":
		g.log.Warn("no admin yet: open the address and enter the setup code within an hour", "url", g.people.URL("/setup"), "code", code)
	}
}

func splitNames(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
