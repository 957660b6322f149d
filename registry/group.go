package registry

import (
	"context"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bits-and-blooms/bitset"
)

// Group is a thing group. The caller owns the map of a Group it got.
type Group struct {
	ID          uint32 // dense, from 1, never used again
	Name        string
	UUID        string // AWS: thingGroupId
	Parent      string // "": a root
	Description string
	Attributes  map[string]string
	Version     int64 // 1 at creation, +1 with every update and move
	CreatedMs   int64
	Dynamic     *Dynamic // nil: a static group. Do not change what it points to.
	Status      Status   // of a dynamic group, else ""
}

// Dynamic is what makes a group a dynamic one: its members are the things that a query finds.
type Dynamic struct {
	Query        string
	IndexName    string // "AWS_Things"
	QueryVersion string // "2017-09-30"
	Extra        string // what else decides who is a member, as dynamic.go encodes it; "": nothing
}

// Status says how far the members of a dynamic group are.
type Status string

const (
	Building   Status = "BUILDING"   // made, its members are not yet known
	Rebuilding Status = "REBUILDING" // its query was changed
	Active     Status = "ACTIVE"
)

// GroupInput is what CreateGroup takes.
type GroupInput struct {
	Name        string
	Parent      string // "": a root. A dynamic group has none, and is none.
	Description string
	Attributes  map[string]string // an empty value is no attribute
	Dynamic     *Dynamic          // checked by the caller
	Tags        map[string]string // of the new group
}

// GroupUpdate is what UpdateGroup takes; zero fields leave things as they are.
type GroupUpdate struct {
	Name            string
	Description     *string
	Attributes      map[string]string // nil: unchanged; an empty value removes the attribute
	Merge           bool              // false: Attributes replaces all; true: it is laid over the present ones
	ExpectedVersion int64             // 0: any
	// Dynamic replaces the query of a dynamic group, checked by the caller. Nil: it stays.
	Dynamic *Dynamic
	// OfDynamic says which kind of group the caller means; another one is Invalid.
	OfDynamic bool
}

// CreateGroup makes a group. The same call again succeeds and returns the group that is there; with another parent or
// other properties it is a Conflict. Tags are no property: they have operations of their own, and stay as they are.
func (r *Registry) CreateGroup(ctx context.Context, in GroupInput) (Group, error) {
	if err := CheckName("thingGroupName", in.Name); err != nil {
		return Group{}, err
	}
	if err := checkNames("parentGroupName", in.Parent); err != nil {
		return Group{}, err
	}
	if err := checkDescription("thingGroupDescription", in.Description); err != nil {
		return Group{}, err
	}
	attributes, err := r.checkGroupAttributes(nil, in.Attributes)
	if err != nil {
		return Group{}, err
	}
	if err := checkTags(in.Tags); err != nil {
		return Group{}, err
	}
	var made Group
	err = r.submit(ctx, "", func(tx *transaction) error {
		if g := r.groups.byName[in.Name]; g != nil {
			made = g.group()
			if made.Parent != in.Parent || made.Description != in.Description || !maps.Equal(made.Attributes, attributes) ||
				!sameDynamic(made.Dynamic, in.Dynamic) {
				return refuse(Conflict, "thing group %q already exists with another parent or other properties; update, move or delete it", in.Name)
			}
			return nil
		}
		in.Attributes = attributes
		var err error
		made, err = r.planCreateGroup(tx, in)
		return err
	})
	if err != nil {
		return Group{}, err
	}
	return made, nil
}

