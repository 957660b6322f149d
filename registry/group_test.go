package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry"
)

func (w *world) createGroup(name, parent string) registry.Group {
	w.t.Helper()
	g, err := w.CreateGroup(ctx, registry.GroupInput{Name: name, Parent: parent})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// inGroup returns the names of the things in a group, one page after the other.
func (w *world) inGroup(group string, recursive bool) string {
	w.t.Helper()
	var all []string
	for after := ""; ; {
		names, next, err := w.ThingsInGroup(group, recursive, after, 2)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, names...)
		if after = next; next == "" {
			return strings.Join(all, " ")
		}
	}
}

func TestGroups(t *testing.T) {
	w := open(t)
	made, err := w.CreateGroup(ctx, registry.GroupInput{Name: "north", Description: "cold", Attributes: map[string]string{"k": "v", "gone": ""}})
	if err != nil || made.ID != 1 || made.Version != 1 || !maps.Equal(made.Attributes, map[string]string{"k": "v"}) || len(made.UUID) != 36 {
		t.Fatalf("%+v %v", made, err)
	}
	again, err := w.CreateGroup(ctx, registry.GroupInput{Name: "north", Description: "cold", Attributes: map[string]string{"k": "v"}})
	if err != nil || again.UUID != made.UUID {
		t.Fatalf("%+v %v", again, err)
	}
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "north"})
	wantErr(t, err, registry.Conflict, `thing group "north" already exists with another parent or other properties; update, move or delete it`)
	w.createGroup("city", "north")
	w.createGroup("street", "city")
	w.createGroup("south", "")
	if path := strings.Join(w.GroupPath("street"), "/"); path != "north/city" {
		t.Errorf("path %s", path)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		w.create(name, "")
	}
	add := func(group, thing string, kind registry.Kind, message string) {
		t.Helper()
		wantErr(t, w.AddToGroup(ctx, group, thing), kind, message)
	}
	add("north", "a", 0, "")
	add("north", "a", 0, "")
	add("city", "b", 0, "")
	add("street", "c", 0, "")
	add("south", "c", 0, "")
	add("none", "c", registry.NotFound, `thing group "none" does not exist`)
	add("south", "none", registry.NotFound, `thing "none" does not exist`)
	add("north", "c", registry.Invalid, `thing "c" would be in 2 groups of the hierarchy of "north", and 1 is the limit; take it out of the other first (setting registry.max-groups-per-hierarchy)`)
	check := func() {
		t.Helper()
		for group, want := range map[string]string{"north": "a", "city": "b", "street": "c", "south": "c"} {
			if got := w.inGroup(group, false); got != want {
				t.Fatalf("directly in %s: %q, want %q", group, got, want)
			}
		}
		for group, want := range map[string]string{"north": "a b c", "city": "b c", "street": "c", "south": "c"} {
			if got := w.inGroup(group, true); got != want {
				t.Fatalf("in %s: %q, want %q", group, got, want)
			}
			if got := w.found("group:" + strings.ToUpper(group)); got != want {
				t.Fatalf("group:%s finds %q, want %q", group, got, want)
			}
		}
		id, _ := w.ID("c")
		var names []string
		for _, id := range w.AppendGroupsOf(nil, id) {
			name, _ := w.GroupName(id)
			names = append(names, name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "city north south street" {
			t.Fatalf("c is in %s", got)
		}
	}
	check()
	revision := w.Revision()
	w.restart()
	check()
	if w.Revision() < revision {
		t.Fatalf("revision %d after %d", w.Revision(), revision)
	}
	if got := w.found("group:(north south) NOT group:city"); got != "" {
		t.Fatal(got)
	}
	if got := w.found("group:(north OR south) NOT group:c*"); got != "a" {
		t.Fatal(got)
	}

	// a subtree moves with its members; cycles are refused
	_, err = w.MoveGroup(ctx, "north", "street", 0)
	wantErr(t, err, registry.Invalid, `parentGroupName: "street" is "north" or below it; a group cannot be below itself`)
	_, err = w.MoveGroup(ctx, "city", "south", 0)
	wantErr(t, err, registry.Invalid, `thing "c" is in "street" and would be in 2 groups below "south"; 1 is the limit (setting registry.max-groups-per-hierarchy)`)
	wantErr(t, w.RemoveFromGroup(ctx, "south", "c"), 0, "")
	_, err = w.MoveGroup(ctx, "city", "south", 7)
	wantErr(t, err, registry.Stale, `thing group "city" has version 1, expectedVersion is 7; read it again`)
	moved, err := w.MoveGroup(ctx, "city", "south", 1)
	if err != nil || moved.Parent != "south" || moved.Version != 2 {
		t.Fatalf("%+v %v", moved, err)
	}
	for range 2 {
		if got := w.inGroup("north", true) + "|" + w.inGroup("south", true) + "|" + w.found("group:south"); got != "a|b c|b c" {
			t.Fatal(got)
		}
		w.restart()
	}

	wantErr(t, w.DeleteGroup(ctx, "south", 0, false), registry.Invalid, `thing group "south" has 1 groups below it; delete or move them first`)
	wantErr(t, w.DeleteGroup(ctx, "street", 5, false), registry.Stale, `thing group "street" has version 1, expectedVersion is 5; read it again`)
	wantErr(t, w.DeleteGroup(ctx, "street", 1, false), 0, "")
	wantErr(t, w.DeleteGroup(ctx, "street", 1, false), 0, "")
	if names, err := w.GroupsOf("c"); err != nil || len(names) != 0 {
		t.Fatal(names, err)
	}
	// a deleted thing leaves all groups, and a new one of its name is in none
	wantErr(t, w.DeleteThing(ctx, "b", 0), 0, "")
	w.create("b", "")
	w.restart()
	if got := w.inGroup("city", true); got != "" {
		t.Fatal(got)
	}
	// ids are not used again
	if g := w.createGroup("new", ""); g.ID != 5 {
		t.Fatalf("%+v", g)
	}
	set := new(bitset.BitSet)
	if err := w.AddMembersOf(set, "north", true); err != nil || set.Count() != 1 || !set.Test(1) {
		t.Fatal(set, err)
	}
}

// found returns the names of the things that a query finds.
func (w *world) found(text string) string {
	w.t.Helper()
	page, err := w.Query(ctx, registry.QueryInput{Text: text, Limit: 100, MinRevision: w.Revision()})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, h := range page.Hits {
		names = append(names, h.Thing.Name)
	}
	return strings.Join(names, " ")
}

func TestGroupLimits(t *testing.T) {
	w := open(t, func(o *registry.Options) { o.MaxGroupChildren = 3 })
	parent := ""
	for i := range 7 {
		parent = w.createGroup(fmt.Sprintf("level%d", i+1), parent).Name
	}
	_, err := w.CreateGroup(ctx, registry.GroupInput{Name: "level8", Parent: parent})
	wantErr(t, err, registry.Invalid, "parentGroupName: at most 7 groups may be below one another, these would be 8 (setting registry.max-group-depth)")
	for i := range 2 {
		w.createGroup(fmt.Sprint("c", i), "level1")
	}
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "c3", Parent: "level1"})
	wantErr(t, err, registry.Invalid, `parentGroupName: thing group "level1" has 3 groups directly below it, and 3 is the limit (setting registry.max-group-children)`)
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "c3", Parent: "none"})
	wantErr(t, err, registry.NotFound, `parentGroupName: thing group "none" does not exist; create it first`)
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "a b"})
	wantErr(t, err, registry.Invalid, `thingGroupName: the name "a b" has ' ' at position 1; allowed are a-z A-Z 0-9 : _ -`)
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "c3", Attributes: manyAttributes(51)})
	wantErr(t, err, registry.Invalid, "attributes: at most 50 at a time, these are 51")
	_, err = w.CreateGroup(ctx, registry.GroupInput{Name: "c3", Description: "a\nb"})
	wantErr(t, err, registry.Invalid, `thingGroupDescription: has '\n' at position 1; allowed are printable characters and the space`)
	w.createGroup("top", "")
	_, err = w.MoveGroup(ctx, "level1", "top", 0)
	wantErr(t, err, registry.Invalid, "parentGroupName: at most 7 groups may be below one another, these would be 8 (setting registry.max-group-depth)")
	_, err = w.MoveGroup(ctx, "level7", "", 0)
	wantErr(t, err, 0, "")

	w.create("a", "")
	var groups []string
	for i := range 11 {
		groups = append(groups, w.createGroup(fmt.Sprint("root", i), "").Name)
	}
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", groups, nil), registry.Invalid, `thing "a" would be in 11 thing groups, and 10 is the limit (setting registry.max-groups-per-thing)`)
	if names, err := w.GroupsOf("a"); err != nil || len(names) != 0 {
		t.Fatal("all or nothing:", names, err)
	}
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", groups[:10], nil), 0, "")
	wantErr(t, w.AddToGroup(ctx, "root10", "a"), registry.Invalid, `thing "a" would be in 11 thing groups, and 10 is the limit (setting registry.max-groups-per-thing)`)
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", groups[10:], groups[:1]), 0, "")
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", groups[:1], groups[:1]), registry.Invalid, `thing group "root0" is in thingGroupsToAdd and in thingGroupsToRemove; name it once`)
	if names, err := w.GroupsOf("a"); err != nil || strings.Join(names, " ") != "root1 root10 root2 root3 root4 root5 root6 root7 root8 root9" {
		t.Fatal(names, err)
	}
}

