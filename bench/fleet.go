package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"muster/agent/wire"
)

const fleetHelp = `Usage: muster bench fleet --addr HOST:PORT [flags]

Simulates devices that publish telemetry to an MQTT broker, muster or another, and reports what became of every message:
acknowledged, refused or lost, how long the acknowledgement took and, where the broker's process id is given, what a
message and a device cost it. Latency is counted from the moment a message was due, so that a stalled broker is not
flattered by the messages it kept from being sent.

Examples:
  # 1,000 devices with a message a second each, without TLS
  muster serve --data-dir /tmp/m --mqtt.plain-addr 127.0.0.1:1883 &
  muster bench fleet --addr 127.0.0.1:1883 --devices 1000 --rate 1 --duration 30s --pid $!

  # over mutual TLS: make an authority, name it in the gateway's bootstrap file as a client CA with autoRegister
  muster bench fleet --make-ca /tmp/bench-ca
  muster bench fleet --addr 127.0.0.1:8883 --tls --ca /tmp/m/ca.pem \
      --bench-ca /tmp/bench-ca/bench-ca.pem,/tmp/bench-ca/bench-ca-key.pem --devices 1000 --rate 1

  # as fast as it goes: 50 connections, 16 messages in flight on each
  muster bench fleet --addr 127.0.0.1:1883 --devices 50 --flat-out --window 16

  # memory of idle devices: connected, subscribed, silent
  muster bench fleet --addr 127.0.0.1:1883 --devices 10000 --rate 0 --subscribe 'dt/%s/command' --pid 4711

Flags:
`

// fleet is one run of simulated devices: what is asked for, and what its loops share.
type fleet struct {
	addr       string
	devices    int
	rate       float64 // messages per second and device
	flatOut    bool    // as fast as the window allows, whatever the rate
	warmup     time.Duration
	duration   time.Duration // of the measured window, after the warm-up
	qos        int
	window     int // messages in flight per device
	pid        int // of the broker, 0 if unknown
	version    version
	topic      string // with %s for the thing
	subscribe  string // filter with %s for the thing, empty for none
	prefix     string // of the things' names
	loops      int
	connecting int // handshakes at once
	tls        bool
	tlsFiles   tlsSettings
	from       net.Addr // to connect from; nil: any
	telemetry  telemetry
	payload    int
	progress   io.Writer       // told when the devices are connected
	enough     <-chan struct{} // ends the measured window before duration is over; nil: nothing does
	// during, if there is one, measures on its own while the devices send: answered returns how many messages were answered so far. Its end
	// ends the measured window.
	during func(ctx context.Context, answered func() uint64) error

	phase atomic.Int32
}

// Phases of a run.
const (
	phaseSend int32 = iota
	phaseDrain
	phaseStop
)

// drainTimeout is how long a run waits for the last acknowledgements.
const drainTimeout = 10 * time.Second

// fleetResult is the outcome of a run. Rates are per second of the measured window, counts of the whole run.
type fleetResult struct {
	Devices        int           `json:"devices"`
	Connected      int           `json:"connected"`
	ConnectTime    time.Duration `json:"connectTimeNs"`
	ConnectFailure string        `json:"connectFailure,omitempty"` // of the first that did not connect
	Sent           uint64        `json:"sent"`
	Acked          uint64        `json:"acked"`
	Refused        uint64        `json:"refused"`
	Lost           uint64        `json:"lost"` // sent and never answered; 0 with QoS 0, where nobody can know
	Dropped        uint64        `json:"dropped"`
	DropFailure    string        `json:"dropFailure,omitempty"` // of the first connection that broke
	SentRate       float64       `json:"sentPerSecond"`
	AckedRate      float64       `json:"ackedPerSecond"`
	Latency        *latency      `json:"latency,omitempty"`
	Server         *serverCost   `json:"server,omitempty"`
	HarnessCPU     float64       `json:"harnessCpuMicrosPerMessage"`
}

// latency is what the acknowledgements of the measured window took.
type latency struct {
	P50 time.Duration `json:"p50Ns"`
	P90 time.Duration `json:"p90Ns"`
	P99 time.Duration `json:"p99Ns"`
	Max time.Duration `json:"maxNs"`
}

// serverCost is what the broker's process used.
type serverCost struct {
	CPUMicros   float64 `json:"cpuMicrosPerMessage"` // user and system, in the measured window
	Cores       float64 `json:"cores"`               // the same per second
	RSSBefore   int64   `json:"rssBytesBefore"`      // before the first device connected
	RSSIdle     int64   `json:"rssBytesIdle"`        // all connected, nothing sent yet
	RSS         int64   `json:"rssBytes"`            // at the end of the measured window
	BytesDevice float64 `json:"idleBytesPerDevice"`  // of RSSIdle, per device
	Threads     int     `json:"threads"`
	Files       int     `json:"files"`
}

