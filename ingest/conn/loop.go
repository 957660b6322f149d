package conn

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Store is where clients hand on what they have read, while their loop calls them, to become durable. Its methods must not wait but where
// that is said. *tsdb.Store is one.
type Store interface {
	// Expect says that Commit will be called once more: what is handed on until then need wake nobody.
	Expect()
	// Commit has what was handed on become durable without waiting for more. With wait it may do that by itself, if it takes a few
	// milliseconds, and returns true when all is done and the clients were woken; else done is to be told when they were.
	Commit(wait bool, done chan<- struct{}) (committed bool)
}

// LoopOptions are those of StartLoops. All but Coalesce and Store are required.
type LoopOptions struct {
	Log     *slog.Logger
	Metrics *metrics.Set
	Count   int // of loops: about one per core
	// Coalesce is what a busy loop lets pass between two waits: all that becomes ready meanwhile, packets and
	// acknowledgements, is handled in one go. One that has little to do does not wait, nor one that is never done.
	Coalesce time.Duration
	// Store commits after every round in which clients have read. Their acknowledgements are written as soon as that is done, not after the
	// pause, while the sockets are still in the cache. Before a pause the loop commits by itself, where it may: that wakes nobody. Nil:
	// nothing is committed here.
	Store Store
}

// Loops serve parked connections: a few goroutines for any number of them. See Client.
//
// Each loop has an epoll set of its own, edge-triggered: a socket is entered once and not touched again to be armed. Its
// sockets, those that were woken (a group of rows is on disk, a message is queued) and those with a deadline are its work.
//
// The goroutine of a loop runs the clients' code, which must not wait. What is known to may is handed to other goroutines, a
// bounded number of them. What waits nevertheless is seen by a watch: another goroutine becomes the loop and goes on behind
// it in the same batch; the one that waits finishes its connection's turn and ends.
type Loops struct {
	log      *slog.Logger
	coalesce time.Duration
	store    Store // nil: none
	began    time.Time
	loops    []*loop
	next     atomic.Uint32 // whose turn it is to get a connection
	wg       sync.WaitGroup
	stopping atomic.Bool
	panics   *metrics.Counter
	stalls   *metrics.Counter
	handed   *metrics.Counter

	mu      sync.Mutex // guards what follows
	workers int        // goroutines of handOver
	waiting []*Socket  // for one of them, in order
}

// maxWorkers bounds the goroutines that do what may wait. More connections than that wait with their bytes.
const maxWorkers = 256

// StartLoops starts the loops; Close ends them.
func StartLoops(opts LoopOptions) (*Loops, error) {
	o := &Loops{log: opts.Log, coalesce: opts.Coalesce, store: opts.Store, began: time.Now(),
		panics: opts.Metrics.GetOrCreateCounter(`muster_ingest_panics_total`),
		stalls: opts.Metrics.GetOrCreateCounter(`muster_ingest_loop_stalls_total`),
		handed: opts.Metrics.GetOrCreateCounter(`muster_ingest_loop_handovers_total`),
	}
	for range opts.Count {
		p, err := openPoller()
		if err != nil {
			for _, l := range o.loops {
				err = errors.Join(err, l.poller.close())
			}
			return nil, fmt.Errorf("start connection loops: %w", err)
		}
		o.loops = append(o.loops, &loop{owner: o, poller: p, committed: make(chan struct{}, 1), pause: time.NewTimer(time.Hour)})
	}
	for _, l := range o.loops {
		l.pause.Stop()
		l.watch = time.AfterFunc(time.Hour, l.look)
		l.watch.Stop()
		o.wg.Go(l.run)
	}
	opts.Metrics.NewGauge(`muster_ingest_parked_connections`, func() float64 { return float64(o.Parked()) })
	return o, nil
}

// Parked returns how many connections there are.
func (o *Loops) Parked() int {
	n := 0
	for _, l := range o.loops {
		l.mu.Lock()
		n += len(l.slots) - len(l.free) - l.lingering
		l.mu.Unlock()
	}
	return n
}

