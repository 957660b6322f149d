package registry

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
	"muster/registry/standing"
)

// dynamic is what keeps the members of dynamic groups. It is guarded by fleet, but for what says otherwise.
type dynamic struct {
	engine   *standing.Engine
	doc      document
	settling bool // the engine changes memberships
	starting bool // memberOf is made later
	timed    bool // members may change with time alone
	more     bool // not all that is due was done
	nowMs    int64
	live     LiveTelemetry // nil until FollowTelemetry
	watched  []query.Threshold
	windows  map[query.Column]*window

	expressions Expressions // nil until FollowExpressions
	problems    map[uint32]string

	why         map[uint32]string // what happened to a group that has no members yet
	seenSinceMs int64             // groups were built since then that ask when things were seen; query.Never: none

	rouse    chan struct{} // buffered: follow has something new to look at
	building sync.Mutex    // held while groups are built, taken before fleet; guards replayed
	replayed time.Duration // how long samples were read since the start
}

// DynamicInput is what CreateDynamicGroup takes.
type DynamicInput struct {
	Name        string
	Definition  Definition
	Description string
	Attributes  map[string]string
	Tags        map[string]string
}

// CreateDynamicGroup makes a dynamic group. When it returns, the group has its members, unless its query has windows over telemetry or is
// PromQL: then it has them when its status is ACTIVE. The same call again succeeds.
func (r *Registry) CreateDynamicGroup(ctx context.Context, in DynamicInput) (Group, error) {
	if err := r.checkDefinition(ctx, in.Name, in.Definition); err != nil {
		return Group{}, err
	}
	made, err := r.CreateGroup(ctx, GroupInput{
		Name: in.Name, Description: in.Description, Attributes: in.Attributes, Tags: in.Tags, Dynamic: in.Definition.dynamic(r.nowMs()),
	})
	if err != nil {
		return Group{}, err
	}
	return r.built(ctx, made.Name)
}

// built returns a dynamic group when it has its members, as far as these can be known, and the listeners were told of them.
func (r *Registry) built(ctx context.Context, name string) (Group, error) {
	r.build("the group's query was evaluated")
	if err := r.told(ctx); err != nil {
		return Group{}, err
	}
	return r.Group(name)
}

// DynamicUpdate is what UpdateDynamicGroup takes; zero fields leave things as they are.
type DynamicUpdate struct {
	Name            string
	Definition      *Definition
	Description     *string
	Attributes      map[string]string
	Merge           bool
	ExpectedVersion int64
}

// UpdateDynamicGroup changes a dynamic group. Its members have followed when it returns, as CreateDynamicGroup says.
func (r *Registry) UpdateDynamicGroup(ctx context.Context, in DynamicUpdate) (Group, error) {
	update := GroupUpdate{
		Name: in.Name, Description: in.Description, Attributes: in.Attributes, Merge: in.Merge, ExpectedVersion: in.ExpectedVersion, OfDynamic: true,
	}
	if in.Definition != nil {
		if err := r.checkDefinition(ctx, in.Name, *in.Definition); err != nil {
			return Group{}, err
		}
		update.Dynamic = in.Definition.dynamic(r.nowMs())
	}
	updated, err := r.UpdateGroup(ctx, update)
	if err != nil {
		return Group{}, err
	}
	return r.built(ctx, updated.Name)
}

func (r *Registry) checkDefinition(ctx context.Context, name string, d Definition) error {
	rule, err := r.rule(0, name, d)
	if err != nil || !rule.Listed {
		return err
	}
	r.fleet.RLock()
	expressions := r.dynamic.expressions
	r.fleet.RUnlock()
	if expressions == nil {
		return refuse(Invalid, "query: this gateway has no PromQL for groups")
	}
	expression, _ := d.Expression()
	if _, err := expressions.Things(ctx, expression); err != nil {
		return &Error{Kind: Invalid, Message: "query: promql: " + err.Error(), cause: err}
	}
	return nil
}