// fleetCommand is `muster bench fleet`.
func fleetCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &fleet{progress: stderr}
	flags := newFlags("fleet", fleetHelp, stderr)
	flags.StringVar(&f.addr, "addr", "", "address of the broker, `HOST:PORT`")
	flags.IntVar(&f.devices, "devices", 100, "devices, 1 to 100000")
	flags.Float64Var(&f.rate, "rate", 1, "messages per second of each device; 0: connect and stay silent")
	flags.BoolVar(&f.flatOut, "flat-out", false, "send as fast as the window allows; --rate is not used")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "time to measure")
	flags.DurationVar(&f.warmup, "warmup", 2*time.Second, "time to send before measuring")
	flags.IntVar(&f.qos, "qos", 1, "quality of service, 0 or 1")
	flags.IntVar(&f.payload, "payload", 200, "bytes of a message of 8 values; smaller ones get the least size that these need")
	flags.IntVar(&f.window, "window", 16, "messages in flight per device, 1 to 65535")
	flags.IntVar(&f.pid, "pid", 0, "process `id` of the broker on this machine, to report its cost")
	flags.StringVar(&f.topic, "topic", wire.TelemetryTopic("%s"), "topic, %s is the thing's name")
	flags.StringVar(&f.subscribe, "subscribe", "", "each device subscribes to this `filter`, %s is the thing's name")
	flags.StringVar(&f.prefix, "prefix", "bench-", "begin of the things' names")
	flags.IntVar(&f.loops, "loops", runtime.NumCPU(), "goroutines that carry the devices")
	flags.IntVar(&f.connecting, "connecting", 32, "connections that are being opened at once")
	protocol := flags.String("mqtt", "3.1.1", "protocol version, 3.1.1 or 5")
	flags.BoolVar(&f.tls, "tls", false, "speak TLS")
	plain := flags.Bool("plain", false, "speak plain TCP (the default)")
	flags.StringVar(&f.tlsFiles.caFile, "ca", "", "`FILE` with the broker's root certificate")
	flags.StringVar(&f.tlsFiles.certDir, "cert-dir", "", "`DIR` with <thing>.crt and <thing>.key of each device")
	flags.StringVar(&f.tlsFiles.benchCA, "bench-ca", "", "`CERT,KEY`: authority that issues the devices' certificates, as --make-ca writes it")
	flags.StringVar(&f.tlsFiles.serverName, "server-name", "", "name in the broker's certificate, default: the host of --addr")
	makeCA := flags.String("make-ca", "", "write a new authority for devices to `DIR` and end")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	if *makeCA != "" {
		return makeCACommand(*makeCA, stdout, stderr)
	}
	switch *protocol {
	case "3.1.1":
		f.version = mqtt311
	case "5":
		f.version = mqtt5
	default:
		return usageError(stderr, "fleet", fmt.Errorf("--mqtt %q: want 3.1.1 or 5", *protocol))
	}
	if f.tls && *plain {
		return usageError(stderr, "fleet", errors.New("--tls and --plain exclude each other"))
	}
	if err := f.check(); err != nil {
		return usageError(stderr, "fleet", err)
	}
	result, err := f.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench fleet:", err)
		return 1
	}
	if *asJSON {
		err = printJSON(stdout, result)
	} else {
		err = f.print(stdout, result)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench fleet:", err)
		return 1
	}
	if result.Lost > 0 || result.Dropped > 0 || result.Connected < result.Devices {
		return 1
	}
	return 0
}

func makeCACommand(dir string, stdout, stderr io.Writer) int {
	if _, err := saveAuthority(dir); err != nil {
		fmt.Fprintln(stderr, "bench fleet --make-ca:", err)
		return 1
	}
	fmt.Fprintf(stdout, `wrote %[1]s/%[2]s and %[1]s/%[3]s
for the gateway's --bootstrap file:  {"clientCAs": [{"file": "%[1]s/%[2]s", "autoRegister": true}]}
for the fleet:                       --tls --bench-ca %[1]s/%[2]s,%[1]s/%[3]s
`, dir, caCertFile, caKeyFile)
	return 0
}

