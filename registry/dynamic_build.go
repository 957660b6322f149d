package registry

import (
	"context"
	"runtime"
	"slices"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
	"muster/registry/standing"
)

const (
	// buildChunk is how many things are held against a query under one read lock, so that writes wait little for it.
	buildChunk = 512
	// While things are held against a query others change. When these are at most missedAtOnce, they are looked at within the change that makes
	// the group active; after buildRounds however many there are.
	missedAtOnce = 128
	buildRounds  = 8
)

// build makes the members of the groups that have none yet what their queries say, as far as that can be known now. Fleet is not locked for writing
// but for a moment before and after the work on each group; what changes meanwhile is made up for. cause is for the listeners, of groups
// that were not made or changed just now.
func (r *Registry) build(cause string) {
	r.dynamic.building.Lock()
	defer r.dynamic.building.Unlock()
	for _, group := range r.waiting() {
		r.buildOne(group, cause)
	}
	r.wakeWriter()
}

// buildAll is build of a registry that nobody else knows yet: which groups each thing is in follows from the members at once.
func (r *Registry) buildAll(cause string) {
	r.dynamic.starting = true
	for _, group := range r.waiting() {
		if d := r.dynamic.engine.Draft(group); d != nil && !d.Timed() {
			r.buildOne(group, cause)
		}
	}
	r.dynamic.starting = false
	r.loadMemberOf()
	r.build(cause) // the others look at things with their groups
}

// loadMemberOf makes memberOf of the members of all groups. Without groups it takes no memory.
func (r *Registry) loadMemberOf() {
	if len(r.groups.order) == 0 {
		return
	}
	const some = 4096 // things at a time, whose groups fit in a cache
	things := uint32(len(r.byID))
	r.memberOf = make([]index.Set, things)
	groups := make([][]uint32, some)
	var ids []uint32
	for from := uint32(0); from < things; from += some {
		to := min(from+some, things)
		for _, g := range r.groups.byID {
			if g == nil {
				continue
			}
			ids = g.members.AppendRange(ids[:0], from, to)
			for _, id := range ids {
				groups[id-from] = append(groups[id-from], g.id)
			}
		}
		for i, list := range groups[:to-from] {
			if len(list) > 0 {
				r.memberOf[from+uint32(i)] = index.SetOfList(list)
				groups[i] = list[:0]
			}
		}
	}
}

// waiting returns the dynamic groups without members, but for those over PromQL, those that are named before those that name them.
func (r *Registry) waiting() (list []uint32) {
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	r.dynamic.engine.Each(func(rule standing.Rule) {
		if r.groups.at(rule.Group).status != Active && !rule.Listed {
			list = append(list, rule.Group)
		}
	})
	return list
}

func (r *Registry) buildOne(group uint32, cause string) {
	y := &r.dynamic
	r.fleet.Lock()
	d := y.engine.Draft(group)
	known := d != nil && r.knowable(d.Rule())
	beganMs := r.nowMs()
	r.fleet.Unlock()
	if !known {
		return // whoever makes it known comes back
	}
	todo := r.find(d)
	r.replay(d)
	for range buildRounds {
		r.weigh(d, todo)
		r.fleet.Lock()
		missed, gone := y.engine.Missed(d)
		r.fleet.Unlock()
		if gone {
			return
		}
		if todo = missed; todo.Count() <= missedAtOnce {
			break
		}
	}
	r.weigh(d, todo)
	r.change(func() {
		y.settling, y.nowMs = true, r.nowMs()
		if why := y.why[group]; why != "" {
			cause = why
		}
		if y.engine.Begin(d, r.index.Live(), cause, y.nowMs) {
			r.setStatus(r.groups.at(group), Active)
			delete(y.why, group)
		}
		y.seenSinceMs = min(y.seenSinceMs, beganMs)
	})
}

// knowable says whether everything is there that a rule asks for. The caller holds fleet.
func (r *Registry) knowable(rule standing.Rule) bool {
	y := &r.dynamic
	for _, need := range needsOf(rule) {
		if w := y.windows[need.Column]; y.live == nil || need.Func != query.LastValue && (w == nil || !w.filled) {
			return false
		}
	}
	return !y.engine.Waits(rule.Group)
}

// needsOf returns the columns of telemetry that a rule asks for.
func needsOf(rule standing.Rule) (list []query.Threshold) {
	for _, m := range []*query.Matcher{rule.Enter, rule.Leave} {
		if m != nil {
			list = append(list, m.Needs().Columns...)
		}
	}
	return list
}

// find takes the members of a draft from the index, and returns the things that are to be weighed one by one: all where answers have a time until
// which they hold, and where the values of windows are at hand, which the index would read again.
func (r *Registry) find(d *standing.Draft) (todo *bitset.BitSet) {
	rule := d.Rule()
	windows := slices.ContainsFunc(needsOf(rule), func(t query.Threshold) bool { return t.Func != query.LastValue })
	if d.Timed() || windows {
		r.fleet.RLock()
		defer r.fleet.RUnlock()
		return r.index.Live().Clone()
	}
	var leave *bitset.BitSet
	if rule.Leave != nil {
		leave = r.matching(rule.Leave)
	}
	d.Take(r.matching(rule.Enter), leave)
	return new(bitset.BitSet)
}

// matching returns the things that match.
func (r *Registry) matching(m *query.Matcher) (set *bitset.BitSet) {
	r.fleet.RLock()
	live := r.dynamic.live
	r.fleet.RUnlock()
	// Both of these end with an error only when their context does, or when telemetry is asked for that is not there.
	p, err := m.Query().Plan(context.Background(), r.nowMs(), live)
	if err == nil {
		r.fleet.RLock()
		defer r.fleet.RUnlock()
		set, err = p.Run(context.Background(), r.index, r.answers)
	}
	if err != nil {
		panic("BUG: a standing query cannot be answered: " + err.Error())
	}
	return set
}

// weigh holds things against the queries of a draft, some at a time.
func (r *Registry) weigh(d *standing.Draft, todo *bitset.BitSet) {
	doc := document{r: r}
	for id, more := todo.NextSet(0); more; {
		r.fleet.RLock()
		for nowMs, n := r.nowMs(), 0; more && n < buildChunk; n++ {
			if rec := r.byID[id]; rec != nil {
				doc.reset(rec, nowMs)
				d.Weigh(uint32(id), &doc, nowMs)
			} else {
				d.Weigh(uint32(id), nil, nowMs)
			}
			id, more = todo.NextSet(id + 1)
		}
		r.fleet.RUnlock()
		runtime.Gosched() // who waits for the lock, or for a processor, goes first
	}
}
