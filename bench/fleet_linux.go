package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// run connects the fleet, sends, waits for the last answers and disconnects. It ends early, with an error, when ctx is cancelled.
func (f *fleet) run(ctx context.Context) (fleetResult, error) {
	if limit, err := openFileLimit(); err == nil && limit < uint64(f.devices)+64 {
		return fleetResult{}, fmt.Errorf("%d devices need as many open files, this process may have %d: `ulimit -n %d`", f.devices, limit, f.devices+64)
	}
	r := fleetResult{Devices: f.devices}
	var before usage
	var err error
	if f.pid != 0 {
		if before, err = readUsage(f.pid); err != nil {
			return r, err
		}
	}
	began := time.Now()
	devices, connectErr, err := f.connect(ctx)
	if err != nil {
		return r, err
	}
	r.Connected = len(devices)
	r.ConnectTime = time.Since(began)
	if connectErr != nil {
		r.ConnectFailure = connectErr.Error()
	}
	if len(devices) == 0 {
		return r, fmt.Errorf("no device could connect: %w", connectErr)
	}
	fmt.Fprintf(f.progress, "%d of %d devices connected in %v, measuring for %v after %v\n",
		r.Connected, r.Devices, round(r.ConnectTime), f.duration, f.warmup)
	var idle usage
	if f.pid != 0 {
		if idle, err = readUsage(f.pid); err != nil {
			closeAll(devices)
			return r, err
		}
	}
	loops, err := f.split(devices)
	if err != nil {
		closeAll(devices)
		return r, err
	}
	defer f.phase.Store(phaseStop)
	var group sync.WaitGroup
	failures := make([]error, len(loops))
	start := time.Now()
	for i, l := range loops {
		l.start = start
		group.Go(func() { failures[i] = l.run() })
	}
	var from, to moment
	err = errors.Join(sleep(ctx, f.warmup), f.observe(&from, loops), f.measure(ctx, loops), f.observe(&to, loops))
	if err != nil {
		f.phase.Store(phaseStop)
		group.Wait()
		return r, err
	}
	f.phase.Store(phaseDrain)
	timer := time.AfterFunc(drainTimeout, func() { f.phase.Store(phaseStop) })
	stop := context.AfterFunc(ctx, func() { f.phase.Store(phaseStop) })
	group.Wait()
	timer.Stop()
	stop()
	r.collect(f, loops, from, to)
	if f.pid != 0 {
		r.Server.RSSBefore, r.Server.RSSIdle = before.rssBytes, idle.rssBytes
		r.Server.BytesDevice = float64(idle.rssBytes-before.rssBytes) / float64(len(devices))
	}
	return r, errors.Join(failures...)
}

