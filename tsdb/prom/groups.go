package prom

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"muster/tsdb"
)

// A thing is in many groups, so `group` is not a label as others are. A matcher on it selects things by their memberships. A series shows
// a membership as the label `group`, and is there once for each, only where that was asked for: docs/queries.md has the rule,
// docs/decisions/0009-groups-in-promql.md why. Sources may have a label of that name; it is one as any other.

// groupLabel shows a group that a thing is in; attributes of that name get the prefix "attribute_".
const groupLabel = "group"

// Grouper is a Directory that knows the groups of things.
type Grouper interface {
	// AppendGroups appends the names of the groups that a thing is in, those above them included, each once.
	AppendGroups(dst []string, id tsdb.ThingID) []string
}

// groupUse says what becomes of `group` in what is around a selector.
type groupUse uint8

const (
	groupShown  groupUse = iota // shown where a matcher asks for it
	groupWanted                 // shown: something goes by it
	groupGone                   // taken away by what is around, so it is not shown
)

// selectorID names a selector by the place of its matchers.
type selectorID = *(*labels.Matcher)

// groupUses finds the selectors of expr for which `group` is of a use other than groupShown.
func groupUses(expr parser.Node, use groupUse, found map[selectorID]groupUse) {
	switch e := expr.(type) {
	case *parser.VectorSelector:
		if use != groupShown && len(e.LabelMatchers) > 0 {
			found[&e.LabelMatchers[0]] = use
		}
		return
	case *parser.AggregateExpr:
		named := slices.Contains(e.Grouping, groupLabel)
		switch {
		case e.Without && named || !e.Without && !named:
			use = groupGone
		case !e.Without:
			use = groupWanted
		}
	case *parser.BinaryExpr:
		if m := e.VectorMatching; m != nil {
			left, right := groupSides(e.Op, m, use)
			groupUses(e.LHS, left, found)
			groupUses(e.RHS, right, found)
			return
		}
	case *parser.Call:
		use = groupOfCall(e, use)
	}
	for child := range parser.ChildrenIter(expr) {
		groupUses(child, use, found)
	}
}

// groupSides returns the use of `group` for both sides of an operation between vectors.
func groupSides(op parser.ItemType, m *parser.VectorMatching, use groupUse) (left, right groupUse) {
	named := slices.Contains(m.MatchingLabels, groupLabel)
	if m.On && named {
		return groupWanted, groupWanted
	}
	if !m.On && !named {
		return use, use // they match by all labels
	}
	// What follows matches without it; then only the side that gives the result its labels may have it.
	one := groupGone
	if slices.Contains(m.Include, groupLabel) {
		one = groupWanted
	}
	switch {
	case op == parser.LOR:
		return use, use
	case m.Card == parser.CardManyToOne, op.IsSetOperator():
		return use, one
	case m.Card == parser.CardOneToMany:
		return one, use
	}
	return groupGone, groupGone
}

// groupOfCall is the use of `group` for the arguments of a function: one that reads the label wants it, one that writes it
// takes it away.
func groupOfCall(e *parser.Call, use groupUse) groupUse {
	read, written := 0, 0
	switch e.Func.Name {
	case "label_replace":
		read, written = 3, 1
	case "label_join":
		read, written = 3, 1
	case "sort_by_label", "sort_by_label_desc":
		read = 1
	default:
		return use
	}
	if read > 0 && slices.ContainsFunc(e.Args[min(read, len(e.Args)):], func(a parser.Expr) bool { return literal(a) == groupLabel }) {
		return groupWanted
	}
	if written > 0 && literal(e.Args[written]) == groupLabel {
		return groupGone
	}
	return use
}

// grouping is what a selection does with groups.
type grouping struct {
	matchers []*labels.Matcher
	shown    bool
}

// newGrouping says what becomes of the matchers on `group`, if use is that of the selector.
func newGrouping(matchers []*labels.Matcher, use groupUse) grouping {
	g := grouping{matchers: matchers, shown: use == groupWanted}
	if use == groupShown {
		g.shown = slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches("") })
	}
	return g
}

func isNegative(m *labels.Matcher) bool {
	return m.Type == labels.MatchNotEqual || m.Type == labels.MatchNotRegexp
}

// match says whether a thing with these memberships is selected: by = and =~ if one of them matches, by != and !~ if all do. A
// thing without any counts as one whose `group` is empty.
func (g *grouping) match(memberships []string) bool {
	for _, m := range g.matchers {
		matched := false
		switch {
		case len(memberships) == 0:
			matched = m.Matches("")
		case isNegative(m):
			matched = !slices.ContainsFunc(memberships, func(name string) bool { return !m.Matches(name) })
		default:
			matched = slices.ContainsFunc(memberships, m.Matches)
		}
		if !matched {
			return false
		}
	}
	return true
}

// appendRows appends the memberships that a selected thing shows, one series for each: those that a matcher with = or =~ names, all
// without such a matcher. "" is a series without `group`.
func (g *grouping) appendRows(dst []string, memberships []string) []string {
	if !g.shown || len(memberships) == 0 {
		return append(dst, "")
	}
	asked := slices.ContainsFunc(g.matchers, func(m *labels.Matcher) bool { return !isNegative(m) })
	for _, name := range memberships {
		if !asked || slices.ContainsFunc(g.matchers, func(m *labels.Matcher) bool { return !isNegative(m) && m.Matches(name) }) {
			dst = append(dst, name)
		}
	}
	return dst
}
