package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const registryHelp = `Usage: muster bench registry [flags]

Starts a gateway of its own in a temporary folder, makes a fleet of things over the HTTP API, and asks it: queries of twelve terms,
counts, aggregations, queries right after a write. Then dynamic groups: how long a write takes until they show it, how long a sample takes
that crosses a threshold, and what groups over live telemetry add to the cost of a message. Prints a table with the goals.

With --kills a second part changes things and groups from several clients, kills the gateway with SIGKILL at random moments, and looks for
every change that was answered: in the registry, in the index, and in the members of the groups.

Ends with 1 if an answer was wrong.

Examples:
  muster bench registry
  muster bench registry --things 1000000 --queries 100
  muster bench registry --things 1000 --kills 100 --seed 1

Flags:
`

// registryBench is one run of `muster bench registry`.
type registryBench struct {
	binary          string
	things          int
	clients         int
	queries         int
	terms           int
	groups          int // dynamic, over attributes
	telemetryGroups int
	probes          int           // changes that are waited for
	load            time.Duration // of messages, with and without groups over telemetry
	kills           int
	seed            uint64

	out    io.Writer
	g      *gateway
	api    *restAPI
	rng    *mathrand.Rand
	wrong  atomic.Int64 // answers that were not as they must be
	faults []error
}

// registryCommand is `muster bench registry`.
func registryCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	b := &registryBench{out: stdout}
	flags := newFlags("registry", registryHelp, stderr)
	flags.StringVar(&b.binary, "binary", "", "muster binary to test, default: this one")
	flags.IntVar(&b.things, "things", 100_000, "things to make, 100 to 1000000")
	flags.IntVar(&b.clients, "clients", 8, "clients that make them, 1 to 64")
	flags.IntVar(&b.queries, "queries", 500, "random queries, 1 to 100000")
	flags.IntVar(&b.terms, "terms", 12, "terms of a query, 1 to 100")
	flags.IntVar(&b.groups, "groups", 1000, "dynamic groups over attributes, 0 to 10000")
	flags.IntVar(&b.telemetryGroups, "telemetry-groups", 100, "dynamic groups over live telemetry, 0 to 1000")
	flags.IntVar(&b.probes, "probes", 200, "changes of members that are timed, 1 to 10000")
	flags.DurationVar(&b.load, "load", time.Minute, "time to measure messages, half of it with groups over telemetry; 0: not at all")
	flags.IntVar(&b.kills, "kills", 0, "kills of the second part, up to 10000")
	flags.Uint64Var(&b.seed, "seed", 1, "seed of what is random")
	if code, done := parseFlags(flags, args); done {
		return code
	}
	for _, limit := range []struct {
		name             string
		n, least, atMost int
	}{
		{"things", b.things, 100, 1_000_000}, {"clients", b.clients, 1, 64}, {"queries", b.queries, 1, 100_000}, {"terms", b.terms, 1, 100},
		{"groups", b.groups, 0, 10_000}, {"telemetry-groups", b.telemetryGroups, 0, 1000}, {"probes", b.probes, 1, 10_000}, {"kills", b.kills, 0, 10_000},
	} {
		if limit.n < limit.least || limit.n > limit.atMost {
			return usageError(stderr, "registry", fmt.Errorf("--%s %d: want %d to %d", limit.name, limit.n, limit.least, limit.atMost))
		}
	}
	if b.load < 0 || b.load > time.Hour {
		return usageError(stderr, "registry", fmt.Errorf("--load %v: want 0 to 1h", b.load))
	}
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(stderr, "bench registry:", err)
		return 1
	}
	return 0
}

