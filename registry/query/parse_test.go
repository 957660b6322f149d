package query_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"muster/registry/index"
	"muster/registry/query"
)

// TestParse: what a query means, as it is printed with everything said.
func TestParse(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := q.String(); got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	// the default operator is AND, which binds closer than OR
	f(`a b`, `a AND b`)
	f(`a b OR c AND d`, `a AND b OR c AND d`)
	f(`a (b OR c) d`, `a AND (b OR c) AND d`)
	f(`(((a)))`, `a`)
	f(`a OR (b OR c)`, `a OR (b OR c)`)
	f(`NOT a b`, `NOT a AND b`)
	f(`NOT (a b)`, `NOT (a AND b)`)
	f(`a -b -(c OR d)`, `a AND NOT b AND NOT (c OR d)`)
	f(`NOT NOT -a`, `NOT NOT NOT a`)
	f(`a-b`, `a-b`)
	// keywords are in capitals and words of their own; behind a field they are words
	f(`a and b or not c`, `a AND and AND b AND or AND not AND c`)
	f(`ANDROID ORANGE NOTHING TOP`, `ANDROID AND ORANGE AND NOTHING AND TOP`)
	f(`thingName:AND thingName:"OR"`, `thingName:\AND AND thingName:"OR"`)
}

// TestParseFields: fields, groups of a field, ranges and escapes.
func TestParseFields(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := q.String(); got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f(`thingName:(tv* AND -plasma)`, `thingName:tv* AND NOT thingName:plasma`)
	f(`thingName:((a OR b) c) x`, `((thingName:a OR thingName:b) AND thingName:c) AND x`)
	f(`attributes.n:([1 TO 2] OR >5 "x")`, `attributes.n:[1 TO 2] OR attributes.n:{5 TO *] AND attributes.n:"x"`)
	f(`a.b : c`, `a.b:c`)
	f(`a.b:[75 TO 80]`, `a.b:[75 TO 80]`)
	f(`a.b:{75 TO 80]`, `a.b:{75 TO 80]`)
	f(`a.b:[ 75 TO 80 }`, `a.b:[75 TO 80}`)
	f(`a.b:{* TO 80}`, `a.b:[* TO 80}`)
	f(`a.b:["abcd" TO "abcf"]`, `a.b:["abcd" TO "abcf"]`)
	f(`a.b:[abcd TO abcf}`, `a.b:["abcd" TO "abcf"}`)
	f(`a.b:["7" TO "80"]`, `a.b:["7" TO "80"]`)
	f(`a.b:[now-7d TO now]`, `a.b:[now-7d TO now]`)
	f(`a.b<5`, `a.b:[* TO 5}`)
	f(`a.b <= -5e3`, `a.b:[* TO -5e3]`)
	f(`a.b>now-1h`, `a.b:{now-1h TO *]`)
	f(`a.b>=1.5 AND c`, `a.b:[1.5 TO *] AND c`)
	f(`a.b:>5`, `a.b:{5 TO *]`)
	f(`a.b:-5`, `a.b:-5`)
	f(`a.b:x:y`, `a.b:x:y`)
	f(`a\:b:c`, `a\:b:c`)
	f(`a\:b`, `a\:b`)
	f(`a.b:\/dev/tty`, `a.b:\/dev/tty`)
	f(`a.b:/^x\/(y|z)$/ c`, `a.b:/^x\/(y|z)$/ AND c`)
	f(`a.b:"say \"hi\" \\ now"`, `a.b:"say \"hi\" \\ now"`)
	f(`a.b:two\ words`, `a.b:two\ words`)
	f(`a.b:ab?d*f`, `a.b:ab?d*f`)
	f(`a.b:\*\?`, `a.b:\*\?`)
	f(`a.b:**`, `a.b:*`)
	f(`*`, `*`)
	f(`\AND`, `\AND`)
	f(`AND:x NOT:y`, `\AND:x AND \NOT:y`)
	f("a\tb\u2003c", `a AND b AND c`)
	f(`attributes.\[x\]:1`, `attributes.\[x\]:1`)
	// windows over telemetry
	f(`telemetry.t.avg(5m)>60`, `telemetry.t.avg(5m):{60 TO *]`)
	f(`telemetry.t.avg( 300s ) : [1 TO 2] x`, `telemetry.t.avg(5m):[1 TO 2] AND x`)
	f(`telemetry.a.b.count(90s):(0 OR >5)`, `telemetry.a.b.count(90s):0 OR telemetry.a.b.count(90s):{5 TO *]`)
	f(`telemetry.a\:b.last(7d):*`, `telemetry.a\:b.last(1w):*`)
	// places
	f(`attributes.pos:geo_distance,48.1,-11.5,10km`, `attributes.pos:geo_distance,48.1,-11.5,10km`)
	f(`attributes.pos:(geo_box,1,2,3,4 OR -geo_polygon,0,0,0,1,1,1)`, `attributes.pos:geo_box,1,2,3,4 OR NOT attributes.pos:geo_polygon,0,0,0,1,1,1`)
	f(`attributes.pos:geo_location geo_a,b`, `attributes.pos:geo_location AND geo_a,b`)
}

