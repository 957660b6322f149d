package fleetmetric_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"muster/registry"
	"muster/registry/fleetmetric"
	"muster/registry/store"
)

// clock is the time of the bubble of a test.
type clock struct{}

func (clock) Now() time.Time                         { return time.Now() }
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// fleet is a registry over a real database.
func fleet(t *testing.T) (*registry.Registry, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := registry.Open(t.Context(), registry.Options{Store: db, Clock: clock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	for name, level := range map[string]string{"a": "1", "b": "3", "c": "8"} {
		if _, err := r.CreateThing(t.Context(), registry.ThingInput{Name: name, Attributes: map[string]string{"level": level}}); err != nil {
			t.Fatal(err)
		}
	}
	return r, db
}

func open(t *testing.T, r *registry.Registry, db *store.DB) *fleetmetric.Metrics {
	t.Helper()
	m, err := fleetmetric.Open(t.Context(), db, r, clock{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func levels(name string) fleetmetric.Metric {
	return fleetmetric.Metric{
		Name: name, Query: "attributes.level>2", Field: "attributes.level", Aggregation: fleetmetric.Statistics,
		Values: []string{"count", "maximum"}, PeriodSeconds: 10, Unit: "None",
	}
}

func TestLife(t *testing.T) {
	r, db := fleet(t)
	m := open(t, r, db)
	if made, err := m.Create(t.Context(), levels("level")); err != nil || !made {
		t.Fatal(err)
	}
	if made, err := m.Create(t.Context(), levels("level")); err != nil || made {
		t.Errorf("the same again: %v", err)
	}
	other := levels("level")
	other.PeriodSeconds = 60
	if _, err := m.Create(t.Context(), other); registry.KindOf(err) != registry.Conflict {
		t.Errorf("another one under the same name: %v", err)
	}
	if err := m.Update(t.Context(), "level", 7, func(*fleetmetric.Metric) {}); registry.KindOf(err) != registry.Stale {
		t.Errorf("update of another version: %v", err)
	}
	if err := m.Update(t.Context(), "level", 1, func(m *fleetmetric.Metric) { m.Description = "levels" }); err != nil {
		t.Fatal(err)
	}
	before, _ := m.Metric("level")
	after, err := open(t, r, db).Metric("level")
	if err != nil || !reflect.DeepEqual(before, after) || after.Version != 2 || after.Description != "levels" {
		t.Errorf("after a restart it is %+v, %v; before %+v", after, err, before)
	}
	for _, name := range []string{"z", "a"} {
		if _, err := m.Create(t.Context(), levels(name)); err != nil {
			t.Fatal(err)
		}
	}
	first, more := m.List("", 2)
	rest, end := m.List(first[1], 2)
	if want := []string{"a", "level", "z"}; !reflect.DeepEqual(append(first, rest...), want) || !more || end {
		t.Errorf("pages %v, %v", first, rest)
	}
	if err := m.Delete(t.Context(), "level", 1); registry.KindOf(err) != registry.Stale {
		t.Errorf("deletion of another version: %v", err)
	}
	for range 2 {
		if err := m.Delete(t.Context(), "level", 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := open(t, r, db).Metric("level"); registry.KindOf(err) != registry.NotFound {
		t.Errorf("after its deletion and a restart: %v", err)
	}
}

func TestRefused(t *testing.T) {
	r, db := fleet(t)
	m := open(t, r, db)
	for name, spoil := range map[string]func(*fleetmetric.Metric){
		"name":         func(m *fleetmetric.Metric) { m.Name = "a b" },
		"query":        func(m *fleetmetric.Metric) { m.Query = "a AND (" },
		"period":       func(m *fleetmetric.Metric) { m.PeriodSeconds = 0 },
		"aggregation":  func(m *fleetmetric.Metric) { m.Aggregation = "Sum" },
		"statistic":    func(m *fleetmetric.Metric) { m.Values = []string{"median"} },
		"no statistic": func(m *fleetmetric.Metric) { m.Values = nil },
		"percentile":   func(m *fleetmetric.Metric) { m.Aggregation, m.Values = fleetmetric.Percentiles, []string{"101"} },
		"percentiles of texts": func(m *fleetmetric.Metric) {
			m.Aggregation, m.Values, m.Field, m.Query = fleetmetric.Percentiles, []string{"50"}, "thingName", "*"
		},
	} {
		metric := levels("refused")
		spoil(&metric)
		if _, err := m.Create(t.Context(), metric); registry.KindOf(err) != registry.Invalid {
			t.Errorf("a wrong %s: %v", name, err)
		}
	}
	if names, _ := m.List("", 10); len(names) > 0 {
		t.Errorf("what was refused is there: %v", names)
	}
}

// recorded is one call of Record.
type recorded struct {
	metric string
	atMs   int64
	values []fleetmetric.Value
}

func TestRunRecordsOncePerPeriod(t *testing.T) {
	// The database's goroutines do not belong to the bubble, so that it is opened outside, and only memory is asked inside.
	r, _ := fleet(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(3 * time.Second) // so that the period does not begin now
		m, err := fleetmetric.Open(context.Background(), memoryStore{levels("level")}, r, clock{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var got []recorded
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx, slog.New(slog.DiscardHandler), func(metric string, atMs int64, values []fleetmetric.Value) error {
				got = append(got, recorded{metric, atMs, values})
				return nil
			})
		}()
		start := time.Now().Truncate(10 * time.Second).UnixMilli()
		time.Sleep(35 * time.Second)
		stop()
		<-done
		want := []fleetmetric.Value{{Statistic: "count", Number: 2}, {Statistic: "maximum", Number: 8}}
		if len(got) != 3 {
			t.Fatalf("in 35 s a metric with a period of 10 s has %d values: %v", len(got), got)
		}
		for i, g := range got {
			if g.atMs != start+int64(i+1)*10_000 || !reflect.DeepEqual(g.values, want) {
				t.Errorf("value %d is %+v, want %v at %d", i, g, want, start+int64(i+1)*10_000)
			}
		}
	})
}

// memoryStore holds what was there at the start and takes nothing.
type memoryStore []fleetmetric.Metric

func (s memoryStore) LoadFleetMetrics(context.Context) ([]fleetmetric.Metric, error) { return s, nil }
func (s memoryStore) PutFleetMetric(context.Context, fleetmetric.Metric) error       { return nil }
func (s memoryStore) DeleteFleetMetric(context.Context, string) error                { return nil }
