package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// Plan says how much to do.
type Plan struct {
	PowerCuts int    // simulated; ten to a history
	Faults    int    // each of the first so many operations of the disk fails, once a run
	Seed      uint64 // of the first history; each next has the next seed
}

const (
	historyCuts = 10
	// maxFailures ends a run that is beyond hope.
	maxFailures = 20
)

// Run does what plan says, on all cores, writes each failing seed and a summary to out, and returns an error if anything failed. A
// cancelled ctx ends it early with its error.
func Run(ctx context.Context, plan Plan, out io.Writer) error {
	began := time.Now()
	histories := (plan.PowerCuts + historyCuts - 1) / historyCuts
	r := runner{out: out}
	r.each(ctx, histories, func(i int) (tally, error) {
		seed := plan.Seed + uint64(i)
		h := newHistory(rand.New(rand.NewPCG(seed, 1)))
		err := h.cut(min(historyCuts, plan.PowerCuts-i*historyCuts))
		if err != nil {
			err = fmt.Errorf("seed %d: %w (repeat: --powercuts %d --seed %d)", seed, err, historyCuts, seed)
		}
		h.tally.histories, h.tally.acked = 1, h.model.Acked()
		return h.tally, err
	})
	r.each(ctx, plan.Faults, func(i int) (tally, error) {
		h := newHistory(rand.New(rand.NewPCG(plan.Seed, uint64(i)+2)))
		err := h.fault(i + 1)
		if err != nil {
			err = fmt.Errorf("seed %d: %w (repeat: --faults %d --seed %d)", plan.Seed, err, i+1, plan.Seed)
		}
		h.tally.acked = h.model.Acked()
		return h.tally, err
	})
	t := r.done
	fmt.Fprintf(out, "simulated: %d power cuts in %d histories, %d faults of the disk, %d times full; %d rows acknowledged; %d failed; seed %d; %v\n",
		t.cuts, t.histories, t.faults, t.full, t.acked, len(r.failures), plan.Seed, time.Since(began).Round(time.Millisecond))
	if t.acked == 0 && ctx.Err() == nil {
		r.failures = append(r.failures, errors.New("nothing was acknowledged, so nothing was tested"))
	}
	return errors.Join(append(r.failures, ctx.Err())...)
}

// runner spreads jobs over the cores.
type runner struct {
	out io.Writer

	mu       sync.Mutex // guards what follows
	done     tally
	failures []error
}

// each calls job with 0 to n-1.
func (r *runner) each(ctx context.Context, n int, job func(i int) (tally, error)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				t, err := job(i)
				r.note(t, err)
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil || r.hopeless() {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
}

func (r *runner) note(t tally, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.add(t)
	if err != nil {
		fmt.Fprintln(r.out, err)
		r.failures = append(r.failures, err)
	}
}

func (r *runner) hopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) >= maxFailures
}
