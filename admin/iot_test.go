package admin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"muster/registry/account"
)

// signed sends a request signed by the AWS SDK.
func (g *gateway) signed(id, secret, service string, at time.Time, method, path, body string) reply {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, req, hex.EncodeToString(sum[:]), service, "eu-central-1", at)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.do(g.client, req)
}

// iot sends a request to the control plane with the right key.
func (g *gateway) iot(method, path, body string) reply {
	g.t.Helper()
	return g.signed(keyID, keySecret, "iot", time.Now(), method, path, body)
}

// awsError fails unless r is an error of AWS's shape and of that type.
func (r reply) awsError(status int, errorType string) map[string]string {
	r.t.Helper()
	r.want(status)
	var body map[string]string
	r.json(&body)
	if got := r.header.Get("X-Amzn-Errortype"); got != errorType || body["message"] == "" {
		r.t.Fatalf("error type %q, body %s; want %s", got, r.text, errorType)
	}
	return body
}

func TestSignedRequests(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	now := time.Now()
	g.signed(keyID, keySecret, "iot", now, "GET", "/things?maxResults=5", "").want(200)
	g.signed(keyID, keySecret, "iot", now, "POST", "/things/lamp-1", `{"attributePayload":{"attributes":{"city":"ulm"}}}`).want(200)

	g.signed(keyID, "another secret", "iot", now, "GET", "/things", "").awsError(403, "InvalidSignatureException")
	g.signed("AKIANOBODY", keySecret, "iot", now, "GET", "/things", "").awsError(403, "UnrecognizedClientException")
	g.signed(keyID, keySecret, "iot-jobs-data", now, "GET", "/things/lamp-1/jobs", "").awsError(404, "UnknownOperationException")
	g.signed(keyID, keySecret, "iot", now, "GET", "/jobs", "").awsError(404, "UnknownOperationException")
	g.signed(keyID, keySecret, "iot", now, "PUT", "/things/lamp-1", "").awsError(405, "UnknownOperationException")

	// a clock that is wrong: the answer has the gateway's, in the text and in the Date header
	for _, skew := range []time.Duration{-16 * time.Minute, 16 * time.Minute} {
		r := g.signed(keyID, keySecret, "iot", now.Add(skew), "GET", "/things", "")
		if body := r.awsError(403, "InvalidSignatureException"); !strings.Contains(body["message"], "the time of this gateway is 20") {
			t.Fatalf("no time in %q", body)
		}
		if at, err := http.ParseTime(r.header.Get("Date")); err != nil || now.Sub(at).Abs() > time.Minute {
			t.Fatalf("Date %q, %v", r.header.Get("Date"), err)
		}
	}
	g.signed(keyID, keySecret, "iot", now.Add(-14*time.Minute), "GET", "/things", "").want(200)
	// older SDKs sign for execute-api
	g.signed(keyID, keySecret, "execute-api", now, "GET", "/things", "").want(200)

	// a body that was changed on the way
	req, err := http.NewRequest("POST", g.url+"/things/lamp-2", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(`{ }`))
	if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: keySecret}, req, hex.EncodeToString(sum[:]), "iot", "r", now); err != nil {
		t.Fatal(err)
	}
	g.do(g.client, req).awsError(403, "InvalidSignatureException")

	// presigned
	req, err = http.NewRequest("GET", g.url+"/things", nil)
	if err != nil {
		t.Fatal(err)
	}
	uri, _, err := v4.NewSigner().PresignHTTP(ctx, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: keySecret}, req, "UNSIGNED-PAYLOAD", "iot", "r", now)
	if err != nil {
		t.Fatal(err)
	}
	if req, err = http.NewRequest("GET", uri, nil); err != nil {
		t.Fatal(err)
	}
	g.do(g.client, req).awsError(403, "InvalidSignatureException")

	// a key may do what its role may
	secret, key, err := g.accounts.NewAccessKey(ctx, account.Viewer, "test")
	if err != nil {
		t.Fatal(err)
	}
	g.signed(key.ID, secret, "iot", now, "GET", "/things", "").want(200)
	g.signed(key.ID, secret, "iot", now, "POST", "/things/lamp-3", "").awsError(403, "AccessDeniedException")
	if err := g.accounts.DeleteAccessKey(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	g.signed(key.ID, secret, "iot", now, "GET", "/things", "").awsError(403, "UnrecognizedClientException")
}

