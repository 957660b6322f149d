package registry

import (
	"time"

	"muster/registry/standing"
)

// replayTime bounds how long samples are read at a start, for all groups together. What is left over is taken as its last value says.
const replayTime = 2 * time.Second

// replayBack is how far back samples are read, one after the other until they tell; 0: all.
var replayBack = [...]time.Duration{10 * time.Minute, 4 * time.Hour, 4 * 24 * time.Hour, 0}

// replay makes the members of a group again after a start, where they follow from what was before and that is the last value of one metric: a
// thing between EnterQuery and LeaveQuery, or that waits, is what its samples made of it.
func (r *Registry) replay(d *standing.Draft) {
	y := &r.dynamic
	group := d.Rule().Group
	r.fleet.RLock()
	live, started := y.live, y.why[group] == ""
	var beganMs int64
	if g := r.groups.at(group); g != nil && g.dynamic != nil {
		beganMs = max(g.dynamic.sinceMs(), g.createdMs)
	}
	r.fleet.RUnlock()
	metric, ok := d.Remembers()
	if !ok || !started {
		return
	}
	var things []uint32
	live.EachWith(metric, func(id uint32) { things = append(things, id) })
	nowMs := r.nowMs()
	began := time.Now()
	skipped := 0
	for _, id := range things {
		if value, ok := live.Last(metric, id); !ok || !d.Undecided(value) {
			continue
		}
		if y.replayed+time.Since(began) > replayTime {
			skipped++
			continue
		}
		for _, back := range replayBack {
			fromMs := max(nowMs-back.Milliseconds(), 0)
			if back == 0 {
				fromMs = 0
			}
			told := false
			err := live.Samples(metric, id, fromMs, nowMs, func(timesMs []int64, values []float64) {
				told = d.Replay(id, timesMs, values, fromMs == 0, beganMs, nowMs)
			})
			if err != nil {
				r.opts.Log.Warn("telemetry of a dynamic group cannot be read; the thing is taken as its last value says", "group", d.Rule().Name, "thing", id, "err", err)
				break
			}
			if told {
				break
			}
		}
	}
	y.replayed += time.Since(began)
	if skipped > 0 {
		r.opts.Log.Warn("a dynamic group has too many things to read what they did before; the rest is taken as their last values say",
			"group", d.Rule().Name, "things", skipped)
	}
}
