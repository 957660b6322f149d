package registry_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry"
)

// memoryStore forgets, so that what is measured is not the disk.
type memoryStore struct {
	things []registry.Thing
	groups []registry.Group
}

func (s *memoryStore) LoadThings(_ context.Context, into registry.Loader) (registry.Marks, error) {
	into.Type(registry.ThingType{Name: "lamp"})
	for _, t := range s.things {
		stored := registry.StoredThing{ID: t.ID, Name: []byte(t.Name), UUID: []byte(t.UUID), TypeName: []byte(t.TypeName), Version: t.Version}
		for _, key := range slices.Sorted(maps.Keys(t.Attributes)) {
			stored.Attributes = append(stored.Attributes, registry.StoredAttribute{Key: []byte(key), Value: []byte(t.Attributes[key])})
		}
		into.Things([]registry.StoredThing{stored})
	}
	for _, g := range s.groups {
		into.Group(g)
	}
	return registry.Marks{NextID: uint32(len(s.things) + 1), NextGroupID: uint32(len(s.groups) + 1)}, nil
}

func (s *memoryStore) ApplyThings(_ context.Context, b registry.Batch) error {
	s.groups = append(s.groups, b.CreateGroups...)
	return nil
}

// BenchmarkDynamicGroups: what a thousand groups over a hundred thousand things cost per update of a thing, and a new group.
func BenchmarkDynamicGroups(b *testing.B) {
	const things = 100_000
	s := &memoryStore{}
	for i := range things {
		s.things = append(s.things, registry.Thing{
			ID: uint32(i + 1), Name: fmt.Sprintf("street-light-%06d", i), UUID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), TypeName: "lamp", Version: 1,
			Attributes: map[string]string{"city": fmt.Sprint("city-", i%500), "floor": fmt.Sprint(i % 40), "serial": fmt.Sprintf("SN-%010d", i*7919)},
		})
	}
	r, err := registry.Open(ctx, registry.Options{Store: s, Clock: newClock(), Metrics: metrics.NewSet(), MaxAttributes: 10})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	live := newLiveFake()
	r.FollowTelemetry(live)
	update := func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			_, err := r.UpdateThing(ctx, registry.ThingUpdate{Name: fmt.Sprintf("street-light-%06d", n*7919%things), Merge: true,
				Attributes: map[string]string{"city": fmt.Sprint("city-", n%500)}})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("update/groups=0", update)
	began := time.Now()
	for i := range 1000 {
		text := fmt.Sprintf("attributes.city:city-%d", i%500)
		switch i % 5 {
		case 1:
			text = fmt.Sprintf("thingTypeName:lamp AND attributes.city:city-%d* AND attributes.floor>%d", i%50, i%40)
		case 2:
			text = fmt.Sprintf("telemetry.temp>%d AND attributes.city:city-%d", i, i%500)
		case 3:
			text = fmt.Sprintf("group:g%d AND NOT attributes.floor:3", i-3)
		case 4:
			text = fmt.Sprintf("connectivity.connected:true attributes.floor:[%d TO %d]", i%30, i%30+5)
		}
		if _, err := r.CreateDynamicGroup(ctx, registry.DynamicInput{Name: fmt.Sprint("g", i), Definition: registry.Definition{Query: text}}); err != nil {
			b.Fatal(text, err)
		}
	}
	b.Logf("1000 groups made in %s", time.Since(began).Round(time.Millisecond))
	b.Run("update/groups=1000", update)
	b.Run("create/groups=1000", func(b *testing.B) {
		n := 0
		for b.Loop() {
			name := fmt.Sprint("new-lamp-", n)
			n++
			if _, err := r.CreateThing(ctx, registry.ThingInput{Name: name, TypeName: "lamp", Attributes: map[string]string{"city": "city-7", "floor": "3"}}); err != nil {
				b.Fatal(err)
			}
			if err := r.DeleteThing(ctx, name, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("start/groups=1000", func(b *testing.B) {
		copied := &memoryStore{things: s.things, groups: slices.Clone(s.groups)}
		for b.Loop() {
			again, err := registry.Open(ctx, registry.Options{Store: copied, Clock: newClock(), Metrics: metrics.NewSet()})
			if err != nil {
				b.Fatal(err)
			}
			again.FollowTelemetry(newLiveFake())
			again.Close()
		}
	})
	build := func(text string) func(b *testing.B) {
		return func(b *testing.B) {
			n := 0
			for b.Loop() {
				name := fmt.Sprint("new-", n)
				n++
				if _, err := r.CreateDynamicGroup(ctx, registry.DynamicInput{Name: name, Definition: registry.Definition{Query: text}}); err != nil {
					b.Fatal(err)
				}
				if err := r.DeleteGroup(ctx, name, 0, true); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for _, text := range []string{"thingName:", "thingName:99", "attributes.serial:sn-00", "attributes.ci", "group:g1"} {
		b.Run("complete/"+text, func(b *testing.B) {
			for b.Loop() {
				if c := r.Complete(text, len(text), 20, nil); len(c.Suggestions) == 0 {
					b.Fatal("nothing is suggested")
				}
			}
		})
	}
	b.Run("build/members=200", build("attributes.city:city-7"))
	b.Run("build/members=50000", build("attributes.floor>=20"))
	b.Run("build/timed", build("registry.updated>now-1h attributes.city:city-7"))
}
