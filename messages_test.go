package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// subscriber is a running mosquitto_sub.
type subscriber struct {
	t     *testing.T
	lines chan string
}

// mosquittoSub subscribes over the plain listener with MQTT 5; what it prints is read line by line. It returns once the
// subscription is there.
func (g *testGateway) mosquittoSub(client, filter, format string, extra ...string) *subscriber {
	g.t.Helper()
	host, port, _ := strings.Cut(g.devices.PlainAddr().String(), ":")
	args := append([]string{"-V", "5", "-h", host, "-p", port, "-i", client, "-t", filter, "-t", "$aws/things/" + client + "/ready", "-F", format, "-q", "1"}, extra...)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "mosquitto_sub", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	s := &subscriber{t: g.t, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	g.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if status, body := g.post("/iot-data/topics/$aws/things/"+client+"/ready", "ready"); status != 200 {
			g.t.Fatalf("publish: %d %s", status, body)
		}
		select {
		case line := <-s.lines:
			if !strings.Contains(line, "ready") {
				g.t.Fatalf("first line %q", line)
			}
			return s
		case <-time.After(50 * time.Millisecond):
		}
	}
	g.t.Fatal("mosquitto_sub did not subscribe")
	return nil
}

// line returns the next line, but for those of the subscription's own beginning.
func (s *subscriber) line() string {
	s.t.Helper()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatal("mosquitto_sub has ended")
			}
			if strings.HasSuffix(line, "ready") {
				continue
			}
			return line
		case <-time.After(10 * time.Second):
			s.t.Fatal("no message came")
		}
	}
}

// allowAll is a bootstrap policy for clients that listen to everything.
const allowAll = `"defaultPolicy": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}`

