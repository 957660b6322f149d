package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/agent"
	"muster/pki"
)

const (
	testToken  = "test-admin-token"
	testKeyID  = "AKIATESTTESTTESTTEST"
	testSecret = "test/secret+of+the+access+key"
)

// testGateway is a gateway in this process, on free ports of the loopback interface.
type testGateway struct {
	*gateway
	t    *testing.T
	dir  string
	stop func() error
}

// startGateway starts a gateway in dir; extra settings are flags.
func startGateway(t *testing.T, dir string, extra ...string) *testGateway {
	t.Helper()
	return openTestGateway(t, dir, "", extra)
}

// startGatewayWith starts a gateway in a folder of its own, with one more member of the bootstrap file.
func startGatewayWith(t *testing.T, member string, extra ...string) *testGateway {
	t.Helper()
	return openTestGateway(t, t.TempDir(), ", "+member, extra)
}

func openTestGateway(t *testing.T, dir, member string, extra []string) *testGateway {
	t.Helper()
	bootstrap := filepath.Join(dir, "bootstrap.json")
	text := fmt.Sprintf(`{"adminToken": %q, "accountId": "123456789012", "accessKeys": [{"id": %q, "secret": %q, "role": "admin"}]%s}`,
		testToken, testKeyID, testSecret, member)
	if err := os.WriteFile(bootstrap, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--data-dir=" + dir, "--mqtt.addr=127.0.0.1:0", "--mqtt.plain-addr=127.0.0.1:0",
		"--http.addr=127.0.0.1:0", "--bootstrap=" + bootstrap, "--log.level=warn"}, extra...)
	s, err := loadSettings("serve", args, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, err := openGateway(ctx, s, t.Output())
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx) }()
	tg := &testGateway{gateway: g, t: t, dir: dir}
	stopped := false
	tg.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := tg.stop(); err != nil {
			t.Errorf("stop the gateway: %v", err)
		}
	})
	return tg
}

func (g *testGateway) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.identities.RootPEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 8}
	g.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get and post return the status and body of a request with the admin token.
func (g *testGateway) get(path string) (int, string) { return g.call("GET", path, "") }

func (g *testGateway) post(path, text string) (int, string) { return g.call("POST", path, text) }

func (g *testGateway) call(method, path, text string) (int, string) {
	g.t.Helper()
	client := g.client()
	defer client.CloseIdleConnections()
	status, body, err := g.ask(client, method, path, text)
	if err != nil {
		g.t.Fatal(err)
	}
	return status, body
}

// ask sends a request with the admin token over client. Safe for concurrent use.
func (g *testGateway) ask(client *http.Client, method, path, text string) (int, string, error) {
	request, err := http.NewRequest(method, g.people.URL(path), strings.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+testToken)
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// query returns the values of an instant PromQL query by the label `thing` ("" for none).
func (g *testGateway) query(expr string) map[string]string {
	g.t.Helper()
	status, body := g.get("/prometheus/api/v1/query?query=" + url.QueryEscape(expr))
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		g.t.Fatalf("query %s: %d %s (%v)", expr, status, body, err)
	}
	values := map[string]string{}
	for _, sample := range answer.Data.Result {
		values[sample.Metric["thing"]] = sample.Value[1].(string)
	}
	return values
}

// enroll makes a device with its key and certificate in a folder of its own, and returns the folder.
func (g *testGateway) enroll(thing string) (dir string, device *agent.Device) {
	g.t.Helper()
	dir = filepath.Join(g.t.TempDir(), thing)
	device, err := agent.NewDevice(agent.Config{Thing: thing, MQTTAddr: g.devices.Addr().String(),
		ESTURL: g.people.URL(""), RootPEM: g.identities.RootPEM(), Dir: dir})
	if err != nil {
		g.t.Fatal(err)
	}
	ctx := g.t.Context()
	if err := g.identities.Allow(ctx, []pki.Allowed{{Key: device.KeyHash(), ThingName: thing, ThingTypeName: "lamp"}}); err != nil {
		g.t.Fatal(err)
	}
	if err := device.Enroll(ctx); err != nil {
		g.t.Fatal(err)
	}
	return dir, device
}

