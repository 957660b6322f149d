package lane

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/ingest/decode"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// anyRights allow everything.
type anyRights struct{}

func (anyRights) Connect(string) bool   { return true }
func (anyRights) Publish(string) bool   { return true }
func (anyRights) Retain(string) bool    { return true }
func (anyRights) Subscribe(string) bool { return true }
func (anyRights) Receive(string) bool   { return true }

// recorder is a Handler that writes down what it is given.
type recorder struct {
	c   *Conn
	log []string
}

func (r *recorder) Connect(info *Connect) error {
	r.log = append(r.log, fmt.Sprintf("connect %d %q", info.Version, info.ClientID))
	_, _ = r.c.Write([]byte{0x20, 2, 0, 0})
	r.c.Open(Grant{Thing: 1, ThingName: "lamp-1", Rights: anyRights{}}, info.Keepalive)
	return nil
}

func (r *recorder) Publish(p *Publish) error {
	r.log = append(r.log, fmt.Sprintf("publish %q %q %d %d %v %v %x", p.Topic, p.Payload, p.QoS, p.ID, p.Retain, p.Dup, p.Properties))
	if p.QoS == 1 {
		r.c.Ack(p.ID, 0, "")
	}
	return nil
}

func (r *recorder) Fanout(p *Publish) bool {
	r.log = append(r.log, fmt.Sprintf("fanout %q %q", p.Topic, p.Payload))
	return false
}

func (r *recorder) OnceKept(f func()) { f() }

func (r *recorder) Packet(first byte, body []byte) error {
	r.log = append(r.log, fmt.Sprintf("packet %x %x", first, body))
	return nil
}

func (r *recorder) Room() {}

func (r *recorder) Ended(error) {}

