package account

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"strings"
	"time"
)

const (
	codeBytes     = 16 // 128 bits
	setupCodeLife = time.Hour
	setupTries    = 5
	loginCodeLife = 15 * time.Minute
)

var codeEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// newCode returns 128 random bits as people can type them: base32 in groups of four.
func (a *Accounts) newCode() (string, error) {
	raw, err := a.randomBytes(codeBytes)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, c := range codeEncoding.EncodeToString(raw) {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(c)
	}
	return b.String(), nil
}

// digestCode is the digest of a code as somebody typed it: case, spaces and dashes do not matter, 0 and 1 mean O and I.
func digestCode(code string) Digest {
	if len(code) > 256 {
		return Digest{}
	}
	code = strings.Map(func(r rune) rune {
		switch r {
		case '-', ' ', '\t', '\n', '\r':
			return -1
		case '0':
			return 'O'
		case '1':
			return 'I'
		}
		return r
	}, strings.ToUpper(code))
	return sha256.Sum256([]byte(code))
}

// NeedsSetup says whether nobody can sign in as admin yet.
func (a *Accounts) NeedsSetup(ctx context.Context) (bool, error) {
	has, err := a.store.HasAdmin(ctx, a.nowMs())
	return !has, err
}

// OpenSetup makes the setup code of this start and returns it, to be shown on the journal and kept in a file that only
// the operator can read. It replaces an older one. When an admin exists it returns "": a restart reopens nothing.
func (a *Accounts) OpenSetup(ctx context.Context) (code string, err error) {
	if needs, err := a.NeedsSetup(ctx); err != nil || !needs {
		return "", err
	}
	if code, err = a.newCode(); err != nil {
		return "", err
	}
	err = a.store.PutSetupCode(ctx, SetupCode{
		Secret: digestCode(code), ExpiresMs: a.clock.Now().Add(setupCodeLife).UnixMilli(), TriesLeft: setupTries,
	})
	return code, err
}

// Setup makes the first admin and signs it in. The code holds for an hour and five wrong tries, and is dead after use:
// of any number of callers with the right code one wins, the others get Conflict.
func (a *Accounts) Setup(ctx context.Context, code, name, password string, remote netip.Addr) (secret string, p Principal, err error) {
	if err := a.limit(remote, ""); err != nil {
		return "", Principal{}, err
	}
	taken := &Error{Conflict, "this gateway has an admin already; sign in, or ask that admin for a user"}
	if needs, err := a.NeedsSetup(ctx); err != nil {
		return "", Principal{}, err
	} else if !needs {
		return "", Principal{}, taken
	}
	// The rules come before the code, so that a weak password does not cost a try.
	if err := checkName("user name", name); err != nil {
		return "", Principal{}, err
	}
	if err := a.checkPassword(name, password); err != nil {
		return "", Principal{}, err
	}
	right, err := a.store.TrySetupCode(ctx, digestCode(code), a.nowMs())
	if err != nil {
		return "", Principal{}, err
	}
	if !right {
		// A racer that lost finds the code gone: tell it why.
		if needs, err := a.NeedsSetup(ctx); err == nil && !needs {
			return "", Principal{}, taken
		}
		return "", Principal{}, &Error{Denied, "the setup code is wrong, older than an hour or tried too often; a restart of muster prints a new one"}
	}
	phc, err := a.hashPassword(ctx, password)
	if err != nil {
		return "", Principal{}, err
	}
	now := a.nowMs()
	made, err := a.store.CreateFirstAdmin(ctx, User{Name: name, Role: Admin, PasswordHash: phc, CreatedMs: now, ChangedMs: now})
	if err != nil {
		return "", Principal{}, err
	}
	if !made {
		return "", Principal{}, taken
	}
	a.log.Info("first admin made", "user", name, "remote", remote)
	return a.openSession(ctx, name, Admin, remote)
}

// NewLoginCode returns a code that opens one session of user within 15 minutes. A user who does not exist is made,
// with that role and without a password; an existing one keeps its role. It is for whoever has the machine: the demo, `muster admin`.
func (a *Accounts) NewLoginCode(ctx context.Context, user string, role Role) (string, error) {
	if err := checkName("user name", user); err != nil {
		return "", err
	}
	if _, err := ParseRole(string(role)); err != nil {
		return "", err
	}
	now := a.nowMs()
	if _, known, err := a.store.User(ctx, user); err != nil {
		return "", err
	} else if !known {
		if err := a.store.CreateUser(ctx, User{Name: user, Role: role, CreatedMs: now, ChangedMs: now}); err != nil && KindOf(err) != Exists {
			return "", err
		}
	}
	code, err := a.newCode()
	if err != nil {
		return "", err
	}
	err = a.store.PutLoginCode(ctx, LoginCode{
		Secret: digestCode(code), User: user, ExpiresMs: now + loginCodeLife.Milliseconds(),
	}, now)
	return code, err
}

// LoginWithCode signs in with a code of NewLoginCode, which is dead afterwards.
func (a *Accounts) LoginWithCode(ctx context.Context, code string, remote netip.Addr) (secret string, p Principal, err error) {
	if err := a.limit(remote, ""); err != nil {
		return "", Principal{}, err
	}
	denied := &Error{Denied, "the login code is wrong, used or older than 15 minutes; ask for a new one with: muster admin login-link"}
	name, ok, err := a.store.TakeLoginCode(ctx, digestCode(code), a.nowMs())
	if err != nil {
		return "", Principal{}, err
	}
	if !ok {
		return "", Principal{}, denied
	}
	u, known, err := a.store.User(ctx, name)
	if err != nil {
		return "", Principal{}, err
	}
	if !known || u.DisabledMs != 0 {
		return "", Principal{}, denied
	}
	return a.openSession(ctx, u.Name, u.Role, remote)
}
