package lane

import (
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

func TestMeter(t *testing.T) {
	now := int64(1_700_000_000_000)
	m := newMeter((&Rates{Messages: 10, Samples: 100}).perSecond())
	m.atMs = now
	f := func(what string, afterMs, wantWait int64, wantKind int) {
		t.Helper()
		now += afterMs
		if wait, kind := m.over(now); wait != wantWait || wait > 0 && kind != wantKind {
			t.Fatalf("%s: wait %d ms for %s, want %d for %s", what, wait, rateNames[kind], wantWait, rateNames[wantKind])
		}
	}
	for range 100 { // ten seconds' worth at once
		f("burst", 0, 0, 0)
		m.charge(ofMessages, 1)
	}
	f("empty", 0, 1, ofMessages)
	f("a millisecond", 1, 0, 0)
	m.charge(ofMessages, 1) // 10 thousandths were there
	f("overdrawn", 0, 100, ofMessages)
	f("almost", 99, 1, ofMessages)
	f("again", 1, 0, 0)
	m.charge(ofSamples, 2000) // of one message: 1000 more than there were
	f("samples", 0, 10_001, ofSamples)
	f("the clock was turned back", -1_000_000, 10_001, ofSamples)
	f("and goes on", 10_001, 0, 0)
	if m.full(now) || !m.full(now+1_000_000) {
		t.Fatal("full")
	}
	m.charge(ofBytes, 1<<40) // has no limit
	f("bytes", 0, 0, 0)
}

func TestQuotasForgetThings(t *testing.T) {
	q := NewQuotas(Rates{Messages: 1}, Rates{}, metrics.NewSet())
	now := int64(1_700_000_000_000)
	m := q.acquire(1, now)
	m.charge(ofMessages, 10)
	q.release(m)
	if again := q.acquire(1, now); again != m {
		t.Fatal("a thing that owes something came back with a full meter")
	}
	q.release(m)
	for id := range 100 {
		q.release(q.acquire(10, now))
		_ = id
	}
	now += 20_000
	for range 100 {
		q.release(q.acquire(2, now))
	}
	if len(q.things) > 2 {
		t.Fatalf("%d things are remembered", len(q.things))
	}
	if NewQuotas(Rates{}, Rates{}, metrics.NewSet()) != nil {
		t.Fatal("no limit is not nil")
	}
}
