package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"muster/agent/wire"
)

func mustParse(t testing.TB, document string) *Policy {
	t.Helper()
	p, err := Parse([]byte(document))
	if err != nil {
		t.Fatalf("Parse(%s): %v", document, err)
	}
	return p
}

// statementDoc is a document with the statements given as JSON.
func statementDoc(statements ...string) string {
	return `{"Version": "2012-10-17", "Statement": [` + strings.Join(statements, ",") + `]}`
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Effect": "Allow", "Action": %q, "Resource": %q}`, action, resource)
}

func deny(action, resource string) string {
	return fmt.Sprintf(`{"Effect": "Deny", "Action": %q, "Resource": %q}`, action, resource)
}

var lamp = Vars{ClientID: "lamp-1", ThingName: "lamp-1", ThingTypeName: "street-light",
	Attributes: map[string]string{"city": "oslo", "path": "a/b", "evil": "#", "star": "*"}}

// ask answers questions of the form "publish dt/lamp-1" with a letter each: y or n.
func ask(r *Rights, questions ...string) string {
	var answers strings.Builder
	for _, q := range questions {
		verb, name, _ := strings.Cut(q, " ")
		f := map[string]func(string) bool{"connect": r.Connect, "publish": r.Publish, "retain": r.Retain,
			"subscribe": r.Subscribe, "receive": r.Receive}[verb]
		if f(name) {
			answers.WriteByte('y')
		} else {
			answers.WriteByte('n')
		}
	}
	return answers.String()
}

func TestDefaultDocument(t *testing.T) {
	r := Compile([]*Policy{mustParse(t, DefaultDocument)}, lamp)
	f := func(question string, want bool) {
		t.Helper()
		if got := ask(r, question) == "y"; got != want {
			t.Errorf("%s: %v, want %v", question, got, want)
		}
	}
	f("connect lamp-1", true)
	f("connect lamp-2", false)
	f("connect ", false)
	for _, verb := range []string{"publish ", "retain ", "receive ", "subscribe "} {
		f(verb+"dt/lamp-1", true)
		f(verb+"dt/lamp-1/street/3", true)
		f(verb+"$aws/things/lamp-1/shadow/update", true)
		f(verb+"$aws/things/lamp-1", false)
		f(verb+"dt/lamp-10", false)
		f(verb+"dt/lamp-2", false)
		f(verb+"dt/lamp-2/x", false)
		f(verb+"dt", false)
		f(verb+"x/dt/lamp-1", false)
		f(verb+"$aws/things/lamp-2/shadow/update", false)
		f(verb+"$aws/events/presence/connected/lamp-1", false)
		f(verb+"$SYS/broker/uptime", false)
		f(verb+"", false)
	}
	f("subscribe dt/lamp-1/#", true)
	f("subscribe dt/lamp-1/+/temp", true)
	f("subscribe $share/g/dt/lamp-1/#", true)
	f("subscribe $SHARE/g/dt/lamp-1/#", true)
	// The filter's text is what must match: a wildcard that would take in other things does not.
	f("subscribe #", false)
	f("subscribe dt/#", false)
	f("subscribe dt/+", false)
	f("subscribe dt/+/x", false)
	f("subscribe +/lamp-1", false)
	f("subscribe +/lamp-1/#", false)
	f("subscribe $aws/#", false)
	f("subscribe $share/g/#", false)
	f("subscribe $share/g/dt/lamp-2/#", false)
	f("subscribe $share/dt/lamp-1", false) // the group is dt, the filter lamp-1
	f("subscribe $share/+/dt/lamp-1", false)
	f("subscribe $share//dt/lamp-1", false)
	f("subscribe $share/g/", false)
	f("subscribe $share/g", false)

	if chars := len(strings.Join(strings.Fields(DefaultDocument), "")); chars > DefaultMaxChars {
		t.Errorf("DefaultDocument has %d characters", chars)
	}
}

