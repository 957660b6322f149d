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
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/admin"
	"muster/ingest"
	"muster/pki"
	"muster/registry"
	"muster/registry/policy"
	"muster/tsdb"
	"muster/tsdb/prom"
)

// gate admits devices: it joins the identity in a certificate to a thing and to what the thing may do.
// It implements ingest.Gate.
type gate struct {
	identities *pki.Authority
	things     *registry.Registry
	policy     *policy.Policy // of every device
	topics     *ingest.Topics // telemetry besides dt/<thing> that devices may publish whatever the policy says; nil: none
}

// Admit finds the thing of the claim. A thing is made here only for a client CA with autoRegister and on the plain
// listener; an enrolled device has its thing since its enrollment, and is refused when that was deleted.
func (g *gate) Admit(ctx context.Context, claim ingest.Claim) (ingest.Grant, error) {
	thing, err := g.thing(ctx, claim)
	if err != nil {
		return ingest.Grant{}, err
	}
	clientID := claim.ClientID
	if clientID == "" {
		clientID = thing.Name
	}
	rights := policy.Compile([]*policy.Policy{g.policy}, policy.Vars{
		ClientID: clientID, ThingName: thing.Name, ThingTypeName: thing.TypeName, Attributes: thing.Attributes,
	})
	grant := ingest.Grant{Thing: tsdb.ThingID(thing.ID), ThingName: thing.Name, Rights: rights}
	if g.topics != nil {
		grant.Rights = withTopics{rights, g.topics, thing.Name}
	}
	return grant, nil
}

// withTopics are rights with that to publish telemetry on the topics of ingest.topics.
type withTopics struct {
	ingest.Rights
	topics *ingest.Topics
	thing  string
}

func (w withTopics) Publish(topic string) bool {
	return w.Rights.Publish(topic) || w.topics.Match(topic, w.thing)
}

func (g *gate) thing(ctx context.Context, claim ingest.Claim) (registry.Thing, error) {
	if claim.Cert == nil {
		thing, _, err := g.things.EnsureThing(ctx, claim.ClientID, "", "first connect without TLS")
		return thing, err
	}
	identity, err := g.identities.Identify(claim.Cert)
	if err != nil {
		return registry.Thing{}, err
	}
	if identity.AutoRegister {
		thing, _, err := g.things.EnsureThing(ctx, identity.ThingName, "", "first connect with a certificate of a client CA")
		return thing, err
	}
	thing, err := g.things.Thing(identity.ThingName)
	if registry.KindOf(err) == registry.NotFound {
		err = fmt.Errorf("the certificate is valid, but thing %q was deleted or never registered", identity.ThingName)
	}
	return thing, err
}

// presence tells the registry who is connected. It implements ingest.Presence.
type presence struct{ things *registry.Registry }

func (p presence) Connected(thing tsdb.ThingID, at time.Time, remote netip.AddrPort) {
	p.things.Connected(uint32(thing), at, remote)
}

func (p presence) Disconnected(thing tsdb.ThingID, at time.Time, reason string) {
	p.things.Disconnected(uint32(thing), at, reason)
}

func (p presence) Seen(thing tsdb.ThingID, atMs int64) {
	p.things.Seen(uint32(thing), time.UnixMilli(atMs))
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

// forget ends what a deleted thing still has: its session and its telemetry.
func forget(server *ingest.Server, telemetry *tsdb.Store, name string, id uint32) error {
	server.Kick(name, "the thing was deleted")
	return telemetry.DeleteThing(tsdb.ThingID(id))
}
