package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

const capacityHelp = `Usage: muster bench capacity [flags]

How many devices does a gateway carry? Starts one and lets more and more simulated devices connect over mutual TLS, each with its
certificate, its registered thing, a subscription and telemetry at the given rate, until a limit breaks: memory, CPU, open files, the
time of an acknowledgement (99 of 100), a connection that is refused or a message that is lost. Prints each step, the limit that broke, what a
device costs in memory and a message in CPU, and what that means for boxes with 512 MB to 8 GB. --plain leaves TLS out.

--profile CORESxMEMORY makes the gateway a smaller box: by control groups (version 2 or 1) where this user may make some, else by
systemd-run; where neither works by CPU affinity and Go's memory limit, and the report says so. The devices get the other cores.

Examples:
  muster bench capacity --profile 1x512MB --rate 0.1
  muster bench capacity --rate 1 --step 2000 --max 20000
  muster bench capacity --plain --rate 0.05 --step 5000 --max 15000 --p99 60s

Flags:
`

// capacity is one run of `muster bench capacity`.
type capacity struct {
	binary   string
	rate     float64
	step     int
	max      int
	window   time.Duration
	settle   time.Duration
	p99      time.Duration
	profile  profile
	plain    bool
	progress io.Writer
}

// capacityStep is what was seen with so many devices.
type capacityStep struct {
	Devices   int           `json:"devices"`
	Connected int           `json:"connected"`
	PerSecond float64       `json:"connectsPerSecond"`
	RSS       int64         `json:"rssBytes"`
	Cores     float64       `json:"cores"`
	CPUMicros float64       `json:"cpuMicrosPerMessage"`
	Messages  float64       `json:"messagesPerSecond"`
	P50       time.Duration `json:"p50Ns"`
	P99       time.Duration `json:"p99Ns"`
	Files     int           `json:"files"`
	Lost      uint64        `json:"lost"`
	Failure   string        `json:"failure,omitempty"`
}

// capacityResult is the outcome.
type capacityResult struct {
	Devices        int            `json:"devices"` // of the last step at which everything held
	Rate           float64        `json:"messagesPerSecondAndDevice"`
	Plain          bool           `json:"plain"` // TCP instead of mutual TLS
	Limit          string         `json:"limit"` // that broke; empty: none did
	Confined       string         `json:"confined"`
	Steps          []capacityStep `json:"steps"`
	BytesBefore    float64        `json:"bytesBefore"`    // without a device, by the line through the steps
	BytesPerDevice float64        `json:"bytesPerDevice"` // its slope
	CPUMicros      float64        `json:"cpuMicrosPerMessage"`
	Boxes          []capacityBox  `json:"boxes"`
}

// capacityBox is what a box with so much memory carries.
type capacityBox struct {
	MemoryBytes  int64   `json:"memoryBytes"`
	Devices      int     `json:"devices"` // that fit three quarters of the memory
	Cores        float64 `json:"cores"`   // of this machine that they keep busy at the rate, used to four fifths
	Extrapolated bool    `json:"extrapolated"`
}

// capacityCommand is `muster bench capacity`.
func capacityCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &capacity{progress: stderr}
	flags := newFlags("capacity", capacityHelp, stderr)
	flags.StringVar(&c.binary, "binary", "", "muster binary to test and to simulate devices with, default: this one")
	flags.Float64Var(&c.rate, "rate", 0.1, "messages per second of each device")
	flags.IntVar(&c.step, "step", 2500, "devices that each step adds")
	flags.IntVar(&c.max, "max", 20_000, "devices after which the ramp ends, 1 to 100000")
	flags.DurationVar(&c.window, "for", 4*time.Second, "time to measure at each step")
	flags.DurationVar(&c.settle, "settle", time.Second, "time between the last connection of a step and its measuring")
	flags.DurationVar(&c.p99, "p99", 250*time.Millisecond, "acknowledgements: 99 of 100 within this time")
	flags.Func("profile", "`CORESxMEMORY` of the gateway, such as 1x512MB; default: the whole machine", c.profile.parse)
	flags.BoolVar(&c.plain, "plain", false, "plain TCP instead of mutual TLS")
	worker := flags.String("worker", "", "simulate devices for another process (used by itself)")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	if *worker != "" {
		if err := capacityWorker(ctx, *worker, os.Stdin, stdout); err != nil {
			fmt.Fprintln(stderr, "bench capacity, simulated devices:", err)
			return 1
		}
		return 0
	}
	switch {
	case !(c.rate > 0 && c.rate <= 100):
		return usageError(stderr, "capacity", fmt.Errorf("--rate %v: want up to 100 messages per second and device", c.rate))
	case c.max < 1 || c.max > 100_000 || c.step < 1 || c.step > c.max:
		return usageError(stderr, "capacity", fmt.Errorf("--step %d, --max %d: want up to 100000, the step at most as large", c.step, c.max))
	case c.window < 100*time.Millisecond || c.window > time.Hour || c.settle < 0 || c.settle > time.Hour || c.p99 <= 0:
		return usageError(stderr, "capacity", fmt.Errorf("--for %v, --settle %v, --p99 %v: want 100ms to 1h, up to 1h, above 0", c.window, c.settle, c.p99))
	case c.profile.cores > runtime.NumCPU():
		return usageError(stderr, "capacity", fmt.Errorf("--profile wants %d cores, there are %d", c.profile.cores, runtime.NumCPU()))
	}
	r, err := c.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench capacity:", err)
		return 1
	}
	if *asJSON {
		err = printJSON(stdout, r)
	} else {
		err = r.print(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench capacity:", err)
		return 1
	}
	return 0
}

