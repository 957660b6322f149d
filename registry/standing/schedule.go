package standing

import (
	"container/heap"

	"muster/registry/query"
)

// schedule is a heap of times at which a thing is to be held against a rule again. A rule has the time that counts for each thing
// (rule.dueMs); other entries of the heap are skipped.
type schedule []appointment

type appointment struct {
	atMs int64
	rule *rule
	id   uint32
}

// plan notes when to hold a thing against a rule again. Looking too early costs a look, so that a time that moves away, as that of a thing which
// connects again and again does, needs no new entry.
func (e *Engine) plan(r *rule, id uint32, atMs int64) {
	if atMs == query.Never {
		return
	}
	if planned, ok := r.dueMs[id]; ok && planned <= atMs {
		return
	}
	r.dueMs[id] = atMs
	heap.Push(&e.due, appointment{atMs, r, id})
}

// Next returns the time of the next Due, query.Never if there is none.
func (e *Engine) Next() int64 {
	for len(e.due) > 0 {
		a := e.due[0]
		if at, ok := a.rule.dueMs[a.id]; ok && at == a.atMs && e.rules[a.rule.Group] == a.rule {
			return a.atMs
		}
		heap.Pop(&e.due)
	}
	return query.Never
}

// Due holds up to most things against the rules whose time has come, and reports whether there are more.
func (e *Engine) Due(nowMs int64, most int) (more bool) {
	for range most {
		if e.Next() > nowMs {
			return false
		}
		a := heap.Pop(&e.due).(appointment)
		delete(a.rule.dueMs, a.id)
		e.asked.ClearAll()
		e.asked.Set(uint(a.rule.rank))
		e.settle(a.id, "time passed", nowMs)
	}
	return e.Next() <= nowMs
}

// The methods of heap.Interface.

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].atMs < s[j].atMs }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *schedule) Push(x any) { *s = append(*s, x.(appointment)) }

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	(*s)[len(*s)-1] = appointment{}
	*s = (*s)[:len(*s)-1]
	return last
}
