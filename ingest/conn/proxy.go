package conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// A load balancer in front of the gateway says in a PROXY protocol header whom a connection comes from
// (haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2). Only the binary version 2 is read, only from the addresses in
// Options.ProxyFrom, and there it must be: who could leave it out could hide, who could send it from elsewhere could be anybody.

const (
	proxyHead = 16 // signature, version and command, family, length
	// maxProxyBody bounds addresses and TLVs. HAProxy's largest known are some hundred bytes, with a certificate's common name.
	maxProxyBody = 4 << 10
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxy = errors.New("no PROXY protocol header of version 2")

// readProxy reads exactly one header from r. from is whom it names; not valid where the proxy speaks for itself (LOCAL, as health
// checks do) or names no TCP address. What follows the addresses (TLVs) is skipped.
func readProxy(r io.Reader) (from netip.AddrPort, err error) {
	var head [proxyHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return from, fmt.Errorf("%w: %w", errProxy, err)
	}
	version, command, family := head[12]>>4, head[12]&0x0f, head[13]
	length := int(binary.BigEndian.Uint16(head[14:]))
	switch {
	case !bytes.Equal(head[:12], proxySignature) || version != 2:
		return from, errProxy
	case command > 1:
		return from, fmt.Errorf("PROXY command %d is unknown", command)
	case length > maxProxyBody:
		return from, fmt.Errorf("PROXY header of %d bytes is too long", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return from, fmt.Errorf("PROXY header is cut: %w", err)
	}
	// Addresses come as source, destination, source port, destination port.
	size := 0
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	}
	if command == 0 || size == 0 {
		return from, nil
	}
	if length < 2*size+4 {
		return from, fmt.Errorf("PROXY header has no room for its addresses: %d bytes", length)
	}
	addr, _ := netip.AddrFromSlice(body[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(body[2*size:])), nil
}

// Proxied is a TCP connection that a proxy has made for someone else.
type Proxied struct {
	*net.TCPConn
	from net.TCPAddr
}

// RemoteAddr returns whom the proxy has named.
func (p *Proxied) RemoteAddr() net.Addr { return &p.from }

// byProxy says whether a peer must send a PROXY header.
func (d *Door) byProxy(peer netip.Addr) bool {
	for _, prefix := range d.opts.ProxyFrom {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// behindProxy reads the header of a connection from a proxy and returns the connection as one from whom that names. Their limit holds,
// not the proxy's. ok is false for one that is turned away.
func (d *Door) behindProxy(raw net.Conn) (conn net.Conn, ok bool) {
	_ = raw.SetReadDeadline(time.Now().Add(d.opts.HelloTimeout)) // an error here is one of the read too
	from, err := readProxy(raw)
	if err != nil {
		d.opts.Refused("proxy header")
		d.opts.Log.Debug("proxy header", "remote", raw.RemoteAddr(), "err", err)
		return nil, false
	}
	tcp, isTCP := raw.(*net.TCPConn)
	if !from.IsValid() || !isTCP {
		return raw, true
	}
	if !d.rates.allow(from.Addr(), time.Now()) {
		d.opts.Refused("address rate")
		return nil, false
	}
	return &Proxied{tcp, *net.TCPAddrFromAddrPort(from)}, true
}
