package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/admin"
)

// indexed opens a gateway with ten lamps and a car.
func indexed(t *testing.T) *gateway {
	g := openGateway(t, nil).bootstrap()
	g.iot("POST", "/thing-types/Lamp", "").want(200)
	for i := range 10 {
		g.iot("POST", fmt.Sprintf("/things/lamp-%02d", i), fmt.Sprintf(`{"thingTypeName":"Lamp","attributePayload":{"attributes":{"City":"%s","floor":"%d","dim":"%v"}}}`,
			[]string{"Ulm", "Oslo"}[i%2], i, i%4 == 0)).want(200)
	}
	g.iot("POST", "/things/car", "").want(200)
	at := time.UnixMilli(1_700_000_000_123)
	for i, name := range []string{"lamp-01", "lamp-02"} {
		id, _ := g.registry.ID(name)
		g.registry.Connected(id, at, netip.MustParseAddrPort("10.0.0.1:1"))
		if i == 1 {
			g.registry.Disconnected(id, at.Add(time.Second), "connection lost")
		}
	}
	return g
}

func TestSearchIndex(t *testing.T) {
	t.Parallel()
	g := indexed(t)
	var answer struct {
		Things    []struct{ ThingName string }
		NextToken string
	}
	names := func(query string) string {
		t.Helper()
		var list []string
		for token := ""; ; {
			body := fmt.Sprintf(`{"queryString":%q,"maxResults":3,"nextToken":%q}`, query, token)
			answer.NextToken, answer.Things = "", nil
			g.iot("POST", "/indices/search", body).want(200).json(&answer)
			for _, thing := range answer.Things {
				list = append(list, strings.TrimPrefix(thing.ThingName, "lamp-"))
			}
			if token = answer.NextToken; token == "" {
				return strings.Join(list, " ")
			}
		}
	}
	f := func(query, want string) {
		t.Helper()
		if got := names(query); got != want {
			t.Fatalf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	f(`*`, "car 00 01 02 03 04 05 06 07 08 09")
	f(`attributes.City:ulm attributes.floor>2`, "04 06 08")
	f(`thingTypeName:lamp -attributes.City:(ulm OR os*)`, "")
	f(`NOT thingTypeName:*`, "car")
	f(`connectivity.connected:false`, "02")
	f(`connectivity.disconnectReason:CONNECTION_LOST`, "02")
	f(`ulm`, "00 02 04 06 08")
	f(`lamp`, "00 01 02 03 04 05 06 07 08 09")

	one := g.iot("POST", "/indices/search", `{"indexName":"AWS_Things","queryVersion":"2017-09-30","queryString":"thingName:lamp-02"}`).want(200).text
	id, _ := g.registry.Thing("lamp-02")
	if want := `{"things":[{"thingName":"lamp-02","thingId":"` + id.UUID + `","thingTypeName":"Lamp","attributes":{"City":"Ulm","dim":"false","floor":"2"},` +
		`"connectivity":{"connected":false,"timestamp":1700000001123,"disconnectReason":"CONNECTION_LOST"}}]}`; one != want {
		t.Fatalf("answer\n got %s\nwant %s", one, want)
	}

	bad := func(body, errorType, message string) {
		t.Helper()
		if got := g.iot("POST", "/indices/search", body).awsError(400, errorType)["message"]; got != message {
			t.Fatalf("%s\n got %s\nwant %s", body, got, message)
		}
	}
	bad(`{"queryString":"a AND (b"}`, "InvalidQueryException", "this ( is not closed (at position 6)")
	bad(`{"queryString":"telemetry.x>1"}`, "InvalidQueryException", "this gateway has no telemetry to search in (at position 0)")
	bad(`{}`, "InvalidRequestException", "queryString is missing; * finds every thing")
	bad(`{"queryString":"*","queryVersion":"1"}`, "InvalidRequestException", `queryVersion must be 2017-09-30, not "1"`)
	bad(`{"queryString":"*","maxResults":0}`, "InvalidRequestException", "maxResults must be from 1 to 10000, it is 0")
	bad(`{"queryString":"*","nextToken":"x"}`, "InvalidRequestException", "nextToken is not one that this gateway gave")
	g.iot("POST", "/indices/search", `{"queryString":"*","indexName":"other"}`).awsError(404, "ResourceNotFoundException")

	// a query right after a write has it
	for i := range 20 {
		g.iot("PATCH", "/things/car", fmt.Sprintf(`{"attributePayload":{"attributes":{"n":"%d"}}}`, i)).want(200)
		f(fmt.Sprintf("attributes.n:%d", i), "car")
	}
	g.iot("DELETE", "/things/car", "").want(200)
	f(`thingName:car`, "")
}

func TestAggregations(t *testing.T) {
	t.Parallel()
	g := indexed(t)
	f := func(path, body, want string) {
		t.Helper()
		if got := g.iot("POST", "/indices/"+path, body).want(200).text; got != want {
			t.Fatalf("%s %s\n got %s\nwant %s", path, body, got, want)
		}
	}
	f("statistics", `{"queryString":"attributes.floor<4","aggregationField":"attributes.floor"}`,
		`{"statistics":{"count":4,"average":1.5,"sum":6,"minimum":0,"maximum":3,"sumOfSquares":14,"variance":1.25,"stdDeviation":1.118033988749895}}`)
	f("statistics", `{"queryString":"*","aggregationField":"attributes.City"}`, `{"statistics":{"count":10}}`)
	f("statistics", `{"queryString":"*","aggregationField":"attributes.none"}`, `{"statistics":{"count":0}}`)
	f("statistics", `{"queryString":"thingName:lamp-0?"}`, `{"statistics":{"count":10,"average":1,"sum":10,"minimum":1,"maximum":1,"sumOfSquares":10,"variance":0,"stdDeviation":0}}`)
	f("statistics", `{"queryString":"attributes.floor<4","aggregationField":"attributes.dim"}`,
		`{"statistics":{"count":4,"average":0.25,"sum":1,"minimum":0,"maximum":1,"sumOfSquares":1,"variance":0.1875,"stdDeviation":0.4330127018922193}}`)
	f("percentiles", `{"queryString":"*","aggregationField":"attributes.floor","percents":[0,50,75,100]}`,
		`{"percentiles":[{"percent":0,"value":0},{"percent":50,"value":4.5},{"percent":75,"value":6.75},{"percent":100,"value":9}]}`)
	f("percentiles", `{"queryString":"thingName:none","aggregationField":"attributes.floor"}`, `{"percentiles":[]}`)
	f("cardinality", `{"queryString":"*","aggregationField":"attributes.City"}`, `{"cardinality":2}`)
	f("cardinality", `{"queryString":"thingName:none","aggregationField":"attributes.City"}`, `{"cardinality":0}`)
	f("buckets", `{"queryString":"NOT attributes.floor:9","aggregationField":"attributes.City","bucketsAggregationType":{"termsAggregation":{}}}`,
		`{"totalCount":10,"buckets":[{"keyValue":"Ulm","count":5},{"keyValue":"Oslo","count":4}]}`)
	f("buckets", `{"queryString":"*","aggregationField":"registry.thingTypeName","bucketsAggregationType":{"termsAggregation":{"maxBuckets":1}}}`,
		`{"totalCount":11,"buckets":[{"keyValue":"Lamp","count":10}]}`)

	bad := func(path, body, errorType string) {
		t.Helper()
		g.iot("POST", "/indices/"+path, body).awsError(400, errorType)
	}
	bad("statistics", `{"queryString":"*","aggregationField":"city"}`, "InvalidAggregationException")
	bad("statistics", `{"queryString":"(","aggregationField":"attributes.City"}`, "InvalidQueryException")
	bad("percentiles", `{"queryString":"*","aggregationField":"attributes.City"}`, "InvalidAggregationException")
	bad("percentiles", `{"queryString":"*","percents":[101]}`, "InvalidRequestException")
	bad("cardinality", `{"queryString":"*","aggregationField":"x"}`, "InvalidAggregationException")
	bad("buckets", `{"queryString":"*","aggregationField":"attributes.City"}`, "InvalidAggregationException")
	bad("buckets", `{"queryString":"*","aggregationField":"attributes.City","bucketsAggregationType":{"termsAggregation":{"maxBuckets":10001}}}`, "InvalidAggregationException")
	bad("buckets", `{"queryString":"*","bucketsAggregationType":{"termsAggregation":{}}}`, "InvalidRequestException")
}

// TestCounts: things are counted by one field and by two.
func TestCounts(t *testing.T) {
	t.Parallel()
	g := indexed(t)
	g.iot("POST", "/thing-groups/north", "").want(200)
	g.iot("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"north","thingName":"lamp-03"}`).want(200)
	f := func(query, want string) {
		t.Helper()
		if got := g.as(adminToken, "GET", "/api/buckets?"+query, "").want(200).text; got != want {
			t.Fatalf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	f("by=thingTypeName", `{"totalCount":11,"buckets":[{"value":"Lamp","count":10}]}`)
	f("by=attributes.City&then=attributes.dim&q=attributes.floor%3C7", `{"totalCount":7,"buckets":[`+
		`{"value":"Ulm","count":4,"buckets":[{"value":"false","count":2},{"value":"true","count":2}]},`+
		`{"value":"Oslo","count":3,"buckets":[{"value":"false","count":3}]}]}`)
	f("by=group&then=attributes.floor&limit=1", `{"totalCount":11,"buckets":[{"value":"north","count":1,"buckets":[{"value":"3","count":1}]}]}`)
	f("by=attributes.none&then=group", `{"totalCount":11,"buckets":[]}`)
	for query, message := range map[string]string{
		"":                            "by is missing: the field to count by, such as thingTypeName or attributes.city",
		"by=city":                     `by: there is no field "city"; it is one such as attributes.city, thingTypeName or connectivity.timestamp`,
		"by=group&then=x":             `then: there is no field "x"; it is one such as attributes.city, thingTypeName or connectivity.timestamp`,
		"by=telemetry.t.avg(5m)":      "by: the window telemetry.t.avg(5m) cannot be aggregated; use the last value, such as telemetry.temp_c, or PromQL",
		"by=attributes." + long(1024): "by: it has 1035 bytes, and no field more than 1024",
		"by=group&limit=101":          `limit must be a whole number from 1 to 100, not "101"`,
		"by=group&q=(":                "a condition is missing at the end",
	} {
		var e struct{ Error struct{ Message string } }
		g.as(adminToken, "GET", "/api/buckets?"+query, "").want(400).json(&e)
		if e.Error.Message != message {
			t.Errorf("%s\n got %s\nwant %s", query, e.Error.Message, message)
		}
	}
	g.as(adminToken, "GET", "/api/buckets?by=group&minRevision=999999", "").want(409)

	// AWS's aggregations take the same fields
	if got := g.iot("POST", "/indices/buckets", `{"queryString":"*","aggregationField":"group","bucketsAggregationType":{"termsAggregation":{}}}`).want(200).text; got !=
		`{"totalCount":11,"buckets":[{"keyValue":"north","count":1}]}` {
		t.Fatal(got)
	}
	g.iot("POST", "/indices/statistics", `{"queryString":"*","aggregationField":"telemetry.t.avg(5m)"}`).awsError(400, "InvalidAggregationException")
}

func long(n int) string { return strings.Repeat("x", n) }

func TestIndexing(t *testing.T) {
	t.Parallel()
	var options admin.Options
	g := openGateway(t, func(o *admin.Options) { options = *o }).bootstrap()
	wantConfig := func(want string) {
		t.Helper()
		if got := g.iot("GET", "/indexing/config", "").want(200).text; !strings.Contains(got, want) {
			t.Fatalf("%q is not in %s", want, got)
		}
	}
	wantConfig(`{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY","thingConnectivityIndexingMode":"STATUS","deviceDefenderIndexingMode":"OFF","namedShadowIndexingMode":"OFF","managedFields":[`)
	wantConfig(`"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"ON","managedFields":[{"name":"description","type":"String"},`)
	if got := g.iot("GET", "/indices/AWS_Things", "").want(200).text; got != `{"indexName":"AWS_Things","indexStatus":"ACTIVE","schema":"REGISTRY_AND_CONNECTIVITY_STATUS"}` {
		t.Fatal(got)
	}
	if got := g.iot("GET", "/indices?maxResults=5", "").want(200).text; got != `{"indexNames":["AWS_Things","AWS_ThingGroups"]}` {
		t.Fatal(got)
	}
	g.iot("GET", "/indices/other", "").awsError(404, "ResourceNotFoundException")

	g.iot("POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"OFF"},"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"OFF"}}`).want(200)
	g.iot("POST", "/indices/search", `{"queryString":"*","indexName":"AWS_ThingGroups"}`).awsError(400, "IndexNotReadyException")
	wantConfig(`"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"OFF"}`)
	g.iot("POST", "/indices/search", `{"queryString":"*"}`).awsError(400, "IndexNotReadyException")
	g.iot("GET", "/indices/AWS_Things", "").awsError(404, "ResourceNotFoundException")
	if got := g.iot("GET", "/indices", "").want(200).text; got != `{"indexNames":[]}` {
		t.Fatal(got)
	}
	g.iot("POST", "/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY_AND_SHADOW","thingConnectivityIndexingMode":"STATUS",`+
		`"customFields":[{"name":"attributes.n","type":"Number"}],"filter":{"namedShadowNames":["a"]}}}`).want(200)
	want := `"customFields":[{"name":"attributes.n","type":"Number"}],"filter":{"namedShadowNames":["a"]}}`
	wantConfig(want)

	for _, body := range []string{
		`{}`, `{"thingIndexingConfiguration":{}}`, `{"thingIndexingConfiguration":{"thingIndexingMode":"ALL"}}`,
		`{"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"SOME"}}`,
		`{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY","customFields":[{"name":"a","type":"Text"}]}}`,
	} {
		g.iot("POST", "/indexing/config", body).awsError(400, "InvalidRequestException")
	}
	g.as(g.token("viewer"), "POST", "/iot/indexing/config", `{"thingIndexingConfiguration":{"thingIndexingMode":"OFF"}}`).awsError(403, "AccessDeniedException")

	// it survives a restart; a damaged file is not taken for another
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := g.stop(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := admin.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	go again.Serve()
	g.Server, g.url, g.stopped = again, again.URL(""), false
	g.client.CloseIdleConnections()
	wantConfig(want)
	if err := g.stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "indexing.json"), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Open(options); err == nil || !strings.Contains(err.Error(), "indexing.json is damaged or of a newer version") {
		t.Fatal(err)
	}
}

func TestThingConnectivityData(t *testing.T) {
	g := indexed(t)
	f := func(name, want string) {
		t.Helper()
		if got := g.iot("POST", "/things/"+name+"/connectivity-data", "").want(200).text; got != want {
			t.Fatalf("%s\n got %s\nwant %s", name, got, want)
		}
	}
	f("lamp-01", `{"thingName":"lamp-01","connected":true,"timestamp":1700000000.123,"disconnectReason":"NONE"}`)
	f("lamp-02", `{"thingName":"lamp-02","connected":false,"timestamp":1700000001.123,"disconnectReason":"CONNECTION_LOST"}`)
	f("lamp-03", `{"thingName":"lamp-03","connected":false}`)
	g.iot("POST", "/things/none/connectivity-data", "").awsError(404, "ResourceNotFoundException")
}

// TestFleetQuery: the list of the UI takes queries, and says where a mistake is.
func TestFleetQuery(t *testing.T) {
	t.Parallel()
	g := indexed(t)
	total := func(query string) int {
		t.Helper()
		var page struct{ Total int }
		g.as(adminToken, "GET", "/api/things?q="+strings.NewReplacer(" ", "%20", "*", "%2A", ">", "%3E").Replace(query), "").want(200).json(&page)
		return page.Total
	}
	for query, want := range map[string]int{
		"": 11, "*": 11, "amp": 10, "ulm": 5, "lm": 0, "osl": 5, "attributes.floor>6": 3, "connectivity.connected:true": 1, "lamp -ulm": 5, "a": 11,
	} {
		if got := total(query); got != want {
			t.Fatalf("q=%s: %d things, want %d", query, got, want)
		}
	}
	r := g.as(adminToken, "GET", "/api/things?q=lamp%20(x", "").want(400)
	var e struct {
		Error struct {
			Kind, Message string
			Position      *int
		}
	}
	if r.json(&e); e.Error.Kind != "invalid" || e.Error.Message != "this ( is not closed" || e.Error.Position == nil || *e.Error.Position != 5 {
		t.Fatal(r.text)
	}
	var explained struct{ Plan string }
	g.as(adminToken, "GET", "/api/explain?q=ulm", "").want(200).json(&explained)
	if explained.Plan != "ulm: 5 things, 22 values in 6 fields looked at\n" {
		t.Fatal(explained.Plan)
	}
	if kind := g.as(adminToken, "GET", "/api/things?sort=x", "").want(http.StatusBadRequest).kind(); kind != "invalid" {
		t.Fatal(kind)
	}
}

// TestIndexWithAWSCLI: the AWS CLI searches, pages and aggregates.
func TestIndexWithAWSCLI(t *testing.T) {
	t.Parallel()
	aws := indexed(t).openAWS()
	run := func(args ...string) (string, error) {
		code, out, errs := aws.run(args...)
		text := strings.Join(strings.Fields(out+errs), " ")
		if code != 0 {
			return text, fmt.Errorf("exit %d", code)
		}
		return text, nil
	}
	f := func(want string, args ...string) {
		t.Helper()
		if out, err := run(args...); err != nil || !strings.Contains(out, want) {
			t.Fatalf("aws iot %s: %v\n got %s\nwant %s", strings.Join(args, " "), err, out, want)
		}
	}
	f(`"thingName": "lamp-04"`, "search-index", "--query-string", "attributes.City:ulm AND attributes.floor:[4 TO 5]")
	out, err := run("search-index", "--query-string", "thingName:lamp*", "--max-results", "4")
	if err != nil || strings.Count(out, `"thingName"`) != 4 || !strings.Contains(out, `"nextToken": "`) {
		t.Fatalf("%v: %s", err, out)
	}
	_, token, _ := strings.Cut(out, `"nextToken": "`)
	token, _, _ = strings.Cut(token, `"`)
	f(`"thingName": "lamp-07"`, "search-index", "--query-string", "thingName:lamp*", "--max-results", "4", "--next-token", token)
	f(`"count": 10, "average": 4.5`, "get-statistics", "--query-string", "*", "--aggregation-field", "attributes.floor")
	f(`{ "percentiles": [ { "percent": 50`, "get-percentiles", "--query-string", "*", "--aggregation-field", "attributes.floor", "--percents", "50")
	f(`{ "cardinality": 2 }`, "get-cardinality", "--query-string", "*", "--aggregation-field", "attributes.City")
	f(`"keyValue": "Oslo", "count": 5`, "get-buckets-aggregation", "--query-string", "*", "--aggregation-field", "attributes.City",
		"--buckets-aggregation-type", "termsAggregation={maxBuckets=5}")
	f(`"indexStatus": "ACTIVE"`, "describe-index", "--index-name", "AWS_Things")
	f(`"AWS_Things"`, "list-indices")
	f("", "update-indexing-configuration", "--thing-indexing-configuration", "thingIndexingMode=REGISTRY,thingConnectivityIndexingMode=STATUS")
	f(`"thingIndexingMode": "REGISTRY"`, "get-indexing-configuration")
	if out, err := run("search-index", "--query-string", "a AND ("); err == nil || !strings.Contains(out, "InvalidQueryException") || !strings.Contains(out, "position 7") {
		t.Fatalf("%v: %s", err, out)
	}
}
