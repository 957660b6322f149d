package registry_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry"
)

// fleetOf is a store with n things and some dynamic groups, whose queries are of one to four terms of every kind; the last ones are over telemetry.
func fleetOf(n, groups, telemetryGroups int) *memoryStore {
	cities := []string{"ulm", "oslo", "turin", "lyon", "porto", "graz", "gent", "brno", "split", "umea", "cork", "leeds", "bergen", "lund", "basel", "como"}
	rng := rand.New(rand.NewPCG(7, 7))
	s := &memoryStore{}
	for i := range n {
		s.things = append(s.things, registry.Thing{
			ID: uint32(i + 1), Name: fmt.Sprintf("reg-%06d", i), UUID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), TypeName: "lamp", Version: 1,
			Attributes: map[string]string{
				"city":     cities[min(rng.IntN(len(cities)), rng.IntN(len(cities)))],
				"site":     fmt.Sprintf("site-%03d", i/100),
				"floor":    fmt.Sprint(rng.IntN(40)),
				"firmware": fmt.Sprintf("%d.%d.%d", 1+rng.IntN(3), rng.IntN(8), rng.IntN(10)),
				"serial":   fmt.Sprintf("sn-%08x", rng.Uint32()),
			},
		})
	}
	term := func() string {
		thing := s.things[rng.IntN(n)]
		switch rng.IntN(10) {
		case 0, 1:
			return "attributes.city:" + thing.Attributes["city"]
		case 2, 3:
			return fmt.Sprintf("attributes.floor>%d", rng.IntN(40))
		case 4:
			low := rng.IntN(30)
			return fmt.Sprintf("attributes.floor:[%d TO %d}", low, low+1+rng.IntN(10))
		case 5:
			return "attributes.firmware:" + thing.Attributes["firmware"][:3] + "*"
		case 6:
			return "attributes.site:" + thing.Attributes["site"]
		case 7:
			return "attributes.serial:*" + thing.Attributes["serial"][5:8] + "*"
		case 8:
			return "thingName:" + thing.Name[:7] + "*"
		}
		return thing.Attributes["city"]
	}
	for i := range groups + telemetryGroups {
		text := fmt.Sprintf("telemetry.temp>%d", i)
		if i < groups {
			terms := []string{term()}
			for range rng.IntN(4) {
				terms = append(terms, term())
			}
			text = strings.Join(terms, []string{" AND ", " OR "}[rng.IntN(2)])
		}
		s.groups = append(s.groups, registry.Group{
			ID: uint32(i + 1), Name: fmt.Sprint("g", i), UUID: fmt.Sprintf("%08x-0000-4000-8001-%012x", i, i), Version: 1,
			Dynamic: &registry.Dynamic{Query: text, IndexName: "AWS_Things", QueryVersion: "2017-09-30"},
		})
	}
	return s
}

// BenchmarkStart: how long a registry of 100,000 things takes to open, without groups and with 1,000, until the members of all are known.
func BenchmarkStart(b *testing.B) {
	for _, groups := range []int{0, 1000} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) {
			s := fleetOf(100_000, groups, groups/10)
			live := newLiveFake()
			for i := range 2000 {
				live.put("temp", uint32(i+1), 1000, float64(i))
			}
			for b.Loop() {
				r, err := registry.Open(ctx, registry.Options{Store: s, Clock: newClock(), Metrics: metrics.NewSet(), MaxAttributes: 10})
				if err != nil {
					b.Fatal(err)
				}
				r.FollowTelemetry(live)
				members := 0
				for _, g := range s.groups {
					size, err := r.GroupSize(g.Name)
					if err != nil {
						b.Fatal(err)
					}
					members += size.Things
				}
				if members == 0 && groups > 0 {
					b.Fatal("no group has members")
				}
				b.ReportMetric(float64(members), "members")
				r.Close()
			}
		})
	}
}

// BenchmarkBuild: how long it takes to make and delete a group beside 1,000 others over 100,000 things, and the longest that a query and a write of
// one thing take meanwhile.
func BenchmarkBuild(b *testing.B) {
	r, err := registry.Open(ctx, registry.Options{Store: fleetOf(100_000, 1000, 0), Clock: newClock(), Metrics: metrics.NewSet(), MaxAttributes: 10})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	r.FollowTelemetry(newLiveFake())
	r.OnMembership(func(registry.MembershipChange) {})
	for _, text := range []string{
		"attributes.site:site-042", "attributes.floor>=20", "registry.updated>now-1h attributes.site:site-042", "registry.updated>now-1h", "group:g1 OR attributes.floor<3", "ulm",
	} {
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			var waits [2]time.Duration
			done := make(chan struct{})
			var probes sync.WaitGroup
			for i, probe := range []func() error{
				func() error { _, err := r.QueryCount(ctx, "thingName:reg-000007", false); return err },
				func() error {
					_, err := r.UpdateThing(ctx, registry.ThingUpdate{Name: "reg-000007", Merge: true, Attributes: map[string]string{"mark": "x"}})
					return err
				},
			} {
				probes.Go(func() {
					for {
						select {
						case <-done:
							return
						case <-time.After(2 * time.Millisecond):
						}
						began := time.Now()
						if err := probe(); err != nil {
							b.Error(err)
						}
						waits[i] = max(waits[i], time.Since(began))
					}
				})
			}
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
			close(done)
			probes.Wait()
			b.ReportMetric(waits[0].Seconds()*1000, "max-query-ms")
			b.ReportMetric(waits[1].Seconds()*1000, "max-write-ms")
		})
	}
}
