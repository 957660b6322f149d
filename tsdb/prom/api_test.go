package prom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"muster/tsdb/vfs"
)

// TestRequests replays the requests of testdata/*.txt: method, path and parameters ("a=b & c=d"), a line of dashes, then
// the status and the body. A comment starts with #. -update writes what the API answers.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			api, _, _ := openFleet(t, Options{Version: "v0-test"})
			var out strings.Builder
			for c := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				head, want, _ := strings.Cut(c, "\n----\n")
				got := answer(t, api, head)
				if got != want && !*update {
					t.Errorf("%s\n got %s\nwant %s", head, got, want)
				}
				fmt.Fprintf(&out, "%s\n----\n%s\n\n", head, got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestReopen asks the same before and after the store was closed and opened again.
func TestReopen(t *testing.T) {
	text, err := os.ReadFile("testdata/promql.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var before []string
	for round := range 3 {
		t.Run(fmt.Sprint("open ", round), func(t *testing.T) {
			store := openStoreIn(t, dir)
			if round == 0 {
				fillFleet(t, store)
			}
			api := New(store, directory(), Options{Clock: vfs.NewManual(now)})
			for i, c := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				head, _, _ := strings.Cut(c, "\n----\n")
				got := answer(t, api, head)
				if round == 0 {
					before = append(before, got)
				} else if got != before[i] {
					t.Errorf("%s\n got %s\nwant %s", head, got, before[i])
				}
			}
		})
	}
}

// answer runs the request in the last line of head and returns its status and body, a line per series.
func answer(t *testing.T, api *API, head string) string {
	t.Helper()
	line := head[strings.LastIndexByte(head, '\n')+1:]
	method, rest, _ := strings.Cut(line, " ")
	path, params, _ := strings.Cut(rest, " ")
	form := url.Values{}
	for p := range strings.SplitSeq(params, " & ") {
		if name, value, ok := strings.Cut(p, "="); ok {
			form.Add(name, value)
		}
	}
	resp := api.Serve(context.Background(), method, path, form)
	body := string(resp.Body)
	if resp.ContentType == "application/json" {
		if !json.Valid(resp.Body) {
			t.Errorf("%s\nno JSON: %s", line, body)
		}
		body = strings.ReplaceAll(body, runtime.Version(), "GOVERSION")
		body = strings.ReplaceAll(body, `{"metric":`, "\n  {\"metric\":")
		body = strings.ReplaceAll(body, `{"__name__":"`, "\n  {\"__name__\":\"")
		body = strings.ReplaceAll(body, "{\"metric\":\n  ", `{"metric":`)
	}
	return fmt.Sprintf("%d %s", resp.Status, string(bytes.TrimSpace([]byte(body))))
}
