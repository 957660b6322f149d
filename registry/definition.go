package registry

import (
	"encoding/json"
	"strings"
	"time"

	"muster/registry/query"
	"muster/registry/standing"
)

// Definition says which things are members of a dynamic group.
type Definition struct {
	// Query is a fleet query, or "promql:" and an instant query in PromQL whose series have a label thing.
	Query string
	// LeaveQuery is what a member must match to leave; "": it leaves when it no longer matches Query.
	LeaveQuery string
	// How long a thing must match without a break before it enters, or leaves. Whole seconds.
	EnterAfter, LeaveAfter time.Duration
	// Every is how often PromQL is evaluated; 0: DefaultEvery. Fleet queries have none: they are kept up to date.
	Every time.Duration
}

// Limits of a Definition.
const (
	MaxHold      = 30 * 24 * time.Hour // EnterAfter and LeaveAfter
	MinEvery     = time.Second
	MaxEvery     = 24 * time.Hour
	DefaultEvery = 10 * time.Second
)

// AWS IoT's index and version of the query language.
const (
	thingsIndex  = "AWS_Things"
	queryVersion = "2017-09-30"
)

const promqlRoot = "promql:"

// Expression returns the PromQL of a definition, false if it has none.
func (d Definition) Expression() (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(d.Query), promqlRoot)
	return strings.TrimSpace(rest), ok
}

// extra is the JSON in Dynamic.Extra: what AWS's fields cannot say.
type extra struct {
	LeaveQuery   string `json:"leaveQuery,omitempty"`
	EnterAfterMs int64  `json:"enterAfterMs,omitempty"`
	LeaveAfterMs int64  `json:"leaveAfterMs,omitempty"`
	EveryMs      int64  `json:"everyMs,omitempty"`
	// SinceMs is since when the group is defined so, where its members follow from what was before.
	SinceMs int64 `json:"sinceMs,omitempty"`
}

// dynamic returns a definition as a group keeps it from a time on.
func (d Definition) dynamic(sinceMs int64) *Dynamic {
	out := &Dynamic{Query: strings.Clone(d.Query), IndexName: thingsIndex, QueryVersion: queryVersion}
	x := extra{d.LeaveQuery, d.EnterAfter.Milliseconds(), d.LeaveAfter.Milliseconds(), d.Every.Milliseconds(), 0}
	if x.LeaveQuery != "" || x.EnterAfterMs > 0 || x.LeaveAfterMs > 0 {
		x.SinceMs = sinceMs
	}
	if x != (extra{}) {
		text, err := json.Marshal(x)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		out.Extra = string(text)
	}
	return out
}

// Definition returns what makes things members of the group.
func (d *Dynamic) Definition() Definition {
	x := d.extra()
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return Definition{Query: d.Query, LeaveQuery: x.LeaveQuery, EnterAfter: ms(x.EnterAfterMs), LeaveAfter: ms(x.LeaveAfterMs), Every: ms(x.EveryMs)}
}

func (d *Dynamic) extra() (x extra) {
	if d.Extra != "" {
		_ = json.Unmarshal([]byte(d.Extra), &x) // it was written by dynamic
	}
	return x
}

// sinceMs is since when the group is defined so, 0 where that does not matter.
func (d *Dynamic) sinceMs() int64 { return d.extra().SinceMs }

// sameDynamic says whether two groups have the same members.
func sameDynamic(a, b *Dynamic) bool {
	return a == b || a != nil && b != nil && a.Definition() == b.Definition() && a.IndexName == b.IndexName && a.QueryVersion == b.QueryVersion
}

// rule checks a definition and makes it a rule of a group.
func (r *Registry) rule(id uint32, name string, d Definition) (standing.Rule, error) {
	rule := standing.Rule{Group: id, Name: name, EnterAfter: d.EnterAfter, LeaveAfter: d.LeaveAfter}
	for _, hold := range []struct {
		field string
		d     time.Duration
	}{{"enterAfter", d.EnterAfter}, {"leaveAfter", d.LeaveAfter}} {
		if hold.d < 0 || hold.d > MaxHold || hold.d%time.Second != 0 {
			return rule, refuse(Invalid, "%s: must be whole seconds, 0s to %s, it is %s", hold.field, MaxHold, hold.d)
		}
	}
	if expression, ok := d.Expression(); ok {
		rule.Listed = true
		switch {
		case expression == "":
			return rule, refuse(Invalid, "query: nothing stands behind promql:")
		case d.LeaveQuery != "":
			return rule, refuse(Invalid, "leaveQuery: a group over PromQL has none; say it in the expression")
		case d.Every != 0 && (d.Every < MinEvery || d.Every > MaxEvery || d.Every%time.Second != 0):
			return rule, refuse(Invalid, "every: must be whole seconds, %s to %s, it is %s", MinEvery, MaxEvery, d.Every)
		}
		return rule, nil
	}
	if d.Every != 0 {
		return rule, refuse(Invalid, "every: only a group over PromQL is evaluated on a period; a fleet query is kept up to date")
	}
	if strings.TrimSpace(d.Query) == "" {
		return rule, refuse(Invalid, "queryString: is empty; * finds every thing")
	}
	enter, err := r.matcher("", d.Query)
	if err != nil {
		return rule, err
	}
	rule.Enter = enter
	if d.LeaveQuery != "" {
		if rule.Leave, err = r.matcher("leaveQuery: ", d.LeaveQuery); err != nil {
			return rule, err
		}
	}
	return rule, nil
}

func (r *Registry) matcher(field, text string) (*query.Matcher, error) {
	q, err := query.Parse(text, query.Options{MaxTerms: r.opts.MaxQueryTerms})
	if err != nil {
		err = wrongQuery(err)
		if e, ok := err.(*Error); ok && field != "" {
			e.Message = field + e.Message
		}
		return nil, err
	}
	return q.Matcher(), nil
}