// mosquittoPub publishes with the certificate in dir and returns its exit status and what it printed.
func (g *testGateway) mosquittoPub(dir string, args ...string) (int, string) {
	g.t.Helper()
	host, port, _ := strings.Cut(g.devices.Addr().String(), ":")
	args = append([]string{"-h", host, "-p", port, "--cafile", filepath.Join(g.dir, "ca.pem"), "--cert", filepath.Join(dir, "cert.pem"),
		"--key", filepath.Join(dir, "key.pem"), "-d"}, args...)
	return runClient(g.t, "mosquitto_pub", args...)
}

// runClient runs a program for at most 30 s; one that is not there fails the test (make test installs it).
func runClient(t *testing.T, name string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// TestDeviceToPromQL is the whole way: a key that is allowed, enrollment, mutual TLS, telemetry, PromQL, and a restart.
func TestDeviceToPromQL(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, dir)
	folder, device := g.enroll("lamp-1")

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	if err := device.Publish(ctx, "dt/lamp-1", []byte(`{"power_w": 41.25, "on": true, "fw": "1.2"}`)); err != nil {
		t.Fatal(err)
	}
	if got := g.query(`power_w{thing_type="lamp"}`)["lamp-1"]; got != "41.25" {
		t.Errorf("power_w = %q right after the acknowledgement", got)
	}
	before := g.things.Connectivity(1).LastSeenMs
	eventually(t, "a message moves the time when the thing was last seen", func() bool {
		if err := device.Publish(ctx, "dt/lamp-1", []byte(`{"power_w": 41.25}`)); err != nil {
			t.Fatal(err)
		}
		return g.things.Connectivity(1).LastSeenMs > before
	})
	for search, want := range map[string]string{"telemetry.power_w>41": `"total":1`, "telemetry.power_w>42": `"total":0`, "telemetry.nothing>0": `"total":0`} {
		if status, body := g.get("/api/things?q=" + url.QueryEscape(search)); status != 200 || !strings.Contains(body, want) {
			t.Errorf("search %s: %d %s", search, status, body)
		}
	}
	if got := g.query(`fw_info{value="1.2"}`)["lamp-1"]; got != "1" {
		t.Errorf("fw_info = %q", got)
	}
	if status, body := g.get("/api/things/lamp-1"); status != 200 || !strings.Contains(body, `"connected":true`) {
		t.Errorf("the connected thing: %d %s", status, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	// The same certificate in another client.
	if code, out := g.mosquittoPub(folder, "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{"power_w": 7}`); code != 0 || !strings.Contains(out, "PUBACK") {
		t.Errorf("mosquitto_pub: exit %d\n%s", code, out)
	}
	if got := g.query(`power_w`)["lamp-1"]; got != "7" {
		t.Errorf("power_w = %q after mosquitto_pub", got)
	}
	samples := g.query(`count_over_time(power_w[5m])`)["lamp-1"]
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}

	g = startGateway(t, dir)
	if got := g.query(`power_w`)["lamp-1"]; got != "7" {
		t.Errorf("power_w = %q after a restart", got)
	}
	if got := g.query(`count_over_time(power_w[5m])`)["lamp-1"]; got != samples {
		t.Errorf("%s samples after a restart, %s before", got, samples)
	}
}

// TestRefusals: what a device may not do, with the clients that a person would try it with.
func TestRefusals(t *testing.T) {
	g := startGateway(t, t.TempDir())
	folder, _ := g.enroll("lamp-1")
	g.enroll("lamp-2")

	// Another thing's topic: MQTT 5 says so, and nothing is stored.
	code, out := g.mosquittoPub(folder, "-V", "5", "-i", "lamp-1", "-t", "dt/lamp-2", "-q", "1", "-m", `{"power_w": 1}`)
	if !strings.Contains(out, "135") && code == 0 { // 0x87 not authorized
		t.Errorf("lamp-1 published as lamp-2: exit %d\n%s", code, out)
	}
	if got := g.query(`power_w`); len(got) != 0 {
		t.Errorf("a refused message was stored: %v", got)
	}
	// Another client id.
	if code, out := g.mosquittoPub(folder, "-i", "lamp-2", "-t", "dt/lamp-2", "-q", "1", "-m", `{}`); code == 0 {
		t.Errorf("lamp-1's certificate connected as lamp-2\n%s", out)
	}
	// No certificate.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := exec.CommandContext(ctx, "openssl", "s_client", "-connect", g.devices.Addr().String(), "-CAfile", filepath.Join(g.dir, "ca.pem"), "-quiet")
	client.Stdin = bytes.NewReader([]byte{0x10, 0x0e, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'x', 'y'})
	answer, err := client.CombinedOutput()
	if err == nil || !strings.Contains(string(answer), "alert") {
		t.Errorf("openssl s_client without a certificate: %v\n%s", err, answer)
	}
	// A certificate of somebody else's.
	stranger := filepath.Join(t.TempDir(), "s")
	if code, out := runClient(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", stranger+".key", "-out", stranger+".crt", "-subj", "/CN=lamp-1", "-days", "1"); code != 0 {
		t.Fatalf("openssl req: %s", out)
	}
	host, port, _ := strings.Cut(g.devices.Addr().String(), ":")
	if code, out := runClient(t, "mosquitto_pub", "-h", host, "-p", port, "--cafile", filepath.Join(g.dir, "ca.pem"), "--cert", stranger+".crt",
		"--key", stranger+".key", "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{}`); code == 0 {
		t.Errorf("a stranger's certificate connected\n%s", out)
	}
}

// TestDeletedAndRevoked: a deleted thing and a revoked key are out at once and stay out.
func TestDeletedAndRevoked(t *testing.T) {
	g := startGateway(t, t.TempDir())
	for _, c := range []struct {
		thing string
		end   func(thing string) error
	}{
		{"deleted", func(thing string) error { return g.things.DeleteThing(t.Context(), thing, 0) }},
		{"revoked", func(thing string) error { return g.identities.RevokeThing(t.Context(), thing) }},
	} {
		folder, device := g.enroll(c.thing)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- device.Run(ctx) }()
		if err := device.Publish(ctx, "dt/"+c.thing, []byte(`{"power_w": 1}`)); err != nil {
			t.Fatal(err)
		}
		if err := c.end(c.thing); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the session of the "+c.thing+" thing ends", func() bool { return !device.Stats().Connected })
		cancel()
		<-ended
		if code, out := g.mosquittoPub(folder, "-i", c.thing, "-t", "dt/"+c.thing, "-q", "1", "-m", `{"power_w": 2}`); code == 0 {
			t.Errorf("the %s thing connected again\n%s", c.thing, out)
		}
	}
	if got := g.query("power_w"); got["deleted"] != "" {
		t.Errorf("telemetry of a deleted thing is still shown: %v", got)
	}
}

