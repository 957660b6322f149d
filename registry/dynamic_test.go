package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"muster/registry"
	"muster/registry/query"
)

func (w *world) dynamic(name, text string, change ...func(*registry.Definition)) registry.Group {
	w.t.Helper()
	g, err := w.tryDynamic(name, text, change...)
	if err != nil {
		w.t.Fatal(name, text, err)
	}
	return g
}

func (w *world) tryDynamic(name, text string, change ...func(*registry.Definition)) (registry.Group, error) {
	d := registry.Definition{Query: text}
	for _, f := range change {
		f(&d)
	}
	return w.CreateDynamicGroup(ctx, registry.DynamicInput{Name: name, Definition: d})
}

func (w *world) wantMembers(group, want string) {
	w.t.Helper()
	if got := w.inGroup(group, false); got != want {
		w.t.Fatalf("members of %s\n got %q\nwant %q", group, got, want)
	}
}

// until turns the clock in small steps until a group has these members.
func (w *world) until(group, want string) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute) // a busy machine sleeps long
	for w.inGroup(group, false) != want {
		if time.Now().After(deadline) {
			w.t.Fatalf("members of %s\n got %q\nwant %q", group, w.inGroup(group, false), want)
		}
		w.clock.advance(10 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
}

func (w *world) attributes(name string, pairs ...string) {
	w.t.Helper()
	attributes := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	if _, err := w.UpdateThing(ctx, registry.ThingUpdate{Name: name, Attributes: attributes, Merge: true}); err != nil {
		w.t.Fatal(err)
	}
}

// TestDynamicGroups: members follow every kind of write before it returns, queries find them by the group's name, and a restart changes
// nothing.
func TestDynamicGroups(t *testing.T) {
	w := open(t)
	w.createType("Lamp")
	w.create("a", "Lamp", "city", "Oslo")
	w.create("b", "", "city", "Ulm")
	g := w.dynamic("oslo", "attributes.city:oslo")
	if g.Status != registry.Active || g.Dynamic == nil || g.Dynamic.Query != "attributes.city:oslo" || g.Dynamic.QueryVersion != "2017-09-30" {
		t.Fatalf("%+v", g)
	}
	w.wantMembers("oslo", "a")
	w.attributes("b", "city", "OSLO")
	w.wantMembers("oslo", "a b")
	w.wantFind("thingGroupNames:oslo NOT thingTypeName:*", "b")
	w.wantFind("group:oslo", "a b")
	w.create("c", "Lamp", "city", "oslo")
	w.wantMembers("oslo", "a b c")
	w.attributes("a", "city", "Ulm")
	w.wantMembers("oslo", "b c")
	wantErr(t, w.DeleteThing(ctx, "c", 0), 0, "")
	w.wantMembers("oslo", "b")

	w.dynamic("lamps", "thingTypeName:lamp")
	w.dynamic("online", "connectivity.connected:true")
	id, _ := w.ID("a")
	w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:1"))
	w.wantMembers("online", "a")
	w.restart()
	w.wantMembers("online", "")
	w.wantMembers("lamps", "a")
	w.wantMembers("oslo", "b")
	if again, err := w.Group("oslo"); err != nil || again.Status != registry.Active {
		t.Fatal(again, err)
	}

	// the query changes
	_, err := w.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: "oslo", Definition: &registry.Definition{Query: "attributes.city:ulm"}})
	wantErr(t, err, 0, "")
	w.wantMembers("oslo", "a")
	// certificates
	w.dynamic("ending", "cert.status:active cert.notAfter<now+30d")
	w.SetCertificates(id, []registry.CertificateFacts{{ID: "x", Status: "ACTIVE", NotAfterMs: w.clock.Now().Add(40 * 24 * time.Hour).UnixMilli()}})
	w.wantFind("cert.id:x cert.notAfter>now", "a")
	w.wantMembers("ending", "")
	w.clock.advance(10*24*time.Hour + time.Second)
	w.until("ending", "a")
	w.SetCertificates(id, nil)
	w.wantMembers("ending", "")
	w.wantFind("cert.id:*", "")

	wantErr(t, w.AddToGroup(ctx, "oslo", "b"), registry.Invalid, `thing group "oslo" is a dynamic group: its members follow from its query and cannot be added or removed`)
	wantErr(t, w.DeleteGroup(ctx, "oslo", 0, true), 0, "")
	w.wantFind("group:oslo OR thingGroupNames:oslo", "")
	w.attributes("b", "city", "Ulm")
}

