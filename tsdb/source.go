package tsdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Limits of sources. A label set past them is an error, so that no sender can fill the memory with new ones.
const (
	MaxSources         = 1_000_000
	MaxSourceLabels    = 64
	MaxLabelNameBytes  = 256
	MaxLabelValueBytes = 1 << 10
	maxSourceBytes     = MaxSourceLabels*(MaxLabelNameBytes+MaxLabelValueBytes+4) + 1
	maxAllSourcesBytes = 256 << 20
	metricNameLabel    = "__name__"
)

// FirstSource is the id of the first source. Ids below it are things of the registry.
const FirstSource ThingID = 1 << 31

// Errors of Store.Source. Compare with errors.Is.
var (
	ErrLabels      = errors.New("the label set is not valid")
	ErrSourcesFull = errors.New("the store takes no new label sets")
	errNoSource    = errors.New("a source has the id that Store.Source gave")
)

// Label is a name and a value.
type Label struct{ Name, Value string }

// LabelSet builds the label set of a source. It keeps its buffers over Reset. Not safe for concurrent use.
type LabelSet struct {
	pairs []labelPair
	key   []byte
}

type labelPair struct{ name, value []byte }

// Reset makes the set empty.
func (l *LabelSet) Reset() { l.pairs = l.pairs[:0] }

// Add adds a label, in any order. It keeps name and value until Reset. A label with an empty value is none.
func (l *LabelSet) Add(name, value []byte) {
	if len(value) > 0 {
		l.pairs = append(l.pairs, labelPair{name, value})
	}
}

// Len returns how many labels there are.
func (l *LabelSet) Len() int { return len(l.pairs) }

// Value returns the value of the label called name, nil if there is none.
func (l *LabelSet) Value(name string) []byte {
	for i := range l.pairs {
		if string(l.pairs[i].name) == name {
			return l.pairs[i].value
		}
	}
	return nil
}

// encode sorts the labels and fills key with them: uvarint count, then each uvarint length, name, uvarint length, value, ascending
// by name. One label set has one key.
func (l *LabelSet) encode() error {
	if len(l.pairs) > MaxSourceLabels {
		return fmt.Errorf("%w: it has %d labels, at most %d are kept", ErrLabels, len(l.pairs), MaxSourceLabels)
	}
	byName := func(a, b labelPair) int { return bytes.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(l.pairs, byName) {
		slices.SortFunc(l.pairs, byName)
	}
	l.key = binary.AppendUvarint(l.key[:0], uint64(len(l.pairs)))
	for i, p := range l.pairs {
		switch {
		case len(p.name) == 0:
			return fmt.Errorf("%w: a label has no name", ErrLabels)
		case string(p.name) == metricNameLabel:
			return fmt.Errorf("%w: it names the series twice", ErrLabels)
		case len(p.name) > MaxLabelNameBytes:
			return fmt.Errorf("%w: the name of label %.32q has %d bytes, at most %d are kept", ErrLabels, p.name, len(p.name), MaxLabelNameBytes)
		case len(p.value) > MaxLabelValueBytes:
			return fmt.Errorf("%w: the value of label %.64q has %d bytes, at most %d are kept", ErrLabels, p.name, len(p.value), MaxLabelValueBytes)
		case i > 0 && bytes.Equal(p.name, l.pairs[i-1].name):
			return fmt.Errorf("%w: it has label %.64q twice", ErrLabels, p.name)
		case !utf8.Valid(p.name) || !utf8.Valid(p.value):
			return fmt.Errorf("%w: label %.64q is not UTF-8", ErrLabels, p.name)
		}
		l.key = append(binary.AppendUvarint(l.key, uint64(len(p.name))), p.name...)
		l.key = append(binary.AppendUvarint(l.key, uint64(len(p.value))), p.value...)
	}
	return nil
}

// Source returns the id of the series' label set without the metric's name, which it keeps a copy of if it is new: telemetry that does not
// come from a thing has a source in its place. The id is on disk no later than a row that uses it. A set that is known takes no
// lock and no allocation. Errors are ErrLabels and ErrSourcesFull.
func (s *Store) Source(set *LabelSet) (ThingID, error) { return s.dict.source(set) }

func (d *Dict) source(set *LabelSet) (ThingID, error) {
	if err := set.encode(); err != nil {
		return 0, err
	}
	id, ok := d.sources.find(set.key)
	if !ok {
		var err error
		if id, err = d.sources.add(set.key); err != nil {
			return 0, fmt.Errorf("%w: there are %d of at most %d, with %d MiB of labels; send fewer different ones", ErrSourcesFull,
				d.sources.count(), MaxSources, maxAllSourcesBytes>>20)
		}
	}
	return FirstSource + ThingID(id), nil
}

// Sources returns how many sources there are; their ids ascend from FirstSource.
func (s *Store) Sources() int { return s.dict.sources.count() }

// SourceLabels appends the labels of a source, ascending by name, to dst. It is false for an id that is none.
func (s *Store) SourceLabels(dst []Label, id ThingID) ([]Label, bool) {
	if id < FirstSource {
		return dst, false
	}
	return appendSourceLabels(dst, s.dict.sources.word(uint32(id-FirstSource)))
}

// appendSourceLabels decodes what LabelSet.encode made. What stands for a lost label set begins with a letter, which as a count is too large.
func appendSourceLabels(dst []Label, key string) ([]Label, bool) {
	start := len(dst)
	next := func() (string, bool) {
		n, size := binary.Uvarint([]byte(key[:min(len(key), 3)]))
		if size <= 0 || n > uint64(len(key)-size) {
			return "", false
		}
		text := key[size : size+int(n)]
		key = key[size+int(n):]
		return text, true
	}
	if key == "" || key[0] > MaxSourceLabels {
		return dst, false
	}
	n := int(key[0])
	key = key[1:]
	for range n {
		name, ok := next()
		if !ok {
			return dst[:start], false
		}
		value, ok := next()
		if !ok {
			return dst[:start], false
		}
		dst = append(dst, Label{name, value})
	}
	return dst, key == ""
}

// hasSource says whether an id below FirstSource, or of a source, may have rows.
func (d *Dict) hasSource(id ThingID) bool {
	return id < FirstSource || int(id-FirstSource) < d.sources.count()
}

// appendSources encodes all label sets.
func (d *Dict) appendSources(dst []byte) []byte {
	list := d.sources.since(0)
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, key := range list {
		dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	}
	return dst
}

// loadSources restores what appendSources encoded.
func (d *Dict) loadSources(src []byte) error {
	r := reader{src: src}
	for i := range r.count() {
		key := r.bytes(int(r.uvarintMax(maxSourceBytes)))
		if r.err != nil {
			return r.err
		}
		if err := d.sources.restore(uint32(i), string(key)); err != nil {
			return err
		}
	}
	if r.err == nil && len(r.src) > 0 {
		r.fail()
	}
	return r.err
}
