package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"muster/tsdb"
)

const (
	// batchSamples bounds what is collected before it is appended: 32 bytes each.
	batchSamples = 32 << 10
	// batchBytes bounds the bytes of labels behind one batch, since every one of them may belong to a new label set, and the store's log
	// writes those in one group.
	batchBytes = 4 << 20
	// keptBytes is what the buffers of an idle worker may have.
	keptBytes = 4 << 20
)

// worker decodes one request at a time and keeps its buffers for the next.
type worker struct {
	in      *Intake
	buf     []byte // for the unpacked body
	body    []byte // unpacked
	samples []sample
	values  []tsdb.Value
	set     tsdb.LabelSet
	name    []byte // of the series
	metric  []byte // buffer of a name
	symbols []symbol
	lines   lineReader
	zstd    *zstd.Decoder

	ctx     context.Context // of the request
	receipt *receipt
	tally   tally
	labels  int // bytes of labels since the last batch
}

// sample is one sample on its way into a row.
type sample struct {
	timeMs int64
	value  tsdb.Value
	thing  tsdb.ThingID
}

// tally says what became of the samples of one request.
type tally struct {
	written    int   // to the store
	durable    int   // of them, those that are known to be on disk before the end of the request
	invalid    int   // samples that were left out
	first      error // why the first of them was
	histograms int   // left out; they are invalid, too
	exemplars  int   // skipped
}

func (t *tally) refuse(samples int, err error) {
	if t.invalid == 0 {
		t.first = err
	}
	t.invalid += samples
}

func (w *worker) begin(ctx context.Context) {
	w.ctx, w.receipt, w.tally, w.labels = ctx, newReceipt(), tally{}, 0
	w.samples = w.samples[:0]
}

// release gives the worker back, without buffers that one large request has made.
func (w *worker) release() {
	w.set.Reset()
	w.name = nil
	w.ctx, w.receipt, w.body = nil, nil, nil
	w.lines.reset(nil)
	if w.zstd != nil {
		_ = w.zstd.Reset(nil) // lets go of the body
	}
	if cap(w.buf) > keptBytes {
		w.buf = nil
	}
	if cap(w.symbols)*8 > keptBytes {
		w.symbols = nil
	}
	w.in.idle <- w
}

// target finds or makes the thing or source, and the column, of a series: w.set has its labels but the name, which is w.name.
func (w *worker) target() (tsdb.ThingID, tsdb.MetricID, error) {
	switch {
	case len(w.name) == 0:
		return 0, 0, errors.New("a series has no __name__")
	case !utf8.Valid(w.name):
		return 0, 0, fmt.Errorf("the name %.64q is not UTF-8", w.name)
	}
	thing, ok := w.thing()
	if !ok {
		var err error
		if thing, err = w.in.opts.Store.Source(&w.set); err != nil {
			return 0, 0, fmt.Errorf("series %.64q: %w", w.name, err)
		}
	}
	m, err := w.in.opts.Store.Dict().Metric(w.name)
	return thing, m, err
}

// thing returns the registered thing that the labels name, if they say nothing of it that the registry does not say itself.
func (w *worker) thing() (tsdb.ThingID, bool) {
	name := w.set.Value("thing")
	if name == nil {
		return 0, false
	}
	id, labels, ok := w.in.opts.Things.Thing(string(name))
	if !ok || w.set.Len() > len(labels) {
		return 0, false
	}
	same := 0
	for _, l := range labels {
		if value := w.set.Value(l.Name); value != nil && string(value) == l.Value {
			same++
		}
	}
	return id, same == w.set.Len()
}

// add adds one sample to the batch. Errors end the request.
func (w *worker) add(thing tsdb.ThingID, timeMs int64, v tsdb.Value) error {
	if timeMs < 0 || timeMs >= tsdb.MaxTimeMs {
		w.tally.refuse(1, fmt.Errorf("the time %d ms of a sample of %.64q does not lie between 1970 and 2200", timeMs, w.name))
		return nil
	}
	w.samples = append(w.samples, sample{timeMs, v, thing})
	if len(w.samples) >= batchSamples {
		return w.flush()
	}
	return nil
}

