package bench

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// registryWriter changes its own things, one call at a time, and knows what was answered.
type registryWriter struct {
	index  int
	rng    *mathrand.Rand
	things []writtenThing
	calls  int
}

// writtenThing is what a thing must be: as the last answer left it or, if the gateway died before an answer, as one more call does.
type writtenThing struct {
	name      string
	is        thingState
	perhaps   thingState
	unsettled bool // perhaps counts
}

// thingState is all that a writer does to a thing.
type thingState struct {
	there   bool
	level   int // of the attribute level
	inGroup bool
}

// writtenThings is how many things a writer has, and levelLimit what the attribute of the members of its dynamic group exceeds.
const (
	writtenThings = 12
	levelLimit    = 500
)

func (w *registryWriter) group() string   { return fmt.Sprintf("written-%d", w.index) }
func (w *registryWriter) dynamic() string { return fmt.Sprintf("high-%d", w.index) }

// query finds the things that the dynamic group of the writer must have.
func (w *registryWriter) query() string {
	return fmt.Sprintf("thingName:crash-%d-* AND attributes.level>%d", w.index, levelLimit)
}

func newRegistryWriter(index int, seed uint64) *registryWriter {
	w := &registryWriter{index: index, rng: mathrand.New(mathrand.NewPCG(seed, uint64(index)+100))}
	for i := range writtenThings {
		w.things = append(w.things, writtenThing{name: fmt.Sprintf("crash-%d-%d", index, i)})
	}
	return w
}

// run makes one call after the other until one is not answered.
func (w *registryWriter) run(ctx context.Context, api *restAPI) error {
	for ctx.Err() == nil {
		t := &w.things[w.rng.IntN(len(w.things))]
		if t.unsettled {
			return fmt.Errorf("BUG: %s is not settled", t.name)
		}
		method, path, in, next := w.draw(t)
		t.perhaps, t.unsettled = next, true
		_, err := api.do(ctx, method, path, in, nil)
		if answer := (*restError)(nil); errors.As(err, &answer) {
			if answer.status == 503 {
				return nil // it is going down
			}
			return err
		}
		if err != nil {
			return nil // it is gone
		}
		t.is, t.unsettled = next, false
		w.calls++
	}
	return nil
}

// draw says what to do to a thing, and what that makes of it.
func (w *registryWriter) draw(t *writtenThing) (method, path string, in any, next thingState) {
	next = t.is
	level := w.rng.IntN(2 * levelLimit)
	if !t.is.there {
		next.there, next.level = true, level
		return "POST", "/iot/things/" + t.name, map[string]any{"attributePayload": map[string]any{"attributes": map[string]string{"level": fmt.Sprint(level)}}}, next
	}
	membership := map[string]string{"thingGroupName": w.group(), "thingName": t.name}
	switch n := w.rng.IntN(10); {
	case n == 0:
		return "DELETE", "/iot/things/" + t.name, nil, thingState{}
	case n < 3:
		next.inGroup = true
		return "PUT", "/iot/thing-groups/addThingToThingGroup", membership, next
	case n < 5:
		next.inGroup = false
		return "PUT", "/iot/thing-groups/removeThingFromThingGroup", membership, next
	}
	next.level = level
	return "PATCH", "/iot/things/" + t.name, attributePatch("level", fmt.Sprint(level)), next
}

// verify compares the gateway with what the writer knows, by name, by query and by group, and settles what was open.
func (w *registryWriter) verify(ctx context.Context, api *restAPI) error {
	var members, high []string
	var errs []error
	for i := range w.things {
		t := &w.things[i]
		now, err := w.describe(ctx, api, t.name)
		if err != nil {
			return err
		}
		if now != t.is && !(t.unsettled && now == t.perhaps) {
			errs = append(errs, fmt.Errorf("%s is %+v, but what was answered makes it %+v", t.name, now, t.is))
		}
		t.is, t.unsettled = now, false
		if now.there && now.inGroup {
			members = append(members, t.name)
		}
		if now.there && now.level > levelLimit {
			high = append(high, t.name)
		}
	}
	for _, list := range []struct {
		what string
		want []string
		ask  func() ([]string, error)
	}{
		{"the members of " + w.group(), members, func() ([]string, error) { return w.members(ctx, api, w.group()) }},
		{"the query for the members of " + w.group(), members, func() ([]string, error) { return w.found(ctx, api, "thingGroupNames:"+w.group()) }},
		{"the members of " + w.dynamic(), high, func() ([]string, error) { return w.members(ctx, api, w.dynamic()) }},
		{"the query of " + w.dynamic(), high, func() ([]string, error) { return w.found(ctx, api, w.query()) }},
	} {
		got, err := list.ask()
		if err != nil {
			return err
		}
		slices.Sort(got)
		slices.Sort(list.want)
		if !slices.Equal(got, list.want) {
			errs = append(errs, fmt.Errorf("%s: %s, want %s", list.what, strings.Join(got, " "), strings.Join(list.want, " ")))
		}
	}
	return errors.Join(errs...)
}

