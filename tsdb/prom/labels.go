package prom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"muster/tsdb"
)

// thingLabel is the label that the series of every thing have; valueLabel is what a string column's series have besides.
const (
	thingLabel = "thing"
	valueLabel = "value"
	nameLabel  = model.MetricNameLabel
	infoSuffix = "_info"
)

// Label is one virtual label of a thing, or one that a source was sent with.
type Label struct{ Name, Value string }

// Directory resolves things to names and labels at query time. Safe for concurrent use.
type Directory interface {
	// ThingName is false for a thing that is unknown or deleted: its series are not shown.
	ThingName(tsdb.ThingID) (string, bool)
	ThingByName(string) (tsdb.ThingID, bool)
	// AppendLabels appends thing_type and the attributes, not `thing` itself, in any order. Names need not be legal label
	// names; of two equal names the later counts.
	AppendLabels(dst []Label, id tsdb.ThingID) []Label
}

// thingPage is the unit in which things are kept during one query: ids are dense, so pages beat a map. Small ones, since most queries
// ask for one thing: pages of 256 took 20 of the 31 KB of such a query.
const thingPageBits = 5

type thingPage [1 << thingPageBits]thingState

// thingState is what one query knows of one thing. Labels are resolved once, so both sides of `a / b` see the same
// attributes even when one changes meanwhile.
type thingState struct {
	name    string  // of a thing
	labels  []Label // ascending unique names; of a thing with `thing`
	groups  []string
	met     bool   // hidden and name are set
	known   bool   // labels is set
	grouped bool   // groups is set
	hidden  bool   // the directory does not know the thing, or the source's labels are lost
	walk    uint32 // the walk that matched and seen belong to
	matched bool
	seen    bool
}

// thingCache holds the things and sources one query has met. Not for concurrent use.
type thingCache struct {
	dir     Directory
	grouper Grouper // nil: there are no groups
	store   Store
	pages   []*thingPage
	sources []*thingPage
	raw     []tsdb.Label
	arena   []Label // the rest of the newest chunk; labels of things are cut off its front
	chunk   int     // length of the next chunk
	buf     []Label
	names   []string
}

// get returns the state of id. Its labels are resolved when they are asked for: most queries show few of the things that they look at.
func (c *thingCache) get(id tsdb.ThingID) *thingState {
	pages, page := &c.pages, int(id>>thingPageBits)
	if id >= tsdb.FirstSource {
		pages, page = &c.sources, int((id-tsdb.FirstSource)>>thingPageBits)
	}
	if page >= len(*pages) {
		*pages = append(*pages, make([]*thingPage, page+1-len(*pages))...)
	}
	if (*pages)[page] == nil {
		(*pages)[page] = new(thingPage)
	}
	s := &(*pages)[page][id&(1<<thingPageBits-1)]
	switch {
	case s.met:
	case id >= tsdb.FirstSource:
		c.resolve(s, id)
	default:
		var ok bool
		s.name, ok = c.dir.ThingName(id)
		s.hidden = !ok || s.name == ""
	}
	s.met = true
	return s
}

// labels returns the labels of id, whose state is s.
func (c *thingCache) labels(s *thingState, id tsdb.ThingID) []Label {
	if !s.known && !s.hidden {
		c.resolve(s, id)
	}
	return s.labels
}

func (c *thingCache) resolve(s *thingState, id tsdb.ThingID) {
	s.known = true
	var list []Label
	if id >= tsdb.FirstSource {
		var ok bool
		if c.raw, ok = c.store.SourceLabels(c.raw[:0], id); !ok {
			s.hidden = true
			return
		}
		c.buf = c.buf[:0]
		for _, l := range c.raw { // sorted and valid since it was taken
			c.buf = append(c.buf, Label(l))
		}
		list = c.buf
	} else {
		c.buf = c.dir.AppendLabels(append(c.buf[:0], Label{thingLabel, s.name}), id)
		if list = cleanLabels(c.buf); c.grouper != nil {
			list = reserveGroup(list)
		}
	}
	if len(list) > len(c.arena) {
		c.chunk = min(max(2*c.chunk, 16, len(list)), max(4096, len(list)))
		c.arena = make([]Label, c.chunk)
	}
	n := copy(c.arena, list)
	s.labels = c.arena[:n:n]
	c.arena = c.arena[n:]
}

