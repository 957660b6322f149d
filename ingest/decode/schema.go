package decode

import (
	"fmt"
	"math"
	"math/bits"

	"muster/tsdb"
)

// Rule is what a schema says of one column.
type Rule struct {
	Column string // its name as decoded
	Rename string // "": it keeps its name
	Drop   bool
	// Scale and Offset are JSON numbers, or empty: the value becomes value*Scale + Offset. Booleans and strings stay as they are.
	Scale, Offset string
}

// Schema changes the columns of every row that a Decoder makes. It is not changed once made, and safe for concurrent use.
type Schema struct {
	rules       []rule
	slots       []int32 // open-addressed table of rules by metric, -1 where empty; a power of two, at most half full
	shift       int     // of the hash
	dropUnknown bool    // columns without a rule are dropped
}

type rule struct {
	metric        tsdb.MetricID // as decoded
	to            tsdb.MetricID
	drop          bool
	collides      bool // two columns of a payload may come to the column `to`
	scaled, moved bool
	scale, offset scalar
}

// NewSchema makes a schema of rules for different columns. Errors name the column and the rule that it breaks.
func NewSchema(dict *tsdb.Dict, rules []Rule, dropUnknown bool) (*Schema, error) {
	s := &Schema{dropUnknown: dropUnknown}
	metric := func(name string) (tsdb.MetricID, error) {
		id, err := dict.Metric([]byte(name))
		if err != nil {
			return id, fmt.Errorf("column %q: %w", name, err)
		}
		return id, nil
	}
	at := make(map[tsdb.MetricID]int)
	for _, in := range rules {
		r := rule{drop: in.Drop}
		var err error
		if r.metric, err = metric(in.Column); err != nil {
			return nil, err
		}
		r.to = r.metric
		if in.Rename != "" {
			if r.to, err = metric(in.Rename); err != nil {
				return nil, err
			}
		}
		if r.scale, r.scaled, err = factor(in.Scale, number{mant: 1}); err != nil {
			return nil, fmt.Errorf("column %q: scale: %w", in.Column, err)
		}
		if !r.scale.float && r.scale.n.mant == 0 && r.scaled {
			return nil, fmt.Errorf("column %q: scale must not be 0", in.Column)
		}
		if r.offset, r.moved, err = factor(in.Offset, number{}); err != nil {
			return nil, fmt.Errorf("column %q: offset: %w", in.Column, err)
		}
		if _, twice := at[r.metric]; twice {
			return nil, fmt.Errorf("column %q has two rules", in.Column)
		}
		at[r.metric] = len(s.rules)
		s.rules = append(s.rules, r)
	}
	for i := range s.rules { // the loop sees no rule that it adds: those rename nothing
		r := &s.rules[i]
		if r.to == r.metric || r.drop {
			continue
		}
		r.collides = true
		target, known := at[r.to]
		if !known {
			target = len(s.rules)
			at[r.to] = target
			s.rules = append(s.rules, rule{metric: r.to, to: r.to, drop: dropUnknown})
		}
		s.rules[target].collides = true
	}
	s.index()
	return s, nil
}

// factor reads a JSON number; is says that it is there and is not the one that changes nothing.
func factor(text string, nothing number) (value scalar, is bool, err error) {
	if text == "" {
		return value, false, nil
	}
	n, end, f := scanNumber([]byte(text), 0)
	if f != ok || end != len(text) {
		return value, false, fmt.Errorf("%q is no number", text)
	}
	if n.mant >= maxMantissa || n.cut {
		v, fits := parseFloat([]byte(text))
		if !fits {
			return value, false, fmt.Errorf("%q is too large", text)
		}
		return floatScalar(v), true, nil
	}
	if _, fits := n.float(); !fits || int(int8(n.exp)) != n.exp {
		return value, false, fmt.Errorf("%q is too large or too small", text)
	}
	return scalar{n: n}, n != nothing, nil
}

func (s *Schema) index() {
	size := 2
	for size < 2*len(s.rules) {
		size *= 2
	}
	s.shift = 32 - bits.TrailingZeros(uint(size))
	s.slots = make([]int32, size)
	for i := range s.slots {
		s.slots[i] = -1
	}
	for i := range s.rules {
		at := s.slot(s.rules[i].metric)
		s.slots[at] = int32(i)
	}
}

// slot returns where the table has the rule of a metric, or -1.
func (s *Schema) slot(metric tsdb.MetricID) int {
	// Knuth's multiplicative hash: 2^32 divided by the golden ratio.
	at := int(uint32(metric) * 0x9E3779B1 >> s.shift)
	for s.slots[at] >= 0 && s.rules[s.slots[at]].metric != metric {
		at = (at + 1) & (len(s.slots) - 1)
	}
	return at
}

// shape applies the schema to the current row. Of two values that come to one column the last in the payload stays, as without a schema.
func (d *Decoder) shape() {
	s := d.Schema
	kept := d.values[:d.start]
	for _, v := range d.values[d.start:] {
		i := s.slots[s.slot(v.Metric)]
		if i < 0 {
			if !s.dropUnknown {
				kept = append(kept, v)
			}
			continue
		}
		r := &s.rules[i]
		if r.drop {
			continue
		}
		v.Metric = r.to
		if (r.scaled || r.moved) && (v.Kind == tsdb.Decimal || v.Kind == tsdb.Float) {
			changed, fits := r.apply(v)
			if !fits { // beyond what a float holds
				d.skipped++
				continue
			}
			v = changed
		}
		if r.collides {
			if at := find(kept[d.start:], v.Metric); at >= 0 {
				kept[d.start+at] = v
				continue
			}
		}
		kept = append(kept, v)
	}
	d.values = kept
}

// find returns the place of a metric in values, or -1.
func find(values []tsdb.Value, metric tsdb.MetricID) int {
	for i := range values {
		if values[i].Metric == metric {
			return i
		}
	}
	return -1
}

// apply returns v scaled and moved, exactly where the decimals are short enough; false: it is no finite number any more.
func (r *rule) apply(v tsdb.Value) (tsdb.Value, bool) {
	x := scalarOf(v)
	if r.scaled {
		var fits bool
		if x, fits = x.times(r.scale); !fits {
			return v, false
		}
	}
	if r.moved {
		var f fault
		if x, f = x.plus(r.offset); f != ok {
			return v, false
		}
	}
	out, f := x.value()
	out.Metric = v.Metric
	return out, f == ok
}

// scalarOf returns the number of a Decimal or Float column.
func scalarOf(v tsdb.Value) scalar {
	if v.Kind == tsdb.Float {
		return double(math.Float64frombits(uint64(v.Mantissa)))
	}
	n := number{neg: v.Mantissa < 0, mant: uint64(max(v.Mantissa, -v.Mantissa)), exp: int(v.Exp)}
	return scalar{n: n}
}

// times returns s * t, exactly if both are decimals and the product is short enough for a column; false: it is too large.
func (s scalar) times(t scalar) (scalar, bool) {
	if !s.float && !t.float {
		high, low := bits.Mul64(s.n.mant, t.n.mant)
		if high == 0 && low < maxMantissa {
			n := number{neg: s.n.neg != t.n.neg && low > 0, mant: low, exp: s.n.exp + t.n.exp}
			n.normalize()
			return scalar{n: n}, true
		}
	}
	a, fits := s.asFloat()
	b, fits2 := t.asFloat()
	product := a * b
	if !fits || !fits2 || math.IsInf(product, 0) || math.IsNaN(product) {
		return scalar{}, false
	}
	return double(product), true
}
