package main

import "testing"

// TestOwnSeries lets the gateway record a fleet metric and its own figures, and asks for both in PromQL.
func TestOwnSeries(t *testing.T) {
	g := startGateway(t, t.TempDir(), "--self.record-every=1s")
	for _, name := range []string{"low", "high", "higher"} {
		level := map[string]string{"low": "1", "high": "7", "higher": "9"}[name]
		if status, body := g.post("/iot/things/"+name, `{"attributePayload":{"attributes":{"level":"`+level+`"}}}`); status != 200 {
			t.Fatal(status, body)
		}
	}
	metric := `{"queryString":"attributes.level>5","aggregationField":"attributes.level","period":1,
		"aggregationType":{"name":"Statistics","values":["count","maximum"]}}`
	if status, body := g.call("PUT", "/iot/fleet-metric/levels", metric); status != 200 {
		t.Fatal(status, body)
	}
	for expr, want := range map[string]string{
		`fleet_metric{metric="levels",statistic="count"}`:   "2",
		`fleet_metric{metric="levels",statistic="maximum"}`: "9",
		`muster_things{job="muster"}`:                       "3",
	} {
		eventually(t, expr, func() bool { return g.query(expr)[""] == want })
	}
}
