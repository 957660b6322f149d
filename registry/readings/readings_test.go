package readings

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var d Document
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if got := d.Check(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\n got %q\nwant %q in it", text, got, want)
		}
	}
	f(`{}`, "")
	f(`{"unknown":"drop","columns":{"t":{"rename":"temperature_c","unit":"°C","scale":0.1,"offset":-40,"description":"inside"},"x":{"drop":true},"y":{}}}`, "")
	f(`{"unknown":"ignore"}`, `unknown is "ignore": it must be keep or drop`)
	f(`{"columns":{"":{}}}`, "must have 1 to 128 characters")
	f(`{"columns":{"a b":{}}}`, `column "a b": the name must be written as PromQL shows it`)
	f(`{"columns":{"1a":{}}}`, "no digit first")
	f(`{"columns":{"a":{"rename":"b-c"}}}`, `column "a": rename must be written as PromQL shows it`)
	f(`{"columns":{"a":{"drop":true,"unit":"m"}}}`, "it is dropped")
	f(`{"columns":{"a":{"drop":true,"description":"noise"}}}`, "")
	f(`{"columns":{"a":{"unit":"`+strings.Repeat("m", 65)+`"}}}`, "unit must be text")
	f(`{"columns":{"a":{"unit":"a\nb"}}}`, "unit must be text")
	f(`{"columns":{"a":{"description":"`+strings.Repeat("é", 257)+`"}}}`, "description must be text")
	f(`{"columns":{"a":{"rename":"c","unit":"m"},"b":{"rename":"c","unit":"km"}}}`, `two columns become "c", with the units "m" and "km"`)
	f(`{"columns":{"a":{"rename":"c","unit":"m"},"c":{"unit":"m"}}}`, "")
	many := map[string]Column{}
	for i := range MaxColumns + 1 {
		many[fmt.Sprintf("c%d", i)] = Column{}
	}
	if d := (Document{Columns: many}); !strings.Contains(d.Check(), "at most 256") {
		t.Error("too many columns were taken")
	}
}
