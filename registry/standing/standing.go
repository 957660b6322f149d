// Package standing keeps standing queries: rules that say which things belong to which group. When something of a thing changes, it finds
// the rules that the change may matter to and evaluates each for that thing alone; what changes with time alone is kept in a heap of
// times. Rules may name the groups of other rules: they are evaluated in an order in which every group comes after those that it names.
//
// An Engine is not safe for concurrent use: its owner, the registry, calls it with its locks held. It starts nothing and keeps no
// memberships: its Fleet does.
package standing

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
)

// Fleet is what the rules are about.
type Fleet interface {
	// Document returns a thing as it is now, nil if it is gone. It is used until the next call and sees what Set has done.
	Document(id uint32) query.Document
	// Has says whether a thing is a member of the group of a rule, Set makes it one or not. cause is a sentence without its full stop.
	Has(group, id uint32) bool
	Set(group, id uint32, in bool, cause string)
	// SetAll makes these things the members of the group of a rule, and no others, and returns those that entered or left. It keeps no reference.
	SetAll(group uint32, members *bitset.BitSet, cause string) (changed *bitset.BitSet)
}

// Rule says which things are members of a group.
type Rule struct {
	Group uint32 // id of the group
	Name  string // of the group
	Enter *query.Matcher
	// Leave is what a member must match to leave; nil: it leaves when it no longer matches Enter. What matches both does not enter.
	Leave *query.Matcher
	// How long a thing must match without a break before it enters, or leaves.
	EnterAfter, LeaveAfter time.Duration
	// Listed is set, instead of Enter, of a rule whose things are found elsewhere (Engine.List).
	Listed bool
}

// rule is a Rule in the engine.
type rule struct {
	Rule
	folded  string
	rank    int              // place in Engine.order
	sinceMs map[uint32]int64 // since when a thing asks to enter or leave, where that takes some time
	plans   plans            // when to look at things again
	turnMs  int64            // the time that the schedule has of the rule
	listed  bitset.BitSet    // of a rule with Listed
	begun   bool             // Begin was called: its members are kept up to date
	missed  bitset.BitSet    // until then: things that would have been looked at
	seen    bool             // it asks when things were last seen
	ifSeen  bitset.BitSet    // things whose answer may change when they are seen
}

// Engine keeps rules.
type Engine struct {
	fleet  Fleet
	rules  map[uint32]*rule // by group
	byName map[string][]*rule
	order  []*rule // those that are named before those that name them

	byField  map[string][]*rule
	byColumn map[query.Column]*column
	byGroup  map[string][]*rule // who names a group, by its folded name; filled when it is asked for
	bare     []*rule
	naming   []*rule // all who name groups

	due     schedule
	reading reading          // of the thing at hand
	asked   bitset.BitSet    // ranks of the rules that it is to be held against
	because map[*rule]string // why, of those that follow from another rule
}

// New returns an engine without rules.
func New(fleet Fleet) *Engine {
	e := &Engine{fleet: fleet, rules: map[uint32]*rule{}, byName: map[string][]*rule{}, because: map[*rule]string{}}
	e.reindex()
	return e
}

// Check returns why a rule cannot be put: its group would depend on itself.
func (e *Engine) Check(r Rule) error {
	added := &rule{Rule: r, folded: index.Fold(r.Name)}
	names := map[string][]*rule{added.folded: {added}}
	for name, list := range e.byName {
		for _, other := range list {
			if other.Group != r.Group {
				names[name] = append(names[name], other)
			}
		}
	}
	path := []*rule{added}
	visited := map[*rule]bool{}
	var back func(from *rule) bool
	back = func(from *rule) bool {
		for _, next := range dependsOn(from, names) {
			if next == added {
				return true
			}
			if visited[next] {
				continue
			}
			visited[next] = true
			path = append(path, next)
			if back(next) {
				return true
			}
			path = path[:len(path)-1]
		}
		return false
	}
	if !back(added) {
		return nil
	}
	var words []string
	for _, r := range append(path, added) {
		words = append(words, r.Name)
	}
	return fmt.Errorf("the members of %q would depend on themselves: %s; take one of these out of the query, and name fields where bare words stand",
		r.Name, strings.Join(words, " -> "))
}

// dependsOn returns the rules whose groups a rule names.
func dependsOn(r *rule, names map[string][]*rule) (list []*rule) {
	for _, m := range r.groups() {
		if word, ok := m.Exact(); ok {
			list = append(list, names[word]...)
			continue
		}
		for name, rules := range names {
			if m.MatchesWord(name) {
				list = append(list, rules...)
			}
		}
	}
	return list
}

