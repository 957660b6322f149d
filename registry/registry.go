// Package registry is the domain: things and thing types by AWS IoT's rules, and who is connected.
//
// All of it lives in memory, loaded from the Store at Open. A write goes to the Store first (its commit is the
// durable moment), then to memory, then to the OnChange listeners, then back to the caller: a read that starts
// after a write returned sees it. One goroutine (commit.go) makes all writes and shares one transaction among the
// callers that wait at the same time; readers take a read lock for a map lookup and get immutable records.
// The index (registry/index) changes with the memory, so that a query (query.go) after a write is exact, too.
//
// A thing has a dense id (uint32, from 1) which is never used again, also not after a restart. It joins the
// registry to telemetry and bitsets. Connectivity is kept by id in presence.go and persisted in groups.
//
// The package knows no SQL, no HTTP and no MQTT: registry/store implements its Store, admin and main call it.
package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry/index"
	"muster/registry/query"
)

// Clock tells the time and waits (the subset of the project's clock that the registry uses).
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Options configures Open. Store and Clock are required; a zero limit takes its default.
type Options struct {
	Store   Store
	Clock   Clock
	Log     *slog.Logger // nil: silent
	Metrics *metrics.Set // nil: not published
	Rand    io.Reader    // of UUIDs; nil: crypto/rand

	AccountID string // 12 digits in ARNs; default 000000000000
	Region    string // of ARNs; default "local"

	MaxThings         int           // default 1,000,000
	MaxThingTypes     int           // default 1,000
	MaxAttributes     int           // of a thing without a type; default 3 (AWS)
	MaxTypeAttributes int           // of a thing with a type; default 50 (AWS)
	TypeDeleteAfter   time.Duration // from deprecation to deletion; default 5 min (AWS)
	FlushEvery        time.Duration // connects and disconnects are persisted this often; default 3 s
	SeenEvery         time.Duration // a thing's last-seen time alone is persisted this often; default 1 min
	MaxQueryTerms     int           // default 512; AWS's is 12
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.AccountID == "" {
		o.AccountID = "000000000000"
	}
	if o.Region == "" {
		o.Region = "local"
	}
	orInt := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	orInt(&o.MaxThings, 1_000_000)
	orInt(&o.MaxThingTypes, 1_000)
	orInt(&o.MaxAttributes, 3)
	orInt(&o.MaxTypeAttributes, 50)
	orDuration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	orDuration(&o.TypeDeleteAfter, 5*time.Minute)
	orDuration(&o.FlushEvery, 3*time.Second)
	orDuration(&o.SeenEvery, time.Minute)
	return o
}

// Registry is the open registry. All methods are safe for concurrent use.
type Registry struct {
	opts     Options
	metrics  gauges
	presence presence

	// fleet is held for reading while a query runs and for writing while anything changes that a query may see (not:
	// last-seen times). It guards index, groups and telemetry, and is taken before mu. Simple reads do without it, so
	// that they never wait for a query.
	fleet     sync.RWMutex
	index     *index.Index
	groups    map[uint32][]string // by thing; sorted, never changed
	telemetry query.Telemetry     // nil: none

	// The writing goroutine alone writes these, under fleet and mu; it reads them without. mu is taken before
	// presence.mu.
	mu        sync.RWMutex
	things    map[string]*record
	byID      []*record // index: id; nil: deleted, or never given
	order     nameOrder
	types     map[string]*typeRecord
	listeners []func(Change) // guarded by mu, written by OnChange

	// Of the writing goroutine, until stopped is closed.
	nextID      uint32
	failing     bool  // the last write failed
	presenceErr error // of the last flush

	writes    chan *write
	closing   chan struct{}
	stopped   chan struct{}
	closeOnce sync.Once
}

type gauges struct {
	commits, writes, writeErrors *metrics.Counter
}

// maxID keeps ids in a signed 32-bit column.
const maxID = 1<<31 - 1

// Open loads everything from the store and starts the writing goroutine; Close ends it. The caller closes the
// registry before the store. Things that were connected when the registry was last written are offline with the
// reason "gateway restarted" since they were last seen.
func Open(ctx context.Context, opts Options) (*Registry, error) {
	r := &Registry{
		opts:    opts.withDefaults(),
		things:  make(map[string]*record),
		types:   make(map[string]*typeRecord),
		groups:  make(map[uint32][]string),
		writes:  make(chan *write, maxGroup),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("load registry: %w", err)
	}
	set := r.opts.Metrics
	r.metrics = gauges{
		commits:     set.GetOrCreateCounter("muster_registry_commits_total"),
		writes:      set.GetOrCreateCounter("muster_registry_writes_total"),
		writeErrors: set.GetOrCreateCounter("muster_registry_write_errors_total"),
	}
	set.GetOrCreateGauge("muster_registry_things", func() float64 { return float64(r.Count()) })
	set.GetOrCreateGauge("muster_registry_connected_things", func() float64 { return float64(r.presence.connectedCount()) })
	go r.run()
	return r, nil
}

func (r *Registry) load(ctx context.Context) error {
	var records []*record
	var bad error
	next, err := r.opts.Store.LoadThings(ctx,
		func(t ThingType) { r.types[t.Name] = &typeRecord{name: t.Name, typ: t} },
		func(t Thing, c Connectivity) {
			rec, err := r.recordOf(t)
			if err != nil {
				bad = err
				return
			}
			records = append(records, rec)
			r.things[rec.name] = rec
			r.setByID(rec)
			if rec.typ != nil {
				rec.typ.things++
			}
			r.presence.load(rec.id, c)
		})
	if err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	r.order.load(records)
	r.loadIndex(records)
	// The mark is above every id ever given; a file edited by hand must not bring one back.
	r.nextID = max(next, uint32(len(r.byID)), 1)
	return nil
}

// recordOf makes the record of t, whose type must be there.
func (r *Registry) recordOf(t Thing) (*record, error) {
	var typ *typeRecord
	if t.TypeName != "" {
		if typ = r.types[t.TypeName]; typ == nil {
			return nil, fmt.Errorf("thing %q has the type %q, which does not exist", t.Name, t.TypeName)
		}
	}
	return newRecord(t, typ)
}

func (r *Registry) setByID(rec *record) {
	for int(rec.id) >= len(r.byID) {
		r.byID = append(r.byID, nil)
	}
	r.byID[rec.id] = rec
}