// memberships returns the groups that a thing is in, resolved once as its labels are.
func (c *thingCache) memberships(s *thingState, id tsdb.ThingID) []string {
	if !s.grouped && c.grouper != nil && id < tsdb.FirstSource {
		s.grouped = true
		c.names = c.grouper.AppendGroups(c.names[:0], id)
		s.groups = slices.Clone(c.names)
		slices.Sort(s.groups)
	}
	return s.groups
}

// reserveGroup gives a label called `group` of list, which is clean, another name.
func reserveGroup(list []Label) []Label {
	at := slices.IndexFunc(list, func(l Label) bool { return l.Name == groupLabel })
	if at < 0 {
		return list
	}
	renamed := Label{"attribute_" + groupLabel, list[at].Value}
	if valueOf(list, renamed.Name) != "" {
		return slices.Delete(list, at, at+1)
	}
	list[at] = renamed
	slices.SortFunc(list, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// cleanLabels sorts list by name in place and returns it with legal, unique names and without empty values. list[0] is
// the thing and keeps its name; another label called `thing`, or one that starts with "__", gets the prefix "attribute_".
// Of two names that become the same, one that was legal wins, then the one that sorts first; of two equal ones the later.
func cleanLabels(list []Label) []Label {
	clean := true
	for i := range list {
		l := &list[i]
		l.Value = validText(l.Value)
		clean = clean && l.Value != "" && (i == 0 || legalName(l.Name) && l.Name != thingLabel)
		// Insertion: lists are short, and often in order already.
		for j := i; clean && j > 0 && list[j-1].Name >= list[j].Name; j-- {
			if list[j-1].Name == list[j].Name {
				clean = false
				break
			}
			list[j-1], list[j] = list[j], list[j-1]
		}
	}
	if clean {
		return list
	}
	return cleanAnyLabels(list)
}

// cleanAnyLabels is cleanLabels for lists that have something to clean. The thing may be anywhere: it is the label whose
// name is thingLabel, and the first of these.
func cleanAnyLabels(list []Label) []Label {
	type named struct {
		Label
		rank int8
		from string
	}
	thing := slices.IndexFunc(list, func(l Label) bool { return l.Name == thingLabel })
	all := make([]named, 0, len(list))
	for i, l := range slices.Backward(list) {
		switch {
		case l.Value == "" || l.Name == "":
		case i == thing:
			all = append(all, named{l, 0, ""})
		case legalName(l.Name) && l.Name != thingLabel:
			all = append(all, named{l, 1, ""})
		default:
			all = append(all, named{Label{legalize(l.Name), validText(l.Value)}, 2, l.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b named) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.rank, b.rank), strings.Compare(a.from, b.from))
	})
	list = list[:0]
	for _, l := range all {
		if len(list) == 0 || list[len(list)-1].Name != l.Name {
			list = append(list, l.Label)
		}
	}
	return list
}

// legalName reports whether name is a label name that needs no quotes in PromQL and is not reserved.
func legalName(name string) bool {
	if name == "" || strings.HasPrefix(name, "__") {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; !(c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return true
}

// legalize makes a legal label name of any text: other characters become '_', reserved names get the prefix "attribute_".
func legalize(name string) string {
	b := make([]byte, 0, len(name)+len("attribute_"))
	for i, r := range name {
		switch {
		case r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z':
			b = append(b, byte(r))
		case '0' <= r && r <= '9':
			if i == 0 {
				b = append(b, '_')
			}
			b = append(b, byte(r))
		default:
			b = append(b, '_')
		}
	}
	if s := string(b); s != thingLabel && !strings.HasPrefix(s, "__") {
		return s
	}
	return "attribute_" + string(b)
}

// valueOf returns the value of the label called name, "" where there is none. list ascends by name.
func valueOf(list []Label, name string) string {
	for i := range list {
		if list[i].Name == name {
			return list[i].Value
		}
	}
	return ""
}
