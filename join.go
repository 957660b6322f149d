package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/admin"
	"muster/ingest"
	"muster/pki"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/policy"
	"muster/tsdb"
	"muster/tsdb/prom"
)

// gate admits devices: it joins a certificate to a thing and to what the thing may do. It implements ingest.Gate.
type gate struct {
	identities *pki.Authority
	things     *registry.Registry
	access     *access.Book
}

// Admit finds the thing of the claim. A thing is made here only for a client CA with autoRegister and on the plain
// listener; an enrolled device has its thing since its enrollment, and is refused when that was deleted, also when there
// is another of its name by now. The rules: docs/security.md.
func (g *gate) Admit(ctx context.Context, claim ingest.Claim) (ingest.Grant, error) {
	s, err := g.subject(ctx, claim)
	if err != nil {
		return ingest.Grant{}, err
	}
	name, ok := g.things.Name(s.Thing)
	if !ok {
		return ingest.Grant{}, errors.New("the thing was deleted")
	}
	if s.ClientID == "" {
		s.ClientID = name
	}
	s.Remote = claim.Remote.Addr()
	return ingest.Grant{Thing: tsdb.ThingID(s.Thing), ThingName: name, Rights: g.access.Rights(s)}, nil
}

// Recall says what a client may do that has no connection: its will was open when the gateway crashed. It implements broker.Recaller.
func (g *gate) Recall(_ context.Context, thingName, clientID string, certificate [32]byte) (ingest.Grant, error) {
	id, ok := g.things.ID(thingName)
	if !ok {
		return ingest.Grant{}, errors.New("the thing was deleted")
	}
	s := access.Subject{Thing: id, ClientID: clientID, Cert: certificate, Plain: certificate == [32]byte{}}
	if !s.Plain {
		thing, attached, err := g.access.Resolve(s.Cert, clientID)
		if err != nil {
			return ingest.Grant{}, err
		}
		if attached {
			s.Thing, s.Attached = thing, true
		}
	}
	return ingest.Grant{Thing: tsdb.ThingID(s.Thing), ThingName: thingName, Rights: g.access.Rights(s)}, nil
}

func (g *gate) subject(ctx context.Context, claim ingest.Claim) (access.Subject, error) {
	s := access.Subject{ClientID: claim.ClientID}
	if claim.Cert == nil {
		thing, _, err := g.things.EnsureThing(ctx, claim.ClientID, "", "first connect without TLS")
		s.Thing, s.Plain = thing.ID, true
		return s, err
	}
	identity, err := g.identities.Identify(claim.Cert)
	if err != nil {
		return s, err
	}
	if s.Cert, err = access.ParseCertID(identity.CertificateID); err != nil {
		return s, err
	}
	thing, attached, err := g.access.Resolve(s.Cert, claim.ClientID)
	if err != nil || attached {
		s.Thing, s.Attached = thing, attached
		return s, err
	}
	if !identity.External || identity.Registered {
		return s, fmt.Errorf("the certificate %s is valid, but stands for no thing: it was never attached to one, or detached, or its thing was deleted", s.Cert)
	}
	s.Facts = policy.ReadCertificate(claim.Cert) // it is in no list to be read again
	if identity.AutoRegister {
		thing, _, err := g.things.EnsureThing(ctx, identity.ThingName, "", "first connect with a certificate of a client CA")
		s.Thing = thing.ID
		return s, err
	}
	id, ok := g.things.ID(identity.ThingName)
	if !ok {
		return s, fmt.Errorf("the certificate is valid, but thing %q was deleted or never registered", identity.ThingName)
	}
	s.Thing = id
	return s, nil
}

// reviews are the things whose connections are to be looked at again, because their rights may be others now.
type reviews struct {
	wake chan struct{} // buffered

	mu     sync.Mutex // guards what follows
	all    bool
	things map[uint32]struct{}
}