// measure waits for the end of the measured window.
func (f *fleet) measure(ctx context.Context, loops []*loop) error {
	if f.during != nil {
		return f.during(ctx, func() uint64 { return answered(loops) })
	}
	timer := time.NewTimer(f.duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.enough:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// moment is what was counted and used up to one moment.
type moment struct {
	at          time.Time
	sent, acked uint64
	server      usage
	harness     usage
}

// observe takes a moment.
func (f *fleet) observe(m *moment, loops []*loop) (err error) {
	m.at = time.Now()
	for _, l := range loops {
		m.sent += l.sent.Load()
	}
	m.acked = answered(loops)
	if m.harness, err = readUsage(os.Getpid()); err == nil && f.pid != 0 {
		m.server, err = readUsage(f.pid)
	}
	return err
}

// answered returns how many messages were acknowledged or refused.
func answered(loops []*loop) (n uint64) {
	for _, l := range loops {
		n += l.acked.Load() + l.refused.Load()
	}
	return n
}

// collect sums up loops that have ended and the measured window between two moments.
func (r *fleetResult) collect(f *fleet, loops []*loop, from, to moment) {
	var all histogram
	for _, l := range loops {
		r.Sent += l.sent.Load()
		r.Acked += l.acked.Load()
		r.Refused += l.refused.Load()
		r.Dropped += l.dropped.Load()
		all.add(&l.latency)
		if l.failure != nil && r.DropFailure == "" {
			r.DropFailure = l.failure.Error()
		}
	}
	seconds := to.at.Sub(from.at).Seconds()
	r.SentRate = float64(to.sent-from.sent) / seconds
	r.AckedRate = float64(to.acked-from.acked) / seconds
	messages := float64(to.sent - from.sent)
	if f.qos > 0 {
		r.Lost = r.Sent - r.Acked - r.Refused
		messages = float64(to.acked - from.acked)
		r.Latency = &latency{P50: all.quantile(0.5), P90: all.quantile(0.9), P99: all.quantile(0.99), Max: time.Duration(all.max)}
	}
	micros := func(from, to usage) float64 {
		if messages == 0 {
			return 0
		}
		return float64((to.cpu - from.cpu).Microseconds()) / messages
	}
	r.HarnessCPU = micros(from.harness, to.harness)
	if f.pid != 0 {
		r.Server = &serverCost{
			CPUMicros: micros(from.server, to.server),
			Cores:     (to.server.cpu - from.server.cpu).Seconds() / to.server.at.Sub(from.server.at).Seconds(),
			RSS:       to.server.rssBytes,
			Threads:   to.server.threads,
			Files:     to.server.files,
		}
	}
}

// connectTries is how often a device tries: brokers refuse some when many come at once.
const connectTries = 5

// connect opens the connections of all devices, f.connecting at once. Those that could not be opened are left out; failure is
// the reason of the first of them.
func (f *fleet) connect(ctx context.Context) (devices []*device, failure, err error) {
	var tlsConfig func(string) (*tls.Config, error)
	if f.tls {
		if tlsConfig, err = f.tlsFiles.client(f.addr); err != nil {
			return nil, nil, err
		}
	}
	opened := make([]*device, f.devices)
	var next atomic.Int64
	var mu sync.Mutex // guards failure
	var group sync.WaitGroup
	for range min(f.connecting, f.devices) {
		group.Go(func() {
			for i := int(next.Add(1) - 1); i < f.devices && ctx.Err() == nil; i = int(next.Add(1) - 1) {
				d, err := f.connectDevice(ctx, i, tlsConfig)
				for try := 1; err != nil && try < connectTries && sleep(ctx, time.Duration(try)*200*time.Millisecond) == nil; try++ {
					d, err = f.connectDevice(ctx, i, tlsConfig)
				}
				if err != nil {
					mu.Lock()
					if failure == nil {
						failure = fmt.Errorf("%s: %w", f.thing(i), err)
					}
					mu.Unlock()
					continue
				}
				opened[i] = d
			}
		})
	}
	group.Wait()
	for _, d := range opened {
		if d != nil {
			devices = append(devices, d)
		}
	}
	if ctx.Err() != nil {
		closeAll(devices)
		return nil, nil, ctx.Err()
	}
	return devices, failure, nil
}

// connectDevice opens the connection of device i.
func (f *fleet) connectDevice(ctx context.Context, i int, tlsConfig func(string) (*tls.Config, error)) (*device, error) {
	thing := f.thing(i)
	// Long enough that a device of this run never has to send a PINGREQ.
	keepAlive := min((f.warmup+f.duration+drainTimeout+5*time.Minute)/time.Second, 65535)
	hello := appendConnect(nil, f.version, thing, uint16(keepAlive))
	var subscribe []byte
	if f.subscribe != "" {
		subscribe = appendSubscribe(nil, f.version, 1, expand(f.subscribe, thing))
	}
	sock := &socket{}
	stream, err := handshakeFrom(ctx, f.from, f.addr, hello, subscribe, func(ctx context.Context, tcp net.Conn) (net.Conn, error) {
		sock.Conn = tcp
		if tlsConfig == nil {
			return sock, nil
		}
		config, err := tlsConfig(thing)
		if err != nil {
			return nil, err
		}
		return overTLS(ctx, sock, config)
	})
	if err != nil {
		return nil, err
	}
	if err := sock.detach(); err != nil {
		return nil, err
	}
	return newDevice(i, expand(f.topic, thing), sock, io.ReadWriter(stream), f.window), nil
}

// split spreads the devices over the loops and their messages evenly over the time.
func (f *fleet) split(devices []*device) ([]*loop, error) {
	count := min(f.loops, len(devices))
	shares := make([][]*device, count)
	for i, d := range devices {
		shares[i%count] = append(shares[i%count], d)
	}
	loops := make([]*loop, count)
	for i, share := range shares {
		l, err := newLoop(f, share)
		if err != nil {
			return nil, errors.Join(err, closeLoops(loops[:i]))
		}
		if f.rate > 0 {
			l.stepNs = 1e9 / (f.rate * float64(len(share)))
			l.offsetNs = l.stepNs * float64(i) / float64(count)
		}
		loops[i] = l
	}
	return loops, nil
}

// closeLoops closes what loops have opened themselves; their devices stay.
func closeLoops(loops []*loop) (err error) {
	for _, l := range loops {
		err = errors.Join(err, unix.Close(l.epoll))
	}
	return err
}

func closeAll(devices []*device) {
	for _, d := range devices {
		d.sock.Close()
	}
}
