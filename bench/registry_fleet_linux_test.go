package bench

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"muster/registry"
	"muster/registry/store"
)

// BenchmarkRegistryFleet is the part of `muster bench registry` that asks queries, without the API: the fleet is written to the database
// in large transactions and read from there. MUSTER_BENCH_THINGS sets its size, 1000000 for the goals of large fleets:
//
//	MUSTER_BENCH_THINGS=1000000 go test ./bench -run '^$' -bench RegistryFleet -benchtime 500x
func BenchmarkRegistryFleet(b *testing.B) {
	things := 100_000
	if text := os.Getenv("MUSTER_BENCH_THINGS"); text != "" {
		var err error
		if things, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	ctx := b.Context()
	path := filepath.Join(b.TempDir(), "registry.db")
	db := openFleet(b, path)
	if err := seedFleet(ctx, db, things); err != nil {
		b.Fatal(err)
	}
	before := heapBytes()
	began := time.Now()
	r, err := registry.Open(ctx, registry.Options{Store: db, Clock: wallClock{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	rebuilt := time.Since(began)
	perThing := float64(heapBytes()-before) / float64(things)

	ask := map[string]func(query string) error{
		"FirstPage": func(query string) error {
			_, _, _, err := r.Search(ctx, registry.SearchInput{Text: query, Limit: 100})
			return err
		},
		"Count": func(query string) error {
			_, err := r.QueryCount(ctx, query, true)
			return err
		},
	}
	for _, name := range []string{"FirstPage", "Count"} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var wall, cpu histogram
			for i := 0; b.Loop(); i++ {
				query := registryQuery(mathrand.New(mathrand.NewPCG(20261122, uint64(i))), things, 12)
				began, used := time.Now(), threadTime()
				if err := ask[name](query); err != nil {
					b.Fatal(err)
				}
				took := threadTime() - used
				cpu.record(took)
				wall.record(time.Since(began))
			}
			b.ReportMetric(rebuilt.Seconds(), "s/rebuild")
			b.ReportMetric(perThing, "B/thing")
			for unit, h := range map[string]*histogram{"ms": &wall, "cpu-ms": &cpu} {
				b.ReportMetric(h.quantile(0.5).Seconds()*1000, unit+"/p50")
				b.ReportMetric(h.quantile(0.99).Seconds()*1000, unit+"/p99")
			}
		})
	}
}

func openFleet(tb testing.TB, path string) *store.DB {
	tb.Helper()
	db, err := store.Open(tb.Context(), path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// seedFleet writes the fleet; two of three things were connected, half of these still are.
func seedFleet(ctx context.Context, db *store.DB, things int) error {
	b := registry.Batch{}
	for _, name := range registryTypes {
		b.PutTypes = append(b.PutTypes, registry.ThingType{Name: name})
	}
	const sinceMs = 1_700_000_000_000
	for i := range things {
		id, t := uint32(i+1), newRegistryThing(i)
		b.CreateThings = append(b.CreateThings, registry.Thing{
			ID: id, Name: t.name, UUID: fmt.Sprintf("%08x-0000-4000-8000-%012x", id*2654435761, i), TypeName: t.typeName, Attributes: t.attributes,
			Version: 1, CreatedMs: sinceMs + int64(i), UpdatedMs: sinceMs + int64(i),
		})
		if i%3 > 0 {
			b.Presence = append(b.Presence, registry.Presence{ID: id, Connectivity: registry.Connectivity{
				Connected: i%3 == 1, SinceMs: sinceMs + int64(i), LastSeenMs: sinceMs + int64(i), Remote: "192.0.2.1:8883",
			}})
		}
		if len(b.CreateThings) == 10_000 || i == things-1 {
			b.Marks = registry.Marks{NextID: id + 1, NextGroupID: 1}
			if err := db.ApplyThings(ctx, b); err != nil {
				return err
			}
			b = registry.Batch{}
		}
	}
	return nil
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // the second one empties the pools that the first one filled
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
