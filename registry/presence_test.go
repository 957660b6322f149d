package registry_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"muster/registry"
	"muster/registry/store"
)

var remote = netip.MustParseAddrPort("192.0.2.7:4711")

// image opens a copy of the database files as they are now: what a kill would leave.
func (w *world) image() *world {
	w.t.Helper()
	killed := &world{t: w.t, clock: newClock(), path: filepath.Join(w.t.TempDir(), "registry.db"), opts: w.opts}
	killed.opts.Clock = killed.clock
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(w.path + suffix)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(killed.path+suffix, data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	killed.start()
	w.t.Cleanup(killed.stop)
	return killed
}

// persisted reads the connectivity of a thing from the database.
func (w *world) persisted(id uint32) (found registry.Connectivity) {
	w.t.Helper()
	_, err := w.db.LoadThings(ctx, registry.Loader{
		Links: func(list []registry.StoredLink) {
			for _, l := range list {
				if l.ThingID == id {
					found = registry.Connectivity{Connected: l.Connected, SinceMs: l.SinceMs, LastSeenMs: l.LastSeenMs, Remote: string(l.Remote), Reason: string(l.Reason)}
				}
			}
		},
		Type: func(registry.ThingType) {}, BillingGroup: func(registry.BillingGroup) {}, Things: func([]registry.StoredThing) {},
		Group: func(registry.Group) {}, Members: func([]registry.Member) {}, Tag: func(registry.Tag) {},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func TestConnectivity(t *testing.T) {
	w := open(t)
	id := w.create("lamp", "").ID
	want := func(want registry.Connectivity, connected int) {
		t.Helper()
		if got := w.Connectivity(id); got != want {
			t.Fatalf("\n got %+v\nwant %+v", got, want)
		}
		if got := w.Counts().Connected; got != connected {
			t.Fatalf("%d connected, want %d", got, connected)
		}
	}
	at := func(s int) time.Time { return time.UnixMilli(int64(s) * 1000) }
	other := netip.MustParseAddrPort("[2001:db8::1]:5")
	want(registry.Connectivity{}, 0)
	w.Connected(id, at(1), remote)
	want(registry.Connectivity{Connected: true, SinceMs: 1000, LastSeenMs: 1000, Remote: "192.0.2.7:4711"}, 1)
	w.Seen(id, at(2))
	want(registry.Connectivity{Connected: true, SinceMs: 1000, LastSeenMs: 2000, Remote: "192.0.2.7:4711"}, 1)
	w.Disconnected(id, at(3), "keep-alive timeout")
	want(registry.Connectivity{SinceMs: 3000, LastSeenMs: 2000, Remote: "192.0.2.7:4711", Reason: "keep-alive timeout"}, 0)
	w.Disconnected(id, at(4), "twice")
	want(registry.Connectivity{SinceMs: 3000, LastSeenMs: 2000, Remote: "192.0.2.7:4711", Reason: "keep-alive timeout"}, 0)
	// a new connection takes over: the end of the old one comes after, or before
	w.Connected(id, at(5), remote)
	w.Connected(id, at(6), other)
	w.Disconnected(id, at(7), "taken over")
	want(registry.Connectivity{Connected: true, SinceMs: 6000, LastSeenMs: 6000, Remote: "[2001:db8::1]:5"}, 1)
	w.Disconnected(id, at(8), "taken over")
	w.Connected(id, at(8), remote)
	want(registry.Connectivity{Connected: true, SinceMs: 8000, LastSeenMs: 8000, Remote: "192.0.2.7:4711"}, 1)
	// a deleted thing is not connected, and late news of it change nothing
	wantErr(t, w.DeleteThing(ctx, "lamp", 0), 0, "")
	want(registry.Connectivity{}, 0)
	w.Seen(id, at(9))
	w.Disconnected(id, at(9), "deleted")
	w.Connected(id, at(9), remote)
	want(registry.Connectivity{}, 0)
	for _, unknown := range []uint32{0, 2, 5000, 1 << 31} {
		w.Seen(unknown, at(1))
		w.Connected(unknown, at(1), remote)
		w.Disconnected(unknown, at(1), "")
		if got := w.Connectivity(unknown); got != (registry.Connectivity{}) {
			t.Errorf("id %d: %+v", unknown, got)
		}
	}
	want(registry.Connectivity{}, 0)
}

func TestCounts(t *testing.T) {
	w := open(t)
	w.createType("lamp")
	w.createType("car")
	for i := range 10 {
		id := w.create(fmt.Sprint(i), []string{"lamp", ""}[i%2]).ID
		switch {
		case i < 3:
			w.Connected(id, w.clock.Now(), remote)
		case i < 5:
			w.Seen(id, w.clock.Now())
		}
	}
	wantErr(t, w.DeleteThing(ctx, "0", 0), 0, "")
	wantErr(t, w.DeleteThing(ctx, "9", 0), 0, "")
	got := w.Counts()
	if got.Things != 8 || got.Connected != 2 || got.NeverSeen != 4 || len(got.ByType) != 2 || got.ByType["lamp"] != 4 || got.ByType["car"] != 0 {
		t.Errorf("%+v", got)
	}
}

func TestConnectivitySurvives(t *testing.T) {
	w := open(t)
	start := w.clock.Now()
	on, off, never := w.create("on", "").ID, w.create("off", "").ID, w.create("never", "").ID
	w.Connected(on, start, remote)
	w.Connected(off, start, remote)
	w.Disconnected(off, start.Add(time.Second), "client left")
	w.flush()
	if !w.persisted(on).Connected || w.persisted(off).Reason == "" {
		t.Errorf("not persisted: %+v %+v", w.persisted(on), w.persisted(off))
	}
	// seen 30 s later: too soon to be written for its own sake
	w.Seen(on, start.Add(30*time.Second))
	w.flush()
	// a kill now: all offline, at least as late as the last group
	killed := w.image()
	startMs := start.UnixMilli()
	want := func(w *world, id uint32, want registry.Connectivity) {
		t.Helper()
		if got := w.Connectivity(id); got != want {
			t.Errorf("thing %d\n got %+v\nwant %+v", id, got, want)
		}
	}
	left := registry.Connectivity{SinceMs: startMs + 1000, LastSeenMs: startMs, Remote: "192.0.2.7:4711", Reason: "client left"}
	want(killed, on, registry.Connectivity{SinceMs: startMs, LastSeenMs: startMs, Remote: "192.0.2.7:4711", Reason: "gateway restarted"})
	want(killed, off, left)
	want(killed, never, registry.Connectivity{})
	if c := killed.Counts(); c.Connected != 0 || c.NeverSeen != 1 || c.Things != 3 {
		t.Errorf("%+v", c)
	}
	// a minute later it is written for its own sake
	w.Seen(on, start.Add(60*time.Second))
	w.flush()
	if got := w.persisted(on).LastSeenMs; got != startMs+60_000 {
		t.Errorf("last seen %d is persisted", got)
	}
	// an orderly end keeps the last one to the millisecond
	w.Seen(on, start.Add(61*time.Second))
	w.restart()
	want(w, on, registry.Connectivity{SinceMs: startMs + 61_000, LastSeenMs: startMs + 61_000, Remote: "192.0.2.7:4711", Reason: "gateway restarted"})
	want(w, off, left)
	// and once more, from what the last run loaded
	w.restart()
	want(w, on, registry.Connectivity{SinceMs: startMs + 61_000, LastSeenMs: startMs + 61_000, Remote: "192.0.2.7:4711", Reason: "gateway restarted"})
}

// flush turns the clock to the next flush and waits for its end.
func (w *world) flush() {
	w.t.Helper()
	waits := func() bool {
		w.clock.mu.Lock()
		defer w.clock.mu.Unlock()
		return len(w.clock.waiters) == 1
	}
	eventually(w.t, "the writing goroutine waits for a flush", waits)
	w.clock.advance(3 * time.Second) // the default of FlushEvery
	eventually(w.t, "the writing goroutine waits for the next flush", waits)
}

// TestKill: what was acknowledged is in the files at every moment.
func TestKill(t *testing.T) {
	w := open(t)
	w.createType("lamp")
	for i := range 5 {
		w.create(fmt.Sprintf("t%d", i), "lamp", "n", fmt.Sprint(i))
		if i > 0 {
			wantErr(t, w.DeleteThing(ctx, fmt.Sprintf("t%d", i-1), 0), 0, "")
		}
		killed := w.image()
		th, err := killed.Thing(fmt.Sprintf("t%d", i))
		if err != nil || th.Attributes["n"] != fmt.Sprint(i) || killed.Count() != 1 {
			t.Fatalf("%+v %v, %d things", th, err, killed.Count())
		}
		if id := killed.create("next", "").ID; id != th.ID+1 {
			t.Fatalf("the next id is %d after %d", id, th.ID)
		}
	}
}

func TestPresenceOfManyAtOnce(t *testing.T) {
	w := open(t)
	const things = 3000
	ids := make([]uint32, things)
	var group sync.WaitGroup
	for i := range things {
		group.Go(func() {
			th, _, err := w.EnsureThing(ctx, fmt.Sprint(i), "", "test")
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = th.ID
			w.Connected(th.ID, w.clock.Now(), remote)
			w.Seen(th.ID, w.clock.Now())
			if i%2 == 0 {
				w.Disconnected(th.ID, w.clock.Now(), "x")
			}
			if i%10 == 0 {
				if err := w.DeleteThing(ctx, th.Name, 0); err != nil {
					t.Error(err)
				}
			}
			if i%100 == 0 {
				w.clock.advance(3 * time.Second)
			}
		})
	}
	group.Wait()
	if c := w.Counts(); c.Things != things*9/10 || c.Connected != things/2 || c.NeverSeen != 0 {
		t.Errorf("%+v", c)
	}
	w.restart()
	if c := w.Counts(); c.Things != things*9/10 || c.Connected != 0 || c.NeverSeen != 0 {
		t.Errorf("after the restart %+v", c)
	}
	if got := w.Connectivity(ids[1]).Reason; got != "gateway restarted" {
		t.Errorf("reason %q", got)
	}
}

func TestSeenAllocatesNothing(t *testing.T) {
	w := open(t)
	id, now := w.create("a", "").ID, w.clock.Now()
	if n := testing.AllocsPerRun(1000, func() { w.Seen(id, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// stock writes n things with 5 attributes, each in two of 100 groups and in one of 10 billing groups, straight to the database.
func stock(t testing.TB, path string, n int) {
	t.Helper()
	db, err := store.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	b := registry.Batch{Marks: registry.Marks{NextID: uint32(n + 1)}, PutTypes: []registry.ThingType{{Name: "lamp", UUID: "00000000-0000-4000-8000-000000000000"}}}
	for i := range 100 {
		b.CreateGroups = append(b.CreateGroups, registry.Group{ID: uint32(i + 1), Name: fmt.Sprint("group-", i), UUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i)})
	}
	for i := range 10 {
		b.PutBillingGroups = append(b.PutBillingGroups, registry.BillingGroup{Name: fmt.Sprint("tenant-", i)})
	}
	for i := range n {
		b.Join = append(b.Join, registry.Member{Group: uint32(i%50 + 1), Thing: uint32(i + 1)}, registry.Member{Group: uint32(i*7919%50 + 51), Thing: uint32(i + 1)})
		b.CreateThings = append(b.CreateThings, registry.Thing{
			BillingGroup: fmt.Sprint("tenant-", i%10),
			ID:           uint32(i + 1), Name: fmt.Sprintf("street-light-%06d", i), UUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), TypeName: "lamp", Version: 1,
			Attributes: pairs([]string{"city", "Trondheim", "street", fmt.Sprintf("Street_%d", i%500), "serial", fmt.Sprintf("SN-%010d", i),
				"firmware", "2.4.17", "commissioned", "2026-04-01"}),
		})
	}
	if err := db.ApplyThings(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryPerThing: a thing with five attributes costs at most 1 KiB of memory, its name, presence and order included.
func TestMemoryPerThing(t *testing.T) {
	const things = 20_000
	path := filepath.Join(t.TempDir(), "registry.db")
	stock(t, path, things)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // the second one empties the pools that the first one filled
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	w := &world{t: t, clock: newClock(), path: path, opts: registry.Options{Clock: newClock()}}
	w.start()
	defer w.stop()
	perThing := float64(heap()-before) / things
	t.Logf("%.0f bytes per thing", perThing)
	if perThing > 1024 || w.Count() != things {
		t.Errorf("%.0f bytes per thing, %d things", perThing, w.Count())
	}
}

func BenchmarkLoad100k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "registry.db")
	stock(b, path, 100_000)
	for b.Loop() {
		w := &world{t: b, clock: newClock(), path: path, opts: registry.Options{Clock: newClock()}}
		w.start()
		if w.Count() != 100_000 {
			b.Fatal(w.Count())
		}
		b.StopTimer()
		w.stop()
		b.StartTimer()
	}
}

func BenchmarkSearch100k(b *testing.B) {
	path := filepath.Join(b.TempDir(), "registry.db")
	stock(b, path, 100_000)
	w := &world{t: b, clock: newClock(), path: path, opts: registry.Options{Clock: newClock()}}
	w.start()
	defer w.stop()
	for _, in := range []registry.SearchInput{{Text: "street_499"}, {Sort: "lastSeen"}, {}} {
		in.Limit = 100
		b.Run(fmt.Sprintf("text=%s,sort=%s", in.Text, in.Sort), func(b *testing.B) {
			for b.Loop() {
				if _, total, _, err := w.Search(ctx, in); err != nil || total == 0 {
					b.Fatal(total, err)
				}
			}
		})
	}
}

func BenchmarkSeen(b *testing.B) {
	w := open(b)
	id, now := w.create("a", "").ID, w.clock.Now()
	b.ReportAllocs()
	for b.Loop() {
		w.Seen(id, now)
	}
	if w.Connectivity(id).LastSeenMs != now.UnixMilli() {
		b.Fatal("not seen")
	}
}
