package standing

import (
	"time"

	"muster/registry/index"
	"muster/registry/query"
)

// Remembers says whether the members of a rule follow from what was before: there is a Leave, or a time that things wait. If so, and if nothing but
// the last value of one metric matters, Replay can find them again.
func (d *Draft) Remembers() (metric string, ok bool) {
	r := d.rule
	if r.Listed || r.Leave == nil && r.EnterAfter == 0 && r.LeaveAfter == 0 {
		return "", false
	}
	for i, m := range r.matchers() {
		n := m.Needs()
		if len(n.Fields) > 0 || n.Bare || len(n.Groups) > 0 || n.Timed {
			return "", false
		}
		for j, c := range n.Columns {
			if c.Func != query.LastValue || (i > 0 || j > 0) && c.Metric != metric {
				return "", false
			}
			metric = c.Metric
		}
	}
	return metric, metric != ""
}

// fate is what a thing is to a group: in it or not, and since when it asks to be the other, 0 if it does not.
type fate struct {
	in      bool
	sinceMs int64
}

// Undecided says whether a thing with this last value may be in the group or not.
func (d *Draft) Undecided(value float64) bool {
	r := d.rule
	return r.EnterAfter > 0 || r.LeaveAfter > 0 || r.asks(value, false) != r.asks(value, true)
}

// Replay makes a thing what the samples of its metric, ascending in time, make it, if they tell: when it would be in the group now whether or not
// it was in it before the first of them. From beganMs on the rule is as it is, and began with what its queries said then; samples that are older only
// say that. all means that there are no older ones.
func (d *Draft) Replay(id uint32, timesMs []int64, values []float64, all bool, beganMs, nowMs int64) (told bool) {
	was := []fate{{in: false}, {in: true}}
	if all {
		was = was[:1]
	}
	for i, v := range values {
		if timesMs[i] <= beganMs {
			was = append(was[:0], fate{in: d.rule.asks(v, false)})
			continue
		}
		for j := range was {
			d.rule.meet(&was[j], v, min(timesMs[i], nowMs))
		}
	}
	for j := range was {
		d.rule.pass(&was[j], nowMs)
	}
	if len(was) == 2 && was[0] != was[1] {
		return false
	}
	d.members.SetTo(uint(id), was[0].in)
	delete(d.sinceMs, id)
	if since := was[0].sinceMs; since != 0 {
		d.sinceMs[id] = since
		d.plans.add(id, since+d.rule.after(was[0].in).Milliseconds())
	}
	return true
}

// after is how long a thing waits to leave, or to enter.
func (r *Rule) after(in bool) time.Duration {
	if in {
		return r.LeaveAfter
	}
	return r.EnterAfter
}

// pass lets time pass.
func (r *rule) pass(f *fate, nowMs int64) {
	if f.sinceMs != 0 && nowMs >= f.sinceMs+r.after(f.in).Milliseconds() {
		*f = fate{in: !f.in}
	}
}

// meet lets a thing have a value from a time on.
func (r *rule) meet(f *fate, value float64, atMs int64) {
	r.pass(f, atMs)
	switch wants := r.asks(value, f.in); {
	case wants == f.in:
		f.sinceMs = 0
	case f.sinceMs == 0:
		f.sinceMs = atMs
		r.pass(f, atMs)
	}
}

// asks says whether a thing with a value should be in the group when it is, or is not.
func (r *rule) asks(value float64, in bool) bool {
	wants, _ := r.wants(0, lastValue(value), in, 0, nil)
	return wants
}

// lastValue is a document of nothing but telemetry.
type lastValue float64

func (v lastValue) Values(string) []index.Value                    { return nil }
func (v lastValue) EachBare(func(string, []index.Value) bool) bool { return false }
func (v lastValue) Number(query.Column) (value float64, ok bool)   { return float64(v), true }
