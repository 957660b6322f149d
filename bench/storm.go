package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

const stormHelp = `Usage: muster bench storm [flags]

What a gateway goes through when the power of a district comes back: devices that were connected over mutual TLS are all cut off at
once, with messages on their way, and all come back at once. First with full handshakes, then with the session tickets that those left.
A device is back when a message that it sent over the new connection is acknowledged. Prints how long it took until all were, and what
a handshake cost. At the end every message that was acknowledged, in any of the phases, is looked for in the gateway; a lost one ends
the run with 1, and so does a device that is not back in time.

The devices are simulated on the same machine and take their share of it: their CPU is printed beside the gateway's.

Examples:
  muster bench storm
  muster bench storm --devices 10000 --vs mosquitto

Flags:
`

// storm is one run of `muster bench storm`.
type storm struct {
	binary     string
	mosquitto  string // empty: muster alone
	devices    int
	messages   int           // of each device before it is cut off
	within     time.Duration // all devices are back after full handshakes
	withResume time.Duration // and after resumed ones
	seed       uint64
	log        io.Writer
}

// stormResult is what one broker made of it.
type stormResult struct {
	Broker  string    `json:"broker"`
	Devices int       `json:"devices"`
	First   stormWave `json:"first"` // the first connect of all, a few at a time
	Full    stormWave `json:"full"`
	Resumed stormWave `json:"resumed"`
	Sent    int       `json:"sent"`
	Acked   int       `json:"acked"`
	Stored  int       `json:"stored"`            // -1: the broker stores nothing
	Lost    int       `json:"lost"`              // acknowledged and not stored
	Refused string    `json:"refused,omitempty"` // what the gateway counted as refused, by reason
}

// stormWave is one time that all devices connect.
type stormWave struct {
	Back       int           `json:"back"`
	Tickets    int           `json:"tickets"` // handshakes that were resumed
	Tries      int           `json:"tries"`
	All        time.Duration `json:"allNs"` // until the last was back
	P50        time.Duration `json:"p50Ns"`
	P99        time.Duration `json:"p99Ns"`
	ServerCPU  float64       `json:"serverCpuMicros"`  // per device: handshake, CONNECT and the message
	HarnessCPU float64       `json:"harnessCpuMicros"` // the same of this process
	Failure    string        `json:"failure,omitempty"`
}

// stormCommand is `muster bench storm`.
func stormCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := &storm{log: stderr}
	flags := newFlags("storm", stormHelp, stderr)
	flags.StringVar(&s.binary, "binary", "", "muster binary to test, default: this one")
	flags.IntVar(&s.devices, "devices", 10_000, "devices, 1 to 100000")
	flags.IntVar(&s.messages, "messages", 2, "messages of each device before the storm, 1 to 100")
	flags.DurationVar(&s.within, "within", 30*time.Second, "all must be back with full handshakes")
	flags.DurationVar(&s.withResume, "within-resumed", 15*time.Second, "all must be back with session tickets")
	flags.Uint64Var(&s.seed, "seed", 1, "seed of when a device that was refused tries again")
	versus := flags.String("vs", "", "do the same with another broker: `mosquitto`, or the path of one")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	switch {
	case s.devices < 1 || s.devices > 100_000:
		return usageError(stderr, "storm", fmt.Errorf("--devices %d: want 1 to 100000", s.devices))
	case s.messages < 1 || s.messages > 100:
		return usageError(stderr, "storm", fmt.Errorf("--messages %d: want 1 to 100", s.messages))
	case s.within <= 0 || s.withResume <= 0 || max(s.within, s.withResume) > time.Hour:
		return usageError(stderr, "storm", fmt.Errorf("--within %v, --within-resumed %v: want up to 1h", s.within, s.withResume))
	}
	s.mosquitto = *versus
	results, err := s.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench storm:", err)
		return 1
	}
	if *asJSON {
		err = printJSON(stdout, results)
	} else {
		err = s.print(stdout, results)
	}
	if err = errors.Join(err, s.judge(&results[0])); err != nil {
		fmt.Fprintln(stderr, "bench storm:", err)
		return 1
	}
	return 0
}

