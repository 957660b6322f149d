package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

const crashHelp = `Usage: muster bench crash [flags]

Starts a gateway of its own in a temporary folder, loads it with QoS 1 telemetry over its plain listener, kills it with
SIGKILL at a random moment and starts it again, many times. Every acknowledgement is noted outside of the gateway. After each
start, and once more at the end, every acknowledged sample must be there with its value, under a name that is as old as the
store and under one that was new in its cycle. Ends with 1 if one is missing, wrong, or was never sent.

With --powercuts and --faults the twin store is tried on simulated disks as well: the power goes at any moment and takes what was not
synced, in part and in any order; each operation of the disk fails once; the disk runs full; clocks jump. What fails says its seed.

Examples:
  muster bench crash --kills 100
  muster bench crash --kills 20 --seed 42 --devices 200 --rate 50
  muster bench crash --kills 1000 --powercuts 10000 --faults 2000 --seed 1
  muster bench crash --binary ./muster --keep

Flags:
`

// crashTest is one run of `muster bench crash`.
type crashTest struct {
	binary  string
	kills   int
	seed    uint64
	devices int
	rate    float64       // messages per second and device
	load    time.Duration // longest time under load before a kill
	limit   time.Duration // longest start that is not reported as slow
	keep    bool

	out    io.Writer
	fleet  []*crashDevice
	starts []time.Duration
	lost   int
	faults []error
}

// crashCommand is `muster bench crash`.
func crashCommand(ctx context.Context, args []string, stdout, stderr io.Writer, torture func(context.Context, int, int, uint64, io.Writer) error) int {
	c := &crashTest{out: stdout}
	var powerCuts, faults int
	flags := newFlags("crash", crashHelp, stderr)
	flags.StringVar(&c.binary, "binary", "", "muster binary to test, default: this one")
	flags.IntVar(&c.kills, "kills", 0, "kills, up to 100000; default: 100, or none with --powercuts or --faults")
	flags.IntVar(&powerCuts, "powercuts", 0, "simulated power cuts, up to 10000000")
	flags.IntVar(&faults, "faults", 0, "operations of a simulated disk that fail, one run each, up to 100000")
	flags.Uint64Var(&c.seed, "seed", 0, "seed of the random moments and bursts; 0: a new one, which is printed")
	flags.IntVar(&c.devices, "devices", 50, "devices, 1 to 999")
	flags.Float64Var(&c.rate, "rate", 200, "messages per second of each device, about")
	flags.DurationVar(&c.load, "load", time.Second, "longest time under load before a kill")
	flags.DurationVar(&c.limit, "start-limit", 2*time.Second, "a longer start fails the test")
	flags.BoolVar(&c.keep, "keep", false, "keep the gateway's folder; it is kept anyway if the test fails")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	if c.kills == 0 && powerCuts == 0 && faults == 0 {
		c.kills = 100
	}
	switch {
	case c.kills < 0 || c.kills > 100_000:
		return usageError(stderr, "crash", fmt.Errorf("--kills %d: want 0 to 100000", c.kills))
	case powerCuts < 0 || powerCuts > 10_000_000 || faults < 0 || faults > 100_000:
		return usageError(stderr, "crash", fmt.Errorf("--powercuts %d, --faults %d: want up to 10000000 and up to 100000", powerCuts, faults))
	case c.devices < 1 || c.devices > 999:
		return usageError(stderr, "crash", fmt.Errorf("--devices %d: want 1 to 999", c.devices))
	case !(c.rate > 0 && c.rate <= 1000):
		return usageError(stderr, "crash", fmt.Errorf("--rate %v: want up to 1000 messages per second and device", c.rate))
	case c.load < 20*time.Millisecond || c.load > time.Minute || c.limit <= 0:
		return usageError(stderr, "crash", fmt.Errorf("--load %v, --start-limit %v: want 20ms to 1m and more than 0", c.load, c.limit))
	}
	for c.seed == 0 {
		c.seed = mathrand.Uint64()
	}
	var err error
	if c.binary, err = orSelf(c.binary); err != nil {
		fmt.Fprintln(stderr, "bench crash:", err)
		return 1
	}
	if powerCuts > 0 || faults > 0 {
		err = torture(ctx, powerCuts, faults, c.seed, stdout)
	}
	if c.kills > 0 && ctx.Err() == nil {
		err = errors.Join(err, c.run(ctx))
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench crash:", err)
		return 1
	}
	return 0
}

// run does the whole test. Its error sums up what was wrong.
func (c *crashTest) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "muster-crash-")
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "crash: %d kills of %s, seed %d, %d devices of about %g msg/s, folder %s\n", c.kills, c.binary, c.seed, c.devices, c.rate, dir)
	began := time.Now()
	err = c.cycles(ctx, dir)
	c.print(time.Since(began))
	if err = errors.Join(append(c.faults, err)...); err != nil {
		return fmt.Errorf("%w\nrepeat with --seed %d; the gateway's folder is %s", err, c.seed, dir)
	}
	if c.keep {
		return nil
	}
	return os.RemoveAll(dir)
}

// adminToken makes a bearer token for the gateway of a run.
func adminToken() string {
	raw := make([]byte, 32)
	rand.Read(raw) // never fails (crypto/rand)
	return "bench-" + hex.EncodeToString(raw)
}