// describe asks what a thing is.
func (w *registryWriter) describe(ctx context.Context, api *restAPI, name string) (s thingState, err error) {
	var thing struct {
		Attributes map[string]string `json:"attributes"`
	}
	_, err = api.do(ctx, "GET", "/iot/things/"+name, nil, &thing)
	if answer := (*restError)(nil); errors.As(err, &answer) && answer.status == 404 {
		return thingState{}, nil
	}
	if err != nil {
		return s, err
	}
	s.there = true
	if _, err := fmt.Sscan(thing.Attributes["level"], &s.level); err != nil {
		return s, fmt.Errorf("%s has the attributes %v", name, thing.Attributes)
	}
	var page struct {
		ThingGroups []struct {
			GroupName string `json:"groupName"`
		} `json:"thingGroups"`
	}
	if _, err := api.do(ctx, "GET", "/iot/things/"+name+"/thing-groups", nil, &page); err != nil {
		return s, err
	}
	for _, group := range page.ThingGroups {
		s.inGroup = s.inGroup || group.GroupName == w.group()
	}
	return s, nil
}

func (w *registryWriter) members(ctx context.Context, api *restAPI, group string) ([]string, error) {
	var page struct {
		Things []string `json:"things"`
	}
	_, err := api.do(ctx, "GET", "/iot/thing-groups/"+group+"/things", nil, &page)
	return page.Things, err
}

func (w *registryWriter) found(ctx context.Context, api *restAPI, query string) (names []string, err error) {
	var page foundThings
	_, err = api.do(ctx, "GET", "/api/things?"+url.Values{"q": {query}}.Encode(), nil, &page)
	for _, thing := range page.Things {
		names = append(names, thing.ThingName)
	}
	return names, err
}

// crash kills a gateway under writes b.kills times and verifies after each start, in a folder of its own.
func (b *registryBench) crash(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "muster-registry-crash-")
	if err != nil {
		return err
	}
	token := adminToken()
	g, err := newGateway(b.binary, dir, token, nil)
	if err != nil {
		return err
	}
	writers := make([]*registryWriter, b.clients)
	for i := range writers {
		writers[i] = newRegistryWriter(i, b.seed)
	}
	rng := mathrand.New(mathrand.NewPCG(b.seed, 3))
	var starts histogram
	for n := range b.kills + 1 {
		if err := g.start(ctx); err != nil {
			return fmt.Errorf("kill %d: %w", n, err)
		}
		if n > 0 {
			starts.record(g.started)
		}
		err := b.cycle(ctx, g, token, writers, n, time.Duration(rng.Int64N(int64(500*time.Millisecond))))
		g.kill()
		if err != nil {
			return fmt.Errorf("after kill %d: %w\nrepeat with --seed %d; the gateway's folder is %s", n, err, b.seed, dir)
		}
	}
	calls := 0
	for _, w := range writers {
		calls += w.calls
	}
	b.line(fmt.Sprintf("%d kills: answered changes, lost ones", b.kills), "0 lost", "%d, 0", calls)
	b.row("start after a kill", &starts, "")
	return os.RemoveAll(dir)
}

// cycle verifies what the gateway has after kill n, then writes until it is killed after load.
func (b *registryBench) cycle(ctx context.Context, g *gateway, token string, writers []*registryWriter, n int, load time.Duration) error {
	api, err := newRestAPI(g, token, len(writers))
	if err != nil {
		return err
	}
	defer api.close()
	for _, w := range writers {
		if n == 0 {
			if _, err := api.do(ctx, "POST", "/iot/thing-groups/"+w.group(), struct{}{}, nil); err != nil {
				return err
			}
			if _, err := api.do(ctx, "POST", "/iot/dynamic-thing-groups/"+w.dynamic(), map[string]string{"queryString": w.query()}, nil); err != nil {
				return err
			}
		}
		if err := w.verify(ctx, api); err != nil {
			return err
		}
	}
	if n == b.kills {
		return nil
	}
	var all sync.WaitGroup
	errs := make([]error, len(writers))
	for i, w := range writers {
		all.Go(func() { errs[i] = w.run(ctx, api) })
	}
	err = sleep(ctx, load)
	g.kill()
	all.Wait()
	return errors.Join(append(errs, err)...)
}
