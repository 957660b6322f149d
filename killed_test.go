package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gatewayProcess is a gateway in a process of its own, to be killed.
type gatewayProcess struct {
	cmd   *exec.Cmd
	plain string // address of MQTT without TLS
}

func startProcess(t *testing.T, dir string) *gatewayProcess {
	t.Helper()
	bootstrap := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(bootstrap, []byte("{"+allowAll+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "serve", "--data-dir="+dir, "--mqtt.addr=127.0.0.1:0", "--mqtt.plain-addr=127.0.0.1:0", "--http.addr=127.0.0.1:0",
		"--bootstrap="+bootstrap, "--log.level=warn")
	cmd.Env = append(os.Environ(), asGateway+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &gatewayProcess{cmd: cmd}
	t.Cleanup(p.kill)
	scan := bufio.NewScanner(out)
	for scan.Scan() && scan.Text() != "ready" {
		if address, ok := strings.CutPrefix(scan.Text(), "listening mqtt-plain "); ok {
			p.plain = address
		}
	}
	if scan.Text() != "ready" || p.plain == "" {
		t.Fatal("the gateway did not start")
	}
	return p
}

// kill ends it as kill -9 does; twice is once.
func (p *gatewayProcess) kill() {
	_ = p.cmd.Process.Kill() // dead if that fails
	_ = p.cmd.Wait()         // killed
}

// dial opens a session over MQTT 3.1.1.
func (p *gatewayProcess) dial(t *testing.T, client string, clean bool) *watcherConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it never fails
	c := &watcherConn{t, conn, bufio.NewReader(conn)}
	flags := byte(0)
	if clean {
		flags = 2
	}
	c.send(0x10, append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 60, 0, byte(len(client))}, client...))
	if kind, body := c.read(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("%s: answer to CONNECT: %x %x", client, kind, body)
	}
	return c
}

// watcherConn is a connection of a client with short packets.
type watcherConn struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (c *watcherConn) send(kind byte, body []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(append([]byte{kind, byte(len(body))}, body...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *watcherConn) read() (kind byte, body []byte) {
	c.t.Helper()
	kind, err := c.in.ReadByte()
	var size uint64
	if err == nil {
		size, err = binary.ReadUvarint(c.in) // a variable byte integer is one
	}
	body = make([]byte, size)
	if err == nil {
		_, err = io.ReadFull(c.in, body)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return kind, body
}

func (c *watcherConn) subscribe(filter string) {
	c.t.Helper()
	c.send(0x82, append(append([]byte{0, 1, 0, byte(len(filter))}, filter...), 1))
	if kind, body := c.read(); kind != 0x90 || body[2] != 1 {
		c.t.Fatalf("answer to SUBSCRIBE: %x %x", kind, body)
	}
}

// presenceEvent is what the test reads of an event.
type presenceEvent struct {
	ClientID, ThingName, EventType, DisconnectReason, SessionIdentifier, IPAddress string
	Timestamp                                                                      int64
	VersionNumber                                                                  uint64
	ClientInitiatedDisconnect                                                      *bool
}

// event reads a message with QoS 1 and acknowledges it. Those that come again, because the kill was sooner than the write of their
// acknowledgement, are left out.
func (c *watcherConn) event() (e presenceEvent) {
	c.t.Helper()
	kind, body := c.read()
	for kind&8 != 0 {
		kind, body = c.read()
	}
	if kind&0xf6 != 0x32 {
		c.t.Fatalf("packet %x %x, want a message with QoS 1", kind, body)
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	topic := string(body[2:n])
	c.send(0x40, body[n:n+2])
	if err := json.Unmarshal(body[n+2:], &e); err != nil {
		c.t.Fatal(err)
	}
	if topic != "$aws/events/presence/"+e.EventType+"/"+e.ClientID || e.ThingName != e.ClientID || e.IPAddress != "127.0.0.1" {
		c.t.Fatalf("%s %s", topic, body[n+2:])
	}
	return e
}

// TestEventsAfterKill: connections that were open at a kill -9 get their disconnected event, once, before anybody connects anew.
func TestEventsAfterKill(t *testing.T) {
	dir := t.TempDir()
	g := startProcess(t, dir)
	began := time.Now().UnixMilli()
	g.dial(t, "lamp-0", true) // before anybody listens
	left := g.dial(t, "lamp-left", true)
	watcher := g.dial(t, "watcher", false)
	watcher.subscribe("$aws/events/presence/+/+")
	open := map[string]presenceEvent{}
	for i := range 5 {
		name := fmt.Sprint("lamp-", i+1)
		g.dial(t, name, true)
		e := watcher.event()
		if e.EventType != "connected" || e.ClientID != name {
			t.Fatalf("got %+v, want %s connected", e, name)
		}
		open[name] = e
	}
	left.send(0xe0, nil)
	if e := watcher.event(); e.EventType != "disconnected" || e.ClientID != "lamp-left" {
		t.Fatalf("got %+v, want lamp-left disconnected", e)
	}
	written := func(key string) bool {
		data, err := os.ReadFile(filepath.Join(dir, "sessions", "sessions.log"))
		return err == nil && strings.Contains(string(data), key)
	}
	eventually(t, "what was announced is on disk", func() bool { return written("\x02\x0bolamp-left\x00") && written("\x01\x08olamp-5\x00") })
	g.kill()

	g = startProcess(t, dir)
	g.dial(t, "lamp-5", true)
	watcher = g.dial(t, "watcher", false)
	last := uint64(0)
	for _, name := range []string{"lamp-0", "watcher", "lamp-1", "lamp-2", "lamp-3", "lamp-4", "lamp-5"} {
		e, was := watcher.event(), open[name]
		if e.EventType != "disconnected" || e.ClientID != name || e.DisconnectReason != "gateway restarted" || e.ClientInitiatedDisconnect == nil ||
			*e.ClientInitiatedDisconnect || e.VersionNumber <= last || e.Timestamp < began || e.Timestamp > time.Now().UnixMilli() {
			t.Fatalf("got %+v, want %s disconnected", e, name)
		}
		if was.ClientID != "" && (e.VersionNumber != was.VersionNumber || e.SessionIdentifier != was.SessionIdentifier || e.Timestamp < was.Timestamp) {
			t.Fatalf("connected %+v\ndisconnected %+v", was, e)
		}
		last = e.VersionNumber
	}
	for _, name := range []string{"lamp-5", "watcher"} {
		if e := watcher.event(); e.EventType != "connected" || e.ClientID != name || e.VersionNumber <= last {
			t.Fatalf("got %+v, want %s connected", e, name)
		}
	}
}
