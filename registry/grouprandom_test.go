package registry_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"muster/registry"
)

// groupModel is the groups of a fleet in the plainest form.
type groupModel struct {
	parent  map[string]string          // of every group; "": none
	members map[string]map[string]bool // direct ones, by group
}

func (m *groupModel) within(group, above string) bool {
	for ; group != ""; group = m.parent[group] {
		if group == above {
			return true
		}
	}
	return false
}

func (m *groupModel) root(group string) string {
	for m.parent[group] != "" {
		group = m.parent[group]
	}
	return group
}

// in says whether a thing is in a group or in one below it.
func (m *groupModel) in(thing, group string) bool {
	for own, members := range m.members {
		if members[thing] && m.within(own, group) {
			return true
		}
	}
	return false
}

// inHierarchy counts the groups of a thing below a root.
func (m *groupModel) inHierarchy(thing, root string) (n int) {
	for own, members := range m.members {
		if members[thing] && m.root(own) == root {
			n++
		}
	}
	return n
}

// TestGroupsAgainstModel makes random changes and compares every answer with a plain model, over restarts.
func TestGroupsAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := open(t, func(o *registry.Options) { o.MaxGroupsPerHierarchy = 2; o.MaxGroupDepth = 4 })
	m := &groupModel{parent: map[string]string{}, members: map[string]map[string]bool{}}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "A", "B"}
	var things []string
	for i := range 12 {
		things = append(things, w.create(fmt.Sprintf("t%02d", i), "").Name)
	}
	alive := map[string]bool{}
	for _, thing := range things {
		alive[thing] = true
	}
	depth := func(group string) (n int) {
		for ; group != ""; group = m.parent[group] {
			n++
		}
		return n
	}
	height := func(group string) (most int) {
		for other := range m.parent {
			if m.within(other, group) {
				most = max(most, depth(other)-depth(group)+1)
			}
		}
		return most
	}
	for step := range 1500 {
		group, other, thing := names[random.IntN(len(names))], names[random.IntN(len(names))], things[random.IntN(len(things))]
		_, exists := m.parent[group]
		_, otherExists := m.parent[other]
		switch random.IntN(8) {
		case 0: // create
			parent := ""
			if random.IntN(2) == 0 {
				parent = other
			}
			_, err := w.CreateGroup(ctx, registry.GroupInput{Name: group, Parent: parent})
			ok := !exists && (parent == "" || otherExists && parent != group && depth(parent) < 4) || exists && m.parent[group] == parent
			if (err == nil) != ok {
				t.Fatalf("step %d: create %s below %q: %v", step, group, parent, err)
			}
			if ok && !exists {
				m.parent[group], m.members[group] = parent, map[string]bool{}
			}
		case 1: // delete
			hasChildren := false
			for child := range m.parent {
				hasChildren = hasChildren || m.parent[child] == group
			}
			if err := w.DeleteGroup(ctx, group, 0, false); (err == nil) != (!exists || !hasChildren) {
				t.Fatalf("step %d: delete %s: %v", step, group, err)
			}
			if exists && !hasChildren {
				delete(m.parent, group)
				delete(m.members, group)
			}
		case 2: // move
			to := other
			if random.IntN(4) == 0 {
				to, otherExists = "", true
			}
			_, err := w.MoveGroup(ctx, group, to, 0)
			ok := exists && otherExists && (to == m.parent[group] || (to == "" || !m.within(to, group)) && depth(to)+height(group) <= 4)
			if ok && to != "" && m.root(to) != m.root(group) {
				for _, thing := range things {
					n := 0
					for own, members := range m.members {
						if members[thing] && (m.root(own) == m.root(to) || m.within(own, group)) {
							n++
						}
					}
					ok = ok && (n <= 2 || !m.in(thing, group))
				}
			}
			if (err == nil) != ok {
				t.Fatalf("step %d: move %s to %q: %v", step, group, to, err)
			}
			if ok {
				m.parent[group] = to
			}
		case 3: // a thing comes or goes
			if alive[thing] {
				wantErr(t, w.DeleteThing(ctx, thing, 0), 0, "")
				for _, members := range m.members {
					delete(members, thing)
				}
			} else {
				w.create(thing, "")
			}
			alive[thing] = !alive[thing]
		case 4:
			if err := w.RemoveFromGroup(ctx, group, thing); (err == nil) != (exists && alive[thing]) {
				t.Fatalf("step %d: remove %s from %s: %v", step, thing, group, err)
			}
			if exists {
				delete(m.members[group], thing)
			}
		default:
			err := w.AddToGroup(ctx, group, thing)
			ok := exists && alive[thing] && (m.members[group][thing] || m.inHierarchy(thing, m.root(group)) < 2)
			if (err == nil) != ok {
				t.Fatalf("step %d: add %s to %s: %v", step, thing, group, err)
			}
			if ok {
				m.members[group][thing] = true
			}
		}
		if step%500 == 499 {
			w.restart()
		}
		if step%10 == 0 {
			m.compare(t, w, step, names, things)
		}
		if step%300 == 150 { // a kill loses nothing that was answered, and gives no revision twice
			killed := w.image()
			m.compare(t, killed, step, names, things)
			if killed.Revision() < w.Revision() {
				t.Fatalf("step %d: revision %d after a kill, before it was %d", step, killed.Revision(), w.Revision())
			}
		}
	}
}

