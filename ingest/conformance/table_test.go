package conformance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/mqtt-conformance.md")

const tablePage = "../../docs/mqtt-conformance.md"

// elsewhere are statements that a test of another kind holds: where, and its name.
var elsewhere = map[string][2]string{
	"v3 4.8.0-2": {"end_test.go", "TestTransientError"},
	"v3 6.0.0-1": {"../clients/websocket_test.go", "TestWebSocketFrames"},
	"v3 6.0.0-2": {"../clients/websocket_test.go", "TestWebSocketFrames"},
	"v3 6.0.0-4": {"../clients/websocket_test.go", "TestWebSocketFrames"},
	"v5 6.0.0-1": {"../clients/websocket_test.go", "TestWebSocketFrames"},
	"v5 6.0.0-2": {"../clients/websocket_test.go", "TestWebSocketFrames"},
	"v5 6.0.0-4": {"../clients/websocket_test.go", "TestWebSocketFrames"},
}

// statement is a line of statements311 or statements5.
type statement struct{ number, duty, text string }

func statements(t *testing.T, list string) (all []statement) {
	for line := range strings.Lines(strings.TrimSpace(list)) {
		number, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		duty, text, ok2 := strings.Cut(rest, " ")
		if !ok || !ok2 || duty != "S" && duty != "C" && duty != "n/a:" {
			t.Fatalf("line %q", line)
		}
		all = append(all, statement{number, duty, text})
	}
	return all
}

// TestEveryStatementHasATest compares the lists of statements with the cases, and the page in docs with both: -update writes it.
func TestEveryStatementHasATest(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# What MQTT asks of a server, and the tests that hold muster to it

Every normative statement of MQTT 3.1.1 and 5.0, in our words, by the numbers of the standards' appendices B. A test has the numbers in its name:
` + "`go test ./ingest/conformance -run 'TestConformance/.*/v5/.*MQTT-3.1.2-22'`" + `. It runs over plain TCP and TLS, with crypto/tls and with muster's own
records, with connections parked in a loop and with goroutines, and with telemetry on its short way to the store, on the broker's, and with other
messages. ` + "`go test ./ingest/conformance -run TestEveryStatement -update`" + ` writes this page; the same test fails where it is out of date.
`)
	for _, version := range []struct{ short, title, list string }{{"v3", "MQTT 3.1.1", statements311}, {"v5", "MQTT 5.0", statements5}} {
		tested := map[string]int{}
		for _, c := range cases() {
			numbers := c.v5
			if version.short == "v3" {
				numbers = c.v3
			}
			for n := range strings.FieldsSeq(numbers) {
				tested[n]++
			}
		}
		all := statements(t, version.list)
		own, held := 0, 0
		var rows strings.Builder
		for _, s := range all {
			where, another := elsewhere[version.short+" "+s.number]
			test := ""
			switch {
			case s.duty == "C" && tested[s.number] == 0:
				test = "the client's duty"
			case s.duty == "n/a:":
				test = "not applicable: " + s.text
				s.text = ""
			case another:
				test = checkTest(t, where[0], where[1])
			case tested[s.number] == 0:
				t.Errorf("%s [MQTT-%s] has no test: %s", version.short, s.number, s.text)
			case tested[s.number] == 1:
				test = "1 case"
			default:
				test = fmt.Sprint(tested[s.number], " cases")
			}
			if s.duty == "S" {
				own++
			}
			if s.duty == "S" && test != "" {
				held++
			}
			fmt.Fprintf(&rows, "| MQTT-%s | %s | %s |\n", s.number, s.text, test)
			delete(tested, s.number)
		}
		for n := range tested {
			t.Errorf("%s [MQTT-%s] has a test and is no statement", version.short, n)
		}
		if !slices.IsSortedFunc(all, byNumber) {
			t.Errorf("the statements of %s are not in order", version.short)
		}
		fmt.Fprintf(&page, "\n## %s\n\n%d statements, of which %d are a server's duty here; %d of these have tests.\n\n| statement | asks for | test |\n| --- | --- | --- |\n%s", version.title, len(all), own, held, rows.String())
	}
	if *update {
		if err := os.WriteFile(tablePage, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(tablePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page.String() {
		t.Error("docs/mqtt-conformance.md is not what the lists and the cases give: run this test with -update and commit it")
	}
}

// checkTest says where a test is, after a look whether it is there.
func checkTest(t *testing.T, file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "func "+name+"(t *testing.T)") {
		t.Errorf("%s has no %s (%v)", file, name, err)
	}
	return name
}

// byNumber orders 3.9.3-2 before 3.10.1-1.
func byNumber(a, b statement) int {
	numbers := func(s string) (all []int) {
		for field := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '.' || r == '-' }) {
			n := 0
			for _, digit := range field {
				n = 10*n + int(digit-'0')
			}
			all = append(all, n)
		}
		return all
	}
	return slices.Compare(numbers(a.number), numbers(b.number))
}