func (b *registryBench) run(ctx context.Context) (err error) {
	if b.binary, err = orSelf(b.binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "muster-registry-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	token := adminToken()
	if b.g, err = newGateway(b.binary, dir, token, nil); err != nil {
		return err
	}
	if err := b.g.start(ctx); err != nil {
		return err
	}
	defer func() { b.g.kill() }()
	if b.api, err = newRestAPI(b.g, token, b.clients); err != nil {
		return err
	}
	defer b.api.close()
	b.rng = mathrand.New(mathrand.NewPCG(b.seed, 1))
	fmt.Fprintf(b.out, "registry: %d things, %d clients, seed %d\n", b.things, b.clients, b.seed)
	fmt.Fprintf(b.out, "  %-52s %12s %12s %10s\n", "", "p50", "p99", "goal")
	for _, step := range []func(context.Context) error{b.makeThings, b.ask, b.aggregate, b.readOwnWrites, b.makeGroups, b.changeMembers, b.crossThresholds, b.costOfMessages} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := b.restart(ctx); err != nil {
		return err
	}
	if b.kills > 0 {
		if err := b.crash(ctx); err != nil {
			return err
		}
	}
	if n := b.wrong.Load(); n > 0 {
		return fmt.Errorf("%d answers were wrong: %w", n, errors.Join(b.faults...))
	}
	return nil
}

// row prints a figure that is a distribution.
func (b *registryBench) row(name string, h *histogram, goal string) {
	fmt.Fprintf(b.out, "  %-52s %12v %12v %10s\n", name, round(h.quantile(0.5)), round(h.quantile(0.99)), goal)
}

// line prints a figure that is one.
func (b *registryBench) line(name, goal, format string, args ...any) {
	fmt.Fprintf(b.out, "  %-52s %25s %10s\n", name, fmt.Sprintf(format, args...), goal)
}

// fault notes a wrong answer.
func (b *registryBench) fault(format string, args ...any) {
	if b.wrong.Add(1) <= 5 {
		b.faults = append(b.faults, fmt.Errorf(format, args...))
	}
}

// makeThings makes the types and then all things, from several clients.
func (b *registryBench) makeThings(ctx context.Context) error {
	for _, name := range registryTypes {
		if _, err := b.api.do(ctx, "POST", "/iot/thing-types/"+name, struct{}{}, nil); err != nil {
			return err
		}
	}
	before, err := readUsage(b.g.pid())
	if err != nil {
		return err
	}
	var next atomic.Int64
	var all histogram
	took, err := b.parallel(func(h *histogram) error {
		var body []byte
		for {
			i := int(next.Add(1)) - 1
			if i >= b.things || ctx.Err() != nil {
				return ctx.Err()
			}
			t := newRegistryThing(i)
			body = t.appendJSON(body[:0])
			took, err := b.api.do(ctx, "POST", "/iot/things/"+t.name, body, nil)
			if err != nil {
				return err
			}
			h.record(took)
		}
	}, &all)
	if err != nil {
		return err
	}
	after, err := readUsage(b.g.pid())
	if err != nil {
		return err
	}
	goal := ""
	if b.things == 100_000 {
		goal = "60 s"
	}
	b.line("all things made over the API", goal, "%.1f s (%.0f/s)", took.Seconds(), float64(b.things)/took.Seconds())
	b.row("CreateThing", &all, "")
	b.line("gateway's CPU for one", "", "%.0f us", (after.cpu-before.cpu).Seconds()*1e6/float64(b.things))
	b.line("memory for one, all parts", "", "%.0f B", float64(after.rssBytes-before.rssBytes)/float64(b.things))
	return nil
}

// parallel runs work in as many goroutines as there are clients, each with a histogram of its own, and sums them up.
func (b *registryBench) parallel(work func(*histogram) error, sum *histogram) (time.Duration, error) {
	var mu sync.Mutex // guards sum and errs
	var errs []error
	var clients sync.WaitGroup
	began := time.Now()
	for range b.clients {
		clients.Go(func() {
			h := new(histogram)
			err := work(h)
			mu.Lock()
			defer mu.Unlock()
			sum.add(h)
			errs = append(errs, err)
		})
	}
	clients.Wait()
	return time.Since(began), errors.Join(errs...)
}

// foundThings is an answer of /api/things.
type foundThings struct {
	Things []struct {
		ThingName string `json:"thingName"`
	} `json:"things"`
	Total  int     `json:"total"`
	TookMs float64 `json:"tookMs"`
}

func (b *registryBench) search(ctx context.Context, query string, limit int) (found foundThings, took time.Duration, err error) {
	took, err = b.api.do(ctx, "GET", "/api/things?"+url.Values{"q": {query}, "limit": {fmt.Sprint(limit)}}.Encode(), nil, &found)
	return found, took, err
}

// ask asks random queries one after the other: first pages, then counts.
func (b *registryBench) ask(ctx context.Context) error {
	goals := map[int][2]string{100_000: {"5ms", "2ms"}, 1_000_000: {"50ms", ""}}[b.things]
	for part, name := range []string{"first page", "count"} {
		var inside, outside histogram
		for i := range b.queries {
			limit := 100
			if part == 1 {
				limit = 1
			}
			query := registryQuery(mathrand.New(mathrand.NewPCG(b.seed, uint64(i))), b.things, b.terms)
			found, took, err := b.search(ctx, query, limit)
			if err != nil {
				return err
			}
			if want := min(limit, found.Total); len(found.Things) != want {
				b.fault("%s: %d things on a page, want %d", query, len(found.Things), want)
			}
			inside.record(time.Duration(found.TookMs * float64(time.Millisecond)))
			outside.record(took)
		}
		b.row(fmt.Sprintf("query of %d terms, %s", b.terms, name), &inside, goals[part])
		b.row("  the same, over HTTPS", &outside, "")
	}
	return nil
}

// aggregate asks AWS's aggregations of all things.
func (b *registryBench) aggregate(ctx context.Context) error {
	for _, a := range []struct {
		name, path string
		in         map[string]any
	}{
		{"GetStatistics of a number", "/iot/indices/statistics", map[string]any{"queryString": "*", "aggregationField": "attributes.floor"}},
		{"GetPercentiles of a number", "/iot/indices/percentiles", map[string]any{"queryString": "*", "aggregationField": "attributes.floor"}},
		{"GetCardinality of a text, each its own", "/iot/indices/cardinality", map[string]any{"queryString": "*", "aggregationField": "attributes.serial"}},
		{"GetBucketsAggregation by city", "/iot/indices/buckets", map[string]any{"queryString": "*", "aggregationField": "attributes.city",
			"bucketsAggregationType": map[string]any{"termsAggregation": map[string]any{"maxBuckets": 100}}}},
	} {
		var h histogram
		for range 20 {
			took, err := b.api.do(ctx, "POST", a.path, a.in, nil)
			if err != nil {
				return err
			}
			h.record(took)
		}
		b.row(a.name+", over HTTPS", &h, "")
	}
	return nil
}

// readOwnWrites lets all clients change things and ask for them at once: each must find what it wrote, and nothing that it took away.
func (b *registryBench) readOwnWrites(ctx context.Context) error {
	var h histogram
	var client atomic.Int64
	_, err := b.parallel(func(h *histogram) error {
		id := int(client.Add(1))
		thing := newRegistryThing(id).name
		for i := range max(b.probes/b.clients, 1) {
			mark := fmt.Sprintf("own-%d-%d", id, i)
			took, err := b.api.do(ctx, "PATCH", "/iot/things/"+thing, attributePatch("mark", mark), nil)
			if err != nil {
				return err
			}
			h.record(took)
			var found struct {
				Things []struct {
					ThingName string `json:"thingName"`
				} `json:"things"`
			}
			query := map[string]any{"queryString": fmt.Sprintf("attributes.mark:own-%d-*", id)}
			if _, err := b.api.do(ctx, "POST", "/iot/indices/search", query, &found); err != nil {
				return err
			}
			if len(found.Things) != 1 || found.Things[0].ThingName != thing {
				b.fault("after mark=%s of %s the query finds %d things", mark, thing, len(found.Things))
			}
			query["queryString"] = "attributes.mark:" + mark
			if _, err := b.api.do(ctx, "POST", "/iot/indices/search", query, &found); err != nil {
				return err
			}
			if len(found.Things) != 1 {
				b.fault("%s of %s is not found right after it was written", mark, thing)
			}
		}
		return nil
	}, &h)
	b.row("UpdateThing, while others do the same", &h, "")
	b.line("queries right after a write that did not show it", "0", "%d", b.wrong.Load())
	return err
}

func attributePatch(name, value string) map[string]any {
	return map[string]any{"attributePayload": map[string]any{"attributes": map[string]string{name: value}, "merge": true}}
}

// restart stops the gateway and starts it again with all that it has.
func (b *registryBench) restart(ctx context.Context) error {
	if err := b.g.stop(); err != nil {
		return err
	}
	if err := b.g.start(ctx); err != nil {
		return err
	}
	b.line("start with all things and groups", "", "%v", round(b.g.started))
	return b.g.stop()
}