// TestDynamicGroupErrors: what cannot be a definition.
func TestDynamicGroupErrors(t *testing.T) {
	w := open(t)
	w.dynamic("a", "attributes.x:1")
	w.dynamic("b", "group:a")
	_, err := w.tryDynamic("c", "attributes.x:")
	wantErr(t, err, registry.Invalid, "query: a value is missing after attributes.x: (at position 12)")
	var at *query.Error
	if !errors.As(err, &at) || at.At != 12 {
		t.Fatal(err)
	}
	_, err = w.tryDynamic("c", " ")
	wantErr(t, err, registry.Invalid, "queryString: is empty; * finds every thing")
	_, err = w.tryDynamic("c", "x", func(d *registry.Definition) { d.LeaveQuery = "a b)" })
	wantErr(t, err, registry.Invalid, "leaveQuery: query: there is a ) too many (at position 3)")
	_, err = w.tryDynamic("c", "x", func(d *registry.Definition) { d.EnterAfter = 1500 * time.Millisecond })
	wantErr(t, err, registry.Invalid, "enterAfter: must be whole seconds, 0s to 720h0m0s, it is 1.5s")
	_, err = w.tryDynamic("c", "x", func(d *registry.Definition) { d.Every = time.Second })
	wantErr(t, err, registry.Invalid, "every: only a group over PromQL is evaluated on a period; a fleet query is kept up to date")
	_, err = w.tryDynamic("c", "promql: up")
	wantErr(t, err, registry.Invalid, "query: this gateway has no PromQL for groups")

	// circles
	_, err = w.tryDynamic("c", "group:c")
	wantErr(t, err, registry.Invalid, `queryString: the members of "c" would depend on themselves: c -> c; take one of these out of the query, and name fields where bare words stand`)
	_, err = w.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: "a", Definition: &registry.Definition{Query: "attributes.x:1 OR thingGroupNames:B"}})
	wantErr(t, err, registry.Invalid, `queryString: the members of "a" would depend on themselves: a -> b -> a; take one of these out of the query, and name fields where bare words stand`)
	w.dynamic("d", "group:late*")
	_, err = w.tryDynamic("later", "NOT group:d")
	wantErr(t, err, registry.Invalid, `queryString: the members of "later" would depend on themselves: later -> d -> later; take one of these out of the query, and name fields where bare words stand`)
	w.dynamic("e", "NOT group:b AND NOT group:d")
	wantErr(t, w.DeleteGroup(ctx, "b", 0, true), 0, "")
	_, err = w.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: "a", Definition: &registry.Definition{Query: "thingGroupNames:B"}})
	wantErr(t, err, 0, "")
}

