// Package access says what devices may do: policy documents with their versions, what they are attached to, and which
// certificates stand for which things.
//
// All of it lives in memory, loaded from the Store at Open; a change goes to the Store first. What a connection may do
// is a Rights (rights.go), which is asked for every packet and follows every change at once: policies (document.go),
// attachments (attach.go), principals (principal.go), and, as main tells it, things and groups (news.go).
//
// A thing and a group are dense ids that are never given twice, so that what was attached to a deleted one never holds
// for another of its name.
//
// Locks: Book.change, then Book.mu. The Fleet is never asked under Book.mu, as it may ask Exists under locks of its own.
// The package starts no goroutine.
package access

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry/policy"
)

// Limits of AWS IoT.
const (
	MaxVersions   = 5  // of a policy
	MaxPerTarget  = 10 // policies attached to one certificate or group
	maxPolicies   = 10_000
	maxThings     = 1_000 // of one certificate
	maxPolicyName = 128
)

// DefaultName is the name of the policy of devices whose certificate has no other. No policy can be made under it.
const DefaultName = "muster-default"

// Things is what the registry tells of things.
type Things interface {
	ID(name string) (uint32, bool)
	Name(thing uint32) (string, bool)
	Describe(thing uint32, attribute func(key, value string)) (typeName string, ok bool)
}

// Groups is what the registry tells of thing groups.
type Groups interface {
	GroupID(name string) (uint32, bool)
	GroupName(group uint32) (string, bool)
	// GroupPath returns the names of the groups above a group.
	GroupPath(name string) []string
	// AppendGroupsOf appends the groups that a thing is in, and all above them, each once.
	AppendGroupsOf(dst []uint32, thing uint32) []uint32
}

// Options of Open. Store, Things, Groups, Now and Default are required.
type Options struct {
	Store   Store
	Things  Things
	Groups  Groups
	Now     func() time.Time
	Log     *slog.Logger
	Metrics *metrics.Set

	Region, AccountID string // of ARNs

	// Default is the document of devices whose certificate has no policy of its own.
	Default string
	// Telemetry says of a topic that a thing with the default policy may publish it, whatever Default says; nil: none.
	// It must not allocate.
	Telemetry func(topic, thing string) bool
	// Certificate returns the facts of a registered certificate, nil where it is not there.
	Certificate func(ctx context.Context, id CertID) *policy.Certificate
	// Linked is told that a thing has other certificates now, or one of them is another. It must not call the Book but to read.
	Linked func(thing uint32)
	// Changed is told that the rights of a thing's connections may be others now; of all for 0. It must not block.
	Changed func(thing uint32)
}

// Book holds policies, attachments and principals. Safe for concurrent use.
type Book struct {
	opts     Options
	fallback *document
	metrics  gauges

	change sync.Mutex // held by one change at a time, from its checks to its end

	mu         sync.RWMutex // guards what follows
	policies   map[string]*document
	attached   map[Target][]*document // by name
	targets    map[*document]map[Target]struct{}
	principals map[CertID][]link
	things     map[uint32][]CertID

	onGroups atomic.Int64 // attachments to groups

	// What Rights compare: all must be as they were. A change counts up what it touches.
	all      atomic.Uint64
	byThing  [stripes]atomic.Uint64
	byCert   [stripes]atomic.Uint64
	resolved *metrics.Counter
}

// stripes is how many counters the things share: a change of one thing makes the connections of some others look again.
const stripes = 4096

type gauges struct{ changes, errors *metrics.Counter }

// CertID is the id of a certificate: the SHA-256 of its DER. The zero CertID is none.
type CertID [32]byte

func (id CertID) String() string { return hex.EncodeToString(id[:]) }

// ParseCertID reads 64 hex digits.
func ParseCertID(text string) (id CertID, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, refuse(Invalid, "certificateId %.80q must be 64 hex digits", text)
	}
	copy(id[:], raw)
	return id, nil
}

