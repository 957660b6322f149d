package prom

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// partNumbers is how many numbers a goroutine reads before it hands them on: 64 KiB, which stay in its core's cache.
	partNumbers = 8192
	// partSeries is how many series it reads at most before it lets others run: some 0.1 ms.
	partSeries = 64
)

// inOrder reads the numbers of series at all steps, on several cores where there are many, and calls use for each in their order, one call
// at a time. row is valid until use returns. The first error ends it.
//
// The goroutine of the query works, and with it others as long as there are fewer of these than cores less one, for all queries together.
// Each steps aside after each part, so that goroutines that take telemetry wait for one part and not for a query.
func (a *aggregation) inOrder(members []int32, use func(i int32, row []float64) error) error {
	each := min(max(partNumbers/a.n, 1), partSeries)
	t := &turns{parts: (len(members) + each - 1) / each}
	t.cond.L = &t.mu
	work := func() { a.work(t, members, each, use) }
	var wg sync.WaitGroup
	for range min(t.parts, cap(a.q.helpers)+1) - 1 {
		select {
		case a.q.helpers <- struct{}{}:
			wg.Go(func() {
				defer func() { <-a.q.helpers }()
				t.guard(work)
			})
		default:
		}
	}
	t.guard(work)
	wg.Wait()
	if t.panicked != nil {
		panic(t.panicked)
	}
	return t.err
}

// work reads parts and uses them when it is their turn, until there are no more.
func (a *aggregation) work(t *turns, members []int32, each int, use func(i int32, row []float64) error) {
	r := &stepReader{p: a.p, q: a.q}
	defer r.release()
	err := r.start(each * a.n)
	for {
		part := int(t.claimed.Add(1)) - 1
		if part >= t.parts {
			return
		}
		mine := members[part*each : min((part+1)*each, len(members))]
		for i := 0; i < len(mine) && err == nil; i++ {
			if err = a.ctx.Err(); err == nil {
				err = r.read(r.rows[i*a.n:][:a.n], &a.set.list[mine[i]])
			}
		}
		if !t.wait(part) {
			return
		}
		for i := 0; i < len(mine) && err == nil; i++ {
			err = use(mine[i], r.rows[i*a.n:][:a.n])
		}
		if t.done(err); err != nil {
			return
		}
		if t.parts > 1 {
			runtime.Gosched()
		}
	}
}

// turns lets goroutines do the second half of each part in the order of the parts.
type turns struct {
	parts   int
	claimed atomic.Int64

	mu       sync.Mutex // guards what follows
	cond     sync.Cond
	next     int
	err      error // there are no more turns
	panicked any
}

// wait waits until it is the turn of part. It is false where that will not come.
func (t *turns) wait(part int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.next != part && t.err == nil {
		t.cond.Wait()
	}
	return t.err == nil
}

// done ends a turn, and with an error all of them.
func (t *turns) done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	if err != nil {
		t.err = err
	}
	t.cond.Broadcast()
}

// guard runs f and keeps a panic for the goroutine of the query, which may end with it.
func (t *turns) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.panicked, t.err = p, errors.New("a goroutine of the query panicked")
			t.cond.Broadcast()
		}
	}()
	f()
}
