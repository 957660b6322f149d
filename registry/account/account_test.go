package account_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/registry/account"
	"muster/registry/store"
)

var ctx = context.Background()

const good = "plum-kettle-orbit-77"

// clock is turned by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// xor is a sealer that changes the bytes and can tell its own.
type xor struct{}

func (xor) Seal(plain []byte) ([]byte, error) {
	out := []byte("sealed:")
	for _, b := range plain {
		out = append(out, b^0x5a)
	}
	return out, nil
}

func (xor) Unseal(sealed []byte) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(sealed), "sealed:")
	if !ok {
		return nil, errors.New("not sealed")
	}
	out := make([]byte, len(rest))
	for i := range out {
		out[i] = rest[i] ^ 0x5a
	}
	return out, nil
}

type gateway struct {
	*account.Accounts
	clock   *clock
	db      *store.DB
	path    string
	metrics *metrics.Set
}

func openGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{clock: &clock{at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}, path: filepath.Join(t.TempDir(), "registry.db"), metrics: metrics.NewSet()}
	g.reopen(t)
	return g
}

// reopen is a restart of the gateway.
func (g *gateway) reopen(t *testing.T) {
	t.Helper()
	if g.db != nil {
		if err := g.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if g.db, err = store.Open(ctx, g.path); err != nil {
		t.Fatal(err)
	}
	db := g.db
	t.Cleanup(func() { db.Close() })
	if g.Accounts, err = account.New(account.Options{Store: g.db.Accounts(), Sealer: xor{}, Clock: g.clock, Metrics: g.metrics}); err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, want account.Kind) {
	t.Helper()
	if account.KindOf(err) != want {
		t.Fatalf("error %v has kind %d, want %d", err, account.KindOf(err), want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func TestSetup(t *testing.T) {
	g := openGateway(t)
	code, err := g.OpenSetup(ctx)
	must(t, err)
	if len(strings.ReplaceAll(code, "-", "")) != 26 {
		t.Fatalf("code %q has not 26 base32 digits", code)
	}

	// ten racers with the right code make one admin
	var wg sync.WaitGroup
	results := make(chan error, 10)
	for i := range 10 {
		wg.Go(func() {
			_, _, err := g.Setup(ctx, code, "admin"+string(rune('a'+i)), good, addr("10.0.0.1"))
			results <- err
		})
	}
	wg.Wait()
	close(results)
	made := 0
	for err := range results {
		if err == nil {
			made++
		} else {
			wantKind(t, err, account.Conflict)
		}
	}
	users, err := g.ListUsers(ctx)
	must(t, err)
	if made != 1 || len(users) != 1 || users[0].Role != account.Admin {
		t.Fatalf("%d racers won, users are %v", made, users)
	}

	// neither the code nor a restart opens it again
	_, _, err = g.Setup(ctx, code, "mallory", good, addr("10.0.0.2"))
	wantKind(t, err, account.Conflict)
	g.reopen(t)
	if code, err := g.OpenSetup(ctx); err != nil || code != "" {
		t.Fatalf("after a restart there is a setup code %q, error %v", code, err)
	}
	if needs, err := g.NeedsSetup(ctx); err != nil || needs {
		t.Fatalf("needs setup: %v, %v", needs, err)
	}
}

func TestSetupCode(t *testing.T) {
	setup := func(g *gateway, code string) error {
		g.clock.turn(10 * time.Second) // so that the limit per address stays out of the way
		_, _, err := g.Setup(ctx, code, "root", good, addr("10.0.0.1"))
		return err
	}

	// five wrong tries kill it, the right code included
	g := openGateway(t)
	code, err := g.OpenSetup(ctx)
	must(t, err)
	for range 5 {
		wantKind(t, setup(g, "AAAA-BBBB"), account.Denied)
	}
	wantKind(t, setup(g, code), account.Denied)

	// a restart makes a new one, and the old one is dead
	g.reopen(t)
	next, err := g.OpenSetup(ctx)
	must(t, err)
	wantKind(t, setup(g, code), account.Denied)

	// a weak password costs no try; lower case, spaces and no dashes are the same code
	for range 6 {
		g.clock.turn(10 * time.Second)
		_, _, err := g.Setup(ctx, next, "root", "short", addr("10.0.0.1"))
		wantKind(t, err, account.Invalid)
	}
	must(t, setup(g, " "+strings.ToLower(strings.ReplaceAll(next, "-", " "))+"\n"))

	// after an hour it is dead
	g = openGateway(t)
	code, err = g.OpenSetup(ctx)
	must(t, err)
	g.clock.turn(time.Hour)
	wantKind(t, setup(g, code), account.Denied)
}

func TestPasswordRules(t *testing.T) {
	g := openGateway(t)
	f := func(user, password string, ok bool) {
		t.Helper()
		err := g.CreateUser(ctx, user, password, account.Viewer)
		if !ok {
			wantKind(t, err, account.Invalid)
			return
		}
		must(t, err)
		must(t, g.DeleteUser(ctx, user))
	}
	f("ann", "elevenchars", false)
	f("ann", "password1234", false)
	f("ann", "P@ssw0rd!2026", false)
	f("ann", "administrator1", false)
	f("ann", "qwertyuiop[]12", false)
	f("ann", "aaaaaaaaaaaaaaaa", false)
	f("ann", "123456789012", false)
	f("annabella", "Annabella2026!", false)
	f("ann", "letmeinletmein", false)
	f("ann", strings.Repeat("long and odd ", 100), false)
	f("ann", "\xff\xfe not text at all", false)
	f("ann", good, true)
	f("ann", "four words unrelated ok", true)
	f("ann", "пароль-лампа-чайник", true)
	f("ann", "x9K!2vQz#7Lm", true)
	f("", good, false)
	f("ann/..", good, false)
	f(strings.Repeat("a", 129), good, false)
}

func TestLoginLimits(t *testing.T) {
	g := openGateway(t)
	must(t, g.CreateUser(ctx, "ann", good, account.Operator))
	try := func(user, password, from string) error {
		_, _, err := g.Login(ctx, user, password, addr(from))
		return err
	}

	// five wrong tries a minute for one user, whatever the address; then the right password waits, too
	for i := range 5 {
		wantKind(t, try("ann", "wrong wrong wrong", "10.0.1."+string(rune('1'+i))), account.Denied)
	}
	wantKind(t, try("ann", good, "10.0.1.9"), account.Busy)
	g.clock.turn(12 * time.Second)
	must(t, try("ann", good, "10.0.1.9"))

	// twenty a minute for one address, whatever the users
	for i := range 20 {
		wantKind(t, try("user"+string(rune('a'+i)), good, "10.0.2.1"), account.Denied)
	}
	wantKind(t, try("userz", good, "10.0.2.1"), account.Busy)
	// the same for the addresses of one IPv6 network
	for i := range 20 {
		wantKind(t, try("user"+string(rune('A'+i)), good, "2001:db8::"+string(rune('1'+i%9))), account.Denied)
	}
	wantKind(t, try("userZ", good, "2001:db8::ffff"), account.Busy)
	wantKind(t, try("userZ", good, "2001:db8:0:1::1"), account.Denied)
	wantKind(t, try(strings.Repeat("a", 60_000), good, "10.0.3.1"), account.Denied)
}

// An unknown user must cost what a known one costs, or the time tells who exists: one password hash, of the same cost.
func TestUnknownUserCostsAHash(t *testing.T) {
	g := openGateway(t)
	must(t, g.CreateUser(ctx, "ann", good, account.Viewer))
	_, err := g.NewLoginCode(ctx, "link-only", account.Viewer) // makes a user without a password
	must(t, err)
	hashes := g.metrics.GetOrCreateCounter("muster_account_password_hashes_total")
	for _, user := range []string{"ann", "nobody", "link-only"} {
		before := hashes.Get()
		_, _, err := g.Login(ctx, user, "not the password", addr("10.0.0.1"))
		wantKind(t, err, account.Denied)
		if n := hashes.Get() - before; n != 1 {
			t.Errorf("%s: %d hashes for a login, want 1", user, n)
		}
	}
}

func TestSessions(t *testing.T) {
	g := openGateway(t)
	must(t, g.CreateUser(ctx, "root", good, account.Admin))
	must(t, g.CreateUser(ctx, "ann", good, account.Operator))
	login := func() string {
		t.Helper()
		g.clock.turn(time.Minute)
		secret, p, err := g.Login(ctx, "ann", good, addr("10.0.0.1"))
		must(t, err)
		if p.Name != "ann" || p.Role != account.Operator || p.Via != "session" {
			t.Fatalf("principal %+v", p)
		}
		return secret
	}

	// a login makes a new id each time, and the store has not the secret itself
	first, second := login(), login()
	if first == second {
		t.Fatal("two logins have one session")
	}
	if _, ok, err := g.db.Accounts().Session(ctx, sha256.Sum256([]byte(first))); err != nil || !ok {
		t.Fatalf("the session is not kept by its SHA-256: %v %v", ok, err)
	}

	// it survives a restart
	g.reopen(t)
	_, err := g.Session(ctx, first)
	must(t, err)

	// 30 idle minutes end it; use keeps it alive, up to 12 hours
	g.clock.turn(29 * time.Minute)
	_, err = g.Session(ctx, first)
	must(t, err)
	g.clock.turn(29 * time.Minute)
	_, err = g.Session(ctx, first)
	must(t, err)
	_, err = g.Session(ctx, second) // not used since
	wantKind(t, err, account.Denied)
	for range 22 {
		g.clock.turn(29 * time.Minute)
		_, err = g.Session(ctx, first)
		must(t, err)
	}
	g.clock.turn(29 * time.Minute)
	_, err = g.Session(ctx, first)
	wantKind(t, err, account.Denied)

	// watching does not keep it alive
	third := login()
	g.clock.turn(29 * time.Minute)
	if alive, err := g.SessionAlive(ctx, third); err != nil || !alive {
		t.Fatalf("alive: %v, %v", alive, err)
	}
	g.clock.turn(time.Minute)
	if alive, _ := g.SessionAlive(ctx, third); alive {
		t.Fatal("a session that only streams is still alive after 30 minutes")
	}

	// logout, a new role, a new password and deletion end sessions
	s := login()
	must(t, g.Logout(ctx, s))
	_, err = g.Session(ctx, s)
	wantKind(t, err, account.Denied)
	s = login()
	must(t, g.ChangeUser(ctx, "ann", account.UserChange{Role: account.Viewer}))
	_, err = g.Session(ctx, s)
	wantKind(t, err, account.Denied)
	must(t, g.ChangeUser(ctx, "ann", account.UserChange{Role: account.Operator}))
	s = login()
	must(t, g.DeleteUser(ctx, "ann"))
	_, err = g.Session(ctx, s)
	wantKind(t, err, account.Denied)

	// the last admin stays
	wantKind(t, g.DeleteUser(ctx, "root"), account.Conflict)
	wantKind(t, g.ChangeUser(ctx, "root", account.UserChange{Role: account.Viewer}), account.Conflict)
	must(t, g.ChangeUser(ctx, "root", account.UserChange{Password: "another-odd-kettle-9"}))
	wantKind(t, g.DeleteUser(ctx, "nobody"), account.NotFound)
	for _, wrong := range []string{"", "x", strings.Repeat("a", 43), strings.Repeat("a", 10_000)} {
		_, err = g.Session(ctx, wrong)
		wantKind(t, err, account.Denied)
	}
}

func TestLoginCode(t *testing.T) {
	g := openGateway(t)
	code, err := g.NewLoginCode(ctx, "demo", account.Admin)
	must(t, err)
	// ten racers: one session
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 10 {
		wg.Go(func() {
			if _, p, err := g.LoginWithCode(ctx, code, addr("10.0.0.1")); err == nil && p.Name == "demo" && p.Role == account.Admin {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d logins with one code", won)
	}
	// the user has no password to guess, not even an empty one
	for _, password := range []string{"", "nobody has this password"} {
		_, _, err = g.Login(ctx, "demo", password, addr("10.0.0.2"))
		wantKind(t, err, account.Denied)
	}
	// a code keeps the role of a user who exists, and ends after 15 minutes
	must(t, g.CreateUser(ctx, "ann", good, account.Viewer))
	code, err = g.NewLoginCode(ctx, "ann", account.Admin)
	must(t, err)
	_, p, err := g.LoginWithCode(ctx, code, addr("10.0.0.2"))
	must(t, err)
	if p.Role != account.Viewer {
		t.Fatalf("role %s", p.Role)
	}
	code, err = g.NewLoginCode(ctx, "ann", account.Viewer)
	must(t, err)
	g.clock.turn(15 * time.Minute)
	_, _, err = g.LoginWithCode(ctx, code, addr("10.0.0.2"))
	wantKind(t, err, account.Denied)
}

func TestTokens(t *testing.T) {
	g := openGateway(t)
	secret, token, err := g.NewToken(ctx, "grafana", account.Viewer, time.Hour, "root")
	must(t, err)
	if !strings.HasPrefix(secret, "mst_") || len(secret) != 4+32+7 {
		t.Fatalf("token %q", secret)
	}
	p, err := g.Bearer(ctx, secret)
	must(t, err)
	if p != (account.Principal{Name: "grafana", Role: account.Viewer, Via: "token"}) {
		t.Fatalf("principal %+v", p)
	}
	usedMs := func() int64 {
		t.Helper()
		tokens, err := g.ListTokens(ctx)
		must(t, err)
		return tokens[0].UsedMs
	}
	at := usedMs()
	if at != g.clock.Now().UnixMilli() {
		t.Fatalf("used at %d", at)
	}
	// used is exact to a minute: not every request writes
	g.clock.turn(30 * time.Second)
	_, err = g.Bearer(ctx, secret)
	must(t, err)
	if usedMs() != at {
		t.Fatal("used was written twice in a minute")
	}
	// every changed character is refused
	for i := range secret {
		changed := []byte(secret)
		changed[i] ^= 1
		_, err := g.Bearer(ctx, string(changed))
		wantKind(t, err, account.Denied)
	}
	g.clock.turn(time.Hour)
	_, err = g.Bearer(ctx, secret)
	wantKind(t, err, account.Denied)
	must(t, g.DeleteToken(ctx, token.ID))
	wantKind(t, g.DeleteToken(ctx, token.ID), account.NotFound)

	_, _, err = g.NewToken(ctx, "x", "owner", 0, "root")
	wantKind(t, err, account.Invalid)
	_, _, err = g.NewToken(ctx, "x", account.Viewer, -time.Second, "root")
	wantKind(t, err, account.Invalid)
	_, _, err = g.NewToken(ctx, "a b", account.Viewer, 0, "root")
	wantKind(t, err, account.Invalid)
}

func TestAccessKeys(t *testing.T) {
	g := openGateway(t)
	secret, key, err := g.NewAccessKey(ctx, account.Operator, "root")
	must(t, err)
	if strings.Contains(string(key.Sealed), secret) {
		t.Fatal("the secret is kept in clear")
	}
	got, p, ok, err := g.Secret(ctx, key.ID)
	must(t, err)
	if !ok || got != secret || p != (account.Principal{Name: key.ID, Role: account.Operator, Via: "key"}) {
		t.Fatalf("secret %q, principal %+v, %v", got, p, ok)
	}
	must(t, g.UseAccessKey(ctx, key.ID))
	keys, err := g.ListAccessKeys(ctx)
	must(t, err)
	if len(keys) != 1 || keys[0].UsedMs != g.clock.Now().UnixMilli() {
		t.Fatalf("keys %+v", keys)
	}
	must(t, g.DeleteAccessKey(ctx, key.ID))
	if _, _, ok, err := g.Secret(ctx, key.ID); ok || err != nil {
		t.Fatalf("a deleted key is still there: %v %v", ok, err)
	}
}

func TestBootstrap(t *testing.T) {
	g := openGateway(t)
	b := account.Bootstrap{
		AdminToken: "let-me-in",
		AccessKeys: []account.BootstrapKey{{ID: "AKIAEXAMPLE", Secret: "s3cret", Role: "admin"}},
	}
	for range 2 { // applying it twice changes nothing
		must(t, g.Apply(ctx, b))
		p, err := g.Bearer(ctx, "let-me-in")
		must(t, err)
		if p.Role != account.Admin {
			t.Fatalf("role %s", p.Role)
		}
		if secret, _, ok, err := g.Secret(ctx, "AKIAEXAMPLE"); err != nil || !ok || secret != "s3cret" {
			t.Fatalf("secret %q %v %v", secret, ok, err)
		}
		g.reopen(t)
	}
	tokens, err := g.ListTokens(ctx)
	must(t, err)
	if len(tokens) != 1 {
		t.Fatalf("%d tokens", len(tokens))
	}
	// there is an admin: no setup
	if code, err := g.OpenSetup(ctx); err != nil || code != "" {
		t.Fatalf("setup code %q %v", code, err)
	}
	// another token replaces the one before, another secret too
	b.AdminToken, b.AccessKeys[0].Secret = "other", "changed"
	must(t, g.Apply(ctx, b))
	_, err = g.Bearer(ctx, "let-me-in")
	wantKind(t, err, account.Denied)
	if secret, _, _, _ := g.Secret(ctx, "AKIAEXAMPLE"); secret != "changed" {
		t.Fatalf("secret %q", secret)
	}
	// what is wrong is named, and nothing of it is taken
	b = account.Bootstrap{AdminToken: "third", AccessKeys: []account.BootstrapKey{{ID: "a/b", Secret: "x", Role: "admin"}}}
	if err := g.Apply(ctx, b); err == nil || !strings.Contains(err.Error(), "accessKeys[0]") {
		t.Fatalf("error %v", err)
	}
	_, err = g.Bearer(ctx, "third")
	wantKind(t, err, account.Denied)
}

// TestAccessKeyCache: a key that was used is not read again, and what changes it is seen at once.
func TestAccessKeyCache(t *testing.T) {
	g := openGateway(t)
	secret, key, err := g.NewAccessKey(ctx, account.Operator, "test")
	must(t, err)
	want := func(wantSecret string, wantOK bool) {
		t.Helper()
		for range 2 {
			got, p, ok, err := g.Secret(ctx, key.ID)
			if err != nil || ok != wantOK || got != wantSecret || ok && (p.Name != key.ID || p.Role != account.Operator) {
				t.Fatalf("%q %+v %v %v", got, p, ok, err)
			}
		}
	}
	want(secret, true)
	must(t, g.UseAccessKey(ctx, key.ID))
	list, err := g.ListAccessKeys(ctx)
	must(t, err)
	if len(list) != 1 || list[0].UsedMs == 0 {
		t.Fatalf("%+v", list)
	}
	want(secret, true)
	must(t, g.DeleteAccessKey(ctx, key.ID))
	want("", false)
}

// TestDisabledUser: who is disabled has no session and gets none, by password or by code, over a restart as well; enabled again the
// password is the same. The last admin who may sign in cannot be disabled, nor can be relied on one who may not.
func TestDisabledUser(t *testing.T) {
	g := openGateway(t)
	must(t, g.CreateUser(ctx, "root", good, account.Admin))
	must(t, g.CreateUser(ctx, "ann", good, account.Admin))
	secret, _, err := g.Login(ctx, "ann", good, addr("10.0.0.1"))
	must(t, err)
	code, err := g.NewLoginCode(ctx, "ann", account.Viewer)
	must(t, err)
	yes, no := true, false
	must(t, g.ChangeUser(ctx, "ann", account.UserChange{Disabled: &yes}))
	g.reopen(t)
	_, err = g.Session(ctx, secret)
	wantKind(t, err, account.Denied)
	_, _, err = g.Login(ctx, "ann", good, addr("10.0.0.1"))
	wantKind(t, err, account.Denied)
	_, _, err = g.LoginWithCode(ctx, code, addr("10.0.0.1"))
	wantKind(t, err, account.Denied)
	_, _, err = g.ChangePassword(ctx, "ann", good, "another-odd-kettle-9", addr("10.0.0.1"))
	wantKind(t, err, account.Invalid)

	wantKind(t, g.ChangeUser(ctx, "root", account.UserChange{Disabled: &yes}), account.Conflict)
	wantKind(t, g.ChangeUser(ctx, "root", account.UserChange{Role: account.Viewer}), account.Conflict)
	wantKind(t, g.DeleteUser(ctx, "root"), account.Conflict)
	must(t, g.ChangeUser(ctx, "ann", account.UserChange{Disabled: &no}))
	g.clock.turn(time.Minute)
	_, p, err := g.Login(ctx, "ann", good, addr("10.0.0.1"))
	if must(t, err); p.Role != account.Admin {
		t.Fatalf("%+v", p)
	}
	must(t, g.ChangeUser(ctx, "root", account.UserChange{Disabled: &yes}))
	wantKind(t, g.DeleteUser(ctx, "ann"), account.Conflict)
	must(t, g.DeleteUser(ctx, "root"))
}

func TestChangePassword(t *testing.T) {
	g := openGateway(t)
	const next = "another-odd-kettle-9"
	must(t, g.CreateUser(ctx, "ann", good, account.Viewer))
	other, _, err := g.Login(ctx, "ann", good, addr("10.0.0.1"))
	must(t, err)
	for _, wrong := range [][2]string{{"not the password", next}, {"", next}, {good, "short"}, {good, ""}} {
		g.clock.turn(time.Minute)
		_, _, err := g.ChangePassword(ctx, "ann", wrong[0], wrong[1], addr("10.0.0.1"))
		wantKind(t, err, account.Invalid)
	}
	secret, p, err := g.ChangePassword(ctx, "ann", good, next, addr("10.0.0.1"))
	if must(t, err); p.Name != "ann" || p.Role != account.Viewer {
		t.Fatalf("%+v", p)
	}
	_, err = g.Session(ctx, secret)
	must(t, err)
	_, err = g.Session(ctx, other)
	wantKind(t, err, account.Denied)
	_, _, err = g.Login(ctx, "ann", good, addr("10.0.0.1"))
	wantKind(t, err, account.Denied)
	_, _, err = g.Login(ctx, "ann", next, addr("10.0.0.1"))
	must(t, err)

	// who came by a link and has no password makes one
	_, err = g.NewLoginCode(ctx, "bob", account.Viewer)
	must(t, err)
	_, _, err = g.ChangePassword(ctx, "bob", "", next, addr("10.0.0.2"))
	must(t, err)
	_, _, err = g.Login(ctx, "bob", next, addr("10.0.0.2"))
	must(t, err)

	// tries are limited
	for range 5 {
		_, _, err = g.ChangePassword(ctx, "bob", "wrong", next, addr("10.0.0.3"))
	}
	wantKind(t, err, account.Busy)
}

// TestDisabledKey: a key that is disabled opens nothing, over a restart and the bootstrap file as well, until it is enabled.
func TestDisabledKey(t *testing.T) {
	g := openGateway(t)
	boot := account.Bootstrap{AccessKeys: []account.BootstrapKey{{ID: "AKMSBOOT", Secret: "a secret", Role: "viewer"}}}
	must(t, g.Apply(ctx, boot))
	opens := func(want bool) {
		t.Helper()
		if _, _, ok, err := g.Secret(ctx, "AKMSBOOT"); err != nil || ok != want {
			t.Fatalf("opens: %v, %v", ok, err)
		}
	}
	opens(true)
	must(t, g.DisableAccessKey(ctx, "AKMSBOOT", true))
	opens(false)
	g.reopen(t)
	must(t, g.Apply(ctx, boot))
	opens(false)
	if keys, err := g.ListAccessKeys(ctx); err != nil || len(keys) != 1 || keys[0].DisabledMs == 0 {
		t.Fatalf("%+v %v", keys, err)
	}
	must(t, g.DisableAccessKey(ctx, "AKMSBOOT", false))
	opens(true)
	wantKind(t, g.DisableAccessKey(ctx, "AKMSNONE", true), account.NotFound)
}
