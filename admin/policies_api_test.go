package admin_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestSimulatePolicy: a draft is judged for a thing beside what is in force, alone for nobody, and is kept nowhere.
func TestSimulatePolicy(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	g.iot("POST", "/things/lamp-1", "").want(200)
	g.iot("POST", "/thing-groups/city", "{}").want(200)
	g.iot("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"city","thingName":"lamp-1"}`).want(200)
	g.iot("POST", "/policies/p", policyBody(publishDocument)).want(200)
	type result struct {
		ActionType, Resource, Decision, DecisionNow string
		MatchedStatements                           []struct {
			PolicyName string
			Statement  int
			Effect     string
		}
		MissingContextValues []string
	}
	simulate := func(body map[string]any) (out struct {
		Principal string
		InForce   bool
		Results   []result
	}) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		g.as(g.token("viewer"), "POST", "/api/policies/simulate", string(text)).want(200).json(&out)
		return out
	}
	ask := func(pairs ...string) (list []map[string]string) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, map[string]string{"actionType": pairs[i], "resource": pairs[i+1]})
		}
		return list
	}
	is := func(r result, decision, now, policy string, statement int) {
		t.Helper()
		if r.Decision != decision || r.DecisionNow != now || r.MissingContextValues == nil {
			t.Fatalf("%+v, want %s, now %s", r, decision, now)
		}
		if policy == "" {
			if len(r.MatchedStatements) != 0 {
				t.Fatalf("%+v", r)
			}
			return
		}
		if m := r.MatchedStatements; len(m) == 0 || m[len(m)-1].PolicyName != policy || m[len(m)-1].Statement != statement {
			t.Fatalf("%+v, want statement %d of %s", r, statement, policy)
		}
	}

	// of nobody: the document alone
	out := simulate(map[string]any{"policyDocument": publishDocument, "clientId": "x", "requests": ask("PUBLISH", "a/b", "PUBLISH", "a/loud", "SUBSCRIBE", "a/b", "CONNECT", "x")})
	if out.InForce || out.Principal != "" || len(out.Results) != 4 || out.Results[0].Resource != "a/b" {
		t.Fatalf("%+v", out)
	}
	is(out.Results[0], "ALLOWED", "", "draft", 1)
	is(out.Results[1], "EXPLICIT_DENY", "", "draft", 2)
	is(out.Results[2], "IMPLICIT_DENY", "", "", 0)
	is(out.Results[3], "ALLOWED", "", "draft", 1)

	// of a thing without a certificate, as on the plain listener: one more policy, which takes the default's place
	out = simulate(map[string]any{"policyName": "p", "policyDocument": publishDocument, "thingName": "lamp-1", "requests": ask("PUBLISH", "a/b", "PUBLISH", "dt/lamp-1")})
	if out.InForce || out.Principal != "" {
		t.Fatalf("%+v", out)
	}
	is(out.Results[0], "ALLOWED", "IMPLICIT_DENY", "p", 1)
	is(out.Results[1], "IMPLICIT_DENY", "ALLOWED", "", 0)

	// of a thing that has the policy by its group: the draft instead of the version in force
	g.iot("PUT", "/target-policies/p", `{"target":"arn:aws:iot:local:123456789012:thinggroup/city"}`).want(200)
	silent := strings.ReplaceAll(publishDocument, "a/loud", "a/silent")
	out = simulate(map[string]any{"policyName": "p", "policyDocument": silent, "thingName": "lamp-1", "requests": ask("PUBLISH", "a/loud", "PUBLISH", "a/silent", "PUBLISH", "dt/lamp-1")})
	if !out.InForce {
		t.Fatalf("%+v", out)
	}
	is(out.Results[0], "ALLOWED", "EXPLICIT_DENY", "p", 1)
	is(out.Results[1], "EXPLICIT_DENY", "ALLOWED", "p", 2)
	if r := out.Results[2]; r.Decision != "ALLOWED" || r.DecisionNow != "ALLOWED" {
		t.Fatalf("the default is gone: %+v", r)
	}

	// with a certificate
	var made struct{ CertificateARN, CertificatePEM string }
	csr, err := os.ReadFile(csrFile(t))
	if err != nil {
		t.Fatal(err)
	}
	request, err := json.Marshal(map[string]string{"certificateSigningRequest": string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	g.iot("POST", "/certificates?setAsActive=true", string(request)).want(200).json(&made)
	g.withPrincipal("PUT", "/things/lamp-1/principals", made.CertificateARN).want(200)
	if out = simulate(map[string]any{"thingName": "lamp-1", "requests": ask("PUBLISH", "a/loud")}); out.Principal != made.CertificateARN {
		t.Fatalf("%+v", out)
	}
	is(out.Results[0], "EXPLICIT_DENY", "EXPLICIT_DENY", "p", 2)

	// nothing was kept
	var kept struct{ PolicyDocument, DefaultVersionID string }
	if g.iot("GET", "/policies/p", "").want(200).json(&kept); kept.PolicyDocument != publishDocument || kept.DefaultVersionID != "1" {
		t.Fatalf("%+v", kept)
	}
}

func TestSimulatePolicyRefuses(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	f := func(status int, want, body string) {
		t.Helper()
		if r := g.as(adminToken, "POST", "/api/policies/simulate", body).want(status); !strings.Contains(r.text, want) {
			t.Errorf("%s: %s, want %q in it", body, r.text, want)
		}
	}
	f(400, "requests has 0 entries", `{}`)
	f(400, "actionType", `{"requests":[{"actionType":"FLY","resource":"x"}]}`)
	f(400, "the resource of number 1 is missing", `{"requests":[{"actionType":"PUBLISH"}]}`)
	f(404, "does not exist", `{"thingName":"nobody","requests":[{"actionType":"PUBLISH","resource":"x"}]}`)
	f(400, "", `{"policyDocument":"{","requests":[{"actionType":"PUBLISH","resource":"x"}]}`)
	f(400, "requests has 101 entries", `{"requests":[`+strings.Repeat(`{"actionType":"PUBLISH","resource":"x"},`, 100)+`{"actionType":"PUBLISH","resource":"x"}]}`)
	g.send(g.client, "POST", "/api/policies/simulate", "{}").want(401)
}
