package standing

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
)

// Draft is what the members of a rule are to be, found while the fleet changes, so that the owner's locks are not held for long: what changes meanwhile
// is missed, and is looked at again (Engine.Missed, Engine.Begin).
//
// Take and Weigh may run beside calls that only read, not beside others.
type Draft struct {
	rule    *rule
	members bitset.BitSet
	ifSeen  bitset.BitSet
	plans   plans
	sinceMs map[uint32]int64 // as in rule
}

// Draft begins to find the members of a rule that has not begun; nil if there is no such rule. Of several drafts of a rule the last one counts.
func (e *Engine) Draft(group uint32) *Draft {
	r := e.rules[group]
	if r == nil || r.begun {
		return nil
	}
	r.missed.ClearAll()
	return &Draft{rule: r, plans: newPlans(), sinceMs: map[uint32]int64{}}
}

// Rule returns the rule that the draft is of.
func (d *Draft) Rule() Rule { return d.rule.Rule }

// Take makes the members those that match Enter, and Leave if there is one, by the index.
func (d *Draft) Take(enter, leave *bitset.BitSet) {
	d.members = *enter.Clone()
	if leave != nil {
		d.members.InPlaceDifference(leave)
	}
}

// Timed says whether every thing must be weighed, because the answer changes with time alone or when things are seen.
func (d *Draft) Timed() bool { return d.rule.seen || d.rule.timed() }

// Weigh makes a thing a member if its document, nil if it is gone, matches Enter, and Leave does not, and notes when that may change.
func (d *Draft) Weigh(id uint32, doc query.Document, nowMs int64) {
	r := d.rule
	delete(d.sinceMs, id)
	if doc == nil {
		d.members.Clear(uint(id))
		return
	}
	if r.Listed {
		return
	}
	in, untilMs := r.wants(id, doc, false, nowMs, &d.ifSeen)
	if in && r.Leave != nil {
		_, untilMs = r.wants(id, doc, true, nowMs, &d.ifSeen) // it is another question now
	}
	d.members.SetTo(uint(id), in)
	d.plans.add(id, untilMs)
}

// Missed takes the things that changed since the draft began or since Missed was called last. gone says that the draft is of no use any more.
func (e *Engine) Missed(d *Draft) (things *bitset.BitSet, gone bool) {
	if r := d.rule; e.rules[r.Group] == r && !r.begun {
		things := r.missed.Clone()
		r.missed.ClearAll()
		return things, false
	}
	return nil, true
}

// Begin makes the members of a rule what its draft says, whatever they were and without waiting for EnterAfter and LeaveAfter, and keeps them up
// to date from now on. What was missed is weighed before. Each thing that enters or leaves is held against the rules that name the group. It
// reports false, and does nothing, when the rule is gone or has begun.
func (e *Engine) Begin(d *Draft, live *bitset.BitSet, cause string, nowMs int64) bool {
	missed, gone := e.Missed(d)
	if gone {
		return false
	}
	r := d.rule
	for id := range missed.EachSet() {
		d.Weigh(uint32(id), e.fleet.Document(uint32(id)), nowMs)
	}
	d.members.InPlaceIntersection(live)
	if r.Listed {
		r.listed = *d.members.Clone()
	}
	r.begun, r.missed = true, bitset.BitSet{}
	for _, m := range r.matchers() {
		for _, need := range m.Needs().Columns {
			e.byColumn[need.Column].forget()
		}
	}
	r.ifSeen, r.plans, r.sinceMs = d.ifSeen, d.plans, d.sinceMs
	e.takeTurn(r)
	changed := e.fleet.SetAll(r.Group, &d.members, cause)
	if named := e.whoName(r.folded); slices.ContainsFunc(named, func(r *rule) bool { return r.begun }) {
		for id := range changed.EachSet() {
			e.asked.ClearAll()
			e.ask(named)
			e.settle(e.read(uint32(id)), cause, nowMs)
		}
	} else if len(named) > 0 {
		for _, r := range named {
			r.missed.InPlaceUnion(changed)
		}
	}
	return true
}

// timed says whether the answer of a rule changes with time alone.
func (r *rule) timed() bool {
	return slices.ContainsFunc(r.matchers(), func(m *query.Matcher) bool { return m.Needs().Timed })
}