func TestEvaluation(t *testing.T) {
	questions := []string{"connect lamp-1", "publish a/b", "retain a/b", "subscribe a/b", "receive a/b"}
	f := func(want string, documents ...string) {
		t.Helper()
		var policies []*Policy
		for _, d := range documents {
			policies = append(policies, mustParse(t, d))
		}
		if got := ask(Compile(policies, lamp), questions...); got != want {
			t.Errorf("%s: %s, want %s", documents, got, want)
		}
	}
	f("nnnnn") // nothing is allowed without a policy
	f("yyyyy", statementDoc(allow("*", "*")))
	f("yyyyy", statementDoc(allow("iot:*", "arn:aws:iot:eu-north-1:123456789012:*")))
	f("yyyyy", `{"Version": "2012-10-17", "Id": "x", "Statement": {"Sid": "all", "Effect": "Allow", "Action": ["iot:*"], "Resource": ["*"]}}`)
	// a retained message needs both actions
	f("nynnn", statementDoc(allow("iot:Publish", "*")))
	f("nnnnn", statementDoc(allow("iot:RetainPublish", "*")))
	f("nyynn", statementDoc(allow("iot:*Publish", "*")))
	// a resource of another class gives nothing
	f("nnnyn", statementDoc(allow("*", "arn:aws:iot:*:*:topicfilter/a/b")))
	f("nyyny", statementDoc(allow("*", "arn:aws:iot:*:*:topic/a/b")))
	f("ynnnn", statementDoc(allow("*", "arn:aws:iot:*:*:client/*")))
	// an explicit deny wins, before or after, in this document or another
	f("ynnyy", statementDoc(deny("iot:Publish", "arn:aws:iot:*:*:topic/a/*"), allow("*", "*")))
	f("ynnyy", statementDoc(allow("*", "*"), deny("iot:Publish", "arn:aws:iot:*:*:topic/a/*")))
	f("yynyy", statementDoc(allow("*", "*")), statementDoc(deny("iot:RetainPublish", "*")))
	f("nnnnn", statementDoc(deny("*", "*")), statementDoc(allow("*", "*")))
	f("yyyyy", statementDoc(allow("*", "*"), deny("*", "arn:aws:iot:*:*:topic/a")))
	// whether the connection has a thing
	attached := func(value string) string {
		return statementDoc(`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": ` + value + `}}}`)
	}
	f("yyyyy", attached(`"true"`))
	f("yyyyy", attached(`["true"]`))
	f("yyyyy", attached(`true`))
	f("nnnnn", attached(`"false"`))
	f("nnnnn", attached(`[false]`))
	if r := Compile([]*Policy{mustParse(t, attached("true"))}, Vars{ClientID: "x"}); r.Publish("a") {
		t.Error("a connection without a thing counts as one with")
	}
}

func TestPatterns(t *testing.T) {
	f := func(pattern, topic string, want bool) {
		t.Helper()
		r := Compile([]*Policy{mustParse(t, statementDoc(allow("iot:Publish", "arn:aws:iot:*:*:topic/"+pattern)))}, lamp)
		if got := r.Publish(topic); got != want {
			t.Errorf("%q allows %q: %v, want %v", pattern, topic, got, want)
		}
	}
	f("a", "a", true)
	f("a", "ab", false)
	f("a*", "a", true)
	f("a*", "a/b/c", true)
	f("*a", "cba", true)
	f("*a*b", "xaybzb", true)
	f("*a*b", "xaybz", false)
	f("a?c", "abc", true)
	f("a?c", "ac", false)
	f("a?c", "aéc", true) // a character, not a byte
	f("a??c", "aéc", false)
	f("*??", "é", false)
	f("**?", "é", true)
	f("a/+/c", "a/b/c", false) // + and # mean nothing
	f("a/#", "a/b", false)
	f("a/+/c", "a/+/c", true)
	// variables
	f("${iot:ClientId}/x", "lamp-1/x", true)
	f("${iot:Connection.Thing.ThingTypeName}/*/${iot:Connection.Thing.ThingName}", "street-light/7/lamp-1", true)
	f("c/${iot:Connection.Thing.Attributes[city]}", "c/oslo", true)
	f("c/${iot:Connection.Thing.Attributes[path]}", "c/a/b", true)
	f("c/${iot:Connection.Thing.Attributes[none]}", "c/", false)
	f("c/${iot:Connection.Thing.Attributes[evil]}", "c/#", false)
	f("c/${iot:Connection.Thing.Attributes[star]}", "c/anything", false)
	f("c/${iot:Connection.Thing.Attributes[star]}", "c/*", false)
	f("c/${*}${?}${$}", "c/*?$", true)
	f("c/${*}", "c/x", false)
	f("$aws/things/x", "$aws/things/x", true)
	f("c/$", "c/$", true)
	f("c/$${iot:ClientId}", "c/$lamp-1", true)
}

