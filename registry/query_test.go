package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry"
	"muster/registry/query"
)

// find returns the names of the things that match, by name.
func (w *world) find(text string) string {
	w.t.Helper()
	page, err := w.Query(ctx, registry.QueryInput{Text: text, Limit: registry.MaxPage})
	if err != nil {
		w.t.Fatal(text, err)
	}
	names := make([]string, len(page.Hits))
	for i, h := range page.Hits {
		names[i] = h.Thing.Name
	}
	if page.Total != len(names) {
		w.t.Fatalf("%s: total %d, %d things", text, page.Total, len(names))
	}
	return strings.Join(names, " ")
}

func (w *world) wantFind(text, want string) {
	w.t.Helper()
	if got := w.find(text); got != want {
		w.t.Fatalf("%s\n got %s\nwant %s", text, got, want)
	}
}

// TestQueryFollowsWrites: every kind of write shows in the next query, and after a restart.
func TestQueryFollowsWrites(t *testing.T) {
	w := open(t)
	f := w.wantFind
	w.createType("Lamp")
	w.create("a", "Lamp", "city", "Oslo", "n", "5")
	w.create("b", "", "city", "Ulm")
	third := w.create("c", "Lamp", "city", "oslo")
	f(`attributes.city:oslo`, "a c")
	f(`thingTypeName:lamp attributes.n:[5 TO 6}`, "a")
	f(`thingId:`+third.UUID, "c")
	f(`thingId:"`+third.UUID+`"`, "c")
	f(`registry.version:1`, "a b c")
	f(fmt.Sprintf("registry.created:%d", w.clock.Now().UnixMilli()), "a b c")
	f(`registry.created<now-1s`, "")

	w.clock.advance(time.Hour)
	f(`registry.created<now-1s`, "a b c")
	_, err := w.UpdateThing(ctx, registry.ThingUpdate{Name: "a", Attributes: map[string]string{"city": "", "N": "7"}, Merge: true})
	wantErr(t, err, 0, "")
	f(`attributes.city:oslo`, "c")
	f(`attributes.N:7 attributes.n:5 registry.version>1 registry.updated>now-1s`, "a")
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "a", RemoveType: true, Attributes: map[string]string{}})
	wantErr(t, err, 0, "")
	f(`thingTypeName:*`, "c")
	f(`attributes.n:*`, "")
	wantErr(t, w.DeleteThing(ctx, "c", 0), 0, "")
	f(`*`, "a b")
	f(`thingTypeName:* OR attributes.city:oslo OR thingName:c`, "")
	f(`NOT x`, "a b")

	id, _ := w.ID("a")
	f(`connectivity.connected:*`, "")
	w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:1"))
	f(`connectivity.connected:true connectivity.timestamp>=now connectivity.lastSeen>=now`, "a")
	w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:2")) // takes over
	w.Disconnected(id, w.clock.Now(), "session taken over")
	f(`connectivity.connected:true NOT connectivity.reason:*`, "a")
	w.Disconnected(id, w.clock.Now(), "keep alive timeout")
	f(`connectivity.connected:false connectivity.reason:(alive AND "keep alive") connectivity.disconnectReason:MQTT_KEEP*`, "a")
	w.clock.advance(time.Minute)
	w.Seen(id, w.clock.Now())
	f(`connectivity.lastSeen>=now connectivity.timestamp<now`, "a")

	for _, name := range []string{"north", "old", "North"} {
		w.createGroup(name, "")
		wantErr(t, w.AddToGroup(ctx, name, "a"), 0, "")
	}
	f(`thingGroupNames:north`, "a")
	wantErr(t, w.UpdateGroupsForThing(ctx, "a", nil, []string{"north"}), 0, "")
	f(`thingGroupNames:north`, "a")
	wantErr(t, w.RemoveFromGroup(ctx, "North", "a"), 0, "")
	f(`thingGroupNames:north`, "")
	f(`old registry.thingGroupNames:o*`, "a")
	wantErr(t, w.DeleteGroup(ctx, "old", 0, false), 0, "")
	f(`thingGroupNames:*`, "")

	w.Connected(id, w.clock.Now(), netip.MustParseAddrPort("10.0.0.1:3"))
	w.restart()
	f(`connectivity.connected:false connectivity.reason:"gateway restarted" connectivity.disconnectReason:SERVER_INITIATED_DISCONNECT connectivity.timestamp>now-1s`, "a")
	f(`NOT connectivity.connected:*`, "b")
	f(`attributes.city:ulm`, "b")
	f(`registry.version:3 registry.created<now-1h`, "a")
	wantErr(t, w.DeleteThing(ctx, "a", 0), 0, "")
	f(`connectivity.connected:* OR connectivity.timestamp:* OR registry.version:3`, "")
	stats, err := w.QueryStats(ctx, "*", "registry.version")
	if err != nil || stats.Count != 1 {
		t.Fatal(stats, err)
	}
}

// temperatures answers telemetry.temp.
type temperatures map[uint32]float64

