package clients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/agent"
)

const token = "the-token-of-the-tests"

// policyText lets a device be itself, talk on its own topic, and nothing else; plain clients are things like others.
const policyText = `{"Version": "2012-10-17", "Statement": [
 {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
 {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive", "iot:RetainPublish"], "Resource": "arn:aws:iot:*:*:topic/talk/*"},
 {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/talk/*"}]}`

// gateway is a `muster serve` of its own process.
type gateway struct {
	t                 *testing.T
	dir               string
	mqtt, plain, http string
}

// muster builds the program once for all tests.
var muster = sync.OnceValues(func() (string, error) {
	name := filepath.Join(os.TempDir(), fmt.Sprint("muster-clients-", os.Getpid()))
	if out, err := exec.Command("go", "build", "-o", name, "muster").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := muster(); err == nil {
		_ = os.Remove(name) // a file in the folder for temporary ones
	}
	os.Exit(code)
}

// startGateway builds muster and runs it until the test ends.
func startGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir()}
	program, err := muster()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := filepath.Join(g.dir, "bootstrap.json")
	if err := os.WriteFile(bootstrap, fmt.Appendf(nil, `{"adminToken": %q, "defaultPolicy": %s}`, token, policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--data-dir", filepath.Join(g.dir, "data"), "--mqtt.addr", "127.0.0.1:0", "--mqtt.plain-addr", "127.0.0.1:0",
		"--http.addr", "127.0.0.1:0", "--bootstrap", bootstrap, "--log.level", "warn")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // its exit says whether that worked
		if err := cmd.Wait(); err != nil {
			t.Errorf("gateway: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", &log)
		}
	})
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			t.Fatalf("the gateway did not start:\n%s", &log)
		}
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 1 && f[0] == "ready":
			return g
		case len(f) == 3 && f[1] == "mqtt":
			g.mqtt = f[2]
		case len(f) == 3 && f[1] == "mqtt-plain":
			g.plain = f[2]
		case len(f) == 3 && f[1] == "http":
			g.http = f[2]
		}
	}
}

func (g *gateway) rootFile() string { return filepath.Join(g.dir, "data", "ca.pem") }

// device enrolls a thing and returns the folder of its key.pem and cert.pem.
func (g *gateway) device(name string) (dir string) {
	g.t.Helper()
	root, err := os.ReadFile(g.rootFile())
	if err != nil {
		g.t.Fatal(err)
	}
	dir = filepath.Join(g.dir, name)
	device, err := agent.NewDevice(agent.Config{Thing: name, MQTTAddr: g.mqtt, ESTURL: "https://" + g.http, RootPEM: root, Dir: dir})
	if err != nil {
		g.t.Fatal(err)
	}
	body, err := json.Marshal([]map[string]string{{"thingName": name, "spkiSha256": device.KeyHash().String()}})
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := http.NewRequest("POST", "https://"+g.http+"/api/allow", bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 20 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	defer client.CloseIdleConnections()
	if answer.StatusCode/100 != 2 {
		g.t.Fatalf("allow: %s", answer.Status)
	}
	if err := device.Enroll(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	return dir
}

// run runs a program for half a minute at most and returns its lines. One that is not there fails the test: .ci/setup go installs it.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// write publishes to a topic from the plain side, QoS 1, 1 and 2, under a client id of its own: two with one would end each other.
func (g *gateway) write(t *testing.T, topic string) {
	t.Helper()
	host, port, err := net.SplitHostPort(g.plain)
	if err != nil {
		t.Fatal(err)
	}
	writer := "plain-" + path.Base(topic)
	for i, qos := range []string{"1", "1", "2"} {
		if out := run(t, "mosquitto_pub", "-h", host, "-p", port, "-i", writer, "-t", topic, "-q", qos, "-m", fmt.Sprint("waited-", i)); out != "" {
			t.Fatalf("mosquitto_pub: %s", out)
		}
	}
}
