package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const soakHelp = `Usage: muster bench soak [flags]

Starts a gateway of its own in a temporary folder and lets devices and programs come and go: connect (MQTT 3.1.1 and 5), subscribe,
publish at QoS 0 and 1, be delivered to, part with and without DISCONNECT, ask queries over new and kept connections. After each
round all leave, and once it is quiet the gateway's memory, goroutines and open files are read. Prints them and their slopes; ends with 1
if one grows, or if a client was refused.

Examples:
  muster bench soak --for 5m
  muster bench soak --for 1h --rounds 30 --devices 200 --rate 50

Flags:
`

// soak is one run of `muster bench soak`.
type soak struct {
	binary  string
	length  time.Duration // of all rounds together
	rounds  int
	devices int
	rate    float64 // messages per second and device
	seed    uint64
	out     io.Writer

	mu     sync.Mutex // guards what follows
	count  soakCount
	faults []error
	marks  []soakMark
}

// soakCount is what the clients did.
type soakCount struct{ connects, published, acked, delivered, queries int }

// soakMark is the state of the quiet gateway after a round.
type soakMark struct {
	at         time.Duration // since the first round began
	rssMB      float64
	goroutines float64
	files      float64
}

// soakCommand is `muster bench soak`.
func soakCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := &soak{out: stdout}
	flags := newFlags("soak", soakHelp, stderr)
	flags.StringVar(&s.binary, "binary", "", "muster binary to test, default: this one")
	flags.DurationVar(&s.length, "for", 5*time.Minute, "time of all rounds together, without the quiet between them")
	flags.IntVar(&s.rounds, "rounds", 12, "rounds, 6 to 1000")
	flags.IntVar(&s.devices, "devices", 100, "devices, 1 to 10000")
	flags.Float64Var(&s.rate, "rate", 20, "messages per second of each device while it is connected, about")
	flags.Uint64Var(&s.seed, "seed", 1, "seed of what the clients do")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	switch {
	case s.rounds < 6 || s.rounds > 1000:
		return usageError(stderr, "soak", fmt.Errorf("--rounds %d: want 6 to 1000", s.rounds))
	case s.devices < 1 || s.devices > 10_000:
		return usageError(stderr, "soak", fmt.Errorf("--devices %d: want 1 to 10000", s.devices))
	case !(s.rate > 0 && s.rate <= 1000):
		return usageError(stderr, "soak", fmt.Errorf("--rate %v: want up to 1000 messages per second and device", s.rate))
	case s.length < time.Second || s.length > 7*24*time.Hour:
		return usageError(stderr, "soak", fmt.Errorf("--for %v: want 1s to 168h", s.length))
	}
	err := s.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench soak:", err)
		return 1
	}
	return 0
}

