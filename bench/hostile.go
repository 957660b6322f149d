package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"muster/agent/wire"
)

const hostileHelp = `Usage: muster bench hostile [flags]

Does to a gateway what attackers and broken devices do: every sequence of a library (packets that MQTT forbids, TLS and WebSocket
frames that make no sense, floods, endings of every kind) in every state of the protocol where it fits, sockets that speak a byte a second,
sockets that begin a TLS handshake and say nothing more, and junk connections, while an honest fleet publishes over mutual TLS, and a device
comes anew again and again. Twice. Ends with 1 if the gateway ends or panics, keeps open a connection that it must end, does not give back
memory, goroutines or files, if an honest device loses a message or its connection, or if one that comes has to wait.

Each sequence has a name, which the failure says: --only repeats it alone.

Examples:
  muster bench hostile
  muster bench hostile --list
  muster bench hostile --only 'publish qos 3' --seed 7

Flags:
`

// hostileTest is one run of `muster bench hostile`.
type hostileTest struct {
	binary  string
	length  time.Duration // of a round, at least one pass over the library
	loris   int           // sockets that speak a byte a second
	silent  int           // sockets that say a whole hello of TLS and no more
	junk    int           // junk connections per second
	honest  int           // devices
	only    string
	seed    uint64
	workers int

	mu     sync.Mutex // guards what follows
	runs   int
	faults []string
}

// hostileResult is the outcome.
type hostileResult struct {
	Sequences int           `json:"sequences"` // pairs of sequence and state
	Runs      int           `json:"runs"`
	Loris     int           `json:"slowSockets"` // opened
	Silent    int           `json:"silentSockets"`
	Junk      int           `json:"junkConnections"`
	Honest    []fleetResult `json:"honest"` // of each round
	Newcomers []newcomers   `json:"newcomers"`
	Before    hostileMark   `json:"before"`
	After     []hostileMark `json:"after"` // each round
	Panics    float64       `json:"panics"`
	Refused   string        `json:"refused"`
	Faults    []string      `json:"faults,omitempty"`
}

// hostileMark is what the quiet gateway has.
type hostileMark struct {
	RSS        int64 `json:"rssBytes"`
	Goroutines int   `json:"goroutines"`
	Files      int   `json:"files"`
}

// hostileRounds is how often everything is done: memory after the last round is compared with that after the first.
const hostileRounds = 2

// hostileCommand is `muster bench hostile`.
func hostileCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	h := &hostileTest{workers: 8}
	flags := newFlags("hostile", hostileHelp, stderr)
	flags.StringVar(&h.binary, "binary", "", "muster binary to test, default: this one")
	flags.DurationVar(&h.length, "for", 15*time.Second, "length of each of the two rounds; a pass over the library is always done")
	flags.IntVar(&h.loris, "slow", 2000, "sockets that speak a byte a second, 0 to 15000")
	flags.IntVar(&h.silent, "silent", 1000, "sockets that say a whole hello of TLS and then nothing, 0 to 10000")
	flags.IntVar(&h.junk, "junk", 500, "junk connections per second, 0 to 5000")
	flags.IntVar(&h.honest, "honest", 100, "honest devices, 1 to 1000, with two messages a second each")
	flags.StringVar(&h.only, "only", "", "do this `sequence` alone, in all its states")
	flags.Uint64Var(&h.seed, "seed", 1, "seed of the random bytes")
	list := flags.Bool("list", false, "print the sequences and their states, and end")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	if *list {
		for _, p := range hostilePairs("") {
			fmt.Fprintf(stdout, "%-14s %s\n", p.state.name, p.sequence.name)
		}
		return 0
	}
	switch {
	case h.length < 0 || h.length > time.Hour:
		return usageError(stderr, "hostile", fmt.Errorf("--for %v: want up to 1h", h.length))
	case h.loris < 0 || h.loris > 15_000 || h.silent < 0 || h.silent > 10_000 || h.junk < 0 || h.junk > 5000:
		return usageError(stderr, "hostile", fmt.Errorf("--slow %d, --silent %d, --junk %d: want up to 15000, 10000 and 5000", h.loris, h.silent, h.junk))
	case h.honest < 1 || h.honest > 1000:
		return usageError(stderr, "hostile", fmt.Errorf("--honest %d: want 1 to 1000", h.honest))
	case len(hostilePairs(h.only)) == 0:
		return usageError(stderr, "hostile", fmt.Errorf("--only %q: no such sequence; --list prints them", h.only))
	}
	r, err := h.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "bench hostile:", err)
		return 1
	}
	if *asJSON {
		err = printJSON(stdout, r)
	} else {
		err = h.print(stdout, &r)
	}
	if err != nil || len(r.Faults) > 0 {
		fmt.Fprintf(stderr, "bench hostile: %d faults %v\n", len(r.Faults), err)
		return 1
	}
	return 0
}

