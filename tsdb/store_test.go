package tsdb_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// small are options with which little data goes through every part: files of a few kilobytes.
func small(fsys vfs.FS) tsdb.Options {
	return tsdb.Options{
		Dir: "data", FS: fsys, MemoryBytes: 256 << 10, LogBytes: 64 << 10, LogFileBytes: 16 << 10, ReserveBytes: 4 << 10, GroupWait: 1,
	}
}

func open(t testing.TB, opts tsdb.Options) *tsdb.Store {
	t.Helper()
	s, err := tsdb.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func metric(t testing.TB, s *tsdb.Store, name string) tsdb.MetricID {
	t.Helper()
	m, err := s.Dict().Metric([]byte(name))
	must(t, err)
	return m
}

func decimal(m tsdb.MetricID, mantissa int64, exp int8) tsdb.Value {
	return tsdb.Value{Metric: m, Mantissa: mantissa, Exp: exp}
}

func text(t testing.TB, s *tsdb.Store, m tsdb.MetricID, value string) tsdb.Value {
	t.Helper()
	id, err := s.Dict().String([]byte(value))
	must(t, err)
	return tsdb.Value{Metric: m, Mantissa: int64(id), Kind: tsdb.String}
}

func appendRow(t testing.TB, s *tsdb.Store, thing tsdb.ThingID, ms int64, values ...tsdb.Value) {
	t.Helper()
	_, err := s.Append(thing, ms, values, nil)
	must(t, err)
}

func dump(t testing.TB, s *tsdb.Store, thing tsdb.ThingID, name string) string {
	t.Helper()
	m, ok := s.Dict().LookupMetric(name)
	if !ok {
		return "no such column"
	}
	var b strings.Builder
	var nums tsdb.Samples
	var texts tsdb.StringSamples
	must(t, s.Read(&nums, thing, m, 0, math.MaxInt64))
	must(t, s.ReadStrings(&texts, thing, m, 0, math.MaxInt64))
	for i, ms := range nums.TimesMs {
		fmt.Fprintf(&b, "%d=%v ", ms, nums.Values[i])
	}
	for i, ms := range texts.TimesMs {
		fmt.Fprintf(&b, "%d=%q ", ms, texts.Values[i])
	}
	return strings.TrimSpace(b.String())
}

func twin(s *tsdb.Store, thing tsdb.ThingID) string {
	var b strings.Builder
	for _, f := range s.Twin(nil, thing) {
		if f.Kind == tsdb.String {
			fmt.Fprintf(&b, "%s=%q@%d ", f.Name, f.Text, f.TimeMs)
		} else {
			fmt.Fprintf(&b, "%s=%v@%d ", f.Name, f.Number, f.TimeMs)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestRowsMergeAndComeBack(t *testing.T) {
	m := vfs.NewMem()
	s := open(t, small(m))
	power, name, on := metric(t, s, "power_w"), metric(t, s, "name"), metric(t, s, "on")
	appendRow(t, s, 7, 2000, decimal(power, 125, -1), text(t, s, name, "b"))
	appendRow(t, s, 7, 1000, decimal(power, 13, 0))
	appendRow(t, s, 7, 3000, tsdb.Value{Metric: on, Mantissa: 1, Kind: tsdb.Bool})
	appendRow(t, s, 7, 3000, decimal(power, 77, 0))
	appendRow(t, s, 7, 2000, decimal(power, 99, 0))                                                               // the same column: the last write wins
	appendRow(t, s, 7, 3000, tsdb.Value{Metric: power, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(0.1))}) // another: merged
	appendRow(t, s, 8, 2500, text(t, s, power, "off"))
	check := func(s *tsdb.Store) {
		t.Helper()
		f := func(thing tsdb.ThingID, name, want string) {
			t.Helper()
			if got := dump(t, s, thing, name); got != want {
				t.Fatalf("thing %d %s\n got %s\nwant %s", thing, name, got, want)
			}
		}
		f(7, "power_w", "1000=13 2000=99 3000=0.1")
		f(7, "name", `2000="b"`)
		f(7, "on", "3000=1")
		f(8, "power_w", `2500="off"`)
		f(8, "on", "")
		if got, want := twin(s, 7), `name="b"@2000 on=1@3000 power_w=0.1@3000`; got != want {
			t.Fatalf("twin\n got %s\nwant %s", got, want)
		}
		if got := fmt.Sprint(s.ThingsWith(nil, power, 0, 5000)); got != "[7 8]" {
			t.Fatalf("things with power: %s", got)
		}
		if got := fmt.Sprint(s.ThingsWith(nil, on, 3001, 5000)); got != "[]" {
			t.Fatalf("things with on after 3000: %s", got)
		}
		if got := fmt.Sprint(s.Metrics()); got != "[{0 power_w 13} {1 name 8} {2 on 2}]" {
			t.Fatalf("metrics: %s", got)
		}
	}
	check(s)
	must(t, s.Sync(context.Background()))
	cut := small(m.PowerCut(1))
	check(open(t, cut))
	must(t, s.Close())
	s = open(t, small(m))
	check(s)
	must(t, s.Seal(context.Background()))
	check(s)
	if st := s.Stats(); st.Segments != 1 || st.MemoryBytes != 0 || st.Things != 2 || st.Series != 4 {
		t.Fatalf("after sealing: %+v", st)
	}
	must(t, s.Close())
	check(open(t, small(m)))
}
