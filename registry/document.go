package registry

import (
	"strings"

	"muster/registry/index"
	"muster/registry/query"
)

// document is a thing as the matchers of standing queries see it: the same as the index has. It is used for one thing after the other,
// in a change.
type document struct {
	r     *Registry
	rec   *record
	nowMs int64
	known []fieldValues // of rec, prepared when first asked for
	lasts []lastNumber  // the same of telemetry: many groups ask for the same column
}

type lastNumber struct {
	metric string
	value  float64
	ok     bool
}

type fieldValues struct {
	field  string
	values []index.Value
}

// reset begins with another thing, or with the same one after its groups changed.
func (d *document) reset(rec *record, nowMs int64) {
	d.rec, d.nowMs, d.known, d.lasts = rec, nowMs, d.known[:0], d.lasts[:0]
}

// Values implements query.Document.
func (d *document) Values(field string) []index.Value {
	for i := range d.known {
		if d.known[i].field == field {
			return d.known[i].values
		}
	}
	n := len(d.known)
	var room []index.Value // of a thing before
	if n < cap(d.known) {
		room = d.known[:n+1][n].values[:0]
	}
	d.known = append(d.known, fieldValues{field, d.prepare(room, field)})
	return d.known[n].values
}

// prepare appends the values of a field.
func (d *document) prepare(values []index.Value, field string) []index.Value {
	text := func(text string) {
		if text != "" {
			values = append(values, index.NewValue(text))
		}
	}
	number := func(n int64) { values = append(values, index.NewNumber(n)) }
	if key, ok := strings.CutPrefix(field, fieldAttribute); ok {
		value, _ := d.rec.attribute(key)
		text(value)
		return values
	}
	switch field {
	case fieldName:
		text(d.rec.name)
	case fieldID:
		text(formatUUID(d.rec.uuid))
	case fieldType:
		text(d.rec.typeName())
	case fieldBilling:
		text(d.rec.billingGroup())
	case fieldGroups:
		for _, g := range d.r.groupsOf(d.rec.id) {
			text(g.name)
		}
	case fieldInGroup:
		for _, g := range d.r.groupsOf(d.rec.id) {
			for ; g != nil; g = g.parent {
				text(g.name)
			}
		}
	case fieldVersion:
		number(d.rec.version)
	case fieldCreated:
		number(d.rec.createdMs)
	case fieldUpdated:
		number(d.rec.updatedMs)
	case fieldConnected, fieldTimestamp, fieldReason, fieldDisconnect, fieldLastSeen:
		c := d.r.Connectivity(d.rec.id)
		l := linkOf(c)
		switch {
		case field == fieldConnected:
			text(l.connectedText())
		case field == fieldReason:
			text(l.reason)
		case field == fieldDisconnect:
			text(DisconnectReason(l.reason))
		case field == fieldTimestamp && l.known:
			number(l.sinceMs)
		case field == fieldLastSeen && c.LastSeenMs != 0:
			number(c.LastSeenMs)
		}
	default:
		for _, cert := range d.r.certificates[d.rec.id] {
			cert.visit(func(name, value string) {
				if name == field {
					text(value)
				}
			})
		}
	}
	return values
}

// EachBare implements query.Document.
func (d *document) EachBare(f func(field string, values []index.Value) bool) bool {
	for _, field := range bareFields {
		if values := d.Values(field); len(values) > 0 && f(field, values) {
			return true
		}
	}
	for _, a := range d.rec.attributes {
		if field := fieldAttribute + a.key; f(field, d.Values(field)) {
			return true
		}
	}
	return false
}

// bareFields are the fields that a bare word is searched in, besides attributes.
var bareFields = [...]string{fieldName, fieldID, fieldType, fieldGroups, fieldBilling}

func isBare(field string) bool {
	for _, bare := range bareFields {
		if field == bare {
			return true
		}
	}
	return strings.HasPrefix(field, fieldAttribute)
}

// Number implements query.Document.
func (d *document) Number(c query.Column) (value float64, ok bool) {
	if c.Func != query.LastValue {
		if w := d.r.dynamic.windows[c]; w != nil {
			value, ok = w.values[d.rec.id]
		}
		return value, ok
	}
	if d.r.dynamic.live == nil {
		return 0, false
	}
	for i := range d.lasts {
		if last := &d.lasts[i]; last.metric == c.Metric {
			return last.value, last.ok
		}
	}
	value, ok = d.r.dynamic.live.Last(c.Metric, d.rec.id)
	d.lasts = append(d.lasts, lastNumber{c.Metric, value, ok})
	return value, ok
}
