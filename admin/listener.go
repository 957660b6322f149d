package admin

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// listener accepts connections, counts them per address and puts TLS on them.
//
// fasthttp can count too, but only IPv4, and it hands its connection objects to the next client while a stream of the
// one before may still set a deadline on it.
type listener struct {
	net.Listener
	tls      *tls.Config
	perAddr  int
	refused  *metrics.Counter
	mu       sync.Mutex // guards counts and open
	counts   map[netip.Addr]int
	openConn map[*countedConn]struct{}
}

func newListener(raw net.Listener, config *tls.Config, perAddr int, refused *metrics.Counter) *listener {
	return &listener{
		Listener: raw, tls: config, perAddr: perAddr, refused: refused,
		counts: map[netip.Addr]int{}, openConn: map[*countedConn]struct{}{},
	}
}

// Accept returns the next connection of an address that has not too many. The handshake is made by the first read,
// under the deadline that fasthttp sets.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &countedConn{Conn: raw, from: l, key: countKey(raw.RemoteAddr())}
		if !l.add(conn) {
			l.refused.Inc()
			raw.Close()
			continue
		}
		return tls.Server(conn, l.tls), nil
	}
}

func (l *listener) add(conn *countedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[conn.key] >= l.perAddr {
		return false
	}
	l.counts[conn.key]++
	l.openConn[conn] = struct{}{}
	return true
}

func (l *listener) remove(conn *countedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.openConn, conn)
	if l.counts[conn.key]--; l.counts[conn.key] == 0 {
		delete(l.counts, conn.key)
	}
}

// closeAll cuts the connections that are still open.
func (l *listener) closeAll() {
	l.mu.Lock()
	conns := make([]*countedConn, 0, len(l.openConn))
	for conn := range l.openConn {
		conns = append(conns, conn)
	}
	l.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
}

// countKey is what connections are counted by: an IPv4 address, or the /64 of an IPv6 one.
func countKey(addr net.Addr) netip.Addr {
	ip := addressOf(addr)
	if ip.Is6() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.Masked().Addr()
		}
	}
	return ip
}

// addressOf returns the IP address of addr; invalid when it has none.
func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	from *listener
	key  netip.Addr
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.from.remove(c) })
	return c.Conn.Close()
}
