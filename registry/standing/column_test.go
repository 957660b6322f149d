package standing

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
)

// world is what things are, apart from their groups.
type world struct {
	live    bitset.BitSet
	numbers map[uint32]map[query.Column]float64
	fields  map[uint32]map[string]string
}

// memberships is a Fleet over a world that other fleets may share.
type memberships struct {
	*world
	names  map[uint32]string // of the groups
	has    map[uint32]*bitset.BitSet
	events []string // what entered and left
	asked  int      // how often a rule was held against a thing
}

func newMemberships(w *world) *memberships {
	return &memberships{world: w, names: map[uint32]string{}, has: map[uint32]*bitset.BitSet{}}
}

func (f *memberships) members(group uint32) *bitset.BitSet {
	if f.has[group] == nil {
		f.has[group] = new(bitset.BitSet)
	}
	return f.has[group]
}

func (f *memberships) Document(id uint32) query.Document {
	if !f.live.Test(uint(id)) {
		return nil
	}
	return member{f, id}
}

func (f *memberships) Has(group, id uint32) bool {
	f.asked++
	return f.members(group).Test(uint(id))
}

func (f *memberships) Set(group, id uint32, in bool, _ string) {
	f.members(group).SetTo(uint(id), in)
	f.events = append(f.events, fmt.Sprintf("%d in %d: %v", id, group, in))
}

func (f *memberships) SetAll(group uint32, members *bitset.BitSet, _ string) *bitset.BitSet {
	changed := f.members(group).SymmetricDifference(members)
	f.has[group] = members.Clone()
	return changed
}

// member is a thing of memberships.
type member struct {
	*memberships
	id uint32
}

func (m member) Values(field string) (values []index.Value) {
	if field == "group" {
		for group, members := range m.has {
			if members.Test(uint(m.id)) {
				values = append(values, index.NewValue(m.names[group]))
			}
		}
		return values
	}
	if text := m.fields[m.id][field]; text != "" {
		values = append(values, index.NewValue(text))
	}
	return values
}

func (m member) EachBare(func(string, []index.Value) bool) bool { return false }

func (m member) Number(c query.Column) (float64, bool) {
	value, ok := m.numbers[m.id][c]
	return value, ok
}

var (
	temp   = query.Column{Metric: "temp"}
	power  = query.Column{Metric: "power"}
	window = query.Column{Metric: "temp", Func: query.Avg, Over: time.Minute}
)

func randomQuery(rng *rand.Rand, groups int) string {
	column := []string{"temp", "temp", "power", "temp.avg(1m)"}[rng.IntN(4)]
	switch rng.IntN(12) {
	case 0:
		return fmt.Sprintf("telemetry.%s:[%d TO %d}", column, rng.IntN(10), rng.IntN(12))
	case 1:
		return fmt.Sprintf("telemetry.%s:*", column)
	case 2:
		return fmt.Sprintf("telemetry.%s:%d", column, rng.IntN(10))
	case 3:
		return fmt.Sprintf("NOT telemetry.%s<=%d", column, rng.IntN(10))
	case 4:
		return fmt.Sprintf("telemetry.%s>%d AND attributes.on:true", column, rng.IntN(10))
	case 5:
		return fmt.Sprintf("attributes.on:true OR telemetry.%s<%d", column, rng.IntN(10))
	case 6:
		return fmt.Sprintf("telemetry.%s>=%d AND NOT group:g%d", column, rng.IntN(10), rng.IntN(groups))
	case 7:
		return fmt.Sprintf("telemetry.%s>now-%ds", column, 1+rng.IntN(9))
	case 8:
		return fmt.Sprintf("telemetry.%s<%d AND attributes.at<now-%ds", column, rng.IntN(10), 1+rng.IntN(9))
	}
	return fmt.Sprintf("telemetry.%s%s%d", column, []string{"<", "<=", ">", ">="}[rng.IntN(4)], rng.IntN(10))
}

