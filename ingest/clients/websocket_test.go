package clients

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// TestWebSocketFrames is [MQTT-6.0.0-1], [MQTT-6.0.0-2] and [MQTT-6.0.0-4] of both versions, at the gateway's /mqtt.
func TestWebSocketFrames(t *testing.T) {
	g := startGateway(t)
	dir := g.device("web-1")
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(g.rootFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, Subprotocols: []string{"other", "mqtt"}}
	dial := func() *websocket.Conn {
		t.Helper()
		ws, answer, err := dialer.Dial("wss://"+g.http+"/mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		t.Cleanup(func() { ws.Close() })
		if ws.Subprotocol() != "mqtt" {
			t.Fatalf("subprotocol %q", ws.Subprotocol())
		}
		if err := ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return ws
	}
	for _, version := range []byte{4, 5} {
		body := append([]byte("\x00\x04MQTT"), version, 2, 0, 60)
		if version == 5 {
			body = append(body, 0)
		}
		body = append(body, "\x00\x05web-1"...)
		all := append([]byte{0x10, byte(len(body))}, body...)
		all = append(all, 0xc0, 0, 0xc0, 0)
		ws := dial()
		for _, part := range [][]byte{all[:1], all[1:9], nil, all[9 : len(all)-1], all[len(all)-1:]} { // cut anywhere, several packets in one
			if err := ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
				t.Fatal(err)
			}
		}
		var got []byte
		for !strings.HasSuffix(string(got), "\xd0\x00\xd0\x00") {
			kind, part, err := ws.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage {
				t.Fatalf("%x, then %d %v", got, kind, err)
			}
			got = append(got, part...)
		}
		if got[0] != 0x20 || got[3] != 0 {
			t.Fatalf("connack %x", got)
		}
		if err := ws.WriteMessage(websocket.TextMessage, []byte{0xc0, 0}); err != nil { // the same as text ends the connection
			t.Fatal(err)
		}
		for {
			if _, part, err := ws.ReadMessage(); err == nil && len(part) > 0 && part[0] == 0xd0 {
				t.Fatal("a text frame was answered")
			} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("the connection is still open")
			} else if err != nil {
				break
			}
		}
	}
}