// TestAWSCommandLine drives the registry with the AWS CLI.
func TestAWSCommandLine(t *testing.T) {
	g := startGateway(t, t.TempDir())
	aws := func(secret string, args ...string) (int, string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/usr/bin/aws", append([]string{"iot", "--endpoint-url", g.people.URL(""),
			"--ca-bundle", filepath.Join(g.dir, "ca.pem"), "--region", "local", "--output", "json"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+testKeyID, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	want := func(part string, args ...string) {
		t.Helper()
		if code, out := aws(testSecret, args...); code != 0 || !strings.Contains(out, part) {
			t.Errorf("aws iot %v: exit %d, want %q in\n%s", args, code, part, out)
		}
	}
	want("arn:aws:iot:local:123456789012:thing/aws-lamp", "create-thing", "--thing-name", "aws-lamp", "--attribute-payload", `{"attributes":{"city":"graz"}}`)
	want(`"city": "graz"`, "describe-thing", "--thing-name", "aws-lamp")
	want(`"aws-lamp"`, "list-things", "--attribute-name", "city", "--attribute-value", "graz")
	if code, out := aws("wrong", "list-things"); code == 0 || !strings.Contains(out, "InvalidSignatureException") {
		t.Errorf("a wrong secret: exit %d\n%s", code, out)
	}
	want("", "delete-thing", "--thing-name", "aws-lamp")
	if code, out := aws(testSecret, "describe-thing", "--thing-name", "aws-lamp"); code == 0 || !strings.Contains(out, "ResourceNotFoundException") {
		t.Errorf("a deleted thing: exit %d\n%s", code, out)
	}
}

// TestCannotStart: what makes a start impossible is a sentence and a non-zero exit, and harms nothing that runs.
func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, dir)
	other := t.TempDir()
	bad := filepath.Join(other, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"adminTokn": "x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if status := run(t.Context(), append([]string{"serve"}, args...), &out, &errs); status == 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("serve %v: status %d, want %q in\n%s", args, status, want, errs.String())
		}
	}
	f("another", "--data-dir="+dir, "--mqtt.addr=127.0.0.1:0", "--http.addr=127.0.0.1:0")
	f(g.devices.Addr().String(), "--data-dir="+other, "--mqtt.addr="+g.devices.Addr().String(), "--http.addr=127.0.0.1:0")
	f(g.people.Addr().String(), "--data-dir="+other, "--mqtt.addr=127.0.0.1:0", "--http.addr="+g.people.Addr().String())
	f("adminTokn", "--data-dir="+other, "--bootstrap="+bad)
	f("loopback", "--data-dir="+other, "--mqtt.addr=127.0.0.1:0", "--http.addr=127.0.0.1:0", "--mqtt.plain-addr=:0")
	f("not defined: -no-such", "--no-such=1")
	if status, body := g.get("/readyz"); status != 200 {
		t.Errorf("the first gateway after all this: %d %s", status, body)
	}
}