// beginSeries forgets the labels of the series before.
func (w *worker) beginSeries() {
	w.name = nil
	w.set.Reset()
}

// label adds a label to the series, or sets its name.
func (w *worker) label(name, value []byte) {
	w.labels += len(name) + len(value)
	if string(name) == "__name__" && w.name == nil {
		w.name = value
		return
	}
	w.set.Add(name, value)
}

// endSeries flushes the batch if its label sets have grown large.
func (w *worker) endSeries() error {
	if w.labels >= batchBytes {
		return w.flush()
	}
	return nil
}

// flush appends a batch in the middle of a request and waits until it is on disk, which bounds what waits for the log.
func (w *worker) flush() error {
	if err := w.append(); err != nil {
		return err
	}
	err := w.receipt.wait(w.ctx)
	if err == nil {
		w.tally.durable = w.tally.written
	}
	return err
}

// append makes rows of the batch and hands them to the store: by thing, time and column, the last sample of each counts.
func (w *worker) append() error {
	w.labels = 0
	batch := w.samples
	w.samples = batch[:0]
	byRow := func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.thing, b.thing), cmp.Compare(a.timeMs, b.timeMs), cmp.Compare(column(a.value), column(b.value)))
	}
	if !slices.IsSortedFunc(batch, byRow) {
		slices.SortStableFunc(batch, byRow)
	}
	for len(batch) > 0 {
		thing, timeMs, n := batch[0].thing, batch[0].timeMs, 0
		w.values = w.values[:0]
		for ; n < len(batch) && batch[n].thing == thing && batch[n].timeMs == timeMs; n++ {
			v := batch[n].value
			if last := len(w.values) - 1; last >= 0 && column(w.values[last]) == column(v) {
				w.values[last] = v
				continue
			}
			if len(w.values) == tsdb.MaxRowValues {
				break
			}
			w.values = append(w.values, v)
		}
		seq, err := w.in.opts.Store.Append(thing, timeMs, w.values, w.receipt)
		switch {
		case err == nil:
			w.receipt.expect(seq)
			w.tally.written += n
		case errors.Is(err, tsdb.ErrDiskFull), errors.Is(err, tsdb.ErrFailed), errors.Is(err, tsdb.ErrClosed):
			return err
		default:
			w.tally.refuse(n, err)
		}
		batch = batch[n:]
	}
	return nil
}

// column numbers the columns of a row: texts are apart from numbers of the same name.
func column(v tsdb.Value) uint64 {
	c := uint64(v.Metric) << 1
	if v.Kind == tsdb.String {
		c |= 1
	}
	return c
}

// receipt is the tsdb.Waiter of one request.
type receipt struct {
	mu   sync.Mutex // guards need, upTo, err
	need uint64
	upTo uint64
	err  error
	told chan struct{} // has a token after Durable was called
}

func newReceipt() *receipt { return &receipt{told: make(chan struct{}, 1)} }

// Durable implements tsdb.Waiter.
func (r *receipt) Durable(upTo uint64, err error) {
	r.mu.Lock()
	r.upTo = max(r.upTo, upTo)
	if r.err == nil {
		r.err = err
	}
	done := r.upTo >= r.need
	r.mu.Unlock()
	if done {
		select {
		case r.told <- struct{}{}:
		default:
		}
	}
}

// expect adds a row to those that wait is for.
func (r *receipt) expect(seq uint64) {
	r.mu.Lock()
	r.need = max(r.need, seq)
	r.mu.Unlock()
}

// wait returns when all expected rows are on disk, with an error if one of them never will be.
func (r *receipt) wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		done, err := r.upTo >= r.need, r.err
		r.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-r.told:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
