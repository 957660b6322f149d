package standing

import (
	"slices"

	"muster/registry/query"
)

// column is one column of telemetry that rules ask for. It knows between which of their bounds the value of each thing lay when the rules
// were last held against it, so that a value which moves is held only against those that have a bound on its way.
//
// What it relies on: while the class of a thing is known, every rule in among has for this thing the answer that follows from a value of that class.
// So whoever shows a rule another value takes the class away (reading), and rules that come, go or begin take all of them (forget).
type column struct {
	rules []*rule // all that ask for it

	// What follows from rules. It is made when it is first needed.
	ready   bool
	bounds  []float64 // ascending, each once
	among   [][]*rule // for each bound the rules that have it
	waiting []*rule   // of these, where time may have passed as well: there is an EnterAfter or a LeaveAfter
	always  []*rule   // the others: a time is in their queries, or they have not begun

	classes [][]class // by thing in pages of classPage, nil where none is known
}

// class is where a value lies: at firstClass+2i between bound i and the one before it, one more on the bound itself.
type class uint32

const (
	unknownClass class = iota
	noValue
	notANumber
	firstClass
)

const classPage = 256 // things

// forget drops what is known of things and of rules.
func (c *column) forget() { c.ready, c.classes = false, nil }

// prepare finds out what follows from the rules.
func (c *column) prepare(name query.Column) {
	c.ready = true
	c.bounds, c.among, c.waiting, c.always = nil, nil, nil, nil
	type edge struct {
		bound float64
		rule  *rule
	}
	var edges []edge
	for _, r := range c.rules {
		if !r.begun || r.seen || r.timed() {
			c.always = append(c.always, r)
			continue
		}
		if r.EnterAfter > 0 || r.LeaveAfter > 0 {
			c.waiting = append(c.waiting, r)
		}
		for _, m := range r.matchers() {
			for _, need := range m.Needs().Columns {
				if need.Column != name {
					continue
				}
				for _, bound := range need.Bounds {
					edges = append(edges, edge{bound, r})
				}
			}
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		switch {
		case a.bound < b.bound:
			return -1
		case a.bound > b.bound:
			return 1
		}
		return 0
	})
	for _, x := range edges {
		if n := len(c.bounds); n == 0 || c.bounds[n-1] != x.bound {
			c.bounds = append(c.bounds, x.bound)
			c.among = append(c.among, nil)
		}
		last := &c.among[len(c.among)-1]
		*last = append(*last, x.rule)
	}
}

// classOf returns the class of a value, and of none.
func (c *column) classOf(value float64, ok bool) class {
	switch {
	case !ok:
		return noValue
	case value != value:
		return notANumber
	}
	i, on := slices.BinarySearch(c.bounds, value)
	if on {
		return firstClass + class(2*i+1)
	}
	return firstClass + class(2*i)
}

func (c *column) known(id uint32) class {
	if page := int(id / classPage); page < len(c.classes) && c.classes[page] != nil {
		return c.classes[page][id%classPage]
	}
	return unknownClass
}

func (c *column) note(id uint32, at class) {
	page := int(id / classPage)
	if n := page + 1 - len(c.classes); n > 0 {
		c.classes = append(c.classes, make([][]class, n)...)
	}
	if c.classes[page] == nil {
		c.classes[page] = make([]class, classPage)
	}
	c.classes[page][id%classPage] = at
}

// askMoved asks the rules whose answer may be another one now that the value of a column has moved for the thing in d.
func (e *Engine) askMoved(name query.Column, d *reading) {
	c := e.byColumn[name]
	if c == nil {
		return
	}
	if !c.ready {
		c.prepare(name)
	}
	was := c.known(d.id)
	now := c.classOf(d.Number(name))
	c.note(d.id, now)
	if was != now && min(was, now) < firstClass {
		e.ask(c.rules)
		return
	}
	e.ask(c.always)
	for _, r := range c.waiting {
		if _, waits := r.sinceMs[d.id]; waits {
			e.asked.Set(uint(r.rank))
		}
	}
	if was == now {
		return
	}
	// A bound lies at an odd place: what moves on, off or over it crosses it.
	from, to := int(min(was, now)-firstClass), int(max(was, now)-firstClass)
	for i := from / 2; i <= (to-1)/2; i++ {
		e.ask(c.among[i])
	}
}

// reading is the document of a thing while it is held against rules. It shows all of them the same number of a column, also when another sample
// comes meanwhile, or when the document is taken again because the thing entered a group.
type reading struct {
	query.Document
	engine *Engine
	id     uint32
	shown  []shownNumber
}

type shownNumber struct {
	column query.Column
	value  float64
	ok     bool
}

// read begins with a thing; nil if it is gone.
func (e *Engine) read(id uint32) *reading {
	d := e.fleet.Document(id)
	if d == nil {
		return nil
	}
	e.reading = reading{Document: d, engine: e, id: id, shown: e.reading.shown[:0]}
	return &e.reading
}

// Number implements query.Document.
func (d *reading) Number(name query.Column) (value float64, ok bool) {
	for i := range d.shown {
		if s := &d.shown[i]; s.column == name {
			return s.value, s.ok
		}
	}
	value, ok = d.Document.Number(name)
	d.shown = append(d.shown, shownNumber{name, value, ok})
	if c := d.engine.byColumn[name]; c != nil && c.ready {
		if known := c.known(d.id); known != unknownClass && known != c.classOf(value, ok) {
			c.note(d.id, unknownClass) // the rules that are not asked now have not seen it
		}
	}
	return value, ok
}
