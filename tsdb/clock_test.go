package tsdb_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// play is one store that gets the rows and deletions of a seed, and what a plain map says that it must answer.
type play struct {
	s      *tsdb.Store
	fsys   *vfs.Mem
	clock  *vfs.Manual
	opts   tsdb.Options
	things []tsdb.ThingID // with rows: the last two are sources
	want   map[string]string
}

var playStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

const playDays = 3

func playKey(thing tsdb.ThingID, name string, ms int64) string {
	return fmt.Sprint(thing, " ", name, " ", ms)
}

func (p *play) source(t *testing.T, host string) tsdb.ThingID {
	t.Helper()
	set := new(tsdb.LabelSet)
	set.Add([]byte("host"), []byte(host))
	id, err := p.s.Source(set)
	must(t, err)
	return id
}

// round appends rows that are acknowledged when it returns.
func (p *play) round(t *testing.T, rng *rand.Rand, tick func()) {
	t.Helper()
	a, b := metric(t, p.s, "a"), metric(t, p.s, "b")
	for range 60 {
		tick()
		thing := p.things[rng.IntN(len(p.things))]
		ms := playStart.UnixMilli() + 1 + rng.Int64N(playDays*dayMs/20_000-1)*20_000
		x, y := rng.Int64N(10_000), rng.NormFloat64()
		appendRow(t, p.s, thing, ms, decimal(a, x, -1), tsdb.Value{Metric: b, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(y))})
		p.want[playKey(thing, "a", ms)] = fmt.Sprint(tsdb.Value{Mantissa: x, Exp: -1}.Float())
		p.want[playKey(thing, "b", ms)] = fmt.Sprint(y)
	}
	must(t, p.s.Sync(context.Background()))
}

// remove deletes thing i; rows go to another in its place.
func (p *play) remove(t *testing.T, i int, other tsdb.ThingID) {
	t.Helper()
	gone := p.things[i]
	must(t, p.s.DeleteThing(gone))
	maps.DeleteFunc(p.want, func(k, _ string) bool {
		var id tsdb.ThingID
		_, err := fmt.Sscan(k, &id)
		must(t, err)
		return id == gone
	})
	p.things[i] = other
}

// answers reads all that the store has, of deleted things as well.
func (p *play) answers(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	var raw tsdb.Samples
	ids := make([]tsdb.ThingID, 0, 16)
	for id := range tsdb.ThingID(10) {
		ids = append(ids, id)
	}
	for n := range p.s.Sources() {
		ids = append(ids, tsdb.FirstSource+tsdb.ThingID(n))
	}
	for _, m := range p.s.Metrics() {
		for _, id := range ids {
			must(t, p.s.Read(&raw, id, m.ID, 0, math.MaxInt64))
			for i, ms := range raw.TimesMs {
				if i > 0 && ms <= raw.TimesMs[i-1] {
					t.Fatalf("thing %d, %s: times %v", id, m.Name, raw.TimesMs)
				}
				got[playKey(id, m.Name, ms)] = fmt.Sprint(raw.Values[i])
			}
			if f, ok := p.s.Last(id, m.ID); ok != (len(raw.TimesMs) > 0) || ok && f.TimeMs != raw.TimesMs[len(raw.TimesMs)-1] {
				t.Fatalf("thing %d, %s: last value %+v %v, samples end at %v", id, m.Name, f, ok, raw.TimesMs[max(0, len(raw.TimesMs)-1):])
			}
		}
	}
	return got
}

