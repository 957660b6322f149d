package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// costWindow is how long the CPU time of messages is counted before groups are moved from one gateway to the other.
	costWindow = time.Second
	// costSettle is between the change of the groups and the window: what they left to do is done.
	costSettle = 300 * time.Millisecond
	// costDevices send to each of the two gateways.
	costDevices = 1000
)

// costSide is one of two gateways under the same load.
type costSide struct {
	g        *gateway
	api      *restAPI
	groups   int
	answered func() uint64 // messages so far
}

// costOfMessages says what groups over telemetry add to the gateway's CPU per message: two new gateways get the same messages at the same time, one of
// them with groups, and then the other one. So what else the machine does is in both alike, and what is different between the two
// falls out of two windows that follow each other.
func (b *registryBench) costOfMessages(ctx context.Context) error {
	pairs := int(b.load / (2 * costWindow))
	if pairs == 0 || b.telemetryGroups == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sides [2]*costSide
	ended := make(chan error, len(sides))
	done := make(chan struct{})
	for i := range sides {
		s, err := b.newCostSide(ctx)
		if err != nil {
			return err
		}
		defer os.RemoveAll(filepath.Dir(s.g.dataDir))
		defer s.g.kill()
		defer s.api.close()
		sides[i] = s
		ready := make(chan struct{})
		go func() {
			err := s.send(ctx, ready, done)
			if err != nil {
				cancel()
			}
			ended <- err
		}()
		select {
		case <-ready:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), <-ended)
		}
	}
	more, base, err := compareSides(ctx, sides, pairs, b.telemetryGroups)
	close(done)
	if err := errors.Join(err, <-ended, <-ended); err != nil {
		return err
	}
	middle, low, high := medianOf(more)
	micros, _, _ := medianOf(base)
	b.line(fmt.Sprintf("CPU per message with %d groups over telemetry", b.telemetryGroups), "+5 %", "%+.1f %% of %.1f us", middle, micros)
	b.line(fmt.Sprintf("  95 %% sure, of %d pairs of windows", pairs), "", "%+.1f to %+.1f %%", low, high)
	return nil
}

// compareSides returns by how many percent a message with groups costs more than one without, for each pair of windows, and what those without cost.
func compareSides(ctx context.Context, sides [2]*costSide, pairs, groups int) (more, base []float64, err error) {
	for i := range pairs {
		ratio := 1.0
		for part := range 2 {
			with := (i + part) % 2 // the second window of a pair is as the first one of the next
			if part == 1 || i == 0 {
				if err := errors.Join(sides[with].setGroups(ctx, groups), sides[1-with].setGroups(ctx, 0)); err != nil {
					return nil, nil, err
				}
			}
			if err := sleep(ctx, costSettle); err != nil {
				return nil, nil, err
			}
			costs, err := window(ctx, sides)
			if err != nil {
				return nil, nil, err
			}
			ratio *= costs[with] / costs[1-with]
			base = append(base, costs[1-with])
		}
		more = append(more, 100*(math.Sqrt(ratio)-1))
	}
	return more, base, nil
}

// window returns the CPU microseconds per message of both gateways over one window.
func window(ctx context.Context, sides [2]*costSide) (costs [2]float64, err error) {
	read := func(sign float64) (err error) {
		for i, s := range sides {
			cpu, e := processCPU(s.g.pid())
			err = errors.Join(err, e)
			costs[i] += sign * float64(cpu.Microseconds())
		}
		return err
	}
	var messages [2]uint64
	for i, s := range sides {
		messages[i] = s.answered()
	}
	if err := errors.Join(read(-1), sleep(ctx, costWindow), read(1)); err != nil {
		return costs, err
	}
	for i, s := range sides {
		costs[i] /= float64(max(s.answered()-messages[i], 1))
	}
	return costs, nil
}

func (b *registryBench) newCostSide(ctx context.Context) (*costSide, error) {
	dir, err := os.MkdirTemp("", "muster-registry-cost-")
	if err != nil {
		return nil, err
	}
	token := adminToken()
	s := &costSide{}
	if s.g, err = newGateway(b.binary, dir, token, nil); err != nil {
		return nil, err
	}
	if err := s.g.start(ctx); err != nil {
		return nil, err
	}
	s.api, err = newRestAPI(s.g, token, 1)
	return s, err
}

// send lets devices send until done is closed. It closes ready when they do.
func (s *costSide) send(ctx context.Context, ready chan<- struct{}, done <-chan struct{}) error {
	load := fleetLoad{devices: costDevices, rate: 2, warmup: 2 * time.Second, duration: time.Hour, window: 16, payload: 200}
	f := load.fleet(s.g.plain, s.g.pid(), tlsSettings{}, false)
	f.loops = 1
	if err := f.check(); err != nil {
		return err
	}
	f.during = func(ctx context.Context, answered func() uint64) error {
		s.answered = answered
		close(ready)
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r, err := f.run(ctx)
	if err == nil && (r.Lost > 0 || r.Refused > 0 || r.Connected < r.Devices) {
		err = fmt.Errorf("%d of %d devices connected; %d messages lost, %d refused", r.Connected, r.Devices, r.Lost, r.Refused)
	}
	return err
}

// setGroups makes or deletes groups over telemetry until there are n. Temperatures wander through the bounds of the one half, energies stay below
// those of the other.
func (s *costSide) setGroups(ctx context.Context, n int) error {
	for ; s.groups < n; s.groups++ {
		query := fmt.Sprintf("telemetry.temperature_c>%.1f", 10+float64(s.groups)/5)
		if s.groups%2 == 1 {
			query = fmt.Sprintf("telemetry.energy_kwh>%d", 100_000+s.groups)
		}
		if _, err := s.api.do(ctx, "POST", fmt.Sprintf("/iot/dynamic-thing-groups/tele-%03d", s.groups), map[string]any{"queryString": query}, nil); err != nil {
			return err
		}
	}
	for ; s.groups > n; s.groups-- {
		if _, err := s.api.do(ctx, "DELETE", fmt.Sprintf("/iot/dynamic-thing-groups/tele-%03d", s.groups-1), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// medianOf returns the median, and between which two values that of all there could be lies with at least 95 % (by the signs: half of all
// are below it); infinite ones when there are too few.
func medianOf(values []float64) (median, low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN(), math.Inf(-1), math.Inf(1)
	}
	median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	// At most cut values are below it with a chance of at most 2.5 %.
	cut, chance, term := -1, 0.0, math.Pow(0.5, float64(n))
	for k := range n {
		if chance += term; chance > 0.025 {
			break
		}
		cut = k
		term *= float64(n-k) / float64(k+1)
	}
	if cut < 0 {
		return median, math.Inf(-1), math.Inf(1)
	}
	return median, sorted[cut], sorted[n-1-cut]
}
