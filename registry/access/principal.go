package access

import (
	"context"
	"slices"
)

// link is a thing that a certificate stands for.
type link struct {
	thing     uint32
	exclusive bool
}

// AttachThing lets a certificate, which the caller has seen to exist, stand for a thing. With exclusive it stands for no
// other: it may have no other then, and none later.
func (b *Book) AttachThing(ctx context.Context, thing uint32, id CertID, exclusive bool) error {
	b.change.Lock()
	defer b.change.Unlock()
	have := b.principals[id]
	for _, l := range have {
		if l.thing == thing && l.exclusive == exclusive {
			return nil
		}
	}
	others := slices.ContainsFunc(have, func(l link) bool { return l.thing != thing && b.lives(l.thing) })
	if exclusive && others {
		return refuse(Invalid, "the certificate stands for other things; detach it from them before it is attached exclusively")
	}
	if slices.ContainsFunc(have, func(l link) bool { return l.thing != thing && l.exclusive && b.lives(l.thing) }) {
		return refuse(Invalid, "the certificate is attached to another thing exclusively; detach it there first")
	}
	if len(have) >= maxThings {
		return refuse(Limit, "a certificate stands for at most %d things", maxThings)
	}
	p := Principal{Cert: id, Thing: thing, Exclusive: exclusive}
	if err := b.apply(ctx, Batch{Link: []Principal{p}}, func() { b.link(p) }); err != nil {
		return err
	}
	b.byCert[stripe(id)].Add(1)
	b.opts.Linked(thing)
	return nil
}

// lives says whether there is a thing of that id. Links of deleted things may stay for a moment.
func (b *Book) lives(thing uint32) bool {
	_, ok := b.opts.Things.Name(thing)
	return ok
}

// DetachThing ends that a certificate stands for a thing, and says whether it did.
func (b *Book) DetachThing(ctx context.Context, thing uint32, id CertID) (bool, error) {
	b.change.Lock()
	defer b.change.Unlock()
	if !slices.ContainsFunc(b.principals[id], func(l link) bool { return l.thing == thing }) {
		return false, nil
	}
	p := Principal{Cert: id, Thing: thing}
	if err := b.apply(ctx, Batch{Unlink: []Principal{p}}, func() { b.unlink(id, thing) }); err != nil {
		return false, err
	}
	b.byCert[stripe(id)].Add(1)
	b.opts.Changed(thing)
	b.opts.Linked(thing)
	return true, nil
}

// linked says whether a certificate stands for a thing.
func (b *Book) linked(id CertID, thing uint32) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.ContainsFunc(b.principals[id], func(l link) bool { return l.thing == thing })
}

// link changes the memory. mu is held.
func (b *Book) link(p Principal) {
	list := slices.Clone(b.principals[p.Cert])
	if i := slices.IndexFunc(list, func(l link) bool { return l.thing == p.Thing }); i >= 0 {
		list[i].exclusive = p.Exclusive
	} else {
		list = append(list, link{p.Thing, p.Exclusive})
		b.things[p.Thing] = append(b.things[p.Thing], p.Cert)
	}
	b.principals[p.Cert] = list
}

// unlink changes the memory. mu is held.
func (b *Book) unlink(id CertID, thing uint32) {
	if list := slices.DeleteFunc(slices.Clone(b.principals[id]), func(l link) bool { return l.thing == thing }); len(list) > 0 {
		b.principals[id] = list
	} else {
		delete(b.principals, id)
	}
	if list := slices.DeleteFunc(slices.Clone(b.things[thing]), func(c CertID) bool { return c == id }); len(list) > 0 {
		b.things[thing] = list
	} else {
		delete(b.things, thing)
	}
}

// Reload reads one certificate from the store, when the identity service has written it: it was issued to a thing, or
// follows another one, whose things and policies it takes over.
func (b *Book) Reload(ctx context.Context, id CertID) error {
	b.change.Lock()
	defer b.change.Unlock()
	principals, attachments, err := b.opts.Store.LoadPrincipal(ctx, id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	for _, p := range principals {
		b.link(p)
	}
	for _, a := range attachments {
		if d := b.policies[a.Policy]; d != nil {
			b.attach(d, a.Target)
		}
	}
	b.mu.Unlock()
	b.byCert[stripe(id)].Add(1)
	for _, p := range principals {
		b.opts.Linked(p.Thing)
	}
	return nil
}

// ForgetCert ends all attachments of a certificate that is deleted.
func (b *Book) ForgetCert(ctx context.Context, id CertID) error {
	b.change.Lock()
	defer b.change.Unlock()
	links := b.principals[id]
	err := b.apply(ctx, Batch{ForgetCerts: []CertID{id}}, func() {
		for _, l := range links {
			b.unlink(id, l.thing)
		}
		for _, d := range b.attached[Target{Cert: id}] {
			b.detach(d, Target{Cert: id})
		}
	})
	b.byCert[stripe(id)].Add(1)
	for _, l := range links {
		b.opts.Linked(l.thing)
	}
	return err
}

// ThingOf is a thing that a certificate stands for.
type ThingOf struct {
	ID        uint32
	Name      string
	Exclusive bool
}

// ThingsOf returns the things that a certificate stands for, by name.
func (b *Book) ThingsOf(id CertID) []ThingOf {
	b.mu.RLock()
	links := b.principals[id]
	b.mu.RUnlock()
	var out []ThingOf
	for _, l := range links {
		if name, ok := b.opts.Things.Name(l.thing); ok {
			out = append(out, ThingOf{l.thing, name, l.exclusive})
		}
	}
	slices.SortFunc(out, func(x, y ThingOf) int { return cmpText(x.Name, y.Name) })
	return out
}

// CertOf is a certificate that stands for a thing.
type CertOf struct {
	ID        CertID
	Exclusive bool
}

// CertsOf returns the certificates that stand for a thing, by id.
func (b *Book) CertsOf(thing uint32) []CertOf {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []CertOf
	for _, id := range b.things[thing] {
		for _, l := range b.principals[id] {
			if l.thing == thing {
				out = append(out, CertOf{id, l.exclusive})
			}
		}
	}
	slices.SortFunc(out, func(x, y CertOf) int { return cmpText(string(x.ID[:]), string(y.ID[:])) })
	return out
}

// Resolve returns the thing that a connection with a certificate stands for: the one thing that it is attached to, or of
// several the one whose name is the client id. registered is false for a certificate that no thing was attached to.
func (b *Book) Resolve(id CertID, clientID string) (thing uint32, registered bool, err error) {
	things := b.ThingsOf(id)
	if len(things) == 0 {
		return 0, false, nil
	}
	if len(things) == 1 {
		return things[0].ID, true, nil
	}
	for _, t := range things {
		if t.Name == clientID {
			return t.ID, true, nil
		}
	}
	return 0, true, refuse(Invalid, "the certificate stands for %d things; the client id must be the name of one of them, it is %q", len(things), clientID)
}