func TestControlPlane(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	lamp := `{"attributePayload":{"attributes":{"city":"ulm","floor":"2"}}}`
	want := g.iot("POST", "/things/site%3Alamp_1", lamp).want(200).text
	if !strings.HasPrefix(want, `{"thingName":"site:lamp_1","thingArn":"arn:aws:iot:local:123456789012:thing/site:lamp_1","thingId":"`) {
		t.Fatal(want)
	}
	// the same again is the same; another body is not
	if text := g.iot("POST", "/things/site:lamp_1", lamp).want(200).text; text != want {
		t.Fatal(text)
	}
	if body := g.iot("POST", "/things/site:lamp_1", `{}`).awsError(409, "ResourceAlreadyExistsException"); body["resourceArn"] != "arn:aws:iot:local:123456789012:thing/site:lamp_1" || body["resourceId"] == "" {
		t.Fatal(body)
	}
	g.iot("POST", "/things/lamp%2F1", "").awsError(400, "InvalidRequestException")
	g.iot("POST", "/things/lamp%20", "").awsError(400, "InvalidRequestException")
	g.iot("POST", "/things/x", `{"attributePayload":{"attributes":{"a b":"1"}}}`).awsError(400, "InvalidRequestException")
	g.iot("POST", "/things/x", `{"attributePayload":[]}`).awsError(400, "InvalidRequestException")
	g.iot("POST", "/things/x", `{"thingTypeName":"none"}`).awsError(404, "ResourceNotFoundException")
	g.iot("POST", "/things/x", `{"billingGroupName":"b"}`).awsError(404, "ResourceNotFoundException")

	// merge, replace, versions
	g.iot("PATCH", "/things/site:lamp_1", `{"attributePayload":{"attributes":{"floor":"","room":"7"},"merge":true},"expectedVersion":1}`).want(200)
	g.iot("PATCH", "/things/site:lamp_1", `{"expectedVersion":1}`).awsError(409, "VersionConflictException")
	var thing struct {
		DefaultClientID string
		Version         int
		Attributes      map[string]string
	}
	g.iot("GET", "/things/site:lamp_1", "").want(200).json(&thing)
	if thing.Version != 2 || fmt.Sprint(thing.Attributes) != "map[city:ulm room:7]" || thing.DefaultClientID != "site:lamp_1" {
		t.Fatalf("%+v", thing)
	}
	g.iot("GET", "/things/none", "").awsError(404, "ResourceNotFoundException")
	g.iot("PATCH", "/things/none", "").awsError(404, "ResourceNotFoundException")
	g.iot("DELETE", "/things/site:lamp_1?expectedVersion=1", "").awsError(409, "VersionConflictException")
	g.iot("DELETE", "/things/site:lamp_1?expectedVersion=x", "").awsError(400, "InvalidRequestException")
	if text := g.iot("DELETE", "/things/site:lamp_1?expectedVersion=2", "").want(200).text; text != "{}" {
		t.Fatal(text)
	}
	g.iot("DELETE", "/things/site:lamp_1", "").want(200) // as AWS: no error

	// types
	g.iot("POST", "/thing-types/lamp", `{"thingTypeProperties":{"thingTypeDescription":"a lamp","searchableAttributes":["city"]}}`).want(200)
	g.iot("POST", "/thing-types/lamp", `{"thingTypeProperties":{"thingTypeDescription":"other"}}`).awsError(409, "ResourceAlreadyExistsException")
	g.iot("POST", "/thing-types/lamp2", `{"thingTypeProperties":{"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"a b","thingAttribute":"x"}]}}}`).awsError(400, "InvalidRequestException")
	g.iot("POST", "/things/lamp-1", `{"thingTypeName":"lamp"}`).want(200)
	g.iot("POST", "/thing-types/lamp/deprecate", `{}`).want(200)
	var kind struct {
		ThingTypeProperties struct{ ThingTypeDescription string }
		ThingTypeMetadata   struct {
			Deprecated                    bool
			CreationDate, DeprecationDate json.Number
		}
	}
	g.iot("GET", "/thing-types/lamp", "").want(200).json(&kind)
	if seconds, err := kind.ThingTypeMetadata.CreationDate.Float64(); err != nil || seconds < 1.7e9 || seconds > 1e10 || !kind.ThingTypeMetadata.Deprecated || kind.ThingTypeMetadata.DeprecationDate == "" || kind.ThingTypeProperties.ThingTypeDescription != "a lamp" {
		t.Fatalf("%+v", kind)
	}
	g.iot("POST", "/things/lamp-2", `{"thingTypeName":"lamp"}`).awsError(400, "InvalidRequestException")
	g.iot("DELETE", "/thing-types/lamp", "").awsError(400, "InvalidRequestException")
	g.iot("POST", "/thing-types/lamp/deprecate", `{"undoDeprecate":true}`).want(200)
	g.iot("POST", "/things/lamp-2", `{"thingTypeName":"lamp"}`).want(200)
	if text := g.iot("GET", "/thing-types?thingTypeName=lamp", "").want(200).text; !strings.Contains(text, `"thingTypeArn":"arn:aws:iot:local:123456789012:thingtype/lamp"`) {
		t.Fatal(text)
	}

	// pages and filters; the same under /iot with a token
	for i := range 7 {
		g.iot("POST", fmt.Sprintf("/things/n%d", i), fmt.Sprintf(`{"attributePayload":{"attributes":{"odd":"%d"}}}`, i%2)).want(200)
	}
	list := func(query string) (names []string) {
		t.Helper()
		token := ""
		for {
			var page struct {
				Things    []struct{ ThingName string }
				NextToken string
			}
			g.as(adminToken, "GET", "/iot/things?maxResults=2&"+query+"&nextToken="+token, "").want(200).json(&page)
			for _, thing := range page.Things {
				names = append(names, thing.ThingName)
			}
			if token = page.NextToken; token == "" {
				return names
			}
		}
	}
	f := func(query, want string) {
		t.Helper()
		if got := strings.Join(list(query), " "); got != want {
			t.Fatalf("list %q\n got %s\nwant %s", query, got, want)
		}
	}
	f("", "lamp-1 lamp-2 n0 n1 n2 n3 n4 n5 n6")
	f("attributeName=odd&attributeValue=1", "n1 n3 n5")
	f("thingTypeName=lamp", "lamp-1 lamp-2")
	f("thingTypeName=none", "")
	for _, bad := range []string{"maxResults=0", "maxResults=x", "nextToken=!!", "nextToken=bm9wZQ", "attributeValue=1"} {
		g.as(adminToken, "GET", "/iot/things?"+bad, "").awsError(400, "InvalidRequestException")
	}
	g.send(g.client, "GET", "/iot/things", "").awsError(401, "UnauthorizedException")

	for kind, want := range map[string]string{"": "127.0.0.1:8883", "iot:Data-ATS": "127.0.0.1:8883", "iot:Jobs": g.Addr().String()} {
		var endpoint struct{ EndpointAddress string }
		if g.iot("GET", "/endpoint?endpointType="+kind, "").want(200).json(&endpoint); endpoint.EndpointAddress != want {
			t.Fatalf("endpoint %q is %q", kind, endpoint.EndpointAddress)
		}
	}
	g.iot("GET", "/endpoint?endpointType=iot:CredentialProvider", "").awsError(400, "InvalidRequestException")
}

