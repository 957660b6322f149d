package prom

import (
	"context"
	"flag"
	"math"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

var update = flag.Bool("update", false, "rewrite the expected answers in testdata")

// now is the time of the tests' API: 2026-03-01T12:00:00Z.
var now = time.Unix(1772366400, 0).UTC()

// fleet is a Directory in memory.
type fleet map[tsdb.ThingID]fleetThing

type fleetThing struct {
	name   string
	labels []Label
}

func (f fleet) ThingName(id tsdb.ThingID) (string, bool) {
	t, ok := f[id]
	return t.name, ok
}

func (f fleet) ThingByName(name string) (tsdb.ThingID, bool) {
	for id, t := range f {
		if t.name == name {
			return id, true
		}
	}
	return 0, false
}

func (f fleet) AppendLabels(dst []Label, id tsdb.ThingID) []Label {
	return append(dst, f[id].labels...)
}

func openStore(t testing.TB) *tsdb.Store {
	t.Helper()
	return openStoreIn(t, t.TempDir())
}

// openStoreIn returns the store in folder dir, which the test's end closes.
func openStoreIn(t testing.TB, dir string) *tsdb.Store {
	t.Helper()
	s, err := tsdb.Open(tsdb.Options{
		Dir: dir, FS: vfs.OS{}, Clock: vfs.SystemClock{}, Metrics: metrics.NewSet(), Retention: 100 * 365 * 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// writer appends rows to a store by column name.
type writer struct {
	t     testing.TB
	store *tsdb.Store
}

// row appends one message; columns alternate names and values (int: Decimal, float64: Float, bool, string).
func (w writer) row(thing tsdb.ThingID, timeMs int64, columns ...any) {
	w.t.Helper()
	values := make([]tsdb.Value, 0, len(columns)/2)
	for i := 0; i < len(columns); i += 2 {
		id, err := w.store.Dict().Metric([]byte(columns[i].(string)))
		if err != nil {
			w.t.Fatal(err)
		}
		v := tsdb.Value{Metric: id}
		switch x := columns[i+1].(type) {
		case int:
			v.Kind, v.Mantissa = tsdb.Decimal, int64(x)
		case deci:
			v.Kind, v.Mantissa, v.Exp = tsdb.Decimal, int64(x), -1
		case float64:
			v.Kind, v.Mantissa = tsdb.Float, int64(math.Float64bits(x))
		case bool:
			v.Kind = tsdb.Bool
			if x {
				v.Mantissa = 1
			}
		case string:
			text, err := w.store.Dict().String([]byte(x))
			if err != nil {
				w.t.Fatal(err)
			}
			v.Kind, v.Mantissa = tsdb.String, int64(text)
		default:
			w.t.Fatalf("column of type %T", x)
		}
		values = append(values, v)
	}
	if _, err := w.store.Append(thing, timeMs, values, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w writer) sync() {
	w.t.Helper()
	if err := w.store.Sync(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// deci is a number in tenths.
type deci int

// openFleet returns an API over a store with twenty minutes of four things at a sample per ten seconds, and one thing
// that the directory does not know.
func openFleet(t testing.TB, opts Options) (*API, fleet, writer) {
	t.Helper()
	store := openStore(t)
	fillFleet(t, store)
	if opts.Clock == nil {
		opts.Clock = vfs.NewManual(now)
	}
	dir := directory()
	return New(store, dir, opts), dir, writer{t, store}
}

func directory() fleet {
	return fleet{
		1: {"lamp-1", []Label{{"city", "Oslo"}, {"thing_type", "street-light"}}},
		2: {"lamp-2", []Label{{"city", "Oslo"}, {"thing_type", "street-light"}}},
		3: {"lamp-3", []Label{{"city", "Bergen"}, {"thing_type", "street-light"}}},
		// Names that are not legal, reserved or taken.
		4: {"van-1", []Label{{"thing_type", "vehicle"}, {"city", "Bergen"}, {"fleet-no", "7"}, {"1st owner", "Ås"}, {"thing", "clobber"}, {"__name__", "clobber"}, {"fleet.no", "8"}, {"empty", ""}}},
	}
}

func fillFleet(t testing.TB, store *tsdb.Store) {
	t.Helper()
	w := writer{t, store}
	for step := 0; step <= 120; step++ {
		ms := now.UnixMilli() - int64(120-step)*10_000
		for lamp := 1; lamp <= 3; lamp++ {
			fw := "1.0"
			if lamp == 1 && step >= 118 || lamp == 3 {
				fw = "1.1"
			}
			w.row(tsdb.ThingID(lamp), ms, "power_w", deci(100*lamp+5*(step%2)), "energy_total", step*lamp, "on", step >= 60, "fw", fw)
		}
		w.row(4, ms, "speed", float64(step)/3, "mixed", "text")
		w.row(5, ms, "power_w", 1000, "fw", "secret")
	}
	w.row(4, now.UnixMilli()-5000, "odd", math.NaN(), "even", math.Inf(1), "mixed", 1)
	w.row(4, now.UnixMilli()-4000, "temp°C", deci(215))
	// Silent for six minutes.
	w.row(2, now.UnixMilli()-360_000, "door", 1)
	w.sync()
}