// matchers returns the queries of a rule.
func (r *Rule) matchers() []*query.Matcher {
	switch {
	case r.Enter == nil:
		return nil
	case r.Leave == nil:
		return []*query.Matcher{r.Enter}
	}
	return []*query.Matcher{r.Enter, r.Leave}
}

func (r *Rule) groups() (list []*index.Match) {
	for _, m := range r.matchers() {
		list = append(list, m.Needs().Groups...)
	}
	return list
}

// Put adds rules, or replaces those of their groups. Check must have allowed them. Members stay as they are until Begin.
func (e *Engine) Put(rules ...Rule) {
	for _, r := range rules {
		e.drop(r.Group)
		added := &rule{Rule: r, folded: index.Fold(r.Name), sinceMs: map[uint32]int64{}, plans: newPlans(), turnMs: query.Never}
		e.rules[r.Group] = added
		e.byName[added.folded] = append(e.byName[added.folded], added)
	}
	e.reindex()
}

// Remove forgets the rule of a group, if it has one.
func (e *Engine) Remove(group uint32) {
	if e.drop(group) {
		e.reindex()
	}
}

func (e *Engine) drop(group uint32) bool {
	old := e.rules[group]
	if old == nil {
		return false
	}
	delete(e.rules, group)
	if list := slices.DeleteFunc(e.byName[old.folded], func(r *rule) bool { return r == old }); len(list) > 0 {
		e.byName[old.folded] = list
	} else {
		delete(e.byName, old.folded)
	}
	return true
}

// reindex makes everything that follows from the rules.
func (e *Engine) reindex() {
	e.order = e.order[:0]
	e.byField, e.byColumn, e.byGroup = map[string][]*rule{}, map[query.Column]*column{}, map[string][]*rule{}
	e.bare, e.naming = nil, nil
	placed := map[*rule]bool{}
	var place func(r *rule)
	place = func(r *rule) {
		if placed[r] {
			return
		}
		placed[r] = true
		for _, below := range dependsOn(r, e.byName) {
			place(below)
		}
		r.rank = len(e.order)
		e.order = append(e.order, r)
	}
	ids := make([]uint32, 0, len(e.rules))
	for id := range e.rules {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r := e.rules[id]
		place(r)
		bare, names := false, false
		for _, m := range r.matchers() {
			n := m.Needs()
			for _, field := range n.Fields {
				e.byField[field] = appendOnce(e.byField[field], r)
				r.seen = r.seen || field == SeenField
			}
			for _, c := range n.Columns {
				if e.byColumn[c.Column] == nil {
					e.byColumn[c.Column] = &column{}
				}
				of := e.byColumn[c.Column]
				of.rules = appendOnce(of.rules, r)
			}
			bare, names = bare || n.Bare, names || len(n.Groups) > 0
		}
		if bare {
			e.bare = append(e.bare, r)
		}
		if names {
			e.naming = append(e.naming, r)
		}
	}
}

func appendOnce(list []*rule, r *rule) []*rule {
	if len(list) > 0 && list[len(list)-1] == r {
		return list
	}
	return append(list, r)
}

// Thresholds returns what is to be known of telemetry: each column once.
func (e *Engine) Thresholds() []query.Threshold {
	byColumn := map[query.Column]*query.Threshold{}
	for _, r := range e.order {
		for _, m := range r.matchers() {
			for _, need := range m.Needs().Columns {
				t := byColumn[need.Column]
				if t == nil {
					t = &query.Threshold{Column: need.Column}
					byColumn[need.Column] = t
				}
				t.Bounds, t.Any = append(t.Bounds, need.Bounds...), t.Any || need.Any
			}
		}
	}
	list := make([]query.Threshold, 0, len(byColumn))
	for _, t := range byColumn {
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b query.Threshold) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// Len returns the number of rules.
func (e *Engine) Len() int { return len(e.rules) }

// Waits says whether a rule names the group of another one that has not begun, so that its answer cannot be known yet.
func (e *Engine) Waits(group uint32) bool {
	return slices.ContainsFunc(dependsOn(e.rules[group], e.byName), func(r *rule) bool { return !r.begun })
}

// Names says whether a rule asks for a group of that name.
func (e *Engine) Names(group string) bool { return len(e.whoName(index.Fold(group))) > 0 }

// Each calls f for all rules, those that are named before those that name them.
func (e *Engine) Each(f func(Rule)) {
	for _, r := range e.order {
		f(r.Rule)
	}
}

// Timed says whether any membership may change with time alone, or by being seen.
func (e *Engine) Timed() bool {
	return e.Next() != query.Never || slices.ContainsFunc(e.order, func(r *rule) bool { return r.seen })
}
