package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"muster/agent/wire"
)

const compareHelp = `Usage: muster bench compare [flags]

Gives muster and mosquitto the same fleet in turn, round by round, on this machine, and prints the medians and their ratio.
mosquitto receives the messages for nobody, in memory; muster decodes them, has them on disk before it acknowledges them and
keeps the twin. Both run alone while they are measured; the harness shares the machine with each of them alike.

Examples:
  muster bench compare --devices 5000 --rate 1 --duration 30s --rounds 3
  muster bench compare --devices 3000 --rate 1 --tls
  muster bench compare --devices 50 --flat-out --window 16

Flags:
`

// comparison is one run of `muster bench compare`.
type comparison struct {
	binary    string
	mosquitto string
	rounds    int
	load      fleetLoad
	secure    bool
	out, log  io.Writer
}

// fleetLoad is what a fleet does, wherever it connects.
type fleetLoad struct {
	devices          int
	rate             float64
	flatOut          bool
	warmup, duration time.Duration
	window, payload  int
}

// fleet makes a run of the load against a broker of this machine, over mutual TLS with files if secure.
func (l fleetLoad) fleet(addr string, pid int, files tlsSettings, secure bool) *fleet {
	return &fleet{
		addr: addr, pid: pid, devices: l.devices, rate: l.rate, flatOut: l.flatOut, warmup: l.warmup, duration: l.duration,
		qos: 1, window: l.window, payload: l.payload, version: mqtt311, topic: wire.TelemetryTopic("%s"), prefix: "bench-",
		loops: runtime.NumCPU(), connecting: 32, tls: secure, tlsFiles: files, progress: io.Discard,
	}
}

// compareCommand is `muster bench compare`.
func compareCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &comparison{out: stdout, log: stderr}
	flags := newFlags("compare", compareHelp, stderr)
	flags.StringVar(&c.binary, "binary", "", "muster binary to test, default: this one")
	flags.StringVar(&c.mosquitto, "mosquitto", "mosquitto", "mosquitto binary")
	flags.IntVar(&c.rounds, "rounds", 3, "rounds, 1 to 100")
	flags.IntVar(&c.load.devices, "devices", 1000, "devices")
	flags.Float64Var(&c.load.rate, "rate", 1, "messages per second of each device; 0: connect and stay silent")
	flags.BoolVar(&c.load.flatOut, "flat-out", false, "send as fast as the window allows; --rate is not used")
	flags.DurationVar(&c.load.duration, "duration", 10*time.Second, "time to measure in each round")
	flags.DurationVar(&c.load.warmup, "warmup", 3*time.Second, "time to send before measuring")
	flags.IntVar(&c.load.window, "window", 16, "messages in flight per device")
	flags.IntVar(&c.load.payload, "payload", 200, "bytes of a message of 8 values")
	flags.BoolVar(&c.secure, "tls", false, "mutual TLS instead of plain TCP")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	if c.rounds < 1 || c.rounds > 100 {
		return usageError(stderr, "compare", fmt.Errorf("--rounds %d: want 1 to 100", c.rounds))
	}
	if err := c.load.fleet("127.0.0.1:1", 0, tlsSettings{certDir: "."}, c.secure).check(); err != nil {
		return usageError(stderr, "compare", err)
	}
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(stderr, "bench compare:", err)
		return 1
	}
	return 0
}