func (m *groupModel) compare(t *testing.T, w *world, step int, names, things []string) {
	t.Helper()
	sorted := func(has func(thing string) bool) string {
		var list []string
		for _, thing := range things {
			if has(thing) {
				list = append(list, thing)
			}
		}
		return strings.Join(list, " ")
	}
	for _, name := range names {
		if _, exists := m.parent[name]; !exists {
			if _, _, err := w.ThingsInGroup(name, true, "", 1); registry.KindOf(err) != registry.NotFound {
				t.Fatalf("step %d: %s: %v", step, name, err)
			}
			continue
		}
		direct := sorted(func(thing string) bool { return m.members[name][thing] })
		all := sorted(func(thing string) bool { return m.in(thing, name) })
		if got := w.inGroup(name, false); got != direct {
			t.Fatalf("step %d: directly in %s: %q, want %q", step, name, got, direct)
		}
		if got := w.inGroup(name, true); got != all {
			t.Fatalf("step %d: in %s: %q, want %q", step, name, got, all)
		}
		// without case
		same := func(in func(thing, group string) bool) string {
			return sorted(func(thing string) bool {
				for other := range m.parent {
					if strings.EqualFold(other, name) && in(thing, other) {
						return true
					}
				}
				return false
			})
		}
		if got, want := w.found("group:"+name), same(m.in); got != want {
			t.Fatalf("step %d: group:%s finds %q, want %q", step, name, got, want)
		}
		if got, want := w.found("thingGroupNames:"+name), same(func(thing, group string) bool { return m.members[group][thing] }); got != want {
			t.Fatalf("step %d: thingGroupNames:%s finds %q, want %q", step, name, got, want)
		}
		var below []string
		hits, _, err := w.QueryGroups(ctx, registry.QueryInput{Text: "parentGroupNames:" + name, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			below = append(below, h.Group.Name)
		}
		var want []string
		for group := range m.parent {
			for above := m.parent[group]; above != ""; above = m.parent[above] {
				if strings.EqualFold(above, name) {
					want = append(want, group)
					break
				}
			}
		}
		slices.Sort(below)
		if slices.Sort(want); !slices.Equal(below, want) {
			t.Fatalf("step %d: below %s: %v, want %v", step, name, below, want)
		}
	}
}

// TestGroupReadYourWrites: whoever has changed a membership finds it so, while others write, connect and move groups.
func TestGroupReadYourWrites(t *testing.T) {
	w := open(t)
	for _, name := range []string{"top", "other", "group"} {
		w.createGroup(name, "")
	}
	for i := range 4 {
		w.createGroup(fmt.Sprint("g", i), "group")
	}
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := w.MoveGroup(ctx, "group", []string{"top", "other", ""}[i%3], 0); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			group := fmt.Sprint("g", n)
			for i := range 40 {
				th, err := w.CreateThing(ctx, registry.ThingInput{Name: fmt.Sprintf("t%d-%d", n, i)})
				if err == nil {
					err = w.AddToGroup(ctx, group, th.Name)
				}
				if err != nil {
					t.Error(err)
					return
				}
				w.Connected(th.ID, w.clock.Now(), remote)
				for _, text := range []string{"group:group ", "thingGroupNames:" + group + " ", "connectivity.connected:true "} {
					page, err := w.Query(ctx, registry.QueryInput{Text: text + "thingName:" + th.Name, Limit: 2, MinRevision: w.Revision()})
					if err != nil || page.Total != 1 || page.Revision < 1 {
						t.Errorf("%s finds %d of %s: %v", text, page.Total, th.Name, err)
					}
				}
				if i%2 == 0 {
					if err := w.RemoveFromGroup(ctx, group, th.Name); err != nil {
						t.Error(err)
					}
					if n, err := w.QueryCount(ctx, "group:group thingName:"+th.Name, false); n != 0 || err != nil {
						t.Errorf("%s is still found: %v", th.Name, err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	background.Wait()
	if n, err := w.QueryCount(ctx, "group:group", false); n != 80 || err != nil {
		t.Errorf("%d things, %v", n, err)
	}
}
