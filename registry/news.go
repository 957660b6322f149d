package registry

import (
	"sync"

	"github.com/bits-and-blooms/bitset"
)

// Change tells a listener what happened to a thing.
type Change struct {
	Op       Op
	Thing    Thing  // as it is now; when deleted, as it was
	OldType  string // the name of its type before; "": it had none, or is new
	Revision int64
}

// Op is what happened to a thing or a group.
type Op uint8

const (
	Created Op = iota + 1
	Updated
	Deleted
	Moved // of a group: it has another parent, and all groups below it have other ancestors
)

// GroupChange tells a listener what happened to a group.
type GroupChange struct {
	Op        Op
	Group     Group  // as it is now; when deleted, as it was
	OldParent string // before; "": it had none, or is new
	Revision  int64
}

// TypeChange tells a listener what happened to a thing type.
type TypeChange struct {
	Op       Op
	Type     ThingType // as it is now; when deleted, as it was
	Revision int64
}

// MembershipChange tells a listener that a thing is in a group, or no longer: directly, not through a group below it.
type MembershipChange struct {
	Thing     uint32
	ThingName string
	Group     uint32
	GroupName string
	Dynamic   bool // the group is a dynamic one
	Entered   bool
	Cause     string // a sentence without its full stop, such as "added by UpdateThingGroupsForThing"
	Revision  int64
}

// OnChange calls f after every committed change of a thing, in commit order, before the call that made the change
// returns. f runs on the writing goroutine: it must be short and must not write to the registry.
func (r *Registry) OnChange(f func(Change)) {
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	r.news.onChange = append(r.news.onChange, f)
}

// OnGroup calls f after every committed change of a group, as OnChange does. Of a deleted group, its members have left
// after f was called.
func (r *Registry) OnGroup(f func(GroupChange)) {
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	r.news.onGroup = append(r.news.onGroup, f)
}

// OnType calls f after every committed change of a thing type, as OnChange does.
func (r *Registry) OnType(f func(TypeChange)) {
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	r.news.onType = append(r.news.onType, f)
}

// OnMembership calls f after every change of a membership, in the order of the revisions: for what a write did as
// OnChange does, within a revision after the changes of things and groups; for what a connect or telemetry did, soon
// after it. f runs on the writing goroutine: it must be short and must not write to the registry.
func (r *Registry) OnMembership(f func(MembershipChange)) {
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	r.news.onMembership = append(r.news.onMembership, f)
}

// notice is one of what listeners are told.
type notice struct {
	change  *Change
	group   *GroupChange
	typ     *TypeChange
	members *membersChange
}

// membersChange is the MembershipChange of one or many things.
type membersChange struct {
	group    *groupRecord
	dynamic  bool
	things   []*record
	entered  bool
	cause    string
	revision int64
}

// each calls f for each thing.
func (m *membersChange) each(f func(MembershipChange)) {
	for _, rec := range m.things {
		f(MembershipChange{
			Thing: rec.id, ThingName: rec.name, Group: m.group.id, GroupName: m.group.name, Dynamic: m.dynamic, Entered: m.entered,
			Cause: m.cause, Revision: m.revision,
		})
	}
}

// news is what listeners are still to be told, in order. Only the writing goroutine tells them.
type news struct {
	wake chan struct{} // buffered: there is something that no write will deliver

	mu           sync.Mutex // guards the rest; taken last
	waiting      []notice
	onChange     []func(Change)
	onGroup      []func(GroupChange)
	onType       []func(TypeChange)
	onMembership []func(MembershipChange)
}

// notify notes what listeners are to be told with the revision that is being made. The caller is in a change.
func (r *Registry) notify(n notice) {
	revision := r.revision.Load() + 1
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	switch {
	case n.change != nil:
		if len(r.news.onChange) == 0 {
			return
		}
		n.change.Revision = revision
	case n.group != nil:
		if len(r.news.onGroup) == 0 {
			return
		}
		n.group.Revision = revision
	case n.typ != nil:
		if len(r.news.onType) == 0 {
			return
		}
		n.typ.Revision = revision
	case n.members != nil:
		if len(r.news.onMembership) == 0 {
			return
		}
		n.members.revision = revision
	}
	r.news.waiting = append(r.news.waiting, n)
}

// notifyMembers notes which things entered or left a group. The caller is in a change.
func (r *Registry) notifyMembers(g *groupRecord, things *bitset.BitSet, entered bool, cause string) {
	if things.None() || !r.news.hearMembers() {
		return
	}
	m := &membersChange{group: g, dynamic: g.dynamic != nil, things: make([]*record, 0, things.Count()), entered: entered, cause: cause}
	for id := range things.EachSet() {
		m.things = append(m.things, r.byID[id])
	}
	r.notify(notice{members: m})
}

func (n *news) hearMembers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.onMembership) > 0
}

// wakeWriter lets the writing goroutine deliver, when it is not the one that made the change.
func (r *Registry) wakeWriter() {
	select {
	case r.news.wake <- struct{}{}:
	default:
	}
}

// some reports whether there is something to deliver.
func (n *news) some() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.waiting) > 0
}

// deliver tells the listeners. Only the writing goroutine calls it.
func (r *Registry) deliver() {
	r.news.mu.Lock()
	waiting := r.news.waiting
	r.news.waiting = nil
	onChange, onGroup, onType, onMembership := r.news.onChange, r.news.onGroup, r.news.onType, r.news.onMembership
	r.news.mu.Unlock()
	for _, n := range waiting {
		switch {
		case n.change != nil:
			for _, f := range onChange {
				f(*n.change)
			}
		case n.group != nil:
			for _, f := range onGroup {
				f(*n.group)
			}
		case n.typ != nil:
			for _, f := range onType {
				f(*n.typ)
			}
		case n.members != nil:
			for _, f := range onMembership {
				n.members.each(f)
			}
		}
	}
}
