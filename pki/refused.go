package pki

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/time/rate"

	"muster/agent/wire"
)

// Error is a refusal: Message is a sentence for whoever asked, Status the HTTP status that goes with it, Reason a
// fixed word for counters. errors.Is compares Reason, so that the Err values below can be looked for.
type Error struct {
	Status  int
	Reason  string
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is says whether target is an *Error with the same reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Refusals that a Store makes, too.
var (
	ErrKeyUsed    = &Error{http.StatusConflict, "used-key", "this key has enrolled already: renew with simplereenroll, or let an operator remove its entry from the allow-list and allow it again"}
	ErrKeyBound   = &Error{http.StatusConflict, "bound-key", "this key belongs to another thing: every thing needs a key of its own"}
	ErrKeyRevoked = &Error{http.StatusForbidden, "revoked-key", "this key was revoked: make a new key and let an operator allow it"}
	ErrNotFound   = &Error{http.StatusNotFound, "not-found", "there is no such entry"}
	ErrExists     = &Error{http.StatusConflict, "exists", "this certificate is registered already"}
	ErrInactive   = &Error{http.StatusForbidden, "inactive", "the certificate is not active: let an operator activate it, or enroll again"}
)

// refusef makes a refusal.
func refusef(status int, reason, format string, args ...any) *Error {
	return &Error{Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// RefusedKey is a key that asked for something and did not get it, for the operator to look at: a device that
// was forgotten on the allow-list, or one that does not belong here. Times are Unix ms.
type RefusedKey struct {
	Key         wire.KeyHash
	CommonName  string // as its certificate claims; not verified; at most 64 bytes
	Remote      string // last seen address, where it is known
	Reason      string // of the last refusal
	FirstSeenMs int64
	LastSeenMs  int64
	Count       uint64
}

// maxRefused bounds the list; the key that was quiet for longest makes room.
const maxRefused = 256

type refusals struct {
	set *metrics.Set
	mu  sync.Mutex // guards all below
	// keys is short and its order is of no meaning.
	keys   []RefusedKey
	limit  *rate.Limiter // of log lines
	silent int           // refusals since the last log line
}

func (r *refusals) init(set *metrics.Set) {
	r.set = set
	r.limit = rate.NewLimiter(rate.Every(time.Second), 20)
	for _, reason := range []string{"unknown-key", "used-key", "revoked-key", "csr", "expired", "foreign"} {
		r.counter(reason) // so that they are there, as 0, from the start
	}
}

func (r *refusals) counter(reason string) *metrics.Counter {
	return r.set.GetOrCreateCounter(`muster_pki_refused_total{reason="` + reason + `"}`)
}

// note counts a refusal and remembers its key, if it is known. It says whether the refusal should be logged, and how
// many were not since the last one that was.
func (r *refusals) note(key wire.KeyHash, commonName, remote, reason string, now time.Time) (log bool, silent int) {
	r.counter(reason).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	if key != (wire.KeyHash{}) {
		k := r.entry(key, now)
		k.CommonName, k.Reason, k.LastSeenMs = commonName[:min(len(commonName), 64)], reason, now.UnixMilli()
		k.Count++
		if remote != "" {
			k.Remote = remote
		}
	}
	if !r.limit.AllowN(now, 1) {
		r.silent++
		return false, 0
	}
	silent, r.silent = r.silent, 0
	return true, silent
}

// entry returns the entry of key, made if needed. The caller holds mu.
func (r *refusals) entry(key wire.KeyHash, now time.Time) *RefusedKey {
	oldest := 0
	for i := range r.keys {
		if r.keys[i].Key == key {
			return &r.keys[i]
		}
		if r.keys[i].LastSeenMs < r.keys[oldest].LastSeenMs {
			oldest = i
		}
	}
	fresh := RefusedKey{Key: key, FirstSeenMs: now.UnixMilli()}
	if len(r.keys) < maxRefused {
		r.keys = append(r.keys, fresh)
		return &r.keys[len(r.keys)-1]
	}
	r.keys[oldest] = fresh
	return &r.keys[oldest]
}

// forget drops the entry of a key that is allowed now.
func (r *refusals) forget(key wire.KeyHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = slices.DeleteFunc(r.keys, func(k RefusedKey) bool { return k.Key == key })
}

// Refused returns the keys refused lately, the last seen first; at most 256. They are kept in memory only.
func (a *Authority) Refused() []RefusedKey {
	a.refused.mu.Lock()
	out := slices.Clone(a.refused.keys)
	a.refused.mu.Unlock()
	slices.SortFunc(out, func(x, y RefusedKey) int { return cmp.Compare(y.LastSeenMs, x.LastSeenMs) })
	return out
}

type remoteKey struct{}

// WithRemote tells Enroll and Reenroll the address of the client, for the log and the list of refused keys.
func WithRemote(ctx context.Context, remote string) context.Context {
	return context.WithValue(ctx, remoteKey{}, remote)
}

func remoteOf(ctx context.Context) string {
	remote, _ := ctx.Value(remoteKey{}).(string)
	return remote
}