func TestUpdateGroup(t *testing.T) {
	w := open(t)
	w.createGroup("a", "")
	text := "new"
	g, err := w.UpdateGroup(ctx, registry.GroupUpdate{Name: "a", Description: &text, Attributes: map[string]string{"x": "1", "y": "2"}, ExpectedVersion: 1})
	if err != nil || g.Version != 2 || g.Description != "new" {
		t.Fatalf("%+v %v", g, err)
	}
	g, err = w.UpdateGroup(ctx, registry.GroupUpdate{Name: "a", Attributes: map[string]string{"x": "", "z": "3"}, Merge: true})
	if err != nil || !maps.Equal(g.Attributes, map[string]string{"y": "2", "z": "3"}) || g.Description != "new" {
		t.Fatalf("%+v %v", g, err)
	}
	w.restart()
	if again, err := w.Group("a"); err != nil || again.Version != 3 || !maps.Equal(again.Attributes, g.Attributes) || again.UUID != g.UUID {
		t.Fatalf("%+v %v", again, err)
	}
	_, err = w.UpdateGroup(ctx, registry.GroupUpdate{Name: "a", ExpectedVersion: 1})
	wantErr(t, err, registry.Stale, `thing group "a" has version 3, expectedVersion is 1; read it again`)
	_, err = w.UpdateGroup(ctx, registry.GroupUpdate{Name: "a", OfDynamic: true})
	wantErr(t, err, registry.Invalid, `thing group "a" is a static group; use the operation for static groups`)
	_, err = w.UpdateGroup(ctx, registry.GroupUpdate{Name: "b"})
	wantErr(t, err, registry.NotFound, `thing group "b" does not exist`)
}