// perWorker is how many devices one process simulates: each is an open file.
const perWorker = 15_000

// run ramps up.
func (c *capacity) run(ctx context.Context) (r capacityResult, err error) {
	if c.binary, err = orSelf(c.binary); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "muster-capacity-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	ca, err := saveAuthority(dir)
	if err != nil {
		return r, err
	}
	g, err := newGateway(c.binary, dir, adminToken(), ca)
	if err != nil {
		return r, err
	}
	g.confine = &c.profile
	if err := g.start(ctx); err != nil {
		return r, err
	}
	defer func() {
		g.kill()
		c.profile.release()
	}()
	r.Rate, r.Plain, r.Confined = c.rate, c.plain, c.profile.how
	task := capacityTask{Addr: g.mqtt, CA: g.caFile(), BenchCA: caFiles(dir), Rate: c.rate}
	if c.plain {
		task = capacityTask{Addr: g.plain, Rate: c.rate}
	}
	fleets, err := startWorkers(ctx, c.binary, &c.profile, (c.max+perWorker-1)/perWorker, task)
	if err != nil {
		return r, err
	}
	defer fleets.stop()
	limits, err := c.limits(g.pid())
	if err != nil {
		return r, err
	}
	fmt.Fprintln(c.progress, capacityHead)
	for devices := 0; devices < c.max && r.Limit == ""; {
		add := min(c.step, c.max-devices)
		devices += add
		step, err := c.measure(ctx, g, fleets, devices, add)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		switch {
		case !g.running():
			r.Limit = "the gateway ended: most likely out of memory"
		case err != nil:
			return r, err
		default:
			r.Limit = limits.broken(&step, c)
			r.Steps = append(r.Steps, step)
			fmt.Fprintln(c.progress, step.line())
		}
		if r.Limit == "" {
			r.Devices = devices
		}
	}
	r.conclude()
	return r, nil
}

