package main

import (
	"context"
	"strings"
	"testing"
)

// TestTelemetrySchema: a schema of a thing type holds from the next message of a device on, while it stays connected.
func TestTelemetrySchema(t *testing.T) {
	g := startGateway(t, t.TempDir())
	_, device := g.enroll("lamp-1") // makes the type lamp
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	send := func(payload string) {
		t.Helper()
		if err := device.Publish(ctx, "dt/lamp-1", []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(method, text string, status int, part string) {
		t.Helper()
		if code, body := g.call(method, "/api/thing-types/lamp/telemetry", text); code != status || !strings.Contains(body, part) {
			t.Fatalf("%s %s: %d %s\nwant %d %s", method, text, code, body, status, part)
		}
	}
	value := func(expr, want string) {
		t.Helper()
		if got := g.query(expr)["lamp-1"]; got != want {
			t.Fatalf("%s = %q, want %q", expr, got, want)
		}
	}
	send(`{"t":215,"p":1}`)
	value("t", "215")
	f("GET", "", 200, `{"unknown":"keep","columns":{},"thingTypeName":"lamp","version":0,"changedMs":0}`)
	f("PUT", `{"columns":{"t":{"rename":"temperature_c","scale":0.1,"unit":"celsius"},"p":{"drop":true}}}`, 200, `"unknown":"keep"`)
	f("GET", "", 200, `"version":1`)
	send(`{"t":216,"p":2,"x":3}`)
	value("temperature_c", "21.6")
	value("t", "215")
	value("p", "1")
	value("x", "3")
	if _, body := g.get("/prometheus/api/v1/metadata?metric=temperature_c"); !strings.Contains(body, `"unit":"celsius"`) {
		t.Fatal(body)
	}
	if _, body := g.get("/prometheus/api/v1/metadata?metric=x"); !strings.Contains(body, `"unit":""`) {
		t.Fatal(body)
	}

	f("PUT", `{"columns":{"t":{"factor":2}}}`, 400, `unknown field`)
	f("PUT", `{"columns":{"t":{"scale":0}}}`, 400, `column \"t\": scale must not be 0`)
	f("PUT", `{"columns":{"t":{"scale":"x"}}}`, 400, "not the JSON")
	f("PUT", `{"columns":{"1t":{}}}`, 400, "as PromQL shows it")
	if code, body := g.call("PUT", "/api/thing-types/none/telemetry", `{}`); code != 404 {
		t.Fatalf("a type that does not exist: %d %s", code, body)
	}

	// of two who change it, the later one is told
	second := `{"unknown":"drop","columns":{"t":{"rename":"temperature_c","scale":0.1,"offset":-40,"unit":"celsius"}},"expectedVersion":1}`
	for range 2 {
		f("PUT", strings.Replace(second, `"expectedVersion":1`, `"expectedVersion":0`, 1), 409, `"stale"`)
	}
	f("PUT", second, 200, `"version":2`)
	f("PUT", second, 409, `the telemetry schema of thing type \"lamp\" has version 2, expectedVersion is 1; read it again`)
	f("PUT", strings.Replace(second, `"expectedVersion":1`, `"expectedVersion":2`, 1), 200, `"version":2`) // is there already
	send(`{"t":650,"x":4}`)
	value("temperature_c", "25")
	value("x", "3")

	// over HTTP, and after a restart
	if code, body := g.post("/iot-data/topics/dt/lamp-1?qos=1", `{"t":660,"x":5}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	value("temperature_c", "26")
	value("x", "3")

	// a thing's new type has its own schema, or none
	if code, body := g.call("POST", "/iot/thing-types/bare", ""); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := g.call("PATCH", "/iot/things/lamp-1", `{"thingTypeName":"bare"}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	send(`{"t":1,"x":6}`)
	value("t", "1")
	value("x", "6")
	if code, body := g.call("PATCH", "/iot/things/lamp-1", `{"thingTypeName":"lamp"}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	send(`{"t":670}`)
	value("temperature_c", "27")

	cancel()
	<-ended
	ended <- nil
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	again := startGateway(t, g.dir)
	if code, body := again.post("/iot-data/topics/dt/lamp-1?qos=1", `{"t":680,"x":7}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if got := again.query("temperature_c")["lamp-1"]; got != "28" {
		t.Fatalf("after a restart: %q", got)
	}
	for _, remove := range []struct {
		query string
		want  int
	}{{"?expectedVersion=1", 409}, {"?expectedVersion=2", 204}, {"", 204}} { // the last one finds none
		if code, body := again.call("DELETE", "/api/thing-types/lamp/telemetry"+remove.query, ""); code != remove.want {
			t.Fatalf("%s: %d %s", remove.query, code, body)
		}
	}
	if code, body := again.call("GET", "/api/thing-types/lamp/telemetry", ""); code != 200 || !strings.Contains(body, `"columns":{},"thingTypeName":"lamp","version":3`) {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := again.post("/iot-data/topics/dt/lamp-1?qos=1", `{"t":2}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if got := again.query("t")["lamp-1"]; got != "2" {
		t.Fatalf("without a schema: %q", got)
	}
}
