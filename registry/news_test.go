package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/registry"
)

// TestNewsOfWhatWas: listeners hear what was before: the type of a thing, the parent of a group; and of thing types.
func TestNewsOfWhatWas(t *testing.T) {
	w := open(t)
	var heard []string
	last := int64(0)
	note := func(revision int64, format string, args ...any) {
		if revision <= last || revision > w.Revision() {
			t.Errorf("revision %d after %d, now %d", revision, last, w.Revision())
		}
		last = revision
		heard = append(heard, fmt.Sprintf(format, args...))
	}
	w.OnChange(func(c registry.Change) { note(c.Revision, "thing %d %q from %q", c.Op, c.Thing.TypeName, c.OldType) })
	w.OnGroup(func(c registry.GroupChange) {
		note(c.Revision, "group %d %s in %q from %q", c.Op, c.Group.Name, c.Group.Parent, c.OldParent)
	})
	w.OnType(func(c registry.TypeChange) {
		note(c.Revision, "type %d %s %q %v", c.Op, c.Type.Name, c.Type.Description, c.Type.Deprecated)
	})
	want := func(err error, lines ...string) {
		t.Helper()
		wantErr(t, err, 0, "")
		if !slices.Equal(heard, lines) {
			t.Fatalf("heard\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(lines, "\n"))
		}
		heard = nil
	}
	_, err := w.CreateThingType(ctx, registry.ThingTypeInput{Name: "lamp"})
	want(err, `type 1 lamp "" false`)
	_, err = w.CreateThingType(ctx, registry.ThingTypeInput{Name: "lamp"})
	want(err)
	text := "of streets"
	_, err = w.UpdateThingType(ctx, registry.ThingTypeUpdate{Name: "lamp", Description: &text})
	want(err, `type 2 lamp "of streets" false`)
	w.create("a", "lamp")
	want(nil, `thing 1 "lamp" from ""`)
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "a", RemoveType: true})
	want(err, `thing 2 "" from "lamp"`)
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "a", TypeName: "lamp"})
	want(err, `thing 2 "lamp" from ""`)
	want(w.DeleteThing(ctx, "a", 0), `thing 3 "lamp" from "lamp"`)
	want(w.DeprecateThingType(ctx, "lamp", false), `type 2 lamp "of streets" true`)

	w.createGroup("site", "")
	w.createGroup("hall", "site")
	want(nil, `group 1 site in "" from ""`, `group 1 hall in "site" from ""`)
	_, err = w.MoveGroup(ctx, "hall", "", 0)
	want(err, `group 4 hall in "" from "site"`)
	_, err = w.MoveGroup(ctx, "hall", "site", 0)
	want(err, `group 4 hall in "site" from ""`)
	want(w.DeleteGroup(ctx, "hall", 0, false), `group 3 hall in "site" from "site"`)
}
