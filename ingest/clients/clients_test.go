package clients

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// player plays a scenario of doc.go and returns what was printed.
type player func(t *testing.T, scenario, version string, who *device) string

// device is a client's side: who it is and where the gateway is.
type device struct {
	name, host, port, root, cert, key string
}

// program is a player that is a program of its own.
func program(command ...string) player {
	return func(t *testing.T, scenario, version string, d *device) string {
		args := append(command[1:len(command):len(command)], scenario, version, d.host, d.port, d.root, d.cert, d.key, d.name)
		return run(t, command[0], args...)
	}
}

func TestClients(t *testing.T) {
	g := startGateway(t)
	paho := filepath.Join(g.dir, "pahoclients")
	build := exec.Command("go", "build", "-o", paho, ".")
	build.Dir = "paho"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	host, port, err := net.SplitHostPort(g.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	for name, play := range map[string]player{
		"mosquitto": mosquitto(g),
		"paho-go":   program(paho),
		"paho-py":   program("/usr/bin/python3", "pahopy.py"),
		"mqttjs":    program("node", "node/mqttjs.js"),
		"mqttjs-ws": program("env", "MQTT_URL=wss://"+g.http+"/mqtt", "node", "node/mqttjs.js"),
		"aws":       program("node", "node/aws.js"),
	} {
		for _, version := range []string{"4", "5"} {
			t.Run(name+"-"+version, func(t *testing.T) {
				t.Parallel()
				who := &device{name: name + "-" + version, host: host, port: port, root: g.rootFile()}
				dir := g.device(who.name)
				who.cert, who.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
				says := func(scenario string, want ...string) (out string) {
					t.Helper()
					out = play(t, scenario, version, who)
					rest := out
					for _, line := range want {
						_, after, ok := strings.Cut(rest, line+"\n")
						if !ok {
							t.Fatalf("%s: no %q in\n%s", scenario, line, out)
						}
						rest = after
					}
					return out
				}
				says("talk", "got hello-0", "got hello-1", "got hello-2")
				says("leave", "left")
				g.write(t, "talk/"+who.name)
				// Some libraries hand over the first messages before they say that they are connected.
				if out := says("resume", "got waited-0", "got waited-1", "got waited-2"); !strings.Contains(out, "present\n") {
					t.Fatalf("the session is not resumed:\n%s", out)
				}
				says("refused", "connect refused", "subscribe refused")
			})
		}
	}
}

// mosquitto plays with mosquitto_pub and mosquitto_sub.
func mosquitto(g *gateway) player {
	return func(t *testing.T, scenario, version string, d *device) string {
		topic := "talk/" + d.name
		with := func(dir, id string, more ...string) []string {
			return append([]string{"-h", d.host, "-p", d.port, "--cafile", d.root, "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"),
				"-V", map[string]string{"4": "mqttv311", "5": "mqttv5"}[version], "-i", id}, more...)
		}
		own := func(more ...string) []string { return with(filepath.Dir(d.cert), d.name, more...) }
		kept := []string{"-t", topic, "-q", "2", "-c"}
		if version == "5" {
			kept = append(kept, "-x", "3600")
		}
		three := func() string { // that wait in the session
			out := run(t, "mosquitto_sub", own(append(kept, "-C", "3", "-W", "20")...)...)
			return "got " + strings.ReplaceAll(strings.TrimSpace(out), "\n", "\ngot ") + "\n"
		}
		switch scenario {
		case "talk":
			out := run(t, "mosquitto_sub", own(append(kept, "-E")...)...)
			writer := "writer-" + d.name // a session of its own; hello-0 has QoS 1 too, for QoS 0 does not wait
			dir := g.device(writer)
			for i, qos := range []string{"1", "1", "2"} {
				out += run(t, "mosquitto_pub", with(dir, writer, "-t", topic, "-q", qos, "-m", fmt.Sprint("hello-", i))...)
			}
			return out + three()
		case "leave":
			return run(t, "mosquitto_sub", own(append(kept, "-E")...)...) + "left\n"
		case "resume":
			return "present\n" + three() // it subscribes after the messages were sent
		}
		out := ""
		said := run(t, "mosquitto_pub", with(filepath.Dir(d.cert), "somebody-else", "-t", topic, "-m", "x")...)
		if strings.Contains(strings.ToLower(said), "not authori") {
			out += "connect refused\n"
		}
		said = run(t, "mosquitto_sub", own("-t", "secret/x", "-E", "-W", "5")...)
		if strings.Contains(said, "denied") || strings.Contains(strings.ToLower(said), "not authori") {
			out += "subscribe refused\n"
		}
		return out + said
	}
}
