package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// maxWindow is how many messages a device has in flight: enough for one group commit of the gateway.
	maxWindow = 32
	// maxWrite is how many bytes are gathered for one TLS record: the largest there is.
	maxWrite = 16 << 10
	// writeTime bounds one write, and with it how long a stop may take.
	writeTime = 10 * time.Second
	// readBuffer holds many acknowledgments, which have 4 to 6 bytes.
	readBuffer = 256
)

// session makes one connection and keeps it until it breaks (the error says why), ctx ends or the certificate has to
// be renewed (nil).
func (d *Device) session(ctx context.Context) error {
	id := d.present()
	conn, ack, reader, err := d.connect(ctx, id)
	if err != nil {
		return err
	}
	defer conn.Close()
	d.count(func(s *Stats) {
		s.Connected = true
		s.Connects++
		if conn.ConnectionState().DidResume {
			s.Resumed++
		}
	})
	defer d.count(func(s *Stats) { s.Connected = false })
	if d.cfg.Connected != nil {
		d.cfg.Connected()
	}
	keepAlive := d.cfg.KeepAlive
	if ack.keepAliveSec != 0 {
		keepAlive = time.Duration(ack.keepAliveSec) * time.Second
	}
	broken := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		broken <- d.receive(conn, reader, keepAlive)
	}()
	err = d.transmit(ctx, conn, ack, keepAlive, id.renewAt, broken)
	conn.Close()
	<-finished
	return err
}

// connect opens TCP and TLS and exchanges CONNECT and CONNACK.
func (d *Device) connect(ctx context.Context, id *identity) (*tls.Conn, connack, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	tcp, err := d.cfg.Dial(ctx, "tcp", d.cfg.MQTTAddr)
	if err != nil {
		return nil, connack{}, nil, err
	}
	d.mu.Lock()
	sessions := d.sessions
	d.mu.Unlock()
	conn := tls.Client(tcp, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: d.host, RootCAs: poolOf(id.root),
		Certificates: []tls.Certificate{id.tlsCertificate()}, ClientSessionCache: sessions,
	})
	stop := context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	defer stop()
	reader := bufio.NewReaderSize(conn, readBuffer)
	ack, err := d.introduce(ctx, conn, reader)
	if err != nil {
		tcp.Close()
		return nil, connack{}, nil, fmt.Errorf("connect to %s: %w", d.cfg.MQTTAddr, err)
	}
	if !stop() { // the deadline passed in between: the connection is closed
		return nil, connack{}, nil, fmt.Errorf("connect to %s: %w", d.cfg.MQTTAddr, context.Cause(ctx))
	}
	return conn, ack, reader, nil
}

func (d *Device) introduce(ctx context.Context, conn *tls.Conn, reader *bufio.Reader) (connack, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return connack{}, err
	}
	hello := appendConnect(nil, d.cfg.Thing, uint16(d.cfg.KeepAlive/time.Second), uint32(d.cfg.SessionExpiry/time.Second))
	// With TLS 1.3 a refused certificate does not show in the handshake. Writing may then fail already, but only reading
	// brings the reason.
	conn.Write(hello)
	var buf []byte
	head, body, err := readPacket(reader, &buf)
	if err != nil {
		return connack{}, fmt.Errorf("no answer to CONNECT: %w", err)
	}
	ack, err := parseConnack(head, body)
	if err != nil {
		return connack{}, err
	}
	if ack.code >= 0x80 {
		return connack{}, &packetError{what: "the gateway refused the connection", code: ack.code, text: ack.text}
	}
	return ack, nil
}

// transmit sends what was not acknowledged before, then what waits, and pings where there is nothing to send.
func (d *Device) transmit(ctx context.Context, conn net.Conn, ack connack, keepAlive time.Duration, renewAt time.Time, broken <-chan error) error {
	out := make([]byte, 0, 512)
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		conn.SetWriteDeadline(time.Now().Add(writeTime))
		_, err := conn.Write(out)
		if out = out[:0]; cap(out) > maxWrite {
			out = make([]byte, 0, 512) // a device that is quiet now does not hold the memory of its busiest moment
		}
		return err
	}
	d.queue.rewind(ack.sessionPresent)
	ping := time.NewTimer(keepAlive * 3 / 4)
	defer ping.Stop()
	renew := time.NewTimer(time.Until(renewAt))
	defer renew.Stop()
	for {
		for m := d.queue.next(ack.window); m != nil; m = d.queue.next(ack.window) {
			if out = appendPublish(out, m); len(out) >= maxWrite {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if len(out) > 0 {
			if err := flush(); err != nil {
				return err
			}
			ping.Reset(keepAlive * 3 / 4)
		}
		select {
		case <-d.queue.wake:
		case err := <-broken:
			return err
		case <-ping.C:
			out = append(out, packetPingreq, 0)
		case <-renew.C:
			d.leave(conn)
			return nil
		case <-ctx.Done():
			d.leave(conn)
			return nil
		}
	}
}

// leave says goodbye, so that the gateway does not take the end for a fault. The session stays for its expiry.
func (d *Device) leave(conn net.Conn) {
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write([]byte{packetDisconnect, 0}) // if it does not get there, closing says as much
}

// receive takes acknowledgments until the connection ends. Hearing nothing for twice the keep-alive time, in which at
// least one ping was due, ends it.
func (d *Device) receive(conn net.Conn, reader *bufio.Reader, keepAlive time.Duration) error {
	var buf []byte
	for {
		conn.SetReadDeadline(time.Now().Add(2 * keepAlive))
		head, body, err := readPacket(reader, &buf)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return fmt.Errorf("the gateway was silent for %v", 2*keepAlive)
		}
		if err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
		switch head & 0xF0 {
		case packetPuback:
			id, code, err := parsePuback(body)
			if err != nil {
				return err
			}
			d.queue.ack(id, code)
		case packetDisconnect:
			return parseDisconnect(body)
		case packetPingresp, packetPublish: // nothing is subscribed; what an earlier session left behind is let go
		default:
			return fmt.Errorf("the gateway sent a packet of type %d, which has no place here", head>>4)
		}
	}
}