// measure adds devices and looks at the gateway for a while.
func (c *capacity) measure(ctx context.Context, g *gateway, fleets *workers, devices, add int) (s capacityStep, err error) {
	began := time.Now()
	connected, failure, err := fleets.connect(add)
	if err != nil {
		return s, err
	}
	s.Devices, s.Connected, s.Failure = devices, devices-add+connected, failure
	s.PerSecond = float64(connected) / time.Since(began).Seconds()
	if err := sleep(ctx, c.settle); err != nil {
		return s, err
	}
	before, err := readUsage(g.pid())
	if err != nil {
		return s, err
	}
	seen, err := fleets.measure(c.window)
	if err != nil {
		return s, err
	}
	after, err := readUsage(g.pid())
	if err != nil {
		return s, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	s.RSS, s.Files = after.rssBytes, after.files
	s.Cores = (after.cpu - before.cpu).Seconds() / seconds
	s.Messages = float64(seen.Acked) / seconds
	s.CPUMicros = float64((after.cpu - before.cpu).Microseconds()) / math.Max(float64(seen.Acked), 1)
	s.P50, s.P99 = seen.latency.quantile(0.5), seen.latency.quantile(0.99)
	s.Lost = seen.Dropped
	if s.Failure == "" {
		s.Failure = seen.Failure
	}
	return s, nil
}

// capacityLimits are what may break beside latency and refusals.
type capacityLimits struct {
	memoryBytes int64
	cores       float64
	files       int
}

// limits reads what the gateway may use.
func (c *capacity) limits(pid int) (l capacityLimits, err error) {
	l.memoryBytes, l.cores = c.profile.memoryBytes, float64(c.profile.cores)
	if l.cores == 0 {
		l.cores = float64(runtime.NumCPU())
	}
	if l.memoryBytes == 0 {
		if l.memoryBytes, err = availableBytes(); err != nil {
			return l, err
		}
	}
	l.files, err = fileLimit(pid)
	return l, err
}

// broken names the limit that s is beyond, in the order in which they explain each other.
func (l *capacityLimits) broken(s *capacityStep, c *capacity) string {
	asked := float64(s.Devices) * c.rate
	switch {
	case s.RSS > l.memoryBytes*9/10:
		return fmt.Sprintf("memory: %.0f MB of %.0f MB", mb(s.RSS), mb(l.memoryBytes))
	case s.Files > l.files*95/100:
		return fmt.Sprintf("open files: %d of %d (ulimit -n)", s.Files, l.files)
	case s.Cores > 0.9*l.cores:
		return fmt.Sprintf("CPU: %.2f of %.0f cores", s.Cores, l.cores)
	case s.Connected < s.Devices:
		return fmt.Sprintf("connections: %d of %d refused: %s", s.Devices-s.Connected, s.Devices, s.Failure)
	case s.Lost > 0:
		return fmt.Sprintf("%d connections broke: %s", s.Lost, s.Failure)
	case s.P99 > c.p99:
		return fmt.Sprintf("acknowledgements: 99 of 100 within %v, %v is asked for", round(s.P99), c.p99)
	case s.Messages < asked*0.9:
		return fmt.Sprintf("the simulated devices themselves: %.0f messages per second of %.0f", s.Messages, asked)
	}
	return ""
}

// boxes are the memories for which the result is told.
var boxes = []int64{512 << 20, 1 << 30, 2 << 30, 4 << 30, 8 << 30}

// conclude draws a line through the steps and says what it means.
func (r *capacityResult) conclude() {
	var meanX, meanY, xy, xx float64
	n := float64(len(r.Steps))
	for _, s := range r.Steps {
		meanX += float64(s.Connected) / n
		meanY += float64(s.RSS) / n
		r.CPUMicros = s.CPUMicros
	}
	for _, s := range r.Steps {
		x := float64(s.Connected) - meanX
		xy += x * (float64(s.RSS) - meanY)
		xx += x * x
	}
	if xx == 0 || xy <= 0 {
		return // one step has no slope
	}
	r.BytesPerDevice = xy / xx
	r.BytesBefore = meanY - r.BytesPerDevice*meanX
	for _, memory := range boxes {
		devices := int(max(float64(memory)*3/4-r.BytesBefore, 0) / r.BytesPerDevice)
		r.Boxes = append(r.Boxes, capacityBox{
			MemoryBytes: memory, Devices: devices, Cores: float64(devices) * r.Rate * r.CPUMicros / 1e6 / 0.8,
			Extrapolated: devices > r.Steps[len(r.Steps)-1].Connected,
		})
	}
}

const capacityHead = "   devices  connects/s        rss  us/message  cores  messages/s      p50      p99   files"

// line is a step as a row of the table.
func (s *capacityStep) line() string {
	return fmt.Sprintf("%10d %11.0f %7.1f MB %11.1f %6.2f %11.0f %8v %8v %7d", s.Connected, s.PerSecond, mb(s.RSS), s.CPUMicros, s.Cores, s.Messages,
		round(s.P50), round(s.P99), s.Files)
}

// print writes the result as tables, the verdict last.
func (r *capacityResult) print(w io.Writer) error {
	var b strings.Builder
	transport := "mutual TLS"
	if r.Plain {
		transport = "plain TCP"
	}
	fmt.Fprintf(&b, "devices over %s, each with a thing, a subscription and %g messages per second of 8 values; gateway: %s\n%s\n",
		transport, r.Rate, r.Confined, capacityHead)
	for i := range r.Steps {
		fmt.Fprintln(&b, r.Steps[i].line())
	}
	if len(r.Boxes) > 0 {
		fmt.Fprintf(&b, "a device takes %.1f KB beside %.0f MB for the gateway itself, a message %.1f us\n", r.BytesPerDevice/1024, r.BytesBefore/(1<<20), r.CPUMicros)
		fmt.Fprintf(&b, "  %8s %12s %28s\n", "box", "devices", "cores of this machine for them")
		for _, box := range r.Boxes {
			note := ""
			if box.Extrapolated {
				note = "  extrapolated along the line"
			}
			fmt.Fprintf(&b, "  %5.1f GB %12d %28.1f%s\n", float64(box.MemoryBytes)/(1<<30), box.Devices, box.Cores, note)
		}
		b.WriteString("  three quarters of the memory, cores used to four fifths; a gateway takes 100,000 connections, if it may open as many files\n")
	}
	limit := "no limit broke, the ramp was over"
	if r.Limit != "" {
		limit = "then broke " + r.Limit
	}
	fmt.Fprintf(&b, "%d devices at %g messages per second each: %s\n", r.Devices, r.Rate, limit)
	_, err := io.WriteString(w, b.String())
	return err
}

// errWorker is a process of simulated devices that has ended.
var errWorker = errors.New("a process of simulated devices ended")
