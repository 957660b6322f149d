package registry

import (
	"container/heap"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
	"muster/registry/standing"
)

// LiveTelemetry is telemetry that dynamic groups follow. Last, Watch and TakeCrossings are called with the registry's locks held: they must be
// fast and must not call the registry. All are safe for concurrent use.
type LiveTelemetry interface {
	query.Telemetry
	// Last returns the last value of a metric of a thing, false if there is none or it is a text.
	Last(metric string, id uint32) (value float64, ok bool)
	// Window returns the value of a column over a window that ends at nowMs, and the time of the first sample in it.
	Window(column query.Column, nowMs int64, id uint32) (value float64, ok bool, firstMs int64, err error)
	// Samples calls f with the samples of a metric of a thing between two times, both included, ascending. f does not keep them.
	Samples(metric string, id uint32, fromMs, toMs int64, f func(timesMs []int64, values []float64)) error
	// EachWith calls f with every thing that ever had a sample of a metric.
	EachWith(metric string, f func(id uint32))
	// Watch replaces what is watched: last values against bounds, and every sample of metrics with windows.
	Watch([]query.Threshold)
	// Crossed has a token while there are crossings to take.
	Crossed() <-chan struct{}
	// TakeCrossings calls f with the things and metrics that crossed since the last call. lost says that there may be others.
	TakeCrossings(f func(id uint32, metric string)) (lost bool)
}

// FollowTelemetry lets queries ask for live telemetry and dynamic groups follow it. It is called once, before the first query.
func (r *Registry) FollowTelemetry(t LiveTelemetry) {
	r.JoinTelemetry(t)
	r.change(func() {
		r.dynamic.live = t
		r.watch()
	})
	r.build("the gateway started")
	r.rouse()
}

// window is one column over a window: its value for each thing that has one. values is guarded by fleet; filled too. The rest
// is follow's alone.
type window struct {
	query.Column
	values map[uint32]float64
	filled bool // every thing was read once

	queue     bitset.BitSet // things to read
	queued    int
	cursor    uint // where in queue to go on
	expiry    expiries
	expiresMs map[uint32]int64 // what of expiry counts
	begun     bool
}

// expiries is a heap of times at which the oldest sample leaves the window of a thing.
type expiries []expiry

type expiry struct {
	atMs int64
	id   uint32
}

func (w *window) enqueue(id uint32) {
	if !w.queue.Test(uint(id)) {
		w.queue.Set(uint(id))
		w.queued++
	}
}

// next takes a thing out of the queue, in turn.
func (w *window) next() (id uint32, ok bool) {
	if w.queued == 0 {
		return 0, false
	}
	at, ok := w.queue.NextSet(w.cursor)
	if !ok {
		at, _ = w.queue.NextSet(0)
	}
	w.cursor = at + 1
	w.queue.Clear(at)
	w.queued--
	return uint32(at), true
}

// expire queues the things whose time has come.
func (w *window) expire(nowMs int64) {
	for len(w.expiry) > 0 && w.expiry[0].atMs <= nowMs {
		x := heap.Pop(&w.expiry).(expiry)
		if w.expiresMs[x.id] == x.atMs {
			delete(w.expiresMs, x.id)
			w.enqueue(x.id)
		}
	}
}

// expireAt notes when the window of a thing changes without a new sample. An earlier time stays: it costs a read.
func (w *window) expireAt(id uint32, atMs int64) {
	if at, ok := w.expiresMs[id]; ok && at <= atMs {
		return
	}
	w.expiresMs[id] = atMs
	heap.Push(&w.expiry, expiry{atMs, id})
}

// watch tells telemetry what to look for, and makes and drops windows. The caller is in a change.
func (r *Registry) watch() {
	y := &r.dynamic
	if y.live == nil {
		return
	}
	needs := y.engine.Thresholds()
	if sameThresholds(needs, y.watched) {
		return
	}
	y.watched = needs
	y.live.Watch(needs)
	kept := map[query.Column]bool{}
	for _, t := range needs {
		if t.Func == query.LastValue {
			continue
		}
		kept[t.Column] = true
		if y.windows[t.Column] == nil {
			y.windows[t.Column] = &window{Column: t.Column, values: map[uint32]float64{}, expiresMs: map[uint32]int64{}}
		}
	}
	for c := range y.windows {
		if !kept[c] {
			delete(y.windows, c)
		}
	}
	r.rouse()
}

func sameThresholds(a, b []query.Threshold) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Column != b[i].Column || a[i].Any != b[i].Any || len(a[i].Bounds) != len(b[i].Bounds) {
			return false
		}
		for j := range a[i].Bounds {
			if a[i].Bounds[j] != b[i].Bounds[j] {
				return false
			}
		}
	}
	return true
}

// forgetWindows drops the values of a thing that is gone. The caller is in a change.
func (r *Registry) forgetWindows(id uint32) {
	for _, w := range r.dynamic.windows {
		delete(w.values, id)
	}
}

// Windows are read in batches: each is one change.
const windowBatch = 256

// windowShare bounds how much of a second is spent on reading windows. What is left over is read later, in turn: a group over windows is
// then behind, and never wrong for good.
const windowShare = 250 * time.Millisecond

// readWindows reads the windows of the things that are queued, as far as the time goes, and reports how many wait. Only follow calls it.
func (r *Registry) readWindows(live LiveTelemetry, windows []*window) (behind int) {
	began := time.Now()
	for _, w := range windows {
		if !w.begun {
			w.begun = true
			live.EachWith(w.Metric, w.enqueue)
		}
		w.expire(r.nowMs())
		for w.queued > 0 && time.Since(began) < windowShare {
			r.readBatch(live, w)
		}
		behind += w.queued
		if w.queued == 0 && !w.filled {
			r.change(func() { w.filled = true })
			r.build("the windows of the group's query were read")
		}
	}
	return behind
}

func (r *Registry) readBatch(live LiveTelemetry, w *window) {
	type reading struct {
		id    uint32
		value float64
		ok    bool
	}
	var batch []reading
	nowMs := r.nowMs()
	for len(batch) < windowBatch {
		id, ok := w.next()
		if !ok {
			break
		}
		value, ok, firstMs, err := live.Window(w.Column, nowMs, id)
		if err != nil {
			r.opts.Log.Warn("a window over telemetry cannot be read; it is tried again", "thing", id, "err", err)
			w.expireAt(id, nowMs+10_000)
			continue
		}
		if firstMs > 0 {
			w.expireAt(id, max(firstMs+w.Over.Milliseconds(), nowMs+1000))
		}
		batch = append(batch, reading{id, value, ok})
	}
	r.change(func() {
		for _, b := range batch {
			old, had := w.values[b.id]
			if had == b.ok && (!had || old == b.value) {
				continue
			}
			if b.ok && int(b.id) < len(r.byID) && r.byID[b.id] != nil {
				w.values[b.id] = b.value
			} else {
				delete(w.values, b.id)
			}
			if w.filled {
				r.delta.touched = append(r.delta.touched, touch{b.id, standing.Change{
					Columns: []query.Column{w.Column}, Cause: "telemetry." + w.Column.String() + " changed",
				}})
			}
		}
	})
	r.wakeWriter()
}

// The methods of heap.Interface.

func (s expiries) Len() int           { return len(s) }
func (s expiries) Less(i, j int) bool { return s[i].atMs < s[j].atMs }
func (s expiries) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *expiries) Push(x any) { *s = append(*s, x.(expiry)) }

// Pop implements heap.Interface.
func (s *expiries) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}