// checkCircle refuses a definition that would make a group depend on itself. The caller is the writing goroutine.
func (r *Registry) checkCircle(id uint32, name string, d *Dynamic) error {
	rule, err := r.rule(id, name, d.Definition())
	if err != nil {
		return err
	}
	if err := r.dynamic.engine.Check(rule); err != nil {
		return &Error{Kind: Invalid, Message: "queryString: " + err.Error()}
	}
	return nil
}

// startDynamic makes the rules of all groups, and their members where that needs nothing that joins later. Open calls it.
func (r *Registry) startDynamic() {
	y := &r.dynamic
	y.doc.r = r
	y.engine = standing.New((*ruled)(r))
	y.windows = map[query.Column]*window{}
	y.problems = map[uint32]string{}
	y.why = map[uint32]string{}
	y.seenSinceMs = query.Never
	y.rouse = make(chan struct{}, 1)
	var rules []standing.Rule
	for _, g := range r.groups.order {
		if g.dynamic == nil {
			continue
		}
		rule, err := r.rule(g.id, g.name, g.dynamic.Definition())
		if err != nil {
			y.problems[g.id] = err.Error()
			r.opts.Log.Error("a dynamic group stays empty: its query is not understood", "group", g.name, "err", err)
			continue
		}
		rules = append(rules, rule)
	}
	y.engine.Put(rules...)
	r.delta.reset()
	r.buildAll("the gateway started")
}

// ruled is the fleet as the engine of standing queries sees it.
type ruled Registry

// Document implements standing.Fleet.
func (f *ruled) Document(id uint32) query.Document {
	if int(id) >= len(f.byID) || f.byID[id] == nil {
		return nil
	}
	f.dynamic.doc.reset(f.byID[id], f.dynamic.nowMs)
	return &f.dynamic.doc
}

// Has implements standing.Fleet.
func (f *ruled) Has(group, id uint32) bool { return f.groups.byID[group].members.Has(id) }

// Set implements standing.Fleet.
func (f *ruled) Set(group, id uint32, in bool, cause string) {
	(*Registry)(f).setMember(f.groups.byID[group], id, in, cause)
}

// SetAll implements standing.Fleet.
func (f *ruled) SetAll(group uint32, members *bitset.BitSet, cause string) (changed *bitset.BitSet) {
	return (*Registry)(f).setMembers(f.groups.byID[group], members, cause)
}

// settle lets the dynamic groups follow a change, at its end.
func (r *Registry) settle(d *delta) {
	y := &r.dynamic
	changedRules := slices.ContainsFunc(d.groups, func(g groupDelta) bool { return g.group.dynamic != nil })
	if y.engine.Len() == 0 && !changedRules {
		return
	}
	y.settling, y.nowMs = true, r.nowMs()
	defer func() {
		y.settling = false
		if timed := y.engine.Timed(); timed != y.timed {
			y.timed = timed
			r.rouse()
		}
	}()
	for _, g := range d.groups {
		if g.op == Deleted {
			y.engine.Remove(g.group.id)
		}
	}
	var changes changes
	for _, t := range d.things {
		switch {
		case t.now == nil:
			y.engine.Forget(t.old.id)
			r.forgetWindows(t.old.id)
		case t.old == nil:
			changes.of(t.now.id, "the thing was created").All = true
		default:
			recordChange(&changes, t.old, t.now)
		}
	}
	for _, l := range d.links {
		cause := "the thing disconnected"
		if l.now.connected {
			cause = "the thing connected"
		}
		c := changes.of(l.id, cause)
		c.Fields = append(c.Fields, fieldConnected, fieldTimestamp, fieldReason, fieldDisconnect, fieldLastSeen)
	}
	for _, m := range d.members {
		changes.of(m.id, m.cause).addGroups(m.group)
	}
	for _, t := range d.touched {
		c := changes.of(t.id, t.Cause)
		c.Fields = append(c.Fields, t.Fields...)
		c.Columns = append(c.Columns, t.Columns...)
	}
	for _, g := range d.groups {
		if g.op == Deleted && r.isNamed(g.group) {
			for id := range g.left.EachSet() {
				changes.of(uint32(id), "the group was deleted").addGroups(g.group)
			}
		}
		if g.op != Moved {
			continue
		}
		moved := new(bitset.BitSet)
		r.addMembers(moved, g.group, true)
		for id := range moved.EachSet() {
			c := changes.of(uint32(id), "group "+g.group.name+" was moved")
			c.addGroups(g.from)
			c.addGroups(g.group.parent)
		}
	}
	for _, c := range changes.order {
		y.engine.Apply(c.id, c.Change, y.nowMs)
	}
	if changedRules {
		r.settleRules(d.groups)
	}
	for _, l := range d.listed {
		r.settleListing(l)
	}
	if d.due {
		y.more = y.engine.Due(y.nowMs, maxDue)
	}
}