// planCreateGroup adds a new group to tx. Its attributes are checked and belong to the result.
func (r *Registry) planCreateGroup(tx *transaction, in GroupInput) (Group, error) {
	if len(r.groups.byName) >= r.opts.MaxGroups || r.nextGroupID >= maxID {
		return Group{}, refuse(Limit, "this gateway takes at most %d thing groups; delete some", min(r.opts.MaxGroups, maxID))
	}
	var parent *groupRecord
	if in.Parent != "" {
		if parent = r.groups.byName[in.Parent]; parent == nil {
			return Group{}, refuse(NotFound, "parentGroupName: thing group %q does not exist; create it first", in.Parent)
		}
		if in.Dynamic != nil {
			return Group{}, refuse(Invalid, "parentGroupName: a dynamic group has no parent; name the group in its query instead, as group:%s", in.Parent)
		}
	}
	if err := r.checkPlace(parent, 1); err != nil {
		return Group{}, err
	}
	if in.Dynamic != nil {
		if err := r.checkCircle(r.nextGroupID, in.Name, in.Dynamic); err != nil {
			return Group{}, err
		}
	}
	uuid, err := newUUID(r.opts.Rand)
	if err != nil {
		return Group{}, err
	}
	// Clones: the caller's strings may be parts of its request.
	made := Group{
		ID: r.nextGroupID, Name: strings.Clone(in.Name), UUID: uuid, Description: strings.Clone(in.Description),
		Attributes: in.Attributes, Version: 1, CreatedMs: r.nowMs(), Dynamic: in.Dynamic,
	}
	if parent != nil {
		made.Parent = parent.name
	}
	if made.Dynamic != nil {
		made.Status = Building
	}
	g, err := newGroupRecord(made)
	if err != nil {
		return Group{}, err
	}
	r.nextGroupID++
	tx.CreateGroups = append(tx.CreateGroups, made)
	r.planTags(tx, groupResource(made.Name), in.Tags)
	tx.memory = append(tx.memory, func() {
		r.groups.add(g, parent)
		r.groupIndex.AddThing(g.id)
		r.indexGroup(g, false)
		r.delta.groups = append(r.delta.groups, groupDelta{op: Created, group: g})
	})
	tx.notices = append(tx.notices, notice{group: &GroupChange{Op: Created, Group: made}})
	return made, nil
}

// checkPlace says whether a tree of groups that is height groups deep may be put below parent.
func (r *Registry) checkPlace(parent *groupRecord, height int) error {
	if parent == nil {
		if height > r.opts.MaxGroupDepth {
			return errDepth(r.opts.MaxGroupDepth, height)
		}
		return nil
	}
	switch depth := parent.depth() + height; {
	case parent.dynamic != nil:
		return refuse(Invalid, "parentGroupName: %q is a dynamic group, which has no groups below it", parent.name)
	case depth > r.opts.MaxGroupDepth:
		return errDepth(r.opts.MaxGroupDepth, depth)
	case len(parent.children) >= r.opts.MaxGroupChildren:
		return refuse(Invalid, "parentGroupName: thing group %q has %d groups directly below it, and %d is the limit (setting registry.max-group-children)",
			parent.name, len(parent.children), r.opts.MaxGroupChildren)
	}
	return nil
}

func errDepth(limit, depth int) error {
	return refuse(Invalid, "parentGroupName: at most %d groups may be below one another, these would be %d (setting registry.max-group-depth)", limit, depth)
}

// UpdateGroup changes a group and returns it as it is now.
func (r *Registry) UpdateGroup(ctx context.Context, in GroupUpdate) (Group, error) {
	if err := CheckName("thingGroupName", in.Name); err != nil {
		return Group{}, err
	}
	if err := checkExpected(in.ExpectedVersion); err != nil {
		return Group{}, err
	}
	if in.Description != nil {
		if err := checkDescription("thingGroupDescription", *in.Description); err != nil {
			return Group{}, err
		}
	}
	if _, err := r.checkGroupAttributes(nil, in.Attributes); err != nil {
		return Group{}, err
	}
	var updated Group
	err := r.submit(ctx, "", func(tx *transaction) error {
		g, err := r.groupOfKind(in.Name, in.OfDynamic)
		if err != nil {
			return err
		}
		if err := g.checkVersion(in.ExpectedVersion); err != nil {
			return err
		}
		updated = g.group()
		if in.Description != nil {
			updated.Description = strings.Clone(*in.Description)
		}
		if in.Attributes != nil {
			base := updated.Attributes
			if !in.Merge {
				base = nil
			}
			if updated.Attributes, err = r.checkGroupAttributes(base, in.Attributes); err != nil {
				return err
			}
		}
		if in.OfDynamic && in.Dynamic != nil && !sameDynamic(in.Dynamic, g.dynamic) {
			if err := r.checkCircle(g.id, g.name, in.Dynamic); err != nil {
				return err
			}
			updated.Dynamic, updated.Status = in.Dynamic, Rebuilding
		}
		updated.Version++
		r.planUpdateGroup(tx, g, updated, Updated, func() {})
		return nil
	})
	if err != nil {
		return Group{}, err
	}
	return updated, nil
}