// Now returns a time in milliseconds that only goes forward.
func (o *Loops) Now() int64 { return int64(time.Since(o.began) / time.Millisecond) }

// Close ends the loops. Every connection must have ended; those whose peers have not seen it yet are given a moment.
func (o *Loops) Close() error {
	o.awaitRemains()
	o.stopping.Store(true)
	for _, l := range o.loops {
		l.poller.wake()
	}
	o.wg.Wait()
	var err error
	for _, l := range o.loops {
		l.watch.Stop()
		for _, s := range l.slots {
			if s != nil { // only remains are left
				closeSocket(int(s.fd))
			}
		}
		err = errors.Join(err, l.poller.close())
	}
	return err
}

// handOver has the rest of a client's turn done by a goroutine that may wait.
func (o *Loops) handOver(s *Socket) {
	o.handed.Inc()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.workers == maxWorkers {
		o.waiting = append(o.waiting, s)
		return
	}
	o.workers++
	o.wg.Go(func() {
		for s := s; s != nil; s = o.nextWaiting() {
			s.resume()
		}
	})
}

// nextWaiting returns the next socket for a worker; nil ends the worker.
func (o *Loops) nextWaiting() *Socket {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		o.workers--
		return nil
	}
	s := o.waiting[0]
	o.waiting[0] = nil
	if o.waiting = o.waiting[1:]; len(o.waiting) == 0 {
		o.waiting = nil
	}
	return s
}

// batch is how many events one wait returns.
const batch = 256

// loop is one epoll set with its sockets.
type loop struct {
	owner  *Loops
	poller *poller
	watch  *time.Timer // runs look

	// turn counts the times that clients' code was called, twice each: it is odd during one. Whoever makes it even, the
	// goroutine that called or look, is the loop from then on.
	turn     atomic.Uint64
	working  atomic.Bool   // clients are being called
	watched  atomic.Bool   // look will run
	lastSeen atomic.Uint64 // turn; of look
	current  atomic.Pointer[Socket]
	asleep   atomic.Bool  // waits for events, and has to be woken
	bytes    atomic.Int64 // that clients have read in this round

	committed chan struct{} // is told by Store.Commit; room for one
	pause     *time.Timer

	// Of the goroutine that is the loop: the batch, and how far it has come.
	ready [batch]readySocket
	taken []*Socket // were woken
	dues  []*Socket // may have a deadline that is over
	count struct{ ready, taken, dues int }
	next  time.Duration // since Loops.began: when there may be another round
	round uint32
	reads int // how many clients were called to read in this round
	waits int // those of them that had been written to in this round or the one before
	// expects says that Store.Expect was called, and Commit was not since.
	expects bool

	mu    sync.Mutex // guards what follows
	slots []*Socket
	// lingering counts those of slots that are remains.
	lingering int
	free      []int32 // slots without a socket
	woken     []*Socket
	wheel     wheel
}

type readySocket struct {
	s    *Socket
	mask uint32
}

// worker is what one goroutine has to lend.
type worker struct{ buf, scratch []byte }

const readBuffer = 64 << 10

func (l *loop) enter(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		s.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[s.slot] = s
		return
	}
	s.slot = int32(len(l.slots))
	l.slots = append(l.slots, s)
}

func (l *loop) leave(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[s.slot] = nil
	l.free = append(l.free, s.slot)
	l.wheel.remove(s)
}

// push queues s and wakes the loop if it sleeps: once, however many are pushed until then.
func (l *loop) push(s *Socket) {
	l.mu.Lock()
	l.woken = append(l.woken, s)
	l.mu.Unlock()
	l.rouse()
}

// rouse wakes the loop if it sleeps.
func (l *loop) rouse() {
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.poller.wake()
	}
}

