// Package registry is the domain: things, their types, groups and billing groups by AWS IoT's rules, and who is connected.
//
// All of it lives in memory, loaded from the Store at Open. A write goes to the Store first (its commit is the
// durable moment), then to memory, then to the OnChange listeners, then back to the caller: a read that starts
// after a write returned sees it. One goroutine (commit.go) makes all writes and shares one transaction among the
// callers that wait at the same time; readers take a read lock for a map lookup and get immutable records.
// The index (registry/index) changes with the memory, so that a query (query.go) after a write is exact, too.
//
// A group (group.go) has its direct members as a set (member.go); the members of a static group are stored, those of a
// dynamic one follow from its query. Every change of the fleet has a revision, and listeners are told in that order
// (news.go).
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
	"sync/atomic"
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

	MaxGroups             int // default 100,000
	MaxBillingGroups      int // default 20,000 (AWS)
	MaxGroupDepth         int // groups from a root to a leaf; default 7 (AWS)
	MaxGroupChildren      int // direct ones; default 100 (AWS)
	MaxGroupAttributes    int // default 50 (AWS)
	MaxGroupsPerThing     int // static groups that a thing is in; default 10 (AWS)
	MaxGroupsPerHierarchy int // of these, below the same root; default 1 (AWS)
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
	orInt(&o.MaxGroups, 100_000)
	orInt(&o.MaxBillingGroups, 20_000)
	orInt(&o.MaxGroupDepth, 7)
	orInt(&o.MaxGroupChildren, 100)
	orInt(&o.MaxGroupAttributes, 50)
	orInt(&o.MaxGroupsPerThing, 10)
	orInt(&o.MaxGroupsPerHierarchy, 1)
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
	// last-seen times). It guards index, groupIndex, delta, dynamic and telemetry, and is taken before mu. Simple reads do without
	// it, so that they never wait for a query.
	fleet      sync.RWMutex
	index      *index.Index
	groupIndex *index.Index // of groups, by their ids
	delta      delta        // of the change that is being made
	telemetry  query.Telemetry
	answers    *query.Cache // of queries over index; not guarded
	dynamic    dynamic
	// certificates are by thing.
	certificates map[uint32][]CertificateFacts

	revision atomic.Int64 // written under fleet

	// All below are written under fleet and mu, and read under either. Records and what they point to are not changed, but
	// for typeRecord, groupRecord and billingRecord. mu is taken before presence.mu.
	mu            sync.RWMutex
	things        map[string]*record
	byID          []*record // index: id; nil: deleted, or never given
	order         nameOrder
	types         map[string]*typeRecord
	billing       map[string]*billingRecord
	groups        groupTree
	memberOf      []index.Set                       // by thing: the ids of the groups it is in
	tags          map[string]map[string]string      // by resource and key
	taggableKinds map[string]func(name string) bool // of Taggable

	news news

	// Of the writing goroutine, until stopped is closed.
	nextID      uint32
	nextGroupID uint32
	marked      int64 // the revision up to which the store knows
	crowd       crowd
	failing     bool  // the last write failed
	presenceErr error // of the last flush

	writes    chan *write
	followers sync.WaitGroup // follow and evaluate
	unfollow  chan struct{}  // closed to end them
	stopOnce  sync.Once
	closing   chan struct{}
	stopped   chan struct{}
	closeOnce sync.Once
}

type gauges struct {
	commits, writes, writeErrors *metrics.Counter
	windowsBehind                atomic.Int64 // windows of dynamic groups that wait to be read
}

// maxID keeps ids in a signed 32-bit column.
const maxID = 1<<31 - 1

// Open loads everything from the store and starts the writing goroutine; Close ends it. The caller closes the
// registry before the store. Things that were connected when the registry was last written are offline with the
// reason "gateway restarted" since they were last seen.
func Open(ctx context.Context, opts Options) (*Registry, error) {
	r := &Registry{
		opts:          opts.withDefaults(),
		things:        make(map[string]*record),
		types:         make(map[string]*typeRecord),
		billing:       make(map[string]*billingRecord),
		groups:        newGroupTree(),
		tags:          make(map[string]map[string]string),
		taggableKinds: make(map[string]func(string) bool),
		certificates:  make(map[uint32][]CertificateFacts),
		answers:       query.NewCache(),
		news:          news{wake: make(chan struct{}, 1)},
		writes:        make(chan *write, maxGroup),
		unfollow:      make(chan struct{}),
		closing:       make(chan struct{}),
		stopped:       make(chan struct{}),
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
	set.GetOrCreateGauge("muster_registry_groups", func() float64 { return float64(r.CountGroups()) })
	set.GetOrCreateGauge("muster_registry_windows_behind", func() float64 { return float64(r.metrics.windowsBehind.Load()) })
	set.GetOrCreateGauge("muster_registry_connected_things", func() float64 { return float64(r.presence.connectedCount()) })
	r.followers.Add(1)
	go r.follow()
	go r.run()
	return r, nil
}

func (r *Registry) setByID(rec *record) {
	for int(rec.id) >= len(r.byID) {
		r.byID = append(r.byID, nil)
	}
	r.byID[rec.id] = rec
}
