package registry_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"muster/registry"
)

// TestComplete: what may stand at the | of a query, best first, with how many things have it.
func TestComplete(t *testing.T) {
	w := open(t, func(o *registry.Options) { o.MaxAttributes = 10 })
	w.createType("lamp")
	for i := range 12 {
		w.create(fmt.Sprint("lamp-", i), []string{"lamp", ""}[i%2], "city", []string{"Oslo", "Osaka", "Ulm"}[i%3], "note:x", "two", "n", fmt.Sprint(i%4))
	}
	w.createGroup("north", "")
	wantErr(t, w.AddToGroup(ctx, "north", "lamp-1"), 0, "")
	w.dynamic("north-oslo", "attributes.city:oslo")
	f := func(text, want string) {
		t.Helper()
		at := len([]rune(text[:strings.Index(text, "|")]))
		text = strings.Replace(text, "|", "", 1)
		c := w.Complete(text, at, 4, []string{"temp_c", "power:w"})
		got := string([]rune(text)[c.From:c.To]) + " ->"
		for _, s := range c.Suggestions {
			got += " " + s.Text
			if s.Things >= 0 {
				got += fmt.Sprintf("(%d)", s.Things)
			}
		}
		if got != want {
			t.Fatalf("%s at %d\n got %s\nwant %s", text, at, got, want)
		}
	}
	f(`|`, " -> attributes.city:(12) attributes.n:(12) attributes.note\\:x:(12) thingId:(12)")
	f(`thingT|`, "thingT -> thingTypeName:(6)")
	f(`ci|`, "ci -> attributes.city:(12)")
	f(`x AND te|`, "te -> telemetry.temp_c: telemetry.power\\:w: attributes.city:(12) attributes.n:(12)")
	f(`x |`, " -> AND  OR  NOT  attributes.city:(12)")
	f(`x A|`, "A -> AND  attributes.city:(12) attributes.n:(12) attributes.note\\:x:(12)")
	f(`attributes.city:|`, " -> Osaka(4) Oslo(4) Ulm(4) *(12)")
	f(`attributes.city:"o|" x`, `"o" -> Osaka(4) Oslo(4)`)
	f(`attributes.city:(ulm OR sl|)`, "sl -> Oslo(4)")
	f(`attributes.n:|`, " -> 0(3) 1(3) 2(3) 3(3)")
	f(`thingName:lamp-1|`, "lamp-1 -> lamp-1(1) lamp-10(1) lamp-11(1)")
	f(`group:|`, " -> north-oslo(4) north(1)")
	f(`NOT group:north|`, "north -> north-oslo(4) north(1)")
	f(`telemetry.temp_c:|`, " -> * true false")
	f(`telemetry.temp_c>|`, " ->")
	f(`nothing:|`, " ->")
	f(`connectivity.reason:|`, " ->")
	id, _ := w.ID("lamp-1")
	w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:1"))
	w.Disconnected(id, w.clock.Now(), "keep alive timeout")
	f(`connectivity.reason:|`, ` -> "keep alive timeout"(1) *(1)`)
	// whatever is suggested is a query
	for _, text := range []string{"", "attributes.", "attributes.city:", "thingTypeName:", "connectivity.reason:", "x "} {
		for _, s := range w.Complete(text, len(text), 100, []string{"temp_c", "a b"}).Suggestions {
			whole := text + s.Text
			if s.Kind == "field" || s.Kind == "keyword" {
				whole = strings.TrimSuffix(text, "attributes.") + s.Text + "*"
			}
			if _, err := w.QueryCount(ctx, whole, false); err != nil && !strings.Contains(err.Error(), "no telemetry") {
				t.Fatalf("%s: %v", whole, err)
			}
		}
	}
}

func TestPreviewGroup(t *testing.T) {
	w := open(t)
	for i := range 6 {
		w.create(fmt.Sprint("t", i), "", "n", fmt.Sprint(i))
	}
	w.dynamic("g", "attributes.n:[1 TO 3]")
	f := func(d registry.Definition, group, want string) {
		t.Helper()
		p, err := w.PreviewGroup(ctx, d, group, 2)
		got := fmt.Sprint(err)
		if err == nil {
			var names []string
			for _, h := range p.Hits {
				names = append(names, h.Thing.Name)
			}
			got = fmt.Sprint(p.Total, names, p.Entering, p.EnteringThings, p.Leaving, p.LeavingThings)
		}
		if got != want {
			t.Fatalf("%+v for %s\n got %s\nwant %s", d, group, got, want)
		}
	}
	f(registry.Definition{Query: "attributes.n>=2"}, "g", "4 [t2 t3] 2 [t4 t5] 1 [t1]")
	f(registry.Definition{Query: "attributes.n>=2"}, "", "4 [t2 t3] 4 [t2 t3] 0 []")
	// what is in stays until it matches the leave query, what matches both does not enter
	f(registry.Definition{Query: "attributes.n>=2", LeaveQuery: "attributes.n:0 OR attributes.n:5"}, "g", "4 [t1 t2] 1 [t4] 0 []")
	f(registry.Definition{Query: "x"}, "none", `thing group "none" does not exist`)
	f(registry.Definition{Query: "x:"}, "g", "query: a value is missing after x: (at position 1)")
	f(registry.Definition{Query: "promql: up"}, "g", "query: this gateway has no PromQL for groups")
	w.FollowExpressions(expressions{"up": {1, 5}})
	f(registry.Definition{Query: "promql: up"}, "g", "2 [t0 t4] 2 [t0 t4] 3 [t1 t2]")
	if got := w.find("group:g"); got != "t1 t2 t3" {
		t.Fatal("a preview has changed the group:", got)
	}
}
