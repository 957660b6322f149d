package torture

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"muster/tsdb"
)

// liveThings is how many things of a model are alive at a time.
const liveThings = 5

// Model is what a test believes about a store: every row that it appended, and which of them it was told are on disk. The zero value has
// none. One goroutine calls its methods; the store may tell it about rows meanwhile.
type Model struct {
	mu    sync.Mutex // guards state and settled of every row
	rows  []*row     // by order of appending
	cells int64      // ever made, refused ones as well: the next value

	baseMs   int64 // rows lie within twelve days after it
	keptFrom int64 // retention may have deleted what is before it
	deleted  map[tsdb.ThingID]deletion
	things   [liveThings]tsdb.ThingID
	nextID   tsdb.ThingID
}

// row is one message. It is its own Waiter.
type row struct {
	m       *Model
	thing   tsdb.ThingID
	ms      int64
	cells   []cell
	state   rowState
	settled bool // the state does not change any more
}

type cell struct {
	column string
	value  string // as text prints it
}

type rowState uint8

const (
	sent rowState = iota
	acked
	refused
)

// deletion is how far a thing is on its way out.
type deletion uint8

const (
	alive    deletion = iota
	perhaps           // the deletion was not confirmed
	finished          // it was
)

// Durable implements tsdb.Waiter.
func (r *row) Durable(_ uint64, err error) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	if err == nil {
		r.state = acked
	}
}

// Freeze calls f, a power cut, and takes no acknowledgment that comes during or after it.
func (m *Model) Freeze(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	for _, r := range m.rows {
		r.settled = true
	}
}

// Acked returns how many rows were acknowledged.
func (m *Model) Acked() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rows {
		if r.state == acked {
			n++
		}
	}
	return n
}

// Append appends a random row of one to three columns to s and returns the store's error. Every value is unique, so that a wrong one is
// seen; times and columns repeat.
func (m *Model) Append(s *tsdb.Store, rng *rand.Rand) error {
	if m.nextID == 0 {
		for i := range m.things {
			m.things[i] = tsdb.ThingID(i)
		}
		m.nextID = liveThings
	}
	r := &row{m: m, thing: m.things[rng.IntN(liveThings)], ms: m.baseMs + int64(rng.IntN(400))*1000}
	if rng.IntN(10) == 0 {
		r.ms += int64(rng.IntN(12)) * 86_400_000 // other days
	}
	first := rng.IntN(4 + len(m.rows)/100)
	var values []tsdb.Value
	for i := range 1 + max(0, rng.IntN(6)-3) {
		c := cell{column: fmt.Sprintf("c%d", first+i)}
		id, err := s.Dict().Metric([]byte(c.column))
		if err != nil {
			return err
		}
		v, err := m.value(s, rng)
		if err != nil {
			return err
		}
		v.Metric = id
		c.value = text(v.Float())
		if v.Kind == tsdb.String {
			c.value = text(s.Dict().StringValue(uint32(v.Mantissa)))
		}
		r.cells = append(r.cells, c)
		values = append(values, v)
	}
	m.mu.Lock()
	m.rows = append(m.rows, r)
	m.mu.Unlock()
	_, err := s.Append(r.thing, r.ms, values, r)
	if err != nil {
		m.mu.Lock()
		r.state, r.settled = refused, true
		m.mu.Unlock()
	}
	return err
}

// value returns the next value, of a random kind.
func (m *Model) value(s *tsdb.Store, rng *rand.Rand) (tsdb.Value, error) {
	m.cells++
	switch rng.IntN(8) {
	case 0:
		id, err := s.Dict().String(fmt.Appendf(nil, "word %d", m.cells))
		return tsdb.Value{Kind: tsdb.String, Mantissa: int64(id)}, err
	case 1:
		return tsdb.Value{Kind: tsdb.Float, Mantissa: int64(math.Float64bits(float64(m.cells) * math.Pi))}, nil
	}
	return tsdb.Value{Mantissa: m.cells, Exp: int8(-rng.IntN(3))}, nil
}

// Delete deletes a random thing, which a new one replaces, and returns the store's error.
func (m *Model) Delete(s *tsdb.Store, rng *rand.Rand) error {
	if m.nextID == 0 {
		return nil
	}
	if m.deleted == nil {
		m.deleted = map[tsdb.ThingID]deletion{}
	}
	i := rng.IntN(liveThings)
	id := m.things[i]
	m.things[i] = m.nextID
	m.nextID++
	m.deleted[id] = perhaps
	err := s.DeleteThing(id)
	if err == nil {
		m.deleted[id] = finished
	}
	return err
}

