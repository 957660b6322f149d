// Package sim makes the telemetry of a fleet of street lights and delivery vehicles.
//
// A device is plain state that moves with the time given to it; it opens nothing, waits for nothing and is
// deterministic for a seed. Half of a fleet replays recorded series (replay.go) where they are at hand.
package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Thing types of a simulated fleet.
const (
	StreetLight = "street-light"
	Vehicle     = "vehicle"
)

var cities = []struct {
	name     string
	lat, lon float64 // degrees
}{
	{"lisbon", 38.722, -9.139}, {"malmo", 55.605, 13.003}, {"graz", 47.070, 15.439},
	{"leeds", 53.801, -1.549}, {"tartu", 58.378, 26.729},
}

// Device is one simulated device. Not for concurrent use.
type Device struct {
	Name, Type string
	Attributes map[string]string

	rand     *rand.Rand
	last     time.Time
	replay   *Series // nil: a generated course
	row      int     // next row of replay
	measure  measure
	firmware string
}

// measure is a model of one kind of device.
type measure interface {
	// advance moves the state by dt, at the given time of day; recorded is the value of a recorded series, NaN without one.
	advance(r *rand.Rand, at time.Time, dt time.Duration, recorded float64)
	// appendFields appends the JSON members of the state, each followed by a comma.
	appendFields(dst []byte) []byte
}

// Fleet returns n devices, street lights and vehicles in turn, the same for the same seed. Every second pair
// of them replays one of series.
func Fleet(n int, seed uint64, series []Series) []*Device {
	fleet := make([]*Device, n)
	for i := range fleet {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		city := cities[i/2%len(cities)]
		d := &Device{
			rand:       r,
			firmware:   []string{"2.4.1", "2.4.1", "2.4.1", "2.3.9"}[r.IntN(4)],
			Attributes: map[string]string{"city": city.name, "site": fmt.Sprintf("site-%02d", i%17)},
		}
		if i%2 == 0 {
			d.Type, d.Name = StreetLight, fmt.Sprintf("lamp-%05d", i/2)
			d.measure = &light{ratedW: 40 + 10*float64(r.IntN(6)), tempC: 18, energyWh: 1e5 * r.Float64()}
		} else {
			d.Type, d.Name = Vehicle, fmt.Sprintf("van-%05d", i/2)
			d.measure = &van{lat: city.lat + r.NormFloat64()/50, lon: city.lon + r.NormFloat64()/50,
				heading: 2 * math.Pi * r.Float64(), batteryPct: 40 + 60*r.Float64(), odometerM: 5e7 * r.Float64(), motorC: 25}
		}
		if len(series) > 0 && i/2%2 == 0 {
			d.pick(series)
		}
		fleet[i] = d
	}
	return fleet
}

// AppendJSON moves the device to the given time and appends its telemetry message, one JSON object.
func (d *Device) AppendJSON(dst []byte, at time.Time) []byte {
	dt := min(max(at.Sub(d.last), 0), time.Minute)
	d.last = at
	recorded := math.NaN()
	if d.replay != nil {
		recorded = d.replay.Values[d.row]
		d.row = (d.row + 1) % len(d.replay.Values)
	}
	d.measure.advance(d.rand, at, dt, recorded)
	dst = append(dst, `{"ts":`...)
	dst = strconv.AppendInt(dst, at.UnixMilli(), 10)
	dst = append(dst, ',')
	dst = d.measure.appendFields(dst)
	dst = appendNumber(dst, "rssi_dbm", math.Round(-70+4*d.rand.NormFloat64()), 0)
	return append(append(append(dst, `"fw":"`...), d.firmware...), `"}`...)
}

// light is a street light: on from 18:00 to 06:00, dimmed at the dead of night.
type light struct {
	ratedW, powerW, tempC, voltageV, energyWh float64
	dimPct                                    float64
	on                                        bool
}