// TestNestedDynamicGroups: groups of groups, static ones with what is below them.
func TestNestedDynamicGroups(t *testing.T) {
	w := open(t)
	for _, name := range []string{"a", "b", "c"} {
		w.create(name, "")
	}
	w.createGroup("north", "")
	w.createGroup("city", "north")
	w.createGroup("south", "")
	w.dynamic("rest", "NOT group:cold")
	w.dynamic("cold", "group:north AND NOT attributes.heated:yes")
	w.dynamic("direct", "thingGroupNames:north")
	w.wantMembers("rest", "a b c")
	var news []string
	w.OnMembership(func(m registry.MembershipChange) {
		sign := "-"
		if m.Entered {
			sign = "+"
		}
		news = append(news, sign+m.GroupName+":"+m.ThingName+" ("+m.Cause+")")
	})
	said := func(want ...string) {
		t.Helper()
		w.create("z", "") // whatever waits is delivered before it returns
		wantErr(t, w.DeleteThing(ctx, "z", 0), 0, "")
		var got []string
		for _, n := range news {
			if !strings.Contains(n, ":z") {
				got = append(got, n)
			}
		}
		if strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Fatalf("events\n got %s\nwant %s", strings.Join(got, "; "), strings.Join(want, "; "))
		}
		news = nil
	}
	wantErr(t, w.AddToGroup(ctx, "city", "a"), 0, "")
	w.wantMembers("cold", "a")
	w.wantMembers("rest", "b c")
	w.wantMembers("direct", "")
	said("+city:a (added by AddThingToThingGroup)", "+cold:a (added by AddThingToThingGroup)", "-rest:a (entered cold)")
	w.attributes("a", "heated", "yes")
	said("-cold:a (attributes.heated changed)", "+rest:a (left cold)")
	w.attributes("a", "heated", "no")
	_, err := w.MoveGroup(ctx, "city", "south", 0)
	wantErr(t, err, 0, "")
	w.wantMembers("cold", "")
	news = nil
	_, err = w.MoveGroup(ctx, "city", "north", 0)
	wantErr(t, err, 0, "")
	w.wantMembers("cold", "a")
	said("+cold:a (group city was moved)", "-rest:a (entered cold)")
	wantErr(t, w.DeleteGroup(ctx, "city", 0, false), 0, "")
	w.wantMembers("cold", "")
	w.wantMembers("rest", "a b c")
	said("-city:a (the group was deleted)", "-cold:a (the group was deleted)", "+rest:a (left cold)")
	wantErr(t, w.AddToGroup(ctx, "north", "b"), 0, "")
	w.wantMembers("direct", "b")
	wantErr(t, w.DeleteGroup(ctx, "cold", 0, true), 0, "")
	w.wantMembers("rest", "a b c")
	w.restart()
	w.wantMembers("rest", "a b c")
	w.wantMembers("direct", "b")
}

// TestDynamicTelemetry: thresholds, windows, and crossings that are lost.
func TestDynamicTelemetry(t *testing.T) {
	w := open(t)
	live := newLiveFake()
	id := map[string]uint32{}
	for _, name := range []string{"a", "b", "c"} {
		id[name] = w.create(name, "").ID
	}
	put := func(name string, value float64) {
		live.put("temp", id[name], w.clock.Now().UnixMilli(), value)
	}
	put("a", 70)
	g := w.dynamic("hot", "telemetry.temp>60")
	if g.Status != registry.Building {
		t.Fatal(g.Status)
	}
	w.dynamic("cool", "NOT group:hot")
	w.FollowTelemetry(live)
	w.wantMembers("hot", "a")
	w.wantMembers("cool", "b c")
	put("b", 61)
	w.until("hot", "a b")
	w.wantMembers("cool", "c")
	put("a", 60)
	w.until("hot", "b")

	w.dynamic("mean", "telemetry.temp.avg(1m)>50")
	w.until("mean", "a b")
	w.clock.advance(30 * time.Second)
	put("b", 1)
	put("c", 100)
	w.until("mean", "a c")
	w.clock.advance(45 * time.Second) // the older samples leave
	w.until("mean", "c")
	w.clock.advance(30 * time.Second)
	w.until("mean", "")
	w.dynamic("silent", "telemetry.temp.count(1m):0")
	w.until("silent", "a b c")
	put("a", 2)
	w.until("silent", "b c")

	live.mu.Lock()
	live.lostNext = true
	live.mu.Unlock()
	put("a", 99)
	w.until("hot", "a c")
	w.restart()
	w.wantMembers("hot", "")
	w.FollowTelemetry(live)
	w.wantMembers("hot", "a c")
	w.wantMembers("cool", "b")
	w.until("silent", "b c")
}

