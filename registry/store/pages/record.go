package pages

import "errors"

// Record gives access to the columns of a row, in the order in which they were added to the table.
type Record struct {
	data   []byte
	kinds  [MaxColumns]uint64
	starts [MaxColumns]int // in data
	n      int
}

// MaxColumns is how many columns a Record can have.
const MaxColumns = 32

var errRecord = errors.New("it is no record of a row")

// Parse reads the header of a record, which must not change while r is used.
func (r *Record) Parse(record []byte) error {
	headerLen, at := varint(record)
	if at == 0 || headerLen < uint64(at) || headerLen > uint64(len(record)) {
		return errRecord
	}
	r.data, r.n = record, 0
	start := int(headerLen)
	for at < int(headerLen) {
		kind, n := uint64(record[at]), 1
		if kind >= 0x80 {
			kind, n = varint(record[at:headerLen])
		}
		if n == 0 || r.n == MaxColumns || kind > 2*maxRecord+13 {
			return errRecord
		}
		at += n
		r.kinds[r.n], r.starts[r.n] = kind, start
		r.n++
		start += sizeOf(kind)
	}
	if start > len(record) {
		return errRecord
	}
	return nil
}

// sizeOf returns how many bytes a value has; the kinds are those of the file format.
func sizeOf(kind uint64) int {
	switch {
	case kind >= 12:
		return int(kind-12) / 2
	case kind <= 4:
		return int(kind)
	case kind == 5:
		return 6
	case kind == 6, kind == 7:
		return 8
	}
	return 0
}

// IsNull says whether a column is NULL, or was added after the row was written, with no other default.
func (r *Record) IsNull(column int) bool { return column >= r.n || r.kinds[column] == 0 }

// Int returns a whole number, false for anything else.
func (r *Record) Int(column int) (int64, bool) {
	if r.IsNull(column) {
		return 0, false
	}
	switch kind := r.kinds[column]; {
	case kind == 8, kind == 9:
		return int64(kind - 8), true
	case kind > 6:
		return 0, false
	}
	bytes := r.data[r.starts[column]:][:sizeOf(r.kinds[column])]
	n := int64(int8(bytes[0]))
	for _, b := range bytes[1:] {
		n = n<<8 | int64(b)
	}
	return n, true
}

// Text returns a text, which is a part of the record, false for anything else.
func (r *Record) Text(column int) ([]byte, bool) {
	if r.IsNull(column) || r.kinds[column] < 13 || r.kinds[column]&1 == 0 {
		return nil, false
	}
	return r.data[r.starts[column]:][:sizeOf(r.kinds[column])], true
}

// varint reads a variable-length integer; n is how long it is, 0 if it is cut off.
func varint(data []byte) (value uint64, n int) {
	for i, b := range data {
		if i == 8 {
			return value<<8 | uint64(b), 9
		}
		value = value<<7 | uint64(b&0x7f)
		if b < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}
