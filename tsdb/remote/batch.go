package remote

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metrics"
	"github.com/klauspost/compress/s2"

	"muster/tsdb"
	"muster/tsdb/prom"
)

// What a series of PromQL is called: the same names as in package prom.
const (
	nameLabel  = "__name__"
	valueLabel = "value"
	infoSuffix = "_info"
)

// staleBits is the NaN that says that a series has ended (Prometheus remote write 1.0, "Stale Markers").
const staleBits = 0x7ff0000000000002

// maxTexts bounds the memory for the present values of string columns, about 40 bytes each. Columns beyond it get no stale marker.
const maxTexts = 1 << 20

// batch gathers rows as series, and encodes them as one write request. It keeps its buffers over reset. Not safe for concurrent
// use.
type batch struct {
	store      Store
	directory  prom.Directory
	external   []prom.Label
	maxSamples int
	unknown    *metrics.Counter // samples of things that are not shown

	samples int
	series  []series
	index   map[seriesKey]int
	texts   map[columnKey]uint32 // the present value of string columns, over batches

	things map[tsdb.ThingID][]prom.Label // labels of this batch's things; nil: not shown
	raw    []tsdb.Label
	labels []prom.Label
	buf    []byte
	part   []byte
	packed []byte
}

type columnKey struct {
	thing  tsdb.ThingID
	metric tsdb.MetricID
}

// seriesKey is a column; text is 0, or the id of the string that is the series' value, plus 1.
type seriesKey struct {
	columnKey
	text uint32
}

type series struct {
	key     seriesKey
	samples []sample
}

type sample struct {
	timeMs int64
	value  float64
}

func newBatch(store Store, directory prom.Directory, external []prom.Label, maxSamples int, unknown *metrics.Counter) *batch {
	return &batch{
		store: store, directory: directory, external: external, maxSamples: maxSamples, unknown: unknown,
		index: map[seriesKey]int{}, texts: map[columnKey]uint32{}, things: map[tsdb.ThingID][]prom.Label{},
	}
}

func (b *batch) reset() {
	b.samples, b.series = 0, b.series[:0]
	clear(b.index)
	clear(b.things)
}

func (b *batch) full() bool { return b.samples >= b.maxSamples }

// add takes a row, unless the batch is full.
func (b *batch) add(row tsdb.LogRow) bool {
	if b.full() {
		return false
	}
	labels, known := b.things[row.Thing]
	if !known {
		labels = b.labelsOf(row.Thing)
		b.things[row.Thing] = labels
	}
	if labels == nil {
		b.unknown.Add(len(row.Values))
		return true
	}
	for _, v := range row.Values {
		key := seriesKey{columnKey: columnKey{row.Thing, v.Metric}}
		if v.Kind != tsdb.String {
			b.put(key, row.TimeMs, v.Float())
			continue
		}
		key.text = uint32(v.Mantissa) + 1
		before, had := b.texts[key.columnKey]
		if had && before != key.text {
			b.put(seriesKey{key.columnKey, before}, row.TimeMs, math.Float64frombits(staleBits))
		}
		b.put(key, row.TimeMs, 1)
		if had || len(b.texts) < maxTexts {
			b.texts[key.columnKey] = key.text
		}
	}
	return true
}

func (b *batch) put(key seriesKey, timeMs int64, value float64) {
	i, ok := b.index[key]
	if !ok {
		i = len(b.series)
		b.index[key] = i
		if i < cap(b.series) {
			b.series = b.series[:i+1]
			b.series[i] = series{key, b.series[i].samples[:0]}
		} else {
			b.series = append(b.series, series{key: key})
		}
	}
	b.series[i].samples = append(b.series[i].samples, sample{timeMs, value})
	b.samples++
}