// TestMembershipNews: listeners hear every change of a membership once, in the order of the revisions, before the write
// returns.
func TestMembershipNews(t *testing.T) {
	w := open(t)
	var heard []string
	last := int64(0)
	note := func(revision int64, format string, args ...any) {
		if revision < last || revision > w.Revision() {
			t.Errorf("revision %d after %d, now %d", revision, last, w.Revision())
		}
		last = revision
		heard = append(heard, fmt.Sprintf(format, args...))
	}
	w.OnChange(func(c registry.Change) { note(c.Revision, "thing %d %s", c.Op, c.Thing.Name) })
	w.OnGroup(func(c registry.GroupChange) { note(c.Revision, "group %d %s", c.Op, c.Group.Name) })
	w.OnMembership(func(m registry.MembershipChange) {
		note(m.Revision, "%s in %s: %v, %s", m.ThingName, m.GroupName, m.Entered, m.Cause)
	})
	want := func(lines ...string) {
		t.Helper()
		if !slices.Equal(heard, lines) {
			t.Fatalf("heard\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(lines, "\n"))
		}
		heard = nil
	}
	w.create("a", "")
	w.createGroup("g", "")
	w.createGroup("h", "")
	want("thing 1 a", "group 1 g", "group 1 h")
	wantErr(t, w.AddToGroup(ctx, "g", "a"), 0, "")
	wantErr(t, w.AddToGroup(ctx, "g", "a"), 0, "")
	want("a in g: true, added by AddThingToThingGroup")
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", []string{"h"}, []string{"g"}), 0, "")
	want("a in g: false, removed by UpdateThingGroupsForThing", "a in h: true, added by UpdateThingGroupsForThing")
	_, err := w.MoveGroup(ctx, "h", "g", 0)
	wantErr(t, err, 0, "")
	want("group 4 h")
	wantErr(t, w.DeleteGroup(ctx, "h", 0, false), 0, "")
	want("group 3 h", "a in h: false, the group was deleted")
	wantErr(t, w.AddToGroup(ctx, "g", "a"), 0, "")
	heard = nil
	wantErr(t, w.DeleteThing(ctx, "a", 0), 0, "")
	want("thing 3 a", "a in g: false, the thing was deleted")
}

func TestListGroups(t *testing.T) {
	w := open(t)
	for _, pair := range [][2]string{{"a", ""}, {"a1", "a"}, {"a2", "a"}, {"a11", "a1"}, {"b", ""}, {"ab", "b"}} {
		w.createGroup(pair[0], pair[1])
	}
	f := func(filter registry.GroupFilter, want string) {
		t.Helper()
		for _, limit := range []int{1, 2, 100} {
			var names []string
			for after := ""; ; {
				page, next, err := w.ListGroups(filter, after, limit)
				if err != nil || len(page) > limit {
					t.Fatal(len(page), err)
				}
				for _, g := range page {
					names = append(names, g.Name)
				}
				if after = next; next == "" {
					break
				}
			}
			if got := strings.Join(names, " "); got != want {
				t.Fatalf("%+v, %d at a time\n got %s\nwant %s", filter, limit, got, want)
			}
		}
	}
	f(registry.GroupFilter{}, "a a1 a11 a2 ab b")
	f(registry.GroupFilter{Roots: true}, "a b")
	f(registry.GroupFilter{Parent: "a"}, "a1 a2")
	f(registry.GroupFilter{Parent: "a", Below: true}, "a1 a11 a2")
	f(registry.GroupFilter{Prefix: "a"}, "a a1 a11 a2 ab")
	f(registry.GroupFilter{Prefix: "a1"}, "a1 a11")
	f(registry.GroupFilter{Prefix: "a1", Parent: "a"}, "a1")
	f(registry.GroupFilter{Prefix: "c"}, "")
	_, _, err := w.ListGroups(registry.GroupFilter{Parent: "none"}, "", 10)
	wantErr(t, err, registry.NotFound, `thing group "none" does not exist`)
	_, _, err = w.ListGroups(registry.GroupFilter{}, "!", 10)
	wantErr(t, err, registry.Invalid, "nextToken: this is not one that this list returned; start without it")
}

func TestQueryGroups(t *testing.T) {
	w := open(t)
	for _, g := range []registry.GroupInput{
		{Name: "North", Description: "cold and dark", Attributes: map[string]string{"floor": "2"}},
		{Name: "city", Parent: "North", Attributes: map[string]string{"floor": "10"}},
		{Name: "street", Parent: "city"},
		{Name: "south"},
	} {
		if _, err := w.CreateGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	f := func(text, want string) {
		t.Helper()
		var names []string
		for cursor := ""; ; {
			hits, next, err := w.QueryGroups(ctx, registry.QueryInput{Text: text, Limit: 2, Cursor: cursor})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			for _, h := range hits {
				names = append(names, strings.Join(append(h.Above, h.Group.Name), "/"))
			}
			if cursor = next; next == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	all := func() {
		t.Helper()
		f("*", "North/city North south North/city/street")
		f("thingGroupName:NORTH", "North")
		f("dark", "North")
		f("north", "North/city North North/city/street")
		f("parentGroupNames:north", "North/city North/city/street")
		f("attributes.floor>2", "North/city")
		f("attributes.floor:* NOT description:*", "North/city")
		f("thingName:*", "")
	}
	all()
	w.restart()
	all()
	_, err := w.MoveGroup(ctx, "city", "south", 0)
	wantErr(t, err, 0, "")
	f("parentGroupNames:north", "")
	f("parentGroupNames:south", "south/city south/city/street")
	_, err = w.UpdateGroup(ctx, registry.GroupUpdate{Name: "North", Attributes: map[string]string{}})
	wantErr(t, err, 0, "")
	f("attributes.floor:*", "south/city")
	wantErr(t, w.DeleteGroup(ctx, "street", 0, false), 0, "")
	f("*", "south/city North south")
	_, _, err = w.QueryGroups(ctx, registry.QueryInput{Text: "telemetry.temp>1", Limit: 1})
	wantErr(t, err, registry.Invalid, "query: this gateway has no telemetry to search in (at position 0)")
}
