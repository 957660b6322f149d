package registry

import (
	"time"

	"muster/registry/query"
	"muster/registry/standing"
)

const (
	// followEvery is how often follow looks for what changes without a write: times, windows, and who was seen.
	followEvery = 200 * time.Millisecond
	// crossingPause is between two takings of crossings, so that a fleet that sends without end is looked at in batches.
	crossingPause = 250 * time.Millisecond
	// crossingBatch is how many things one change holds against their groups, so that queries and writes wait little for it.
	crossingBatch = 512
)

// follow is the goroutine that brings to the dynamic groups what changes without a write, from Open to StopFollowing.
func (r *Registry) follow() {
	defer r.followers.Done()
	var tick <-chan time.Time
	var lookedMs int64 // when it last looked who was seen
	for {
		live, windows, timed := r.followed()
		var crossed <-chan struct{}
		if live != nil {
			crossed = live.Crossed()
		}
		if tick == nil && (timed || len(windows) > 0) {
			tick = r.opts.Clock.After(followEvery)
		}
		select {
		case <-r.unfollow:
			return
		case <-r.dynamic.rouse:
			r.build("the group's query was evaluated")
		case <-crossed:
			r.takeCrossings(live, windows)
			select {
			case <-r.opts.Clock.After(crossingPause):
			case <-r.unfollow:
				return
			}
		case <-tick:
			tick = nil
			if live != nil {
				r.metrics.windowsBehind.Store(int64(r.readWindows(live, windows)))
			}
			lookedMs = r.lookWhoWasSeen(lookedMs)
			for more := true; more; {
				r.change(func() { r.delta.due, r.dynamic.more = true, false })
				r.fleet.RLock()
				more = r.dynamic.more
				r.fleet.RUnlock()
			}
			r.wakeWriter()
		}
	}
}

// StopFollowing ends the goroutines that ask telemetry and PromQL for dynamic groups, and waits for them: it is called before those are
// closed. Writes still change memberships. Close calls it, too.
func (r *Registry) StopFollowing() {
	r.stopOnce.Do(func() { close(r.unfollow) })
	r.followers.Wait()
}

// followed returns what there is to follow; timed says that there are groups whose members change with time.
func (r *Registry) followed() (live LiveTelemetry, windows []*window, timed bool) {
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	for _, w := range r.dynamic.windows {
		windows = append(windows, w)
	}
	return r.dynamic.live, windows, r.dynamic.timed
}

// takeCrossings holds the things whose telemetry crossed a bound against their groups, and queues windows that have a new sample.
func (r *Registry) takeCrossings(live LiveTelemetry, windows []*window) {
	var touched []touch
	lost := live.TakeCrossings(func(id uint32, metric string) {
		for _, w := range windows {
			if w.Metric == metric {
				w.enqueue(id)
			}
		}
		touched = append(touched, touch{id, standing.Change{
			Columns: []query.Column{{Metric: metric}}, Cause: "telemetry." + metric + " crossed a bound",
		}})
	})
	if lost {
		touched = r.touchAll(windows)
	}
	for len(touched) > 0 {
		n := min(len(touched), crossingBatch)
		r.change(func() { r.delta.touched = append(r.delta.touched, touched[:n]...) })
		touched = touched[n:]
		r.wakeWriter()
	}
}

// touchAll returns all things with all watched columns, and queues all windows.
func (r *Registry) touchAll(windows []*window) (touched []touch) {
	for _, w := range windows {
		w.begun = false
	}
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	var columns []query.Column
	for _, t := range r.dynamic.watched {
		if t.Func == query.LastValue {
			columns = append(columns, t.Column)
		}
	}
	for id := range r.index.Live().EachSet() {
		touched = append(touched, touch{uint32(id), standing.Change{Columns: columns, Cause: "telemetry changed"}})
	}
	return touched
}

// seenLateMs is how much later than its time a packet may be noted.
const seenLateMs = 5000

// lookWhoWasSeen holds the things against their groups whose members depend on when they were seen, and that were since the last look.
func (r *Registry) lookWhoWasSeen(lookedMs int64) int64 {
	nowMs := r.nowMs()
	var touched []touch
	r.fleet.Lock()
	lookedMs, r.dynamic.seenSinceMs = min(lookedMs, r.dynamic.seenSinceMs), query.Never
	r.fleet.Unlock()
	r.fleet.RLock()
	r.dynamic.engine.Unseen(func(id uint32) {
		if page, i := r.presence.at(id); page != nil && page.seenMs[i].Load() >= lookedMs-seenLateMs {
			touched = append(touched, touch{id, standing.Change{Fields: []string{standing.SeenField}, Cause: "the thing was seen"}})
		}
	})
	r.fleet.RUnlock()
	for len(touched) > 0 {
		n := min(len(touched), crossingBatch)
		r.change(func() { r.delta.touched = append(r.delta.touched, touched[:n]...) })
		touched = touched[n:]
	}
	return nowMs
}