// planUpdateGroup adds the change of a group to now to tx; place puts it elsewhere.
func (r *Registry) planUpdateGroup(tx *transaction, g *groupRecord, now Group, op Op, place func()) {
	tx.UpdateGroups = append(tx.UpdateGroups, now)
	tx.memory = append(tx.memory, func() {
		r.unindexGroup(g, op == Moved)
		if g.dynamic != now.Dynamic {
			g.dynamic, g.status = now.Dynamic, now.Status
			r.delta.groups = append(r.delta.groups, groupDelta{op: Updated, group: g})
		}
		g.description, g.attributes, g.version = now.Description, maps.Clone(now.Attributes), now.Version
		if op == Moved {
			r.delta.groups = append(r.delta.groups, groupDelta{op: Moved, group: g, from: g.parent})
		}
		place()
		r.indexGroup(g, op == Moved)
	})
	tx.notices = append(tx.notices, notice{group: &GroupChange{Op: op, Group: now, OldParent: g.group().Parent}})
}

// MoveGroup puts a static group with all below it under another parent, "" for none, at once: nobody sees a state in
// between. A place below itself is Invalid, as is one that breaks a limit.
func (r *Registry) MoveGroup(ctx context.Context, name, parent string, expectedVersion int64) (Group, error) {
	if err := CheckName("thingGroupName", name); err != nil {
		return Group{}, err
	}
	if err := checkExpected(expectedVersion); err != nil {
		return Group{}, err
	}
	var moved Group
	err := r.submit(ctx, "", func(tx *transaction) error {
		g, err := r.groupOfKind(name, false)
		if err != nil {
			return err
		}
		if err := g.checkVersion(expectedVersion); err != nil {
			return err
		}
		var to *groupRecord
		if parent != "" {
			if to = r.groups.byName[parent]; to == nil {
				return refuse(NotFound, "parentGroupName: thing group %q does not exist; create it first", parent)
			}
		}
		if moved = g.group(); to == g.parent {
			return nil
		}
		if to != nil && to.within(g) {
			return refuse(Invalid, "parentGroupName: %q is %q or below it; a group cannot be below itself", parent, name)
		}
		if err := r.checkPlace(to, g.height()); err != nil {
			return err
		}
		if err := r.checkMove(g, to); err != nil {
			return err
		}
		moved.Parent = ""
		if to != nil {
			moved.Parent = to.name
		}
		moved.Version++
		r.planUpdateGroup(tx, g, moved, Moved, func() { r.groups.place(g, to) })
		return nil
	})
	if err != nil {
		return Group{}, err
	}
	return moved, nil
}

// checkMove says whether the things below g may be in the hierarchy of the group to as well.
func (r *Registry) checkMove(g, to *groupRecord) error {
	root := g // of its own hierarchy, if to is nil
	if to != nil {
		root = to.root()
	}
	if root == g.root() || to == nil {
		return nil
	}
	var bad error
	g.each(func(below *groupRecord) bool {
		for _, id := range below.members.Append(nil) {
			n := 0
			for _, other := range r.groupsOf(id) {
				if other.dynamic == nil && (other.root() == root || other.within(g)) {
					n++
				}
			}
			if n > r.opts.MaxGroupsPerHierarchy {
				bad = refuse(Invalid, "thing %q is in %q and would be in %d groups below %q; %d is the limit (setting registry.max-groups-per-hierarchy)",
					r.byID[id].name, below.name, n, root.name, r.opts.MaxGroupsPerHierarchy)
				return false
			}
		}
		return true
	})
	return bad
}