// isNamed says whether a dynamic group asks for a group, or for one above it.
func (r *Registry) isNamed(g *groupRecord) bool {
	for ; g != nil; g = g.parent {
		if r.dynamic.engine.Names(g.name) {
			return true
		}
	}
	return false
}

// maxDue bounds what one change does of what is due, so that queries and writes wait little for it.
const maxDue = 512

// settleRules follows what happened to dynamic groups themselves.
func (r *Registry) settleRules(groups []groupDelta) {
	y := &r.dynamic
	for _, d := range groups {
		g := d.group
		if g.dynamic == nil {
			continue
		}
		delete(y.problems, g.id)
		delete(y.why, g.id)
		if d.op == Deleted {
			r.watch()
			continue
		}
		rule, err := r.rule(g.id, g.name, g.dynamic.Definition())
		if err != nil {
			panic("BUG: a definition that was not checked: " + err.Error())
		}
		y.engine.Put(rule)
		r.watch()
		y.why[g.id] = "the group was created"
		if d.op == Updated {
			y.why[g.id] = "the group's query was changed"
		}
	}
	r.rouse()
}

// rouse lets follow look again.
func (r *Registry) rouse() {
	select {
	case r.dynamic.rouse <- struct{}{}:
	default:
	}
}

// changes are the changes of some things, each once, in the order in which they came.
type changes struct {
	order []*change
	byID  map[uint32]*change
}

type change struct {
	id uint32
	standing.Change
}

// of returns the change of a thing, made if it is not there. The first cause counts.
func (s *changes) of(id uint32, cause string) *change {
	if n := len(s.order); n > 0 && s.order[n-1].id == id {
		return s.order[n-1]
	}
	if c := s.byID[id]; c != nil {
		return c
	}
	c := &change{id: id, Change: standing.Change{Cause: cause}}
	s.order = append(s.order, c)
	if s.byID == nil {
		s.byID = map[uint32]*change{}
	}
	s.byID[id] = c
	return c
}

// addGroups adds the names of a group and of those above it.
func (c *change) addGroups(g *groupRecord) {
	for ; g != nil; g = g.parent {
		c.Groups = append(c.Groups, g.name)
	}
}

// recordChange notes what is different between two records of a thing.
func recordChange(s *changes, old, now *record) {
	fields := []string{fieldVersion, fieldUpdated}
	var said []string
	differs := func(field string) {
		fields = append(fields, field)
		said = append(said, field)
	}
	if old.typeName() != now.typeName() {
		differs(fieldType)
	}
	if old.billing != now.billing {
		differs(fieldBilling)
	}
	for _, a := range old.attributes {
		if value, _ := now.attribute(a.key); value != a.value {
			differs(fieldAttribute + a.key)
		}
	}
	for _, a := range now.attributes {
		if _, had := old.attribute(a.key); !had {
			differs(fieldAttribute + a.key)
		}
	}
	cause := "the thing was updated"
	if len(said) > 0 && len(said) <= 3 {
		cause = strings.Join(said, ", ") + " changed"
	}
	c := s.of(now.id, cause)
	c.Fields = append(c.Fields, fields...)
	c.Bare = c.Bare || slices.ContainsFunc(fields, isBare)
}