// Things, sources, tiers and deletions: the answers are those of a plain map, whatever order of sealing, merging, purging and starting there is, whatever
// the retention, and whatever the clock does: no acknowledged sample is lost, and none is in another order.
func TestSameAnswersEverywhere(t *testing.T) {
	day := 24 * time.Hour
	still := func(*play) {}
	clocks := []struct {
		name  string
		start time.Time
		tick  func(p *play) // before every row
	}{
		{"a good clock", playStart.Add(playDays * day), still},
		{"1970, then the time, and 1970 again", time.Unix(5, 0), func(p *play) {
			switch now := p.clock.Now(); {
			case now.Year() > 2000 && now.Second() == 50:
				p.clock.Jump(time.Unix(5, 0).Sub(now))
			case now.Second() == 50:
				p.clock.Jump(playStart.Add(playDays * day).Sub(now))
			}
			p.clock.Advance(time.Second)
		}},
		{"ten years ahead", playStart.AddDate(10, 0, 0), func(p *play) { p.clock.Advance(time.Second) }},
		{"stepping back every second", playStart.Add(playDays * day), func(p *play) { p.clock.Jump(-time.Second) }},
	}
	retentions := []struct {
		name string
		set  func(o *tsdb.Options)
	}{
		{"all is kept", func(*tsdb.Options) {}},
		{"tiers", func(o *tsdb.Options) { o.RetentionTier5m, o.RetentionTier1h = 5000*day, 6000*day }},
		{"retention that waits for a steady clock", func(o *tsdb.Options) {
			o.Retention, o.ClockSettle, o.RetentionTier1h = 400*day, 300*day, 6000*day
		}},
	}
	hands := []func(t *testing.T, p *play){
		func(t *testing.T, p *play) {},
		func(t *testing.T, p *play) { must(t, p.s.Seal(context.Background())) },
		func(t *testing.T, p *play) { must(t, tsdb.Compact(p.s)) },
		func(t *testing.T, p *play) { must(t, p.s.Purge(context.Background())) },
		func(t *testing.T, p *play) { must(t, p.s.Close()); p.s = open(t, p.opts) },
		func(t *testing.T, p *play) { must(t, tsdb.Tend(p.s)) },
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, clock := range clocks {
		for _, retention := range retentions {
			t.Run(clock.name+"/"+retention.name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 13))
				p := &play{fsys: vfs.NewMem(), clock: vfs.NewManual(clock.start), want: map[string]string{}}
				p.opts = small(p.fsys)
				p.opts.Clock = p.clock
				retention.set(&p.opts)
				p.s = open(t, p.opts)
				p.things = []tsdb.ThingID{0, 1, 2, p.source(t, "x"), p.source(t, "y")}
				check := func(when string) {
					t.Helper()
					if got := p.answers(t); !maps.Equal(got, p.want) {
						t.Fatalf("%s: %d cells, not %d; %v", when, len(got), len(p.want), different(got, p.want))
					}
				}
				for n := range 14 {
					p.round(t, rng, func() { clock.tick(p) })
					switch n {
					case 5:
						p.remove(t, 1, 7)
					case 8: // the same labels are another source from then on
						p.remove(t, 3, 0)
						p.things[3] = p.source(t, "x")
					}
					hands[rng.IntN(len(hands))](t, p)
					hands[rng.IntN(len(hands))](t, p)
					check(fmt.Sprint("round ", n))
				}
				must(t, p.s.Purge(context.Background()))
				must(t, p.s.Close())
				report, err := tsdb.Fsck("data", p.fsys)
				if err != nil || len(report.Damage) > 0 {
					t.Fatalf("%+v %v", report, err)
				}
				p.s = open(t, p.opts)
				check("at the end")
				p.checkTiers(t)
			})
		}
	}
}

// checkTiers lets the days go into the tiers and compares these with the samples.
func (p *play) checkTiers(t *testing.T) {
	t.Helper()
	p.clock.Jump(max(0, playStart.AddDate(0, 0, playDays+1).Sub(p.clock.Now())) + 2*time.Hour)
	for range 2 * playDays {
		must(t, tsdb.Tend(p.s))
	}
	for _, step := range tierSteps {
		if step == tsdb.Tier5m && p.opts.RetentionTier5m == 0 || p.opts.RetentionTier1h == 0 {
			continue
		}
		for _, m := range p.s.Metrics() {
			for _, thing := range p.things {
				var raw tsdb.Samples
				must(t, p.s.Read(&raw, thing, m.ID, 0, math.MaxInt64))
				got, err := p.s.ReadTier(nil, thing, m.ID, step, 0, math.MaxInt64)
				must(t, err)
				want := bucketsOf(&raw, step, 0, math.MaxInt64)
				for i := range got { // of a day's first bucket it depends on when the day before was written
					got[i].Increase = 0
				}
				for i := range want {
					want[i].Increase = 0
				}
				if len(want) < 20 || !sameBuckets(got, want) {
					t.Fatalf("thing %d, %s by %d: %d buckets, want %d", thing, m.Name, step, len(got), len(want))
				}
			}
		}
	}
}