// run does all rounds against a gateway of its own.
func (h *hostileTest) run(ctx context.Context) (r hostileResult, err error) {
	if h.binary, err = orSelf(h.binary); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "muster-hostile-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	ca, err := saveAuthority(dir)
	if err != nil {
		return r, err
	}
	token := adminToken()
	g, err := newGateway(h.binary, dir, token, ca)
	if err != nil {
		return r, err
	}
	if err := g.start(ctx); err != nil {
		return r, err
	}
	defer func() { g.kill() }()
	enemy, err := newEnemy(g, ca)
	if err != nil {
		return r, err
	}
	api, err := newPromAPI("https://"+g.http, token, g.caFile())
	if err != nil {
		return r, err
	}
	defer api.close()
	if r.Before, err = h.quiet(ctx, g, api, hostileMark{RSS: math.MaxInt64, Goroutines: math.MaxInt, Files: math.MaxInt}); err != nil {
		return r, err
	}
	pairs := hostilePairs(h.only)
	r.Sequences = len(pairs)
	for n := range hostileRounds {
		honest, err := h.round(ctx, g, dir, enemy, pairs, uint64(n), &r)
		if err != nil {
			return r, err
		}
		r.Honest = append(r.Honest, honest)
		if !g.running() {
			h.fault("the gateway ended by itself\n%s", g.log)
			break
		}
		most := hostileMark{RSS: math.MaxInt64, Goroutines: r.Before.Goroutines + slack, Files: r.Before.Files + slack}
		if n > 0 {
			most.RSS = r.After[0].mayGrowTo()
		}
		mark, err := h.quiet(ctx, g, api, most)
		if err != nil {
			return r, err
		}
		r.After = append(r.After, mark)
	}
	if g.running() {
		if r.Panics, err = api.metric(ctx, "muster_ingest_panics_total"); err != nil {
			return r, err
		}
		if r.Refused, err = refusals(ctx, "https://"+g.http, token, g.caFile()); err != nil {
			return r, err
		}
		if err := g.stop(); err != nil {
			h.fault("%v", err)
		}
	}
	h.judge(&r)
	r.Runs, r.Faults = h.runs, h.faults
	return r, nil
}

// round does the library at least once, for the length of a round, with the crowd around it, while the honest fleet publishes.
func (h *hostileTest) round(ctx context.Context, g *gateway, dir string, e *enemy, pairs []hostilePair, n uint64, r *hostileResult) (honest fleetResult, err error) {
	enough := make(chan struct{})
	f := fleetLoad{devices: h.honest, rate: 2, duration: time.Hour, window: 16, payload: 200}.fleet(g.mqtt, g.pid(), tlsSettings{
		caFile:  g.caFile(),
		benchCA: caFiles(dir),
	}, true)
	f.prefix, f.subscribe, f.enough = "honest-", wire.TelemetryTopic("%s")+"/command", enough
	if err := f.check(); err != nil {
		return honest, err
	}
	var fleetErr error
	var fleet sync.WaitGroup
	fleet.Go(func() { honest, fleetErr = f.run(ctx) })
	crowdCtx, disperse := context.WithCancel(ctx)
	defer disperse()
	var crowd sync.WaitGroup
	opened := make([]int, 3)
	var came newcomers
	crowd.Go(func() { opened[0] = e.slowSockets(crowdCtx, h.loris) })
	crowd.Go(func() { opened[1] = e.junk(crowdCtx, h.junk, h.seed+n) })
	crowd.Go(func() { opened[2] = e.silentSockets(crowdCtx, h.silent) })
	crowd.Go(func() { came = e.welcome(crowdCtx) })
	until := time.Now().Add(h.length)
	for pass := uint64(0); pass == 0 || time.Now().Before(until) && ctx.Err() == nil && g.running(); pass++ {
		h.pass(ctx, g, e, pairs, h.seed+n<<32+pass<<16)
		if h.only != "" && sleep(ctx, 10*time.Millisecond) != nil {
			break
		}
	}
	disperse()
	crowd.Wait()
	close(enough)
	fleet.Wait()
	r.Loris += opened[0]
	r.Junk += opened[1]
	r.Silent += opened[2]
	r.Newcomers = append(r.Newcomers, came)
	return honest, errors.Join(fleetErr, ctx.Err())
}

// pass does every pair once, some at the same time.
func (h *hostileTest) pass(ctx context.Context, g *gateway, e *enemy, pairs []hostilePair, seed uint64) {
	next := make(chan int)
	var group sync.WaitGroup
	for worker := range h.workers {
		group.Go(func() {
			for i := range next {
				if fault := e.attack(ctx, worker, pairs[i], seed+uint64(i)); fault != nil && ctx.Err() == nil && g.running() {
					h.fault("%s, %s: %v", pairs[i].sequence.name, pairs[i].state.name, fault)
				}
			}
		})
	}
	for i := range pairs {
		if ctx.Err() != nil || !g.running() {
			break
		}
		next <- i
		h.mu.Lock()
		h.runs++
		h.mu.Unlock()
	}
	close(next)
	group.Wait()
}

