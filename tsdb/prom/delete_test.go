package prom

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// Sources are deleted whole, by their labels; what cannot be deleted alone is refused with a sentence.
func TestDeleteSeries(t *testing.T) {
	api, _, w := openFleet(t, Options{})
	ms := now.UnixMilli()
	for _, job := range []string{"node", "web"} {
		for _, instance := range []string{"a", "b"} {
			id := sourceOf(t, w.store, "job", job, "instance", instance)
			w.row(id, ms, "up", 1)
			w.row(id, ms, "load", 2)
		}
	}
	ask := func(status int, want string, form url.Values) {
		t.Helper()
		resp := api.DeleteSeries(context.Background(), form)
		if resp.Status != status || !strings.Contains(string(resp.Body), want) {
			t.Fatalf("%v: %d %s, want %d and %q", form, resp.Status, resp.Body, status, want)
		}
	}
	left := func(want string) {
		t.Helper()
		resp := api.Serve(context.Background(), "GET", "/api/v1/query", url.Values{"query": {`count by (job) ({job!=""})`}, "time": {fmt.Sprint(now.Unix())}})
		got := string(resp.Body)
		for _, part := range strings.Fields(want) {
			job, n, _ := strings.Cut(part, "=")
			if !strings.Contains(got, `{"job":"`+job+`"},"value":[`) || !strings.Contains(got, `"`+n+`"]`) {
				t.Fatalf("left %s, want %s", got, want)
			}
		}
		if strings.Count(got, `"job"`) != len(strings.Fields(want)) {
			t.Fatalf("left %s, want %s", got, want)
		}
	}
	ask(400, "no match[]", url.Values{})
	ask(400, "leave out start and end", url.Values{"match[]": {`{job="node"}`}, "start": {"1"}})
	ask(400, "and no metric", url.Values{"match[]": {`up{job="node"}`}})
	ask(400, "non-empty", url.Values{"match[]": {`{job=~".*"}`}})
	left("node=4 web=4")
	ask(204, "", url.Values{"match[]": {`{job="other"}`}})
	ask(204, "", url.Values{"match[]": {`{job="node"}`, `{instance="b"}`}})
	left("web=2")
	w.row(sourceOf(t, w.store, "job", "node", "instance", "a"), ms, "up", 1) // sent again: a new source
	left("node=1 web=2")
}
