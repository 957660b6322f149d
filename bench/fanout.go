package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const fanoutHelp = `Usage: muster bench fanout [flags]

One client publishes, many subscribe to it: what a delivery costs the broker and how long it takes. Some subscribers are slow: they read
nothing until all is published, and must get everything all the same. A message of QoS 1 that somebody does not get ends the run with 1.

Examples:
  muster bench fanout --subscribers 1000 --messages 100 --vs mosquitto

Flags:
`

// fanout is one run of `muster bench fanout`.
type fanout struct {
	binary      string
	mosquitto   string // empty: muster alone
	subscribers int
	slow        int // of them
	messages    int
	rate        float64 // messages per second
	payload     int
}

// fanoutResult is what one broker made of it.
type fanoutResult struct {
	Broker    string        `json:"broker"`
	Expected  int64         `json:"expected"`
	Delivered int64         `json:"delivered"`
	Twice     int64         `json:"twice"` // QoS 1 allows it
	P50       time.Duration `json:"p50Ns"` // of the subscribers that are not slow
	P99       time.Duration `json:"p99Ns"`
	CPUMicros float64       `json:"cpuMicrosPerDelivery"`
}

// fanoutTopic is what all subscribe to.
const fanoutTopic = "bench/fanout"

// fanoutCommand is `muster bench fanout`.
func fanoutCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &fanout{}
	flags := newFlags("fanout", fanoutHelp, stderr)
	flags.StringVar(&f.binary, "binary", "", "muster binary to test, default: this one")
	flags.IntVar(&f.subscribers, "subscribers", 1000, "subscribers, 1 to 10000")
	flags.IntVar(&f.slow, "slow", 10, "subscribers that read nothing until all is published")
	flags.IntVar(&f.messages, "messages", 100, "messages, 1 to 900: brokers keep about 1000 for a slow subscriber")
	flags.Float64Var(&f.rate, "rate", 20, "messages per second")
	flags.IntVar(&f.payload, "payload", 200, "bytes of a message, 12 to 1000")
	versus := flags.String("vs", "", "do the same with another broker: `mosquitto`, or the path of one")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	switch {
	case f.subscribers < 1 || f.subscribers > 10_000 || f.slow < 0 || f.slow > f.subscribers:
		return usageError(stderr, "fanout", fmt.Errorf("--subscribers %d, --slow %d: want 1 to 10000, of which some are slow", f.subscribers, f.slow))
	case f.messages < 1 || f.messages > 900 || !(f.rate > 0 && f.rate <= 10_000):
		return usageError(stderr, "fanout", fmt.Errorf("--messages %d, --rate %v: want 1 to 900 and up to 10000", f.messages, f.rate))
	case f.payload < 12 || f.payload > 1000:
		return usageError(stderr, "fanout", fmt.Errorf("--payload %d: want 12 to 1000", f.payload))
	}
	f.mosquitto = *versus
	results, err := f.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench fanout:", err)
		return 1
	}
	if *asJSON {
		err = printJSON(stdout, results)
	} else {
		err = f.print(stdout, results)
	}
	if r := results[0]; err == nil && r.Delivered < r.Expected {
		err = fmt.Errorf("%d of %d messages did not arrive", r.Expected-r.Delivered, r.Expected)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench fanout:", err)
		return 1
	}
	return 0
}

// run does it with muster and, if asked for, with the other broker.
func (f *fanout) run(ctx context.Context) (results []fanoutResult, err error) {
	if f.binary, err = orSelf(f.binary); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "muster-fanout-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	g, err := newGateway(f.binary, dir, adminToken(), nil)
	if err != nil {
		return nil, err
	}
	// A device may do little by itself: here all may do everything.
	policy := `{"adminToken":"` + adminToken() + `","defaultPolicy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}}`
	if err := os.WriteFile(g.bootstrap, []byte(policy), 0o600); err != nil {
		return nil, err
	}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	r, err := f.measure(ctx, "muster", g.plain, g.pid())
	if err != nil {
		g.kill()
		return nil, fmt.Errorf("%w\n%s", err, g.log)
	}
	if err := g.stop(); err != nil {
		return nil, err
	}
	results = append(results, r)
	if f.mosquitto == "" {
		return results, nil
	}
	path, err := findMosquitto(f.mosquitto)
	if err != nil {
		return nil, err
	}
	m, err := startMosquitto(ctx, path, dir, nil)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	if r, err = f.measure(ctx, "mosquitto", m.addr, m.pid()); err != nil {
		return nil, fmt.Errorf("mosquitto: %w\n%s", err, m.log)
	}
	return append(results, r), nil
}

// fanoutTimeout is how long the last message may take to the last subscriber.
const fanoutTimeout = 30 * time.Second

