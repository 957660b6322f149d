package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// mqttProtocol is MQTT's WebSocket subprotocol [MQTT-6.0.0-3].
const mqttProtocol = "mqtt"

// getMQTT upgrades a connection to a WebSocket and hands its bytes to the MQTT side, which decides by the client
// certificate of the TLS connection who it is. There is no other right to check here, and no cookie counts.
func getMQTT(_ context.Context, s *Server, c *call) (*written, error) {
	if s.opts.MQTT == nil {
		return nil, notFound("this gateway has no MQTT over WebSocket")
	}
	state := c.http.TLSConnectionState()
	if state == nil || !websocket.FastHTTPIsWebSocketUpgrade(c.http) {
		return nil, invalid("/mqtt takes WebSocket upgrades with the subprotocol %s", mqttProtocol)
	}
	upgrader := websocket.FastHTTPUpgrader{
		Subprotocols: []string{mqttProtocol}, ReadBufferSize: 4096, WriteBufferSize: 4096,
		// Who may connect is said by the client certificate. A page of another site could use the browser's, so a
		// request that names an origin must be of this one: that is the default check.
		Error: func(*fasthttp.RequestCtx, int, error) {},
	}
	err := upgrader.Upgrade(c.http, func(ws *websocket.Conn) {
		defer ws.Close()
		if ws.Subprotocol() != mqttProtocol {
			return
		}
		s.opts.MQTT(&messageStream{Conn: ws.NetConn(), ws: ws, state: *state})
	})
	if err != nil {
		return nil, invalid("the WebSocket upgrade was refused: %v", err)
	}
	return &written{}, nil
}

// messageStream makes one byte stream of the binary messages of a WebSocket: MQTT packets may lie across them
// [MQTT-6.0.0-1, MQTT-6.0.0-2]. One reader and one writer at a time, as for any connection of the MQTT side.
type messageStream struct {
	net.Conn // for addresses and deadlines
	ws       *websocket.Conn
	state    tls.ConnectionState
	message  io.Reader // the message that is being read
}

// ConnectionState returns what TLS said at the handshake.
func (m *messageStream) ConnectionState() tls.ConnectionState { return m.state }

func (m *messageStream) Read(p []byte) (int, error) {
	for {
		if m.message == nil {
			kind, message, err := m.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("text message in MQTT over WebSocket [MQTT-6.0.0-1]")
			}
			m.message = message
		}
		n, err := m.message.Read(p)
		if errors.Is(err, io.EOF) {
			m.message = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (m *messageStream) Write(p []byte) (int, error) {
	if err := m.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *messageStream) SetReadDeadline(t time.Time) error  { return m.ws.SetReadDeadline(t) }
func (m *messageStream) SetWriteDeadline(t time.Time) error { return m.ws.SetWriteDeadline(t) }
func (m *messageStream) SetDeadline(t time.Time) error {
	return errors.Join(m.ws.SetReadDeadline(t), m.ws.SetWriteDeadline(t))
}
