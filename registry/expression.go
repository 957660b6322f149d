package registry

import (
	"context"
	"time"

	"github.com/bits-and-blooms/bitset"
)

// Expressions evaluates PromQL for dynamic groups.
type Expressions interface {
	// Things returns the things of the series of an instant query, in any order. An error is a sentence about the expression or the gateway.
	Things(ctx context.Context, expression string) ([]uint32, error)
}

// FollowExpressions lets PromQL define groups. It is called once.
func (r *Registry) FollowExpressions(e Expressions) {
	r.fleet.Lock()
	r.dynamic.expressions = e
	r.fleet.Unlock()
	select {
	case <-r.unfollow:
	default:
		r.followers.Add(1)
		go r.evaluate(e)
	}
}

// expressionTime bounds one evaluation.
const expressionTime = 10 * time.Second

// asked is a group over PromQL, as evaluate knows it.
type asked struct {
	definition *Dynamic
	expression string
	every      time.Duration
	next       time.Time
}

// evaluate is the goroutine that evaluates the groups over PromQL, one after the other, from FollowExpressions to StopFollowing. A group is evaluated at
// most every Definition.Every; one that takes longer makes all of them later, not more at once.
func (r *Registry) evaluate(e Expressions) {
	defer r.followers.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-r.unfollow
		cancel()
	}()
	known := map[uint32]*asked{}
	for {
		r.listExpressions(known)
		for id, a := range known {
			if now := r.opts.Clock.Now(); !a.next.After(now) {
				a.next = now.Add(a.every)
				r.evaluateOne(ctx, e, id, a)
			}
		}
		select {
		case <-r.unfollow:
			return
		case <-r.opts.Clock.After(followEvery):
		}
	}
}

// listExpressions brings known up to date.
func (r *Registry) listExpressions(known map[uint32]*asked) {
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	for id, a := range known {
		if g := r.groups.at(id); g == nil || g.dynamic != a.definition {
			delete(known, id)
		}
	}
	for _, g := range r.groups.order {
		if g.dynamic == nil || known[g.id] != nil {
			continue
		}
		if d := g.dynamic.Definition(); d.listed() {
			a := &asked{definition: g.dynamic, every: d.Every}
			if a.every == 0 {
				a.every = DefaultEvery
			}
			a.expression, _ = d.Expression()
			known[g.id] = a
		}
	}
}

func (d Definition) listed() bool {
	_, ok := d.Expression()
	return ok
}

// evaluateOne brings the members of a group to what its expression finds now. After an error they stay as they are.
func (r *Registry) evaluateOne(ctx context.Context, e Expressions, id uint32, a *asked) {
	ctx, cancel := context.WithTimeout(ctx, expressionTime)
	defer cancel()
	ids, err := e.Things(ctx, a.expression)
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	set := new(bitset.BitSet)
	for _, id := range ids {
		set.Set(uint(id))
	}
	r.change(func() {
		g := r.groups.at(id)
		if g == nil || g.dynamic != a.definition {
			return
		}
		if err != nil {
			if r.dynamic.problems[id] == "" {
				r.opts.Log.Warn("the PromQL of a dynamic group cannot be evaluated; its members stay as they are", "group", g.name, "err", err)
			}
			r.dynamic.problems[id] = err.Error()
			return
		}
		delete(r.dynamic.problems, id)
		r.delta.listed = append(r.delta.listed, listing{g, set})
	})
	r.build("the PromQL of a group was evaluated") // others may name this one
}

// listing is what an expression found for a group.
type listing struct {
	group *groupRecord
	set   *bitset.BitSet
}

// settleListing makes the things that an expression found the members of its group, after EnterAfter and LeaveAfter, but for the first
// time, which takes them as they are.
func (r *Registry) settleListing(l listing) {
	y := &r.dynamic
	if l.group.status == Active {
		y.engine.List(l.group.id, l.set, "the PromQL was evaluated", y.nowMs)
		return
	}
	d := y.engine.Draft(l.group.id)
	d.Take(l.set, nil)
	y.engine.Begin(d, r.index.Live(), "the PromQL was evaluated", y.nowMs)
	r.setStatus(l.group, Active)
	delete(y.why, l.group.id)
}

// GroupProblem returns why the members of a dynamic group may be old, "" if they are not.
func (r *Registry) GroupProblem(name string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.groups.byName[name]; g != nil {
		return r.dynamic.problems[g.id]
	}
	return ""
}
