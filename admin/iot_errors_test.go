package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"muster/registry"
	"muster/registry/account"
)

// exceptions are the statuses of AWS's exceptions, by its service models of iot and iot-data and its common errors.
var exceptions = map[string]int{
	"InvalidRequestException": 400, "InvalidQueryException": 400, "InvalidAggregationException": 400, "IndexNotReadyException": 400,
	"MalformedPolicyException": 400, "CertificateValidationException": 400, "UnauthorizedException": 401, "AccessDeniedException": 403,
	"InvalidSignatureException": 403, "UnrecognizedClientException": 403, "IncompleteSignatureException": 403, "ResourceNotFoundException": 404,
	"CertificateStateException": 406, "ResourceAlreadyExistsException": 409, "VersionConflictException": 409, "DeleteConflictException": 409,
	"VersionsLimitExceededException": 409, "CertificateConflictException": 409, "ConflictingResourceUpdateException": 409,
	"LimitExceededException": 410, "InternalFailureException": 500, "ServiceUnavailableException": 503,
}

// checkException fails the test where an answer in AWS's form is no exception as AWS has them.
func checkException(r reply, req *http.Request) {
	r.t.Helper()
	name := r.header.Get("X-Amzn-Errortype")
	where := req.Method + " " + req.URL.Path
	if name == "" {
		if r.status >= 400 && r.text != "" && strings.HasPrefix(req.URL.Path, "/iot") && r.status != http.StatusRequestEntityTooLarge {
			r.t.Errorf("%s: %d without the name of an exception: %s", where, r.status, r.text)
		}
		return
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(r.text), &body); req.Method != http.MethodHead && (err != nil || body["message"] == "") {
		r.t.Errorf("%s: %s without a message: %q", where, name, r.text)
	}
	unknown := name == "UnknownOperationException" && (r.status == 404 || r.status == 405)
	if exceptions[name] != r.status && !unknown {
		r.t.Errorf("%s: %s with the status %d, AWS's is %d", where, name, r.status, exceptions[name])
	}
	if r.header.Get("X-Amzn-Requestid") == "" {
		r.t.Errorf("%s: %s without a request id", where, name)
	}
}

// Every operation in AWS's form refuses who is nobody, who may not, and what is no JSON, as AWS does.
func TestAWSRefusals(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	viewer := g.token(account.Viewer)
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	operations := 0
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, "/iot") {
			continue
		}
		for lower, op := range methods {
			operations++
			method, target := strings.ToUpper(lower), fill(path)
			g.send(g.client, method, target, "").awsError(401, "UnauthorizedException")
			g.as("mst_wrong", method, target, "").awsError(401, "UnauthorizedException")
			if op.Scope != "read" {
				g.as(viewer, method, target, "").awsError(403, "AccessDeniedException")
			}
			if op.RequestBody != nil && op.RequestBody.Content["application/json"].Schema != nil {
				if body := g.as(adminToken, method, target, `{"a":`).awsError(400, "InvalidRequestException"); !strings.Contains(body["message"], op.OperationID) {
					t.Errorf("%s: %s", op.OperationID, body["message"])
				}
			}
		}
	}
	if operations < 90 {
		t.Fatalf("only %d operations", operations)
	}
	for body, want := range map[string]string{
		`{"expectedVersion":"2"}`:                "the body is not the JSON of UpdateThing: expectedVersion must be a number, it is a JSON string",
		`{"attributePayload":{"attributes":[]}}`: "the body is not the JSON of UpdateThing: attributes must be an object, it is a JSON array",
		`{"attributePayload":{"merge":1}}`:       "the body is not the JSON of UpdateThing: merge must be true or false, it is a JSON number",
	} {
		if got := g.as(adminToken, "PATCH", "/iot/things/here", body).awsError(400, "InvalidRequestException")["message"]; got != want {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
	g.as(adminToken, "GET", "/iot/nothing/at/all", "").awsError(404, "UnknownOperationException")
	g.as(adminToken, "POST", "/iot/things", "").awsError(405, "UnknownOperationException")
	g.as(adminToken, "GET", "/iot-data/nothing", "").awsError(404, "UnknownOperationException")
	for path, exception := range map[string]string{"/iot/things/%zz": "InvalidRequestException", "/iot-data/topics/%zz": "InvalidRequestException", "/api/things/%zz": ""} {
		req, err := http.NewRequest("GET", g.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = path
		if r := g.do(g.client, req).want(400); r.header.Get("X-Amzn-Errortype") != exception {
			t.Errorf("%s: %v %s", path, r.header, r.text)
		}
	}
}

// fill puts a name for each {x} of a path.
func fill(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch s {
		case "{certificateId}":
			segments[i] = strings.Repeat("0", 64)
		case "{policyVersionId}":
			segments[i] = "1"
		default:
			if strings.HasPrefix(s, "{") {
				segments[i] = "here"
			}
		}
	}
	return strings.Join(segments, "/")
}

// Both pagers refuse, in every list, what they did not give, and pages of no size or of too many.
func TestPagersRefuse(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	for _, path := range []string{"things", "thing-groups", "billing-groups", "thing-types"} {
		g.as(adminToken, "POST", "/iot/"+path+"/here", "").want(200)
	}
	g.as(adminToken, "POST", "/iot/policies/here", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}]}"}`).want(200)
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string]int{}
	for path, methods := range doc.Paths {
		for lower, op := range methods {
			has := map[string]bool{}
			needsHeader := false
			for _, p := range op.Parameters {
				has[p.Name] = true
				needsHeader = needsHeader || p.In == "header"
			}
			if needsHeader {
				continue // of a certificate, which is looked up first
			}
			refuse := func(name string, values ...string) {
				t.Helper()
				lists[name]++
				for _, value := range values {
					target := fill(path) + "?" + name + "=" + url.QueryEscape(value)
					r := g.as(adminToken, strings.ToUpper(lower), target, "")
					if r.status == 503 && strings.HasPrefix(path, "/iot-data") { // this gateway has no broker
						continue
					}
					if body := r.awsError(400, "InvalidRequestException"); !strings.Contains(body["message"], name) {
						t.Errorf("%s: %s", target, body["message"])
					}
				}
			}
			if strings.HasPrefix(path, "/iot") && path != "/iot/attached-policies/{target}" {
				if has["maxResults"] {
					refuse("maxResults", "0", "-1", "x", "1.5", fmt.Sprint(registry.MaxPage+1))
				}
				if has["nextToken"] && path != "/iot/tags" {
					refuse("nextToken", "x", "!", "djE6", "djI6YQ")
				}
				if has["marker"] {
					refuse("pageSize", "0", "251", "x")
					refuse("marker", "x", "!", "djE6", "djI6YQ==")
					refuse("isAscendingOrder", "1", "yes")
				}
			}
		}
	}
	if lists["maxResults"] < 12 || lists["nextToken"] < 12 || lists["marker"] < 3 {
		t.Fatalf("looked at %v", lists)
	}
}
