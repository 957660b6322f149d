package standing

import (
	"container/heap"

	"muster/registry/query"
)

// schedule is the heap of the rules that look at a thing again at some time, by the first time that each has; an entry that says another time than
// the rule has now is skipped.
type schedule []turn

type turn struct {
	atMs int64
	rule *rule
}

// plans is the heap of times at which things are to be held against one rule again, with the time that counts for each thing; other entries are skipped.
type plans struct {
	heap  appointments
	dueMs map[uint32]int64 // by thing
}

type appointments []appointment

type appointment struct {
	atMs int64
	id   uint32
}

func newPlans() plans { return plans{dueMs: map[uint32]int64{}} }

// add notes a time for a thing. Looking too early costs a look, so that a time that moves away, as that of a thing which connects again and again
// does, needs no new entry.
func (p *plans) add(id uint32, atMs int64) {
	if atMs == query.Never {
		return
	}
	if planned, ok := p.dueMs[id]; ok && planned <= atMs {
		return
	}
	p.dueMs[id] = atMs
	heap.Push(&p.heap, appointment{atMs, id})
}

// next returns the first time, query.Never if there is none.
func (p *plans) next() int64 {
	for len(p.heap) > 0 {
		a := p.heap[0]
		if at, ok := p.dueMs[a.id]; ok && at == a.atMs {
			return a.atMs
		}
		heap.Pop(&p.heap)
	}
	return query.Never
}

// take returns the thing of the first time, of which next has said that there is one.
func (p *plans) take() (id uint32) {
	id = heap.Pop(&p.heap).(appointment).id
	delete(p.dueMs, id)
	return id
}

// plan notes when to hold a thing against a rule again.
func (e *Engine) plan(r *rule, id uint32, atMs int64) {
	r.plans.add(id, atMs)
	e.takeTurn(r)
}

// takeTurn sees to it that the schedule has the first time of a rule.
func (e *Engine) takeTurn(r *rule) {
	if at := r.plans.next(); at < r.turnMs {
		r.turnMs = at
		heap.Push(&e.due, turn{at, r})
	}
}

// Next returns the time of the next Due, query.Never if there is none.
func (e *Engine) Next() int64 {
	for len(e.due) > 0 {
		t := e.due[0]
		if e.rules[t.rule.Group] == t.rule && t.rule.turnMs == t.atMs {
			if t.rule.plans.next() == t.atMs {
				return t.atMs
			}
			t.rule.turnMs = query.Never
		}
		heap.Pop(&e.due)
		if e.rules[t.rule.Group] == t.rule {
			e.takeTurn(t.rule)
		}
	}
	return query.Never
}

// Due holds up to most things against the rules whose time has come, and reports whether there are more.
func (e *Engine) Due(nowMs int64, most int) (more bool) {
	for range most {
		if e.Next() > nowMs {
			return false
		}
		r := e.due[0].rule
		id := r.plans.take()
		e.asked.ClearAll()
		e.asked.Set(uint(r.rank))
		e.settle(e.read(id), "time passed", nowMs)
	}
	return e.Next() <= nowMs
}

// The methods of heap.Interface.

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].atMs < s[j].atMs }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *schedule) Push(x any) { *s = append(*s, x.(turn)) }

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	(*s)[len(*s)-1] = turn{}
	*s = (*s)[:len(*s)-1]
	return last
}

func (s appointments) Len() int           { return len(s) }
func (s appointments) Less(i, j int) bool { return s[i].atMs < s[j].atMs }
func (s appointments) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *appointments) Push(x any) { *s = append(*s, x.(appointment)) }

// Pop implements heap.Interface.
func (s *appointments) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}