func (m temperatures) Compare(ctx context.Context, column query.Column, _ int64, op query.Op, operand float64, dst *bitset.BitSet) error {
	if column == (query.Column{Metric: "temp"}) {
		for id, value := range m {
			if op.Holds(value, operand) {
				dst.Set(uint(id))
			}
		}
	}
	return ctx.Err()
}

func TestQueryTelemetry(t *testing.T) {
	w := open(t)
	m := temperatures{}
	for i, name := range []string{"a", "b", "c", "d"} {
		id := w.create(name, "").ID
		if i < 3 {
			m[id] = float64(i) * 30
		}
	}
	m[99] = 60 // of a thing that is gone
	_, err := w.Query(ctx, registry.QueryInput{Text: "telemetry.temp>1", Limit: 1})
	wantErr(t, err, registry.Invalid, "query: this gateway has no telemetry to search in (at position 0)")
	w.JoinTelemetry(m)
	w.wantFind(`telemetry.temp>=30`, "b c")
	w.wantFind(`telemetry.temp:60 OR thingName:d`, "c d")
	w.wantFind(`telemetry.temp:{0 TO 60}`, "b")
	w.wantFind(`telemetry.temp:false`, "a")
	w.wantFind(`NOT telemetry.temp:*`, "d")
	w.wantFind(`telemetry.other:*`, "")
}