// TestTyped: what people type.
func TestTyped(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{Typed: true})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := q.String(); got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f(`site:lamp-1`, `site\:lamp-1`)
	f(`a:b:c x`, `a\:b\:c AND x`)
	f(`10:20:30`, `10\:20\:30`)
	f(`thingName:a attributes.b:c`, `thingName:a AND attributes.b:c`)
}

// TestErrors: every mistake has its position and a sentence.
func TestErrors(t *testing.T) {
	check := func(text string, typed bool, at int, want string) {
		t.Helper()
		_, err := query.Parse(text, query.Options{Typed: typed, MaxTerms: 5})
		var e *query.Error
		if !errors.As(err, &e) {
			t.Fatalf("%q: %v", text, err)
		}
		if e.At != at || e.Message != want {
			t.Fatalf("%q\n got %d %s\nwant %d %s", text, e.At, e.Message, at, want)
		}
	}
	f := func(text string, at int, want string) { t.Helper(); check(text, false, at, want) }
	f(``, 0, `the query is empty; * finds everything`)
	f(`  `, 0, `the query is empty; * finds everything`)
	f(`a (b`, 2, `this ( is not closed`)
	f(`a b)`, 3, `there is a ) too many`)
	f(`a ()`, 3, `a condition is missing before the )`)
	f(`a AND`, 5, `a condition is missing at the end`)
	f(`a OR OR b`, 5, `a condition is missing before OR; write "OR" in quotes to search for the word`)
	f(`AND a`, 0, `a condition is missing before AND; write "AND" in quotes to search for the word`)
	f(`a -`, 3, `a condition is missing at the end`)
	f(`x:`, 1, `a value is missing after x:`)
	f(`a.b<x`, 4, `after < comes a number, such as 75, or a time, such as now-1h`)
	f(`a.b >= "5"`, 7, `after >= comes a number, such as 75, or a time, such as now-1h`)
	f(`a.b<now-1y`, 4, `after < comes a number, such as 75, or a time, such as now-1h`)
	f(`<5`, 0, `'<' cannot stand here; write \< to search for it`)
	f(`"a`, 0, `this quote is not closed`)
	f(`x ""`, 2, `there is nothing in the quotes; * finds what has any value`)
	f(`a.b:[1 TO 2`, 4, `this range is not closed by a ] or }`)
	f(`a.b:[1 2]`, 7, `TO is missing in the range; write [1 TO 3]`)
	f(`a.b:[1 TO "2"]`, 4, `a range is from number to number or from text to text; put both in quotes for texts`)
	f(`a.b:[a* TO b]`, 5, `an end of a range has no wildcards; a * alone is no bound`)
	f(`[1 TO 2]`, 0, `a range needs a field before it, such as attributes.floor:[1 TO 3]`)
	f(`a.b:/(/`, 4, `this is not a regular expression (RE2, at most 256 bytes): missing closing ): (`)
	f(`a.b:/((x{30}){30})(y{900})((y{30}){30})/`, 4, `this is not a regular expression (RE2, at most 256 bytes): the expression is too large once its repetitions are written out`)
	f(`a.b:/x`, 4, `this regular expression is not closed by a /; write \/ to search for a value that begins with one`)
	f(`a.b://`, 4, `there is nothing between the slashes`)
	f(`å \`, 2, `there is nothing behind the \; write \\ to search for it`)
	f("a\x00b", 1, `there is a control character; take it out`)
	f("a\xffb", 0, `the query is not valid UTF-8`)
	f(`*:x`, 0, `the name of a field has no wildcards`)
	f(`a b c d e f`, 10, `a query has at most 5 terms; make it shorter`)
	f(`telemetry.t.avg(5m)`, 0, `after telemetry.t.avg(5m) comes a comparison, such as >60, or :*`)
	f(`a telemetry.t.average(5m)>1`, 2, `a window is one of avg, min, max, sum, count, rate and last: telemetry.temp_c.avg(5m)`)
	f(`telemetry.t(5m)>1`, 0, `a window is one of avg, min, max, sum, count, rate and last: telemetry.temp_c.avg(5m)`)
	f(`telemetry.t.avg(5)>1`, 0, `"5" is no length of a window, which is 1s to 31d: telemetry.temp_c.avg(5m), units s m h d w`)
	f(`telemetry.t.avg()>1`, 0, `"" is no length of a window, which is 1s to 31d: telemetry.temp_c.avg(5m), units s m h d w`)
	f(`telemetry.t.avg(32d)>1`, 0, `"32d" is no length of a window, which is 1s to 31d: telemetry.temp_c.avg(5m), units s m h d w`)
	f(`telemetry.t.avg(5m>1`, 15, `this ( is not closed`)
	f(`attributes.p:geo_distance,1,2`, 0, `a distance has a place and a length; write geo_distance,<lat>,<lon>,<distance>, such as geo_distance,48.1,11.5,10km`)
	f(`telemetry.t:abc`, 0, `telemetry.t is compared with a number: telemetry.t>60, :60, :true, :[1 TO 3] or :*`)
	f(strings.Repeat("(", 70)+"a", 65, `the query is nested deeper than 64 levels; make it flatter`)
	f(strings.Repeat("-", 70)+"a", 65, `the query is nested deeper than 64 levels; make it flatter`)
	f(strings.Repeat("x", 17_000), 0, `a query has at most 16384 bytes, this one has 17000; make it shorter`)

	typed := func(text string, at int, want string) { t.Helper(); check(text, true, at, want) }
	typed(`x thingname:a`, 2, `there is no field thingname; the case of a field matters: thingName`)
	typed(`Attributes.city:a`, 0, `there is no field Attributes.city; the case of a field matters: attributes.city`)
	typed(`temp>5`, 0, `there is no field temp; write \> to search for the >`)
}

// awsFleet are things for the queries of AWS's documentation.
func awsFleet() *index.Index {
	names := map[uint32]string{}
	x := index.New("thingName", func(id uint32) string { return names[id] })
	add := func(pairs ...string) {
		id := uint32(len(names) + 1)
		names[id] = pairs[0]
		x.AddThing(id)
		x.Add(id, "thingName", pairs[0])
		for i := 1; i < len(pairs); i += 2 {
			switch pairs[i] {
			case "connectivity.timestamp":
				var ms int64
				fmt.Sscan(pairs[i+1], &ms)
				x.Column(pairs[i]).Set(id, ms)
			default:
				x.Add(id, pairs[i], pairs[i+1])
			}
		}
	}
	add("abc", "thingTypeName", "aa", "thingGroupNames", "a")
	add("myThingName", "attributes.myAttribute", "75", "thingGroupNames", "abba")
	add("my2", "attributes.myAttribute", "77.5", "attributes.attr1", "abc", "attributes.attr2", "4", "connectivity.connected", "true", "connectivity.timestamp", "1557651600001")
	add("aba", "attributes.myAttribute", "80", "attributes.attr1", "abc", "attributes.attr2", "4", "attributes.attr3", "11")
	add("s1", "attributes.serialNumber", "abcd", "attributes.model", "legacy", "connectivity.connected", "false", "connectivity.timestamp", "1557651600000", "connectivity.disconnectReason", "CLIENT_INITIATED_DISCONNECT")
	add("s2", "attributes.serialNumber", "abce", "attributes.model", "v2")
	add("s3", "attributes.serialNumber", "abcf", "attributes.myAttribute", "ixt", "connectivity.connected", "true", "connectivity.timestamp", "1657867600000")
	add("s4", "attributes.serialNumber", "abcg", "attributes.myAttribute", "it")
	add("tv-oled", "thingTypeName", "tv", "attributes.model", "v3")
	add("tv-2", "thingTypeName", "plasma")
	return x
}

// TestAWSExamples are the example queries of AWS's developer guide (Example thing queries, Query syntax) over a small fleet.
func TestAWSExamples(t *testing.T) {
	x := awsFleet()
	f := func(text, want string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{})
		if err != nil {
			t.Fatal(text, err)
		}
		p, err := q.Plan(ctx, nowMs, nil)
		if err != nil {
			t.Fatal(text, err)
		}
		set, err := p.Run(ctx, x, nil)
		if err != nil {
			t.Fatal(text, err)
		}
		names := []string{"", "abc", "myThingName", "my2", "aba", "s1", "s2", "s3", "s4", "tv-oled", "tv-2"}
		var got []string
		for id := range set.EachSet() {
			got = append(got, names[id])
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("%s\n got %s\nwant %s", text, strings.Join(got, " "), want)
		}
	}
	f(`abc`, "abc my2 aba")
	f(`thingName:myThingName`, "myThingName")
	f(`thingName:MYTHINGNAME`, "myThingName")
	f(`thingname:myThingName`, "")
	f(`thingName:my*`, "myThingName my2")
	f(`thingName:*my`, "")
	f(`thingName:*my*`, "myThingName my2")
	f(`thingName:ab?`, "abc aba")
	f(`thingTypeName:aa`, "abc")
	f(`thingGroupNames:a`, "abc")
	f(`thingGroupNames:a*`, "abc myThingName")
	f(`attributes.myAttribute:75`, "myThingName")
	f(`attributes.myAttribute:[75 TO 80]`, "myThingName my2 aba")
	f(`attributes.myAttribute:{75 TO 80]`, "my2 aba")
	f(`attributes.serialNumber:["abcd" TO "abcf"]`, "s1 s2 s3")
	f(`attributes.myAttribute:i*t`, "s3 s4")
	f(`attributes.attr1:abc AND attributes.attr2<5 NOT attributes.attr3>10`, "my2")
	f(`shadow.hasDelta:true`, "")
	f(`NOT attributes.model:legacy`, "abc myThingName my2 aba s2 s3 s4 tv-oled tv-2")
	f(`shadow.reported.stats.battery:{70 TO 100} (v2 OR v3) NOT attributes.model:legacy`, "")
	f(`(v2 OR v3) NOT attributes.model:legacy`, "s2 tv-oled")
	f(`shadow.reported.myvalues:2`, "")
	f(`shadow.reported.location:* NOT shadow.desired.stats.battery:*`, "")
	f(`connectivity.connected:true`, "my2 s3")
	f(`connectivity.connected:false`, "s1")
	f(`connectivity.connected:true AND connectivity.timestamp : [1557651600000 TO 1557867600000]`, "my2")
	f(`connectivity.connected:false AND connectivity.timestamp : [1557651600000 TO 1557867600000]`, "s1")
	f(`connectivity.connected:true AND connectivity.timestamp > 1557651600000`, "my2 s3")
	f(`connectivity.connected:*`, "my2 s1 s3")
	f(`connectivity.disconnectReason:*`, "s1")
	f(`connectivity.disconnectReason:CLIENT_INITIATED_DISCONNECT`, "s1")
	f(`deviceDefender.violationCount:[0 TO 100]`, "")
	f(`thingName:(tv* AND -plasma)`, "tv-oled tv-2")
	f(`tv AND -plasma`, "tv-oled")
	f(`thingName:abc thingType:xyz`, "")
	f(`*`, "abc myThingName my2 aba s1 s2 s3 s4 tv-oled tv-2")
	// ours
	f(`attributes.serialNumber:/^ABC[e-g]$/`, "s2 s3 s4")
	f(`registry.thingTypeName:tv`, "tv-oled")
	f(`connectivity.timestamp<now-1h connectivity.timestamp>=now-1000w`, "my2 s1 s3")
}

func TestExplain(t *testing.T) {
	q, err := query.Parse(`attributes.serialNumber:abc* (v2 OR NOT thingName:s?) attributes.myAttribute>1`, query.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Plan(ctx, nowMs, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Explain(ctx, awsFleet())
	want := `AND: 0 things
  attributes.serialNumber:abc*: 4 things, 4 values in 1 fields looked at
  OR: 7 things
    v2: 1 things, 1 values in 9 fields looked at
    NOT: 6 things
      thingName:s?: 4 things, 4 values in 1 fields looked at
  attributes.myAttribute:{1 TO *]: 3 things, 3 values in 1 fields looked at
`
	if err != nil || got != want {
		t.Fatalf("%v\n got %s\nwant %s", err, got, want)
	}
}

func TestTelemetryIsRefusedWithout(t *testing.T) {
	q, err := query.Parse(`a OR telemetry.x>5`, query.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Plan(ctx, nowMs, nil); err == nil || err.Error() != "this gateway has no telemetry to search in (at position 5)" {
		t.Fatal(err)
	}
}

// FuzzParse: no text makes the parser or the evaluation panic, and what was understood is printed so that the same is
// understood and found again.
func FuzzParse(f *testing.F) {
	x := awsFleet()
	found := func(t *testing.T, q *query.Query) string {
		p, err := q.Plan(ctx, nowMs, &fleet{})
		if err != nil {
			t.Fatal(err)
		}
		set, err := p.Run(ctx, x, nil)
		if err != nil {
			t.Fatal(err)
		}
		explained, err := p.Explain(ctx, x)
		if err != nil || !strings.Contains(explained, fmt.Sprintf(": %d things", set.Count())) {
			t.Fatalf("%d things are found, explained as %s: %v", set.Count(), explained, err)
		}
		return set.String()
	}
	for _, text := range []string{`a b OR c`, `thingName:(tv* AND -plasma)`, `x:{1 TO "y"]`, `a.b<now-1h`, `x:/a\/b/`, `\AND "a\"b" NOT -c`, "é\u2003*:", `a:[* TO *]`} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, typed bool) {
		opts := query.Options{Typed: typed}
		q, err := query.Parse(text, opts)
		if err != nil {
			var e *query.Error
			if !errors.As(err, &e) || e.At < 0 || e.At > len([]rune(text)) || e.Message == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		printed := q.String()
		again, err := query.Parse(printed, opts)
		if err != nil {
			if len(printed) > 16<<10 { // escapes made it longer than a query may be
				return
			}
			t.Fatalf("%q was printed as %q: %v", text, printed, err)
		}
		if a, b := found(t, q), found(t, again); a != b {
			t.Fatalf("%q finds %s, printed as %q it finds %s", text, a, printed, b)
		}
		if !reflect.DeepEqual(plain(q.Root()), plain(again.Root())) {
			t.Fatalf("%q was printed as %q, which is another query", text, printed)
		}
	})
}

// plain is a tree without the positions.
func plain(n query.Node) query.Node {
	all := func(list []query.Node) []query.Node {
		var out []query.Node
		for _, n := range list {
			out = append(out, plain(n))
		}
		return out
	}
	switch n := n.(type) {
	case query.And:
		return query.And(all(n))
	case query.Or:
		return query.Or(all(n))
	case query.Not:
		return query.Not{Node: plain(n.Node)}
	}
	t := *n.(*query.Term)
	t.At = 0
	return &t
}
