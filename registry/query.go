package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
	"muster/registry/query"
)

// Fields of the index besides attributes.<name>.
const (
	fieldName      = "thingName"
	fieldID        = "thingId"
	fieldType      = "thingTypeName"
	fieldGroups    = "thingGroupNames"
	fieldInGroup   = "group" // thingGroupNames and what is above them
	fieldBilling   = "billingGroupName"
	fieldAttribute = "attributes."

	fieldVersion = "registry.version"
	fieldCreated = "registry.created" // Unix ms
	fieldUpdated = "registry.updated" // Unix ms

	// A thing that was never connected has none of these.
	fieldConnected  = "connectivity.connected"
	fieldTimestamp  = "connectivity.timestamp"        // Unix ms: since when it is connected, or offline
	fieldDisconnect = "connectivity.disconnectReason" // as AWS spells it; none while connected
	fieldReason     = "connectivity.reason"           // as Connectivity has it
	fieldLastSeen   = "connectivity.lastSeen"         // Unix ms of the last packet
)

// QueryInput is a search in the fleet query language (package registry/query).
type QueryInput struct {
	Text     string // "": all
	Typed    bool   // bare words as people type them
	State    string // "": all, "connected", "offline" (was connected), "never" (never connected)
	TypeName string // "": all; without case
	Sort     string // field, descending with - before it; "name" (default) is thingName, "lastSeen" the newest first
	Limit    int    // 1 to MaxPage
	Cursor   string // "" or the NextCursor of the page before, with the same Sort
	// MinRevision is a revision that the answer must have seen; one that was not given yet is Stale. 0: any.
	MinRevision int64
}

// Hit is a thing that matches, as it was when the query ran.
type Hit struct {
	Thing        Thing
	Connectivity Connectivity
	Known        bool     // was ever connected
	Groups       []string // that it is in directly, ascending
}

// QueryPage is a page of a search.
type QueryPage struct {
	Hits       []Hit
	Total      int    // of all pages
	NextCursor string // "" at the end
	Revision   int64  // that the query saw
}

// queryTime bounds how long a query may run, and so keep writes waiting.
const queryTime = 3 * time.Second

// Query returns one page of the things that match. It sees every write that returned before it began, and of those
// that run at the same time all or nothing. A mistake in the text is Invalid; errors.As finds its *query.Error.
// Pages are by keys, so that things made or deleted meanwhile shift nothing.
func (r *Registry) Query(ctx context.Context, in QueryInput) (page QueryPage, err error) {
	page.NextCursor, err = r.queryPage(ctx, in, func(set *bitset.BitSet, ids []uint32) {
		page.Total, page.Revision = int(set.Count()), r.revision.Load()
		for _, id := range ids {
			page.Hits = append(page.Hits, r.hit(id))
		}
	})
	return page, err
}

// queryPage runs a query and passes on the set and the page of it, while the fleet stands still.
func (r *Registry) queryPage(ctx context.Context, in QueryInput, f func(set *bitset.BitSet, page []uint32)) (nextCursor string, err error) {
	field, descending, err := sortOf(in.Sort)
	if err != nil {
		return "", err
	}
	if in.Limit < 1 || in.Limit > MaxPage {
		return "", refuse(Invalid, "limit must be 1 to %d, it is %d", MaxPage, in.Limit)
	}
	var after *index.Key
	if in.Cursor != "" {
		if after, err = decodeKey(in.Cursor, in.Sort); err != nil {
			return "", err
		}
	}
	err = r.search(ctx, in, func(set *bitset.BitSet) {
		ids, last, more := r.index.Page(set, field, descending, after, in.Limit)
		f(set, ids)
		if more {
			nextCursor = encodeKey(in.Sort, last)
		}
	})
	return nextCursor, err
}

// QueryCount returns how many things match a query.
func (r *Registry) QueryCount(ctx context.Context, text string, typed bool) (n int, err error) {
	err = r.search(ctx, QueryInput{Text: text, Typed: typed}, func(set *bitset.BitSet) { n = int(set.Count()) })
	return n, err
}

// QueryStats returns the statistics of a field over the things that match a query.
func (r *Registry) QueryStats(ctx context.Context, text, field string) (stats index.Stats, err error) {
	err = r.search(ctx, QueryInput{Text: text}, func(set *bitset.BitSet) {
		stats = r.index.Stats(set, query.FieldName(field))
	})
	return stats, err
}

// QueryPercentiles returns the value at each percent (0 to 100) of a field over the things that match a query, nil where
// none of them has a number; typ is what values they have.
func (r *Registry) QueryPercentiles(ctx context.Context, text, field string, percents []float64) (values []float64, typ index.Type, err error) {
	err = r.search(ctx, QueryInput{Text: text}, func(set *bitset.BitSet) {
		values, typ = r.index.Percentiles(set, query.FieldName(field), percents)
	})
	return values, typ, err
}