func newReviews() *reviews {
	return &reviews{wake: make(chan struct{}, 1), things: map[uint32]struct{}{}}
}

// add notes a thing, or all for 0. It does not block.
func (r *reviews) add(thing uint32) {
	r.mu.Lock()
	if thing == 0 {
		r.all = true
	} else if !r.all {
		r.things[thing] = struct{}{}
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run looks at what was added until ctx ends.
func (r *reviews) run(ctx context.Context, things *registry.Registry, devices *ingest.Server) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		r.mu.Lock()
		all, some := r.all, r.things
		r.all, r.things = false, map[uint32]struct{}{}
		r.mu.Unlock()
		if all {
			devices.Review("")
			continue
		}
		for thing := range some {
			if name, ok := things.Name(thing); ok {
				devices.Review(name)
			}
		}
	}
}

// presence tells the registry who is connected. It implements ingest.Presence.
type presence struct{ things *registry.Registry }

func (p presence) Connected(thing tsdb.ThingID, at time.Time, remote netip.AddrPort) {
	p.things.Connected(uint32(thing), at, remote)
}

func (p presence) Disconnected(thing tsdb.ThingID, at time.Time, reason string) {
	p.things.Disconnected(uint32(thing), at, reason)
}

// LastSeenMs implements broker.LastSeener.
func (p presence) LastSeenMs(thing tsdb.ThingID) int64 {
	return p.things.Connectivity(uint32(thing)).LastSeenMs
}

func (p presence) Seen(thing tsdb.ThingID, atMs int64) {
	p.things.Seen(uint32(thing), time.UnixMilli(atMs))
}

// troubles are what the devices' side has noticed. It implements admin.Troubles.
type troubles struct{ devices *ingest.Server }

func (t troubles) Alarms() []admin.Alarm {
	var list []admin.Alarm
	for _, a := range t.devices.Alarms() {
		out := admin.Alarm{Kind: "sharedCertificate", ThingName: a.Thing, ClientID: a.ClientID, Count: a.Takeovers, FirstMs: a.First.UnixMilli(), LastMs: a.Last.UnixMilli(), Addresses: []string{},
			Message: fmt.Sprintf("connections of client %q have taken its session from each other %d times: perhaps two devices have the same key; give each its own, and revoke this one", a.ClientID, a.Takeovers)}
		for _, address := range a.Addresses {
			out.Addresses = append(out.Addresses, address.String())
		}
		list = append(list, out)
	}
	return list
}

func (t troubles) Malformed() []admin.MalformedPayload {
	var list []admin.MalformedPayload
	for _, s := range t.devices.Malformed() {
		list = append(list, admin.MalformedPayload{TimeMs: s.At.UnixMilli(), ThingName: s.Thing, Topic: s.Topic, Reason: s.Reason, Payload: s.Payload})
	}
	return list
}

// messages is the devices' broker for people and programs. It implements admin.Messages.
type messages struct{ devices *ingest.Server }

func (m messages) Publish(msg admin.Message) error {
	err := m.devices.Publish(msg.Topic, msg.Payload, ingest.PublishOptions{QoS: msg.QoS, Retain: msg.Retain, Origin: cmp.Or(msg.Publisher, "an operator"),
		Properties: ingest.Properties{Text: msg.Text, ExpirySec: msg.ExpirySec, ContentType: msg.ContentType, ResponseTopic: msg.ResponseTopic,
			CorrelationData: msg.CorrelationData, User: msg.User}})
	refused, ok := errors.AsType[*ingest.PublishError](err)
	if !ok {
		return err
	}
	kind := map[error]registry.Kind{ingest.ErrInvalid: registry.Invalid, ingest.ErrFull: registry.Limit, ingest.ErrUnable: registry.Busy}[refused.Kind]
	return &registry.Error{Kind: kind, Message: refused.Message}
}

func (m messages) Retained(topic string) (admin.Retained, bool) {
	r, ok := m.devices.Retained(topic)
	return retained(r), ok
}

