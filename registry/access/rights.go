package access

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"muster/registry/policy"
)

// Subject is who a connection is.
type Subject struct {
	Thing    uint32
	ClientID string
	Remote   netip.Addr
	Plain    bool   // no TLS
	Cert     CertID // zero: none
	Attached bool   // the certificate stands for the thing by AttachThing or its enrollment: rights end with that
	// Facts are those of a certificate that Options.Certificate does not know; nil else.
	Facts *policy.Certificate
}

// Rights is what one connection may do. It answers for every packet, for as long as anybody asks, and follows every
// change of policies, attachments, groups and the thing: what was changed before a question is in its answer. Safe for
// concurrent use; a question without a change before it costs three loads and, but for the first, allocates nothing.
type Rights struct {
	book     *Book
	subject  Subject
	compiled atomic.Pointer[compiled]
}

type compiled struct {
	version uint64
	rights  *policy.Rights
	// thing is the name of the thing, where nothing but the default holds for it; else "".
	thing string
	// timed says that the answers change with the time. Where they do not, mine is the first topic that may be published to: a device has
	// one, and is told without a look at its policies.
	timed bool
	mine  atomic.Pointer[string]
}

// Rights returns the rights of a subject.
func (b *Book) Rights(s Subject) *Rights {
	r := &Rights{book: b, subject: s}
	r.resolve()
	return r
}

// Connect says whether the client id may connect.
func (r *Rights) Connect(clientID string) bool { return r.now().rights.Connect(clientID) }

// Publish says whether a message may be published to topic.
func (r *Rights) Publish(topic string) bool {
	c := r.now()
	mine := c.mine.Load()
	if mine != nil && *mine == topic {
		return true
	}
	if !c.rights.Publish(topic) && (c.thing == "" || r.book.opts.Telemetry == nil || !r.book.opts.Telemetry(topic, c.thing)) {
		return false
	}
	if mine == nil && !c.timed {
		own := topic
		c.mine.Store(&own)
	}
	return true
}

// Retain says whether a retained message may be published to topic.
func (r *Rights) Retain(topic string) bool { return r.now().rights.Retain(topic) }

// Subscribe says whether filter may be subscribed to.
func (r *Rights) Subscribe(filter string) bool { return r.now().rights.Subscribe(filter) }

// Receive says whether a message of topic may be delivered.
func (r *Rights) Receive(topic string) bool { return r.now().rights.Receive(topic) }

// now returns the rights as they are.
func (r *Rights) now() *compiled {
	if c := r.compiled.Load(); c.version == r.book.version(&r.subject) {
		return c
	}
	return r.resolve()
}

// version is a number that is another after every change that concerns a subject: a sum of numbers that only grow.
func (b *Book) version(s *Subject) uint64 {
	return b.all.Load() + b.byThing[s.Thing%stripes].Load() + b.byCert[stripe(s.Cert)].Load()
}

func stripe(id CertID) int { return (int(id[0])<<8 | int(id[1])) % stripes }

// resolve evaluates anew. The version is read first: a change in between makes the next question resolve again.
func (r *Rights) resolve() *compiled {
	b, s := r.book, &r.subject
	b.resolved.Inc()
	c := &compiled{version: b.version(s)}
	vars, ok := b.vars(r.subject)
	if ok {
		var policies []*policy.Policy
		for _, p := range b.documentsOf(s.Thing, s.Cert) {
			policies = append(policies, p.parsed)
			c.timed = c.timed || p.parsed.UsesTime()
			if p.parsed == b.fallback.versions[0].parsed {
				c.thing = vars.ThingName
			}
		}
		if vars.Certificate == nil && s.Cert != (CertID{}) && slices.ContainsFunc(policies, (*policy.Policy).UsesCertificate) {
			vars.Certificate = b.opts.Certificate(context.Background(), s.Cert)
		}
		c.rights = policy.Compile(policies, vars)
	} else {
		c.rights = policy.Compile(nil, vars)
	}
	r.compiled.Store(c)
	return c
}

// vars returns the values of a subject; false when its thing was deleted, or detached from its certificate.
func (b *Book) vars(s Subject) (policy.Vars, bool) {
	v := policy.Vars{ClientID: s.ClientID, SourceIP: s.Remote, Plain: s.Plain, Certificate: s.Facts, Now: b.opts.Now}
	if s.Cert != (CertID{}) {
		v.CertificateID = s.Cert.String()
	}
	if s.Thing == 0 {
		return v, true
	}
	name, ok := b.opts.Things.Name(s.Thing)
	if !ok || s.Attached && !b.linked(s.Cert, s.Thing) {
		return v, false
	}
	v.ThingName = name
	v.Attributes = map[string]string{}
	v.ThingTypeName, ok = b.opts.Things.Describe(s.Thing, func(key, value string) { v.Attributes[key] = value })
	return v, ok
}

// inForce is a policy with the version that is in force.
type inForce struct {
	name string
	version
}

// documentsOf returns the policies in force for a thing and a certificate, each once: those attached to the certificate, or the
// default where there is none of them, and those attached to the thing's groups and all above them.
func (b *Book) documentsOf(thing uint32, cert CertID) []inForce {
	var few [8]uint32
	groups := few[:0]
	if thing != 0 && b.onGroups.Load() > 0 {
		groups = b.opts.Groups.AppendGroupsOf(groups, thing)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := slices.Clone(b.attached[Target{Cert: cert}])
	if len(list) == 0 {
		list = append(list, b.fallback)
	}
	for _, g := range groups {
		list = append(list, b.attached[Target{Group: g}]...)
	}
	return inForceOf(list)
}

// documentsOn returns the policies of targets, each once by name.
func (b *Book) documentsOn(targets []Target) []inForce {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []*document
	for _, t := range targets {
		list = append(list, b.attached[t]...)
	}
	return inForceOf(list)
}

// inForceOf returns what is in force of documents, each once by name. It sorts the list.
func inForceOf(list []*document) []inForce {
	slices.SortFunc(list, func(x, y *document) int { return cmpText(x.name, y.name) })
	list = slices.Compact(list)
	out := make([]inForce, 0, len(list))
	for _, d := range list {
		out = append(out, inForce{d.name, *d.version(d.inForce)})
	}
	return out
}

func cmpText(a, b string) int { return strings.Compare(a, b) }