// QueryCardinality returns how many different values of a field, without case, the things that match a query have.
func (r *Registry) QueryCardinality(ctx context.Context, text, field string) (n int, err error) {
	err = r.search(ctx, QueryInput{Text: text}, func(set *bitset.BitSet) {
		n = r.index.Cardinality(set, query.FieldName(field))
	})
	return n, err
}

// QueryBuckets returns the values of a field that most of the things that match a query have, at most limit, and the
// number of things that match. A value is spelled as one of the things spells it.
func (r *Registry) QueryBuckets(ctx context.Context, text, field string, limit int) (buckets []index.Bucket, total int, err error) {
	name := query.FieldName(field)
	err = r.search(ctx, QueryInput{Text: text}, func(set *bitset.BitSet) {
		total = int(set.Count())
		buckets = r.index.Buckets(set, name, limit)
		r.spell(name, buckets)
	})
	return buckets, total, err
}

// Grouped is a value of a field, and the values of another field that the things with it have.
type Grouped struct {
	index.Bucket
	Then []index.Bucket
}

// QueryGrouped is QueryBuckets by two fields: at most in.Limit values of the first, each with at most as many of the second, or none if then is "".
func (r *Registry) QueryGrouped(ctx context.Context, in QueryInput, by, then string) (grouped []Grouped, total int, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	by, then = query.FieldName(by), query.FieldName(then)
	err = r.search(ctx, in, func(set *bitset.BitSet) {
		total = int(set.Count())
		for _, bucket := range r.index.Buckets(set, by, in.Limit) {
			if ctx.Err() != nil {
				return
			}
			var inner []index.Bucket
			if then != "" {
				inner = r.index.Buckets(r.index.Having(set, by, bucket.Value), then, in.Limit)
				r.spell(then, inner)
			}
			outer := []index.Bucket{bucket}
			r.spell(by, outer)
			grouped = append(grouped, Grouped{outer[0], inner})
		}
	})
	if err == nil {
		err = wrongQuery(ctx.Err())
	}
	return grouped, total, err
}

// spell writes values as one of the things spells them. The caller holds fleet.
func (r *Registry) spell(field string, buckets []index.Bucket) {
	for i, b := range buckets {
		switch {
		case b.First != 0:
			buckets[i].Value = r.spelling(b.First, field, b.Value)
		case field == fieldInGroup:
			buckets[i].Value = r.groups.byFolded[b.Value][0].name
		}
	}
}

// ExplainQuery says how a query is answered: a line for each part of it with the number of things.
func (r *Registry) ExplainQuery(ctx context.Context, text string, typed bool) (explained string, err error) {
	err = r.plan(ctx, QueryInput{Text: text, Typed: typed}, func(ctx context.Context, p *query.Plan) error {
		explained, err = p.Explain(ctx, r.index)
		return err
	})
	return explained, err
}

// JoinTelemetry lets queries ask for live telemetry (telemetry.<column>). It is called once, before the first query.
func (r *Registry) JoinTelemetry(t query.Telemetry) {
	r.fleet.Lock()
	defer r.fleet.Unlock()
	r.telemetry = t
}

// plan parses a query over things and runs f while the fleet stands still.
func (r *Registry) plan(ctx context.Context, in QueryInput, f func(context.Context, *query.Plan) error) error {
	r.fleet.RLock()
	telemetry := r.telemetry
	r.fleet.RUnlock()
	return r.planWith(ctx, in, telemetry, f)
}

