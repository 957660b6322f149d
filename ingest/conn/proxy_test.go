package conn

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// proxyHeader returns a header of version 2 with addresses of the family of from, followed by extra bytes.
func proxyHeader(command byte, from netip.AddrPort, extra ...byte) []byte {
	family, to := byte(0x11), netip.MustParseAddr("192.0.2.1")
	if from.Addr().Is6() {
		family, to = 0x21, netip.MustParseAddr("2001:db8::1")
	}
	body := append(append(from.Addr().AsSlice(), to.AsSlice()...), byte(from.Port()>>8), byte(from.Port()), 0x22, 0xb3)
	body = append(body, extra...)
	head := append(append([]byte(nil), proxySignature...), 0x20|command, family)
	return append(binary.BigEndian.AppendUint16(head, uint16(len(body))), body...)
}

func TestReadProxy(t *testing.T) {
	f := func(name string, header []byte, want string) {
		t.Helper()
		r := bytes.NewReader(append(header, "rest"...))
		got := "error"
		if from, err := readProxy(r); err == nil {
			if got = from.String(); !from.IsValid() {
				got = "none"
			}
			if r.Len() != len("rest") {
				t.Errorf("%s: %d bytes are left, want those after the header", name, r.Len())
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	v4, v6 := netip.MustParseAddrPort("203.0.113.9:4711"), netip.MustParseAddrPort("[2001:db8::9]:4711")
	f("IPv4", proxyHeader(1, v4), v4.String())
	f("IPv6", proxyHeader(1, v6), v6.String())
	f("IPv4 in IPv6", proxyHeader(1, netip.MustParseAddrPort("[::ffff:203.0.113.9]:1")), "203.0.113.9:1")
	f("TLVs", proxyHeader(1, v4, 0x04, 0, 3, 1, 2, 3, 0x20, 0, 0), v4.String())
	f("LOCAL", proxyHeader(0, v4), "none")
	f("LOCAL without addresses", append(append([]byte(nil), proxySignature...), 0x20, 0, 0, 0), "none")
	f("UDP", change(proxyHeader(1, v4), 13, 0x12), "none")
	f("Unix", change(proxyHeader(1, v6, make([]byte, 180)...), 13, 0x31), "none")
	f("version 1", []byte("PROXY TCP4 203.0.113.9 192.0.2.1 4711 8883\r\n"), "error")
	f("version 3", change(proxyHeader(1, v4), 12, 0x31), "error")
	f("command 2", proxyHeader(2, v4), "error")
	f("signature", change(proxyHeader(1, v4), 11, 0), "error")
	f("no room for addresses", change(proxyHeader(1, v4), 15, 11), "error")
	f("IPv4's room for IPv6", change(proxyHeader(1, v4), 13, 0x21), "error")
	f("too long", proxyHeader(1, v4, make([]byte, maxProxyBody)...), "error")
	f("MQTT", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0}, "error")
	if _, err := readProxy(bytes.NewReader(proxyHeader(1, v4)[:20])); err == nil {
		t.Error("a cut header was taken")
	}
}

func change(b []byte, i int, to byte) []byte {
	b[i] = to
	return b
}

func FuzzReadProxy(f *testing.F) {
	f.Add(proxyHeader(1, netip.MustParseAddrPort("203.0.113.9:4711"), 4, 0, 1, 0))
	f.Add(proxyHeader(1, netip.MustParseAddrPort("[2001:db8::9]:4711")))
	f.Add(proxyHeader(0, netip.MustParseAddrPort("203.0.113.9:4711")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		from, err := readProxy(r)
		if err != nil {
			return
		}
		used := len(data) - r.Len()
		if used != proxyHead+int(binary.BigEndian.Uint16(data[14:])) || !bytes.Equal(data[:12], proxySignature) {
			t.Fatalf("%d bytes used of % x", used, data)
		}
		if from.IsValid() {
			// what was read, written again, reads the same
			if again, err := readProxy(bytes.NewReader(proxyHeader(1, from))); err != nil || again != from {
				t.Fatalf("%s became %s, %v", from, again, err)
			}
		}
	})
}
