package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"muster/tsdb"
	"muster/tsdb/prom"
)

// directory names the things of a fleet and puts each in a city.
type directory struct{ devices int }

func (d directory) ThingName(id tsdb.ThingID) (string, bool) {
	return thingName(int(id)), int(id) < d.devices
}

func (d directory) ThingByName(name string) (tsdb.ThingID, bool) {
	var id int
	if n, err := fmt.Sscanf(name, "device-%06d", &id); n != 1 || err != nil || id >= d.devices {
		return 0, false
	}
	return tsdb.ThingID(id), true
}

func (d directory) AppendLabels(dst []prom.Label, id tsdb.ThingID) []prom.Label {
	return append(dst, prom.Label{Name: "city", Value: city(int(id))})
}

// question is one query that is timed. Goals are in milliseconds, 0 without.
type question struct {
	name  string
	path  string
	form  url.Values
	count int     // series of the answer
	goal  float64 // over HTTP
	// there is what VictoriaMetrics took on the machine on which the goal was set: on another, goal/there is the goal for the ratio of both.
	there float64
}

// questions are asked at endMs about the hour before.
func questions(devices int, endMs int64) []question {
	end := strconv.FormatInt(endMs/1000, 10)
	begin := strconv.FormatInt(endMs/1000-3600, 10)
	one := thingName(devices / 2)
	instant := func(query string) url.Values { return url.Values{"query": {query}, "time": {end}, "nocache": {"1"}} }
	ranged := func(query string) url.Values {
		return url.Values{"query": {query}, "start": {begin}, "end": {end}, "step": {"60"}, "nocache": {"1"}}
	}
	series := fmt.Sprintf("%d series", devices)
	return []question{
		{"last value of one series", "/api/v1/query", instant(fmt.Sprintf("temperature_c{thing=%q}", one)), 1, 0.2, 0.34},
		{"one series, 1 h at 60 s", "/api/v1/query_range", ranged(fmt.Sprintf("temperature_c{thing=%q}", one)), 1, 0, 0},
		{"avg by (city), " + series + ", 1 h at 60 s", "/api/v1/query_range", ranged("avg by (city) (temperature_c)"), min(devices, cities), 12, 17},
		{"topk(10, rate([5m])), " + series, "/api/v1/query", instant("topk(10, rate(energy_wh[5m]))"), min(devices, 10), 5, 7.5},
		{"all samples of one series, 1 h", "/api/v1/query", instant(fmt.Sprintf("temperature_c{thing=%q}[1h]", one)), 1, 0, 0},
	}
}

// ask sends one question and returns the answer's body.
type ask func(ctx context.Context, q question) ([]byte, error)

// inProcess asks api without a network.
func inProcess(api *prom.API) ask {
	return func(ctx context.Context, q question) ([]byte, error) {
		form := url.Values{}
		for key, values := range q.form {
			form[key] = slices.Clone(values)
		}
		r := api.Serve(ctx, http.MethodGet, q.path, form)
		if r.Status != http.StatusOK {
			return nil, fmt.Errorf("%v: HTTP %d: %.300s", q.form, r.Status, r.Body)
		}
		return r.Body, nil
	}
}

// asked is how often a question is asked in a run: the first answers of a process that has just loaded are slower than the rest.
const asked = 100

// time returns the median time of a question, in milliseconds, and checks that the answer has as many series as it must.
func (m *measurement) time(ctx context.Context, q question, f ask) (float64, error) {
	took, err := m.median(func() (time.Duration, error) {
		var times []time.Duration
		for range asked {
			began := time.Now()
			body, err := f(ctx, q)
			times = append(times, time.Since(began))
			if err != nil {
				return 0, err
			}
			var answer struct {
				Data struct {
					Result []json.RawMessage `json:"result"`
				} `json:"data"`
			}
			if err := json.Unmarshal(body, &answer); err != nil || len(answer.Data.Result) != q.count {
				return 0, errors.Join(err, fmt.Errorf("%v: %d series, want %d: %.300s", q.form, len(answer.Data.Result), q.count, body))
			}
		}
		slices.Sort(times)
		return times[asked/2], nil
	})
	return took.Seconds() * 1000, err
}

// lastValue is the median time of one Store.Last, in microseconds.
func (m *measurement) lastValue(s *tsdb.Store) (float64, error) {
	id, ok := s.Dict().LookupMetric("temperature_c")
	if !ok {
		return 0, errors.New("there is no temperature_c")
	}
	const times = 100_000
	took, err := m.median(func() (time.Duration, error) {
		began := time.Now()
		for i := range times {
			if _, ok := s.Last(tsdb.ThingID(i%m.devices), id); !ok {
				return 0, fmt.Errorf("device %d has no last value", i%m.devices)
			}
		}
		return time.Since(began), nil
	})
	return took.Seconds() * 1e6 / times, err
}

// readHour is the median time of reading the samples of one series of the hour before endMs, in microseconds, and their number.
func (m *measurement) readHour(s *tsdb.Store, endMs int64) (us float64, samples int, err error) {
	id, _ := s.Dict().LookupMetric("temperature_c")
	const times = 200
	var got tsdb.Samples
	took, err := m.median(func() (time.Duration, error) {
		began := time.Now()
		for i := range times {
			if err := s.Read(&got, tsdb.ThingID(i*7%m.devices), id, endMs-3_600_000, endMs); err != nil {
				return 0, err
			}
		}
		return time.Since(began), nil
	})
	return took.Seconds() * 1e6 / times, len(got.Values), err
}
