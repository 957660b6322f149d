package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Column is what a term over telemetry asks for: the last value of a metric, or one over a window that ends now.
type Column struct {
	Metric string
	Func   Func
	Over   time.Duration // 0 of LastValue
}

// Func makes one number of the samples of a window, which begins after its first moment and ends with its last one. A
// window without samples has none, but for Count.
type Func uint8

const (
	LastValue Func = iota // without a window
	Avg
	Min
	Max
	Sum
	Count // 0 in a window without samples, of things that ever had one
	Rate  // per second from the first sample to the last, a fall counts from 0; needs two samples
	Last
)

var funcNames = [...]string{Avg: "avg", Min: "min", Max: "max", Sum: "sum", Count: "count", Rate: "rate", Last: "last"}

// MaxWindow bounds a window.
const MaxWindow = 31 * 24 * time.Hour

// Of returns the value over the samples of a window, ascending in time. had says that there ever was a sample.
func (f Func) Of(timesMs []int64, values []float64, had bool) (value float64, ok bool) {
	n := len(values)
	switch {
	case f == Count:
		return float64(n), had || n > 0
	case n == 0 || f == Rate && (n < 2 || timesMs[0] == timesMs[n-1]):
		return 0, false
	}
	switch f {
	case Min, Max:
		value = values[0]
		for _, v := range values[1:] {
			if f == Min && v < value || f == Max && v > value || math.IsNaN(value) {
				value = v
			}
		}
	case Sum, Avg:
		for _, v := range values {
			value += v
		}
		if f == Avg {
			value /= float64(n)
		}
	case Rate:
		for i, v := range values[1:] {
			if before := values[i]; v >= before {
				value += v - before
			} else {
				value += v
			}
		}
		value /= float64(timesMs[n-1]-timesMs[0]) / 1000
	case Last, LastValue:
		value = values[n-1]
	}
	return value, true
}

// String returns the column as it stands behind "telemetry.".
func (c Column) String() string {
	if c.Func == LastValue {
		return c.Metric
	}
	return fmt.Sprintf("%s.%s(%s)", c.Metric, funcNames[c.Func], formatDuration(c.Over))
}

// formatDuration spells whole seconds with the largest unit that fits.
func formatDuration(d time.Duration) string {
	for _, unit := range []byte("wdhms") {
		if d%units[unit] == 0 {
			return strconv.Itoa(int(d/units[unit])) + string(unit)
		}
	}
	panic("BUG: a duration of parts of a second")
}

// columnOf returns the column that a field stands for.
func columnOf(field string) (c Column, ok bool) {
	name, ok := strings.CutPrefix(field, telemetryRoot)
	if !ok {
		return Column{}, false
	}
	inner, ok := strings.CutSuffix(name, ")")
	if ok {
		if open := strings.LastIndexByte(inner, '('); open >= 0 {
			if c, err := parseWindow(inner[:open], inner[open+1:]); err == nil {
				return c, true
			}
		}
	}
	return Column{Metric: name}, true
}

// parseWindow reads temp_c.avg and 5m.
func parseWindow(name, over string) (c Column, err error) {
	dot := strings.LastIndexByte(name, '.')
	for f, known := range funcNames {
		if known != "" && dot > 0 && name[dot+1:] == known {
			c.Metric, c.Func = name[:dot], Func(f)
		}
	}
	if c.Func == LastValue {
		return c, fmt.Errorf("a window is one of avg, min, max, sum, count, rate and last: telemetry.temp_c.avg(5m)")
	}
	d, ok := parseTime("now+" + over)
	if !ok || d <= 0 || d > MaxWindow {
		return c, fmt.Errorf("%q is no length of a window, which is 1s to 31d: telemetry.temp_c.avg(5m), units s m h d w", over)
	}
	c.Over = d
	return c, nil
}

// window reads the ( and what is behind it of telemetry.temp_c.avg(5m). word is what stands before it.
func (p *parser) window(word string, at int) (field string, err error) {
	open := p.at
	p.at++
	p.space()
	over := ""
	if p.peek() != ')' {
		if over, err = p.word(false); err != nil {
			return "", err
		}
	}
	p.space()
	if p.peek() != ')' {
		return "", p.fail(open, "this ( is not closed")
	}
	p.at++
	c, err := parseWindow(strings.TrimPrefix(word, telemetryRoot), over)
	if err != nil {
		return "", p.fail(at, "%v", err)
	}
	return telemetryRoot + c.String(), nil
}