// newStore opens a store in memory.
func newStore(t testing.TB) *tsdb.Store {
	t.Helper()
	store, err := tsdb.Open(tsdb.Options{Dir: "data", FS: vfs.NewMem(), Clock: vfs.SystemClock{}, Log: slog.New(slog.DiscardHandler),
		Metrics: metrics.NewSet(), MemoryBytes: 64 << 20, GroupWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newTestEnv(t testing.TB) *Env {
	return NewEnv(newStore(t), vfs.SystemClock{}, slog.New(slog.DiscardHandler), metrics.NewSet(), DefaultLimits(), time.Minute, 2)
}

// script is a net.Conn whose reads come from in, one slice each, and whose writes go to out.
type script struct {
	net.Conn
	in   chan []byte
	rest []byte // of the last slice
	out  chan int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		b, ok := <-s.in
		if !ok {
			return 0, io.EOF
		}
		s.rest = b
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.out <- len(p)
	return len(p), nil
}

func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// TestTelemetryDoesNotAllocate goes the whole way from the socket's bytes over the store's log to the PUBACK in the socket.
func TestTelemetryDoesNotAllocate(t *testing.T) {
	for version, packets := range map[byte][][]byte{
		4: {publishBytes(4, "dt/lamp-1", telemetry, 1, 7, nil)},
		5: {
			publishBytes(5, "dt/lamp-1", telemetry, 1, 7, []byte{propTopicAlias, 0, 1}),
			publishBytes(5, "", telemetry, 1, 8, []byte{propTopicAlias, 0, 1}),
			publishBytes(5, "dt/lamp-1/meter", telemetry, 1, 9, []byte{propUser, 0, 1, 'a', 0, 1, 'b'}),
			publishBytes(5, "dt/lamp-1/cbor", "\xa1\x67power_w\xf9\x51\x28", 1, 10, append([]byte{propContentType, 0, 16}, "application/cbor"...)),
		},
	} {
		env := newTestEnv(t)
		if version == 5 { // with a schema and quotas as well
			env.Quotas = NewQuotas(Rates{}, Rates{Messages: 1e9, Bytes: 1e9, Samples: 1e9}, metrics.NewSet())
			schema, err := decode.NewSchema(env.Store.Dict(), []decode.Rule{{Column: "power_w", Rename: "power_kw", Scale: "0.001"}, {Column: "on", Drop: true}}, false)
			if err != nil {
				t.Fatal(err)
			}
			env.Schemas = oneSchema{schema}
		}
		raw := &script{in: make(chan []byte), out: make(chan int)}
		c := New(env, raw)
		ended := make(chan error)
		go func() { ended <- c.Run(&recorder{c: c}) }()
		raw.in <- connectBytes(version, "lamp-1")
		<-raw.out
		// A window of messages at a time, as a busy gateway sees them: a commit (timer, fsync) may allocate, a message not.
		const window = 60
		exchange := func() {
			for i := range window {
				raw.in <- packets[i%len(packets)]
			}
			for acked := 0; acked < 4*window; {
				acked += <-raw.out
			}
		}
		for range 20 {
			exchange()
		}
		commits := env.Store.Stats().Commits
		const runs = 100
		n := testing.AllocsPerRun(runs, exchange)
		perRun := float64(env.Store.Stats().Commits-commits) / runs
		if n > commitAllocs*perRun {
			t.Errorf("version %d: %v allocations per %d messages and %.1f commits, want none per message", version, n, window, perRun)
		}
		close(raw.in)
		<-ended
	}
}

// oneSchema is that of all things.
type oneSchema struct{ schema *decode.Schema }

func (s oneSchema) Epoch() uint64                      { return 1 }
func (s oneSchema) Schema(tsdb.ThingID) *decode.Schema { return s.schema }

// commitAllocs is what the store may allocate for a commit, of many messages: a timer and, in this test, the copies that the
// file system in memory keeps for its power cuts.
const commitAllocs = 8

const telemetry = `{"power_w":41.25,"voltage_v":230.1,"on":true,"energy_kwh":1234.567,"temperature_c":21.5,"lat":48.13743,"lon":11.57549,"dim":80}`

func connectBytes(version byte, id string) []byte {
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 60}, make([]byte, version-4)...)
	body = append(body, byte(len(id)>>8), byte(len(id)))
	body = append(body, id...)
	return append([]byte{typeConnect << 4, byte(len(body))}, body...)
}

func publishBytes(version byte, topic, payload string, qos byte, id uint16, props []byte) []byte {
	body := append([]byte{byte(len(topic) >> 8), byte(len(topic))}, topic...)
	if qos > 0 {
		body = append(body, byte(id>>8), byte(id))
	}
	if version == 5 {
		body = append(append(body, byte(len(props))), props...)
	}
	body = append(body, payload...)
	out := []byte{typePublish<<4 | qos<<1}
	n := len(body)
	for ; n >= 128; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), body...)
}

// conversation is every kind of packet; one payload has big bytes.
func conversation(version byte, big int) []byte {
	var b []byte
	b = append(b, connectBytes(version, "lamp-1")...)
	subscribe := []byte{typeSubscribe<<4 | 2, 0, 0, 1}
	if version == 5 {
		subscribe = append(subscribe, 2, propSubscriptionID, 3)
	}
	subscribe = append(subscribe, 0, 3, 'a', '/', '+', 1)
	subscribe[1] = byte(len(subscribe) - 2)
	b = append(b, subscribe...)
	b = append(b, publishBytes(version, "dt/lamp-1", telemetry, 1, 1, nil)...)
	b = append(b, publishBytes(version, "other", "x", 1, 2, nil)...)
	b = append(b, typePingreq<<4, 0)
	b = append(b, publishBytes(version, "big", string(bytes.Repeat([]byte("0123456789"), big/10)), 2, 3, nil)...)
	b = append(b, typePubrel<<4|2, 2, 0, 3)
	b = append(b, publishBytes(version, "dt/lamp-1", "not json", 1, 4, nil)...)
	b = append(b, publishBytes(version, "empty", "", 0, 0, nil)...)
	b = append(b, typePuback<<4, 2, 0, 9)
	return append(b, typeDisconnect<<4, 0)
}

