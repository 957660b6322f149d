package account

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"
)

// limiter lets each key do something n times per period: a bucket of n that fills up evenly. Keys come from the
// network, so their number is bounded.
type limiter struct {
	burst     float64
	perSecond float64

	mu      sync.Mutex // guards buckets
	buckets map[string]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// maxBuckets bounds a limiter to about 1 MiB.
const maxBuckets = 8192

func newLimiter(n int, period time.Duration) *limiter {
	return &limiter{burst: float64(n), perSecond: float64(n) / period.Seconds(), buckets: map[string]bucket{}}
}

// take uses one try of key. When none is left it answers how long to wait for the next one.
func (l *limiter) take(key string, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets[key]
	if !known {
		if len(l.buckets) >= maxBuckets {
			l.shed(now)
		}
		b = bucket{left: l.burst, at: now}
	}
	// A clock that was set back gives nothing and takes nothing.
	b.left = min(l.burst, b.left+max(0, now.Sub(b.at).Seconds())*l.perSecond)
	b.at = now
	if b.left < 1 {
		l.buckets[key] = b
		return time.Duration(math.Ceil((1-b.left)/l.perSecond)) * time.Second, false
	}
	b.left--
	l.buckets[key] = b
	return 0, true
}

// shed forgets the keys whose bucket is full again; if that frees nothing, any half of them: who floods us from
// thousands of addresses gains tries, which the limit per account still bounds.
func (l *limiter) shed(now time.Time) {
	for key, b := range l.buckets {
		if b.left+now.Sub(b.at).Seconds()*l.perSecond >= l.burst {
			delete(l.buckets, key)
		}
	}
	for key := range l.buckets {
		if len(l.buckets) < maxBuckets/2 {
			return
		}
		delete(l.buckets, key)
	}
}

// addressKey is what the limit per address counts: an IPv4 address, or the /64 that one IPv6 user has.
func addressKey(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// limit counts a try from remote, and of user when it has a name.
func (a *Accounts) limit(remote netip.Addr, user string) error {
	now := a.clock.Now()
	if wait, ok := a.byAddress.take(addressKey(remote), now); !ok {
		return &Error{Busy, fmt.Sprintf("too many tries from %s; try again in %s", remote, wait)}
	}
	if user != "" {
		if wait, ok := a.byAccount.take(user, now); !ok {
			return &Error{Busy, fmt.Sprintf("too many tries for this user; try again in %s", wait)}
		}
	}
	return nil
}
