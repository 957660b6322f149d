package admin_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"muster/admin"
	"muster/registry/account"
)

// dial returns a TLS connection to the gateway.
func (g *gateway) dial() *tls.Conn {
	g.t.Helper()
	conn, err := tls.Dial("tcp", g.Addr().String(), &tls.Config{RootCAs: g.roots})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	return conn
}

// TestSlowClients: one byte of a header now and then, a body that never comes, a handshake that never begins: each is
// cut off at the read timeout, and others are served meanwhile.
func TestSlowClients(t *testing.T) {
	const timeout = 400 * time.Millisecond
	g := openGateway(t, func(o *admin.Options) { o.ReadTimeout = timeout })
	ended := make(chan string, 3)
	drip := func(what string, conn net.Conn, first string) {
		go func() {
			conn.Write([]byte(first))
			ticker := time.NewTicker(timeout / 8)
			defer ticker.Stop()
			answered := make(chan struct{})
			go func() {
				io.Copy(io.Discard, conn)
				close(answered)
			}()
			for {
				select {
				case <-answered:
					ended <- what
					return
				case <-ticker.C:
					conn.Write([]byte("a"))
				}
			}
		}()
	}
	begin := time.Now()
	drip("header", g.dial(), "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	drip("body", g.dial(), "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
	raw, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	drip("handshake", raw, "\x16\x03\x01\x02\x00")
	g.send(g.client, "GET", "/healthz", "").want(200)
	for range 3 {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a slow client is still connected")
		}
	}
	if took := time.Since(begin); took < timeout {
		t.Fatalf("cut off after %v, before the timeout", took)
	}
	g.send(g.client, "GET", "/healthz", "").want(200)
}

func TestConnectionsPerAddress(t *testing.T) {
	g := openGateway(t, func(o *admin.Options) { o.MaxConnsPerAddr = 3 })
	var conns []*tls.Conn
	for range 3 {
		conns = append(conns, g.dial())
	}
	if conn, err := tls.Dial("tcp", g.Addr().String(), &tls.Config{RootCAs: g.roots}); err == nil {
		conn.Close()
		t.Fatal("a fourth connection of the address was taken")
	}
	conns[0].Close()
	deadline := time.Now().Add(5 * time.Second)
	for {
		conn, err := tls.Dial("tcp", g.Addr().String(), &tls.Config{RootCAs: g.roots})
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place of a closed connection is not free: %v", err)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
}

// all is an endless text of one byte.
type all byte

func (b all) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// sendLarge posts a body of so many bytes of one kind, which may be refused before it was read. It waits for the server's word
// first, and has a client of its own, because the server closes the connection of a body that it does not read.
func (g *gateway) sendLarge(path string, size int64, kind all, headers ...string) reply {
	g.t.Helper()
	client := g.newClient(nil)
	client.Transport.(*http.Transport).ExpectContinueTimeout = 5 * time.Second
	req, err := http.NewRequest("POST", g.url+path, io.LimitReader(kind, size))
	if err != nil {
		g.t.Fatal(err)
	}
	req.ContentLength = size
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.Header.Set("Expect", "100-continue")
	return g.do(client, req)
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	f := func(want int, path string, size int64, headers ...string) {
		t.Helper()
		if r := g.sendLarge(path, size, ' ', headers...); r.status != want {
			t.Fatalf("%d bytes to %s: status %d, want %d: %s", size, path, r.status, want, r.text)
		}
	}
	bearer := "Bearer " + adminToken
	f(400, "/api/login", 64<<10)
	f(413, "/api/login", 64<<10+1)
	f(413, "/api/login", 1<<30)
	f(400, "/api/tokens", 1<<20, "Authorization", bearer)
	f(413, "/api/tokens", 1<<20+1, "Authorization", bearer)
	f(413, "/api/tokens", 1<<20, "Authorization", "Bearer wrong")
	f(413, "/api/tokens", 1<<20, "Cookie", "__Host-muster=wrong")
	f(400, "/api/allow", 8<<20, "Authorization", bearer, "Content-Type", "text/csv")
	f(413, "/api/allow", 8<<20+1, "Authorization", bearer, "Content-Type", "text/csv")
	f(413, "/api/allow", 8<<20, "Authorization", "Bearer "+g.token(account.Viewer), "Content-Type", "text/csv")
	f(413, "/iot/things/a", 2<<20, "Authorization", "AWS4-HMAC-SHA256 Credential=NONE/20261121/r/iot/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("0", 64))

	if r := g.send(g.newClient(nil), "GET", "/healthz", "", "X-Long", strings.Repeat("a", 20<<10)); r.status != 431 {
		t.Fatalf("long headers: status %d", r.status)
	}
	conn := g.dial()
	if _, err := conn.Write([]byte("this is no HTTP\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != 400 {
		t.Fatalf("no HTTP: %v, %v", answer, err)
	}
}

// events opens the live overview and returns its events.
func (g *gateway) events(client *http.Client, headers ...string) (next func() (map[string]any, error), stop func()) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, "GET", g.url+"/api/overview/live", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	answer, err := client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { cancel(); answer.Body.Close() })
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		g.t.Fatalf("live overview: %s %v", answer.Status, answer.Header)
	}
	lines := bufio.NewScanner(answer.Body)
	return func() (map[string]any, error) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var v map[string]any
				return v, json.Unmarshal([]byte(text), &v)
			}
		}
		return nil, errors.Join(lines.Err(), io.EOF)
	}, cancel
}

