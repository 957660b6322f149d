package policy

import (
	"slices"
)

// Decision is the outcome of an evaluation.
type Decision uint8

// The decisions, from the weakest to the strongest.
const (
	ImplicitDeny Decision = iota // no statement allows it
	Allowed
	ExplicitDeny
)

// String returns the decision as AWS spells it.
func (d Decision) String() string { return [...]string{"IMPLICIT_DENY", "ALLOWED", "EXPLICIT_DENY"}[d] }

// Match is a statement that speaks of a request.
type Match struct {
	Policy    int    // place in what was given to Compile
	Statement int    // place in the document, from 0
	Sid       string // may be empty
	Deny      bool
}

// Explanation says how a decision came about.
type Explanation struct {
	Decision Decision
	Matches  []Match // all statements whose action, resource and conditions fit
	// Missing are the keys that statements for this action use and that this connection has no usable value for, sorted.
	Missing []string
}

// Explain evaluates a request as Connect, Publish, Subscribe and Receive do, and says why. vars are those that were
// given to Compile.
func (r *Rights) Explain(a Action, name string, vars Vars) Explanation {
	var e Explanation
	c := classOf(a)
	ok := true
	if a == Subscribe {
		name, ok = innerFilter(name)
	}
	for i := range r.bound {
		b := &r.bound[i]
		for j := range b.policy.statements {
			s := &b.policy.statements[j]
			if s.actions&a == 0 {
				continue
			}
			e.addMissing(b, s, c, &vars)
			if !ok || b.isOff(j) || !s.covers(c, name, b.values) || !r.inTime(s) {
				continue
			}
			e.Matches = append(e.Matches, Match{Policy: i, Statement: j, Sid: s.sid, Deny: s.deny})
			if s.deny {
				e.Decision = ExplicitDeny
			} else {
				e.Decision = max(e.Decision, Allowed)
			}
		}
	}
	slices.Sort(e.Missing)
	e.Missing = slices.Compact(e.Missing)
	return e
}

// addMissing notes the keys of a statement that have no usable value.
func (e *Explanation) addMissing(b *bound, s *statement, c class, vars *Vars) {
	note := func(p pattern) {
		for _, t := range p {
			if t.kind == variable && !b.values[t.index].usable(s.deny) {
				e.Missing = append(e.Missing, b.policy.variables[t.index])
			}
		}
	}
	for _, p := range s.resources[c] {
		note(p)
	}
	for _, condition := range slices.Concat(s.conditions, s.timed) {
		for _, p := range condition.texts {
			note(p)
		}
		if condition.test != null && len(vars.keyValues(condition.key)) == 0 {
			e.Missing = append(e.Missing, condition.key)
		}
	}
}