// run alternates between the brokers and prints the outcome.
func (c *comparison) run(ctx context.Context) (err error) {
	if c.binary, err = orSelf(c.binary); err != nil {
		return err
	}
	if c.mosquitto, err = findMosquitto(c.mosquitto); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "muster-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca, err := saveAuthority(dir)
	if err != nil {
		return err
	}
	var muster, peer []fleetResult
	for round := range c.rounds {
		folder := filepath.Join(dir, fmt.Sprintf("round-%d", round))
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		r, err := c.measureMuster(ctx, folder, dir, ca)
		if err != nil {
			return fmt.Errorf("round %d, muster: %w", round+1, err)
		}
		muster = append(muster, r)
		fmt.Fprintf(c.log, "round %d  muster     %s\n", round+1, brief(r))
		if r, err = c.measureMosquitto(ctx, folder, dir, ca); err != nil {
			return fmt.Errorf("round %d, mosquitto: %w", round+1, err)
		}
		peer = append(peer, r)
		fmt.Fprintf(c.log, "round %d  mosquitto  %s\n", round+1, brief(r))
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return c.print(muster, peer)
}

// measureMuster runs one load against a new gateway in folder. caDir holds the devices' authority.
func (c *comparison) measureMuster(ctx context.Context, folder, caDir string, ca *authority) (fleetResult, error) {
	g, err := newGateway(c.binary, folder, adminToken(), ca)
	if err != nil {
		return fleetResult{}, err
	}
	if err := g.start(ctx); err != nil {
		return fleetResult{}, err
	}
	addr := g.plain
	if c.secure {
		addr = g.mqtt
	}
	r, err := c.measure(ctx, addr, g.pid(), g.caFile(), caDir)
	return r, errors.Join(err, g.stop())
}

// measureMosquitto runs one load against a new mosquitto with its files in folder.
func (c *comparison) measureMosquitto(ctx context.Context, folder, caDir string, ca *authority) (fleetResult, error) {
	if !c.secure {
		ca = nil
	}
	m, err := startMosquitto(ctx, c.mosquitto, folder, ca)
	if err != nil {
		return fleetResult{}, err
	}
	defer m.stop()
	return c.measure(ctx, m.addr, m.pid(), filepath.Join(caDir, caCertFile), caDir)
}

// measure runs one load. A message that is lost, or a device that is, makes the figures worthless: it is an error.
func (c *comparison) measure(ctx context.Context, addr string, pid int, rootFile, caDir string) (fleetResult, error) {
	files := tlsSettings{caFile: rootFile, benchCA: caFiles(caDir)}
	f := c.load.fleet(addr, pid, files, c.secure)
	if err := f.check(); err != nil {
		return fleetResult{}, err
	}
	r, err := f.run(ctx)
	if err == nil && (r.Lost > 0 || r.Dropped > 0 || r.Refused > 0 || r.Connected < r.Devices) {
		err = fmt.Errorf("%d of %d devices connected, %d dropped; %d of %d messages lost, %d refused; %s %s",
			r.Connected, r.Devices, r.Dropped, r.Lost, r.Sent, r.Refused, r.ConnectFailure, r.DropFailure)
	}
	return r, err
}

// brief is a result on one line.
func brief(r fleetResult) string {
	return fmt.Sprintf("%.1f us/msg, %.0f msg/s, p50 %v, p99 %v, %.1f MB",
		r.Server.CPUMicros, r.AckedRate, round(r.Latency.P50), round(r.Latency.P99), mb(r.Server.RSS))
}

// print writes the medians of the rounds and their ratio.
func (c *comparison) print(muster, peer []fleetResult) error {
	transport := "plain TCP"
	if c.secure {
		transport = "mutual TLS"
	}
	load := fmt.Sprintf("%g msg/s each", c.load.rate)
	if c.load.flatOut {
		load = fmt.Sprintf("flat out, window %d", c.load.window)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices, %s, %s, QoS 1: medians of %d rounds of %v\n", c.load.devices, load, transport, c.rounds, c.load.duration)
	fmt.Fprintf(&b, "  %-30s %10s %10s %8s\n", "", "muster", "mosquitto", "ratio")
	row := func(name string, of func(fleetResult) float64) {
		a, p := median(muster, of), median(peer, of)
		ratio := "-"
		if p > 0 {
			ratio = fmt.Sprintf("%.2f", a/p)
		}
		fmt.Fprintf(&b, "  %-30s %10.2f %10.2f %8s\n", name, a, p, ratio)
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	row("server CPU, us per message", func(r fleetResult) float64 { return r.Server.CPUMicros })
	row("messages per second", func(r fleetResult) float64 { return r.AckedRate })
	row("acknowledgement p50, ms", func(r fleetResult) float64 { return ms(r.Latency.P50) })
	row("acknowledgement p99, ms", func(r fleetResult) float64 { return ms(r.Latency.P99) })
	row("resident memory, MB", func(r fleetResult) float64 { return mb(r.Server.RSS) })
	row("idle memory per device, KB", func(r fleetResult) float64 { return r.Server.BytesDevice / 1024 })
	row("connections per second", func(r fleetResult) float64 { return float64(r.Connected) / r.ConnectTime.Seconds() })
	_, err := io.WriteString(c.out, b.String())
	return err
}

// median returns the middle of a figure over the rounds; of an even number, the mean of the two.
func median(rounds []fleetResult, of func(fleetResult) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