func TestValuesNeverWiden(t *testing.T) {
	doc := mustParse(t, statementDoc(
		allow("*", "arn:aws:iot:*:*:client/${iot:ClientId}"),
		allow("*", "arn:aws:iot:*:*:topic/dt/${iot:ClientId}/*"),
		allow("*", "arn:aws:iot:*:*:topicfilter/dt/${iot:ClientId}/*")))
	for _, evil := range []string{"", "*", "?", "+", "#", "a/b", "a/#", "+/#", "$share", "${iot:ClientId}", "l*", "\x00", "\xff"} {
		r := Compile([]*Policy{doc}, Vars{ClientID: evil, ThingName: evil})
		names := []string{evil, "victim", "lamp"}
		for _, n := range names {
			for _, q := range []string{"connect " + n, "publish dt/" + n + "/x", "receive dt/" + n + "/x", "subscribe dt/" + n + "/x", "subscribe dt/" + n + "/#"} {
				if ask(r, q) == "y" {
					t.Errorf("client id %q: %q is allowed", evil, q)
				}
			}
		}
	}
	// In a deny the text holds, whatever it is: it can but forbid more.
	denied := mustParse(t, statementDoc(allow("*", "*"), deny("iot:Subscribe", "arn:aws:iot:*:*:topicfilter/c/${iot:Connection.Thing.Attributes[evil]}")))
	if got := ask(Compile([]*Policy{denied}, lamp), "subscribe c/#", "subscribe c/x"); got != "ny" {
		t.Errorf("deny with the value #: %s, want ny", got)
	}
}