func (m messages) ListRetained(after string, limit int) []admin.Retained {
	var list []admin.Retained
	for _, r := range m.devices.ListRetained(after, limit) {
		list = append(list, retained(r))
	}
	return list
}

func (m messages) Disconnect(clientID string, endSession, preventWill bool) bool {
	return m.devices.Disconnect(clientID, endSession, preventWill)
}

func retained(r ingest.Retained) admin.Retained {
	return admin.Retained{Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, AtMs: r.AtMs, User: r.Properties.User}
}

// directory gives series the names, labels and groups of their things. It implements prom.Directory, prom.Finder and prom.Grouper.
type directory struct{ things *registry.Registry }

func (d directory) ThingName(id tsdb.ThingID) (string, bool) { return d.things.Name(uint32(id)) }

func (d directory) ThingByName(name string) (tsdb.ThingID, bool) {
	id, ok := d.things.ID(name)
	return tsdb.ThingID(id), ok
}

func (d directory) AppendLabels(dst []prom.Label, id tsdb.ThingID) []prom.Label {
	typeName, _ := d.things.Describe(uint32(id), func(key, value string) {
		dst = append(dst, prom.Label{Name: key, Value: value})
	})
	if billing := d.things.BillingGroupOf(uint32(id)); billing != "" {
		dst = append(dst, prom.Label{Name: "billing_group", Value: billing})
	}
	if typeName != "" {
		dst = append(dst, prom.Label{Name: "thing_type", Value: typeName})
	}
	return dst
}

func (d directory) AppendGroups(dst []string, id tsdb.ThingID) []string {
	return d.things.AppendGroupNames(dst, uint32(id))
}

// FindThings implements prom.Finder with the index of fleet queries.
func (d directory) FindThings(dst *bitset.BitSet, name string, values []string, prefix string) bool {
	d.things.FindThings(dst, func(field string) bool {
		switch field {
		case "thingName":
			return name == "thing"
		case "thingTypeName":
			return name == "thing_type"
		case "billingGroupName":
			return name == "billing_group"
		case "group":
			return name == "group"
		}
		key, ok := strings.CutPrefix(field, "attributes.")
		return ok && prom.LabelName(key) == name
	}, values, prefix)
	return true
}

// raw hands out samples over HTTP. It implements admin.Raw.
type raw struct{ queries *prom.API }

func (r raw) RemoteRead(
	ctx context.Context, body []byte,
) (run func(context.Context, io.Writer) error, status int, contentType, encoding string, answer []byte) {
	run, resp, encoding := r.queries.RemoteRead(ctx, body)
	return run, resp.Status, resp.ContentType, encoding, resp.Body
}

func (r raw) Export(form url.Values) (run func(context.Context, io.Writer) error, status int, contentType string, answer []byte) {
	run, resp := r.queries.Export(form)
	return run, resp.Status, resp.ContentType, resp.Body
}

func (r raw) DeleteSeries(ctx context.Context, form url.Values) (status int, contentType string, answer []byte) {
	resp := r.queries.DeleteSeries(ctx, form)
	return resp.Status, resp.ContentType, resp.Body
}

// enrolled makes the thing of a key that enrolls, with its type. It is pki.Options.Enrolled.
func enrolled(things *registry.Registry) func(ctx context.Context, thingName, thingTypeName string) error {
	return func(ctx context.Context, thingName, thingTypeName string) error {
		_, _, err := things.EnsureThing(ctx, thingName, thingTypeName, "enrollment")
		return err
	}
}

// forget ends what a deleted thing still has: its session, its certificates and its telemetry.
func (g *gateway) forget(ctx context.Context, name string, id uint32) error {
	g.devices.Kick(name, "the thing was deleted")
	return errors.Join(g.forgetIdentity(ctx, id), g.telemetry.DeleteThing(tsdb.ThingID(id)))
}