// Open loads everything from the store.
func Open(ctx context.Context, opts Options) (*Book, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.NewSet()
	}
	if opts.Linked == nil {
		opts.Linked = func(uint32) {}
	}
	if opts.Changed == nil {
		opts.Changed = func(uint32) {}
	}
	if opts.Certificate == nil {
		opts.Certificate = func(context.Context, CertID) *policy.Certificate { return nil }
	}
	b := &Book{
		opts: opts, policies: map[string]*document{}, attached: map[Target][]*document{}, targets: map[*document]map[Target]struct{}{},
		principals: map[CertID][]link{}, things: map[uint32][]CertID{},
		metrics: gauges{changes: opts.Metrics.GetOrCreateCounter("muster_access_changes_total"),
			errors: opts.Metrics.GetOrCreateCounter("muster_access_change_errors_total")},
		resolved: opts.Metrics.GetOrCreateCounter("muster_access_resolved_total"),
	}
	parsed, err := policy.Parse([]byte(opts.Default))
	if err != nil {
		return nil, fmt.Errorf("default policy: %w", err)
	}
	b.fallback = &document{name: DefaultName, inForce: 1, next: 2, versions: []version{{id: 1, text: opts.Default, parsed: parsed}}}
	if err := b.load(ctx); err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	opts.Metrics.GetOrCreateGauge("muster_access_policies", func() float64 {
		b.mu.RLock()
		defer b.mu.RUnlock()
		return float64(len(b.policies))
	})
	return b, nil
}

func (b *Book) load(ctx context.Context) error {
	state, err := b.opts.Store.LoadAccess(ctx)
	if err != nil {
		return err
	}
	for _, p := range state.Policies {
		b.policies[p.Name] = &document{name: p.Name, inForce: p.Default, next: p.Next, createdMs: p.CreatedMs, changedMs: p.ChangedMs}
	}
	for _, v := range state.Versions {
		d := b.policies[v.Policy]
		if d == nil {
			return fmt.Errorf("version %d of policy %q is there without it", v.ID, v.Policy)
		}
		parsed, err := policy.ParseLimit([]byte(v.Document), maxStored)
		if err != nil {
			return fmt.Errorf("version %d of policy %q: %w", v.ID, v.Policy, err)
		}
		d.versions = append(d.versions, version{id: v.ID, text: v.Document, createdMs: v.CreatedMs, parsed: parsed})
	}
	for _, d := range b.policies {
		slices.SortFunc(d.versions, func(x, y version) int { return cmp.Compare(x.id, y.id) })
		if d.version(d.inForce) == nil {
			return fmt.Errorf("policy %q has no version %d", d.name, d.inForce)
		}
	}
	for _, a := range state.Attachments {
		d := b.policies[a.Policy]
		if d == nil {
			return fmt.Errorf("policy %q is attached but not there", a.Policy)
		}
		b.attach(d, a.Target)
	}
	for _, p := range state.Principals {
		b.link(p)
	}
	return nil
}

// apply makes a change durable and then visible; memory runs under mu. The caller holds change.
func (b *Book) apply(ctx context.Context, batch Batch, memory func()) error {
	if err := b.opts.Store.ApplyAccess(ctx, batch); err != nil {
		b.metrics.errors.Inc()
		return &Error{Kind: Busy, Message: "the policies could not be written, nothing was changed; see the gateway's log", cause: err}
	}
	b.metrics.changes.Inc()
	b.mu.Lock()
	defer b.mu.Unlock()
	memory()
	return nil
}

func (b *Book) nowMs() int64 { return b.opts.Now().UnixMilli() }

func (b *Book) arn(resource string) string {
	return "arn:aws:iot:" + b.opts.Region + ":" + b.opts.AccountID + ":" + resource
}

// PolicyARN returns arn:aws:iot:<region>:<account>:policy/<name>.
func (b *Book) PolicyARN(name string) string { return b.arn("policy/" + name) }

// CertificateARN returns arn:aws:iot:<region>:<account>:cert/<id>.
func (b *Book) CertificateARN(id string) string { return b.arn("cert/" + id) }
