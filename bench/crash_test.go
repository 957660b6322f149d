package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeGatewayMode is the environment variable that makes this test binary a gateway: "good", or the fault it has.
const fakeGatewayMode = "BENCH_TEST_GATEWAY"

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeGatewayMode); mode != "" {
		if err := serveFakeGateway(mode, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fakeGateway is a process that speaks as `muster serve` does. Its rows are lines of a file, which outlive its kill.
type fakeGateway struct {
	mode  string
	token string

	mu      sync.Mutex // guards what follows
	file    *os.File
	columns map[string][]sample // by column and thing
	count   int
}

// line is one value of the file.
type line struct {
	Thing, Column, Value string
	Ms                   int64
}

func serveFakeGateway(mode string, args []string) error {
	setting := func(name string) string { return args[slices.Index(args, name)+1] }
	var boot struct {
		AdminToken string `json:"adminToken"`
	}
	text, err := os.ReadFile(setting("--bootstrap"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &boot); err != nil {
		return err
	}
	dir := setting("--data-dir")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	g := &fakeGateway{mode: mode, token: boot.AdminToken, columns: map[string][]sample{}}
	if g.file, err = os.OpenFile(filepath.Join(dir, "rows"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	lines := bufio.NewScanner(g.file)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) == nil { // the last one may be torn
			g.insert(l)
		}
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	cert, err := ca.server()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.certPEM(), 0o644); err != nil {
		return err
	}
	web, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		return err
	}
	devices, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(web, g)
	if mode == "good" {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			os.Exit(0)
		}()
	}
	fmt.Printf("listening mqtt 127.0.0.1:1\nlistening mqtt-plain %s\nlistening http %s\nready\n", devices.Addr(), web.Addr())
	for {
		conn, err := devices.Accept()
		if err != nil {
			return err
		}
		go g.serve(conn)
	}
}

func (g *fakeGateway) insert(l line) {
	key := l.Column + "/" + l.Thing
	g.columns[key] = append(g.columns[key], sample{ms: l.Ms, value: l.Value})
}

// serve stores and acknowledges what a device publishes.
func (g *fakeGateway) serve(conn net.Conn) {
	defer conn.Close()
	reader := packetReader{conn: conn}
	for {
		p, err := reader.next()
		if err != nil {
			return
		}
		if p.kind == packetConnect {
			conn.Write([]byte{packetConnack << 4, 2, 0, 0})
			continue
		}
		topicEnd := 2 + int(p.body[1])
		g.store(string(p.body[len("\x00\x00dt/"):topicEnd]), p.body[topicEnd+2:])
		conn.Write([]byte{packetPuback << 4, 2, p.body[topicEnd], p.body[topicEnd+1]})
	}
}

// store keeps a message, or does to it what the mode says.
func (g *fakeGateway) store(thing string, payload []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	values := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		panic(err)
	}
	ms, _ := values["ts"].(json.Number).Int64()
	for column, v := range values {
		number, isNumber := v.(json.Number)
		if column == "ts" || !isNumber {
			continue
		}
		l := line{Thing: thing, Column: column, Value: string(number), Ms: ms}
		if g.count%50 == 20 {
			switch g.mode {
			case "loses":
				continue
			case "changes":
				l.Value += "1"
			case "loses names":
				if column != "seq" {
					continue
				}
			case "invents":
				g.keep(l)
			}
		}
		g.keep(l)
	}
}

// keep writes a value to the file and makes it known to queries.
func (g *fakeGateway) keep(l line) {
	text, _ := json.Marshal(l)
	g.file.Write(append(text, '\n'))
	g.insert(l)
}

var rawSelector = regexp.MustCompile(`^(\w+)\{thing="([\w-]+)"\}\[(\d+)ms\]$`)

// ServeHTTP answers instant queries of raw samples.
func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	match := rawSelector.FindStringSubmatch(r.FormValue("query"))
	if r.URL.Path != "/prometheus/api/v1/query" || r.Header.Get("Authorization") != "Bearer "+g.token || match == nil {
		http.Error(w, `{"status":"error","error":"no"}`, http.StatusBadRequest)
		return
	}
	toMs, err := parseMs(r.FormValue("time"))
	if err != nil {
		panic(err)
	}
	rangeMs, _ := strconv.ParseInt(match[3], 10, 64)
	g.mu.Lock()
	defer g.mu.Unlock()
	var values [][2]any
	samples := slices.Clone(g.columns[match[1]+"/"+match[2]])
	slices.SortFunc(samples, func(a, b sample) int { return int(a.ms - b.ms) })
	for _, s := range samples {
		if toMs-rangeMs < s.ms && s.ms <= toMs {
			values = append(values, [2]any{json.Number(strings.TrimSuffix(fmt.Sprintf("%d.%03d", s.ms/1000, s.ms%1000), ".000")), s.value})
		}
	}
	result := []any{}
	if len(values) > 0 {
		result = append(result, map[string]any{"metric": map[string]string{"thing": match[2]}, "values": values})
	}
	json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": result}})
}

