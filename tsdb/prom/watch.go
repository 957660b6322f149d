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

// watch returns a context for a query, which ends with a limitError once the live heap of the process has grown by more than
// maxBytes since. The engine counts samples, not what it sets aside for them: count_values makes room for every step of
// the query in each of the series that it makes, 80 KB for a single sample. The caller must call stop; nothing looks after it.
//
// What counts is what the last garbage collection left, so garbage is not held against a query; what other queries
// and the rest of the process take meanwhile is. It is a last resort. A query that is shorter than watchEvery costs a timer
// and no goroutine.
func watch(ctx context.Context, maxBytes int) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	first := liveHeap()
	var mu sync.Mutex // held while timer is set, and while the heap is looked at
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(watchEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case watched.Err() != nil:
		case liveHeap() > first+uint64(maxBytes):
			cancel(&limitError{fmt.Sprintf("the query takes more than %d MiB of memory (query.max-memory); select fewer series or steps", maxBytes>>20)})
		default:
			timer.Reset(watchEvery)
		}
	})
	return watched, func() {
		cancel(nil)
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
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