// TestPublishCommandLine drives the data plane with the AWS CLI.
func TestPublishCommandLine(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	aws := func(args ...string) (int, string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/usr/bin/aws", append([]string{"iot-data", "--endpoint-url", g.people.URL(""),
			"--ca-bundle", filepath.Join(g.dir, "ca.pem"), "--region", "local", "--output", "json", "--cli-binary-format", "raw-in-base64-out"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+testKeyID, "AWS_SECRET_ACCESS_KEY="+testSecret, "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	want := func(part string, args ...string) string {
		t.Helper()
		code, out := aws(args...)
		if code != 0 || !strings.Contains(out, part) {
			t.Fatalf("aws iot-data %v: exit %d, want %q in\n%s", args, code, part, out)
		}
		return out
	}
	sub := g.mosquittoSub("app", "site/#", "%q %r %C %R %D %E %P %t %p")
	want("", "publish", "--topic", "site/lamp 1/set", "--qos", "1", "--payload", "on", "--content-type", "text/plain", "--response-topic", "site/answer",
		"--correlation-data", "MTIz", "--message-expiry", "100", "--payload-format-indicator", "UTF8_DATA", "--user-properties", `[{"b":"1"},{"a":"2"}]`)
	if got, want := sub.line(), "1 0 text/plain site/answer 123 100 b:1 a:2 site/lamp 1/set on"; got != want {
		// mosquitto_sub counts the expiry down
		if got != strings.Replace(want, " 100 ", " 99 ", 1) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
	want("", "publish", "--topic", "site/state", "--retain", "--payload", "kept")
	sub.line()
	want("", "publish", "--topic", "dt/app", "--qos", "1", "--payload", `{"power_w": 12.5}`)
	if got := g.query("power_w")["app"]; got != "12.5" {
		t.Fatalf("telemetry that was published over HTTP: %q", got)
	}
	before := time.Now().Add(-time.Minute).UnixMilli()
	var kept struct {
		Topic            string
		Payload          []byte
		QoS              int
		LastModifiedTime int64
	}
	// this CLI has no way to show a blob but base64
	if err := json.Unmarshal([]byte(want(`"topic": "site/state"`, "get-retained-message", "--topic", "site/state")), &kept); err != nil {
		t.Fatal(err)
	}
	if string(kept.Payload) != "kept" || kept.QoS != 0 || kept.LastModifiedTime < before {
		t.Fatalf("%+v", kept)
	}
	want(`"payloadSize": 4`, "list-retained-messages")
	if code, out := aws("get-retained-message", "--topic", "site/none"); code == 0 || !strings.Contains(out, "ResourceNotFoundException") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if code, out := aws("publish", "--topic", "$aws/events/x", "--payload", "x"); code == 0 || !strings.Contains(out, "InvalidRequestException") {
		t.Fatalf("exit %d\n%s", code, out)
	}
}

func TestMessagesAPI(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	f := func(method, path, text string, status int, part string) {
		t.Helper()
		if code, body := g.call(method, "/iot-data"+path, text); code != status || !strings.Contains(body, part) {
			t.Fatalf("%s %s: %d %s\nwant %d %s", method, path, code, body, status, part)
		}
	}
	// slashes of a topic may be encoded or not
	f("POST", "/topics/a/b?retain=true", "1", 200, `"message":"OK"`)
	f("POST", "/topics/a%2Fc?retain=true&qos=1", "22", 200, "OK")
	f("GET", "/retainedMessage/a%2Fb", "", 200, base64.StdEncoding.EncodeToString([]byte("1")))
	f("GET", "/retainedMessage/a/c", "", 200, `"qos":1`)
	f("GET", "/retainedMessage?maxResults=1", "", 200, `{"retainedTopics":[{"topic":"a/b","payloadSize":1`)
	_, body := g.call("GET", "/iot-data/retainedMessage?maxResults=1", "")
	var page struct{ NextToken string }
	if err := json.Unmarshal([]byte(body), &page); err != nil || page.NextToken == "" {
		t.Fatalf("%v in %s", err, body)
	}
	f("GET", "/retainedMessage?maxResults=1&nextToken="+url.QueryEscape(page.NextToken), "", 200, `{"retainedTopics":[{"topic":"a/c","payloadSize":2`)
	f("GET", "/retainedMessage?maxResults=0", "", 400, "maxResults")
	f("POST", "/topics/a/b?retain=true", "", 200, "OK")
	f("GET", "/retainedMessage/a/b", "", 404, "no message is retained")

	f("POST", "/topics/a?qos=2", "x", 400, "qos must be")
	f("POST", "/topics/a?retain=yes", "x", 400, "retain must be true or false")
	f("POST", "/topics/a?messageExpiry=-1", "x", 400, "messageExpiry must be")
	f("POST", "/topics/a%2F%23", "x", 400, "topic with a wildcard")
	f("POST", "/topics/a%00", "x", 400, "utf-8")
	f("POST", "/topics/a?responseTopic=b/%2B", "x", 400, "topic with a wildcard")
	f("POST", "/topics/a/b/c/d/e/f/g/h/i", "x", 400, "too many levels")
	f("POST", "/topics/dt/nobody", "{}", 400, "not registered")
	f("GET", "/topics/a", "", 405, "not a method")
	f("GET", "/things/x/shadow", "", 404, "has no")
	f("DELETE", "/connections/nobody", "", 404, "not connected")
	for name, value := range map[string]string{
		"x-amz-mqtt5-payload-format-indicator": "TEXT",
		"x-amz-mqtt5-correlation-data":         "%",
		"x-amz-mqtt5-user-properties":          base64.StdEncoding.EncodeToString([]byte(`[{"a":1}]`)),
	} {
		request, err := http.NewRequest("POST", g.people.URL("/iot-data/topics/a"), strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+testToken)
		request.Header.Set(name, value)
		response, err := g.client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 400 {
			t.Errorf("%s: %q: status %d", name, value, response.StatusCode)
		}
	}

	sub := g.mosquittoSub("watcher", "will", "%p")
	g.mosquittoSub("lamp", "x", "%p", "--will-topic", "will", "--will-payload", "gone")
	f("DELETE", "/connections/lamp?cleanSession=maybe", "", 400, "cleanSession must be")
	f("DELETE", "/connections/lamp?preventWillMessage=true", "", 200, "{}")
	f("POST", "/topics/will", "no will before this", 200, "OK")
	if line := sub.line(); line != "no will before this" {
		t.Fatal(line)
	}
}

// TestTopicsSetting: the least-privilege policy lets a device publish telemetry as itself on the topics of ingest.topics, too.
func TestTopicsSetting(t *testing.T) {
	g := startGateway(t, t.TempDir(), "--ingest.topics=sensors/{thing}/data")
	folder, _ := g.enroll("lamp")
	f := func(topic string, code int) {
		t.Helper()
		if got, out := g.mosquittoPub(folder, "-i", "lamp", "-t", topic, "-q", "1", "-m", `{"power_w": 2}`); (got != 0) != (code != 0) {
			t.Fatalf("publish to %s: exit %d\n%s", topic, got, out)
		}
	}
	f("sensors/lamp/data", 0)
	if got := g.query("power_w")["lamp"]; got != "2" {
		t.Fatalf("power_w = %q", got)
	}
	f("sensors/fan/data", 1)
	f("sensors/lamp/other", 1)
}
