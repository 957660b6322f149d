package conformance

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// childDir names the environment variable that makes this test program a server over the folder in it.
const childDir = "MUSTER_CONFORMANCE_CHILD"

// runChild serves MQTT without TLS until it is killed; it prints its address.
func runChild(dir string) error {
	log, set := slog.New(slog.NewTextHandler(os.Stderr, nil)), metrics.NewSet()
	store, err := tsdb.Open(tsdb.Options{Dir: dir + "/tsdb", FS: vfs.OS{}, Clock: vfs.SystemClock{}, Log: log, Metrics: set, MemoryBytes: 16 << 20, GroupWait: time.Millisecond})
	if err != nil {
		return err
	}
	server, err := ingest.Open(ingest.Options{Store: store, Gate: letterGate{}, Presence: presence{}, PlainAddr: "127.0.0.1:0", Dir: dir + "/sessions",
		FS: vfs.OS{}, Clock: vfs.SystemClock{}, Log: log, Metrics: set})
	if err != nil {
		return err
	}
	fmt.Println(server.PlainAddr())
	server.Serve()
	return nil
}

// letterGate gives every client its first letter as its thing's id, which is the same after a restart.
type letterGate struct{}

func (letterGate) Admit(_ context.Context, c ingest.Claim) (ingest.Grant, error) {
	return ingest.Grant{Thing: tsdb.ThingID(c.ClientID[0]), ThingName: c.ClientID, Rights: rights{}}, nil
}

// Recall implements broker.Recaller.
func (g letterGate) Recall(ctx context.Context, _, clientID string, _ [sha256.Size]byte) (ingest.Grant, error) {
	return g.Admit(ctx, ingest.Claim{ClientID: clientID})
}

// victim is a server that is killed.
type victim struct {
	*testing.T
	version byte
	dir     string
	cmd     *exec.Cmd
	addr    string
	log     lockedBuffer
}

func newVictim(t *testing.T, version byte) *victim {
	v := &victim{T: t, version: version, dir: t.TempDir()}
	v.start()
	t.Cleanup(func() {
		v.kill()
		if t.Failed() {
			t.Logf("log of the server:\n%s", v.log.String())
		}
	})
	return v
}

func (v *victim) start() {
	v.Helper()
	v.cmd = exec.Command(os.Args[0])
	v.cmd.Env = append(os.Environ(), childDir+"="+v.dir)
	v.cmd.Stderr = &v.log
	out, err := v.cmd.StdoutPipe()
	if err == nil {
		err = v.cmd.Start()
	}
	if err != nil {
		v.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		v.Fatalf("the server did not start: %v\n%s", err, v.log.String())
	}
	v.addr = strings.TrimSpace(line)
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
}

func (v *victim) kill() {
	_ = v.cmd.Process.Kill() // SIGKILL; it is dead if that fails
	_ = v.cmd.Wait()         // killed
}

// crash kills the server and starts it again over the same files.
func (v *victim) crash() {
	v.Helper()
	v.kill()
	v.start()
}

func (v *victim) connect(h hello) *client {
	v.Helper()
	conn, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(func() { _ = conn.Close() })
	c := &client{t: v.T, conn: conn, version: v.version, name: h.id}
	c.send(h.bytes())
	return c.accepted()
}

func (v *victim) keeper(id string) *client {
	v.Helper()
	return v.connect(newHello(v.version, id).kept())
}

// eachVersion runs f against a server of its own, beside others.
func eachVersion(t *testing.T, f func(v *victim)) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			t.Parallel()
			f(newVictim(t, version))
		})
	}
}

// TestKilledWhileReceiving: kill -9 at every step of a QoS 2 message from a client. It is delivered once, and the exchange goes on.
func TestKilledWhileReceiving(t *testing.T) {
	for step, name := range []string{"after the publish", "after its pubrec", "after the pubrel", "after its pubcomp"} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(v *victim) {
				s := v.keeper("sub")
				s.subscribe("app/x", 2)
				_ = s.conn.Close()
				p := v.keeper("pub")
				m := message{topic: "app/x", payload: "one", qos: 2, id: 7}
				p.send(m.bytes(v.version))
				if step >= 1 {
					p.expect(with(pubrec, 7))
				}
				if step >= 2 {
					p.send(with(pubrel, 7))
				}
				if step >= 3 {
					p.expect(with(pubcomp, 7))
				}
				v.crash()
				p = v.keeper("pub")
				if step == 0 { // what a client does that has no PUBREC
					m.dup = true
					p.send(m.bytes(v.version))
					p.expect(with(pubrec, 7))
				}
				if step < 3 {
					p.send(with(pubrel, 7))
					if first, body := p.read(); first != pubcomp || body[1] != 7 || step == 1 && len(body) > 2 {
						v.Fatalf("got %x %x", first, body)
					}
				}
				m = message{topic: "app/x", payload: "two", qos: 2, id: 7} // the id is free
				p.send(m.bytes(v.version))
				p.expect(with(pubrec, 7))
				p.send(with(pubrel, 7))
				p.expect(with(pubcomp, 7))
				s = v.keeper("sub")
				if !s.present {
					v.Fatal("the subscriber's session is gone")
				}
				one, two := s.message(), s.message()
				if one.payload != "one" || two.payload != "two" {
					v.Fatalf("got %+v %+v", one, two)
				}
				s.finish(one)
				s.finish(two)
				s.quiet()
			})
		})
	}
}