// TestSeen: groups over the time of the last packet, which is noted without any lock.
func TestSeen(t *testing.T) {
	w := open(t)
	a := w.create("a", "").ID
	w.create("b", "")
	w.Connected(a, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:1"))
	w.dynamic("quiet", "connectivity.lastSeen<now-10m")
	w.dynamic("active", "connectivity.lastSeen>now-10m")
	w.wantMembers("active", "a")
	w.clock.advance(10 * time.Minute)
	w.until("quiet", "a")
	w.until("active", "")
	w.Seen(a, w.clock.Now())
	w.until("quiet", "")
	w.until("active", "a")
	w.clock.advance(5 * time.Minute)
	w.Seen(a, w.clock.Now())
	w.clock.advance(6 * time.Minute)
	for range 50 {
		w.clock.advance(100 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
	w.wantMembers("active", "a")
	w.clock.advance(5 * time.Minute)
	w.until("quiet", "a")
}

// TestHold: things enter and leave after a time without a break, and at another threshold.
func TestHold(t *testing.T) {
	w := open(t)
	live := newLiveFake()
	w.FollowTelemetry(live)
	a := w.create("a", "").ID
	put := func(value float64) { live.put("temp", a, w.clock.Now().UnixMilli(), value) }
	w.dynamic("hot", "telemetry.temp>60", func(d *registry.Definition) {
		d.EnterAfter, d.LeaveQuery, d.LeaveAfter = 2*time.Minute, "telemetry.temp<50", time.Minute
	})
	var began, told time.Time
	w.OnMembership(func(m registry.MembershipChange) { told = w.clock.Now() })
	stays := func(d time.Duration, want string) {
		t.Helper()
		for range 10 { // until what was put is known
			w.clock.advance(10 * time.Millisecond)
			time.Sleep(2 * time.Millisecond)
		}
		for range 20 {
			w.clock.advance(d / 20)
			time.Sleep(2 * time.Millisecond)
		}
		w.wantMembers("hot", want)
	}
	after := func(want time.Duration) {
		t.Helper()
		if d := told.Sub(began); d < want || d > want+time.Second {
			t.Fatalf("after %s, want %s and at most a second more", d, want)
		}
	}
	put(70)
	stays(100*time.Second, "")
	put(55)
	stays(time.Second, "")
	put(61)
	began = w.clock.Now()
	stays(100*time.Second, "")
	w.until("hot", "a")
	w.create("z", "")
	after(2 * time.Minute)
	put(55) // between the thresholds
	stays(5*time.Minute, "a")
	put(40)
	began = w.clock.Now()
	stays(50*time.Second, "a")
	w.until("hot", "")
	wantErr(t, w.DeleteThing(ctx, "z", 0), 0, "")
	after(time.Minute)
	g, err := w.Group("hot")
	if d := g.Dynamic.Definition(); err != nil || d.EnterAfter != 2*time.Minute || d.LeaveQuery != "telemetry.temp<50" || d.LeaveAfter != time.Minute {
		t.Fatalf("%+v %v", d, err)
	}
}

// expressions is PromQL in a table.
type expressions map[string][]uint32

func (e expressions) Things(_ context.Context, text string) ([]uint32, error) {
	if ids, ok := e[text]; ok {
		return ids, nil
	}
	return nil, errors.New("no such expression")
}

func TestPromQLGroups(t *testing.T) {
	w := open(t)
	for _, name := range []string{"a", "b", "c"} {
		w.create(name, "")
	}
	table := expressions{"up > 0": {1, 2, 77}}
	w.FollowExpressions(table)
	_, err := w.tryDynamic("bad", "promql: down")
	wantErr(t, err, registry.Invalid, "query: promql: no such expression")
	w.dynamic("up", " promql: up > 0 ", func(d *registry.Definition) { d.Every = time.Second })
	w.dynamic("up-and-b", "group:up thingName:b")
	w.until("up", "a b")
	w.wantMembers("up-and-b", "b")
	w.restart()
	w.wantMembers("up", "")
	w.FollowExpressions(expressions{"up > 0": {3}})
	w.until("up", "c")
	w.wantMembers("up-and-b", "")
}

// TestDynamicAgainstQueries: after any write, and soon after what is no write, the members of every group are what its query finds.
// MUSTER_DYNAMIC_STEPS sets the number of steps.
func TestDynamicAgainstQueries(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := open(t, func(o *registry.Options) { o.MaxGroupsPerThing, o.MaxGroupsPerHierarchy = 100, 100 })
	live := newLiveFake()
	w.FollowTelemetry(live)
	terms := []string{"attributes.x:1", "attributes.x:[1 TO 2]", "attributes.y:*", "thingTypeName:t1", "connectivity.connected:true", "yes",
		"connectivity.timestamp<now-3s", "registry.updated>now-2s", "thingName:thing-1*", "group:static-1", "group:static-2 ", "thingGroupNames:static-3",
		"group:dyn-1", "group:dyn-2*", "group:dyn-3", "telemetry.temp>5", "telemetry.temp:[3 TO 7}", "telemetry.temp.avg(5s)>4", "telemetry.temp.count(3s):0",
		"attributes.pos:geo_distance,48,11,50km", "cert.status:active", "cert.notAfter<now+4s", "connectivity.lastSeen>now-3s", "registry.version>2"}
	text := func() string {
		parts := make([]string, 1+rng.IntN(3))
		for i := range parts {
			parts[i] = terms[rng.IntN(len(terms))]
			if rng.IntN(3) == 0 {
				parts[i] = "NOT " + parts[i]
			}
		}
		return strings.Join(parts, []string{" AND ", " OR "}[rng.IntN(2)])
	}
	value := func() string { return []string{"", "1", "2", "3", "yes"}[rng.IntN(5)] }
	queries := map[string]string{}
	w.createType("t1")
	for i := range 4 {
		parent := ""
		if i > 1 {
			parent = fmt.Sprint("static-", rng.IntN(i))
		}
		w.createGroup(fmt.Sprint("static-", i), parent)
	}
	steady := func(text string) bool {
		return !strings.Contains(text, "now") && !strings.Contains(text, "telemetry") && !strings.Contains(text, "dyn-")
	}
	check := func(step int, what string, wait bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute) // a busy machine sleeps long
		for name, text := range queries {
			for {
				got, want := w.inGroup(name, false), w.find(text)
				if got == want || !wait && !steady(text) {
					break
				}
				if !wait || time.Now().After(deadline) {
					t.Fatalf("step %d, after %s: %s is %s\n got %s\nwant %s", step, what, name, text, got, want)
				}
				w.clock.advance(20 * time.Millisecond)
				time.Sleep(time.Millisecond)
			}
		}
	}
	for step := range 600 {
		name := fmt.Sprint("thing-", rng.IntN(15))
		group := fmt.Sprint("static-", rng.IntN(4))
		dynamic := fmt.Sprint("dyn-", rng.IntN(8))
		id, exists := w.ID(name)
		what := "?"
		switch n := rng.IntN(20); {
		case n < 2:
			what = "define " + dynamic
			q := text()
			_, err := w.tryDynamic(dynamic, q)
			if registry.KindOf(err) == registry.Conflict {
				_, err = w.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: dynamic, Definition: &registry.Definition{Query: q}})
			}
			if err == nil {
				queries[dynamic] = q
			} else if !strings.Contains(err.Error(), "depend on themselves") {
				t.Fatal(q, err)
			}
		case n == 2 && rng.IntN(3) == 0:
			what = "delete " + dynamic
			wantErr(t, w.DeleteGroup(ctx, dynamic, 0, true), 0, "")
			delete(queries, dynamic)
		case n < 4 || !exists:
			what = "create " + name
			typ := []string{"", "t1"}[rng.IntN(2)]
			if !exists {
				w.create(name, typ, "x", value(), "y", value(), "pos", []string{"48.1,11.1", "50,10", ""}[rng.IntN(3)])
			}
		case n == 4:
			what = "delete " + name
			wantErr(t, w.DeleteThing(ctx, name, 0), 0, "")
		case n < 9:
			what = "update " + name
			w.attributes(name, []string{"x", "y"}[rng.IntN(2)], value())
		case n == 9:
			what = name + " into " + group
			wantErr(t, w.AddToGroup(ctx, group, name), 0, "")
		case n == 10:
			what = name + " out of " + group
			wantErr(t, w.RemoveFromGroup(ctx, group, name), 0, "")
		case n == 11:
			what = "move " + group
			_, _ = w.MoveGroup(ctx, group, []string{"", "static-0", "static-1", "static-2"}[rng.IntN(4)], 0)
		case n < 14:
			what = name + " connects or not"
			if rng.IntN(2) == 0 {
				w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:1"))
			} else {
				w.Disconnected(id, w.clock.Now(), "connection lost")
			}
		case n == 14:
			what = "certificates of " + name
			w.SetCertificates(id, []registry.CertificateFacts{
				{ID: fmt.Sprint(step), Status: []string{"ACTIVE", "REVOKED"}[rng.IntN(2)], NotAfterMs: w.clock.Now().UnixMilli() + rng.Int64N(8000)},
				{ID: "same", Status: "ACTIVE"},
			}[:rng.IntN(3)])
		case n == 15:
			what = name + " is seen"
			if w.Connectivity(id).SinceMs != 0 {
				w.Seen(id, w.clock.Now())
			}
		case n < 19:
			what = "sample of " + name
			live.put("temp", id, w.clock.Now().UnixMilli(), float64(rng.IntN(10)))
		default:
			what = "time"
			w.clock.advance(time.Duration(rng.IntN(3000)) * time.Millisecond)
		}
		check(step, what, false)
		if step%7 == 0 {
			check(step, what, true)
		}
		if step == 300 {
			w.restart()
			w.FollowTelemetry(live)
			check(step, "a restart", true)
		}
		if step == 450 { // what a power cut now would leave
			crashed := w.image()
			same := newLiveFake()
			same.samples = live.samples
			crashed.FollowTelemetry(same)
			for name, text := range queries {
				if got, want := crashed.inGroup(name, false), crashed.find(text); got != want && !strings.Contains(text, "telemetry.temp.") && !strings.Contains(text, "dyn-") {
					t.Fatalf("after a crash: %s is %s\n got %s\nwant %s", name, text, got, want)
				}
			}
			crashed.StopFollowing()
		}
	}
	check(600, "the end", true)
}

