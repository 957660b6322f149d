package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// connectTimeout bounds TCP, TLS and MQTT handshake of one device together.
const connectTimeout = 30 * time.Second

// handshake opens a connection and speaks MQTT until the broker has accepted it: CONNECT, and SUBSCRIBE where filter is not
// empty. wrap puts what is needed between TCP and MQTT (TLS, a switch to non-blocking use).
func handshake(ctx context.Context, addr string, hello []byte, subscribe []byte, wrap func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error) {
	return handshakeFrom(ctx, nil, addr, hello, subscribe, wrap)
}

// handshakeFrom is handshake from an address of this machine; nil is any.
func handshakeFrom(ctx context.Context, from net.Addr, addr string, hello []byte, subscribe []byte, wrap func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: from}
	tcp, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	tcp.SetDeadline(deadline)
	// A cancelled run does not wait for a broker that does not answer.
	stop := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := wrap(ctx, tcp)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	reader := packetReader{conn: conn}
	if err := reader.exchange(hello, packet.connack); err != nil {
		tcp.Close()
		return nil, err
	}
	if len(subscribe) > 0 {
		if err := reader.exchange(subscribe, packet.suback); err != nil {
			tcp.Close()
			return nil, err
		}
	}
	if len(reader.buf) > 0 {
		tcp.Close()
		return nil, fmt.Errorf("the broker sends %d bytes that nobody asked for", len(reader.buf))
	}
	tcp.SetDeadline(time.Time{})
	return conn, nil
}

// packetReader reads packets of one connection, blocking.
type packetReader struct {
	conn net.Conn
	buf  []byte // read, not yet taken
	tmp  []byte
}

// next returns the next packet, valid until the call after it.
func (r *packetReader) next() (packet, error) {
	if r.tmp == nil {
		r.tmp = make([]byte, 4096)
	}
	for {
		p, rest, whole, err := cutPacket(r.buf)
		if err != nil {
			return packet{}, err
		}
		if whole {
			r.buf = rest
			return p, nil
		}
		n, err := r.conn.Read(r.tmp)
		if err != nil {
			return packet{}, err
		}
		r.buf = append(r.buf, r.tmp[:n]...)
	}
}

// exchange writes a request and checks the answer.
func (r *packetReader) exchange(request []byte, check func(packet) error) error {
	if _, err := r.conn.Write(request); err != nil {
		return err
	}
	p, err := r.next()
	if err != nil {
		return err
	}
	return check(p)
}

// plainTCP is a wrap for handshake that puts nothing in between.
func plainTCP(_ context.Context, tcp net.Conn) (net.Conn, error) { return tcp, nil }

// overTLS puts TLS over conn and completes its handshake.
func overTLS(ctx context.Context, conn net.Conn, config *tls.Config) (*tls.Conn, error) {
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}
