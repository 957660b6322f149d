package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/snappy"
)

// TestForward: what a device publishes arrives at another store by remote write, with the labels that PromQL shows, also
// when the other side was away and the gateway was started again.
func TestForward(t *testing.T) {
	var mu sync.Mutex
	away, got := true, ""
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = snappy.Decode(nil, body)
		}
		if err != nil {
			t.Error(err)
		}
		got += string(body) // labels are plain text inside
	}))
	defer other.Close()
	dir := t.TempDir()
	settings := []string{"--remote.url=" + other.URL + "/api/v1/write", "--remote.gateway-label=gw-7"}
	g := startGateway(t, dir, settings...)
	folder, _ := g.enroll("lamp-1")
	if code, out := g.mosquittoPub(folder, "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{"power_w": 41.5, "fw": "1.2"}`); code != 0 {
		t.Fatalf("mosquitto_pub: exit %d\n%s", code, out)
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	g = startGateway(t, dir, settings...)
	eventually(t, "the row arrives", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range []string{"power_w", "fw_info", "1.2", "gw-7", "lamp-1", "thing_type"} {
			if !strings.Contains(got, text) {
				return false
			}
		}
		return true
	})
	if _, metrics := g.get("/metrics"); !strings.Contains(metrics, "muster_remote_samples_total 2") {
		t.Errorf("metrics: %s", metrics)
	}
}