func TestParseErrors(t *testing.T) {
	f := func(document, want string) {
		t.Helper()
		_, err := Parse([]byte(document))
		if err == nil || err.Error() != "policy: "+want {
			t.Errorf("Parse(%s)\n got %v\nwant policy: %s", document, err, want)
		}
	}
	good := allow("iot:Publish", "*")
	f(``, `the JSON ends too early`)
	f(`{"Version"`, `the JSON ends too early`)
	f(`{"Version": [`, `the JSON ends too early`)
	f(`{"Version" x`, `it is not JSON, at byte 11: invalid character 'x' after object key`)
	f(`[]`, `it is a list; it must be a JSON object with Version and Statement`)
	f(`{} {}`, `there is something behind its end, at byte 4`)
	f("\xff", `it is not UTF-8`)
	f(`{"Statement": []}`, `Version: it is ""; it must be "2012-10-17"`)
	f(`{"Version": "2008-10-17", "Statement": [`+good+`]}`, `Version: it is "2008-10-17"; it must be "2012-10-17"`)
	f(`{"Version": "2012-10-17"}`, `Statement: there is none; it must be a statement or a list of them`)
	f(`{"Version": "2012-10-17", "Statement": []}`, `Statement: there is none; it must be a statement or a list of them`)
	f(`{"Version": "2012-10-17", "Statement": 3}`, `statement 1: it is a number, boolean or null; it must be an object with Effect, Action and Resource`)
	f(`{"Version": "2012-10-17", "Version": "2012-10-17"}`, `field "Version" is there twice`)
	f(`{"version": "2012-10-17"}`, `field "version" is not known; allowed are Version, Id, Statement`)
	f(`{"Version": "2012-10-17", "Id": 1}`, `Id: it is a number, boolean or null; it must be a string`)
	f(statementDoc(good, `{"Effect": "Allow", "Effect": "Deny"}`), `field "Effect" is there twice`)
	f(statementDoc(good, `{"Action": "*", "Resource": "*"}`), `statement 2: Effect: it is missing`)
	f(statementDoc(`{"Effect": "Allow", "Resource": "*"}`), `statement 1: Action: it is missing`)
	f(statementDoc(`{"Effect": "Allow", "Action": "*"}`), `statement 1: Resource: it is missing`)
	f(statementDoc(`{"Effect": "allow"}`), `statement 1: Effect: it is "allow"; it must be "Allow" or "Deny"`)
	f(statementDoc(`{"Effect": ["Allow"]}`), `statement 1: Effect: it is a list; it must be "Allow" or "Deny"`)
	f(statementDoc(`{"Action": []}`), `statement 1: Action: it is a list; it must be a string or a list of strings, not empty`)
	f(statementDoc(`{"Action": ["*", 1]}`), `statement 1: Action: it has a number, boolean or null in its list; it must be a string or a list of strings`)
	f(statementDoc(allow("iot:Fly", "*")), `statement 1: Action: "iot:Fly" is not known; allowed are iot:Connect, iot:Publish, iot:RetainPublish, iot:Subscribe, iot:Receive, iot:* and *`)
	f(statementDoc(allow("*", "x")), `statement 1: Resource: "x" is not an ARN of AWS IoT; it must be * or arn:aws:iot:<region>:<account>:<class>/<name>`)
	f(statementDoc(allow("*", "arn:aws:s3:::b")), `statement 1: Resource: "arn:aws:s3:::b" is not an ARN of AWS IoT; it must be * or arn:aws:iot:<region>:<account>:<class>/<name>`)
	f(statementDoc(allow("*", "arn:aws:iot:*:*:things/x")), `statement 1: Resource: "arn:aws:iot:*:*:things/x": after the account it must be client/<id>, topic/<topic>, topicfilter/<filter> or *`)
	f(statementDoc(allow("*", "arn:aws:iot:*:*:topic")), `statement 1: Resource: "arn:aws:iot:*:*:topic": after the account it must be client/<id>, topic/<topic>, topicfilter/<filter> or *`)
	f(statementDoc(allow("*", "arn:aws:iot:e_u:*:topic/a")), `statement 1: Resource: "arn:aws:iot:e_u:*:topic/a": region and account must be of a-z A-Z 0-9 - and the wildcards * ?`)
	f(statementDoc(allow("*", "arn:aws:iot:*:*:topic/${iot:ClientId")), `statement 1: Resource: "arn:aws:iot:*:*:topic/${iot:ClientId": a variable ${ has no closing }`)
	variable := func(name, want string) {
		t.Helper()
		f(statementDoc(allow("*", "arn:aws:iot:*:*:topic/${"+name+"}")), `statement 1: Resource: "arn:aws:iot:*:*:topic/${`+name+`}": `+want)
	}
	variable("iot:clientid", `variable ${iot:clientid} is spelled ${iot:ClientId}`)
	variable("iot:Certificate.AvailableKeys", `${iot:Certificate.AvailableKeys} can stand in a Condition only, as a key`)
	variable("iot:Certificate.Subject.Country.List", `${iot:Certificate.Subject.Country.List} can stand in a Condition only, as a key`)
	variable("aws:CurrentTime", `${aws:CurrentTime} can stand in a Condition only, as a key`)
	variable("aws:username", `variable ${aws:username} is not known; allowed are ${iot:ClientId}, ${aws:SourceIp}, ${aws:SecureTransport}, `+
		`${iot:Connection.Thing.ThingName}, ${iot:Connection.Thing.ThingTypeName}, ${iot:Connection.Thing.IsAttached}, ${iot:CertificateId}, `+
		`${iot:Connection.Thing.Attributes[<name>]}, ${iot:Certificate.<fact>} and ${*} ${?} ${$}`)
	condition := func(text, want string) {
		t.Helper()
		f(statementDoc(`{"Condition": `+text+`}`), `statement 1: Condition: `+want)
	}
	condition(`{}`, `it must be an object of operators, not empty`)
	condition(`"x"`, `it must be an object of operators, not empty`)
	condition(`{"Bool": {}}`, `Bool: it must be an object of keys and values, not empty`)
	condition(`{"Bool": {"iot:Connection.Thing.IsAttached": "yes"}}`, `Bool: iot:Connection.Thing.IsAttached: "yes" is not a boolean; it must be "true" or "false", once`)
	condition(`{"Bool": {"iot:Connection.Thing.IsAttached": []}}`, `Bool: iot:Connection.Thing.IsAttached: it has 0 values; 1 to 64 are taken`)
	condition(`{"Bool": {"iot:Connection.Thing.IsAttached": ["true", "false"]}}`, `Bool: iot:Connection.Thing.IsAttached: "true" is not a boolean; it must be "true" or "false", once`)
	condition(`{"StringEquals": {"iot:ClientId": [null]}}`, `StringEquals: iot:ClientId: it has a number, boolean or null as a value; it must be a string, a number or a boolean`)
	condition(`{"StringEquals": {"IOT:ClientId": "a"}}`, `StringEquals: IOT:ClientId: the key is spelled iot:ClientId`)
	condition(`{"StringEquals": {"iot:Certificate.Subject.Country.List": "a"}}`, `StringEquals: iot:Certificate.Subject.Country.List: it has several values: write ForAnyValue: or ForAllValues: before the operator`)
	condition(`{"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}`, `IpAddress: aws:SourceIp: "10.0.0.0/33" is not a network; it must be like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32`)
	condition(`{"NumericLessThan": {"aws:EpochTime": "NaN"}}`, `NumericLessThan: aws:EpochTime: "NaN" is not a number`)
	condition(`{"DateLessThan": {"aws:CurrentTime": "noon"}}`, `DateLessThan: aws:CurrentTime: "noon" is not a time; it must be like 2026-01-31T12:00:00Z, 2026-01-31, or seconds since 1970`)
	condition(`{"StringLike": {"iot:ClientId": "${iot:ClientId"}}`, `StringLike: iot:ClientId: a variable ${ has no closing }`)
	for _, field := range []string{"NotAction", "NotResource"} {
		f(statementDoc(`{"`+field+`": {}}`), `statement 1: `+field+`: this gateway does not evaluate it; write the statement with Action and Resource only`)
	}
	f(statementDoc(`{"effect": "Allow"}`), `statement 1: effect: it is not known; allowed are Sid, Effect, Action, Resource, Condition`)
	f(strings.Repeat("[", 3000), `at most 2048 characters (white space not counted) are allowed, it has 3000`)
	f(strings.Repeat("[", 100), `it is nested deeper than 8`)
}