// planWith is plan; terms over telemetry are mistakes where that is nil.
func (r *Registry) planWith(ctx context.Context, in QueryInput, telemetry query.Telemetry, f func(context.Context, *query.Plan) error) error {
	text := in.Text
	if strings.TrimSpace(text) == "" {
		text = "*"
	}
	q, err := query.Parse(text, query.Options{Typed: in.Typed, MaxTerms: r.opts.MaxQueryTerms})
	if err != nil {
		return wrongQuery(err)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	// Telemetry is asked first: it has locks of its own and may take longer.
	p, err := q.Plan(ctx, r.nowMs(), telemetry)
	if err != nil {
		return wrongQuery(err)
	}
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	if err := r.Reached(in.MinRevision); err != nil {
		return err
	}
	return wrongQuery(f(ctx, p))
}

func wrongQuery(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if e, ok := errors.AsType[*query.Error](err); ok {
		return &Error{Kind: Invalid, Message: "query: " + e.Error(), cause: err}
	}
	return &Error{Kind: Busy, Message: "the query took too long and was given up; make it simpler", cause: err}
}

// search runs a query and passes on the set of things, which f may change and must not keep.
func (r *Registry) search(ctx context.Context, in QueryInput, f func(*bitset.BitSet)) error {
	return r.plan(ctx, in, func(ctx context.Context, p *query.Plan) error {
		set, err := p.Run(ctx, r.index, r.answers)
		if err == nil {
			err = r.filter(ctx, set, in)
		}
		if err == nil {
			f(set)
			r.answers.Release(set)
		}
		return err
	})
}

// searchGroups runs a query over the groups and passes on their set.
func (r *Registry) searchGroups(ctx context.Context, in QueryInput, f func(*bitset.BitSet)) error {
	return r.planWith(ctx, QueryInput{Text: in.Text, MinRevision: in.MinRevision}, nil, func(ctx context.Context, p *query.Plan) error {
		set, err := p.Run(ctx, r.groupIndex, nil)
		if err == nil {
			f(set)
		}
		return err
	})
}

// filter takes out of the set what State and TypeName do not select.
func (r *Registry) filter(ctx context.Context, set *bitset.BitSet, in QueryInput) error {
	only := func(field string, m *index.Match, negative bool) error {
		some := new(bitset.BitSet)
		_, err := r.index.Select(ctx, some, field, m, set)
		if negative {
			set.InPlaceDifference(some)
		} else {
			set.InPlaceIntersection(some)
		}
		return err
	}
	if in.TypeName != "" {
		if err := only(fieldType, index.Word(in.TypeName), false); err != nil {
			return err
		}
	}
	switch in.State {
	case "":
		return nil
	case "connected":
		return only(fieldConnected, index.Word("true"), false)
	case "offline":
		return only(fieldConnected, index.Word("false"), false)
	case "never":
		return only(fieldConnected, index.Exists(), true)
	}
	return refuse(Invalid, "state: %q is not known; use connected, offline or never", in.State)
}

// hit describes a thing. The caller holds fleet.
func (r *Registry) hit(id uint32) Hit {
	link := r.Connectivity(id)
	return Hit{Thing: r.byID[id].thing(), Connectivity: link, Known: linkOf(link).known, Groups: r.groupNamesOf(id)}
}

// spelling returns a folded value of a field as the thing has it.
func (r *Registry) spelling(id uint32, field, folded string) string {
	var values []string
	rec := r.byID[id]
	switch key, isAttribute := strings.CutPrefix(field, fieldAttribute); {
	case isAttribute:
		value, _ := rec.attribute(key)
		values = []string{value}
	case field == fieldName:
		values = []string{rec.name}
	case field == fieldType:
		values = []string{rec.typeName()}
	case field == fieldGroups:
		values = r.groupNamesOf(id)
	case field == fieldBilling:
		values = []string{rec.billingGroup()}
	case field == fieldDisconnect:
		values = []string{DisconnectReason(r.Connectivity(id).Reason)}
	case field == fieldReason:
		values = []string{r.Connectivity(id).Reason}
	case strings.HasPrefix(field, "cert."):
		r.eachCertValue(id, func(name, value string) {
			if name == field {
				values = append(values, value)
			}
		})
	}
	for _, v := range values {
		if index.Fold(v) == folded {
			return v
		}
	}
	return folded
}

// sortOf reads the sort of a query.
func sortOf(sort string) (field string, descending bool, err error) {
	name, descending := strings.CutPrefix(sort, "-")
	switch name {
	case "", "name":
		return fieldName, descending, nil
	case "lastSeen":
		return fieldLastSeen, !descending, nil
	case fieldName, fieldID, fieldType, fieldGroups, fieldBilling:
		return name, descending, nil
	}
	for _, root := range []string{fieldAttribute, "registry.", "connectivity."} {
		if strings.HasPrefix(name, root) {
			return query.FieldName(name), descending, nil
		}
	}
	return "", false, refuse(Invalid, "sort: %q is not known; use name, lastSeen or a field such as attributes.city, with - before it for descending", sort)
}

// A cursor of a query is the key of the last thing of a page, with the order that it is a key of.
type queryCursor struct {
	Sort string    `json:"s"`
	Key  index.Key `json:"k"`
}

func encodeKey(sort string, key index.Key) string {
	text, err := json.Marshal(queryCursor{sort, key})
	if err != nil {
		panic("BUG: " + err.Error()) // numbers of the index are finite
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeKey(cursor, sort string) (*index.Key, error) {
	text, err := decodeText(cursor)
	if err != nil {
		return nil, err
	}
	var c queryCursor
	if json.Unmarshal([]byte(text), &c) != nil || c.Sort != sort || c.Key.Class > index.Missing {
		return nil, errCursor()
	}
	return &c.Key, nil
}
