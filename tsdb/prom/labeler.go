package prom

import "muster/tsdb"

// ThingLabels returns the labels that every series of a thing has in PromQL, for who sends series on: `thing`, thing_type and the
// attributes, ascending by name, legal and unique. It reuses dst, whatever is in it. It is false for a thing that dir does not show.
func ThingLabels(dst []Label, dir Directory, id tsdb.ThingID) ([]Label, bool) {
	name, ok := dir.ThingName(id)
	if !ok || name == "" {
		return dst[:0], false
	}
	dst = cleanLabels(dir.AppendLabels(append(dst[:0], Label{thingLabel, name}), id))
	if _, ok := dir.(Grouper); ok {
		dst = reserveGroup(dst)
	}
	return dst, true
}
