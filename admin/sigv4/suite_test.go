package sigv4

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The signatures of AWS's published test suite for Signature Version 4: what it says a client sends is taken, and not with any
// other secret. Paths and queries are as the suite has them, before a client escapes them.
func TestSuite(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	f := func(name, method, target, body, signature string, headers ...string) {
		t.Helper()
		path, query, _ := strings.Cut(target, "?")
		header := http.Header{"X-Amz-Date": {"20150830T123600Z"}}
		signed := []string{"host", "x-amz-date"}
		for i := 0; i < len(headers); i += 2 {
			header.Set(headers[i], headers[i+1])
			before := headers[i] < "host"
			if before {
				signed = append([]string{headers[i]}, signed...)
			} else {
				signed = append(signed[:len(signed)-1], headers[i], "x-amz-date")
			}
		}
		header.Set("Authorization", Scheme+" Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="+
			strings.Join(signed, ";")+", Signature="+signature)
		r := Request{Method: method, Host: "example.amazonaws.com", Path: path, Query: query, Header: header, Body: []byte(body)}
		if err := Verify(r, secret, at); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if Verify(r, secret+"x", at) == nil {
			t.Errorf("%s: a wrong secret is taken", name)
		}
	}
	const letters = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const form = "application/x-www-form-urlencoded"
	f("get-vanilla", "GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
	f("get-vanilla-query", "GET", "/?", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
	f("get-vanilla-empty-query-key", "GET", "/?Param1=value1", "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb")
	f("get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")
	f("get-vanilla-query-unreserved", "GET", "/?"+letters+"="+letters, "", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197")
	f("get-vanilla-utf8-query", "GET", "/?%E1%88%B4=bar", "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04")
	f("get-unreserved", "GET", "/"+letters, "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f")
	f("get-utf8", "GET", "/ሴ", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85")
	f("get-header-value-trim", "GET", "/", "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736", "my-header1", " value1", "my-header2", ` "a   b   c" `)
	f("get-header-value-order", "GET", "/", "", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01", "my-header1", "value4,value1,value3,value2")
	f("post-vanilla", "POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
	f("post-vanilla-query", "POST", "/?Param1=value1", "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11")
	f("post-header-key-sort", "POST", "/", "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c", "my-header1", "value1")
	f("post-header-value-case", "POST", "/", "", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d", "my-header1", "VALUE1")
	f("post-x-www-form-urlencoded", "POST", "/", "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a", "content-type", form)
	f("post-x-www-form-urlencoded-parameters", "POST", "/", "Param1=value1", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
		"content-type", form+"; charset=utf8")
}

// botocoreSigner signs with botocore, the signer of boto3 and of the AWS CLI: a line of standard input is [method, URL, body,
// headers] as JSON, a line of standard output is [URL, headers] as they go over the wire.
const botocoreSigner = `
import json, sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for line in sys.stdin:
    method, url, body, headers = json.loads(line)
    request = AWSRequest(method=method, url=url, data=body.encode(), headers=headers)
    SigV4Auth(Credentials("AKIA1", "secret"), "iot", "eu-central-1").add_auth(request)
    sent = request.prepare()
    print(json.dumps([sent.url, dict((k, v if isinstance(v, str) else v.decode()) for k, v in sent.headers.items())]), flush=True)
`

// What botocore signs is taken, whatever is in paths, queries, headers and bodies, and nothing that was changed on the way.
func TestBotocore(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import botocore").Run() != nil {
		t.Skip("botocore is not installed (Debian: awscli)")
	}
	cmd := exec.Command("/usr/bin/python3", "-W", "ignore", "-c", botocoreSigner)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	answers, questions := bufio.NewScanner(out), json.NewEncoder(in)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	alphabet := []rune("abcXYZ019-_.~:/ %+&=?#$@!*'(),;[]{}|\"<>^`\\äሴ€😀")
	text := func(most int) string {
		letters := make([]rune, random.IntN(most)+1)
		for i := range letters {
			letters[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(letters)
	}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	for range 500 {
		target := "https://gateway.example:8443/things/" + url.PathEscape(text(12))
		query := url.Values{}
		for range random.IntN(4) {
			query.Add(text(6), text(12))
		}
		if len(query) > 0 {
			target += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
		}
		method, body := methods[random.IntN(len(methods))], ""
		headers := map[string]string{"X-Amzn-Principal": strings.ToLower(url.PathEscape(text(5))) + "  x"}
		if method != "GET" && random.IntN(2) == 0 {
			body, headers["Content-Type"] = text(200), "application/json"
		}
		if err := questions.Encode([]any{method, target, body, headers}); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() {
			t.Fatal("botocore ended")
		}
		var sent string
		signed := map[string]string{}
		if err := json.Unmarshal(answers.Bytes(), &[]any{&sent, &signed}); err != nil {
			t.Fatal(err)
		}
		host, rest, _ := strings.Cut(strings.TrimPrefix(sent, "https://"), "/")
		path, wireQuery, _ := strings.Cut("/"+rest, "?")
		r := Request{Method: method, Host: host, Path: path, Query: wireQuery, Header: http.Header{}, Body: []byte(body)}
		for name, value := range signed {
			r.Header.Set(name, value)
		}
		if err := Verify(r, "secret", time.Now()); err != nil {
			t.Fatalf("%s %s %q %v: %v", method, sent, body, signed, err)
		}
		changed := r
		switch random.IntN(5) {
		case 0:
			changed.Path += "x"
		case 1:
			changed.Query += "&x=1"
		case 2:
			changed.Body = append([]byte("x"), r.Body...)
		case 3:
			changed.Host = "other.example"
		case 4:
			changed.Header = r.Header.Clone()
			changed.Header.Set("X-Amzn-Principal", "another")
		}
		if Verify(changed, "secret", time.Now()) == nil {
			t.Fatalf("taken, though changed: %+v, signed as %+v", changed, r)
		}
	}
}