func TestLiveOverview(t *testing.T) {
	g := openGateway(t, func(o *admin.Options) { o.MaxLiveListeners = 2; o.WriteTimeout = 300 * time.Millisecond }).bootstrap()
	g.send(g.client, "GET", "/api/overview/live", "").want(401)
	next, stop := g.events(g.client, "Authorization", "Bearer "+adminToken)
	other, _ := g.events(g.client, "Authorization", "Bearer "+adminToken)
	g.traffic.Store(1)
	deadline := time.Now().Add(10 * time.Second)
	for rate := 0.0; rate == 0; {
		g.traffic.Add(1000)
		v, err := next()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no rate in %v, %v", v, err)
		}
		rate = v["messagesPerSecond"].(float64)
	}
	// it outlives the write timeout of one answer
	for begin := time.Now(); time.Since(begin) < time.Second; {
		if _, err := next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other(); err != nil {
		t.Fatal(err)
	}
	// one more is one too many, until one leaves
	g.as(adminToken, "GET", "/api/overview/live", "").want(503)
	stop()
	for {
		answer := g.liveStatus()
		if answer == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place of a listener that left is not free: %d", answer)
		}
	}
	// the end of the server ends the stream
	limit, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := g.stop(limit); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := other(); err != nil {
			return
		}
	}
}

func (g *gateway) liveStatus() int {
	g.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", g.url+"/api/overview/live", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	answer, err := g.client.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// The stream of a session ends when the session does.
func TestLiveOverviewEndsWithSession(t *testing.T) {
	g := openGateway(t, nil)
	if err := g.accounts.CreateUser(ctx, "ann", goodPhrase, account.Viewer); err != nil {
		t.Fatal(err)
	}
	cookie := cookieOf(g.send(g.client, "POST", "/api/login", `{"username":"ann","password":"`+goodPhrase+`"}`).want(200))
	next, _ := g.events(g.client, "Cookie", cookie)
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	g.send(g.client, "POST", "/api/logout", "", "Cookie", cookie, "X-Muster", "1").want(204)
	g.clock.turn(2 * time.Minute)
	for begin := time.Now(); ; {
		if _, err := next(); err != nil {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the stream outlives its session")
		}
	}
}

// A panic in what admin calls is a 500 with the request's id, and the server lives on. So is the end of a query's time.
func TestPanicAndTimeout(t *testing.T) {
	g := openGateway(t, func(o *admin.Options) {
		o.QueryTimeout = 50 * time.Millisecond
		o.Query = func(ctx context.Context, _, _ string, form url.Values) (int, string, []byte) {
			if form.Get("query") == "boom" {
				panic("boom")
			}
			<-ctx.Done()
			return 503, "application/json", []byte(`{"status":"error","errorType":"timeout"}`)
		}
	}).bootstrap()
	r := g.as(adminToken, "GET", "/prometheus/api/v1/query?query=boom", "").want(500)
	if id := r.header.Get("X-Request-Id"); r.kind() != "internal" || id == "" || !strings.Contains(r.text, id) || strings.Contains(r.text, "boom") {
		t.Fatalf("%s %v", r.text, r.header)
	}
	g.as(adminToken, "GET", "/prometheus/api/v1/query?query=slow", "").want(503)
}

// Shutdown is bounded: a request that hangs is cut off.
func TestShutdownIsBounded(t *testing.T) {
	started := make(chan struct{})
	release := make(chan struct{})
	g := openGateway(t, func(o *admin.Options) {
		o.Query = func(context.Context, string, string, url.Values) (int, string, []byte) {
			close(started)
			<-release
			return 200, "application/json", nil
		}
	}).bootstrap()
	go func() {
		req, _ := http.NewRequest("GET", g.url+"/prometheus/api/v1/query", nil)
		req.Header.Set("Authorization", "Bearer "+adminToken)
		if answer, err := g.client.Do(req); err == nil {
			answer.Body.Close()
		}
	}()
	<-started
	t.Cleanup(func() { close(release) })
	limit, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := g.stop(limit); err == nil {
		t.Fatal("a hanging request is no error of Shutdown")
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Fatalf("Shutdown took %v", took)
	}
}

func TestMQTTWebSocket(t *testing.T) {
	type upgraded struct {
		text  string
		peers int
	}
	got := make(chan upgraded, 1)
	g := openGateway(t, func(o *admin.Options) {
		o.MQTT = func(conn net.Conn) {
			state := conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
			buf := make([]byte, 10)
			_, err := io.ReadFull(conn, buf) // across two messages
			if err == nil {
				_, err = conn.Write([]byte("and back"))
			}
			if err != nil {
				t.Error(err)
			}
			got <- upgraded{string(buf), len(state.PeerCertificates)}
		}
	})
	cert, _ := selfSigned(t, "lamp-1")
	dial := func(protocol, origin string) (*websocket.Conn, error) {
		dialer := websocket.Dialer{
			TLSClientConfig: &tls.Config{RootCAs: g.roots, Certificates: []tls.Certificate{cert}}, Subprotocols: []string{protocol},
		}
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, answer, err := dialer.Dial("wss://"+g.Addr().String()+"/mqtt", header)
		if answer != nil && answer.Body != nil {
			answer.Body.Close()
		}
		return conn, err
	}
	ws, err := dial("mqtt", "")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, part := range []string{"hello", "world"} {
		if err := ws.WriteMessage(websocket.BinaryMessage, []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if kind, text, err := ws.ReadMessage(); err != nil || kind != websocket.BinaryMessage || string(text) != "and back" {
		t.Fatalf("%d %q %v", kind, text, err)
	}
	if u := <-got; u.text != "helloworld" || u.peers != 1 {
		t.Fatalf("%+v", u)
	}
	// a page of another site may not use the browser's certificate
	if ws, err := dial("mqtt", "https://evil.example"); err == nil {
		ws.Close()
		t.Fatal("a foreign origin was upgraded")
	}
	g.send(g.client, "GET", "/mqtt", "").want(400)
}
