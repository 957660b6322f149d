package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"time"
)

const (
	sessionBytes = 32
	touchEvery   = int64(time.Minute / time.Millisecond) // how exact SeenMs and UsedMs are: one write a minute, not one a request
)

// Login signs a user in with a password and returns the session's secret, which goes into a cookie and is kept
// nowhere else. An unknown user takes as long as a wrong password and gives the same Denied. 5 tries a minute
// for a user and 20 for an address; then Busy.
func (a *Accounts) Login(ctx context.Context, name, password string, remote netip.Addr) (secret string, p Principal, err error) {
	denied := &Error{Denied, "user or password is wrong"}
	if len(password) > maxPasswordBytes || len(name) > maxNameLen { // also bounds what the limiter remembers
		return "", Principal{}, denied
	}
	if err := a.limit(remote, name); err != nil {
		return "", Principal{}, err
	}
	u, known, err := a.store.User(ctx, name)
	if err != nil {
		return "", Principal{}, err
	}
	phc := u.PasswordHash
	usable := known && phc != "" && u.DisabledMs == 0
	if !usable {
		phc = a.dummy
	}
	match, err := a.verifyPassword(ctx, phc, password)
	if err != nil {
		return "", Principal{}, err
	}
	if !match || !usable {
		return "", Principal{}, denied
	}
	return a.openSession(ctx, u.Name, u.Role, remote)
}

// openSession makes a new session: a login never takes over an id that a browser had before.
func (a *Accounts) openSession(ctx context.Context, user string, role Role, remote netip.Addr) (string, Principal, error) {
	raw, err := a.randomBytes(sessionBytes)
	if err != nil {
		return "", Principal{}, err
	}
	secret := base64.RawURLEncoding.EncodeToString(raw)
	now := a.clock.Now()
	err = a.store.AddSession(ctx, Session{
		Secret: sha256.Sum256([]byte(secret)), User: user, Remote: remote.String(),
		CreatedMs: now.UnixMilli(), SeenMs: now.UnixMilli(),
	}, now.Add(-a.sessionTTL.idle).UnixMilli(), now.Add(-a.sessionTTL.absolute).UnixMilli())
	if err != nil {
		return "", Principal{}, err
	}
	return secret, Principal{Name: user, Role: role, Via: "session"}, nil
}

// Session answers whose session secret is. A session ends 30 minutes after its last request, 12 hours after its
// login, at Logout, and when its user's role or password changes.
func (a *Accounts) Session(ctx context.Context, secret string) (Principal, error) {
	ended := &Error{Denied, "the session has ended; sign in again"}
	if len(secret) != base64.RawURLEncoding.EncodedLen(sessionBytes) {
		return Principal{}, ended
	}
	digest := Digest(sha256.Sum256([]byte(secret)))
	s, ok, err := a.store.Session(ctx, digest)
	if err != nil {
		return Principal{}, err
	}
	if !ok || !a.holds(s) {
		return Principal{}, ended
	}
	if now := a.nowMs(); now-s.SeenMs >= touchEvery {
		if err := a.store.TouchSession(ctx, digest, now); err != nil {
			return Principal{}, err
		}
	}
	return Principal{Name: s.User, Role: s.Role, Via: "session"}, nil
}

// Logout ends the session. A secret that is no session is no error.
func (a *Accounts) Logout(ctx context.Context, secret string) error {
	return a.store.DeleteSession(ctx, sha256.Sum256([]byte(secret)))
}

// SessionAlive says whether the session still holds. It does not count as a request of the session: a stream that
// stays open does not keep it from ending.
func (a *Accounts) SessionAlive(ctx context.Context, secret string) (bool, error) {
	s, ok, err := a.store.Session(ctx, sha256.Sum256([]byte(secret)))
	return ok && a.holds(s), err
}

func (a *Accounts) holds(s Session) bool {
	now := a.nowMs()
	return now-s.SeenMs < a.sessionTTL.idle.Milliseconds() && now-s.CreatedMs < a.sessionTTL.absolute.Milliseconds()
}
