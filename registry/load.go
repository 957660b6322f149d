package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"unique"

	"muster/registry/index"
)

// Loader takes what a Store has, in the order of its fields, each kind in any order. The functions that take lists are called as often as there
// are some; lists and bytes are theirs for the time of the call. But for Slow, one is called at a time.
type Loader struct {
	Type         func(ThingType)
	BillingGroup func(BillingGroup)
	Things       func([]StoredThing)
	Links        func([]StoredLink) // of things, each at most once
	Group        func(Group)
	Members      func([]Member)
	Tag          func(Tag)

	Slow func(table string, err error) // a table is read in a slower way, because of err; called any time
}

// StoredThing is a thing as a Store has it.
type StoredThing struct {
	ID                            uint32
	Name, UUID                    []byte
	TypeName, BillingGroup        []byte            // empty: none
	Attributes                    []StoredAttribute // by key ascending, each key once
	Version, CreatedMs, UpdatedMs int64
}

// StoredAttribute is an attribute as a Store has it.
type StoredAttribute struct{ Key, Value []byte }

// StoredLink is the Connectivity of a thing as a Store has it.
type StoredLink struct {
	ThingID             uint32
	Connected           bool
	SinceMs, LastSeenMs int64
	Remote, Reason      []byte
}

// load reads everything from the store; Open has nobody else yet.
func (r *Registry) load(ctx context.Context) error {
	l := loading{Registry: r, reasons: map[string]string{}}
	marks, err := r.opts.Store.LoadThings(ctx, Loader{
		Type: func(t ThingType) {
			schema, err := parseSchema(t.Schema)
			l.note(err)
			r.types[t.Name] = &typeRecord{name: t.Name, typ: t, schema: schema}
		},
		BillingGroup: func(b BillingGroup) { r.billing[b.Name] = &billingRecord{BillingGroup: b} },
		Things:       l.addThings,
		Links:        l.addLinks,
		Group:        func(g Group) { l.storedGroups = append(l.storedGroups, g) },
		Members:      func(list []Member) { l.storedMembers = append(l.storedMembers, list...) },
		Tag:          func(t Tag) { r.putTag(t) },
		Slow: func(table string, err error) {
			r.opts.Log.Warn("a table of the registry is read row by row, which is slower: it is not as this program writes it", "table", table, "err", err)
		},
	})
	if err := errors.Join(err, l.bad); err != nil {
		return err
	}
	if err := r.groups.load(l.storedGroups); err != nil {
		return err
	}
	if err := l.join(); err != nil {
		return err
	}
	var names sync.WaitGroup
	names.Go(func() { r.loadNames(l.records) }) // beside the index
	r.loadIndex(l.records)
	names.Wait()
	r.loadGroupIndex()
	// The marks are above every id ever given; a file edited by hand must not bring one back.
	r.nextID = max(marks.NextID, uint32(len(r.byID)), 1)
	r.nextGroupID = max(marks.NextGroupID, uint32(len(r.groups.byID)), 1)
	r.revision.Store(marks.Revision)
	r.startDynamic()
	return nil
}

func (r *Registry) loadNames(records []*record) {
	r.things = make(map[string]*record, len(records))
	for _, rec := range records {
		r.things[rec.name] = rec
	}
	r.order.load(slices.Clone(records))
}

// loading is a registry that is being read from its store.
type loading struct {
	*Registry
	records       []*record
	storedGroups  []Group
	storedMembers []Member
	keys          []string          // of the attributes of the last thing
	reasons       map[string]string // at most maxReasons, each once
	bad           error             // the first
}

func (l *loading) note(err error) {
	if l.bad == nil {
		l.bad = err
	}
}

// loadTogether is how many things are put into memory next to each other, where they stay until the last of them has changed: the garbage collector has
// less to look through, and neighbors are read together.
const loadTogether = 32

func (l *loading) addThings(list []StoredThing) {
	for some := range slices.Chunk(list, loadTogether) {
		attributes, bytes := 0, 0
		for i := range some {
			t := &some[i]
			attributes += len(t.Attributes)
			bytes += len(t.Name)
			for _, a := range t.Attributes {
				bytes += len(a.Value)
			}
		}
		room := roomForThings{records: make([]record, len(some)), attributes: make([]attribute, 0, attributes)}
		room.text.Grow(bytes)
		for i := range some {
			rec := &room.records[i]
			if err := l.thing(rec, &some[i], &room); err != nil {
				l.note(fmt.Errorf("thing %q: %w", some[i].Name, err))
				continue
			}
			l.records = append(l.records, rec)
			l.setByID(rec)
			rec.join()
		}
	}
	l.addSlots(list)
}

