package lane

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
)

// Rates are how much may come in per second; 0 is no limit. Ten seconds' worth may come at once: devices collect while they are away.
type Rates struct {
	Messages int // PUBLISH of any kind
	Bytes    int // of them
	Samples  int // values of telemetry
}

const rateBurstSec = 10

// What Rates count.
const (
	ofMessages = iota
	ofBytes
	ofSamples
	rateKinds
)

var rateNames = [rateKinds]string{"messages", "bytes", "samples"}

func (r *Rates) perSecond() [rateKinds]int64 {
	return [rateKinds]int64{int64(r.Messages), int64(r.Bytes), int64(r.Samples)}
}

// Quotas bound what comes in: of each thing, over all its connections, and of all together. What is over is not lost: a v5 client is told so,
// from others is not read for as long as it takes. Safe for concurrent use.
type Quotas struct {
	perThing  [rateKinds]int64 // per second
	ofThings  bool             // perThing has a limit
	total     *meter           // nil: no limit
	exceeded  [2][rateKinds]*metrics.Counter
	throttled atomic.Int64 // connections that are not read from

	mu     sync.Mutex // guards things
	things map[tsdb.ThingID]*meter
}

// NewQuotas returns nil where there is no limit.
func NewQuotas(perThing, total Rates, set *metrics.Set) *Quotas {
	if perThing == (Rates{}) && total == (Rates{}) {
		return nil
	}
	q := &Quotas{perThing: perThing.perSecond(), ofThings: perThing != Rates{}, things: make(map[tsdb.ThingID]*meter)}
	if total != (Rates{}) {
		q.total = newMeter(total.perSecond())
	}
	for i, scope := range [...]string{"thing", "gateway"} {
		for kind, name := range rateNames {
			q.exceeded[i][kind] = set.GetOrCreateCounter(fmt.Sprintf("muster_ingest_quota_exceeded_total{scope=%q,what=%q}", scope, name))
		}
	}
	set.NewGauge("muster_ingest_throttled_connections", func() float64 { return float64(q.throttled.Load()) })
	return q
}

// meter is what may still come in: a bucket for each kind that fills as time goes on. It may be overdrawn once, by whatever comes
// while it is above 0: how many samples a message has is known too late.
type meter struct {
	perSecond [rateKinds]int64

	mu    sync.Mutex // guards what follows
	left  [rateKinds]int64
	atMs  int64 // when left was right, Unix ms
	users int   // connections; guarded by Quotas.mu
}

// A bucket counts thousandths, so that it fills by its rate every millisecond.
const perUnit = 1000

func newMeter(perSecond [rateKinds]int64) *meter {
	m := &meter{perSecond: perSecond}
	for kind, rate := range perSecond {
		m.left[kind] = rate * rateBurstSec * perUnit
	}
	return m
}

// fill adds what the time since has brought. The mutex is held.
func (m *meter) fill(nowMs int64) {
	if nowMs < m.atMs && m.atMs-nowMs < rateBurstSec*1000 { // it was read before another one's
		return
	}
	elapsed := min(max(nowMs-m.atMs, 0), 1e9) // also where the clock was turned back, or was never set
	m.atMs = nowMs
	for kind, rate := range m.perSecond {
		m.left[kind] = min(m.left[kind]+rate*elapsed, rate*rateBurstSec*perUnit)
	}
}

// over returns how long it takes until something may come in, 0 for now, and which kind it is that waits longest.
func (m *meter) over(nowMs int64) (waitMs int64, kind int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fill(nowMs)
	for k, rate := range m.perSecond {
		if rate > 0 && m.left[k] <= 0 {
			if wait := -m.left[k]/rate + 1; wait > waitMs {
				waitMs, kind = wait, k
			}
		}
	}
	return waitMs, kind
}

// charge takes n of a kind.
func (m *meter) charge(kind int, n int) {
	if m == nil || m.perSecond[kind] == 0 {
		return
	}
	m.mu.Lock()
	m.left[kind] -= int64(n) * perUnit
	m.mu.Unlock()
}

