package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// received sends req over a socket and returns what a server sees of it.
func received(t *testing.T, req *http.Request) Request {
	t.Helper()
	var got Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		path, query, _ := strings.Cut(r.RequestURI, "?")
		got = Request{Method: r.Method, Host: r.Host, Path: path, Query: query, Header: r.Header, Body: body}
	}))
	defer server.Close()
	host := req.URL.Host
	req.Host = host
	req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
	answer, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return got
}

// signed returns a request signed by the AWS SDK as its clients do it.
func signed(t *testing.T, method, target, body string, at time.Time, change func(*http.Request)) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, target, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(req)
	}
	payload := req.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		sum := sha256.Sum256([]byte(body))
		payload = hex.EncodeToString(sum[:])
	}
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: "secret"}, req, payload, "iot", "eu-central-1", at)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestVerify(t *testing.T) {
	f := func(method, target, body string, at time.Time, change func(*http.Request), tamper func(*Request), secret, want string) {
		t.Helper()
		r := received(t, signed(t, method, target, body, at, change))
		if tamper != nil {
			tamper(&r)
		}
		err := Verify(r, secret, now)
		if want == "" {
			if err != nil {
				t.Fatalf("%s %s: %v", method, target, err)
			}
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Type != want {
			t.Fatalf("%s %s: error %v, want %s", method, target, err, want)
		}
	}
	const host = "https://gateway.example:8443"
	const wrong = "InvalidSignatureException"

	f("GET", host+"/things", "", now, nil, nil, "secret", "")
	f("GET", host+"/things?maxResults=2&nextToken=a%2Fb%3D&attributeValue=x+y", "", now, nil, nil, "secret", "")
	f("POST", host+"/things/lamp%2F1", `{"thingTypeName":"lamp"}`, now, nil, nil, "secret", "")
	f("POST", host+"/things/site:lamp_1", `{}`, now, nil, nil, "secret", "")
	f("PUT", host+"/things/lamp1/jobs/$next", `{}`, now, nil, nil, "secret", "")
	f("PATCH", host+"/things/%E2%82%AC", strings.Repeat("x", 100_000), now, nil, nil, "secret", "")
	// a body without a signed content-length, as boto does it
	f("POST", host+"/things/lamp1", `{"a":1}`, now, func(r *http.Request) { r.ContentLength = -1 }, nil, "secret", "")
	f("GET", host+"/things", "", now, func(r *http.Request) { r.Header.Set("X-Amz-Meta", "  two   spaces ") }, nil, "secret", "")

	// secret, body, path, query, method, header, host
	f("GET", host+"/things", "", now, nil, nil, "Secret", wrong)
	f("POST", host+"/things/l", `{"a":1}`, now, nil, func(r *Request) { r.Body = []byte(`{"a":2}`) }, "secret", wrong)
	f("POST", host+"/things/l", `{"a":1}`, now, nil, func(r *Request) { r.Path = "/things/m" }, "secret", wrong)
	f("POST", host+"/things/a%2Fb", `{"a":1}`, now, nil, func(r *Request) { r.Path = "/things/a/b" }, "secret", wrong)
	f("GET", host+"/things?a=1", "", now, nil, func(r *Request) { r.Query = "a=2" }, "secret", wrong)
	f("GET", host+"/things", "", now, nil, func(r *Request) { r.Method = "DELETE" }, "secret", wrong)
	f("GET", host+"/things", "", now, nil, func(r *Request) { r.Host = "other:8443" }, "secret", wrong)
	f("POST", host+"/things/l", `{}`, now, nil, func(r *Request) { r.Header.Set("Content-Type", "text/plain") }, "secret", wrong)
	f("POST", host+"/things/l", `{}`, now, nil, func(r *Request) { r.Header.Del("Content-Type") }, "secret", wrong)
	f("GET", host+"/things", "", now, nil, func(r *Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/iot/", "/iotdata/", 1))
	}, "secret", wrong)

	// 15 minutes apart are taken, more is not, and the time of the gateway is in the answer
	f("GET", host+"/things", "", now.Add(-MaxSkew), nil, nil, "secret", "")
	f("GET", host+"/things", "", now.Add(MaxSkew), nil, nil, "secret", "")
	f("GET", host+"/things", "", now.Add(-MaxSkew-time.Second), nil, nil, "secret", wrong)
	f("GET", host+"/things", "", now.Add(MaxSkew+time.Second), nil, nil, "secret", wrong)
	r := received(t, signed(t, "GET", host+"/things", "", now.Add(-time.Hour), nil))
	if err := Verify(r, "secret", now); !strings.Contains(err.Error(), "20261121T120000Z") {
		t.Fatalf("no time of the gateway in %q", err)
	}

	// hashes of the payload
	header := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", value) }
	}
	f("GET", host+"/things", "", now, header("UNSIGNED-PAYLOAD"), nil, "secret", "")
	f("POST", host+"/things/l", `{}`, now, header("UNSIGNED-PAYLOAD"), nil, "secret", wrong)
	f("DELETE", host+"/things/l", "", now, header("UNSIGNED-PAYLOAD"), nil, "secret", wrong)
	f("POST", host+"/things/l", `{}`, now, header("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), nil, "secret", wrong)
	f("POST", host+"/things/l", `{}`, now, nil, func(r *Request) {
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	}, "secret", "IncompleteSignatureException")

	// headers that are no signature
	for _, header := range []string{
		"AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request",
		"AWS4-HMAC-SHA256 Credential=AKIA1/20261121/r/iot/aws4_request, SignedHeaders=x-amz-date, Signature=" + strings.Repeat("0", 64),
		"AWS4-HMAC-SHA256 Credential=AKIA1/20261121/r/iot/aws4_request, SignedHeaders=host;host;x-amz-date, Signature=" + strings.Repeat("0", 64),
		"AWS4-HMAC-SHA256 Credential=AKIA1/20261121/r/iot/aws4_request, SignedHeaders=host;x-amz-date, Signature=0",
		"AWS4-HMAC-SHA256 Credential=AKIA1/20261121/r/iot, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0", 64),
	} {
		f("GET", host+"/things", "", now, nil, func(r *Request) { r.Header.Set("Authorization", header) }, "secret", "IncompleteSignatureException")
	}
}

// A header that the parser takes must not make the comparison succeed or panic.
func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA1/20261121/r/iot/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64), "20261121T120000Z")
	f.Fuzz(func(t *testing.T, authorization, date string) {
		r := Request{Method: "GET", Host: "h", Path: "/things", Header: http.Header{"Authorization": {authorization}, "X-Amz-Date": {date}}}
		if err := Verify(r, "secret", now); err == nil {
			t.Fatalf("%q was accepted", authorization)
		}
	})
}

// TestEmptyBody is a request of AWS's SDK for JavaScript, which signs the length of an empty body, too.
func TestEmptyBody(t *testing.T) {
	header := http.Header{}
	for name, value := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": "0", "X-Amz-User-Agent": "aws-sdk-js/3.1137.0",
		"Amz-Sdk-Invocation-Id": "ccd66b63-1c1e-4549-bc5f-c26f02dba1d3", "Amz-Sdk-Request": "attempt=1; max=1", "X-Amz-Date": "20261121T120000Z",
		"X-Amz-Content-Sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"Authorization": "AWS4-HMAC-SHA256 Credential=AKIA1/20261121/eu-central-1/iotdata/aws4_request, " +
			"SignedHeaders=amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-user-agent, " +
			"Signature=2298af516df2f47370804b89e59e8ddd65faf03344ff1cbb4eb455b3fb1d3c03",
	} {
		header.Set(name, value)
	}
	r := Request{Method: "POST", Host: "127.0.0.1:8099", Path: "/topics/a", Query: "retain=true", Header: header}
	if err := Verify(r, "secret", now); err != nil {
		t.Error(err)
	}
}
