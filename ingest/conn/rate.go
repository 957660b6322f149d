package conn

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// addressRates is a token bucket per address: how often one may connect. Safe for concurrent use.
type addressRates struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex // guards what follows
	buckets map[netip.Addr]*rate.Limiter
	// rest is shared by all addresses that come while the table is full of busy ones.
	rest *rate.Limiter
}

// maxAddresses bounds the table; a bucket takes about 150 bytes.
const maxAddresses = 16_384

func newAddressRates(perSecond float64, burst int) *addressRates {
	limit := rate.Limit(perSecond)
	return &addressRates{limit: limit, burst: burst, buckets: make(map[netip.Addr]*rate.Limiter), rest: rate.NewLimiter(limit, burst)}
}

// allow takes a token of addr; false: there is none.
func (r *addressRates) allow(addr netip.Addr, now time.Time) bool {
	addr = hostOf(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket := r.buckets[addr]
	if bucket == nil {
		if len(r.buckets) >= maxAddresses {
			r.sweep(now)
		}
		if len(r.buckets) >= maxAddresses {
			return r.rest.AllowN(now, 1)
		}
		bucket = rate.NewLimiter(r.limit, r.burst)
		r.buckets[addr] = bucket
	}
	return bucket.AllowN(now, 1)
}

// hostOf returns what stands for all addresses that one host has: with IPv6 it has a whole /64.
func hostOf(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// sweep drops the buckets that are full again: they say nothing.
func (r *addressRates) sweep(now time.Time) {
	for addr, bucket := range r.buckets {
		if bucket.TokensAt(now) >= float64(r.burst) {
			delete(r.buckets, addr)
		}
	}
}
