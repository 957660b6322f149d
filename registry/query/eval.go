package query

import (
	"context"
	"slices"
	"strings"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// step is a node of a query, ready to be evaluated: lists within lists of the same kind are one, and what costs little comes first.
type step struct {
	kind  stepKind
	parts []*step
	cost  int // 0 of a lookup, 1 of what walks a part of a field, 2 of what looks at every value, 3 of what compares all of them with an expression
	*Term     // of oneTerm
	looks []look
}

type stepKind uint8

const (
	allOf stepKind = iota
	anyOne
	noneOf
	oneTerm
)

// look is what a term looks for.
type look struct {
	match *index.Match // nil: a range from or to a time
	what  string       // form of the term without its field; "": its answers are not kept
}

// The looks of a bare word as people type it.
const (
	lookWhole = iota
	lookBegin
	lookInside
)

// stepOf makes the steps of a node whose terms are prepared.
func (q *Query) stepOf(n Node) *step {
	switch n := n.(type) {
	case And:
		return q.listOf(allOf, n)
	case Or:
		return q.listOf(anyOne, n)
	case Not:
		inner := q.stepOf(n.Node)
		return &step{kind: noneOf, parts: []*step{inner}, cost: inner.cost}
	case *Term:
		return q.termOf(n)
	}
	panic("BUG: not a node")
}

func (q *Query) listOf(kind stepKind, nodes []Node) *step {
	s := &step{kind: kind}
	for _, n := range nodes {
		if part := q.stepOf(n); part.kind == kind {
			s.parts = append(s.parts, part.parts...)
		} else {
			s.parts = append(s.parts, part)
		}
	}
	for _, part := range s.parts {
		s.cost = max(s.cost, part.cost)
	}
	slices.SortStableFunc(s.parts, func(a, b *step) int { return a.cost - b.cost })
	return s
}

func (q *Query) termOf(t *Term) *step {
	s := &step{kind: oneTerm, Term: t, cost: q.costOf(t)}
	if _, ok := columnOf(t.Field); ok {
		return s
	}
	s.looks = append(s.looks, look{match: q.match[t]})
	if s.looks[0].match == nil {
		return s
	}
	what := formOf(t)
	s.looks[0].what = what
	if q.isTypedWord(t) {
		s.looks = append(s.looks, look{index.Prefix(t.Text), "b" + what}, look{index.Contains(t.Text), "i" + what})
	}
	return s
}

// formOf returns what tells a term from all others in the same field.
func formOf(t *Term) string {
	kind := string('0' + rune(t.Kind))
	if t.Kind != Range {
		return kind + t.Text
	}
	form := func(b Bound) string { return string('0'+rune(2*bit(b.Quoted)+bit(b.Open))) + b.Text }
	return kind + form(t.Lo) + "\x00" + form(t.Hi) // no query has that character
}

// isTypedWord says whether a term is a bare word as people type it.
func (q *Query) isTypedWord(t *Term) bool {
	return t.Field == "" && q.typed && t.Kind == Word && !hasWildcard(t.Text)
}

func (q *Query) costOf(t *Term) int {
	_, live := columnOf(t.Field)
	switch {
	case live || t.Kind == Exists:
		return 0
	case t.Kind == Regex:
		return 3
	case q.isTypedWord(t):
		return 2
	case t.Kind == Word && hasWildcard(t.Text[:1]):
		return 2
	case t.Kind == Range || hasWildcard(t.Text):
		return 1
	}
	return 0
}

// Run returns the things of an index that match. cache is the index's own, nil for none; the caller owns the set, and may give it back with
// Cache.Release. The error is ctx's.
func (p *Plan) Run(ctx context.Context, x *index.Index, cache *Cache) (*bitset.BitSet, error) {
	r := run{Plan: p, ctx: ctx, index: x, cache: cache}
	f, err := r.eval(p.query.first)
	if err != nil {
		return nil, err
	}
	return r.own(f).bits, nil
}

// run is one evaluation.
type run struct {
	*Plan
	ctx   context.Context
	index *index.Index
	cache *Cache
	bare  []string       // fields of bare words, once they were asked for
	seen  work           // of the last term
	among *bitset.BitSet // the only things that still matter; nil: all
}

// work is what was looked at for a term.
type work struct{ fields, values int }

// found is a set of things. One that is shared is somebody else's and must not be changed.
type found struct {
	bits   *bitset.BitSet
	shared bool
}

func (r *run) newSet() found { return found{bits: r.cache.newSet(r.index.Live().Len())} }

// drop gives a set back that is needed no more.
func (r *run) drop(f found) {
	if !f.shared {
		r.cache.Release(f.bits)
	}
}

// own returns a set that may be changed.
func (r *run) own(f found) found {
	if !f.shared {
		return f
	}
	mine := r.newSet()
	mine.bits.InPlaceUnion(f.bits)
	return mine
}

// eval evaluates a step. What the set has of things that are not in among means nothing.
func (r *run) eval(s *step) (found, error) {
	switch s.kind {
	case allOf:
		return r.all(s.parts)
	case anyOne:
		return r.any(s.parts)
	case noneOf:
		f, err := r.eval(s.parts[0])
		if err != nil {
			return found{}, err
		}
		rest := r.own(found{r.index.Live(), true})
		rest.bits.InPlaceDifference(f.bits)
		r.drop(f)
		return rest, nil
	}
	return r.term(s)
}

// any evaluates the cheap parts first, and the others for the things that are still missing.
func (r *run) any(parts []*step) (sum found, err error) {
	outer := r.among
	defer func() { r.among = outer }()
	for i, part := range parts {
		missing := found{}
		if i > 0 && part.cost > 0 {
			missing = found{r.index.Live(), true}
			if outer != nil {
				missing.bits = outer
			}
			missing = r.own(missing)
			missing.bits.InPlaceDifference(sum.bits)
			if missing.bits.None() {
				r.drop(missing)
				break
			}
			r.among = missing.bits
		}
		f, err := r.eval(part)
		if err != nil {
			return found{}, err
		}
		if missing.bits != nil {
			r.among = outer
			r.drop(missing)
		}
		switch {
		case i == 0:
			sum = f
			continue
		case sum.shared && !f.shared:
			sum, f = f, sum
		case sum.shared:
			sum = r.own(sum)
		}
		sum.bits.InPlaceUnion(f.bits)
		r.drop(f)
	}
	return sum, nil
}

// all evaluates the cheap parts first and stops when nothing is left.
func (r *run) all(parts []*step) (rest found, err error) {
	outer := r.among
	defer func() { r.among = outer }()
	for i, part := range parts {
		if i > 0 {
			r.among = rest.bits
		}
		without := i > 0 && part.kind == noneOf
		if without {
			part = part.parts[0]
		}
		f, err := r.eval(part)
		if err != nil {
			return found{}, err
		}
		switch {
		case i == 0:
			rest = f
		case without:
			rest = r.own(rest)
			rest.bits.InPlaceDifference(f.bits)
			r.drop(f)
		default:
			if rest.shared && !f.shared {
				rest, f = f, rest
			}
			rest = r.own(rest)
			rest.bits.InPlaceIntersection(f.bits)
			r.drop(f)
		}
		if rest.bits.None() {
			break
		}
	}
	return rest, nil
}

// term evaluates a term.
func (r *run) term(s *step) (found, error) {
	r.seen = work{}
	switch {
	case r.telemetry[s.Term] != nil:
		set := r.own(found{r.index.Live(), true})
		set.bits.InPlaceIntersection(r.telemetry[s.Term])
		return set, nil
	case s.Field == "" && s.Kind == Exists:
		return found{r.index.Live(), true}, nil
	case s.Field != "":
		l := s.looks[lookWhole]
		if l.match == nil {
			var err error
			if l.match, err = matchOf(s.Term, r.nowMs); err != nil {
				return found{}, err
			}
		}
		f, err := r.look(FieldName(s.Field), l)
		if err == nil && f.bits == nil {
			f = r.newSet()
		}
		return f, err
	}
	sum := r.newSet()
	empty := true // as most fields of a bare word are
	for _, field := range r.bareFields() {
		l := s.looks[lookWhole]
		if len(s.looks) > 1 {
			switch field {
			case nameField:
				l = s.looks[lookInside]
			case idField:
			default:
				l = s.looks[lookBegin]
			}
		}
		f, err := r.look(field, l)
		switch {
		case err != nil:
			return found{}, err
		case f.bits == nil:
			continue
		case empty:
			r.drop(sum)
			sum, empty = r.own(f), false
			continue
		}
		sum.bits.InPlaceUnion(f.bits)
		r.drop(f)
	}
	return sum, nil
}

// look finds the things that match in a field. No bits are none, where that is known at once.
func (r *run) look(field string, l look) (found, error) {
	r.seen.fields++
	bits, search, changes := r.index.Lookup(field, l.match)
	if bits != nil {
		r.seen.values++
		return found{bits, true}, nil
	}
	among := r.among
	kept := r.cache != nil && search && l.what != ""
	q := question{field, l.what}
	if kept {
		a, ok, again := r.cache.get(q, changes)
		if ok {
			switch {
			case a.bits != nil:
				return found{a.bits, true}, nil
			case a.list.Count() == 0:
				return found{}, nil
			}
			set := r.newSet()
			a.list.AddTo(set.bits)
			return set, nil
		}
		if again { // all of it, then, for those who ask next
			among = nil
		}
	}
	set := r.newSet()
	n, err := r.index.Select(r.ctx, set.bits, field, l.match, among)
	if err != nil {
		return found{}, err
	}
	r.seen.values += n
	if kept {
		set.shared = r.keep(&answer{question: q, changes: changes, asked: among != nil}, set.bits)
	}
	return set, nil
}

// keep puts an answer into the cache. shared says that the cache has the set itself.
func (r *run) keep(a *answer, set *bitset.BitSet) (shared bool) {
	const listUnder = 32 // a bit of a set takes as much as a 32nd of an id
	switch {
	case a.asked:
	case int(set.Count())*listUnder > int(set.Len()):
		a.bits = set
	default:
		a.list = index.SetOf(set)
	}
	r.cache.put(a, int(r.index.Live().Len()))
	return a.bits != nil
}

// bareFields returns the fields that a bare word is searched in.
func (r *run) bareFields() []string {
	if r.bare == nil {
		r.bare = []string{}
		for _, field := range r.index.Fields() {
			if slices.Contains(bareFields, field) || strings.HasPrefix(field, attributesRoot) {
				r.bare = append(r.bare, field)
			}
		}
	}
	return r.bare
}
