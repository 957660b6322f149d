package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"muster/agent/wire"
)

// capacityWorker simulates devices as the orders of in say, until it ends, and answers on out.
func capacityWorker(ctx context.Context, text string, in io.Reader, out io.Writer) error {
	var task capacityTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &simulation{task: task}
	defer w.stop()
	encoder := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var order capacityOrder
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return err
		}
		var answer capacityAnswer
		var err error
		if order.Connect > 0 {
			answer, err = w.connect(ctx, order.Connect)
		} else if order.Measure > 0 {
			answer, err = w.measure(ctx, order.Measure)
		}
		if err != nil {
			return err
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// simulation is the devices of one process: a fleet per order, each with a loop of its own, which sends until the end.
type simulation struct {
	task   capacityTask
	fleets []*fleet
	loops  []*loop
	group  sync.WaitGroup
}

// connect opens the connections of another fleet and lets it send.
func (w *simulation) connect(ctx context.Context, n int) (a capacityAnswer, err error) {
	f := fleetLoad{devices: n, rate: w.task.Rate, duration: time.Hour, window: 16, payload: 200}.
		fleet(w.task.Addr, 0, tlsSettings{caFile: w.task.CA, benchCA: w.task.BenchCA}, w.task.CA != "")
	f.prefix = fmt.Sprintf("capacity-%d-%d-", w.task.Worker, len(w.fleets))
	f.subscribe = wire.TelemetryTopic("%s") + "/command"
	f.loops, f.from = 1, loopbackAddr(w.task.Addr, 5000+w.task.Worker*100+len(w.fleets))
	if err := f.check(); err != nil {
		return a, err
	}
	devices, failure, err := f.connect(ctx)
	if err != nil {
		return a, err
	}
	a.Connected = len(devices)
	if failure != nil {
		a.Failure = failure.Error()
	}
	loops, err := f.split(devices)
	if err != nil {
		closeAll(devices)
		return a, err
	}
	w.fleets = append(w.fleets, f)
	for _, l := range loops {
		l.start, l.window = time.Now(), &windowed{}
		w.loops = append(w.loops, l)
		w.group.Go(func() { l.run() }) // an error of epoll ends its messages, which is seen
	}
	return a, nil
}

// measure counts what the devices see for a time.
func (w *simulation) measure(ctx context.Context, window time.Duration) (a capacityAnswer, err error) {
	before := uint64(0)
	for _, l := range w.loops {
		before += l.acked.Load()
		l.window.swap(&histogram{})
	}
	if err := sleep(ctx, window); err != nil {
		return a, err
	}
	var all histogram
	for _, l := range w.loops {
		all.add(l.window.swap(nil))
		a.Acked += l.acked.Load()
		a.Dropped += l.dropped.Load()
	}
	a.Acked -= before
	for i, n := range all.counts {
		if n > 0 {
			a.Counts = append(a.Counts, [2]uint64{uint64(i), n})
		}
	}
	a.Max = all.max
	return a, nil
}

func (w *simulation) stop() {
	for _, f := range w.fleets {
		f.phase.Store(phaseStop)
	}
	w.group.Wait()
}