// run does all rounds. Its error says what grew and what went wrong.
func (s *soak) run(ctx context.Context) (err error) {
	if s.binary, err = orSelf(s.binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "muster-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	token := adminToken()
	g, err := newGateway(s.binary, dir, token, nil)
	if err != nil {
		return err
	}
	// So little that rows are sealed again and again, and memory has a level to stay at.
	memory := fmt.Sprintf("%dKB", 256+4*s.devices)
	if err := g.start(ctx, "--tsdb.memory", memory); err != nil {
		return err
	}
	defer func() { g.kill() }()
	fmt.Fprintf(s.out, "soak: %d rounds of %v, %d devices, seed %d\n", s.rounds, round(s.length/time.Duration(s.rounds)), s.devices, s.seed)
	fmt.Fprintf(s.out, "  %8s %10s %12s %8s %12s %10s\n", "after", "rss MB", "goroutines", "files", "published", "queries")
	began := time.Now()
	for n := range s.rounds {
		if err := s.round(ctx, g, token, n); err != nil {
			return err
		}
		mark, err := s.measure(ctx, g, token)
		if err != nil {
			return err
		}
		mark.at = time.Since(began)
		s.marks = append(s.marks, mark)
		fmt.Fprintf(s.out, "  %8v %10.1f %12.0f %8.0f %12d %10d\n",
			mark.at.Round(time.Second), mark.rssMB, mark.goroutines, mark.files, s.count.published, s.count.queries)
	}
	err = s.judge()
	fmt.Fprintf(s.out, "  %d connections, %d messages, %d acknowledged, %d delivered, %d queries\n",
		s.count.connects, s.count.published, s.count.acked, s.count.delivered, s.count.queries)
	return errors.Join(append(s.faults, err, g.stop())...)
}

// round lets all clients live for one round and waits until they have left.
func (s *soak) round(ctx context.Context, g *gateway, token string, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Not a deadline, which a dial might see as a timeout of its own before the round is over.
	over := time.AfterFunc(s.length/time.Duration(s.rounds), cancel)
	defer over.Stop()
	var clients sync.WaitGroup
	for i := range s.devices {
		d := soakDevice{thing: fmt.Sprintf("soak-%05d", i), index: i, rate: s.rate, rng: mathrand.New(mathrand.NewPCG(s.seed, uint64(n)<<32|uint64(i)))}
		clients.Go(func() { s.note(d.live(ctx, g.plain)) })
	}
	for i := range 2 {
		clients.Go(func() { s.note(s.ask(ctx, g, token, i == 0)) })
	}
	clients.Wait()
	if !g.running() {
		return fmt.Errorf("the gateway ended by itself\n%s", g.log)
	}
	if len(s.faults) > 0 {
		return errors.Join(s.faults...)
	}
	return nil
}

func (s *soak) note(c soakCount, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.connects += c.connects
	s.count.published += c.published
	s.count.acked += c.acked
	s.count.delivered += c.delivered
	s.count.queries += c.queries
	if err != nil && len(s.faults) < 10 {
		s.faults = append(s.faults, err)
	}
}

// ask asks queries until ctx ends, over one connection or a new one each.
func (s *soak) ask(ctx context.Context, g *gateway, token string, keep bool) (c soakCount, err error) {
	queries := []string{
		`count(power_w)`, `avg by (thing) (power_w)`, `topk(5, rate(energy_kwh[1m]))`, `avg_over_time(voltage_v[5m])`, `count({__name__=~".+"})`,
		`quantile_over_time(0.9, temperature_c[1m:1s])`, `state_info`,
	}
	var api *promAPI
	defer func() {
		if api != nil {
			api.close()
		}
	}()
	for i := 0; ; i++ {
		if api == nil || !keep {
			if api != nil {
				api.close()
			}
			if api, err = newPromAPI("https://"+g.http+"/prometheus", token, g.caFile()); err != nil {
				return c, err
			}
		}
		var result any
		err := api.query(ctx, queries[i%len(queries)], time.Now().UnixMilli(), &result)
		if ctx.Err() != nil {
			return c, nil
		}
		if err != nil {
			return c, err
		}
		c.queries++
		if sleep(ctx, 50*time.Millisecond) != nil {
			return c, nil
		}
	}
}

// settleTime is how long a gateway gets to let go of what the clients of a round have left.
const settleTime = 3 * time.Second

// measure reads the quiet gateway: the least of several looks, because the gateway does things of its own now and then.
func (s *soak) measure(ctx context.Context, g *gateway, token string) (least soakMark, err error) {
	if err := sleep(ctx, settleTime); err != nil {
		return least, err
	}
	api, err := newPromAPI("https://"+g.http, token, g.caFile())
	if err != nil {
		return least, err
	}
	defer api.close()
	for look := range 5 {
		goroutines, err := api.metric(ctx, "go_goroutines")
		if err != nil {
			return least, err
		}
		used, err := readUsage(g.pid())
		if err != nil {
			return least, err
		}
		mark := soakMark{rssMB: mb(used.rssBytes), goroutines: goroutines, files: float64(used.files)}
		if look == 0 {
			least = mark
		}
		least.rssMB, least.goroutines, least.files = min(least.rssMB, mark.rssMB), min(least.goroutines, mark.goroutines), min(least.files, mark.files)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return least, err
		}
	}
	return least, nil
}

// judge prints the slopes over the last two thirds of the rounds and returns an error if the last third is above the middle one.
func (s *soak) judge() error {
	warm := s.marks[len(s.marks)/3:]
	var errs []error
	for _, figure := range []struct {
		name  string
		of    func(soakMark) float64
		slack float64 // growth that may be chance, beside a tenth
	}{
		{"memory, MB", func(m soakMark) float64 { return m.rssMB }, 4},
		{"goroutines", func(m soakMark) float64 { return m.goroutines }, 3},
		{"open files", func(m soakMark) float64 { return m.files }, 3},
	} {
		early, late := level(warm[:len(warm)/2], figure.of), level(warm[len(warm)/2:], figure.of)
		fmt.Fprintf(s.out, "  %-12s %10.1f, then %.1f; slope %+.2f an hour\n", figure.name, early, late, slopePerHour(warm, figure.of))
		if late > early*1.1+figure.slack {
			errs = append(errs, fmt.Errorf("%s grow from %.1f to %.1f", strings.TrimSuffix(figure.name, ", MB"), early, late))
		}
	}
	return errors.Join(errs...)
}

// level is the median of a figure.
func level(marks []soakMark, of func(soakMark) float64) float64 {
	values := make([]float64, len(marks))
	for i, m := range marks {
		values[i] = of(m)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// slopePerHour fits a line through a figure by least squares.
func slopePerHour(marks []soakMark, of func(soakMark) float64) float64 {
	var meanX, meanY float64
	for _, m := range marks {
		meanX += m.at.Hours() / float64(len(marks))
		meanY += of(m) / float64(len(marks))
	}
	var xy, xx float64
	for _, m := range marks {
		x := m.at.Hours() - meanX
		xy += x * (of(m) - meanY)
		xx += x * x
	}
	if xx == 0 {
		return 0
	}
	return xy / xx
}