// TestStopIsBounded: a part that hangs does not keep the others from ending.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{}
		hang, storeClosed := make(chan struct{}), false
		defer close(hang)
		g.onClose("store", func(context.Context) error { storeClosed = true; return nil })
		g.onClose("devices", func(context.Context) error { <-hang; return nil })
		began := time.Now()
		err := g.close()
		if err == nil || !strings.Contains(err.Error(), "close devices: not done") || !storeClosed || time.Since(began) > 2*closeBound {
			t.Errorf("%v, store closed: %v, after %s", err, storeClosed, time.Since(began))
		}
	})
}

// muster openapi prints the document that a gateway serves, without one.
func TestOpenAPICommand(t *testing.T) {
	var out, errs bytes.Buffer
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
		Paths   map[string]json.RawMessage
	}
	if status := run(t.Context(), []string{"openapi"}, &out, &errs); status != 0 || json.Unmarshal(out.Bytes(), &doc) != nil {
		t.Fatalf("%d %s", status, errs.String())
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != version || doc.Paths["/iot/things/{thingName}"] == nil {
		t.Errorf("%s %s, %d paths", doc.OpenAPI, doc.Info.Version, len(doc.Paths))
	}
	if status := run(t.Context(), []string{"openapi", "3.0"}, &out, &errs); status != 1 || !strings.Contains(errs.String(), "no arguments") {
		t.Errorf("with an argument: %d %s", status, errs.String())
	}
}

// TestLocalSocket: muster query and muster admin reach the gateway of a data folder, and say so when there is none.
func TestLocalSocket(t *testing.T) {
	g := startGateway(t, t.TempDir())
	command := func(args ...string) (int, string) {
		var out bytes.Buffer
		return run(t.Context(), args, &out, &out), out.String()
	}
	if status, out := command("query", "--data-dir="+g.dir, "1+1"); status != 0 || !strings.Contains(out, `"2"`) {
		t.Errorf("query: %d %s", status, out)
	}
	if status, out := command("query", "--data-dir="+g.dir, "sum("); status != 1 || !strings.Contains(out, "parse error") {
		t.Errorf("query with an error: %d %s", status, out)
	}
	status, out := command("admin", "login-link", "--data-dir="+g.dir)
	if status != 0 || !strings.HasPrefix(out, g.people.URL("/login#code=")) {
		t.Errorf("login-link: %d %s", status, out)
	}
	keys := filepath.Join(g.dir, "keys.csv")
	hash := strings.Repeat("ab", 32)
	if err := os.WriteFile(keys, []byte("thingName,spkiSha256,thingTypeName\nlamp-7,"+hash+",lamp\nbad name,x,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out := command("admin", "allow", "--data-dir="+g.dir, keys); status != 1 || !strings.Contains(out, "1 allowed") || !strings.Contains(out, "line 3") {
		t.Errorf("allow: %d %s", status, out)
	}
	if info, err := os.Stat(filepath.Join(g.dir, localSocketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode: %v, %v", info, err)
	}
	if status, out := command("query", "--data-dir="+t.TempDir(), "1"); status != 1 || !strings.Contains(out, "no gateway runs") {
		t.Errorf("query without a gateway: %d %s", status, out)
	}
}