// TestMembersSurvive: what is between the two thresholds of a group, and what waits, is after a restart what its samples made it.
func TestMembersSurvive(t *testing.T) {
	w := open(t)
	live := newLiveFake()
	w.FollowTelemetry(live)
	ids := map[string]uint32{}
	for _, name := range []string{"cool", "kept", "left", "old", "waits"} {
		ids[name] = w.create(name, "").ID
	}
	put := func(name string, value float64) {
		w.clock.advance(time.Millisecond)
		live.put("temp", ids[name], w.clock.Now().UnixMilli(), value)
	}
	put("old", 70) // before the groups are there
	w.clock.advance(time.Minute)
	put("old", 55)
	hysteresis := func(d *registry.Definition) { d.LeaveQuery = "telemetry.temp<50" }
	w.dynamic("hot", "telemetry.temp>60", hysteresis)
	w.dynamic("slow", "telemetry.temp>60", func(d *registry.Definition) { d.EnterAfter = 10 * time.Minute })
	w.dynamic("mixed", "telemetry.temp>60 thingName:*", hysteresis)
	put("kept", 61)
	put("left", 61)
	w.until("hot", "kept left")
	put("kept", 55)
	put("cool", 55)
	put("left", 45)
	w.until("hot", "kept")
	put("left", 55)
	w.clock.advance(time.Hour)
	put("waits", 65)
	w.until("hot", "kept waits")
	w.clock.advance(8 * time.Minute)
	w.restart()
	w.FollowTelemetry(live)
	w.wantMembers("hot", "kept waits")
	w.wantMembers("mixed", "waits") // what else than samples matters is not known: what is between is out
	w.wantMembers("slow", "")
	w.clock.advance(2*time.Minute + time.Second)
	w.until("slow", "waits")
	// another definition begins anew
	w.until("hot", "kept waits")
	changed := registry.Definition{Query: "telemetry.temp>62", LeaveQuery: "telemetry.temp<50"}
	if _, err := w.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: "hot", Definition: &changed}); err != nil {
		t.Fatal(err)
	}
	w.wantMembers("hot", "waits")
	w.clock.advance(time.Minute)
	w.restart()
	w.FollowTelemetry(live)
	w.wantMembers("hot", "waits")
	// and the same definition again is no change, however long ago it was made
	same := registry.DynamicInput{Name: "hot", Definition: changed}
	if _, err := w.CreateDynamicGroup(ctx, same); err != nil {
		t.Fatal(err)
	}
}
