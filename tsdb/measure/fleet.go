package measure

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"muster/tsdb"
)

const (
	// columns is how many values a message has.
	columns = 8
	// stepMs and jitterMs are how a device keeps time: every 10 s, up to 50 ms early or late.
	stepMs, jitterMs = 10_000, 50
	// Of 1,000 messages so many come late, by up to lateRounds rounds, and so many just after the next one.
	latePerMille, swappedPerMille, lateRounds = 20, 2, 30
	// firstMs is the time of round 0: 2026-03-01.
	firstMs = 1_772_323_200_000
	cities  = 20
)

// column is one value of a message.
type column struct {
	name string
	exp  int8
	kind tsdb.Kind
}

// Even devices are street lights, odd ones are vans. temperature_c and energy_wh, a counter, are of all.
var (
	light = [columns]column{
		{"temperature_c", -1, tsdb.Decimal}, {"energy_wh", 0, tsdb.Decimal}, {"voltage_v", -1, tsdb.Decimal}, {"power_w", 0, tsdb.Decimal},
		{"current_a", -3, tsdb.Decimal}, {"brightness_percent", 0, tsdb.Decimal}, {"lamp_on", 0, tsdb.Bool}, {"state", 0, tsdb.String},
	}
	van = [columns]column{
		{"temperature_c", -1, tsdb.Decimal}, {"energy_wh", 0, tsdb.Decimal}, {"lat", -6, tsdb.Decimal}, {"lon", -6, tsdb.Decimal},
		{"speed_kmh", -1, tsdb.Decimal}, {"battery_percent", -1, tsdb.Decimal}, {"ignition", 0, tsdb.Bool}, {"state", 0, tsdb.String},
	}
)

// states are the texts of the columns named state.
var states = [4]string{"idle", "as scheduled", "dimmed by sensor", "service is due"}

func model(device int) *[columns]column {
	if device%2 == 0 {
		return &light
	}
	return &van
}

func thingName(device int) string { return fmt.Sprintf("device-%06d", device) }

func city(device int) string { return fmt.Sprintf("city-%02d", device%cities) }

// message is one row: mantissas in the order of the model's columns; of a state, the index in states.
type message struct {
	device int
	timeMs int64
	values [columns]int64
}

// fleet makes the messages of devices first to first+len(now)-1, round by round, the same for the same seed.
type fleet struct {
	rng   *rand.Rand
	first int
	now   [][columns]int64
	n     int                       // the next round
	held  [lateRounds + 1][]message // to be sent at the end of round n, at n % len
}

func newFleet(first, devices int, seed uint64) *fleet {
	f := &fleet{rng: rand.New(rand.NewPCG(seed, uint64(first))), first: first, now: make([][columns]int64, devices)}
	for i := range f.now {
		if (first+i)%2 == 0 {
			f.now[i] = [columns]int64{200 + f.rng.Int64N(100), f.rng.Int64N(1e6), 2300, 140, 610, 80, 1, 0}
		} else {
			f.now[i] = [columns]int64{200 + f.rng.Int64N(100), f.rng.Int64N(1e7), 48_137_154 + f.rng.Int64N(1e5), 11_576_124 + f.rng.Int64N(1e5), 0, 800, 1, 0}
		}
	}
	return f
}

// round appends the messages of the next round, as they arrive.
func (f *fleet) round(dst []message) []message {
	for i := range f.now {
		f.move(f.first+i, &f.now[i])
		m := message{f.first + i, firstMs + int64(f.n)*stepMs + int64(i)*37%stepMs + f.walk(jitterMs), f.now[i]}
		after := 0
		switch r := f.rng.IntN(1000); {
		case r < latePerMille:
			after = 1 + f.rng.IntN(lateRounds)
		case r < latePerMille+swappedPerMille:
			after = 1
		}
		if after == 0 {
			dst = append(dst, m)
			continue
		}
		due := (f.n + after) % len(f.held)
		f.held[due] = append(f.held[due], m)
	}
	due := f.n % len(f.held)
	dst = append(dst, f.held[due]...)
	f.held[due] = f.held[due][:0]
	f.n++
	return dst
}

// rest appends the messages that are still held back.
func (f *fleet) rest(dst []message) []message {
	for i := range f.held {
		dst = append(dst, f.held[i]...)
		f.held[i] = nil
	}
	return dst
}

// walk returns a step of up to steps in either direction.
func (f *fleet) walk(steps int64) int64 { return f.rng.Int64N(2*steps+1) - steps }

// move moves the values of a device by one round: gauges wander by some of their last digits, counters count.
func (f *fleet) move(device int, v *[columns]int64) {
	r := f.rng.Uint64()
	if r%4 == 0 {
		v[0] += f.walk(1)
	}
	if r>>40%300 == 0 {
		v[7] = int64(r >> 50 % uint64(len(states)))
	}
	if r>>16%200 == 0 {
		v[6] = 1 - v[6]
	}
	if device%2 == 0 {
		v[2] = max(1000, v[2]+f.walk(2))
		if r>>8%3 == 0 {
			v[3] = max(0, v[3]+f.walk(2))
			v[4] = v[3] * 10_000 / v[2]
		}
		if r>>24%100 == 0 {
			v[5] = int64(r >> 32 % 101)
		}
		v[1] += v[3] / 36
		return
	}
	v[4] = min(max(0, v[4]+f.walk(15)), 900)
	v[2], v[3] = v[2]+v[4]/40+f.walk(3), v[3]+v[4]/30+f.walk(3)
	v[1] += v[4] / 10
	if r>>24%30 == 0 {
		v[5] = max(0, v[5]-1)
	}
}

// palette is what a store's dictionary has made of the columns and states.
type palette struct {
	light, van [columns]tsdb.MetricID
	states     [len(states)]int64
}

func newPalette(d *tsdb.Dict) (p palette, err error) {
	for i := range columns {
		if p.light[i], err = d.Metric([]byte(light[i].name)); err != nil {
			return p, err
		}
		if p.van[i], err = d.Metric([]byte(van[i].name)); err != nil {
			return p, err
		}
	}
	for i, text := range states {
		id, err := d.String([]byte(text))
		if err != nil {
			return p, err
		}
		p.states[i] = int64(id)
	}
	return p, nil
}

// row returns the values of m as the store takes them.
func (p *palette) row(m *message) (row [columns]tsdb.Value) {
	ids := &p.light
	if m.device%2 != 0 {
		ids = &p.van
	}
	for i, c := range model(m.device) {
		row[i] = tsdb.Value{Mantissa: m.values[i], Metric: ids[i], Exp: c.exp, Kind: c.kind}
		if c.kind == tsdb.String {
			row[i].Mantissa = p.states[m.values[i]]
		}
	}
	return row
}

// appendJSON appends m as a device writes it.
func appendJSON(dst []byte, m *message) []byte {
	dst = append(dst, `{"ts":`...)
	dst = strconv.AppendInt(dst, m.timeMs, 10)
	for i, c := range model(m.device) {
		dst = append(append(append(dst, `,"`...), c.name...), `":`...)
		switch v := m.values[i]; c.kind {
		case tsdb.Bool:
			dst = strconv.AppendBool(dst, v != 0)
		case tsdb.String:
			dst = append(append(append(dst, '"'), states[v]...), '"')
		default:
			dst = strconv.AppendFloat(dst, number(v, c.exp), 'f', -1, 64)
		}
	}
	return append(dst, '}')
}

// number is mantissa * 10^exp.
func number(mantissa int64, exp int8) float64 {
	return tsdb.Value{Mantissa: mantissa, Exp: exp}.Float()
}
