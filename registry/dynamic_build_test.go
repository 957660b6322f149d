package registry_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry"
)

// TestGroupsMadeBesideWrites: groups are made, changed and deleted while other clients change things. In the end every group has the members that
// its query finds, and the listeners were told of exactly these.
func TestGroupsMadeBesideWrites(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const things = 3000
	s := fleetOf(things, 20, 0)
	r, err := registry.Open(ctx, registry.Options{Store: s, Clock: newClock(), Metrics: metrics.NewSet(), MaxAttributes: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	live := newLiveFake()
	r.FollowTelemetry(live)
	told := map[string]map[string]bool{} // of the groups made here, by name
	r.OnGroup(func(c registry.GroupChange) {
		if c.Op == registry.Created {
			told[c.Group.Name] = map[string]bool{}
		}
	})
	r.OnMembership(func(c registry.MembershipChange) {
		members := told[c.GroupName]
		if members == nil {
			return
		}
		if members[c.ThingName] == c.Entered {
			t.Errorf("%s entered %s: %v, twice", c.ThingName, c.GroupName, c.Entered)
		}
		if c.Entered {
			members[c.ThingName] = true
		} else {
			delete(members, c.ThingName)
		}
	})
	done := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 3 {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				name := fmt.Sprintf("reg-%06d", rng.IntN(things))
				var err error
				switch rng.IntN(10) {
				case 0:
					err = r.DeleteThing(ctx, name, 0)
				case 1:
					_, err = r.CreateThing(ctx, registry.ThingInput{Name: fmt.Sprint("made-", w, "-", n), TypeName: "lamp", Attributes: map[string]string{"floor": "7", "city": "oslo"}})
				default:
					_, err = r.UpdateThing(ctx, registry.ThingUpdate{Name: name, Merge: true, Attributes: map[string]string{"floor": fmt.Sprint(rng.IntN(40))}})
				}
				if kind := registry.KindOf(err); err != nil && kind != registry.NotFound {
					t.Error(err)
					return
				}
			}
		})
	}
	texts := []string{
		"attributes.floor>%d", "attributes.floor>%d attributes.city:ulm", "registry.updated>now-1h attributes.floor:%d", "group:g1 attributes.floor>%d",
		"NOT attributes.floor:%d", "thingGroupNames:made-0 OR attributes.floor:%d", "NOT connectivity.lastSeen<now-1h attributes.floor<%d",
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	for i := range 40 {
		text := fmt.Sprintf(texts[i%len(texts)], rng.IntN(40))
		if _, err := r.CreateDynamicGroup(ctx, registry.DynamicInput{Name: fmt.Sprint("made-", i), Definition: registry.Definition{Query: text}}); err != nil {
			t.Fatal(text, err)
		}
		switch rng.IntN(4) {
		case 0:
			changed := registry.Definition{Query: fmt.Sprintf("attributes.floor<%d", rng.IntN(40))}
			if _, err := r.UpdateDynamicGroup(ctx, registry.DynamicUpdate{Name: fmt.Sprint("made-", rng.IntN(i+1)), Definition: &changed}); err != nil && registry.KindOf(err) != registry.NotFound {
				t.Fatal(err)
			}
		case 1:
			if err := r.DeleteGroup(ctx, fmt.Sprint("made-", 1+rng.IntN(i+1)), 0, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(done)
	writers.Wait()
	groups, _, err := r.ListGroups(registry.GroupFilter{}, "", 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		name := g.Name
		if g.Status != registry.Active {
			t.Fatal(g)
		}
		want, err := r.Query(ctx, registry.QueryInput{Text: g.Dynamic.Query, Limit: registry.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Query(ctx, registry.QueryInput{Text: "group:" + name, Limit: registry.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		size, err := r.GroupSize(name)
		if err != nil || size.Things != want.Total || got.Total != want.Total || !slices.EqualFunc(got.Hits, want.Hits, func(a, b registry.Hit) bool { return a.Thing.Name == b.Thing.Name }) {
			t.Fatalf("%s (%s): %d members, %d found by group, %d by its query, %v", name, g.Dynamic.Query, size.Things, got.Total, want.Total, err)
		}
		if members := told[name]; members != nil && len(members) != want.Total {
			t.Errorf("%s: listeners know of %d members, it has %d", name, len(members), want.Total)
		}
		for _, hit := range want.Hits {
			if !slices.Contains(hit.Groups, name) {
				t.Fatalf("%s is in %s, but says %s", hit.Thing.Name, name, strings.Join(hit.Groups, " "))
			}
		}
	}
}
