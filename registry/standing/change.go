package standing

import (
	"slices"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
)

// SeenField is the field of the index with the time at which a thing was last seen. It changes without a Change: Unseen says who to look at.
const SeenField = "connectivity.lastSeen"

// Change is what changed of one thing. Cause is a sentence without its full stop.
type Change struct {
	All     bool     // everything: it is new
	Fields  []string // of the index
	Bare    bool     // among them is one that a bare word is searched in
	Groups  []string // memberships in groups with these names, and in those above them
	Columns []query.Column
	Cause   string
}

// Apply holds a thing that changed against the rules that may have another answer now.
func (e *Engine) Apply(id uint32, c Change, nowMs int64) {
	e.asked.ClearAll()
	if c.All {
		e.ask(e.order)
	}
	for _, field := range c.Fields {
		e.ask(e.byField[field])
	}
	if c.Bare {
		e.ask(e.bare)
	}
	for _, name := range c.Groups {
		e.ask(e.whoName(index.Fold(name)))
	}
	d := e.read(id)
	if d == nil {
		return
	}
	for _, column := range c.Columns {
		e.askMoved(column, d)
	}
	e.settle(d, c.Cause, nowMs)
}

func (e *Engine) ask(rules []*rule) {
	for _, r := range rules {
		e.asked.Set(uint(r.rank))
	}
}

// whoName returns the rules that name a group.
func (e *Engine) whoName(folded string) []*rule {
	list, known := e.byGroup[folded]
	if known {
		return list
	}
	for _, r := range e.naming {
		if slices.ContainsFunc(r.groups(), func(m *index.Match) bool { return m.MatchesWord(folded) }) {
			list = append(list, r)
		}
	}
	e.byGroup[folded] = list
	return list
}

// settle holds a thing, if it is not gone, against the rules in asked, in order: what enters or leaves a group may ask more of them, which come later.
func (e *Engine) settle(d *reading, cause string, nowMs int64) {
	at, any := e.asked.NextSet(0)
	if !any || d == nil {
		return
	}
	id := d.id
	clear(e.because)
	for ; any; at, any = e.asked.NextSet(at + 1) {
		r := e.order[at]
		why := cause
		if followed, ok := e.because[r]; ok {
			why = followed
		}
		if !e.weigh(r, id, d, why, nowMs) {
			continue
		}
		d.Document = e.fleet.Document(id)
		why = "left " + r.Name
		if e.fleet.Has(r.Group, id) {
			why = "entered " + r.Name
		}
		for _, next := range e.whoName(r.folded) {
			if !e.asked.Test(uint(next.rank)) {
				e.asked.Set(uint(next.rank))
				e.because[next] = why
			}
		}
	}
}

// weigh decides whether a thing enters or leaves the group of a rule now, and notes when to ask again. It reports whether it did.
func (e *Engine) weigh(r *rule, id uint32, d query.Document, cause string, nowMs int64) bool {
	if !r.begun {
		r.missed.Set(uint(id))
		return false
	}
	in := e.fleet.Has(r.Group, id)
	wants, untilMs := r.wants(id, d, in, nowMs, &r.ifSeen)
	if wants == in {
		delete(r.sinceMs, id)
		e.plan(r, id, untilMs)
		return false
	}
	if after := r.after(in); after > 0 {
		since, waits := r.sinceMs[id]
		if !waits {
			since = nowMs
			r.sinceMs[id] = since
		}
		if enough := since + after.Milliseconds(); nowMs < enough {
			e.plan(r, id, min(untilMs, enough))
			return false
		}
	}
	delete(r.sinceMs, id)
	e.fleet.Set(r.Group, id, wants, cause)
	_, untilMs = r.wants(id, d, wants, nowMs, &r.ifSeen) // it is another question now
	e.plan(r, id, untilMs)
	return true
}

// wants says whether a thing that is in the group of a rule, or not, should be in it, and until when that holds. It notes in ifSeen whether that may
// change when the thing is seen.
func (r *rule) wants(id uint32, d query.Document, in bool, nowMs int64, ifSeen *bitset.BitSet) (wants bool, untilMs int64) {
	if r.Listed {
		return r.listed.Test(uint(id)), query.Never
	}
	untilMs = query.Never
	test := func(m *query.Matcher) bool {
		ok, until := m.Matches(d, nowMs)
		untilMs = min(untilMs, until)
		if r.seen {
			for _, ms := range []int64{nowMs, farMs} {
				if seen, _ := m.Matches(seenAt{d, ms}, nowMs); seen != ok {
					ifSeen.Set(uint(id))
				}
			}
		}
		return ok
	}
	if r.seen {
		ifSeen.Clear(uint(id))
	}
	switch {
	case r.Leave == nil:
		wants = test(r.Enter)
	case in:
		wants = !test(r.Leave)
	default:
		wants = test(r.Enter) && !test(r.Leave)
	}
	return wants, untilMs
}

// farMs is later than all times at which things are seen.
const farMs = 1 << 52

// seenAt is a document of a thing that was last seen at another time.
type seenAt struct {
	query.Document
	ms int64
}

func (d seenAt) Values(field string) []index.Value {
	if field == SeenField {
		return []index.Value{index.NewNumber(d.ms)}
	}
	return d.Document.Values(field)
}

// Unseen calls f with every thing whose memberships may change when it is seen.
func (e *Engine) Unseen(f func(id uint32)) {
	var all bitset.BitSet
	for _, r := range e.order {
		if r.seen {
			all.InPlaceUnion(&r.ifSeen)
		}
	}
	for id := range all.EachSet() {
		f(uint32(id))
	}
}

// Forget drops what is known of a thing that is gone.
func (e *Engine) Forget(id uint32) {
	for _, r := range e.order {
		delete(r.sinceMs, id)
		delete(r.plans.dueMs, id)
		if r.seen {
			r.ifSeen.Clear(uint(id))
		}
		if r.Listed {
			r.listed.Clear(uint(id))
		}
	}
}

// List says which things a Listed rule finds, and holds those that this changes against it.
func (e *Engine) List(group uint32, things *bitset.BitSet, cause string, nowMs int64) {
	r := e.rules[group]
	if r == nil || !r.Listed {
		return
	}
	changed := things.SymmetricDifference(&r.listed)
	r.listed = *things.Clone()
	for id := range changed.EachSet() {
		e.asked.ClearAll()
		e.asked.Set(uint(r.rank))
		e.settle(e.read(uint32(id)), cause, nowMs)
	}
}
