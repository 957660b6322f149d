package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"muster/registry/index"
)

// groupRecord is a thing group in memory. id, uuid and name never change; the rest is guarded as Registry.groups.
type groupRecord struct {
	id          uint32
	uuid        [16]byte
	name        string
	folded      string         // name without case
	parent      *groupRecord   // nil: a root
	children    []*groupRecord // by name
	description string
	attributes  map[string]string // not changed, but replaced
	version     int64
	createdMs   int64
	dynamic     *Dynamic // not changed, but replaced
	status      Status
	members     index.Set // direct ones
}

func newGroupRecord(g Group) (*groupRecord, error) {
	uuid, err := parseUUID(g.UUID)
	if err != nil {
		return nil, fmt.Errorf("thing group %q: %w", g.Name, err)
	}
	return &groupRecord{
		id: g.ID, uuid: uuid, name: g.Name, folded: index.Fold(g.Name), description: g.Description, attributes: maps.Clone(g.Attributes),
		version: g.Version, createdMs: g.CreatedMs, dynamic: g.Dynamic, status: g.Status,
	}, nil
}

// group returns a copy that the caller owns.
func (g *groupRecord) group() Group {
	out := Group{
		ID: g.id, Name: g.name, UUID: formatUUID(g.uuid), Description: g.description, Attributes: maps.Clone(g.attributes),
		Version: g.version, CreatedMs: g.createdMs, Dynamic: g.dynamic, Status: g.status,
	}
	if out.Attributes == nil {
		out.Attributes = map[string]string{}
	}
	if g.parent != nil {
		out.Parent = g.parent.name
	}
	return out
}

// root returns the topmost group of the hierarchy.
func (g *groupRecord) root() *groupRecord {
	for g.parent != nil {
		g = g.parent
	}
	return g
}

// depth returns how many groups there are from the root to g, both counted.
func (g *groupRecord) depth() int {
	n := 1
	for ; g.parent != nil; g = g.parent {
		n++
	}
	return n
}

// height returns how many groups there are from g to the deepest below it, both counted.
func (g *groupRecord) height() int {
	most := 0
	for _, c := range g.children {
		most = max(most, c.height())
	}
	return most + 1
}

// within reports whether g is above or below it.
func (g *groupRecord) within(above *groupRecord) bool {
	for ; g != nil; g = g.parent {
		if g == above {
			return true
		}
	}
	return false
}

// each calls visit for g and all groups below it, parents first and by name, until it returns false.
func (g *groupRecord) each(visit func(*groupRecord) bool) bool {
	if !visit(g) {
		return false
	}
	for _, c := range g.children {
		if !c.each(visit) {
			return false
		}
	}
	return true
}

// groupTree is all groups.
type groupTree struct {
	byName   map[string]*groupRecord
	byFolded map[string][]*groupRecord // by name without case
	byID     []*groupRecord            // nil: deleted, or never given
	order    []*groupRecord            // by name
	roots    []*groupRecord            // by name
}

func newGroupTree() groupTree {
	return groupTree{byName: map[string]*groupRecord{}, byFolded: map[string][]*groupRecord{}}
}

// load adds groups in any order.
func (t *groupTree) load(groups []Group) error {
	for _, g := range groups {
		rec, err := newGroupRecord(g)
		if err != nil {
			return err
		}
		if rec.dynamic != nil {
			rec.status = Building
		}
		t.add(rec, nil)
	}
	for _, g := range groups {
		if g.Parent == "" {
			continue
		}
		rec, parent := t.byName[g.Name], t.byName[g.Parent]
		if parent == nil || parent.within(rec) {
			return fmt.Errorf("thing group %q has the parent %q, which does not exist or is below it", g.Name, g.Parent)
		}
		t.place(rec, parent)
	}
	return nil
}

// at returns the group of an id, or nil.
func (t *groupTree) at(id uint32) *groupRecord {
	if int(id) < len(t.byID) {
		return t.byID[id]
	}
	return nil
}

func (t *groupTree) add(g, parent *groupRecord) {
	t.byName[g.name] = g
	t.byFolded[g.folded] = append(t.byFolded[g.folded], g)
	for int(g.id) >= len(t.byID) {
		t.byID = append(t.byID, nil)
	}
	t.byID[g.id] = g
	t.order = insertByName(t.order, g)
	t.roots = insertByName(t.roots, g)
	t.place(g, parent)
}

// place puts a group below another parent, nil for none.
func (t *groupTree) place(g, parent *groupRecord) {
	*t.siblings(g) = removeByName(*t.siblings(g), g)
	g.parent = parent
	*t.siblings(g) = insertByName(*t.siblings(g), g)
}

func (t *groupTree) siblings(g *groupRecord) *[]*groupRecord {
	if g.parent != nil {
		return &g.parent.children
	}
	return &t.roots
}

func (t *groupTree) remove(g *groupRecord) {
	delete(t.byName, g.name)
	if same := removeGroup(t.byFolded[g.folded], g); len(same) > 0 {
		t.byFolded[g.folded] = same
	} else {
		delete(t.byFolded, g.folded)
	}
	t.byID[g.id] = nil
	t.order = removeByName(t.order, g)
	*t.siblings(g) = removeByName(*t.siblings(g), g)
}

func removeGroup(list []*groupRecord, g *groupRecord) []*groupRecord {
	return slices.DeleteFunc(list, func(other *groupRecord) bool { return other == g })
}

func insertByName(list []*groupRecord, g *groupRecord) []*groupRecord {
	i, _ := findGroup(list, g.name)
	return slices.Insert(list, i, g)
}

func removeByName(list []*groupRecord, g *groupRecord) []*groupRecord {
	i, _ := findGroup(list, g.name)
	return slices.Delete(list, i, i+1)
}

// findGroup returns the place of the first group whose name is not below name.
func findGroup(list []*groupRecord, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(g *groupRecord, name string) int { return strings.Compare(g.name, name) })
}
