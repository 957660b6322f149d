package conn

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestAddressRates(t *testing.T) {
	r := newAddressRates(10, 3)
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	take := func(addr netip.Addr, want bool) {
		t.Helper()
		if got := r.allow(addr, now); got != want {
			t.Fatalf("%v: %v, want %v", addr, got, want)
		}
	}
	for range 3 {
		take(a, true)
	}
	take(a, false)
	take(b, true)
	now = now.Add(100 * time.Millisecond) // one token more
	take(a, true)
	take(a, false)
	// the addresses of one /64 are one host
	for i := range 3 {
		take(netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}), true)
	}
	take(netip.AddrFrom16([16]byte{0x20, 1, 15: 99}), false)
}

// TestAddressTableIsBounded: a flood from many addresses neither grows the table nor locks the others out for long.
func TestAddressTableIsBounded(t *testing.T) {
	r := newAddressRates(10, 3)
	now := time.Unix(1000, 0)
	addr := func(i int) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i))
		return netip.AddrFrom4(a)
	}
	refused := 0
	for i := range maxAddresses + 100 {
		if !r.allow(addr(i), now) {
			refused++
		}
	}
	if len(r.buckets) > maxAddresses || refused != 97 {
		t.Fatalf("%d buckets, %d refused, want 97", len(r.buckets), refused)
	}
	now = now.Add(time.Second)
	if !r.allow(addr(1<<30), now) || len(r.buckets) != 1 {
		t.Fatalf("%d buckets after a pause", len(r.buckets))
	}
}