func TestParseLimit(t *testing.T) {
	doc := statementDoc(allow("iot:Publish", "arn:aws:iot:*:*:topic/é"))
	chars := len([]rune(strings.Join(strings.Fields(doc), "")))
	if _, err := ParseLimit([]byte(strings.ReplaceAll(doc, " ", " \n\t  ")), chars); err != nil {
		t.Errorf("white space is counted: %v", err)
	}
	if _, err := ParseLimit([]byte(doc), chars-1); err == nil {
		t.Error("one character too many is taken")
	}
}

// mqttMatch says whether a filter takes in a topic, by the text of MQTT 5.0 section 4.7 and nothing else.
func mqttMatch(filter, topic string) bool {
	if strings.HasPrefix(strings.ToLower(filter), "$share/") {
		filter = strings.SplitN(filter, "/", 3)[2]
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

// TestNoThingReachesAnother is point 5 of the threat model: whatever its name, a thing that has policies which speak
// of "the thing" gets nothing of another thing.
func TestNoThingReachesAnother(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	documents := []string{DefaultDocument}
	for _, action := range []string{"*", "iot:*", "iot:Subscribe", "iot:Publish", "iot:Receive"} {
		for _, variable := range []string{"${iot:ClientId}", "${iot:Connection.Thing.ThingName}"} {
			for _, tail := range []string{"", "/*", "/?*"} {
				documents = append(documents, statementDoc(
					allow(action, "arn:aws:iot:*:*:client/"+variable),
					allow(action, "arn:aws:iot:*:*:topic/dt/"+variable+tail),
					allow(action, "arn:aws:iot:*:*:topicfilter/dt/"+variable+tail),
					allow(action, "arn:aws:iot:*:*:topic/$aws/things/"+variable+tail),
					allow(action, "arn:aws:iot:*:*:topicfilter/$aws/things/"+variable+tail)))
			}
		}
	}
	var policies []*Policy
	for _, d := range documents {
		policies = append(policies, mustParse(t, d))
	}
	names, refused, granted := 0, 0, 0
	for names < 2_000 {
		a, b := randomName(rng), randomName(rng)
		if rng.IntN(3) == 0 {
			b = a + b // one is the start of the other
		}
		if wire.CheckThingName(a) != nil || wire.CheckThingName(b) != nil {
			refused++
			if wire.CheckThingName(a) == nil || !strings.ContainsAny(a, "*?+#$/") {
				continue
			}
			// A name that is none gets nothing even if it came this far: not its own topics, so not another's.
			for i, p := range policies {
				if r := Compile([]*Policy{p}, Vars{ClientID: a, ThingName: a}); ask(r, "publish dt/"+a+"/x", "subscribe dt/"+a+"/x", "receive dt/v/x") != "nnn" {
					t.Fatalf("the name %q has rights by %s", a, documents[i])
				}
			}
			continue
		}
		if a == b {
			continue
		}
		names++
		i := rng.IntN(len(policies))
		r := Compile([]*Policy{policies[i]}, Vars{ClientID: a, ThingName: a})
		others := []string{"dt/" + b, "dt/" + b + "/x", "dt/" + b + "/" + a, "$aws/things/" + b + "/shadow/get"}
		for _, topic := range others {
			if r.Publish(topic) || r.Retain(topic) || r.Receive(topic) || r.Subscribe(topic) || r.Connect(b) {
				t.Fatalf("thing %q reaches %q by %s", a, topic, documents[i])
			}
		}
		// A client id that the policy lets through by another statement is as raw as it came: under policies of the thing's
		// name it changes nothing.
		if !strings.Contains(documents[i], "iot:ClientId") {
			for _, raw := range []string{b, randomName(rng), "+", "#", b + "/x", "*"} {
				r := Compile([]*Policy{policies[i]}, Vars{ClientID: raw, ThingName: a})
				for _, topic := range others {
					if r.Publish(topic) || r.Retain(topic) || r.Receive(topic) || r.Subscribe(topic) || r.Connect(b) {
						t.Fatalf("thing %q as client %q reaches %q by %s", a, raw, topic, documents[i])
					}
				}
			}
		}
		levels := []string{"dt", "$aws", "things", "+", "#", "x", a, b, "", "*", "?", "$share", "$SHARE", "g"}
		for range 200 {
			var parts []string
			for range 1 + rng.IntN(5) {
				parts = append(parts, levels[rng.IntN(len(levels))])
			}
			filter := strings.Join(parts, "/")
			if !r.Subscribe(filter) {
				continue
			}
			granted++
			for _, topic := range others {
				if mqttMatch(filter, topic) {
					t.Fatalf("thing %q may subscribe to %q and so gets %q by %s", a, filter, topic, documents[i])
				}
			}
		}
	}
	if refused == 0 || granted == 0 {
		t.Errorf("%d names refused, %d filters granted: the test says little", refused, granted)
	}
}

// randomName draws from all of Unicode, more often from what hurts and what is allowed.
func randomName(rng *rand.Rand) string {
	name := make([]rune, 0, 8)
	kind := rng.IntN(4)
	for range 1 + rng.IntN(6) {
		switch {
		case kind == 0:
			name = append(name, rune(rng.IntN(0x110000)))
		case kind == 1:
			name = append(name, []rune("*?+#$/{}[]\x00.\\ \u202eé")[rng.IntN(16)])
		default:
			name = append(name, []rune("aAbB09:_-")[rng.IntN(9)])
		}
	}
	return string(name)
}

func TestNoAllocation(t *testing.T) {
	p := mustParse(t, statementDoc(
		allow("*", "arn:aws:iot:*:*:topic/*/${iot:Connection.Thing.Attributes[city]}/*/${iot:Connection.Thing.ThingName}"),
		deny("*", "arn:aws:iot:*:*:topic/secret/*"), allow("iot:Subscribe", "arn:aws:iot:*:*:topicfilter/dt/*")))
	r := Compile([]*Policy{mustParse(t, DefaultDocument), p}, lamp)
	n := testing.AllocsPerRun(1000, func() {
		if !r.Publish("dt/lamp-1/a") || !r.Publish("x/oslo/é/lamp-1") || r.Publish("secret/oslo/y/lamp-1") ||
			!r.Subscribe("$share/g/dt/+/x") || !r.Retain("dt/lamp-1") || r.Receive("dt/lamp-2") || !r.Connect("lamp-1") {
			t.Fatal("wrong answer")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	r := Compile([]*Policy{mustParse(b, DefaultDocument)}, lamp)
	b.ReportAllocs()
	for b.Loop() {
		if !r.Publish("dt/lamp-1/engine") {
			b.Fatal("refused")
		}
	}
}