// run is the loop, from where the batch is.
func (l *loop) run() {
	w := &worker{buf: make([]byte, readBuffer), scratch: make([]byte, 0, startScratch)}
	for !l.owner.stopping.Load() {
		if !l.handle(w) || !l.rest(w) {
			return // another goroutine is the loop
		}
		l.wait()
	}
	l.settle()
}

// handle works through the batch. It reports whether the caller is still the loop.
func (l *loop) handle(w *worker) bool {
	for i := &l.count.ready; *i > 0; {
		*i--
		r := l.ready[*i]
		l.ready[*i].s = nil
		if r.mask&(eventIn|eventHangup) != 0 {
			l.reads++
			if l.round-r.s.flushed <= 1 {
				l.waits++
			}
		}
		turn := l.begin(r.s)
		if r.mask&eventOut != 0 && r.s.state.Load()&stateBlocked != 0 {
			r.s.flush(w)
		}
		if r.mask&(eventIn|eventHangup) != 0 {
			if r.mask&eventHangup != 0 {
				r.s.state.Or(stateHangup)
			}
			r.s.read(w)
		}
		if !l.end(turn) {
			return false
		}
	}
	// What those have woken is written at once; what that wakes comes in the next round.
	for range 2 {
		if !l.flush(w) {
			return false
		}
	}
	for l.count.dues < len(l.dues) {
		s := l.dues[l.count.dues]
		l.count.dues++
		turn := l.begin(s)
		s.due(l.owner.Now())
		if !l.end(turn) {
			return false
		}
	}
	return true
}

// flush has those write who were woken. It reports whether the caller is still the loop.
func (l *loop) flush(w *worker) bool {
	if l.count.taken == len(l.taken) {
		l.take()
	}
	for l.count.taken < len(l.taken) {
		s := l.taken[l.count.taken]
		l.count.taken++
		s.flushed = l.round
		again := s.state.And(^uint32(stateQueued))&stateAgain != 0
		if again {
			l.reads++
			l.expect()
		}
		turn := l.begin(s)
		s.flush(w)
		if again {
			s.read(w)
		}
		if !l.end(turn) {
			return false
		}
	}
	return true
}

// take takes the sockets that were woken.
func (l *loop) take() {
	clear(l.taken)
	l.mu.Lock()
	l.taken, l.woken = l.woken, l.taken[:0]
	l.mu.Unlock()
	l.count.taken = 0
}

// begin and end enclose every call of a client. What is the loop's is not touched between them: another goroutine may be the loop.
func (l *loop) begin(s *Socket) (turn uint64) {
	l.current.Store(s)
	turn = l.turn.Load() + 1
	l.turn.Store(turn)
	return turn
}

func (l *loop) end(turn uint64) bool { return l.turn.CompareAndSwap(turn, turn+1) }

// watchOver has look run while the loop calls clients. Its timer goes on from one round to the next: one that is stopped and set again in each
// round wakes other threads each time.
func (l *loop) watchOver() {
	l.working.Store(true)
	if !l.watched.Load() && l.watched.CompareAndSwap(false, true) {
		l.watch.Reset(stallAfter)
	}
}

// look replaces the goroutine of a loop that is held up by a client. It runs again while there is work.
func (l *loop) look() {
	if l.owner.stopping.Load() {
		return
	}
	turn := l.turn.Load()
	seen := l.lastSeen.Swap(turn)
	if turn == seen && !l.working.Load() {
		l.watched.Store(false)
		if !l.working.Load() || !l.watched.CompareAndSwap(false, true) { // else work has come between the two
			return
		}
	}
	if turn&1 == 1 && turn == seen {
		stuck := l.current.Load()
		if l.turn.CompareAndSwap(turn, turn+1) {
			l.owner.stalls.Inc()
			if stuck != nil {
				stuck.client.Stalled()
			}
			l.owner.wg.Go(l.run)
		}
	}
	l.watch.Reset(stallAfter)
}