// check refuses what cannot be run, with a sentence that names the flag, and prepares the rest.
func (f *fleet) check() error {
	switch {
	case f.addr == "":
		return errors.New("--addr is missing: the HOST:PORT of the broker")
	case f.devices < 1 || f.devices > 100_000:
		return fmt.Errorf("--devices %d: want 1 to 100000", f.devices)
	case f.rate < 0 || f.rate > 1e6 || math.IsNaN(f.rate):
		return fmt.Errorf("--rate %v: want 0 to 1000000 messages per second", f.rate)
	case f.duration <= 0 || f.duration > 24*time.Hour || f.warmup < 0 || f.warmup > time.Hour:
		return fmt.Errorf("--duration %v, --warmup %v: want up to 24h and up to 1h", f.duration, f.warmup)
	case f.qos != 0 && f.qos != 1:
		return fmt.Errorf("--qos %d: want 0 or 1", f.qos)
	case f.payload < 0 || f.payload > 64<<10:
		return fmt.Errorf("--payload %d: want up to 65536 bytes", f.payload)
	case f.window < 1 || f.window > math.MaxUint16:
		return fmt.Errorf("--window %d: want 1 to 65535", f.window)
	case f.loops < 1 || f.loops > 256 || f.connecting < 1 || f.connecting > 10_000:
		return fmt.Errorf("--loops %d, --connecting %d: want 1 to 256 and 1 to 10000", f.loops, f.connecting)
	case strings.Count(f.topic, "%s") != 1 || strings.Count(f.topic, "%") != 1:
		return fmt.Errorf("--topic %q: want one %%s, the place of the thing's name", f.topic)
	case strings.Contains(strings.ReplaceAll(f.subscribe, "%s", ""), "%"):
		return fmt.Errorf("--subscribe %q: the only %% may be %%s, the place of the thing's name", f.subscribe)
	case f.tls && (f.tlsFiles.certDir == "") == (f.tlsFiles.benchCA == ""):
		return errors.New("--tls wants the devices' certificates: --cert-dir or --bench-ca")
	}
	if err := wire.CheckThingName(f.thing(f.devices)); err != nil {
		return fmt.Errorf("--prefix: %w", err)
	}
	f.telemetry = newTelemetry(f.payload)
	return nil
}

// thing returns the name of device i.
func (f *fleet) thing(i int) string { return fmt.Sprintf("%s%05d", f.prefix, i) }

// expand puts a thing's name in the place of %s.
func expand(pattern, thing string) string { return strings.ReplaceAll(pattern, "%s", thing) }

// title is the first line of a report.
func (f *fleet) title() string {
	transport, load, v := "plain TCP", fmt.Sprintf("%g msg/s each", f.rate), "3.1.1"
	if f.tls {
		transport = "mutual TLS"
	}
	if f.flatOut {
		load = fmt.Sprintf("flat out, window %d", f.window)
	}
	if f.version == mqtt5 {
		v = "5"
	}
	return fmt.Sprintf("%d devices, %s, for %v to %s: MQTT %s, QoS %d, %s, %d-byte messages of 8 values",
		f.devices, load, f.duration, f.addr, v, f.qos, transport, len(f.telemetry.append(nil, 0, 0)))
}

// print writes the result as a table.
func (f *fleet) print(w io.Writer, r fleetResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", f.title())
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-16s "+format+"\n", append([]any{name}, args...)...)
	}
	row("connected", "%d of %d in %v (%.0f/s)", r.Connected, r.Devices, r.ConnectTime.Round(time.Millisecond), float64(r.Connected)/r.ConnectTime.Seconds())
	if r.ConnectFailure != "" {
		row("", "first failure: %s", r.ConnectFailure)
	}
	asked := ""
	if !f.flatOut {
		asked = fmt.Sprintf("; asked for %.1f/s", f.rate*float64(f.devices))
	}
	row("sent", "%d (%.1f/s%s)", r.Sent, r.SentRate, asked)
	if f.qos > 0 {
		row("acknowledged", "%d (%.1f/s)", r.Acked, r.AckedRate)
		row("refused", "%d", r.Refused)
		row("lost", "%d", r.Lost)
	}
	row("dropped", "%d connections", r.Dropped)
	if r.DropFailure != "" {
		row("", "first failure: %s", r.DropFailure)
	}
	if l := r.Latency; l != nil && r.Acked > 0 {
		row("acknowledgement", "p50 %v  p90 %v  p99 %v  max %v", round(l.P50), round(l.P90), round(l.P99), round(l.Max))
	}
	if s := r.Server; s != nil {
		if r.Sent > 0 {
			row("server CPU", "%.1f us per message, %.2f cores", s.CPUMicros, s.Cores)
		} else {
			row("server CPU", "%.4f cores", s.Cores)
		}
		row("server memory", "%.1f MB at the end; %.1f MB with all connected, %.1f KB per device over the %.1f MB before",
			mb(s.RSS), mb(s.RSSIdle), s.BytesDevice/1024, mb(s.RSSBefore))
		row("server", "%d threads, %d open files", s.Threads, s.Files)
	}
	if r.Sent > 0 {
		row("this harness", "%.1f us of CPU per message", r.HarnessCPU)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mb converts bytes to the megabytes that free and top show.
func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// round leaves three digits of a duration.
func round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// newFlags makes a flag set that prints help, then the flags.
func newFlags(name, help string, stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), help)
		flags.PrintDefaults()
	}
	return flags
}

// parseFlags parses args. If done, the command ends with code: help was asked for, or the arguments are wrong.
func parseFlags(flags *flag.FlagSet, args []string) (code int, done bool) {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, true
	case err != nil:
		return 2, true
	case flags.NArg() > 0:
		return usageError(flags.Output(), flags.Name(), fmt.Errorf("unexpected argument %q", flags.Arg(0))), true
	}
	return 0, false
}

// usageError reports wrong arguments.
func usageError(stderr io.Writer, command string, err error) int {
	fmt.Fprintf(stderr, "bench %s: %v\nsee `muster bench %s --help`\n", command, err, command)
	return 2
}