// TestKilledWhileSending: kill -9 at every step of a message to a client. It comes again as the standard says, under its id.
func TestKilledWhileSending(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		for step, name := range []string{"publish", "answer", "pubrel", "pubcomp"}[:2*qos] {
			t.Run(fmt.Sprint("qos ", qos, " after the ", name), func(t *testing.T) {
				eachVersion(t, func(v *victim) {
					s := v.keeper("sub")
					s.subscribe("app/x", qos)
					v.keeper("pub").publish(message{topic: "app/x", payload: "one", qos: qos})
					m := s.message()
					switch {
					case step >= 1 && qos == 1:
						s.send(with(puback, m.id))
					case step >= 1:
						s.send(with(pubrec, m.id))
					}
					if step >= 2 {
						s.expect(with(pubrel, m.id))
					}
					if step >= 3 {
						s.send(with(pubcomp, m.id))
					}
					v.crash()
					s = v.keeper("sub")
					if !s.present {
						v.Fatal("the session is gone")
					}
					s.send([]byte{pingreq, 0})
					first, body := s.read()
					again := first == publish|qos<<1|8 && string(packet(first, body)) == string(message{topic: m.topic, payload: m.payload, qos: qos, dup: true, id: m.id}.bytes(v.version))
					release := first == pubrel && string(body) == string(with(pubrel, m.id)[2:])
					nothing := first == pingresp
					if ok := step == 0 && again || step == 1 && (again || release && qos == 2 || nothing && qos == 1) || step == 2 && release || step == 3 && (release || nothing); !ok {
						v.Fatalf("got %x %x", first, body)
					}
				})
			})
		}
	}
}

// TestKilledWithWills: a crash ends connections without a word; wills with a delay wait for it, and those of clients that said goodbye are gone.
func TestKilledWithWills(t *testing.T) {
	eachVersion(t, func(v *victim) {
		s := v.keeper("sub")
		s.subscribe("app/#", 2)
		v.connect(newHello(v.version, "a").withWill("app/will", "a", 1, true))
		v.connect(newHello(v.version, "b").withWill("app/will", "b", 1, true)).leave()
		if v.version == 5 {
			v.connect(newHello(5, "c").kept().withWill("app/will", "c", 1, false, 24, 0, 0, 1, 0))
		}
		v.crash()
		s = v.keeper("sub")
		s.got(message{topic: "app/will", payload: "a", qos: 1})
		s.quiet() // the server has its PUBACK, which is on disk with the subscription that follows
		late := v.keeper("late")
		late.subscribe("app/will", 0)
		late.got(message{topic: "app/will", payload: "a", retain: true})
		if v.version == 5 {
			v.keeper("c").leave()
		}
		v.crash() // once is enough
		late = v.keeper("late")
		v.keeper("sub").quiet()
		late.quiet()
	})
}

// TestKilledAnyTime: a client publishes without a pause, telemetry and other messages, and the server is killed again and again. What was acknowledged
// reaches a session that was away, and each topic's messages come in order.
func TestKilledAnyTime(t *testing.T) {
	for _, topics := range [][]string{{"app/x", "dt/pub/x"}, {"dt/pub/x", "dt/pub/y"}} {
		t.Run(topics[0], func(t *testing.T) { eachVersion(t, func(v *victim) { killAnyTime(v, topics) }) })
	}
}

func killAnyTime(v *victim, topics []string) {
	s := v.keeper("sub")
	for _, topic := range topics {
		s.subscribe(topic, 1)
	}
	_ = s.conn.Close()
	next, acked := 0, 0 // messages are acknowledged in order
	for round := range 4 {
		p := v.keeper("pub")
		for n := acked; n < next; n++ { // what a client does first
			p.send(message{topic: topics[n%2], payload: value(n), qos: 1, id: uint16(n + 1), dup: true}.bytes(v.version))
		}
		for deadline := acked + 30 + 7*round; acked < deadline; {
			for ; next-acked < 10; next++ {
				p.send(message{topic: topics[next%2], payload: value(next), qos: 1, id: uint16(next + 1)}.bytes(v.version))
			}
			p.expect(with(puback, uint16(acked+1)))
			acked++
		}
		v.crash()
	}
	s = v.keeper("sub")
	seen := map[string]int{topics[0]: -2, topics[1]: -1} // the last number of each topic
	for have := 0; have < acked; {
		m := s.message()
		s.finish(m)
		var n int
		if _, err := fmt.Sscanf(m.payload, `{"v":%d}`, &n); err != nil {
			v.Fatal(err)
		}
		if n > seen[m.topic]+2 {
			v.Fatalf("%s: %d after %d, of %d that were acknowledged", m.topic, n, seen[m.topic], acked)
		}
		if n == seen[m.topic]+2 {
			seen[m.topic] = n
			if n < acked {
				have++
			}
		}
	}
}