// listen runs b through a connection, read in pieces that next chooses, and returns what the handler saw, and the reason.
func listen(t *testing.T, env *Env, b []byte, next func(left int) int) (log []string, reason error) {
	t.Helper()
	raw := &script{in: make(chan []byte), out: make(chan int, 1000)}
	c := New(env, raw)
	r := &recorder{c: c}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(r) }()
	for len(b) > 0 {
		n := min(max(1, next(len(b))), len(b), 1500)
		select {
		case raw.in <- b[:n]:
			b = b[n:]
		case reason = <-ended:
			return r.log, reason
		}
	}
	close(raw.in)
	return r.log, <-ended
}

// TestSplitsDoNotMatter: the same bytes, cut anywhere, are the same packets.
func TestSplitsDoNotMatter(t *testing.T) {
	for _, version := range []byte{4, 5} {
		env := newTestEnv(t)
		b := conversation(version, 30_000)
		want, _ := listen(t, env, b, func(int) int { return 1500 })
		if len(want) != 8 {
			t.Fatalf("version %d: handler saw %d packets:\n%q", version, len(want), want)
		}
		check := func(name string, next func(int) int) {
			t.Helper()
			if got, _ := listen(t, env, b, next); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("version %d, %s:\n got %q\nwant %q", version, name, got, want)
			}
		}
		check("byte by byte", func(int) int { return 1 })
		for at := 1; at < 200; at += 3 {
			check(fmt.Sprint("cut at ", at), func(left int) int {
				if left == len(b) {
					return at
				}
				return 1500
			})
		}
		if n := env.MessagesLane.Get(); n == 0 || env.MalformedPayloads.Get()*2 != n {
			t.Fatalf("version %d: %d telemetry messages, %d malformed", version, n, env.MalformedPayloads.Get())
		}
	}
}

// TestAckRingKeepsOrder pushes acks whose rows become durable in any order of groups.
func TestAckRingKeepsOrder(t *testing.T) {
	var q ackRing
	var out []byte
	owed := uint16(0)
	durable := uint64(0)
	for round := range 50 {
		for i := range round % 17 {
			owed++
			a := ack{id: owed}
			if i%3 != 0 {
				a.seq = uint64(owed)
			}
			q.push(a)
		}
		if round%2 == 1 {
			durable += uint64(round % 23)
		}
		out, _ = q.appendReady(out, durable, 0, 4, true)
		if q.size > 0 && q.at(0).seq <= durable {
			t.Fatal("a ready ack stayed")
		}
	}
	out, _ = q.appendReady(out, 1<<40, 0, 4, true)
	if q.size != 0 || len(out) != 4*int(owed) {
		t.Fatalf("%d owed, %d bytes for %d acks", q.size, len(out), owed)
	}
	for i := range owed {
		if id := uint16(out[4*i+2])<<8 | uint16(out[4*i+3]); id != i+1 {
			t.Fatalf("ack %d is of packet %d", i, id)
		}
	}
}

// TestConnectDeadline: a client has until the deadline that it came with, however it spreads its bytes.
func TestConnectDeadline(t *testing.T) {
	env := newTestEnv(t)
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		_ = here.SetReadDeadline(time.Now().Add(5 * time.Second))
		start := time.Now()
		dripped := make(chan struct{})
		go func() {
			defer close(dripped)
			for _, b := range connectBytes(4, "lamp-1") {
				if _, err := there.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		c := New(env, here)
		if err := c.Run(&recorder{c: c}); err != errConnect {
			t.Errorf("reason: %v", err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("ended after %v", d)
		}
		<-dripped
	})
}

// TestSkippedValues: a value that no column holds is counted, the others of its message are stored.
func TestSkippedValues(t *testing.T) {
	env := newTestEnv(t)
	stream := append(connectBytes(5, "lamp-1"), publishBytes(5, "dt/lamp-1", "\xa2\x61a\xf9\x7e\x00\x61b\x01", 1, 7, nil)...) // NaN and 1
	listen(t, env, stream, func(int) int { return 1500 })
	if n := env.ValuesSkipped.Get(); n != 1 {
		t.Fatalf("%d values were counted as skipped, want 1", n)
	}
	if id, ok := env.Store.Dict().LookupMetric("b"); !ok {
		t.Fatal("the other value is not there")
	} else if field, ok := env.Store.Last(1, id); !ok || field.Number != 1 {
		t.Fatalf("got %+v, %v", field, ok)
	}
}