// awsCommand is the AWS CLI of the Debian package awscli; there may be others earlier in PATH.
func awsCommand(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/aws", "aws"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("the AWS CLI is not installed (Debian: awscli)")
	return ""
}

// TestAWSCLI runs the program aws itself, as a user does, and its code in the process of the other tests.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	command := awsCommand(t)
	g := openGateway(t, nil).bootstrap()
	home := t.TempDir()
	program := func(secret string, args ...string) (string, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, command, append(append(g.awsArguments(), "--no-cli-pager"), args...)...)
		cmd.Env = awsEnvironment(home, secret)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	g.iot("POST", "/thing-types/lamp", "").want(200)
	out, err := program(keySecret, "create-thing", "--thing-name", "site:lamp-1", "--thing-type-name", "lamp", "--attribute-payload", `{"attributes":{"city":"ulm"}}`)
	if want := `"thingArn": "arn:aws:iot:local:123456789012:thing/site:lamp-1"`; err != nil || !strings.Contains(out, want) {
		t.Fatalf("%s is not in %s: %v", want, out, err)
	}
	if out, err := program("a wrong secret", "list-things"); err == nil || !strings.Contains(out, "InvalidSignatureException") || !strings.Contains(out, "does not match") {
		t.Fatalf("with a wrong secret: %s %v", out, err)
	}

	aws := commandLine{g.openAWS()}
	aws.ok(words("describe-thing --thing-name site:lamp-1"), `"city": "ulm"`, `"thingTypeName": "lamp"`, `"version": 1`)
	aws.ok([]string{"update-thing", "--thing-name", "site:lamp-1", "--attribute-payload", `{"attributes":{"floor":"2"},"merge":true}`, "--expected-version", "1"})
	// the CLI pages by itself
	for i := range 3 {
		g.iot("POST", fmt.Sprintf("/things/lamp-%d", i), "").want(200)
	}
	aws.ok(words("list-things --page-size 2"), "site:lamp-1", `"lamp-0"`, `"lamp-1"`, `"lamp-2"`, `"floor": "2"`)
	aws.ok(words("delete-thing --thing-name site:lamp-1"))
	g.iot("GET", "/things/site:lamp-1", "").awsError(404, "ResourceNotFoundException")
}