func mustMatcher(t *testing.T, text string) *query.Matcher {
	t.Helper()
	q, err := query.Parse(text, query.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return q.Matcher()
}

// TestOnlyCrossedBounds: an engine that asks for the bounds on the way of a value does to every group what one does that asks all rules of the column,
// as it forgets where values were before each change: at the same time and in the same order, whatever else happens between.
func TestOnlyCrossedBounds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const rounds, steps, groups, things = 250, 200, 12, 5
	fewer, all := 0, 0
	for range rounds {
		w := &world{numbers: map[uint32]map[query.Column]float64{}, fields: map[uint32]map[string]string{}}
		for id := uint32(1); id <= things; id++ {
			w.live.Set(uint(id))
			w.numbers[id], w.fields[id] = map[query.Column]float64{}, map[string]string{}
		}
		fleets := [2]*memberships{newMemberships(w), newMemberships(w)}
		engines := [2]*Engine{New(fleets[0]), New(fleets[1])}
		nowMs := int64(0)
		var did []string
		do := func(what string, f func(e *Engine)) {
			did = append(did, fmt.Sprintf("%d: %s", nowMs, what))
			for i, e := range engines {
				if i == 1 {
					for _, c := range e.byColumn {
						c.forget()
					}
				}
				f(e)
			}
			if !slices.Equal(fleets[0].events, fleets[1].events) {
				t.Fatalf("seed %d\n%s\n got %v\nwant %v", seed, strings.Join(did, "\n"), fleets[0].events, fleets[1].events)
			}
			for group := range fleets[1].has {
				if !fleets[0].members(group).Equal(fleets[1].has[group]) && fleets[0].has[group].SymmetricDifferenceCardinality(fleets[1].has[group]) > 0 {
					t.Fatalf("seed %d\n%s\ngroup %d: %v, want %v", seed, strings.Join(did, "\n"), group, fleets[0].has[group], fleets[1].has[group])
				}
			}
		}
		drafts := map[uint32][2]*Draft{}
		draft := func() { // things are looked at by the one who makes it, while they change
			for _, group := range slices.Sorted(maps.Keys(engines[0].rules)) {
				if _, has := drafts[group]; has || engines[0].rules[group].begun || engines[0].Waits(group) {
					continue
				}
				pair := [2]*Draft{engines[0].Draft(group), engines[1].Draft(group)}
				for i, d := range pair {
					for thing := range w.live.EachSet() {
						d.Weigh(uint32(thing), member{fleets[i], uint32(thing)}, nowMs)
					}
				}
				drafts[group] = pair
				did = append(did, fmt.Sprintf("%d: draft %d", nowMs, group))
			}
		}
		for range steps {
			id := 1 + rng.Uint32N(things)
			switch rng.IntN(24) {
			case 0: // another rule, which its members are to be found for
				group := 1 + rng.Uint32N(groups)
				rule := Rule{Group: group, Name: fmt.Sprint("g", group), Enter: mustMatcher(t, randomQuery(rng, groups))}
				if rng.IntN(3) == 0 {
					rule.Leave = mustMatcher(t, randomQuery(rng, groups))
				}
				rule.EnterAfter = time.Duration(rng.IntN(2)*rng.IntN(2)*rng.IntN(9)) * time.Second
				rule.LeaveAfter = time.Duration(rng.IntN(2)*rng.IntN(2)*rng.IntN(9)) * time.Second
				if engines[0].Check(rule) != nil {
					continue
				}
				delete(drafts, group)
				do("put "+rule.Enter.Query().String(), func(e *Engine) {
					e.fleet.(*memberships).names[group] = rule.Name
					e.Put(rule)
				})
			case 1:
				group := 1 + rng.Uint32N(groups)
				delete(drafts, group)
				do(fmt.Sprint("remove ", group), func(e *Engine) { e.Remove(group) })
			case 2, 3:
				draft()
			case 4, 5:
				for _, group := range slices.Sorted(maps.Keys(drafts)) {
					pair := drafts[group]
					delete(drafts, group)
					do(fmt.Sprint("begin ", group), func(e *Engine) {
						d := pair[0]
						if e == engines[1] {
							d = pair[1]
						}
						e.Begin(d, &w.live, "", nowMs)
					})
				}
			case 6:
				w.fields[id]["attributes.on"] = []string{"", "true"}[rng.IntN(2)]
				do(fmt.Sprint("field of ", id), func(e *Engine) { e.Apply(id, Change{Fields: []string{"attributes.on"}}, nowMs) })
			case 7:
				w.fields[id]["attributes.at"] = fmt.Sprint(nowMs - rng.Int64N(10_000))
				do(fmt.Sprint("time of ", id), func(e *Engine) { e.Apply(id, Change{Fields: []string{"attributes.at"}}, nowMs) })
			case 8, 9:
				nowMs += rng.Int64N(4000)
				do("time", func(e *Engine) {
					for e.Due(nowMs, 3) {
					}
				})
			case 10: // a value of which the engines hear later, when it may be another one
				w.numbers[id][temp] = float64(rng.IntN(11))
				if rng.IntN(2) == 0 {
					draft()
				}
				do(fmt.Sprintf("field of %d, while temp is %v", id, w.numbers[id][temp]), func(e *Engine) {
					e.Apply(id, Change{Fields: []string{"attributes.on", "group"}}, nowMs)
				})
				w.numbers[id][temp] = float64(rng.IntN(11))
				do(fmt.Sprintf("temp of %d = %v", id, w.numbers[id][temp]), func(e *Engine) { e.Apply(id, Change{Columns: []query.Column{temp}}, nowMs) })
			case 11:
				columns := []query.Column{temp, power, window}
				do(fmt.Sprint("all columns of ", id), func(e *Engine) { e.Apply(id, Change{Columns: columns}, nowMs) })
			default:
				column := []query.Column{temp, temp, power, window}[rng.IntN(4)]
				value := float64(rng.IntN(21)) / 2
				switch rng.IntN(20) {
				case 0:
					value = math.NaN()
				case 1:
					value = float64(nowMs - rng.Int64N(9000))
				}
				w.numbers[id][column] = value
				if column == window && rng.IntN(5) == 0 {
					delete(w.numbers[id], column)
				}
				do(fmt.Sprintf("%s of %d = %v", column, id, value), func(e *Engine) { e.Apply(id, Change{Columns: []query.Column{column}}, nowMs) })
			}
		}
		fewer += fleets[0].asked
		all += fleets[1].asked
	}
	t.Logf("%d times a rule was held against a thing, by the engine that forgets %d times", fewer, all)
	if fewer >= all {
		t.Fatal("no rule was left out")
	}
}

// BenchmarkMove moves one value over one bound of a column that a thousand rules ask for, also as if it were not known where it was.
func BenchmarkMove(b *testing.B) {
	w := &world{numbers: map[uint32]map[query.Column]float64{1: {}}}
	w.live.Set(1)
	e := New(newMemberships(w))
	var rules []Rule
	for i := range 1000 {
		q, err := query.Parse(fmt.Sprintf("telemetry.temp>%d", i), query.Options{})
		if err != nil {
			b.Fatal(err)
		}
		rules = append(rules, Rule{Group: uint32(i + 1), Name: fmt.Sprint("g", i), Enter: q.Matcher()})
	}
	e.Put(rules...)
	for _, r := range rules {
		d := e.Draft(r.Group)
		d.Take(new(bitset.BitSet), nil)
		e.Begin(d, &w.live, "", 0)
	}
	change := Change{Columns: []query.Column{temp}}
	for _, known := range []bool{true, false} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				w.numbers[1][temp] = 500 + float64(i%2)
				if !known {
					e.byColumn[temp].note(1, unknownClass)
				}
				e.Apply(1, change, 0)
				e.fleet.(*memberships).events = e.fleet.(*memberships).events[:0]
			}
		})
	}
}