// TestCrash runs the crash test against a gateway that keeps everything, and against such that do not.
func TestCrash(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := func(mode string, wantCode int, want ...string) {
		t.Helper()
		t.Setenv(fakeGatewayMode, mode)
		t.Setenv("TMPDIR", t.TempDir())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var out, errs bytes.Buffer
		code := Command{}.Main(ctx, []string{"crash", "--binary", self, "--kills", "3", "--devices", "4", "--load", "250ms", "--seed", "11", "--start-limit", "10s"}, &out, &errs)
		if code != wantCode {
			t.Fatalf("%s: exit %d, want %d\n%s%s", mode, code, wantCode, &out, &errs)
		}
		for _, w := range want {
			if !strings.Contains(out.String()+errs.String(), w) {
				t.Errorf("%s: the output lacks %q\n%s%s", mode, w, &out, &errs)
			}
		}
	}
	f("good", 0, "kills          3 in", "lost           0", "seed           11")
	f("ignores SIGTERM's exit code", 1, "exit code -1 after SIGTERM")
	f("loses", 1, "was acknowledged and is not there", "repeat with --seed 11")
	f("changes", 1, "has the value")
	f("loses names", 1, "column cycle_0000", "lost           0")
	f("invents", 1, "that nobody sent")
}

// TestCompareSamples holds the comparison of what was sent with what is there.
func TestCompareSamples(t *testing.T) {
	device := func() *crashDevice {
		return &crashDevice{thing: "crash-007", index: 7, sentMs: []int64{10, 11, 15, 16}, acked: []bool{true, false, true, true}}
	}
	f := func(samples []sample, wantLost int, wantErr string) {
		t.Helper()
		lost, err := device().compare(samples, 0, 4)
		if lost != wantLost || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%v: lost %d, %v; want %d, %q", samples, lost, err, wantLost, wantErr)
		}
	}
	f([]sample{{10, "0.007"}, {11, "1.007"}, {15, "2.007"}, {16, "3.007"}}, 0, "")
	// what was not acknowledged may be there or not
	f([]sample{{10, "0.007"}, {15, "2.007"}, {16, "3.007"}}, 0, "")
	// the same number in other words
	f([]sample{{10, "7e-3"}, {15, "2.0070"}, {16, "3.007"}}, 0, "")
	f(nil, 3, "message 0 of 10 ms was acknowledged and is not there")
	f([]sample{{10, "0.007"}, {16, "3.007"}}, 1, "message 2 of 15 ms")
	f([]sample{{10, "0.007"}, {15, "2.007"}}, 1, "message 3 of 16 ms")
	f([]sample{{10, "0.007"}, {15, "2.0071"}, {16, "3.007"}}, 1, "has the value 2.0071, sent was 2.007")
	// a wrong value is wrong also where nobody was promised anything
	f([]sample{{10, "0.007"}, {11, "x"}, {15, "2.007"}, {16, "3.007"}}, 0, "has the value x")
	f([]sample{{10, "0.007"}, {12, "1.007"}, {15, "2.007"}, {16, "3.007"}}, 0, "a sample of 12 ms, value 1.007, that nobody sent")
	f([]sample{{10, "0.007"}, {15, "2.007"}, {16, "3.007"}, {17, "4.007"}}, 0, "a sample of 17 ms")
	f([]sample{{10, "0.007"}, {10, "0.007"}, {15, "2.007"}, {16, "3.007"}}, 0, "a sample of 10 ms")
}

func TestParseMs(t *testing.T) {
	f := func(text string, want int64, good bool) {
		t.Helper()
		if got, err := parseMs(text); good != (err == nil) || good && got != want {
			t.Errorf("parseMs(%q) = %d, %v", text, got, err)
		}
	}
	f("1700000000", 1700000000000, true)
	f("1700000000.5", 1700000000500, true)
	f("1700000000.123", 1700000000123, true)
	f("0.001", 1, true)
	f("1.0001", 0, false)
	f("x", 0, false)
}

// TestTail keeps the end of a long output.
func TestTail(t *testing.T) {
	var log tail
	for i := range 10_000 {
		fmt.Fprintf(&log, "line %d\n", i)
	}
	if text := log.String(); len(text) > maxTailBytes || !strings.HasSuffix(text, "line 9998\nline 9999") {
		t.Errorf("%d bytes, ending in %q", len(text), text[max(len(text)-30, 0):])
	}
}