func TestQueryErrors(t *testing.T) {
	w := open(t, func(o *registry.Options) { o.MaxQueryTerms = 12 })
	_, err := w.Query(ctx, registry.QueryInput{Text: strings.Repeat("x ", 13), Limit: 1})
	wantErr(t, err, registry.Invalid, "query: a query has at most 12 terms; make it shorter (at position 24)")
	var at *query.Error
	if !errors.As(err, &at) || at.At != 24 {
		t.Fatal(at)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	w.create("a", "")
	_, err = w.Query(gone, registry.QueryInput{Text: "thingName:*x*", Limit: 1})
	wantErr(t, err, registry.Busy, "the query took too long and was given up; make it simpler")
	w.wantFind(``, "a")
	// a cursor belongs to its order
	w.create("b", "")
	page, err := w.Query(ctx, registry.QueryInput{Limit: 1})
	wantErr(t, err, 0, "")
	_, err = w.Query(ctx, registry.QueryInput{Limit: 1, Sort: "-name", Cursor: page.NextCursor})
	wantErr(t, err, registry.Invalid, "nextToken: this is not one that this list returned; start without it")
}

func TestQuerySort(t *testing.T) {
	w := open(t)
	for i, n := range []string{"10", "9", "x", "", "9", "-1"} {
		name := fmt.Sprintf("t%d", i)
		if n == "" {
			w.create(name, "")
		} else {
			w.create(name, "", "n", n)
		}
	}
	f := func(sort, want string) {
		t.Helper()
		got := pages(t, func(c string) ([]registry.Thing, string, error) {
			rows, _, next, err := w.Search(ctx, registry.SearchInput{Sort: sort, Limit: 2, Cursor: c})
			return thingsOf(rows), next, err
		}, 2)
		if strings.Join(got, " ") != want {
			t.Fatalf("%s\n got %v\nwant %s", sort, got, want)
		}
	}
	f("", "t0 t1 t2 t3 t4 t5")
	f("-name", "t5 t4 t3 t2 t1 t0")
	f("attributes.n", "t5 t1 t4 t0 t2 t3")
	f("-attributes.n", "t2 t0 t1 t4 t5 t3")
	f("attributes.none", "t0 t1 t2 t3 t4 t5")
	f("registry.version", "t0 t1 t2 t3 t4 t5")
	f("lastSeen", "t0 t1 t2 t3 t4 t5")
}

// TestQueriesDuringWrites: a query that begins after a write returned sees it; one that runs meanwhile sees a thing as it
// was before or after a write, never between: x and y of a thing are always equal, and things are found by what they show.
func TestQueriesDuringWrites(t *testing.T) {
	w := open(t)
	const things, writers, rounds = 40, 4, 60
	for i := range things {
		w.create(fmt.Sprintf("t%02d", i), "", "x", "0", "y", "0")
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for n := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			for round := range rounds {
				i := rng.IntN(things/writers)*writers + n // each thing has one writer
				name, value := fmt.Sprintf("t%02d", i), fmt.Sprintf("%d_%d", n, round)
				if round%7 == 6 {
					if err := w.DeleteThing(ctx, name, 0); err != nil {
						t.Error(err)
					}
					if page, err := w.Query(ctx, registry.QueryInput{Text: "thingName:" + name, Limit: 1}); err != nil || page.Total != 0 {
						t.Errorf("%s is found after its deletion: %v", name, err)
					}
				}
				if _, err := w.CreateThing(ctx, registry.ThingInput{Name: name, Attributes: pairs([]string{"x", value, "y", value})}); err != nil {
					_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: name, Attributes: pairs([]string{"x", value, "y", value})})
					if err != nil {
						t.Error(err)
					}
				}
				page, err := w.Query(ctx, registry.QueryInput{Text: "attributes.x:" + value + " attributes.y:" + value, Limit: 1})
				if err != nil || page.Total != 1 || page.Hits[0].Thing.Name != name {
					t.Errorf("%s is not found right after its write: %+v %v", value, page, err)
				}
				if id, ok := w.ID(name); ok {
					w.Connected(id, w.clock.Now(), netip.AddrPort{})
					if page, err := w.Query(ctx, registry.QueryInput{Text: "thingName:" + name, State: "connected", Limit: 1}); err != nil || page.Total != 1 {
						t.Errorf("%s is not found connected: %v", name, err)
					}
					w.Disconnected(id, w.clock.Now(), "gone")
				}
			}
		})
	}
	for n := range 3 {
		reading.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				prefix := fmt.Sprintf("%d_", (n+i)%writers)
				page, err := w.Query(ctx, registry.QueryInput{Text: "attributes.x:" + prefix + "* connectivity.connected:*", Sort: "attributes.y", Limit: things})
				if err != nil || page.Total != len(page.Hits) {
					t.Errorf("total %d, %d things: %v", page.Total, len(page.Hits), err)
				}
				for _, h := range page.Hits {
					if a := h.Thing.Attributes; a["x"] != a["y"] || !strings.HasPrefix(a["x"], prefix) || !h.Known {
						t.Errorf("found by %s: %v", prefix, a)
					}
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	// what the index has is what loading it anew has
	look := func() (all []string) {
		for _, text := range []string{"*", "attributes.x:0_*", "attributes.y:*9", "connectivity.connected:false", "registry.version>1", "thingName:t1*"} {
			all = append(all, w.find(text))
		}
		return all
	}
	before := look()
	w.restart()
	if after := look(); !slices.Equal(before, after) {
		t.Errorf("before the restart\n%v\nafter\n%v", before, after)
	}
}

// twelve are queries of twelve terms, as in the table of docs/benchmarks.md.
var twelve = map[string]string{
	"equal": `attributes.city:Trondheim thingTypeName:lamp attributes.firmware:2.4.17 (attributes.street:Street_1 OR attributes.street:Street_2 OR attributes.street:Street_3
		OR attributes.street:Street_4 OR attributes.street:Street_5 OR attributes.street:Street_6) NOT attributes.street:Street_7 attributes.commissioned:2026-04-01 registry.version:1`,
	"prefix": `thingName:street* attributes.serial:SN-00* attributes.street:(Street_1* OR Street_2* OR Street_3* OR Street_4* OR Street_5*) attributes.city:Tr* NOT
		attributes.serial:SN-000009* attributes.firmware:2* thingTypeName:l* attributes.commissioned:2026*`,
	"range": `registry.version>=1 registry.created>=0 registry.updated<=5 attributes.serial:["SN-0000010000" TO "SN-0000090000"] thingName:["a" TO "z"] NOT registry.version:[2 TO 3]
		attributes.street:["Street_1" TO "Street_3"] registry.version<5 registry.created<7 attributes.firmware:["1" TO "3"] connectivity.lastSeen:* OR attributes.city:["a" TO "u"]`,
	"substring": `thingName:*light* attributes.serial:*123* OR thingName:*99* OR attributes.serial:*777* OR thingName:*0001* OR thingName:*street-light-09* attributes.serial:*5 OR
		thingName:*1?1* OR attributes.street:*_49* OR thingName:*55* OR attributes.serial:*-00* thingName:*7`,
	"words": `street light-0 oslo OR 99 OR trond sn-0000 OR 2.4 2026 OR street_7 OR lamp 00001 OR 4711`,
}

// BenchmarkQuery100k is the first page of queries of twelve terms over 100,000 things, and the count alone.
func BenchmarkQuery100k(b *testing.B) { benchmarkQuery(b, 100_000) }

// BenchmarkQuery1M needs a GB of memory and half a minute to begin.
func BenchmarkQuery1M(b *testing.B) { benchmarkQuery(b, 1_000_000) }

func benchmarkQuery(b *testing.B, things int) {
	path := b.TempDir() + "/registry.db"
	stock(b, path, things)
	w := &world{t: b, clock: newClock(), path: path, opts: registry.Options{Clock: newClock()}}
	w.start()
	defer w.stop()
	for name, text := range twelve {
		in := registry.QueryInput{Text: text, Limit: 100, Typed: name == "words"}
		b.Run("page/"+name, func(b *testing.B) {
			for b.Loop() {
				if page, err := w.Query(ctx, in); err != nil || page.Total == 0 {
					b.Fatal(page.Total, err)
				}
			}
		})
		b.Run("count/"+name, func(b *testing.B) {
			for b.Loop() {
				if n, err := w.QueryCount(ctx, text, in.Typed); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			}
		})
	}
	for _, sort := range []string{"attributes.street", "-attributes.serial", "registry.updated", "lastSeen"} {
		b.Run("sort/"+sort, func(b *testing.B) {
			for b.Loop() {
				if page, err := w.Query(ctx, registry.QueryInput{Sort: sort, Limit: 100}); err != nil || page.Total != things {
					b.Fatal(page.Total, err)
				}
			}
		})
	}
}
