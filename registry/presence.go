package registry

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Connectivity is what is known of a thing's connection.
type Connectivity struct {
	Connected  bool
	SinceMs    int64  // when it connected, or when it went offline; 0: never connected
	LastSeenMs int64  // last packet; 0: never seen
	Remote     string // address:port of the present or last connection
	Reason     string // why it is offline; "" while connected
}

// Counts is the fleet in numbers.
type Counts struct {
	Things    int
	Connected int
	NeverSeen int            // never connected, no packet
	ByType    map[string]int // things without a type are in none
}

// reasonRestart is why a thing is offline that was connected when the gateway ended.
const reasonRestart = "gateway restarted"

// maxReasonLen bounds a reason in bytes; some come from clients.
const maxReasonLen = 128

// presence keeps the connectivity of all things by dense id, in pages that never move: Seen needs no lock.
type presence struct {
	pages atomic.Pointer[[]*page] // replaced, never changed, under mu; nil where no thing lives or lived since Open

	mu        sync.Mutex // guards the slots of all pages, connected, live and dirty
	connected int
	live      int
	dirty     []uint32 // ids whose slots must be persisted, each once
}

const pageSize = 1024

type page struct {
	seenMs [pageSize]atomic.Int64 // last packet, 0: never
	slots  [pageSize]slot
}

type slot struct {
	sinceMs     int64
	savedSeenMs int64 // as persisted
	remote      netip.AddrPort
	reason      string
	connections int32 // two while a new connection takes over
	live        bool  // the thing exists
	dirty       bool
}

// at returns the page of id and the place in it; nil if there is none.
func (p *presence) at(id uint32) (*page, int) {
	pages := p.pages.Load()
	if pages == nil || int(id/pageSize) >= len(*pages) {
		return nil, 0
	}
	return (*pages)[id/pageSize], int(id % pageSize)
}

// slot returns the slot of an existing thing, or nil. The caller holds mu.
func (p *presence) slot(id uint32) (*slot, *atomic.Int64) {
	if page, i := p.at(id); page != nil && page.slots[i].live {
		return &page.slots[i], &page.seenMs[i]
	}
	return nil, nil
}

// add makes the slot of a new thing, which is offline.
func (p *presence) add(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.place(id)
}

// place is add. The caller holds mu.
func (p *presence) place(id uint32) {
	var pages []*page
	if old := p.pages.Load(); old != nil {
		pages = *old
	}
	n := int(id / pageSize)
	if n >= len(pages) || pages[n] == nil {
		grown := make([]*page, max(len(pages), n+1))
		copy(grown, pages)
		grown[n] = new(page)
		p.pages.Store(&grown)
	}
	page, i := p.at(id)
	page.slots[i].live = true
	p.live++
}

// each calls visit with the slot of each thing and when it was last seen, by id ascending. The caller holds mu.
func (p *presence) each(visit func(id uint32, s *slot, seenMs int64)) {
	pages := p.pages.Load()
	if pages == nil {
		return
	}
	for n, page := range *pages {
		if page == nil {
			continue
		}
		for i := range page.slots {
			if s := &page.slots[i]; s.live {
				visit(uint32(n*pageSize+i), s, page.seenMs[i].Load())
			}
		}
	}
}

// remove ends the slot of a deleted thing. The id is not used again, so that late calls for it find nothing.
func (p *presence) remove(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, seen := p.slot(id)
	if s == nil {
		return
	}
	if s.connections > 0 {
		p.connected--
	}
	p.live--
	*s = slot{dirty: s.dirty} // its place in the dirty list is skipped by the flush
	seen.Store(0)
}

func (p *presence) connectedCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connected
}

// mark notes that a slot must be persisted. The caller holds mu.
func (p *presence) mark(id uint32, s *slot) {
	if !s.dirty {
		s.dirty = true
		p.dirty = append(p.dirty, id)
	}
}

// Connected records a connection of a thing. Each Connected is followed by one Disconnected; when a new connection
// takes over, the two may come in either order.
func (r *Registry) Connected(id uint32, at time.Time, remote netip.AddrPort) {
	r.relink(id, func(p *presence, s *slot, seen *atomic.Int64) {
		if s.connections == 0 {
			p.connected++
		}
		s.connections++
		s.sinceMs, s.remote, s.reason = at.UnixMilli(), remote, ""
		seen.Store(at.UnixMilli())
		p.mark(id, s)
	})
}

// Disconnected records the end of one connection of a thing.
func (r *Registry) Disconnected(id uint32, at time.Time, reason string) {
	if len(reason) > maxReasonLen {
		reason = strings.ToValidUTF8(reason[:maxReasonLen], "")
	}
	r.relink(id, func(p *presence, s *slot, _ *atomic.Int64) {
		if s.connections == 0 {
			return
		}
		s.connections--
		if s.connections > 0 {
			return
		}
		p.connected--
		s.sinceMs, s.reason = at.UnixMilli(), strings.Clone(reason)
		p.mark(id, s)
	})
}