// measure lets the subscribers subscribe, publishes, and waits until all have everything.
func (f *fanout) measure(ctx context.Context, broker, addr string, pid int) (r fanoutResult, err error) {
	r.Broker, r.Expected = broker, int64(f.messages)*int64(f.subscribers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	subscribers := make([]*fanoutSubscriber, f.subscribers)
	for i := range subscribers {
		s := &fanoutSubscriber{seen: make([]bool, f.messages)}
		s.conn, err = handshake(ctx, addr, appendConnect(nil, mqtt311, fmt.Sprintf("fan-%05d", i), 600), appendSubscribe(nil, mqtt311, 1, fanoutTopic), plainTCP)
		if err != nil {
			return r, fmt.Errorf("subscriber %d of %d: %w", i+1, f.subscribers, errors.Join(err, ctx.Err()))
		}
		defer s.conn.Close()
		subscribers[i] = s
	}
	publisher, err := handshake(ctx, addr, appendConnect(nil, mqtt311, "fan-publisher", 600), nil, plainTCP)
	if err != nil {
		return r, err
	}
	defer publisher.Close()
	before, err := readUsage(pid)
	if err != nil {
		return r, err
	}
	var delivered atomic.Int64
	all, published := make(chan struct{}), make(chan struct{})
	began := time.Now()
	var group sync.WaitGroup
	for i, s := range subscribers {
		group.Go(func() {
			if i < f.slow {
				<-published
			}
			s.read(began, func() {
				if delivered.Add(1) == r.Expected {
					close(all)
				}
			})
		})
	}
	err = f.publish(ctx, publisher, began)
	close(published)
	if err == nil {
		timer := time.NewTimer(fanoutTimeout)
		defer timer.Stop()
		select {
		case <-all:
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	after, usageErr := readUsage(pid)
	for _, s := range subscribers {
		s.conn.SetReadDeadline(time.Unix(1, 0))
	}
	group.Wait()
	if err := errors.Join(err, usageErr); err != nil {
		return r, err
	}
	var times histogram
	for i, s := range subscribers {
		r.Twice += s.twice
		if i >= f.slow {
			times.add(&s.times)
		}
	}
	r.Delivered = delivered.Load()
	r.P50, r.P99 = times.quantile(0.5), times.quantile(0.99)
	r.CPUMicros = float64((after.cpu - before.cpu).Microseconds()) / float64(max(r.Delivered, 1))
	return r, nil
}

// publish sends the messages at the rate and waits for each one's acknowledgement.
func (f *fanout) publish(ctx context.Context, conn net.Conn, began time.Time) error {
	conn.SetDeadline(time.Now().Add(fanoutTimeout + time.Duration(float64(f.messages)/f.rate*float64(time.Second))))
	reader := packetReader{conn: conn}
	payload := make([]byte, f.payload)
	for n := range f.messages {
		if err := sleep(ctx, time.Until(began.Add(time.Duration(float64(n)/f.rate*float64(time.Second))))); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(payload, uint32(n))
		binary.BigEndian.PutUint64(payload[4:], uint64(time.Since(began)))
		err := reader.exchange(appendPublish(nil, mqtt311, 1, uint16(n+1), fanoutTopic, payload), func(p packet) error {
			if p.kind != packetPuback {
				return fmt.Errorf("want PUBACK, the broker sends packet type %d", p.kind)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fanoutSubscriber is one subscriber; read's goroutine owns it.
type fanoutSubscriber struct {
	conn  net.Conn
	seen  []bool
	twice int64
	times histogram
}

// read acknowledges and notes what comes, until the connection ends. first is called once for each message.
func (s *fanoutSubscriber) read(began time.Time, first func()) {
	reader := packetReader{conn: s.conn}
	for {
		p, err := reader.next()
		if err != nil {
			return
		}
		head := 2 + len(fanoutTopic)
		if p.kind != packetPublish || len(p.body) < head+2+12 {
			continue
		}
		id, payload := p.body[head:head+2], p.body[head+2:]
		n := int(binary.BigEndian.Uint32(payload))
		if n >= len(s.seen) {
			return
		}
		if s.seen[n] {
			s.twice++
		} else {
			s.seen[n] = true
			s.times.record(time.Since(began) - time.Duration(binary.BigEndian.Uint64(payload[4:])))
			first()
		}
		if _, err := s.conn.Write([]byte{packetPuback << 4, 2, id[0], id[1]}); err != nil {
			return
		}
	}
}

// print writes the results side by side.
func (f *fanout) print(w io.Writer, results []fanoutResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages of %d bytes, %g per second, QoS 1, to %d subscribers each, %d of them slow\n", f.messages, f.payload, f.rate, f.subscribers, f.slow)
	for _, r := range results {
		fmt.Fprintf(&b, "  %-10s %d of %d delivered, %d twice; %.2f us of CPU per delivery; p50 %v  p99 %v\n",
			r.Broker, r.Delivered, r.Expected, r.Twice, r.CPUMicros, round(r.P50), round(r.P99))
	}
	if len(results) == 2 && results[1].CPUMicros > 0 {
		fmt.Fprintf(&b, "  CPU per delivery: %.2f of the other's\n", results[0].CPUMicros/results[1].CPUMicros)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