// maxFaults bounds how many are kept.
const maxFaults = 50

func (h *hostileTest) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.faults) < maxFaults {
		h.faults = append(h.faults, fmt.Sprintf(format, args...))
	}
}

// quietTimeout is how long the gateway may take to let go of what the crowd has left.
const quietTimeout = 45 * time.Second

// slack is what goroutines and files may be above those of before: connections of queries, files of the store.
const slack = 12

// mayGrowTo is how much memory may be there after a later round.
func (m hostileMark) mayGrowTo() int64 { return m.RSS*11/10 + 8<<20 }

// quiet waits until the gateway has no more than most of anything, but not for ever, and reads what it has then. It asks often: what that
// costs makes a gateway collect its garbage that would do so only after minutes of rest.
func (h *hostileTest) quiet(ctx context.Context, g *gateway, api *promAPI, most hostileMark) (mark hostileMark, err error) {
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return mark, err
	}
	for until := time.Now().Add(quietTimeout); ; {
		goroutines, err := api.metric(ctx, "go_goroutines")
		if err != nil {
			return mark, err
		}
		used, err := readUsage(g.pid())
		if err != nil {
			return mark, err
		}
		mark = hostileMark{RSS: used.rssBytes, Goroutines: int(goroutines), Files: used.files}
		if mark.Goroutines <= most.Goroutines && mark.Files <= most.Files && mark.RSS <= most.RSS || time.Now().After(until) {
			return mark, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return mark, err
		}
	}
}

// judge notes what is wrong beside the sequences.
func (h *hostileTest) judge(r *hostileResult) {
	if r.Panics > 0 {
		h.fault("%v panics", r.Panics)
	}
	for i, one := range r.Honest {
		if one.Lost > 0 || one.Refused > 0 || one.Dropped > 0 || one.Connected < one.Devices || one.Acked == 0 {
			h.fault("round %d: of %d honest devices %d connected and %d lost their connection; of %d messages %d are lost and %d refused; %s %s",
				i+1, one.Devices, one.Connected, one.Dropped, one.Sent, one.Lost, one.Refused, one.ConnectFailure, one.DropFailure)
		}
	}
	for i, came := range r.Newcomers {
		if came.Failed > 0 || came.Max > newcomerTimeout {
			h.fault("round %d: a device that comes waits %v at most, %v is asked for; %d of %d did not get in; %s",
				i+1, round(came.Max), newcomerTimeout, came.Failed, came.Came+came.Failed, came.Failure)
		}
	}
	for i, mark := range r.After {
		if mark.Goroutines > r.Before.Goroutines+slack || mark.Files > r.Before.Files+slack {
			h.fault("round %d leaves %d goroutines and %d files, before there were %d and %d", i+1, mark.Goroutines, mark.Files, r.Before.Goroutines, r.Before.Files)
		}
	}
	if n := len(r.After); n == hostileRounds && r.After[n-1].RSS > r.After[0].mayGrowTo() {
		h.fault("memory grows from %.1f MB after the first round to %.1f MB", mb(r.After[0].RSS), mb(r.After[n-1].RSS))
	}
}

// print writes the result as a table.
func (h *hostileTest) print(w io.Writer, r *hostileResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d hostile sequences in their states, done %d times, seed %d; %d slow sockets, %d silent ones, %d junk connections\n",
		r.Sequences, r.Runs, h.seed, r.Loris, r.Silent, r.Junk)
	for i, one := range r.Honest {
		fmt.Fprintf(&b, "  honest fleet, round %d    %d devices, %d messages, %d acknowledged, %d lost, %d dropped", i+1, one.Connected, one.Sent, one.Acked, one.Lost, one.Dropped)
		if l := one.Latency; l != nil {
			fmt.Fprintf(&b, "; p50 %v  p99 %v  max %v", round(l.P50), round(l.P99), round(l.Max))
		}
		b.WriteByte('\n')
	}
	for i, came := range r.Newcomers {
		fmt.Fprintf(&b, "  new devices, round %d     %d connected; p50 %v  max %v\n", i+1, came.Came, round(came.P50), round(came.Max))
	}
	fmt.Fprintf(&b, "  before                   %.1f MB, %d goroutines, %d files\n", mb(r.Before.RSS), r.Before.Goroutines, r.Before.Files)
	for i, mark := range r.After {
		fmt.Fprintf(&b, "  after round %d            %.1f MB, %d goroutines, %d files\n", i+1, mb(mark.RSS), mark.Goroutines, mark.Files)
	}
	fmt.Fprintf(&b, "  panics                   %v\n  refused                  %s\n", r.Panics, r.Refused)
	for _, fault := range r.Faults {
		fmt.Fprintf(&b, "  FAULT  %s\n", fault)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