// relink changes the slot of an existing thing, and the index and dynamic groups with it.
func (r *Registry) relink(id uint32, f func(*presence, *slot, *atomic.Int64)) {
	r.change(func() {
		p := &r.presence
		p.mu.Lock()
		defer p.mu.Unlock()
		if s, seen := p.slot(id); s != nil {
			old := s.link(seen.Load())
			f(p, s, seen)
			r.indexLink(id, old, s.link(seen.Load()))
		}
	})
	if r.news.some() {
		r.wakeWriter()
	}
}

// Seen records a packet of a thing. It is one atomic store: no lock, no allocation.
func (r *Registry) Seen(id uint32, at time.Time) {
	if page, i := r.presence.at(id); page != nil {
		page.seenMs[i].Store(at.UnixMilli())
	}
}

// Connectivity returns what is known of a thing's connection; zero for an unknown id.
func (r *Registry) Connectivity(id uint32) Connectivity {
	p := &r.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, seen := p.slot(id); s != nil {
		return s.connectivity(seen.Load())
	}
	return Connectivity{}
}

// link is what the index has of a thing's connection.
func (s *slot) link(seenMs int64) link {
	return link{known: s.sinceMs != 0 || seenMs != 0, connected: s.connections > 0, sinceMs: s.sinceMs, reason: s.reason}
}

func (s *slot) connectivity(seenMs int64) Connectivity {
	c := Connectivity{Connected: s.connections > 0, SinceMs: s.sinceMs, LastSeenMs: seenMs, Reason: s.reason}
	if s.remote.IsValid() {
		c.Remote = s.remote.String()
	}
	return c
}

// Counts counts the fleet. It reads two words per thing.
func (r *Registry) Counts() Counts {
	r.mu.RLock()
	c := Counts{Things: len(r.things), ByType: make(map[string]int, len(r.types))}
	for name, typ := range r.types {
		c.ByType[name] = typ.things
	}
	r.mu.RUnlock()

	p := &r.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Connected = p.connected
	pages := p.pages.Load()
	if pages == nil {
		return c
	}
	for _, page := range *pages {
		if page == nil {
			continue
		}
		for i := range page.seenMs {
			if page.seenMs[i].Load() == 0 && page.slots[i].live {
				c.NeverSeen++
			}
		}
	}
	return c
}

// maxFlush bounds the connectivity rows of one transaction, so that writes of things wait little for it.
const maxFlush = 1000

// flushPresence persists the connectivity that changed: connects and disconnects at once, a last-seen time alone
// when it is SeenEvery ahead of the persisted one, or in any case if all is set. What could not be written stays dirty.
func (r *Registry) flushPresence(all bool) {
	p := &r.presence
	p.mu.Lock()
	p.markSeen(r.opts.SeenEvery.Milliseconds(), all)
	ids := p.dirty
	p.dirty = nil
	p.mu.Unlock()

	r.presenceErr = nil
	for group := range slices.Chunk(ids, maxFlush) {
		if r.presenceErr == nil {
			r.presenceErr = r.flushGroup(group)
			continue
		}
		p.mu.Lock()
		p.dirty = append(p.dirty, group...) // not tried; their slots still say dirty
		p.mu.Unlock()
	}
	if len(ids) > 0 {
		r.noteWrite(r.presenceErr)
	}
}

// markSeen marks the slots whose last-seen time is to be persisted. The caller holds mu.
func (p *presence) markSeen(everyMs int64, all bool) {
	p.each(func(id uint32, s *slot, seenMs int64) {
		ahead := seenMs - s.savedSeenMs
		if ahead >= everyMs || ahead < 0 || all && ahead != 0 {
			p.mark(id, s)
		}
	})
}

// flushGroup persists the slots of ids and cleans them. A slot that changes meanwhile is marked again by its change.
func (r *Registry) flushGroup(ids []uint32) error {
	p := &r.presence
	rows := make([]Presence, 0, len(ids))
	p.mu.Lock()
	for _, id := range ids {
		page, i := p.at(id)
		s := &page.slots[i]
		s.dirty = false
		if s.live {
			s.savedSeenMs = page.seenMs[i].Load()
			rows = append(rows, Presence{id, s.connectivity(s.savedSeenMs)})
		}
	}
	p.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	err := r.opts.Store.ApplyThings(context.Background(), Batch{Presence: rows})
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if s, _ := p.slot(id); s != nil {
			p.mark(id, s)
		}
	}
	return err
}
