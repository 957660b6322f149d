package query_test

import (
	"sync"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
)

// TestSharedCache: many ask at the same time, and each gets what it gets alone.
func TestSharedCache(t *testing.T) {
	f := newTrial(3, 2000, true)
	type asked struct {
		plan *query.Plan
		want *bitset.BitSet
	}
	var all []asked
	for len(all) < 150 {
		q, err := query.Parse(query.String(f.node(2)), query.Options{Typed: len(all)%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		p, err := q.Plan(ctx, nowMs, &f.fleet)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Run(ctx, f.x, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, asked{p, want})
	}
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := range 3 * len(all) {
				a := all[(i*(2*client+1))%len(all)]
				got, err := a.plan.Run(ctx, f.x, f.answers)
				if err != nil || got.SymmetricDifferenceCardinality(a.want) > 0 {
					t.Errorf("%v, want %v; %v", got, a.want, err)
					return
				}
				f.answers.Release(got)
			}
		})
	}
	clients.Wait()
}
