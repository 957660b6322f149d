package tsdb

import (
	"errors"
	"math"
	"strconv"
)

// ThingID is the dense id of a thing. The registry gives it once and never again.
type ThingID uint32

// MetricID is the dense id of a column name, given by Dict.
type MetricID uint32

// Kind says what a Value holds.
type Kind uint8

// The kinds of values. Decimal, Bool and Float are numbers and share one column; String is a column of its own,
// so that a number and a string of the same name and time are both kept.
const (
	Decimal Kind = iota
	Bool
	Float
	String
)

// Value is one column of a row. 16 bytes.
type Value struct {
	// Mantissa holds Decimal: value = Mantissa * 10^Exp; Bool: 0 or 1; Float: math.Float64bits; String: the id of Dict.String.
	Mantissa int64
	Metric   MetricID
	Exp      int8
	Kind     Kind
}

// Limits of what the store takes.
const (
	// MaxTimeMs is the first millisecond of the year 2200. Rows have 0 <= time < MaxTimeMs.
	MaxTimeMs = 7_258_118_400_000
	// MaxRowValues is the largest number of values in one row.
	MaxRowValues = 4096
	// MaxThingColumns is the largest number of columns that one thing may ever have.
	MaxThingColumns = 4096
)

// Errors of Append, Sync and Ready. Compare with errors.Is; the store wraps the cause.
var (
	ErrDiskFull = errors.New("the disk is full: free space or lower tsdb.disk-limit; new rows are refused until then")
	ErrFailed   = errors.New("the disk failed a write, so nothing more is accepted: check the disk and start again")
	ErrClosed   = errors.New("the twin store is closed")
	ErrTime     = errors.New("the time of a row must lie between 1970 and 2200")
	ErrRow      = errors.New("a row has 1 to 4096 values, of known columns and kinds")
	ErrColumns  = errors.New("a thing has at most 4096 columns")
	ErrDeleted  = errors.New("the thing was deleted")
)

// Samples are numbers of one series: ascending, unique times. The caller reuses it.
type Samples struct {
	TimesMs []int64
	Values  []float64
	Cost    ReadCost // of the read that filled it
}

// ReadCost is what one read took.
type ReadCost struct {
	Blocks   int // read from segments and decoded
	Headers  int // read from segments and answered by their headers
	Cached   int // columns of blocks and sections that had been decoded before
	Sections int // of rows in memory, decoded
}

// StringSamples are texts of one series: ascending, unique times. The caller reuses it.
type StringSamples struct {
	TimesMs []int64
	Values  []string
}

// Metric is a column name. Kinds has bit 1<<Kind set for every kind ever seen.
type Metric struct {
	ID    MetricID
	Name  string
	Kinds uint8
}

// Field is the last value of one column of a thing. Number holds Decimal, Bool and Float; Text holds String.
type Field struct {
	Metric MetricID
	Name   string
	Kind   Kind
	TimeMs int64
	Number float64
	Text   string
}

// Waiter is told when its rows are on disk.
//
// Durable is called from the committing goroutine, possibly before the Append that it belongs to has returned; it must
// not block and must not call the store. Every seq <= upTo of this waiter is durable (err == nil) or will never be
// (err != nil). It may be called once for many rows.
type Waiter interface {
	Durable(upTo uint64, err error)
}

// Float returns the number that v stands for, correctly rounded; 0 for String.
func (v Value) Float() float64 {
	switch v.Kind {
	case Decimal:
		return decimalFloat(v.Mantissa, v.Exp)
	case Bool:
		return float64(v.Mantissa)
	case Float:
		return math.Float64frombits(uint64(v.Mantissa))
	default:
		return 0
	}
}

// maxExactMantissa bounds the integers that a float64 holds exactly; with |exp| <= 22 one division or multiplication
// then rounds correctly (Clinger 1990).
const maxExactMantissa = 1 << 53

var exactPowers = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// decimalFloat returns mantissa * 10^exp, correctly rounded. Two pairs that stand for one number give the same bits.
func decimalFloat(mantissa int64, exp int8) float64 {
	if exp == 0 {
		return float64(mantissa)
	}
	if mantissa > -maxExactMantissa && mantissa < maxExactMantissa {
		if exp < 0 && exp >= -22 {
			return float64(mantissa) / exactPowers[-exp]
		}
		if exp > 0 && exp <= 22 {
			return float64(mantissa) * exactPowers[exp]
		}
	}
	var buf [32]byte
	text := strconv.AppendInt(buf[:0], mantissa, 10)
	text = append(text, 'e')
	text = strconv.AppendInt(text, int64(exp), 10)
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		panic("BUG: a decimal does not parse: " + string(text))
	}
	return f
}
