package broker

import (
	"maps"
	"slices"
	"time"

	"muster/ingest/lane"
)

// attach gives the connection l the session of client, taking it over from an older connection. present says that an old
// session goes on.
func (b *Broker) attach(l *link, client string, grant lane.Grant, clean bool, expirySec uint32) (present bool, err error) {
	b.meeting.Lock()
	present, fire, err := b.attachLocked(l, client, grant, clean, expirySec)
	if err == nil {
		if old := l.id.took; old != nil {
			b.noteTakeover(l, old)
		}
		b.presence.Connected(grant.Thing, b.clock.Now(), l.remote)
		b.tellConnected(l)
	}
	b.meeting.Unlock()
	if fire != nil {
		b.fireWill(fire)
	}
	return present, err
}

// attachLocked does it; fire is a will to publish now. Broker.meeting is held.
func (b *Broker) attachLocked(l *link, client string, grant lane.Grant, clean bool, expirySec uint32) (present bool, fire *will, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[client]
	if b.closing {
		return false, nil, b.refuse(errUnavailable)
	}
	if s == nil && len(b.sessions) >= b.limits.Sessions {
		return false, nil, b.refuse(lane.Violation{Code: codeQuota, Return: 0x03, Reason: "too many sessions"})
	}
	if l.will != nil { // nobody knows l yet
		b.saveWill(l.will)
	}
	if fire = b.wills[client]; fire != nil { // one with a delay, or that was left by a crash
		delete(b.wills, client)
	}
	if s != nil {
		s.mu.Lock()
		// A session that ends with its connection ends with the one that is taken over.
		over := clean || s.over(b.clock.Now()) || s.link != nil && !s.kept()
		if old := s.link; old != nil {
			s.link = nil
			l.id.took = old
			old.c.End(errTakenOver)
			fire = old.takeWill()
		}
		// A will with a delay does not fire when its session goes on in time [MQTT-3.1.3-9].
		if fire != nil && !over && fire.delaySec > 0 {
			b.forgetWill(fire)
			fire = nil
		}
		if over {
			s.forget()
			s.mu.Unlock()
			s = nil
		}
	}
	present = s != nil
	if s == nil {
		s = newSession(b, client)
		b.sessions[client] = s
		s.mu.Lock()
	}
	s.thing, s.thingName, s.rights = grant.Thing, grant.ThingName, grant.Rights
	s.link, s.offSince, s.fresh = l, 0, 0
	s.unsent = len(s.flight)
	for _, d := range s.flight {
		d.sent = false
	}
	for id := range s.received {
		s.received[id] = false
	}
	if s.kept() && expirySec == 0 {
		s.unsave()
	}
	fresh := !s.kept()
	s.expirySec = expirySec
	if s.kept() && fresh {
		s.saveAll()
	} else {
		s.save()
	}
	l.session = s
	s.mu.Unlock()
	conns := b.things[grant.ThingName]
	if conns == nil {
		conns = make(map[*link]struct{})
		b.things[grant.ThingName] = conns
	}
	conns[l] = struct{}{}
	b.links++
	return present, fire, nil
}

// detach takes the connection l from its session, once, and decides on the session's life and the will.
func (b *Broker) detach(l *link, will *will, reason error) {
	b.meeting.Lock()
	fire, last := b.detachLocked(l, will)
	b.tellDisconnected(l, reason)
	if last {
		b.presence.Disconnected(l.grant.Thing, b.clock.Now(), reason.Error())
	}
	b.meeting.Unlock()
	if fire != nil {
		b.fireWill(fire)
	}
	if last {
		b.env.Sparkplug.Forget(l.grant.Thing)
	}
}

// detachLocked does it; fire is a will to publish now, last says that the thing has no other connection. Broker.meeting is held.
func (b *Broker) detachLocked(l *link, w *will) (fire *will, last bool) {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.link = nil
		s.offSince = now.Unix()
		if s.kept() {
			s.save()
			b.nextEnd = min(b.nextEnd, s.end())
		} else {
			delete(b.sessions, s.client)
			s.forget()
		}
	}
	if w != nil {
		if delay := min(w.delaySec, s.expirySec); delay > 0 && !b.closing {
			w.at = now.Add(time.Duration(delay) * time.Second)
			b.wills[s.client] = w
			b.saveWill(w)
		} else {
			fire = w
		}
	}
	conns := b.things[l.grant.ThingName]
	delete(conns, l)
	b.links--
	if len(conns) == 0 {
		delete(b.things, l.grant.ThingName)
	}
	if b.closing && len(b.things) == 0 {
		close(b.drained)
	}
	return fire, len(conns) == 0
}

// Kick closes the connections of a thing now. The session stays for as long as it would without.
func (b *Broker) Kick(thing, reason string) {
	b.kicks.Add(1)
	for _, l := range b.linksOf(thing) {
		l.c.End(lane.Violation{Code: codeAdministrative, Reason: reason})
	}
}

// Review closes the connections of a thing, or of all where thing is empty, that may no longer connect: their rights have
// changed. All else of the rights is asked for every packet anyhow.
func (b *Broker) Review(thing string) {
	b.kicks.Add(1)
	for _, l := range b.linksOf(thing) {
		if !l.grant.Rights.Connect(l.session.client) {
			l.c.End(lane.Violation{Code: codeNotAuthorized, Reason: "the policy no longer lets it connect"})
		}
	}
}

// linksOf returns the connections of one thing, or of all where thing is empty.
func (b *Broker) linksOf(thing string) []*link {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if thing != "" {
		return slices.Collect(maps.Keys(b.things[thing]))
	}
	var list []*link
	for _, conns := range b.things {
		list = slices.AppendSeq(list, maps.Keys(conns))
	}
	return list
}