// cycles starts and kills the gateway c.kills times, then verifies everything, stops it and verifies everything again. What
// is lost or wrong is noted; the error is what keeps the test from going on.
func (c *crashTest) cycles(ctx context.Context, dir string) error {
	token := adminToken()
	g, err := newGateway(c.binary, dir, token, nil)
	if err != nil {
		return err
	}
	for i := range c.devices {
		c.fleet = append(c.fleet, &crashDevice{thing: fmt.Sprintf("crash-%03d", i), index: i})
	}
	if err := c.start(ctx, g); err != nil {
		return err
	}
	defer func() { g.kill() }()
	rng := mathrand.New(mathrand.NewPCG(c.seed, 0))
	for cycle := range c.kills {
		column := cycleColumn(cycle)
		after := c.load/50 + time.Duration(rng.Int64N(int64(c.load-c.load/50)))
		if err := c.loadAndKill(ctx, g, cycle, column, after); err != nil {
			return fmt.Errorf("kill %d: %w", cycle+1, err)
		}
		if err := c.start(ctx, g); err != nil {
			return fmt.Errorf("start after kill %d: %w", cycle+1, err)
		}
		if err := c.verify(ctx, g, token, cycle, "seq", column); err != nil {
			return fmt.Errorf("after kill %d: %w", cycle+1, err)
		}
		if (cycle+1)%10 == 0 {
			fmt.Fprintf(c.out, "  %d kills, %d acknowledged, %d lost\n", cycle+1, c.acked(), c.lost)
		}
	}
	if err := c.verify(ctx, g, token, 0, "seq"); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if err := g.stop(); err != nil {
		return err
	}
	if err := c.start(ctx, g); err != nil {
		return fmt.Errorf("start after SIGTERM: %w", err)
	}
	if err := c.verify(ctx, g, token, 0, "seq"); err != nil {
		return fmt.Errorf("after SIGTERM: %w", err)
	}
	return g.stop()
}

// cycleColumn is the column name that is new in a cycle.
func cycleColumn(cycle int) string { return fmt.Sprintf("cycle_%05d", cycle) }

// start starts the gateway and notes the time.
func (c *crashTest) start(ctx context.Context, g *gateway) error {
	if err := g.start(ctx); err != nil {
		return err
	}
	c.starts = append(c.starts, g.started)
	if g.started > c.limit {
		now := time.Now().UTC().Format(time.TimeOnly)
		// Little CPU in a long time: the machine was busy with other things, or the disk slow.
		used, err := readUsage(g.pid())
		if err != nil {
			return err
		}
		c.faults = append(c.faults, fmt.Errorf("start %d, ready at %s, took %v, of which %v of CPU; the limit is %v; it said:\n%s",
			len(c.starts), now, round(g.started), used.cpu, c.limit, g.log))
	}
	return nil
}

// loadAndKill lets all devices publish, and kills the gateway when the time is over.
func (c *crashTest) loadAndKill(ctx context.Context, g *gateway, cycle int, column string, after time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alive, dying := context.WithCancel(ctx)
	defer dying()
	errs := make([]error, len(c.fleet))
	var group sync.WaitGroup
	for i, d := range c.fleet {
		rng := mathrand.New(mathrand.NewPCG(c.seed, uint64(cycle)<<32|uint64(i)+1))
		group.Go(func() { errs[i] = d.publish(ctx, alive, g.plain, column, c.rate, rng) })
	}
	err := sleep(ctx, after)
	if err == nil && !g.running() {
		err = fmt.Errorf("the gateway ended by itself\n%s", g.log)
	}
	dying()
	g.kill()
	cancel()
	group.Wait()
	return errors.Join(append(errs, err)...)
}

// verify compares, for each of the columns, what was sent since cycle began with what the gateway holds.
func (c *crashTest) verify(ctx context.Context, g *gateway, token string, cycle int, columns ...string) error {
	api, err := newPromAPI("https://"+g.http+"/prometheus", token, g.caFile())
	if err != nil {
		return err
	}
	defer api.close()
	for _, d := range c.fleet {
		for i, column := range columns {
			lost, err := d.verify(ctx, api, column, d.cycles[cycle], len(d.sentMs))
			if i == 0 {
				c.lost += lost
			}
			if err == nil {
				continue
			}
			c.faults = append(c.faults, fmt.Errorf("cycle %d, %d lost: %w", cycle+1, lost, err))
			if len(c.faults) >= 20 {
				return errors.New("too much is wrong to go on")
			}
		}
	}
	return ctx.Err()
}

// acked counts all acknowledged messages.
func (c *crashTest) acked() (n int) {
	for _, d := range c.fleet {
		n += d.ackedCount(0)
	}
	return n
}

// print writes the summary.
func (c *crashTest) print(took time.Duration) {
	sent, kills := 0, 0
	for _, d := range c.fleet {
		sent += len(d.sentMs)
		kills = max(kills, len(d.cycles))
	}
	fmt.Fprintf(c.out, "  kills          %d in %v\n  sent           %d\n  acknowledged   %d\n  lost           %d\n",
		kills, took.Round(time.Second), sent, c.acked(), c.lost)
	if n := len(c.starts); n > 0 {
		slices.Sort(c.starts)
		fmt.Fprintf(c.out, "  start          median %v, longest %v of %d\n", round(c.starts[n/2]), round(c.starts[n-1]), n)
	}
	fmt.Fprintf(c.out, "  seed           %d\n", c.seed)
}