// rest ends a round: it has the store commit, and lets time pass between two rounds of a loop that is never idle. It reports whether the
// caller is still the loop.
//
// Over time, rounds are as far apart as the setting says; but who was idle has saved some, and there is no pause where it would keep work
// waiting: after a round that brought much, and as far as its clients are such that go on when they are answered.
func (l *loop) rest(w *worker) bool {
	o := l.owner
	step := o.coalesce * time.Duration(max(fullRound-l.bytes.Load(), 0)) / fullRound
	step = step * time.Duration(l.reads-l.waits) / time.Duration(max(l.reads, 1))
	now := time.Since(o.began)
	l.next = max(l.next, now-savedRounds*o.coalesce) + step
	l.bytes.Store(0)
	l.reads, l.waits = 0, 0
	l.round++
	if l.expects {
		l.expects = false
		wait := l.next > now
		// The commit is a turn of nobody: where the disk takes its time, another goroutine becomes the loop.
		turn := l.begin(nil)
		committed := o.store.Commit(wait, l.committed)
		if !l.end(turn) {
			if committed {
				l.tell()
			}
			return false
		}
		if committed && !l.flush(w) {
			return false
		}
		l.settle() // for those who had more to read
	}
	l.working.Store(false)
	pause := l.next - time.Since(o.began)
	if pause <= 0 {
		return true
	}
	l.pause.Reset(pause)
	if l.watched.Load() { // not in the pause: that would wake a thread, and a timer that is put off wakes none
		l.watch.Reset(pause + stallAfter)
	}
	for {
		select {
		case <-l.committed:
			l.watchOver()
			if !l.flush(w) {
				return false
			}
			l.settle()
			l.working.Store(false)
		case <-l.pause.C:
			return true
		}
	}
}

// tell says to who is the loop now that something was committed.
func (l *loop) tell() {
	select {
	case l.committed <- struct{}{}:
	default:
	}
}

// settle has the store commit what it was told to expect, if that was not done, and does not wait.
func (l *loop) settle() {
	if l.expects {
		l.expects = false
		l.owner.store.Commit(false, l.committed)
	}
}

// savedRounds is how many rounds without a pause a loop saves up while it has little to do.
const savedRounds = 64

// fullRound is how many bytes a round brings after which there is no pause: what a round costs by itself is nothing beside them.
const fullRound = 256 << 10

// wait fills the batch.
func (l *loop) wait() {
	o := l.owner
	n := l.poller.wait(0)
	if n == 0 {
		n = l.sleep()
	}
	l.watchOver()
	clear(l.dues)
	l.dues, l.count.dues = l.dues[:0], 0
	something := false // to be read
	l.mu.Lock()
	for i := range n {
		slot, mask := l.poller.event(i)
		if slot == wakeSlot || l.slots[slot] == nil { // closed since
			continue
		}
		l.ready[l.count.ready] = readySocket{l.slots[slot], mask}
		l.count.ready++
		something = something || mask&(eventIn|eventHangup) != 0
	}
	l.dues = l.wheel.advance(o.Now()/int64(wheelTick/time.Millisecond), l.dues)
	l.mu.Unlock()
	if something {
		l.expect()
	}
}

// expect tells the store, once, that the round may bring something.
func (l *loop) expect() {
	if l.owner.store != nil && !l.expects {
		l.expects = true
		l.owner.store.Expect()
	}
}

// sleep waits until something happens.
func (l *loop) sleep() int {
	l.asleep.Store(true)
	timeoutMs := -1
	l.mu.Lock()
	busy := len(l.woken) > 0
	if next := l.wheel.next(); next > 0 {
		timeoutMs = int(max(next*int64(wheelTick/time.Millisecond)-l.owner.Now(), 0)) + 1
	}
	l.mu.Unlock()
	if busy || l.owner.stopping.Load() {
		timeoutMs = 0
	}
	n := l.poller.wait(timeoutMs)
	l.asleep.Store(false)
	return n
}
