package index

import "strconv"

// Value is one value of a thing, prepared to be matched many times.
type Value struct {
	text     []byte // folded
	num      float64
	isNumber bool
	oneWord  bool
}

// NewValue prepares a value of a field that is no column. The empty text is no value: it must not be passed.
func NewValue(text string) Value {
	folded := Fold(text)
	v := Value{text: []byte(folded), oneWord: !hasSpace(folded)}
	v.num, v.isNumber = ParseNumber(folded)
	return v
}

// NewNumber prepares a value of a column.
func NewNumber(n int64) Value {
	return Value{text: strconv.AppendInt(nil, n, 10), num: float64(n), isNumber: true, oneWord: true}
}

// Number returns the number that the value is, if it is one.
func (v *Value) Number() (float64, bool) { return v.num, v.isNumber }

// Matches says whether Select finds a thing with that value in the field.
func (m *Match) Matches(v *Value) bool {
	if m.kind == within {
		return v.isNumber && m.inNumbers(v.num)
	}
	return m.verify(v.text, v.oneWord)
}
