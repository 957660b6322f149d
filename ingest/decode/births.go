package decode

import "bytes"

// Limits of what one birth may define.
const (
	maxBirthMetrics = 2048
	maxBirthBytes   = 128 << 10 // of all names
)

// Births is what the last Sparkplug birth of one edge node or device said of its metrics: their names and datatypes, which its data
// messages leave out. The caller keeps one for each topic that has births, for as long as the connection lasts, and drops or resets
// it at a death. The zero Births has seen no birth. One is bounded, to about half a MiB; how many there are is the caller's to
// bound. It is not safe for concurrent use.
type Births struct {
	metrics []birthMetric
	byAlias map[uint64]int32 // place in metrics
	byName  map[string]int32
	bytes   int
}

type birthMetric struct {
	name     []byte
	datatype uint32
}

// Reset forgets the birth: data messages need a new one.
func (b *Births) Reset() {
	*b = Births{}
}

// Size returns how much memory it takes, in bytes, about.
func (b *Births) Size() int { return 2*b.bytes + len(b.metrics)*birthMetricBytes }

// birthMetricBytes is what a metric takes beside its name, which is kept twice: its place in the list and in both maps.
const birthMetricBytes = 128

// define adds the metric of a birth, whose name must be UTF-8.
func (b *Births) define(m *metric) fault {
	if b.byName == nil {
		b.byName = make(map[string]int32)
		b.byAlias = make(map[uint64]int32)
	}
	if _, twice := b.byAlias[m.alias]; twice && m.hasAlias {
		return faultAlias
	}
	b.bytes += len(m.name)
	if len(b.metrics) == maxBirthMetrics || b.bytes > maxBirthBytes {
		return faultBirth
	}
	at := int32(len(b.metrics))
	b.metrics = append(b.metrics, birthMetric{name: bytes.Clone(m.name), datatype: m.datatype})
	b.byName[string(m.name)] = at
	if m.hasAlias {
		b.byAlias[m.alias] = at
	}
	return ok
}

// complete fills in what a metric of a data message leaves out. A nil Births knows nothing.
func (b *Births) complete(m *metric) fault {
	if b != nil && (len(m.name) == 0 || m.datatype == 0) {
		at, known := b.byAlias[m.alias]
		known = known && m.hasAlias
		if len(m.name) > 0 {
			at, known = b.byName[string(m.name)]
		}
		if known {
			m.name = b.metrics[at].name
			if m.datatype == 0 {
				m.datatype = b.metrics[at].datatype
			}
		}
	}
	if len(m.name) == 0 {
		return faultRebirth
	}
	return ok
}