func (l *light) advance(r *rand.Rand, at time.Time, dt time.Duration, recorded float64) {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	l.on = hour >= 18 || hour < 6
	l.dimPct = 0
	if l.on {
		l.dimPct = 100
		if hour >= 23 || hour < 4 {
			l.dimPct = 60
		}
	}
	l.voltageV = 230 + 1.5*r.NormFloat64()
	l.powerW = 0.6 + 0.05*r.Float64() + l.ratedW*l.dimPct/100*(1+0.01*r.NormFloat64())
	l.energyWh += l.powerW * dt.Hours()
	l.tempC += (16 + 0.35*l.powerW - l.tempC) * min(dt.Minutes()/20, 1)
	l.tempC += 0.05 * r.NormFloat64()
	if !math.IsNaN(recorded) {
		l.tempC = recorded
	}
}

func (l *light) appendFields(dst []byte) []byte {
	dst = appendNumber(dst, "power_w", l.powerW, 1)
	dst = appendNumber(dst, "voltage_v", l.voltageV, 1)
	dst = appendNumber(dst, "temp_c", l.tempC, 2)
	dst = appendNumber(dst, "dim_pct", l.dimPct, 0)
	dst = appendNumber(dst, "energy_wh", l.energyWh, 0)
	return append(strconv.AppendBool(append(dst, `"on":`...), l.on), ',')
}

// van is an electric delivery van that drives, parks and charges.
type van struct {
	lat, lon, heading                       float64 // degrees, degrees, radians
	speedKmh, powerW, batteryPct, odometerM float64
	motorC                                  float64
	parked                                  time.Duration // left to stand
	charging                                bool
}

const metersPerDegree = 111_320

func (v *van) advance(r *rand.Rand, _ time.Time, dt time.Duration, recorded float64) {
	switch {
	case v.parked > 0:
		v.parked -= dt
		v.speedKmh = 0
	case r.Float64() < dt.Minutes()/15: // a stop about every quarter of an hour
		v.parked = time.Duration(1+r.IntN(5)) * time.Minute
		v.charging = v.batteryPct < 35
	default:
		v.speedKmh = min(max(v.speedKmh+6*r.NormFloat64()+(42-v.speedKmh)/8, 3), 95)
		v.heading += 0.3 * r.NormFloat64()
	}
	if !math.IsNaN(recorded) {
		v.speedKmh, v.parked = recorded*1.609344, 0 // the recorded series are in miles per hour
	}
	v.charging = v.charging && v.speedKmh == 0 && v.batteryPct < 99
	meters := v.speedKmh / 3.6 * dt.Seconds()
	v.odometerM += meters
	v.lat += meters * math.Cos(v.heading) / metersPerDegree
	v.lon += meters * math.Sin(v.heading) / (metersPerDegree * math.Cos(v.lat*math.Pi/180))
	v.powerW = 350 + 160*v.speedKmh + 40*r.NormFloat64()
	if v.charging {
		v.powerW = -11_000
	}
	v.batteryPct = min(max(v.batteryPct-v.powerW*dt.Hours()/600, 1), 100) // 60 kWh
	v.motorC += (20 + 0.6*v.speedKmh - v.motorC) * min(dt.Minutes()/5, 1)
}

func (v *van) state() string {
	switch {
	case v.charging:
		return "charging"
	case v.speedKmh == 0:
		return "parked"
	}
	return "driving"
}

func (v *van) appendFields(dst []byte) []byte {
	dst = appendNumber(dst, "power_w", v.powerW, 0)
	dst = appendNumber(dst, "speed_kmh", v.speedKmh, 1)
	dst = appendNumber(dst, "battery_pct", v.batteryPct, 1)
	dst = appendNumber(dst, "odometer_m", v.odometerM, 0)
	dst = appendNumber(dst, "motor_temp_c", v.motorC, 1)
	dst = append(dst, `"gps":{`...)
	dst = appendNumber(dst, "lat", v.lat, 6)
	dst = appendNumber(dst, "lon", v.lon, 6)
	dst[len(dst)-1] = '}'
	return append(append(append(dst, `,"state":"`...), v.state()...), `",`...)
}

// appendNumber appends `"name":value,` with the given number of decimals.
func appendNumber(dst []byte, name string, value float64, decimals int) []byte {
	dst = append(append(append(dst, '"'), name...), `":`...)
	return append(strconv.AppendFloat(dst, value, 'f', decimals, 64), ',')
}
