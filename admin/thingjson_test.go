package admin_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
)

// TestThingsAsJSON: a page is byte for byte what encoding/json makes of its form.
func TestThingsAsJSON(t *testing.T) {
	g := openGateway(t, nil).bootstrap()
	g.iot("POST", "/thing-types/lamp", "").want(200)
	g.iot("POST", "/things/a:b_c", "").want(200)
	g.iot("POST", "/things/lamp-1", `{"thingTypeName":"lamp","attributePayload":{"attributes":{"z.,@/:#-":"[=_.,@/:#]-","a":"1","Site":"x"}}}`).want(200)
	id, _ := g.registry.ID("lamp-1")
	at := time.UnixMilli(1_700_000_000_123)
	g.registry.Connected(id, at, netip.MustParseAddrPort("[fe80::1%eth\"0]:4711"))
	g.registry.Disconnected(id, at, "it said \"no\\\" <&>\n\u2028 é")

	type thing struct {
		ThingName     string            `json:"thingName"`
		ThingTypeName string            `json:"thingTypeName"`
		Attributes    map[string]string `json:"attributes"`
		Connected     bool              `json:"connected"`
		SinceMs       int64             `json:"sinceMs"`
		LastSeenMs    int64             `json:"lastSeenMs"`
		Remote        string            `json:"remote"`
		Reason        string            `json:"reason"`
		Version       int64             `json:"version"`
	}
	for _, path := range []string{"/api/things", "/api/things?limit=1", "/api/things?q=nothing"} {
		var page struct {
			Things     []thing `json:"things"`
			Total      int     `json:"total"`
			NextCursor string  `json:"nextCursor"`
			TookMs     float64 `json:"tookMs"`
		}
		answer := g.as(adminToken, "GET", path, "").want(200)
		answer.json(&page)
		want, err := json.Marshal(page)
		if err != nil {
			t.Fatal(err)
		}
		if answer.text != string(want) {
			t.Fatalf("%s\n got %s\nwant %s", path, answer.text, want)
		}
	}
}
