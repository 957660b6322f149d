package standing_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
	"muster/registry/standing"
)

// oneThing is a fleet of one thing with one metric. It implements standing.Fleet and query.Document.
type oneThing struct {
	value float64
	ok    bool
	in    bool
}

const thing = 1

func (f *oneThing) Document(uint32) query.Document                 { return f }
func (f *oneThing) Has(_, _ uint32) bool                           { return f.in }
func (f *oneThing) Set(_, _ uint32, in bool, _ string)             { f.in = in }
func (f *oneThing) Values(string) []index.Value                    { return nil }
func (f *oneThing) EachBare(func(string, []index.Value) bool) bool { return false }
func (f *oneThing) Number(query.Column) (value float64, ok bool)   { return f.value, f.ok }
func (f *oneThing) SetAll(_ uint32, m *bitset.BitSet, _ string) *bitset.BitSet {
	changed := new(bitset.BitSet)
	changed.SetTo(thing, f.in != m.Test(thing))
	f.in = m.Test(thing)
	return changed
}

func matcher(t *testing.T, text string) *query.Matcher {
	q, err := query.Parse(text, query.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return q.Matcher()
}

// TestReplay lets an engine follow random samples, and another one find out from the last of them what the thing is: whenever it says that
// they tell, both must agree, now and when time goes on.
func TestReplay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	live := new(bitset.BitSet).Set(thing)
	toldSome, toldAll := 0, 0
	const rounds = 3000
	for range rounds {
		rule := standing.Rule{Group: 1, Name: "g", Enter: matcher(t, "telemetry.temp>60")}
		if rng.IntN(3) > 0 {
			rule.Leave = matcher(t, fmt.Sprintf("telemetry.temp<%d", 30+rng.IntN(40)))
		}
		rule.EnterAfter = time.Duration(rng.IntN(3)*rng.IntN(20)) * time.Second
		rule.LeaveAfter = time.Duration(rng.IntN(3)*rng.IntN(20)) * time.Second
		if rule.Leave == nil && rule.EnterAfter == 0 {
			rule.EnterAfter = time.Second
		}
		fleet := &oneThing{}
		e := standing.New(fleet)
		e.Put(rule)
		began := int64(rng.IntN(20)) * 1000
		var times []int64
		var values []float64
		nowMs, begun := int64(0), false
		pass := func(toMs int64) {
			for {
				next := min(e.Next(), toMs)
				if !begun && began <= next {
					d := e.Draft(1)
					d.Weigh(thing, fleet, began)
					e.Begin(d, live, "", began)
					begun = true
					continue
				}
				e.Due(next, 100)
				if next == toMs {
					return
				}
			}
		}
		for range rng.IntN(12) {
			nowMs += 1 + int64(rng.IntN(10_000))
			pass(nowMs - 1)
			if nowMs == began {
				nowMs++
			}
			fleet.value, fleet.ok = float64(20+rng.IntN(60)), true
			times, values = append(times, nowMs), append(values, fleet.value)
			e.Apply(thing, standing.Change{Columns: []query.Column{{Metric: "temp"}}}, nowMs)
		}
		nowMs += int64(rng.IntN(20_000))
		if nowMs < began {
			nowMs = began
		}
		pass(nowMs)
		from := 0
		if len(times) > 0 {
			from = rng.IntN(len(times) + 1)
		}
		again := &oneThing{value: fleet.value, ok: fleet.ok}
		other := standing.New(again)
		other.Put(rule)
		d := other.Draft(1)
		if metric, ok := d.Remembers(); !ok || metric != "temp" {
			t.Fatal("the rule forgets")
		}
		if !d.Replay(thing, times[from:], values[from:], from == 0, began, nowMs) {
			if from == 0 {
				t.Fatal("all samples do not tell")
			}
			continue
		}
		if toldAll++; from > 0 {
			toldSome++
		}
		other.Begin(d, live, "", nowMs)
		for range 12 {
			if fleet.in != again.in {
				t.Fatalf("began at %d, now %d: %v %v from %d on: in %v, by the samples %v; enter %s, leave %v after %s, %s",
					began, nowMs, times, values, from, fleet.in, again.in, rule.Enter.Query(), rule.Leave != nil, rule.EnterAfter, rule.LeaveAfter)
			}
			nowMs += 4000
			e.Due(nowMs, 100)
			other.Due(nowMs, 100)
		}
	}
	t.Logf("of %d histories, a part told %d times", rounds, toldSome)
	if toldSome < rounds/20 || toldAll < rounds/4 {
		t.Errorf("only %d of %d histories told", toldAll, rounds)
	}
}