// addSlots makes the slots of things, which are offline.
func (l *loading) addSlots(list []StoredThing) {
	p := &l.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range list {
		p.place(list[i].ID)
	}
}

// roomForThings is where some things are put together.
type roomForThings struct {
	records    []record
	attributes []attribute
	text       strings.Builder // has room for all
}

func (room *roomForThings) keep(text []byte) string {
	start := room.text.Len()
	room.text.Write(text)
	return room.text.String()[start:]
}

// thing makes a record of what is stored.
func (l *loading) thing(rec *record, t *StoredThing, room *roomForThings) (err error) {
	if rec.uuid, err = parseUUID(t.UUID); err != nil {
		return err
	}
	if len(t.TypeName) > 0 {
		if rec.typ = l.types[string(t.TypeName)]; rec.typ == nil {
			return fmt.Errorf("its type %q does not exist", t.TypeName)
		}
	}
	if len(t.BillingGroup) > 0 {
		if rec.billing = l.billing[string(t.BillingGroup)]; rec.billing == nil {
			return fmt.Errorf("its billing group %q does not exist", t.BillingGroup)
		}
	}
	rec.id, rec.name = t.ID, room.keep(t.Name)
	rec.version, rec.createdMs, rec.updatedMs = t.Version, t.CreatedMs, t.UpdatedMs
	if len(t.Attributes) == 0 {
		return nil
	}
	start := len(room.attributes)
	for i, a := range t.Attributes {
		room.attributes = append(room.attributes, attribute{l.key(i, a.Key), room.keep(a.Value)})
	}
	rec.attributes = slices.Clip(room.attributes[start:])
	return nil
}

// key returns the key of the i-th attribute of a thing. A fleet has few different keys, so they are kept once; most things have those of the thing before.
func (l *loading) key(i int, key []byte) string {
	if i < len(l.keys) && l.keys[i] == string(key) {
		return l.keys[i]
	}
	kept := unique.Make(string(key)).Value()
	l.keys = append(l.keys[:i], kept)
	return kept
}

// maxReasons bounds the reasons that are kept once; they are few unless clients make them up.
const maxReasons = 1 << 12

func (l *loading) addLinks(list []StoredLink) {
	p := &l.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range list {
		link := &list[i]
		s, seen := p.slot(link.ThingID)
		if s == nil {
			continue
		}
		seen.Store(link.LastSeenMs)
		s.savedSeenMs = link.LastSeenMs
		s.sinceMs, s.reason = link.SinceMs, l.reason(link.Reason)
		if len(link.Remote) > 0 {
			s.remote, _ = netip.ParseAddrPort(string(link.Remote))
		}
		if link.Connected { // it is offline now, whatever it was
			s.sinceMs, s.reason = max(link.SinceMs, link.LastSeenMs), reasonRestart
		}
	}
}

func (l *loading) reason(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	kept, known := l.reasons[string(text)]
	if !known {
		kept = string(text)
		if len(l.reasons) < maxReasons {
			l.reasons[kept] = kept
		}
	}
	return kept
}

// join puts the things into their groups.
func (l *loading) join() error {
	counts := make([]int, len(l.groups.byID))
	for _, m := range l.storedMembers {
		if int(m.Group) >= len(counts) || l.groups.byID[m.Group] == nil || int(m.Thing) >= len(l.byID) || l.byID[m.Thing] == nil {
			return fmt.Errorf("thing %d is a member of the group %d, one of which does not exist", m.Thing, m.Group)
		}
		counts[m.Group]++
	}
	things := make([][]uint32, len(counts))
	for _, m := range l.storedMembers {
		if things[m.Group] == nil {
			things[m.Group] = make([]uint32, 0, counts[m.Group])
		}
		things[m.Group] = append(things[m.Group], m.Thing)
	}
	for id, list := range things {
		if len(list) > 0 {
			slices.Sort(list)
			l.groups.byID[id].members = index.SetOfList(list)
		}
	}
	return nil
}
