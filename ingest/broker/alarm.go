package broker

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Alarm is something that a person should look into: clients that take each other's session again and again. Mostly two devices have
// the same certificate, because an image with the key in it was copied.
type Alarm struct {
	Thing       string
	ClientID    string
	Takeovers   uint64 // since First
	First, Last time.Time
	Addresses   []netip.Addr // of the last connections, each once, newest first; one behind a common router
}

const (
	// A client that lost its connection takes over from itself when it comes back before the gateway has noticed, so a few mean nothing.
	alarmTakeovers = 4
	alarmWithin    = 10 * time.Minute
	alarmLasts     = time.Hour // after the last takeover
	maxSuspects    = 10_000    // things with a takeover in the last minutes
	maxAddresses   = 4
)

// suspect is a client whose session was taken over lately.
type suspect struct {
	recent [alarmTakeovers]int64 // Unix ms of the last takeovers, oldest first
	raised bool
	logged time.Time
	alarm  Alarm
}

// watch notices clients that take each other's session. Safe for concurrent use.
type watch struct {
	mu       sync.Mutex // guards suspects
	suspects map[string]*suspect
}

// takenOver notes that a connection from one address took the session of a client from another one. raised says that this is an
// alarm, and worth a line in the log.
func (w *watch) takenOver(client, thing string, from, by netip.Addr, now time.Time) (raised bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.suspects[client]
	if s == nil {
		if len(w.suspects) >= maxSuspects {
			return false
		}
		if w.suspects == nil {
			w.suspects = make(map[string]*suspect)
		}
		s = &suspect{alarm: Alarm{ClientID: client, First: now}}
		w.suspects[client] = s
	}
	copy(s.recent[:], s.recent[1:])
	s.recent[alarmTakeovers-1] = now.UnixMilli()
	s.alarm.Thing, s.alarm.Last = thing, now
	s.alarm.Takeovers++
	for _, address := range []netip.Addr{from, by} {
		s.alarm.Addresses = slices.DeleteFunc(s.alarm.Addresses, func(a netip.Addr) bool { return a == address })
		s.alarm.Addresses = slices.Insert(s.alarm.Addresses, 0, address)
	}
	s.alarm.Addresses = s.alarm.Addresses[:min(len(s.alarm.Addresses), maxAddresses)]
	if s.recent[0] == 0 || now.UnixMilli()-s.recent[0] > alarmWithin.Milliseconds() {
		return false
	}
	s.raised = true
	if now.Sub(s.logged) < alarmWithin {
		return false
	}
	s.logged = now
	return true
}

// forget drops what is too old to matter.
func (w *watch) forget(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for client, s := range w.suspects {
		lasts := alarmWithin
		if s.raised {
			lasts = alarmLasts
		}
		if now.Sub(s.alarm.Last) > lasts {
			delete(w.suspects, client)
		}
	}
}

// alarms returns those that are raised, the newest first.
func (w *watch) alarms() []Alarm {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Alarm
	for _, s := range w.suspects {
		if s.raised {
			a := s.alarm
			a.Addresses = slices.Clone(a.Addresses)
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b Alarm) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ClientID, b.ClientID))
	})
	return list
}

// noteTakeover is told of every takeover.
func (b *Broker) noteTakeover(l, old *link) {
	b.takeovers.Inc()
	now := b.clock.Now()
	if !b.watch.takenOver(l.session.client, l.grant.ThingName, old.remote.Addr().Unmap(), l.remote.Addr().Unmap(), now) {
		return
	}
	b.alarmed.Inc()
	if b.refusals.Allow() {
		b.log.Warn("clients take each other's session: perhaps two devices have the same certificate", "thing", l.grant.ThingName, "client", l.session.client,
			"remote", l.remote, "other", old.remote)
	}
}

// Alarms returns what somebody should look into, the newest first.
func (b *Broker) Alarms() []Alarm { return b.watch.alarms() }
