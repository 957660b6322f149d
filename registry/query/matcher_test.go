package query_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"muster/registry/index"
	"muster/registry/query"
)

// texts is a document of plain values, and of telemetry by column as it is written.
type texts map[string]string

func (d texts) Values(field string) []index.Value {
	if d[field] == "" {
		return nil
	}
	return []index.Value{index.NewValue(d[field])}
}

func (d texts) EachBare(f func(string, []index.Value) bool) bool {
	for field := range d {
		if !strings.Contains(field, ".") && f(field, d.Values(field)) {
			return true
		}
	}
	return false
}

func (d texts) Number(c query.Column) (float64, bool) {
	n, err := strconv.ParseFloat(d["telemetry."+c.String()], 64)
	return n, err == nil
}

// TestUntil: answers change with time alone at the time that Matches says, and not before.
func TestUntil(t *testing.T) {
	f := func(text string, d texts, want ...string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := q.Matcher()
		var got []string
		at := int64(1000)
		for range 10 {
			ok, until := m.Matches(d, at)
			got = append(got, fmt.Sprintf("%d:%v", at, ok))
			// Every answer between is the same: try the times around.
			for _, ms := range []int64{at + 1, (at + until) / 2, until - 1} {
				if until != query.Never && ms > at && ms < until {
					if again, _ := m.Matches(d, ms); again != ok {
						t.Fatalf("%s: %v at %d, valid until %d, but %v at %d", text, ok, at, until, again, ms)
					}
				}
			}
			if until == query.Never {
				break
			}
			at = until
		}
		got = slices.CompactFunc(got, func(a, b string) bool { return a[strings.Index(a, ":"):] == b[strings.Index(b, ":"):] })
		if !slices.Equal(got, want) {
			t.Fatalf("%s\n got %v\nwant %v", text, got, want)
		}
	}
	f(`a.t<now-1h`, texts{"a.t": "5000"}, "1000:false", "3605001:true")
	f(`a.t<=now-1h`, texts{"a.t": "5000"}, "1000:false", "3605000:true")
	f(`a.t>now-1s`, texts{"a.t": "5000"}, "1000:true", "6000:false")
	f(`a.t>=now-1s`, texts{"a.t": "5000.5"}, "1000:true", "6001:false")
	f(`a.t<now+1s`, texts{"a.t": "5000"}, "1000:false", "4001:true")
	f(`a.t:[now-2s TO now-1s]`, texts{"a.t": "5000"}, "1000:false", "6000:true", "7001:false")
	f(`NOT a.t:[now-2s TO now-1s]`, texts{"a.t": "5000"}, "1000:true", "6000:false", "7001:true")
	f(`a.t<now AND a.u>now`, texts{"a.t": "2000", "a.u": "3000"}, "1000:false", "2001:true", "3000:false")
	f(`a.t<now`, texts{"a.t": "soon"}, "1000:false")
	f(`a.t<now`, texts{}, "1000:false")
	f(`a.t<now`, texts{"a.t": "1e300"}, "1000:false")
	f(`telemetry.until>now+1s`, texts{"telemetry.until": "5000"}, "1000:true", "4000:false")
	f(`telemetry.until.max(5m)>now`, texts{"telemetry.until.max(5m)": "5000"}, "1000:true", "5000:false")
	f(`a.t:5000 OR a.t<now`, texts{"a.t": "5000"}, "1000:true")
}

// TestNeeds: what has to change for an answer to change.
func TestNeeds(t *testing.T) {
	f := func(text string, typed bool, want string) {
		t.Helper()
		q, err := query.Parse(text, query.Options{Typed: typed})
		if err != nil {
			t.Fatal(err)
		}
		n := q.Matcher().Needs()
		got := strings.Join(n.Fields, " ")
		if n.Bare {
			got += " bare"
		}
		for _, c := range n.Columns {
			got += fmt.Sprintf(" %s%v", c.Column, c.Bounds)
			if c.Any {
				got += "any"
			}
		}
		for _, name := range []string{"north", "south", "lamp"} {
			v := index.NewValue(name)
			if slices.ContainsFunc(n.Groups, func(m *index.Match) bool { return m.Matches(&v) }) {
				got += " in:" + name
			}
		}
		if got = strings.TrimSpace(got); got != want {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	f(`*`, false, "")
	f(`lamp`, false, "bare in:lamp")
	f(`lamp`, true, "bare in:lamp")
	f(`la`, true, "bare in:lamp")
	f(`thingName:a registry.thingTypeName:b OR thingName:c`, false, "thingName thingTypeName")
	f(`group:north AND NOT group:s*`, false, "group in:north in:south")
	f(`thingGroupNames:north`, false, "thingGroupNames in:north")
	f(`telemetry.a>60 telemetry.a.avg(5m):[1 TO 2} telemetry.b:* telemetry.c>now-1h telemetry.on:true`, false,
		"a[60] a.avg(5m)[1 2] b[] c[]any on[1]")
}
