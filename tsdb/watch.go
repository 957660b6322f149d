package tsdb

import (
	"math"
	"slices"
	"sync"
)

// Threshold is a column whose last values are watched. A row that moves the last value of a thing from one side of a bound to
// another, onto it or off it, or that is the first, is a crossing; any row with the column is one where Any is set.
type Threshold struct {
	Metric MetricID
	Bounds []float64 // in any order
	Any    bool
}

// Crossing is a thing and a column of it that crossed a bound since the last TakeCrossings, once or more often.
type Crossing struct {
	Thing  ThingID
	Metric MetricID
}

// maxCrossings bounds what waits to be taken, per shard: as many as there are things in a fleet of 130,000. Past it,
// crossings are lost, and TakeCrossings says so.
const maxCrossings = 4096

// watch finds crossings while rows are appended. Without thresholds it costs a comparison per value.
type watch struct {
	crossed chan struct{} // has a token while there may be something to take
	mu      sync.Mutex    // one Watch or TakeCrossings at a time; taken before shard.mu
}

// bounds are those of one column. They never change.
type bounds struct {
	at  []float64 // ascending, unique
	any bool
	// edges are the bounds as mantissas of decimals with the exponent -i: the least of all, the least that is on a bound, then the least that is above
	// it, and so on, ascending, and the greatest of all. nil: a bound is too large for that.
	edges [10][]int64
}

// watched is what a shard has of it, guarded by its lock.
type watched struct {
	bounds []*bounds // by MetricID; never changed, only replaced
	list   []crossed
	lost   bool
}

// crossed is a column of a thing that crossed a bound. The thing may be deleted meanwhile.
type crossed struct {
	thing *thing
	col   uint16
}

// Watch replaces all thresholds. A row that is appended after it returned is held against them, so that who reads the last
// values then, and takes the crossings later, misses nothing.
func (s *Store) Watch(thresholds []Threshold) {
	var list []*bounds
	for _, t := range thresholds {
		for int(t.Metric) >= len(list) {
			list = append(list, nil)
		}
		b := list[t.Metric]
		if b == nil {
			b = &bounds{}
			list[t.Metric] = b
		}
		b.at, b.any = append(b.at, t.Bounds...), b.any || t.Any
	}
	for _, b := range list {
		if b != nil {
			slices.Sort(b.at)
			b.at = slices.Compact(b.at)
			for i := range b.edges {
				b.edges[i] = edgesOf(b.at, int8(-i))
			}
		}
	}
	s.live.watch.mu.Lock()
	defer s.live.watch.mu.Unlock()
	for i := range s.live.shards {
		sh := &s.live.shards[i]
		sh.mu.Lock()
		sh.watched.bounds = list
		sh.mu.Unlock()
	}
}

// Crossed has a token after a crossing that nobody has taken.
func (s *Store) Crossed() <-chan struct{} { return s.live.watch.crossed }

// TakeCrossings appends the crossings since the last call to dst, each thing and column once. lost says that there were too many, so that
// any thing may have crossed any bound.
func (s *Store) TakeCrossings(dst []Crossing) (list []Crossing, lost bool) {
	w := &s.live.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.crossed:
	default:
	}
	for i := range s.live.shards {
		sh := &s.live.shards[i]
		sh.mu.Lock()
		for _, c := range sh.watched.list {
			c.thing.cols[c.col].crossed = false
			dst = append(dst, Crossing{c.thing.id, c.thing.metrics[c.col]})
		}
		clear(sh.watched.list)
		lost = lost || sh.watched.lost
		sh.watched.list, sh.watched.lost = sh.watched.list[:0], false
		sh.mu.Unlock()
	}
	return dst, lost
}

// see holds a new last value v of a column that is not among the crossings against its bounds. The caller holds the shard's lock, and
// the column still has the value before.
func (w *watch) see(b *bounds, sh *shard, t *thing, col uint16, v *Value) {
	c := &t.cols[col]
	if !b.any && c.lastMs >= 0 && b.same(c, v) || t.id >= FirstSource {
		return
	}
	if len(sh.watched.list) == maxCrossings {
		sh.watched.lost = true
	} else {
		c.crossed = true
		sh.watched.list = append(sh.watched.list, crossed{t, col})
	}
	select {
	case w.crossed <- struct{}{}:
	default:
	}
}

// same says whether the last value of a column and v are at the same place among the bounds. Most are where the one before was found, so that they
// are compared with two edges.
func (b *bounds) same(c *column, v *Value) bool {
	if c.kind|v.Kind <= Bool && v.Exp <= 0 && int(v.Exp) > -len(b.edges) && c.exp == v.Exp {
		if c.mantissa == v.Mantissa {
			return true
		}
		edges := b.edges[-v.Exp]
		if near := int(c.near); near+1 < len(edges) && edges[near] <= v.Mantissa && v.Mantissa < edges[near+1] {
			return edges[near] <= c.mantissa && (c.mantissa < edges[near+1] || near == len(edges)-2)
		}
		if edges != nil {
			lo, hi := 1, len(edges)-1
			for lo < hi {
				if mid := (lo + hi) / 2; edges[mid] <= v.Mantissa {
					lo = mid + 1
				} else {
					hi = mid
				}
			}
			c.near = uint16(min(lo-1, math.MaxUint16))
			return c.mantissa >= edges[lo-1] && (c.mantissa < edges[lo] || lo == len(edges)-1)
		}
	}
	return b.place(c.kind, c.mantissa, c.exp) == b.place(v.Kind, v.Mantissa, v.Exp)
}

// edgesOf returns the edges of bounds for one exponent.
func edgesOf(at []float64, exp int8) []int64 {
	edges := append(make([]int64, 0, 2*len(at)+2), math.MinInt64)
	for _, bound := range at {
		guess := math.Round(bound * exactPowers[-exp])
		if math.Abs(guess) >= maxExactMantissa/2 {
			return nil
		}
		m := int64(guess)
		for decimalFloat(m, exp) >= bound {
			m--
		}
		for decimalFloat(m, exp) < bound {
			m++
		}
		edges = append(edges, m)
		for decimalFloat(m, exp) <= bound {
			m++
		}
		edges = append(edges, m)
	}
	return append(edges, math.MaxInt64)
}

// place says where a value is among the bounds: on one, between two, no number (NaN), or a text.
func (b *bounds) place(kind Kind, mantissa int64, exp int8) int {
	if kind == String {
		return -2
	}
	value := Value{Mantissa: mantissa, Exp: exp, Kind: kind}.Float()
	if value != value {
		return -1
	}
	lo, hi := 0, len(b.at)
	for lo < hi {
		if mid := (lo + hi) / 2; b.at[mid] < value {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(b.at) && b.at[lo] == value {
		return 2*lo + 1
	}
	return 2 * lo
}

// EachLast calls f with every thing that has a column, and its last value, in no order; sources are left out. f runs with a lock
// held: it must be short and must not call the store.
func (s *Store) EachLast(m MetricID, f func(thing ThingID, kind Kind, number float64)) {
	s.ScanLast(m, func(id ThingID, _ int64, kind Kind, number float64) { f(id, kind, number) })
}