// full says whether nothing was taken that time has not brought back: the meter can be forgotten.
func (m *meter) full(nowMs int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fill(nowMs)
	for kind, rate := range m.perSecond {
		if m.left[kind] < rate*rateBurstSec*perUnit {
			return false
		}
	}
	return true
}

// acquire returns the meter of a thing that has one more connection, nil for none.
func (q *Quotas) acquire(thing tsdb.ThingID, nowMs int64) *meter {
	if q == nil || !q.ofThings {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	// A thing that is gone keeps what it owes, or it would come back with a full meter; some of those that owe nothing are forgotten.
	looked := 0
	for id, m := range q.things {
		if m.users == 0 && m.full(nowMs) {
			delete(q.things, id)
		}
		if looked++; looked == 8 {
			break
		}
	}
	m := q.things[thing]
	if m == nil {
		m = newMeter(q.perThing)
		m.atMs = nowMs
		q.things[thing] = m
	}
	m.users++
	return m
}

func (q *Quotas) release(m *meter) {
	if m == nil {
		return
	}
	q.mu.Lock()
	m.users--
	q.mu.Unlock()
}

// over returns how long nothing may come in of a thing, 0 for now, and what counts it where that is not 0.
func (q *Quotas) over(thing *meter, nowMs int64) (waitMs int64, exceeded *metrics.Counter) {
	scope, kind := 0, 0
	if thing != nil {
		waitMs, kind = thing.over(nowMs)
	}
	if q.total != nil {
		if wait, k := q.total.over(nowMs); wait > waitMs {
			waitMs, scope, kind = wait, 1, k
		}
	}
	return waitMs, q.exceeded[scope][kind]
}

// Meter begins to count the connection for its thing's quota; Unmeter ends that. Called by the Handler, in Connect and at the end.
func (c *Conn) Meter(thing tsdb.ThingID) {
	c.meter = c.env.Quotas.acquire(thing, c.env.Clock.Now().UnixMilli())
}

// Unmeter ends what Meter began.
func (c *Conn) Unmeter() { c.env.Quotas.release(c.meter) }

// admit asks the quotas for a message of size bytes. refused says that it was answered here; what cannot be refused waits.
func (c *Conn) admit(p *Publish, size int) (refused bool, err error) {
	q := c.env.Quotas
	nowMs := c.arrivalMs
	if !c.hurried { // others of the same read may have waited
		nowMs = c.env.Clock.Now().UnixMilli()
	}
	for waiting := false; ; waiting = true {
		waitMs, exceeded := q.over(c.meter, nowMs)
		if waitMs == 0 {
			break
		}
		if c.hurried && (c.version < 5 || p.QoS == 2) {
			return false, errWait
		}
		if !waiting {
			exceeded.Inc()
		}
		if c.version == 5 && p.QoS < 2 {
			if p.QoS == 1 {
				c.owe(ack{id: p.ID, code: codeQuotaExceeded, reason: "quota exceeded: send less per second"})
			}
			return true, nil
		}
		if !waiting {
			q.throttled.Add(1)
			defer q.throttled.Add(-1)
		}
		<-c.env.Clock.After(min(time.Duration(waitMs)*time.Millisecond, maxThrottle))
		if c.ended.Load() {
			return true, net.ErrClosed // Run returns the reason that came first
		}
		nowMs = c.env.Clock.Now().UnixMilli()
	}
	c.chargeQuota(ofMessages, 1)
	c.chargeQuota(ofBytes, size)
	return false, nil
}

// maxThrottle is how long a connection that waits takes to notice that it has ended.
const maxThrottle = 100 * time.Millisecond

// chargeQuota takes n from the quotas.
func (c *Conn) chargeQuota(kind, n int) {
	c.meter.charge(kind, n)
	if q := c.env.Quotas; q != nil {
		q.total.charge(kind, n)
	}
}
