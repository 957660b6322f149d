package prom

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync"
	"time"
)

// watchEvery is how often a running query's memory is looked at. A core can fill some 100 MB in that time.
const watchEvery = 20 * time.Millisecond

// watch cancels a query with a limitError once the live heap of the process has grown by more than maxBytes since the
// query began. The engine counts samples, not what it sets aside for them: count_values makes room for every step of
// the query in each of the series that it makes, 80 KB for a single sample. The caller must call stop, which waits for the
// watcher's goroutine to end.
//
// What counts is what the last garbage collection left, so garbage is not held against a query; what other queries
// and the rest of the process take meanwhile is. It is a last resort.
func watch(cancel context.CancelCauseFunc, maxBytes int) (stop func()) {
	first := liveHeap()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if live := liveHeap(); live > first+uint64(maxBytes) {
				cancel(&limitError{fmt.Sprintf("the query takes more than %d MiB of memory (query.max-memory); select fewer series or steps", maxBytes>>20)})
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// liveHeap returns the bytes that the last garbage collection found in use.
func liveHeap() uint64 {
	sample := [1]metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample[:])
	return sample[0].Value.Uint64()
}

// causeOf returns why ctx ended a query with err: the limit that the watcher found broken, else err.
func causeOf(ctx context.Context, err error) error {
	if limit := (*limitError)(nil); err != nil && errors.As(context.Cause(ctx), &limit) {
		return limit
	}
	return err
}
