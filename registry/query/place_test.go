package query_test

import (
	"fmt"
	"strings"
	"testing"

	"muster/registry/query"
)

// TestPlaceAt: what is being written where the | stands.
func TestPlaceAt(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		at := len([]rune(text[:strings.Index(text, "|")]))
		text = strings.Replace(text, "|", "", 1)
		p := query.PlaceAt(text, at)
		got := fmt.Sprintf("%s:%s %s", p.Field, p.Prefix, string([]rune(text)[p.From:p.To]))
		if p.AfterTerm {
			got += " after"
		}
		if p.Number {
			got += " number"
		}
		if got != want {
			t.Fatalf("%s at %d\n got %q\nwant %q", text, at, got, want)
		}
	}
	f(`|`, ": ")
	f(`thi|ng`, ":thi thing")
	f(`lamp |`, ":  after")
	f(`lamp AND att|`, ":att att")
	f(`lamp A|`, ":A A after")
	f(`NOT attributes.c|`, ":attributes.c attributes.c")
	f(`-attributes.c|`, ":attributes.c attributes.c")
	f(`attributes.city:os|lo x`, "attributes.city:os oslo")
	f(`attributes.city:|`, "attributes.city: ")
	f(`attributes.city:"two w|ords" x`, `attributes.city:two w "two words"`)
	f(`attributes.city:"two words" |`, ":  after")
	f(`attributes.city:(oslo OR u|)`, "attributes.city:u u")
	f(`(attributes.city:oslo) an|`, ":an an after")
	f(`attributes.a\:b:x|`, `attributes.a:b:x x`)
	f(`telemetry.t>6|`, "telemetry.t:6 6 number")
	f(`telemetry.t >= |`, "telemetry.t:  number")
	f(`telemetry.t.avg(5m)>6|`, "telemetry.t.avg(5m):6 6 number")
	f(`telemetry.t.avg(5|`, ":telemetry.t.avg(5 telemetry.t.avg(5")
	f(`a.b:[1 TO 2] gro|`, ":gro gro after")
	f(`)))a|`, ":a a after")
}

func TestQuote(t *testing.T) {
	for _, value := range []string{"a", "two words", `say "hi"`, "a:b", "-x", "/x/", "AND", "a*b", `\`} {
		q, err := query.Parse("attributes.v:"+query.Quote(value), query.Options{})
		if err != nil {
			t.Fatal(value, err)
		}
		if ok, _ := q.Matcher().Matches(texts{"attributes.v": value}, 0); !ok {
			t.Fatalf("%s does not find %s", q, value)
		}
	}
}