// key names a cell of a store. Texts and numbers of one name are columns of their own.
type key struct {
	thing  tsdb.ThingID
	column string
	ms     int64
	text   bool
}

func (k key) String() string { return fmt.Sprintf("thing %d, %s at %d ms", k.thing, k.column, k.ms) }

// text writes a number or a text as cell.value has it.
func text(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}

// expect returns the values that each cell may have, the cells that must be there, and all values that a cell ever had: tiers are
// made anew some time after a row was replaced.
func (m *Model) expect() (allowed map[key][]string, needed map[key]string, ever map[key][]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	allowed, needed, ever = map[key][]string{}, map[key]string{}, map[key][]string{}
	for _, r := range m.rows {
		if r.state == refused || m.deleted[r.thing] == finished {
			continue
		}
		for _, c := range r.cells {
			k := key{r.thing, c.column, r.ms, c.value[0] == '"'}
			if r.state == acked && r.ms >= m.keptFrom && m.deleted[r.thing] == alive {
				allowed[k], needed[k] = nil, c.value
			}
			allowed[k] = append(allowed[k], c.value)
			ever[k] = append(ever[k], c.value)
		}
	}
	return allowed, needed, ever
}

// Check compares a reopened store with the model: of each cell it must hold the last acknowledged value, or one that was appended later,
// once; and nothing else. A deleted thing has left nothing.
func (m *Model) Check(s *tsdb.Store) error {
	allowed, needed, ever := m.expect()
	var nums tsdb.Samples
	var texts tsdb.StringSamples
	one := func(where string, k key, value string) error {
		if !slices.Contains(allowed[k], value) {
			return fmt.Errorf("%s: %v is %s, want one of %v", where, k, value, allowed[k])
		}
		return nil
	}
	for id := range max(m.nextID, liveThings) {
		for _, metric := range s.Metrics() {
			err := errors.Join(s.Read(&nums, id, metric.ID, 0, math.MaxInt64), s.ReadStrings(&texts, id, metric.ID, 0, math.MaxInt64))
			if err != nil {
				return err
			}
			if !ascending(nums.TimesMs) || !ascending(texts.TimesMs) {
				return fmt.Errorf("thing %d, %s: times are not ascending and unique: %v %v", id, metric.Name, nums.TimesMs, texts.TimesMs)
			}
			for i, ms := range nums.TimesMs {
				k := key{id, metric.Name, ms, false}
				if err := one("sample", k, text(nums.Values[i])); err != nil {
					return err
				}
				delete(needed, k)
			}
			for i, ms := range texts.TimesMs {
				k := key{id, metric.Name, ms, true}
				if err := one("sample", k, text(texts.Values[i])); err != nil {
					return err
				}
				delete(needed, k)
			}
		}
		for _, metric := range s.Metrics() {
			if err := checkTiers(s, id, metric, ever); err != nil {
				return err
			}
		}
		for _, f := range s.Twin(nil, id) {
			value := text(f.Number)
			if f.Kind == tsdb.String {
				value = text(f.Text)
			}
			if err := one("last value", key{id, f.Name, f.TimeMs, f.Kind == tsdb.String}, value); err != nil {
				return err
			}
		}
	}
	for k, value := range needed {
		return fmt.Errorf("%d acknowledged cells are lost, one is %v: %s", len(needed), k, value)
	}
	return nil
}

// checkTiers looks for buckets that cannot be of the rows: whose last value was never there, or not between the others.
func checkTiers(s *tsdb.Store, id tsdb.ThingID, metric tsdb.Metric, ever map[key][]string) error {
	var list []tsdb.Bucket
	for _, stepMs := range [...]int64{tsdb.Tier5m, tsdb.Tier1h} {
		var err error
		if list, err = s.ReadTier(list, id, metric.ID, stepMs, 0, math.MaxInt64); err != nil {
			return err
		}
		for i, b := range list {
			k := key{id, metric.Name, b.LastMs, false}
			if !slices.Contains(ever[k], text(b.Last)) || b.Min > b.Last || b.Max < b.Last || b.Count < 1 || b.EndMs%stepMs != 0 ||
				b.LastMs <= b.EndMs-stepMs || b.LastMs > b.EndMs || i > 0 && list[i-1].EndMs >= b.EndMs {
				return fmt.Errorf("bucket of %d ms of %v: %+v, the last value should be one of %v", stepMs, k, b, ever[k])
			}
		}
	}
	return nil
}

func ascending(times []int64) bool {
	for i := 1; i < len(times); i++ {
		if times[i] <= times[i-1] {
			return false
		}
	}
	return true
}
