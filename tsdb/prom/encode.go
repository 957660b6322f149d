package prom

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// errResultSize ends the encoding of a result that has grown past its bound.
var errResultSize = errors.New("result too large")

// appendValue appends v as the "result" of the HTTP API: an array of series or samples, or [time, "value"].
// It stops with errResultSize once dst is longer than maxBytes; the check is made per series.
func appendValue(dst []byte, v parser.Value, maxBytes int) ([]byte, error) {
	switch v := v.(type) {
	case promql.Vector:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSample(dst, &v[i])
			if len(dst) > maxBytes {
				return dst, errResultSize
			}
		}
		return append(dst, ']'), nil
	case promql.Matrix:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendSeries(dst, &v[i], maxBytes); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case promql.Scalar:
		return appendPoint(dst, v.T, v.V), nil
	case promql.String:
		dst = append(dst, '[')
		dst = appendTime(dst, v.T)
		dst = append(dst, ',')
		dst = appendString(dst, v.V)
		return append(dst, ']'), nil
	}
	return dst, fmt.Errorf("result type %q has no JSON form", v.Type())
}

// appendSample appends {"metric":{...},"value":[t,"v"]}.
func appendSample(dst []byte, s *promql.Sample) []byte {
	dst = append(dst, `{"metric":`...)
	dst = appendLabels(dst, s.Metric)
	if s.H != nil {
		dst = append(dst, `,"histogram":`...)
		dst = appendHistogramPoint(dst, s.T, s.H)
	} else {
		dst = append(dst, `,"value":`...)
		dst = appendPoint(dst, s.T, s.F)
	}
	return append(dst, '}')
}

// appendSeries appends {"metric":{...},"values":[[t,"v"],...]}; histograms, which only functions can make here, follow
// under "histograms". It gives up with errResultSize every 1,024 points once dst is longer than maxBytes.
func appendSeries(dst []byte, s *promql.Series, maxBytes int) ([]byte, error) {
	dst = append(dst, `{"metric":`...)
	dst = appendLabels(dst, s.Metric)
	if len(s.Floats) > 0 {
		dst = append(dst, `,"values":[`...)
		for i, p := range s.Floats {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendPoint(dst, p.T, p.F)
			if i%1024 == 0 && len(dst) > maxBytes {
				return dst, errResultSize
			}
		}
		dst = append(dst, ']')
	}
	if len(s.Histograms) > 0 {
		dst = append(dst, `,"histograms":[`...)
		for i, p := range s.Histograms {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendHistogramPoint(dst, p.T, p.H)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

func appendPoint(dst []byte, timeMs int64, v float64) []byte {
	dst = append(dst, '[')
	dst = appendTime(dst, timeMs)
	dst = append(dst, ',')
	dst = appendFloat(dst, v)
	return append(dst, ']')
}

// appendTime appends Unix milliseconds as seconds with up to three decimals.
func appendTime(dst []byte, timeMs int64) []byte {
	if timeMs < 0 {
		dst = append(dst, '-')
		timeMs = -timeMs
	}
	dst = strconv.AppendInt(dst, timeMs/1000, 10)
	if frac := timeMs % 1000; frac != 0 {
		dst = append(dst, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	}
	return dst
}

// appendFloat appends v as a JSON string, as Prometheus does: plain decimals, an exponent for the very small and
// the very large, "NaN", "+Inf", "-Inf".
func appendFloat(dst []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = append(dst, '"')
	dst = strconv.AppendFloat(dst, v, format, -1, 64)
	return append(dst, '"')
}

func appendHistogramPoint(dst []byte, timeMs int64, h *histogram.FloatHistogram) []byte {
	dst = append(dst, '[')
	dst = appendTime(dst, timeMs)
	dst = append(dst, `,{"count":`...)
	dst = appendFloat(dst, h.Count)
	dst = append(dst, `,"sum":`...)
	dst = appendFloat(dst, h.Sum)
	buckets := 0
	for it := h.AllBucketIterator(); it.Next(); {
		b := it.At()
		if b.Count == 0 {
			continue
		}
		if buckets == 0 {
			dst = append(dst, `,"buckets":[`...)
		} else {
			dst = append(dst, ',')
		}
		buckets++
		// The first element says which bounds belong to the bucket: 0 upper, 1 lower, 2 none, 3 both.
		bounds := byte('2')
		switch {
		case b.LowerInclusive && b.UpperInclusive:
			bounds = '3'
		case b.LowerInclusive:
			bounds = '1'
		case b.UpperInclusive:
			bounds = '0'
		}
		dst = append(dst, '[', bounds, ',')
		dst = appendFloat(dst, b.Lower)
		dst = append(dst, ',')
		dst = appendFloat(dst, b.Upper)
		dst = append(dst, ',')
		dst = appendFloat(dst, b.Count)
		dst = append(dst, ']')
	}
	if buckets > 0 {
		dst = append(dst, ']')
	}
	return append(dst, `}]`...)
}

func appendLabels(dst []byte, l labels.Labels) []byte {
	dst = append(dst, '{')
	first := true
	l.Range(func(l labels.Label) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, l.Name)
		dst = append(dst, ':')
		dst = appendString(dst, l.Value)
	})
	return append(dst, '}')
}

// appendStrings appends a JSON array of strings; nil is [].
func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string [RFC 8259, section 7]. Bytes that are no UTF-8 become U+FFFD; U+2028 and
// U+2029 are escaped, as encoding/json does.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&15])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