// labelsOf returns the labels that all series of a thing or source have, nil for one that is not shown.
func (b *batch) labelsOf(id tsdb.ThingID) []prom.Label {
	var ok bool
	if id >= tsdb.FirstSource {
		if b.raw, ok = b.store.SourceLabels(b.raw[:0], id); !ok {
			return nil
		}
		b.labels = b.labels[:0]
		for _, l := range b.raw {
			b.labels = append(b.labels, prom.Label{Name: l.Name, Value: l.Value})
		}
	} else if b.labels, ok = prom.ThingLabels(b.labels, b.directory, id); !ok {
		return nil
	}
	list := make([]prom.Label, len(b.labels), len(b.labels)+len(b.external)+2)
	copy(list, b.labels)
	for _, l := range b.external {
		if !has(list, l.Name) {
			list = append(list, l)
		}
	}
	return list
}

func has(list []prom.Label, name string) bool {
	return slices.ContainsFunc(list, func(l prom.Label) bool { return l.Name == name })
}

// encode returns the batch as a write request: protobuf (Prometheus' prompb.WriteRequest) in one block of snappy. The bytes are
// valid until the next call.
func (b *batch) encode() []byte {
	b.buf = b.buf[:0]
	for i := range b.series {
		s := &b.series[i]
		s.settle()
		b.part = b.appendSeries(b.part[:0], s)
		b.buf = appendBytes(b.buf, 1, b.part) // WriteRequest.timeseries
	}
	if most := s2.MaxEncodedLen(len(b.buf)); cap(b.packed) < most {
		b.packed = make([]byte, most)
	}
	return s2.EncodeSnappy(b.packed[:cap(b.packed)], b.buf)
}

// settle makes the samples ascending and unique in time, as the protocol wants them; of those with one time the last stays.
func (s *series) settle() {
	byTime := func(a, b sample) int { return cmp.Compare(a.timeMs, b.timeMs) }
	if !slices.IsSortedFunc(s.samples, byTime) {
		slices.SortStableFunc(s.samples, byTime)
	}
	kept := s.samples[:0]
	for _, x := range s.samples {
		if n := len(kept); n > 0 && kept[n-1].timeMs == x.timeMs {
			kept[n-1] = x
		} else {
			kept = append(kept, x)
		}
	}
	s.samples = kept
}

func (b *batch) appendSeries(dst []byte, s *series) []byte {
	name := strings.ToValidUTF8(b.store.Dict().MetricName(s.key.metric), "\uFFFD")
	b.labels = append(b.labels[:0], b.things[s.key.thing]...)
	if s.key.text > 0 {
		name += infoSuffix
		b.labels = slices.DeleteFunc(b.labels, func(l prom.Label) bool { return l.Name == valueLabel })
		if text := strings.ToValidUTF8(b.store.Dict().StringValue(s.key.text-1), "\uFFFD"); text != "" {
			b.labels = append(b.labels, prom.Label{Name: valueLabel, Value: text})
		}
	}
	b.labels = append(b.labels, prom.Label{Name: nameLabel, Value: name})
	slices.SortFunc(b.labels, func(a, b prom.Label) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range b.labels {
		size := stringSize(l.Name) + stringSize(l.Value)
		dst = binary.AppendUvarint(append(dst, 1<<3|2), uint64(size)) // TimeSeries.labels
		dst = appendString(dst, 1, l.Name)
		dst = appendString(dst, 2, l.Value)
	}
	for _, x := range s.samples {
		dst = binary.AppendUvarint(append(dst, 2<<3|2), uint64(1+8+1+uvarintSize(uint64(x.timeMs)))) // TimeSeries.samples
		dst = binary.LittleEndian.AppendUint64(append(dst, 1<<3|1), math.Float64bits(x.value))
		dst = binary.AppendUvarint(append(dst, 2<<3), uint64(x.timeMs))
	}
	return dst
}

// appendBytes and its kin write protobuf fields (protobuf.dev, "Encoding"): a tag of number and wire type, then the value. All field
// numbers here are below 16, so that a tag is one byte.
func appendBytes(dst []byte, field byte, value []byte) []byte {
	return append(binary.AppendUvarint(append(dst, field<<3|2), uint64(len(value))), value...)
}

func appendString(dst []byte, field byte, value string) []byte {
	return append(binary.AppendUvarint(append(dst, field<<3|2), uint64(len(value))), value...)
}

func stringSize(s string) int { return 1 + uvarintSize(uint64(len(s))) + len(s) }

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
