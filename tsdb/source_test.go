package tsdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// source returns the id of a label set given as names and values.
func source(t testing.TB, s *tsdb.Store, pairs ...string) tsdb.ThingID {
	t.Helper()
	var set tsdb.LabelSet
	for i := 0; i < len(pairs); i += 2 {
		set.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	id, err := s.Source(&set)
	must(t, err)
	return id
}

func labelText(s *tsdb.Store, id tsdb.ThingID) string {
	list, ok := s.SourceLabels(nil, id)
	if !ok {
		return "none"
	}
	var b strings.Builder
	for _, l := range list {
		fmt.Fprintf(&b, "%s=%q ", l.Name, l.Value)
	}
	return strings.TrimSpace(b.String())
}

// A label set has one id, whatever the order of its labels, before and after a restart with and without a checkpoint.
func TestSources(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	a := source(t, s, "job", "node", "instance", "a:9100")
	for want, got := range map[tsdb.ThingID]tsdb.ThingID{
		a:     source(t, s, "instance", "a:9100", "job", "node", "empty", ""),
		a + 1: source(t, s, "job", "node"),
		a + 2: source(t, s),
	} {
		if got != want {
			t.Errorf("source %d, want %d", got, want)
		}
	}
	if a != tsdb.FirstSource {
		t.Errorf("the first source is %d", a)
	}
	m := metric(t, s, "up")
	appendRow(t, s, a, 1000, decimal(m, 1, 0))
	appendRow(t, s, 7, 1000, decimal(m, 2, 0))
	must(t, s.Close())
	for round := range 4 {
		s = open(t, small(fsys))
		if got := labelText(s, a); got != `instance="a:9100" job="node"` {
			t.Fatalf("round %d: labels %s", round, got)
		}
		if got := labelText(s, a+2); got != "" {
			t.Fatalf("round %d: labels of the empty set %q", round, got)
		}
		if got := labelText(s, a+3+tsdb.ThingID(round)); got != "none" {
			t.Fatalf("round %d: labels of no source %q", round, got)
		}
		if got := labelText(s, 7); got != "none" {
			t.Fatalf("round %d: labels of a thing %q", round, got)
		}
		if got := dump(t, s, a, "up"); got != "1000=1" {
			t.Fatalf("round %d: %s", round, got)
		}
		if id := source(t, s, "round", fmt.Sprint(round)); id != a+3+tsdb.ThingID(round) || s.Sources() != 4+round {
			t.Fatalf("round %d: new source %d of %d", round, id, s.Sources())
		}
		if ids := s.ThingsWith(nil, m, 0, 2000); fmt.Sprint(ids) != fmt.Sprint([]tsdb.ThingID{7, a}) {
			t.Fatalf("round %d: things %v", round, ids)
		}
		if round == 1 {
			must(t, s.Seal(context.Background()))
		}
		must(t, s.Close())
		if report, err := tsdb.Fsck("data", fsys); err != nil || len(report.Damage) > 0 {
			t.Fatalf("round %d: fsck %+v %v", round, report, err)
		}
	}
}

// What is too much or not valid is an error, and keeps nothing.
func TestSourceLimits(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	f := func(want string, pairs ...string) {
		t.Helper()
		var set tsdb.LabelSet
		for i := 0; i < len(pairs); i += 2 {
			set.Add([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		if _, err := s.Source(&set); !errors.Is(err, tsdb.ErrLabels) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	f("no name", "", "x")
	f("twice", "a", "1", "b", "2", "a", "3")
	f("twice", "__name__", "up")
	f("not UTF-8", "a", "\xff")
	f("not UTF-8", "\xff", "a")
	f("1025 bytes", "a", strings.Repeat("x", 1025))
	f("257 bytes", strings.Repeat("x", 257), "a")
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprint("l", i), "x")
	}
	f("65 labels", many...)
	if s.Sources() != 0 {
		t.Errorf("%d sources", s.Sources())
	}
	for i := range many[:128] {
		many[i] = (many[i] + strings.Repeat("v", 1024))[:256+i%2*768]
	}
	id := source(t, s, many[:128]...) // the largest set there is
	if list, ok := s.SourceLabels(nil, id); !ok || len(list) != 64 || len(list[63].Value) != 1024 {
		t.Errorf("the largest set has %d labels, %v", len(list), ok)
	}
	if _, err := s.Append(id+1, 1000, []tsdb.Value{decimal(metric(t, s, "up"), 1, 0)}, nil); err == nil {
		t.Error("a source that nobody made takes rows")
	}
	must(t, s.Close())
}

// Known sets take no allocation.
func TestSourceAllocatesNothing(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	var set tsdb.LabelSet
	labels := [][]byte{[]byte("job"), []byte("node"), []byte("instance"), []byte("a:9100")}
	one := func() {
		set.Reset()
		set.Add(labels[0], labels[1])
		set.Add(labels[2], labels[3])
		if _, err := s.Source(&set); err != nil {
			t.Fatal(err)
		}
	}
	one()
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// One damaged copy of the label sets costs nothing; without both the store does not open, since ids could mean other sets.
func TestSourcesDamaged(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	a := source(t, s, "job", "node")
	appendRow(t, s, a, 1000, decimal(metric(t, s, "up"), 1, 0))
	must(t, s.Seal(context.Background()))
	must(t, s.Close())
	flip := func(name string) {
		t.Helper()
		data, err := fsys.ReadFile(name)
		must(t, err)
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
		must(t, fsys.WriteFile(name, data, 0o600))
	}
	flip("data/source.0")
	if report, err := tsdb.Fsck("data", fsys); err != nil || len(report.Damage) != 1 || report.Damage[0].File != "source.0" {
		t.Fatalf("fsck %+v %v", report, err)
	}
	s = open(t, small(fsys))
	if got := labelText(s, a); got != `job="node"` || s.Stats().Damaged != 1 {
		t.Fatalf("labels %s, %d damages", got, s.Stats().Damaged)
	}
	appendRow(t, s, a, 2000, decimal(metric(t, s, "up"), 1, 0))
	must(t, s.Seal(context.Background())) // writes both copies again
	must(t, s.Close())
	flip("data/source.1")
	s = open(t, small(fsys))
	if got := labelText(s, a); got != `job="node"` {
		t.Fatalf("labels %s", got)
	}
	must(t, s.Close())
	flip("data/source.0")
	if _, err := tsdb.Open(small(fsys)); err == nil || !strings.Contains(err.Error(), "source.0 and source.1") {
		t.Fatalf("open: %v", err)
	}
}

// FuzzSources: a label set comes back as it went in, and any key decodes to labels or to none.
func FuzzSources(f *testing.F) {
	f.Add("job", "node", "instance", "a:9100", "\x01\x01a\x01b")
	f.Add("a", "", "b", "\xff", "lost_7")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, key string) {
		d := tsdb.NewDict()
		tsdb.DecodeSource(key)
		var set tsdb.LabelSet
		set.Add([]byte(n1), []byte(v1))
		set.Add([]byte(n2), []byte(v2))
		got, err := tsdb.SourceOf(d, &set)
		if err != nil {
			return
		}
		want := map[string]string{n1: v1, n2: v2}
		if v2 == "" {
			delete(want, n2)
			if v1 != "" {
				want[n1] = v1
			}
		}
		if want[n1] == "" {
			delete(want, n1)
		}
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i, l := range got {
			if want[l.Name] != l.Value || i > 0 && got[i-1].Name >= l.Name {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	})
}

// ackedSources counts what a test was told is on disk.
type ackedSources struct {
	mu   sync.Mutex
	seqs []uint64 // by row
	upTo uint64
}

func (a *ackedSources) Durable(upTo uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.upTo = max(a.upTo, upTo)
	}
}

// The power goes at random points; each acknowledged row is there under the labels it was sent with, and under no others.
func TestSourcePowerCuts(t *testing.T) {
	for seed := range max(2, uint64(45/raceFactor)) {
		rng := rand.New(rand.NewPCG(seed, 3))
		fsys := vfs.NewMem()
		want := map[string]int64{} // labels to the value that was acknowledged
		for cut := range 5 {
			s := open(t, small(fsys))
			if n := s.Stats().Damaged; n != 0 {
				t.Fatalf("seed %d cut %d: a power cut is called damage", seed, cut)
			}
			m := metric(t, s, "up")
			for text, value := range want {
				id := source(t, s, "n", text)
				if got := dump(t, s, id, "up"); got != fmt.Sprintf("1000=%d", value) {
					t.Fatalf("seed %d cut %d: source %s has %q, want %d", seed, cut, text, got, value)
				}
			}
			for i := range s.Sources() {
				id := tsdb.FirstSource + tsdb.ThingID(i)
				list, ok := s.SourceLabels(nil, id)
				if got := dump(t, s, id, "up"); got != "" && (!ok || got != "1000="+list[0].Value) {
					t.Fatalf("seed %d cut %d: source %v has %q", seed, cut, list, got)
				}
			}
			var acked ackedSources
			var rows []int64
			for range 5 + rng.IntN(60) {
				value := 1 + rng.Int64N(200)
				seq, err := s.Append(source(t, s, "n", fmt.Sprint(value)), 1000, []tsdb.Value{decimal(m, value, 0)}, &acked)
				must(t, err)
				acked.seqs = append(acked.seqs, seq)
				rows = append(rows, value)
				switch rng.IntN(20) {
				case 0:
					must(t, s.Seal(context.Background()))
				case 1:
					must(t, s.Sync(context.Background()))
				}
			}
			acked.mu.Lock()
			for i, seq := range acked.seqs {
				if seq <= acked.upTo {
					want[fmt.Sprint(rows[i])] = rows[i]
				}
			}
			after := fsys.PowerCut(rng.Uint64())
			acked.mu.Unlock()
			must(t, s.Close())
			fsys = after
		}
		if len(want) == 0 {
			t.Fatalf("seed %d: nothing was acknowledged", seed)
		}
	}
}
