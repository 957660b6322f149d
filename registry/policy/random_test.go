package policy

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var pairs = flag.Int("pairs", 200_000, "how many (documents, request) pairs TestAgreesWithOracle compares")

// pieces are what random patterns, names and values are made of: few, so that they meet often.
var pieces = []string{"a", "b", "/", "a/b", "dt", "é", "+", "#", "$aws", "lamp", "*", "?", "x"}

func randomText(rng *rand.Rand, from []string, most int) string {
	var b strings.Builder
	for range rng.IntN(most + 1) {
		b.WriteString(from[rng.IntN(len(from))])
	}
	return b.String()
}

func choose[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// Keys of single values, lists and times that random documents use.
var (
	textKeys = []string{"iot:ClientId", "iot:Connection.Thing.ThingName", "iot:Connection.Thing.ThingTypeName",
		"iot:Connection.Thing.Attributes[k]", "iot:Connection.Thing.Attributes[l]", "iot:CertificateId",
		"iot:Certificate.Subject.CommonName", "iot:Certificate.Subject.Organization", "iot:Certificate.Subject.Organization.1",
		"iot:Certificate.Issuer.AlternativeName.DNSName", "iot:Certificate.SerialNumber"}
	listKeys = []string{"iot:Certificate.Subject.Organization.List", "iot:Certificate.AvailableKeys"}
)

// randomPattern is a text with wildcards and variables.
func randomPattern(rng *rand.Rand, most int) string {
	parts := append([]string{"${iot:ClientId}", "${iot:Connection.Thing.ThingName}", "${iot:Connection.Thing.ThingTypeName}",
		"${iot:Connection.Thing.Attributes[k]}", "${iot:Connection.Thing.Attributes[l]}", "${iot:Certificate.Subject.CommonName}",
		"${iot:Certificate.Subject.Organization.1}", "${iot:CertificateId}", "${*}", "${?}", "${$}", "*", "*", "?"}, pieces...)
	return randomText(rng, parts, most)
}

func oneOrList(rng *rand.Rand, make func() any) any {
	if rng.IntN(2) == 0 {
		return make()
	}
	var list []any
	for range 1 + rng.IntN(3) {
		list = append(list, make())
	}
	return list
}

// randomCondition returns an operator, a key and values.
func randomCondition(rng *rand.Rand) (operator, key string, values any) {
	suffix := choose(rng, "", "", "IfExists")
	quantifier := choose(rng, "", "", "", "ForAnyValue:", "ForAllValues:")
	key = choose(rng, textKeys...)
	if quantifier != "" && rng.IntN(2) == 0 {
		key = choose(rng, listKeys...)
	}
	switch rng.IntN(8) {
	default:
		base := choose(rng, "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike")
		values = oneOrList(rng, func() any {
			if key == "iot:Certificate.AvailableKeys" {
				return choose(rng, "iot:Certificate.Subject.CommonName", "iot:Certificate.Subject.Organization", "iot:Certificate.*")
			}
			return randomPattern(rng, 2)
		})
		return quantifier + base + suffix, key, values
	case 0:
		return "Bool" + suffix, choose(rng, "iot:Connection.Thing.IsAttached", "iot:Connection.Thing.Attributes[b]", "aws:SecureTransport"), choose[any](rng, "true", "false", true, false)
	case 1:
		values = oneOrList(rng, func() any {
			return choose[any](rng, "10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "192.168.1.0/25")
		})
		return choose(rng, "IpAddress", "NotIpAddress") + suffix, "aws:SourceIp", values
	case 2:
		base := choose(rng, "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals")
		values = oneOrList(rng, func() any { return choose[any](rng, "1", 2, 2.5, "-3", "1767225600") })
		return quantifier + base + suffix, choose(rng, "iot:Connection.Thing.Attributes[n]", "iot:Connection.Thing.Attributes[k]", "aws:EpochTime"), values
	case 3:
		base := choose(rng, "DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals")
		values = oneOrList(rng, func() any {
			return choose[any](rng, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2025-12-31T23:59:59Z", 1767225600)
		})
		return base + suffix, choose(rng, "aws:CurrentTime", "aws:EpochTime"), values
	case 4:
		return "Null", choose(rng, append(slices.Clone(textKeys), listKeys[0], "aws:SourceIp")...), choose(rng, "true", "false")
	}
}

func randomDocument(rng *rand.Rand) string {
	var statements []any
	for range 1 + rng.IntN(4) {
		effect := "Allow"
		if rng.IntN(4) == 0 {
			effect = "Deny"
		}
		s := map[string]any{
			"Effect": effect,
			"Action": oneOrList(rng, func() any {
				return choose(rng, "*", "iot:*", "iot:Connect", "iot:Publish", "iot:*Publish", "iot:RetainPublish", "iot:Subscribe", "iot:Receive", "iot:?e*", "iot:GetThingShadow")
			}),
			"Resource": oneOrList(rng, func() any {
				if rng.IntN(8) == 0 {
					return choose(rng, "*", "arn:aws:iot:*:*:*")
				}
				return "arn:aws:iot:eu:1:" + choose(rng, "client/", "topic/", "topicfilter/", "thing/") + randomPattern(rng, 5)
			}),
		}
		if rng.IntN(2) == 0 {
			conditions := map[string]any{}
			for range 1 + rng.IntN(2) {
				operator, key, values := randomCondition(rng)
				keys, _ := conditions[operator].(map[string]any)
				if keys == nil {
					keys = map[string]any{}
				}
				keys[key] = values
				conditions[operator] = keys
			}
			s["Condition"] = conditions
		}
		statements = append(statements, s)
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// randomVars returns the values of a connection for the package and the same for the oracle.
func randomVars(rng *rand.Rand) (Vars, oracleContext) {
	v := Vars{
		ClientID: randomText(rng, pieces, 2), ThingName: randomText(rng, pieces, 2), ThingTypeName: randomText(rng, pieces, 2),
		Attributes: map[string]string{"k": randomText(rng, pieces, 2), "m": "m", "b": choose(rng, "true", "false", "maybe"), "n": choose(rng, "1", "2.5", "-7", "many")},
		Plain:      rng.IntN(4) == 0,
	}
	if rng.IntN(3) > 0 {
		v.SourceIP = netip.MustParseAddr(choose(rng, "10.1.2.3", "192.168.1.5", "192.168.1.200", "2001:db8::7", "::ffff:10.9.9.9"))
	}
	if rng.IntN(4) > 0 {
		v.CertificateID = strings.Repeat("0a", 32)
		v.Certificate = &Certificate{}
		v.Certificate.add("SerialNumber", choose(rng, "1", "12345678901234567890"))
		v.Certificate.add("Subject.CommonName", randomText(rng, pieces, 2))
		for range rng.IntN(3) {
			v.Certificate.add("Subject.Organization", randomText(rng, pieces, 2))
		}
		v.Certificate.add("Issuer.AlternativeName.DNSName", choose(rng, "", "a", "b"))
	}
	at := time.Unix(1767225599+rng.Int64N(3), 0) // around 2026-01-01
	if rng.IntN(4) > 0 {
		v.Now = func() time.Time { return at }
	}
	ctx := oracleContext{}
	put := func(key, text string) {
		if text != "" {
			ctx[key] = append(ctx[key], text)
		}
	}
	put("iot:ClientId", v.ClientID)
	put("iot:CertificateId", v.CertificateID)
	put("iot:Connection.Thing.ThingName", v.ThingName)
	put("iot:Connection.Thing.ThingTypeName", v.ThingTypeName)
	put("iot:Connection.Thing.IsAttached", map[bool]string{true: "true", false: "false"}[v.ThingName != ""])
	put("aws:SecureTransport", map[bool]string{true: "false", false: "true"}[v.Plain])
	for key, text := range v.Attributes {
		put("iot:Connection.Thing.Attributes["+key+"]", text)
	}
	if v.SourceIP.IsValid() {
		put("aws:SourceIp", strings.TrimPrefix(v.SourceIP.String(), "::ffff:"))
	}
	if v.Now != nil {
		put("aws:CurrentTime", at.UTC().Format(time.RFC3339))
		ctx["aws:EpochTime"] = []string{jsonNumber(at.Unix())}
	}
	if v.Certificate != nil {
		for _, f := range v.Certificate.facts {
			key := "iot:Certificate." + f.name
			put("iot:Certificate.AvailableKeys", key)
			put(key, f.values[0])
			ctx[key+".List"] = f.values
			for i, text := range f.values {
				put(key+"."+jsonNumber(int64(i)), text)
			}
		}
	}
	return v, ctx
}

func jsonNumber(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// agree compares the package with the oracle on all questions about name.
func agree(t *testing.T, documents []string, statements []map[string]any, rights *Rights, vars Vars, ctx oracleContext, name string) (allowed int) {
	t.Helper()
	for _, q := range []struct {
		action, class string
		ask           func(string) bool
	}{
		{"iot:Connect", "client", rights.Connect},
		{"iot:Publish", "topic", rights.Publish},
		{"iot:Receive", "topic", rights.Receive},
		{"iot:Subscribe", "topicfilter", rights.Subscribe},
		{"iot:RetainPublish", "topic", func(name string) bool { return rights.allows(RetainPublish, topic, name) }},
	} {
		got, want := q.ask(name), oracleAllows(statements, ctx, q.action, q.class, name)
		if got != want {
			t.Fatalf("%s %s/%s is %v, the oracle says %v\nvars %+v\n%s", q.action, q.class, name, got, want, ctx, documents)
		}
		if got {
			allowed++
		}
	}
	// what explains a decision must say the same
	for action, ask := range map[Action]func(string) bool{Connect: rights.Connect, Publish: rights.Publish, Subscribe: rights.Subscribe, Receive: rights.Receive} {
		if e := rights.Explain(action, name, vars); (e.Decision == Allowed) != ask(name) {
			t.Fatalf("%v %s: explained as %s\nvars %+v\n%s", action, name, e.Decision, ctx, documents)
		}
		if allowed == 0 && len(documents) > 2 {
			break // the others are alike
		}
	}
	return allowed
}

// TestAgreesWithOracle compares random sets of documents on random requests. -pairs 10000000 for the whole proof.
func TestAgreesWithOracle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	asked, allowed := 0, 0
	for asked < *pairs {
		var documents []string
		var policies []*Policy
		for range 1 + rng.IntN(3) {
			document := randomDocument(rng)
			policy, err := ParseLimit([]byte(document), 1<<20)
			if err != nil {
				t.Fatalf("ParseLimit(%s): %v", document, err)
			}
			documents, policies = append(documents, document), append(policies, policy)
		}
		statements := oracleRead(documents...)
		for range 4 {
			vars, ctx := randomVars(rng)
			rights := Compile(policies, vars)
			for range 5 {
				name := randomText(rng, append(pieces, "$share/", "$SHARE/g/", vars.ThingName, vars.ClientID), 5)
				allowed += agree(t, documents, statements, rights, vars, ctx, name)
				asked += 5
			}
		}
	}
	share := float64(allowed) / float64(asked)
	t.Logf("%d pairs, %.3f of them allowed, 0 mismatches", asked, share)
	if share < 0.05 || share > 0.95 {
		t.Errorf("%.3f of the questions are allowed: the test says little", share)
	}
}

// FuzzParse: a document that is taken means to the package what it means to the oracle.
func FuzzParse(f *testing.F) {
	f.Add(DefaultDocument, "lamp-1", "dt/lamp-1/x")
	f.Add(statementDoc(allow("iot:*", "*"), deny("iot:Publish", "arn:aws:iot:*:*:topic/a?*${*}${iot:ClientId}")), "a", "aé*a")
	f.Add(statementDoc(allow("*", "arn:aws:iot:::topicfilter/${iot:Connection.Thing.Attributes[k]}")), "#", "$share/g/#")
	f.Add(statementDoc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":["false"]}}}`), "", "a")
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":["*"],"Resource":["*"]}}`, "", "")
	f.Fuzz(func(t *testing.T, document, value, name string) {
		if len(name) > 64 || strings.Count(document, "*") > 8 || !validText(value) || !validText(name) {
			return // the oracle takes exponential time
		}
		p, err := Parse([]byte(document))
		if err != nil || p.conditional && !strings.Contains(document, `{"Bool"`) {
			return // numbers and dates have spellings that the oracle does not read
		}
		vars := Vars{ClientID: value, ThingName: value, ThingTypeName: value, Attributes: map[string]string{"k": value}}
		ctx := oracleContext{"iot:Connection.Thing.IsAttached": {"false"}, "aws:SecureTransport": {"true"}}
		if value != "" {
			ctx["iot:Connection.Thing.IsAttached"] = []string{"true"}
			for _, key := range []string{"iot:ClientId", "iot:Connection.Thing.ThingName", "iot:Connection.Thing.ThingTypeName", "iot:Connection.Thing.Attributes[k]"} {
				ctx[key] = []string{value}
			}
		}
		agree(t, []string{document}, oracleRead(document), Compile([]*Policy{p}, vars), vars, ctx, name)
	})
}

func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }
