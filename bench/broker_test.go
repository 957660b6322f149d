package bench

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"net"
	"sync"
	"testing"
	"time"
)

// testBroker is the least of an MQTT broker, on a real socket: it accepts, acknowledges as it is told and notes what it got.
type testBroker struct {
	addr string
	// acknowledge returns the reason code for message n (from 0) of a client, or no to stay silent. Called under mu.
	acknowledge func(client string, n int) (code byte, answer bool)
	// refuse returns a CONNACK code for a client, 0 to accept. Called under mu.
	refuse func(client string, try int) byte
	// delay holds every acknowledgement back.
	delay time.Duration
	// hangUp ends a connection after so many messages, 0 for never.
	hangUp int

	serving sync.WaitGroup // connections

	mu       sync.Mutex // guards what follows
	clients  map[string]*testClient
	problems []string
}

// testClient is what one client did.
type testClient struct {
	tries int
	commonName,
	filter string
	topics    map[string]int
	times     []time.Time
	sizes     map[int]int
	goodbye   bool
	keepAlive uint16
	version   byte
}

// startBroker serves until the test ends. configure may set the fields before the first client comes.
func startBroker(t *testing.T, config *tls.Config, configure func(*testBroker)) *testBroker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	b := &testBroker{
		addr: listener.Addr().String(), clients: map[string]*testClient{},
		acknowledge: func(string, int) (byte, bool) { return 0, true },
		refuse:      func(string, int) byte { return 0 },
	}
	if configure != nil {
		configure(b)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() {
				defer conn.Close()
				b.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		group.Wait()
		b.serving.Wait()
		for _, p := range b.problems {
			t.Errorf("the broker saw: %s", p)
		}
	})
	return b
}

func (b *testBroker) problem(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, text)
}

// serve speaks with one client until it goes.
func (b *testBroker) serve(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	reader := packetReader{conn: conn}
	p, err := reader.next()
	if err != nil {
		return
	}
	if p.kind != packetConnect || len(p.body) < 12 || string(p.body[:6]) != "\x00\x04MQTT" {
		b.problem("the first packet is no CONNECT")
		return
	}
	v, keepAlive, rest := p.body[6], binary.BigEndian.Uint16(p.body[8:]), p.body[10:]
	if v == byte(mqtt5) {
		rest = rest[1:]
	}
	id := string(rest[2:])
	b.mu.Lock()
	client := b.clients[id]
	if client == nil {
		client = &testClient{topics: map[string]int{}, sizes: map[int]int{}}
		b.clients[id] = client
	}
	client.tries++
	client.keepAlive, client.version = keepAlive, v
	if secure, isTLS := conn.(*tls.Conn); isTLS {
		client.commonName = secure.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	code := b.refuse(id, client.tries)
	b.mu.Unlock()
	answer := []byte{packetConnack << 4, 2, 0, code}
	if v == byte(mqtt5) {
		answer = []byte{packetConnack << 4, 3, 0, code, 0}
	}
	if _, err := conn.Write(answer); err != nil || code != 0 {
		return
	}
	for n := 0; ; {
		if b.hangUp > 0 && n >= b.hangUp {
			return
		}
		p, err := reader.next()
		if err != nil {
			return
		}
		switch p.kind {
		case packetSubscribe:
			b.mu.Lock()
			skip := 2
			if v == byte(mqtt5) {
				skip++
			}
			client.filter = string(p.body[skip+2 : len(p.body)-1])
			b.mu.Unlock()
			suback := []byte{packetSuback << 4, 3, p.body[0], p.body[1], 1}
			if v == byte(mqtt5) {
				suback = []byte{packetSuback << 4, 4, p.body[0], p.body[1], 0, 1}
			}
			conn.Write(suback)
		case packetPublish:
			topicEnd := 2 + int(binary.BigEndian.Uint16(p.body))
			payload := p.body[topicEnd+2:]
			if v == byte(mqtt5) {
				payload = payload[1:]
			}
			if !json.Valid(payload) {
				b.problem("payload is no JSON: " + string(payload))
			}
			b.mu.Lock()
			client.topics[string(p.body[2:topicEnd])]++
			client.sizes[len(payload)]++
			client.times = append(client.times, time.Now())
			code, answer := b.acknowledge(id, n)
			b.mu.Unlock()
			n++
			if !answer {
				continue
			}
			if b.delay > 0 {
				time.Sleep(b.delay)
			}
			puback := []byte{packetPuback << 4, 2, p.body[topicEnd], p.body[topicEnd+1]}
			if code != 0 {
				puback = append(puback, code)
				puback[1]++
			}
			conn.Write(puback)
		case packetDisconnect:
			b.mu.Lock()
			client.goodbye = true
			b.mu.Unlock()
			return
		default:
			b.problem("a packet that no device sends")
		}
	}
}

// mutual returns a server's TLS configuration that wants certificates of ca.
func mutual(t *testing.T, ca *authority) *tls.Config {
	t.Helper()
	cert, err := ca.server()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}