// DeleteGroup deletes a group; its members leave it. One that does not exist is no error (AWS DeleteThingGroup), one with
// groups below it is Invalid, as is one of the other kind than ofDynamic says. expectedVersion 0 is any.
func (r *Registry) DeleteGroup(ctx context.Context, name string, expectedVersion int64, ofDynamic bool) error {
	if err := CheckName("thingGroupName", name); err != nil {
		return err
	}
	if err := checkExpected(expectedVersion); err != nil {
		return err
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		if r.groups.byName[name] == nil {
			return nil
		}
		g, err := r.groupOfKind(name, ofDynamic)
		if err != nil {
			return err
		}
		if err := g.checkVersion(expectedVersion); err != nil {
			return err
		}
		if n := len(g.children); n > 0 {
			return refuse(Invalid, "thing group %q has %d groups below it; delete or move them first", name, n)
		}
		tx.DeleteGroups = append(tx.DeleteGroups, g.id)
		r.planForgetTags(tx, groupResource(name))
		tx.memory = append(tx.memory, func() {
			left := r.setMembers(g, new(bitset.BitSet), "the group was deleted")
			r.unindexGroup(g, false)
			r.groupIndex.RemoveThing(g.id)
			r.groups.remove(g)
			r.delta.groups = append(r.delta.groups, groupDelta{op: Deleted, group: g, left: left})
		})
		tx.notices = append(tx.notices, notice{group: &GroupChange{Op: Deleted, Group: g.group(), OldParent: g.group().Parent}})
		return nil
	})
}

// groupOfKind returns the group of that name, dynamic or static as asked. The caller is the writing goroutine.
func (r *Registry) groupOfKind(name string, dynamic bool) (*groupRecord, error) {
	g := r.groups.byName[name]
	switch {
	case g == nil:
		return nil, errNoGroup(name)
	case g.dynamic != nil && !dynamic:
		return nil, refuse(Invalid, "thing group %q is a dynamic group; use the operation for dynamic groups", name)
	case g.dynamic == nil && dynamic:
		return nil, refuse(Invalid, "thing group %q is a static group; use the operation for static groups", name)
	}
	return g, nil
}

// setStatus notes how far the members of a dynamic group are. The caller is in a change.
func (r *Registry) setStatus(g *groupRecord, status Status) { g.status = status }

// GroupARN returns arn:aws:iot:<region>:<account>:thinggroup/<name>.
func (r *Registry) GroupARN(name string) string { return r.arn("thinggroup", name) }

func groupResource(name string) string { return "thinggroup/" + name }

func errNoGroup(name string) error { return refuse(NotFound, "thing group %q does not exist", name) }

func (g *groupRecord) checkVersion(expected int64) error {
	if expected != 0 && expected != g.version {
		return refuse(Stale, "thing group %q has version %d, expectedVersion is %d; read it again", g.name, g.version, expected)
	}
	return nil
}

func checkExpected(version int64) error {
	if version < 0 {
		return refuse(Invalid, "expectedVersion must be positive, it is %d", version)
	}
	return nil
}

// checkGroupAttributes lays change over base and returns the sum, new; an empty value takes the attribute away.
func (r *Registry) checkGroupAttributes(base, change map[string]string) (map[string]string, error) {
	sum, err := layAttributes(base, change, r.opts.MaxGroupAttributes)
	if err != nil {
		return nil, err
	}
	if len(sum) > r.opts.MaxGroupAttributes {
		return nil, refuse(Invalid, "attributes: a thing group has at most %d, this one would have %d", r.opts.MaxGroupAttributes, len(sum))
	}
	return sum, nil
}

// checkDescription checks a free text: printable characters and the space (AWS).
func checkDescription(field, text string) error {
	if n := utf8.RuneCountInString(text); n > MaxDescriptionLen {
		return refuse(Invalid, "%s: at most %d characters, it has %d", field, MaxDescriptionLen, n)
	}
	for i, c := range text {
		if c != ' ' && (unicode.IsSpace(c) || !unicode.IsGraphic(c)) || c == utf8.RuneError {
			return refuse(Invalid, "%s: has %q at position %d; allowed are printable characters and the space", field, c, i)
		}
	}
	return nil
}
