package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// capacityTask tells a worker what its devices do. It travels as JSON.
type capacityTask struct {
	Addr, CA, BenchCA string // without CA: plain TCP
	Rate              float64
	Worker            int
}

// capacityOrder is one line to a worker: connect so many more devices, or measure for a time.
type capacityOrder struct {
	Connect int           `json:",omitempty"`
	Measure time.Duration `json:",omitempty"`
}

// capacityAnswer is its answer.
type capacityAnswer struct {
	Connected int
	Acked     uint64 // in the measured time
	Dropped   uint64 // connections that broke, since the start
	Failure   string
	Counts    [][2]uint64 // of the histogram: bucket, count
	Max       int64

	latency histogram
}

// workers are the processes that simulate devices. One goroutine uses them.
type workers struct{ list []*worker }

type worker struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Reader
	log     *tail
}

// startWorkers starts n processes on the cores that p leaves.
func startWorkers(ctx context.Context, binary string, p *profile, n int, task capacityTask) (*workers, error) {
	ws := &workers{}
	for i := range n {
		task.Worker = i
		text, err := json.Marshal(task)
		if err != nil {
			return nil, err
		}
		w := &worker{cmd: exec.CommandContext(ctx, binary, "bench", "capacity", "--worker", string(text)), log: &tail{}}
		w.cmd.Stderr = w.log
		stdout, err := w.cmd.StdoutPipe()
		if err == nil {
			w.answers = bufio.NewReaderSize(stdout, 1<<20)
			w.orders, err = w.cmd.StdinPipe()
		}
		if err == nil {
			err = p.startBeside(w.cmd)
		}
		if err != nil {
			ws.stop()
			return nil, fmt.Errorf("start simulated devices: %w", err)
		}
		ws.list = append(ws.list, w)
	}
	return ws, nil
}

// stop ends the processes.
func (ws *workers) stop() {
	for _, w := range ws.list {
		w.orders.Close()
		w.cmd.Process.Kill() // it has nothing to lose
		w.cmd.Wait()
	}
}

// all gives each worker an order at the same time and returns the answers.
func (ws *workers) all(order func(i int) capacityOrder) ([]capacityAnswer, error) {
	answers, errs := make([]capacityAnswer, len(ws.list)), make([]error, len(ws.list))
	var group sync.WaitGroup
	for i, w := range ws.list {
		group.Go(func() { answers[i], errs[i] = w.ask(order(i)) })
	}
	group.Wait()
	return answers, errors.Join(errs...)
}

func (w *worker) ask(order capacityOrder) (a capacityAnswer, err error) {
	text, err := json.Marshal(order)
	if err != nil {
		return a, err
	}
	if _, err := w.orders.Write(append(text, '\n')); err != nil {
		return a, fmt.Errorf("%w: %v\n%s", errWorker, err, w.log)
	}
	line, err := w.answers.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("%w: %v\n%s", errWorker, err, w.log)
	}
	return a, json.Unmarshal(line, &a)
}

// connect adds n devices, spread over the workers.
func (ws *workers) connect(n int) (connected int, failure string, err error) {
	answers, err := ws.all(func(i int) capacityOrder {
		return capacityOrder{Connect: n*(i+1)/len(ws.list) - n*i/len(ws.list)}
	})
	for i := range answers {
		connected += answers[i].Connected
		if failure == "" {
			failure = answers[i].Failure
		}
	}
	return connected, failure, err
}

// measure looks at what all devices see for a time.
func (ws *workers) measure(window time.Duration) (sum capacityAnswer, err error) {
	answers, err := ws.all(func(int) capacityOrder { return capacityOrder{Measure: window} })
	for i := range answers {
		a := &answers[i]
		sum.Acked += a.Acked
		sum.Dropped += a.Dropped
		if sum.Failure == "" {
			sum.Failure = a.Failure
		}
		for _, c := range a.Counts {
			if c[0] >= uint64(len(sum.latency.counts)) {
				return sum, fmt.Errorf("simulated devices answer with bucket %d", c[0])
			}
			sum.latency.counts[c[0]] += c[1]
			sum.latency.total += c[1]
		}
		sum.latency.max = max(sum.latency.max, a.Max)
	}
	return sum, err
}

// windowed is a histogram that another goroutine takes out. Safe for concurrent use.
type windowed struct {
	mu sync.Mutex // guards h
	h  *histogram // nil: nothing is recorded
}

func (w *windowed) record(d time.Duration) {
	w.mu.Lock()
	if w.h != nil {
		w.h.record(d)
	}
	w.mu.Unlock()
}

// swap puts h in the place of the current one, which it returns.
func (w *windowed) swap(h *histogram) (old *histogram) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, w.h = w.h, h
	return old
}