// judge says what the gateway did not reach.
func (s *storm) judge(r *stormResult) error {
	var errs []error
	if r.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged messages are lost", r.Lost))
	}
	for _, w := range []struct {
		name   string
		wave   *stormWave
		within time.Duration
	}{{"full handshakes", &r.Full, s.within}, {"session tickets", &r.Resumed, s.withResume}} {
		if w.wave.Back < r.Devices {
			errs = append(errs, fmt.Errorf("%s: %d of %d devices came back; %s", w.name, w.wave.Back, r.Devices, w.wave.Failure))
		} else if w.wave.All > w.within {
			errs = append(errs, fmt.Errorf("%s: all are back after %v, %v is asked for", w.name, round(w.wave.All), w.within))
		}
	}
	if r.Resumed.Back == r.Devices && r.Resumed.Tickets < r.Devices*9/10 {
		errs = append(errs, fmt.Errorf("%d of %d handshakes were resumed", r.Resumed.Tickets, r.Devices))
	}
	return errors.Join(errs...)
}

// run does it with muster and, if asked for, with the other broker.
func (s *storm) run(ctx context.Context) (results []stormResult, err error) {
	if limit, err := openFileLimit(); err == nil && limit < uint64(s.devices)+64 {
		return nil, fmt.Errorf("%d devices need as many open files, this process may have %d: `ulimit -n %d`", s.devices, limit, s.devices+64)
	}
	if s.binary, err = orSelf(s.binary); err != nil {
		return nil, err
	}
	if s.mosquitto != "" {
		if s.mosquitto, err = findMosquitto(s.mosquitto); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "muster-storm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	certs, err := s.issue(ctx, ca)
	if err != nil {
		return nil, err
	}
	r, err := s.muster(ctx, dir, ca, certs)
	if err != nil {
		return nil, err
	}
	results = append(results, r)
	if s.mosquitto != "" {
		if r, err = s.other(ctx, dir, ca, certs); err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// issue makes the certificates of all devices, on all cores.
func (s *storm) issue(ctx context.Context, ca *authority) ([]tls.Certificate, error) {
	certs := make([]tls.Certificate, s.devices)
	errs := make([]error, runtime.NumCPU())
	var group sync.WaitGroup
	for worker := range errs {
		group.Go(func() {
			for i := worker; i < len(certs) && ctx.Err() == nil && errs[worker] == nil; i += len(errs) {
				certs[i], errs[worker] = ca.device(stormThing(i))
			}
		})
	}
	group.Wait()
	return certs, errors.Join(append(errs, ctx.Err())...)
}

func stormThing(i int) string { return fmt.Sprintf("storm-%05d", i) }

// muster goes through the storm with a new gateway and counts its rows.
func (s *storm) muster(ctx context.Context, dir string, ca *authority, certs []tls.Certificate) (r stormResult, err error) {
	token := adminToken()
	g, err := newGateway(s.binary, dir, token, ca)
	if err != nil {
		return r, err
	}
	if err := g.start(ctx); err != nil {
		return r, err
	}
	defer func() { g.kill() }()
	root := g.caFile()
	devices, err := s.makeDevices(g.mqtt, root, certs)
	if err != nil {
		return r, err
	}
	if r, err = s.weather(ctx, "muster", g.pid(), devices); err != nil {
		return r, fmt.Errorf("%w\n%s", err, g.log)
	}
	if !g.running() {
		return r, fmt.Errorf("the gateway ended by itself\n%s", g.log)
	}
	api, err := newPromAPI("https://"+g.http+"/prometheus", token, root)
	if err != nil {
		return r, err
	}
	defer api.close()
	if r.Refused, err = refusals(ctx, "https://"+g.http, token, root); err != nil {
		return r, err
	}
	if err := countStored(ctx, api, devices, &r); err != nil {
		return r, err
	}
	return r, g.stop()
}

// refusals returns the counters of what a gateway has refused, as text.
func refusals(ctx context.Context, base, token, root string) (string, error) {
	api, err := newPromAPI(base, token, root)
	if err != nil {
		return "", err
	}
	defer api.close()
	body, _, err := api.get(ctx, base+"/metrics")
	if err != nil {
		return "", err
	}
	var list []string
	for line := range strings.Lines(string(body)) {
		if rest, found := strings.CutPrefix(line, `muster_ingest_refused_total{reason="`); found {
			reason, count, _ := strings.Cut(rest, `"} `)
			list = append(list, strings.TrimSpace(count)+" "+reason)
		}
	}
	return strings.Join(list, ", "), nil
}

// countStored asks for the number of rows of each thing.
func countStored(ctx context.Context, api *promAPI, devices []*stormDevice, r *stormResult) error {
	var series []struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	if err := api.query(ctx, `count_over_time(energy_kwh{thing=~"storm-.*"}[1d])`, time.Now().Add(time.Minute).UnixMilli(), &series); err != nil {
		return err
	}
	stored := make(map[string]int, len(series))
	for _, one := range series {
		text, _ := one.Value[1].(string)
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			return fmt.Errorf("the count of %s is %v", one.Metric["thing"], one.Value)
		}
		stored[one.Metric["thing"]] = n
	}
	for _, d := range devices {
		n := stored[d.thing]
		r.Stored += n
		if n > d.sent {
			return fmt.Errorf("%s has %d rows, it sent %d messages", d.thing, n, d.sent)
		}
		r.Lost += max(d.acked-n, 0)
	}
	return nil
}

// other goes through the storm with mosquitto.
func (s *storm) other(ctx context.Context, dir string, ca *authority, certs []tls.Certificate) (r stormResult, err error) {
	m, err := startMosquitto(ctx, s.mosquitto, dir, ca)
	if err != nil {
		return r, err
	}
	defer m.stop()
	devices, err := s.makeDevices(m.addr, filepath.Join(dir, caCertFile), certs)
	if err != nil {
		return r, err
	}
	r, err = s.weather(ctx, "mosquitto", m.pid(), devices)
	r.Stored = -1
	return r, err
}

// weather is calm, then the storm, twice.
func (s *storm) weather(ctx context.Context, broker string, pid int, devices []*stormDevice) (r stormResult, err error) {
	r.Broker, r.Devices = broker, len(devices)
	defer func() {
		for _, d := range devices {
			d.cut()
		}
	}()
	if r.First, err = s.wave(ctx, pid, devices, firstConnects); err != nil {
		return r, err
	}
	fmt.Fprintf(s.log, "%s: %d devices connected in %v\n", broker, r.First.Back, round(r.First.All))
	for _, next := range []struct {
		name string
		wave *stormWave
	}{{"full handshakes", &r.Full}, {"session tickets", &r.Resumed}} {
		if err := s.calm(ctx, devices); err != nil {
			return r, err
		}
		for _, d := range devices {
			if next.wave == &r.Full {
				d.config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // empty: the handshake is a full one, and leaves a ticket
			}
			d.sendLast() // on its way when the connection is cut
		}
		for _, d := range devices {
			d.cut()
		}
		if *next.wave, err = s.wave(ctx, pid, devices, len(devices)); err != nil {
			return r, err
		}
		fmt.Fprintf(s.log, "%s: %s, %d devices back in %v\n", broker, next.name, next.wave.Back, round(next.wave.All))
	}
	for _, d := range devices {
		r.Sent += d.sent
		r.Acked += d.acked
	}
	return r, nil
}

// firstConnects is how many devices connect at once before the storm.
const firstConnects = 64

// calm lets the devices that are connected publish, one after the other on each core.
func (s *storm) calm(ctx context.Context, devices []*stormDevice) error {
	var group sync.WaitGroup
	errs := make([]error, 4*runtime.NumCPU())
	for worker := range errs {
		group.Go(func() {
			for i := worker; i < len(devices) && ctx.Err() == nil && errs[worker] == nil; i += len(errs) {
				if devices[i].conn != nil {
					errs[worker] = devices[i].publish(s.messages)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// wave connects all devices, atOnce of them at a time, and measures it. A device that does not come back in time is counted, not an error.
func (s *storm) wave(ctx context.Context, pid int, devices []*stormDevice, atOnce int) (w stormWave, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*max(s.within, s.withResume))
	defer cancel()
	before, err := readUsage(pid)
	if err != nil {
		return w, err
	}
	harness, err := readUsage(os.Getpid())
	if err != nil {
		return w, err
	}
	places := make(chan struct{}, atOnce)
	took := make([]time.Duration, len(devices))
	began := time.Now()
	var group sync.WaitGroup
	for i, d := range devices {
		rng := mathrand.New(mathrand.NewPCG(s.seed, uint64(i)))
		places <- struct{}{}
		group.Go(func() {
			d.comeBack(ctx, rng)
			took[i] = time.Since(began)
			<-places
		})
	}
	group.Wait()
	w.All = time.Since(began)
	after, err := readUsage(pid)
	if err != nil {
		return w, fmt.Errorf("the broker is gone: %w", err)
	}
	harnessAfter, err := readUsage(os.Getpid())
	if err != nil {
		return w, err
	}
	var times histogram
	for i, d := range devices {
		w.Tries += d.tries
		if d.conn == nil {
			if w.Failure == "" && d.failure != nil {
				w.Failure = fmt.Sprintf("%s: %v", d.thing, d.failure)
			}
			continue
		}
		w.Back++
		if d.resumed {
			w.Tickets++
		}
		times.record(took[i])
	}
	w.P50, w.P99 = times.quantile(0.5), times.quantile(0.99)
	perDevice := func(cpu time.Duration) float64 { return float64(cpu.Microseconds()) / float64(max(w.Back, 1)) }
	w.ServerCPU, w.HarnessCPU = perDevice(after.cpu-before.cpu), perDevice(harnessAfter.cpu-harness.cpu)
	return w, nil
}

// print writes the results side by side.
func (s *storm) print(w io.Writer, results []stormResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices are cut off and come back at once, mutual TLS, both ends on this machine with %d cores\n", s.devices, runtime.NumCPU())
	fmt.Fprintf(&b, "  %-46s", "")
	for i := range results {
		fmt.Fprintf(&b, " %12s", results[i].Broker)
	}
	b.WriteByte('\n')
	row := func(name string, of func(*stormResult) string) {
		fmt.Fprintf(&b, "  %-46s", name)
		for i := range results {
			fmt.Fprintf(&b, " %12s", of(&results[i]))
		}
		b.WriteByte('\n')
	}
	for _, part := range []struct {
		name string
		of   func(*stormResult) *stormWave
	}{
		{"full handshakes", func(r *stormResult) *stormWave { return &r.Full }},
		{"session tickets", func(r *stormResult) *stormWave { return &r.Resumed }},
	} {
		row(part.name+": back", func(r *stormResult) string { return fmt.Sprint(part.of(r).Back) })
		row("  resumed / connections tried", func(r *stormResult) string { return fmt.Sprintf("%d / %d", part.of(r).Tickets, part.of(r).Tries) })
		row("  all back after", func(r *stormResult) string { return round(part.of(r).All).String() })
		row("  half / 99 of 100 after", func(r *stormResult) string {
			return fmt.Sprintf("%.3gs / %.3gs", part.of(r).P50.Seconds(), part.of(r).P99.Seconds())
		})
		row("  broker's CPU per device, us", func(r *stormResult) string { return fmt.Sprintf("%.0f", part.of(r).ServerCPU) })
		row("  simulated device's CPU, us", func(r *stormResult) string { return fmt.Sprintf("%.0f", part.of(r).HarnessCPU) })
	}
	row("messages sent / acknowledged", func(r *stormResult) string { return fmt.Sprintf("%d / %d", r.Sent, r.Acked) })
	row("stored / acknowledged and lost", func(r *stormResult) string {
		if r.Stored < 0 {
			return "-"
		}
		return fmt.Sprintf("%d / %d", r.Stored, r.Lost)
	})
	if refused := results[0].Refused; refused != "" {
		fmt.Fprintf(&b, "  the gateway refused: %s\n", refused)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
