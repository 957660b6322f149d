package registry_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry"
	"muster/registry/store"
)

// fakeClock stands still until it is advanced.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiters []waiter
}

type waiter struct {
	at time.Time
	ch chan time.Time
}

func newClock() *fakeClock { return &fakeClock{now: time.UnixMilli(1_700_000_000_000)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := waiter{c.now.Add(d), make(chan time.Time, 1)}
	c.waiters = append(c.waiters, w)
	return w.ch
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var left []waiter
	for _, w := range c.waiters {
		if w.at.After(c.now) {
			left = append(left, w)
		} else {
			w.ch <- c.now
		}
	}
	c.waiters = left
}

// world is an open registry over a real database.
type world struct {
	*registry.Registry
	t       testing.TB
	clock   *fakeClock
	path    string
	db      *store.DB
	opts    registry.Options
	metrics *metrics.Set
}

func open(t testing.TB, change ...func(*registry.Options)) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), path: filepath.Join(t.TempDir(), "registry.db")}
	w.opts = registry.Options{Clock: w.clock, AccountID: "123456789012", Region: "eu-north-1"}
	for _, f := range change {
		f(&w.opts)
	}
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.t.Helper()
	db, err := store.Open(context.Background(), w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db, w.opts.Store = db, db
	w.metrics = metrics.NewSet()
	w.opts.Metrics = w.metrics
	if w.Registry, err = registry.Open(context.Background(), w.opts); err != nil {
		db.Close()
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() { w.t.Helper(); w.stop(); w.start() }

func (w *world) create(name, typeName string, attributes ...string) registry.Thing {
	w.t.Helper()
	th, err := w.CreateThing(context.Background(), registry.ThingInput{Name: name, TypeName: typeName, Attributes: pairs(attributes)})
	if err != nil {
		w.t.Fatal(err)
	}
	return th
}

func (w *world) createType(name string) {
	w.t.Helper()
	if _, err := w.CreateThingType(context.Background(), registry.ThingTypeInput{Name: name}); err != nil {
		w.t.Fatal(err)
	}
}

// pairs makes a map of key, value, key, value, ...
func pairs(list []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// wantErr checks the kind and the sentence of an error; kind Internal with "" is no error.
func wantErr(t testing.TB, err error, kind registry.Kind, message string) {
	t.Helper()
	if message == "" {
		if err != nil {
			t.Fatalf("got the error %v", err)
		}
		return
	}
	if err == nil || registry.KindOf(err) != kind || err.Error() != message {
		t.Fatalf("error\n got %v: %v\nwant %v: %s", registry.KindOf(err), err, kind, message)
	}
}

// eventually polls until ok or five seconds are over.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within five seconds: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
