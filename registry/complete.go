package registry

import (
	"slices"
	"strings"

	"muster/registry/index"
	"muster/registry/query"
)

// Suggestion is what may stand at a place in a query.
type Suggestion struct {
	Text   string // to be put there, with its escapes and quotes
	Kind   string // "field", "value", "group" or "keyword"
	Things int    // that have it; -1: not counted
}

// Completion is what may stand at a place in a query, best first, and which characters it takes the place of.
type Completion struct {
	From, To    int
	Suggestions []Suggestion
}

// MaxSuggestions bounds a Completion.
const MaxSuggestions = 100

// maxFieldsSuggested bounds the fields that are looked at.
const maxFieldsSuggested = 20_000

// Complete says what may stand at a place (in characters from 0) in a query. columns are the names of the columns of telemetry.
func (r *Registry) Complete(text string, at, limit int, columns []string) Completion {
	p := query.PlaceAt(text, at)
	out := Completion{From: p.From, To: p.To, Suggestions: []Suggestion{}}
	limit = min(limit, MaxSuggestions)
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	switch {
	case p.Number:
	case p.Field != "":
		out.Suggestions = r.suggestValues(query.FieldName(p.Field), p.Prefix, limit)
	default:
		out.Suggestions = r.suggestFields(p, columns, limit)
	}
	if out.Suggestions == nil {
		out.Suggestions = []Suggestion{}
	}
	return out
}

func (r *Registry) suggestValues(field, prefix string, limit int) (list []Suggestion) {
	if field == fieldInGroup || field == fieldGroups {
		folded := index.Fold(prefix)
		for _, g := range r.groups.order {
			if strings.HasPrefix(g.folded, folded) {
				list = append(list, Suggestion{query.Quote(g.name), "group", g.members.Count()})
			}
		}
		slices.SortStableFunc(list, func(a, b Suggestion) int { return b.Things - a.Things })
		return list[:min(len(list), limit)]
	}
	if strings.HasPrefix(field, "telemetry.") {
		for _, value := range []string{"*", "true", "false"} {
			if strings.HasPrefix(value, prefix) {
				list = append(list, Suggestion{value, "value", -1})
			}
		}
		return list
	}
	for _, b := range r.index.Suggest(field, prefix, limit) {
		list = append(list, Suggestion{query.Quote(r.spelling(b.First, field, b.Value)), "value", b.Things})
	}
	if prefix == "" && len(list) > 0 && len(list) < limit {
		list = append(list, Suggestion{"*", "value", r.index.Count(field)})
	}
	return list
}

func (r *Registry) suggestFields(p query.Place, columns []string, limit int) (list []Suggestion) {
	folded := index.Fold(p.Prefix)
	seen := map[string]bool{}
	looked := 0
	add := func(field string, things int) {
		if looked++; seen[field] || looked > maxFieldsSuggested || !strings.Contains(index.Fold(field), folded) {
			return
		}
		seen[field] = true
		list = append(list, Suggestion{query.QuoteField(field) + ":", "field", things})
	}
	all := int(r.index.Live().Count())
	for _, field := range r.index.Fields() {
		add(field, r.index.Count(field))
	}
	for _, field := range []string{fieldVersion, fieldCreated, fieldUpdated} {
		add(field, all)
	}
	for _, field := range []string{fieldTimestamp, fieldLastSeen} {
		add(field, r.index.Count(fieldConnected))
	}
	if len(r.groups.order) > 0 {
		add(fieldInGroup, r.index.Count(fieldGroups))
	}
	for _, column := range columns {
		add("telemetry."+column, -1)
	}
	// What begins so first, or behind a dot; then what most things have.
	rank := func(s Suggestion) int {
		text := index.Fold(s.Text)
		switch {
		case strings.HasPrefix(text, folded):
			return 0
		case strings.Contains(text, "."+folded):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b Suggestion) int {
		if n := rank(a) - rank(b); n != 0 {
			return n
		}
		return b.Things - a.Things
	})
	words := []string{"NOT"}
	if p.AfterTerm {
		words = []string{"AND", "OR", "NOT"}
	}
	for i, word := range words {
		if p.Prefix != "" && strings.HasPrefix(word, strings.ToUpper(p.Prefix)) || p.Prefix == "" && p.AfterTerm {
			list = slices.Insert(list, min(i, len(list)), Suggestion{word + " ", "keyword", -1})
		}
	}
	return list[:min(len(list), limit)]
}
