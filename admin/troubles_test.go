package admin_test

import (
	"strings"
	"testing"

	"muster/admin"
)

// troubles are two alarms and two payloads.
type troubles struct{}

func (troubles) Alarms() []admin.Alarm {
	return []admin.Alarm{
		{Kind: "sharedCertificate", ThingName: "lamp-1", ClientID: "lamp-1", Count: 9, FirstMs: 1, LastMs: 2, Addresses: []string{"10.0.0.7"}, Message: "two of it"},
		{Kind: "sharedCertificate", ThingName: "lamp-2", ClientID: "lamp-2", Count: 4, Addresses: []string{}},
	}
}

func (troubles) Malformed() []admin.MalformedPayload {
	return []admin.MalformedPayload{
		{TimeMs: 7, ThingName: "lamp-1", Topic: "dt/lamp-1", Reason: "no object", Payload: []byte("{")},
		{TimeMs: 6, ThingName: "lamp-2", Topic: "dt/lamp-2/x", Reason: "cut", Payload: []byte{0xff, 0}},
	}
}

func TestTroubles(t *testing.T) {
	t.Parallel()
	g := openGateway(t, func(o *admin.Options) { o.Troubles = troubles{} }).bootstrap()
	f := func(path string, want ...string) {
		t.Helper()
		body := g.as(adminToken, "GET", path, "").want(200).text
		for _, w := range want {
			without := strings.HasPrefix(w, "!")
			if strings.Contains(body, strings.TrimPrefix(w, "!")) == without {
				t.Errorf("%s: want %s in\n%s", path, w, body)
			}
		}
		g.send(g.client, "GET", path, "").want(401)
	}
	f("/api/alarms", `"count":9`, `"addresses":["10.0.0.7"]`, `"thingName":"lamp-2"`, `"message":"two of it"`)
	f("/api/malformed", `"text":"{"`, `"base64":"/wA="`, `"reason":"no object"`)
	f("/api/malformed?thingName=lamp-2", `"topic":"dt/lamp-2/x"`, "!lamp-1")
	g.as(adminToken, "POST", "/iot/things/lamp-1", "").want(200)
	f("/api/things/lamp-1", `"alarms":[{"kind":"sharedCertificate"`, "!lamp-2")
	none := openGateway(t, nil).bootstrap()
	none.as(adminToken, "GET", "/api/alarms", "").want(200)
	none.as(adminToken, "GET", "/api/malformed", "").want(200)
}
