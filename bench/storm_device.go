package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strconv"
	"time"

	"muster/agent/wire"
)

// stormDevice is one device of a storm. One goroutine at a time uses it.
type stormDevice struct {
	thing  string
	index  int
	addr   string
	from   net.Addr // its own address, nil: any
	config *tls.Config
	epoch  int64 // ms; message n is of epoch + n, so that no two are the same row

	raw    *net.TCPConn // nil without a connection
	conn   net.Conn
	reader packetReader

	sent, acked int // messages
	tries       int // connections of this wave
	resumed     bool
	failure     error // of the last try
}

// makeDevices prepares the devices. Each 250 have an address of their own, as far as the machine's loopback network goes: the ports
// of one would not be enough, and a gateway may limit how many come from there.
func (s *storm) makeDevices(addr, rootFile string, certs []tls.Certificate) ([]*stormDevice, error) {
	base, err := tlsSettings{caFile: rootFile}.base(addr)
	if err != nil {
		return nil, err
	}
	// OpenSSL 3.0 has no hybrid key exchange: both brokers get the same.
	base.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	devices := make([]*stormDevice, len(certs))
	epoch := time.Now().Add(-time.Minute).UnixMilli()
	for i := range devices {
		config := base.Clone()
		config.Certificates = certs[i : i+1]
		devices[i] = &stormDevice{thing: stormThing(i), index: i, addr: addr, config: config, epoch: epoch, from: loopbackAddr(addr, i/250)}
	}
	return devices, nil
}

// loopbackAddr returns the n-th address of 127.1.0.0/16 to dial addr from; nil where addr is not of the IPv4 loopback network.
func loopbackAddr(addr string, n int) net.Addr {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host).To4(); err != nil || ip == nil || !ip.IsLoopback() {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n&0xff))}
}

// comeBack connects and publishes one message, again and again until it is acknowledged or ctx ends.
func (d *stormDevice) comeBack(ctx context.Context, rng *mathrand.Rand) {
	d.tries = 0
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		d.tries++
		err := d.connect(ctx)
		if err == nil {
			if err = d.publish(1); err == nil {
				return
			}
		}
		d.cut()
		if ctx.Err() == nil || d.failure == nil {
			d.failure = err
		}
		if sleep(ctx, pause/2+time.Duration(rng.Int64N(int64(pause)))) != nil {
			return
		}
	}
}

// connect makes the TLS handshake and the MQTT session.
func (d *stormDevice) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: d.from}
	tcp, err := dialer.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return err
	}
	d.raw = tcp.(*net.TCPConn)
	deadline, _ := ctx.Deadline()
	tcp.SetDeadline(deadline)
	secure, err := overTLS(ctx, tcp, d.config)
	if err != nil {
		return err
	}
	d.conn, d.reader = secure, packetReader{conn: secure}
	d.resumed = secure.ConnectionState().DidResume
	return d.reader.exchange(appendConnect(nil, mqtt311, d.thing, 600), packet.connack)
}

// message appends the PUBLISH of the next message.
func (d *stormDevice) message(dst []byte) []byte {
	body := strconv.AppendInt([]byte(`{"ts":`), d.epoch+int64(d.sent), 10)
	body = append(body, ',')
	body = append(body, newTelemetry(200).append(nil, d.index, uint64(d.sent))[1:]...)
	d.sent++
	return appendPublish(dst, mqtt311, 1, uint16(d.sent%65535+1), wire.TelemetryTopic(d.thing), body)
}

// publish sends n messages and waits for their acknowledgements.
func (d *stormDevice) publish(n int) error {
	d.raw.SetDeadline(time.Now().Add(connectTimeout))
	var out []byte
	for range n {
		out = d.message(out)
	}
	if _, err := d.conn.Write(out); err != nil {
		return err
	}
	for range n {
		p, err := d.reader.next()
		if err != nil {
			return err
		}
		if p.kind != packetPuback {
			return fmt.Errorf("want PUBACK, the broker sends packet type %d", p.kind)
		}
		if _, reason, err := p.puback(); err != nil || reason != 0 {
			return errors.Join(err, fmt.Errorf("the message is refused with reason 0x%02x", reason))
		}
		d.acked++
	}
	return nil
}

// sendLast sends a message whose acknowledgement is not waited for.
func (d *stormDevice) sendLast() {
	if d.conn != nil {
		d.conn.Write(d.message(nil)) // it may get lost
	}
}

// cut ends the connection as a power cut does: without a word.
func (d *stormDevice) cut() {
	if d.raw != nil {
		d.raw.SetLinger(0)
		d.raw.Close()
	}
	d.raw, d.conn = nil, nil
}
