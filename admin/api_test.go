package admin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/admin"
	"muster/admin/audit"
	"muster/registry"
	"muster/registry/account"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.Bytes()
}

func TestSetupAndSession(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil)
	if text := g.send(g.client, "GET", "/api/setup", "").want(200).text; text != `{"needed":true}` {
		t.Fatal(text)
	}
	code, err := g.OpenSetup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(g.dir, "setup-code")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("setup code file: %v, %v", info, err)
	}
	setup := func(code string) reply {
		body, _ := json.Marshal(map[string]string{"code": code, "username": "root", "password": goodPhrase})
		return g.send(g.client, "POST", "/api/setup", string(body))
	}
	if kind := setup("WRONG").want(401).kind(); kind != "unauthorized" {
		t.Fatal(kind)
	}

	// ten racers, one admin
	var wg sync.WaitGroup
	var mu sync.Mutex
	var cookie string
	statuses := map[int]int{}
	for range 10 {
		wg.Go(func() {
			r := setup(code)
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
			if r.status == 200 {
				cookie = cookieOf(r)
			}
		})
	}
	wg.Wait()
	if statuses[200] != 1 || statuses[409] != 9 {
		t.Fatalf("statuses %v", statuses)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Fatalf("the file of the used code is still there: %v", err)
	}
	if text := g.send(g.client, "GET", "/api/setup", "").want(200).text; text != `{"needed":false}` {
		t.Fatal(text)
	}

	// the session says who it is; another login makes another session; logout ends one
	if text := g.send(g.client, "GET", "/api/me", "", "Cookie", cookie).want(200).text; text != `{"username":"root","role":"admin"}` {
		t.Fatal(text)
	}
	body := fmt.Sprintf(`{"username":"root","password":%q}`, goodPhrase)
	second := cookieOf(g.send(g.client, "POST", "/api/login", body, "Cookie", cookie).want(200))
	if second == cookie {
		t.Fatal("the login kept the session id")
	}
	g.send(g.client, "POST", "/api/logout", "", "Cookie", cookie, "X-Muster", "1").want(204)
	g.send(g.client, "GET", "/api/me", "", "Cookie", cookie).want(401)
	g.send(g.client, "GET", "/api/me", "", "Cookie", second).want(200)

	// an idle session ends
	g.clock.turn(31 * time.Minute)
	g.send(g.client, "GET", "/api/me", "", "Cookie", second).want(401)

	// a one-time code signs in once
	code, err = g.accounts.NewLoginCode(ctx, "demo", account.Viewer)
	if err != nil {
		t.Fatal(err)
	}
	once := fmt.Sprintf(`{"code":%q}`, code)
	cookieOf(g.send(g.client, "POST", "/api/login", once).want(200))
	g.send(g.client, "POST", "/api/login", once).want(401)

	// five wrong passwords a minute
	for range 5 {
		g.send(g.client, "POST", "/api/login", `{"username":"root","password":"wrong"}`).want(401)
	}
	if kind := g.send(g.client, "POST", "/api/login", body).want(429).kind(); kind != "busy" {
		t.Fatal(kind)
	}
	for _, bad := range []string{"", "{", `{"user":"root"}`, `[]`, `{"username":"a"}{}`, `{"code":"x","username":"root"}`} {
		g.send(g.client, "POST", "/api/login", bad).want(400)
	}
}

func TestCSRF(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil)
	if err := g.accounts.CreateUser(ctx, "root", goodPhrase, account.Admin); err != nil {
		t.Fatal(err)
	}
	login := fmt.Sprintf(`{"username":"root","password":%q}`, goodPhrase)
	cookie := cookieOf(g.send(g.client, "POST", "/api/login", login).want(200))
	n := 0
	f := func(want int, headers ...string) {
		t.Helper()
		n++
		body := fmt.Sprintf(`{"username":"user%d","password":%q,"role":"viewer"}`, n, goodPhrase)
		g.send(g.client, "POST", "/api/users", body, append(headers, "Cookie", cookie)...).want(want)
	}
	f(403)
	f(403, "X-Muster", "0")
	f(201, "X-Muster", "1")
	f(201, "X-Muster", "1", "Origin", g.url)
	f(201, "X-Muster", "1", "Sec-Fetch-Site", "same-origin")
	f(403, "X-Muster", "1", "Sec-Fetch-Site", "cross-site")
	f(403, "X-Muster", "1", "Sec-Fetch-Site", "same-site")
	f(403, "X-Muster", "1", "Origin", "https://evil.example")
	f(403, "X-Muster", "1", "Origin", "null")
	f(403, "X-Muster", "1", "Origin", strings.Replace(g.url, "https", "http", 1))

	// another site cannot sign a browser in as somebody else either
	g.send(g.client, "POST", "/api/login", login, "Origin", "https://evil.example").want(403)
	// queries read: Prometheus' clients post them without our header
	g.send(g.client, "POST", "/prometheus/api/v1/query", "query=up", "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded").want(200)
	// the AWS shape under /iot is guarded, too
	g.send(g.client, "POST", "/iot/things/lamp", "", "Cookie", cookie).want(403)
	g.send(g.client, "POST", "/iot/things/lamp", "", "Cookie", cookie, "X-Muster", "1").want(200)
	// a token is no ambient authority
	g.bootstrap()
	g.send(g.client, "POST", "/iot/things/lamp2", "", "Authorization", "Bearer "+adminToken, "Origin", "https://evil.example").want(200)
}

// TestRoles walks all routes with all roles: the table in the test is written apart from the one in the code.
func TestRoles(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil)
	g.bootstrap()
	const (
		all      = "viewer operator security admin"
		fleet    = "operator admin"
		identity = "security admin"
		root     = "admin"
	)
	tokens := map[account.Role]string{}
	for _, role := range []account.Role{account.Viewer, account.Operator, account.Security, account.Admin} {
		tokens[role] = g.token(role)
	}
	for _, row := range []struct{ method, path, who string }{
		{"GET", "/api/me", all}, {"GET", "/api/overview", all}, {"GET", "/api/things", all},
		{"GET", "/api/things/none", all}, {"GET", "/api/things/none/twin", all},
		{"GET", "/prometheus/api/v1/query", all}, {"POST", "/prometheus/api/v1/query", all},
		{"GET", "/iot/things", all}, {"GET", "/iot/things/none", all}, {"GET", "/iot/thing-types", all},
		{"GET", "/iot/thing-types/none", all}, {"GET", "/iot/endpoint", all},
		{"POST", "/iot/things/lamp", fleet}, {"PATCH", "/iot/things/none", fleet}, {"DELETE", "/iot/things/none", fleet},
		{"POST", "/iot/thing-types/lamp", fleet}, {"POST", "/iot/thing-types/none/deprecate", fleet}, {"DELETE", "/iot/thing-types/none", fleet},
		{"GET", "/api/allow", identity}, {"GET", "/api/refused", identity}, {"POST", "/api/allow", identity}, {"DELETE", "/api/allow/00", identity},
		{"POST", "/api/certificates/00/revoke", identity}, {"POST", "/api/things/none/revoke", identity}, {"GET", "/api/audit", identity},
		{"POST", "/api/login-links", root}, {"GET", "/api/users", root}, {"POST", "/api/users", root}, {"PATCH", "/api/users/none", root}, {"DELETE", "/api/users/none", root},
		{"GET", "/api/tokens", root}, {"POST", "/api/tokens", root}, {"DELETE", "/api/tokens/none", root},
		{"GET", "/api/access-keys", root}, {"POST", "/api/access-keys", root}, {"DELETE", "/api/access-keys/none", root},
	} {
		if r := g.send(g.client, row.method, row.path, ""); r.status != 401 {
			t.Errorf("%s %s without a credential: %d, want 401", row.method, row.path, r.status)
		}
		if r := g.as("mst_wrong", row.method, row.path, ""); r.status != 401 {
			t.Errorf("%s %s with a wrong token: %d, want 401", row.method, row.path, r.status)
		}
		for role, token := range tokens {
			r := g.as(token, row.method, row.path, "")
			if may := strings.Contains(row.who, string(role)); may == (r.status == 403 || r.status == 401) {
				t.Errorf("%s %s as %s: status %d", row.method, row.path, role, r.status)
			}
		}
	}
}

func TestAccountsAPI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	var token struct{ ID, Token, Role string }
	g.as(adminToken, "POST", "/api/tokens", `{"name":"ci","role":"viewer","lifeSeconds":60}`).want(201).json(&token)
	g.as(token.Token, "GET", "/api/overview", "").want(200)
	var list struct {
		Tokens []struct {
			Name       string
			LastUsedMs int64
			Token      string
		}
	}
	g.as(adminToken, "GET", "/api/tokens", "").want(200).json(&list)
	if len(list.Tokens) != 2 || list.Tokens[1].Name != "ci" || list.Tokens[1].LastUsedMs == 0 || list.Tokens[1].Token != "" {
		t.Fatalf("tokens %+v", list)
	}
	g.clock.turn(61 * time.Second)
	g.as(token.Token, "GET", "/api/overview", "").want(401)
	g.as(adminToken, "DELETE", "/api/tokens/"+token.ID, "").want(204)
	g.as(adminToken, "DELETE", "/api/tokens/"+token.ID, "").want(404)
	g.as(adminToken, "POST", "/api/tokens", `{"name":"ci","role":"owner"}`).want(400)
	g.as(adminToken, "POST", "/api/tokens", `{"name":"ci","role":"viewer","lifeSeconds":9223372036854775807}`).want(400)
	g.as(adminToken, "POST", "/api/tokens", `{"name":"ci","role":"viewer","admin":true}`).want(400)

	user := fmt.Sprintf(`{"username":"ann","password":%q,"role":"operator"}`, goodPhrase)
	g.as(adminToken, "POST", "/api/users", user).want(201)
	g.as(adminToken, "POST", "/api/users", user).want(409)
	g.as(adminToken, "POST", "/api/users", `{"username":"bob","password":"password1234","role":"viewer"}`).want(400)
	g.as(adminToken, "PATCH", "/api/users/ann", `{"role":"viewer"}`).want(204)
	text := g.as(adminToken, "GET", "/api/users", "").want(200).text
	if !strings.Contains(text, `"username":"ann","role":"viewer"`) || strings.Contains(text, "argon2") {
		t.Fatal(text)
	}
	// a user changes the own password, stays signed in in this browser only, and is out when disabled
	login := func(password string) reply {
		t.Helper()
		g.clock.turn(12 * time.Second) // one more try
		return g.send(g.client, "POST", "/api/login", fmt.Sprintf(`{"username":"ann","password":%q}`, password))
	}
	here, elsewhere := cookieOf(login(goodPhrase).want(200)), cookieOf(login(goodPhrase).want(200))
	const next = "another-odd-kettle-9"
	change := func(cookie, present string) reply {
		t.Helper()
		return g.send(g.client, "PUT", "/api/me/password", fmt.Sprintf(`{"presentPassword":%q,"password":%q}`, present, next), "Cookie", cookie, "X-Muster", "1")
	}
	change(here, "not the password").want(400)
	here = cookieOf(change(here, goodPhrase).want(200))
	g.send(g.client, "GET", "/api/me", "", "Cookie", here).want(200)
	g.send(g.client, "GET", "/api/me", "", "Cookie", elsewhere).want(401)
	g.as(adminToken, "PUT", "/api/me/password", `{"presentPassword":"","password":"x"}`).want(400)
	g.as(adminToken, "PATCH", "/api/users/ann", `{"disabled":true}`).want(204)
	g.send(g.client, "GET", "/api/me", "", "Cookie", here).want(401)
	login(next).want(401)
	if text := g.as(adminToken, "GET", "/api/users", "").want(200).text; !strings.Contains(text, `"disabled":true`) {
		t.Fatal(text)
	}
	g.as(adminToken, "PATCH", "/api/users/ann", `{"disabled":false}`).want(204)
	login(next).want(200)
	g.as(adminToken, "DELETE", "/api/users/ann", "").want(204)

	var key struct{ ID, Secret string }
	g.as(adminToken, "POST", "/api/access-keys", `{"role":"viewer"}`).want(201).json(&key)
	if text := g.as(adminToken, "GET", "/api/access-keys", "").want(200).text; !strings.Contains(text, key.ID) || strings.Contains(text, key.Secret) {
		t.Fatal(text)
	}
	signedList := func() int { return g.signed(key.ID, key.Secret, "iot", g.clock.Now(), "GET", "/things", "").status }
	if got := signedList(); got != 200 {
		t.Fatalf("a new key: %d", got)
	}
	g.as(adminToken, "PATCH", "/api/access-keys/"+key.ID, `{}`).want(400)
	g.as(adminToken, "PATCH", "/api/access-keys/"+key.ID, `{"active":false}`).want(204)
	if got := signedList(); got != 403 {
		t.Fatalf("an inactive key: %d", got)
	}
	if text := g.as(adminToken, "GET", "/api/access-keys", "").want(200).text; !strings.Contains(text, `"active":false`) {
		t.Fatal(text)
	}
	g.as(adminToken, "PATCH", "/api/access-keys/"+key.ID, `{"active":true}`).want(204)
	if got := signedList(); got != 200 {
		t.Fatalf("active again: %d", got)
	}
	g.as(adminToken, "DELETE", "/api/access-keys/"+key.ID, "").want(204)
}

// The local socket is the operator's: admin without a password, audited as local, closed to others.
func TestLocalSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false) // as a killed gateway leaves it
	stale.Close()
	g := openGateway(t, func(o *admin.Options) { o.LocalSocket = path })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket: %v, %v", info, err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	send := func(method, path, body string) reply {
		t.Helper()
		req, err := http.NewRequest(method, "http://muster"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return g.do(client, req)
	}
	var link struct{ URL string }
	send("POST", "/api/login-links", `{"user":"ann"}`).want(200).json(&link)
	code, ok := strings.CutPrefix(link.URL, g.url+"/login#code=")
	if !ok {
		t.Fatal(link.URL)
	}
	g.send(g.client, "POST", "/api/login", fmt.Sprintf(`{"code":%q}`, code)).want(200)
	send("POST", "/api/tokens", strings.Repeat(" ", 2<<20)).want(400) // not a stranger: larger bodies are taken
	send("POST", "/.well-known/est/simpleenroll", "").want(401)
	if text := send("GET", "/api/audit", "").want(200).text; !strings.Contains(text, `"who":"local","role":"admin","via":"local","from":"local","operation":"createLoginLink","target":"ann","result":"ok"`) {
		t.Fatal(text)
	}
}

func TestFleetAPI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	for i := range 5 {
		name := fmt.Sprintf("site:lamp-%d", i)
		if _, err := g.registry.CreateThing(ctx, registry.ThingInput{Name: name, Attributes: map[string]string{"city": "ulm"}}); err != nil {
			t.Fatal(err)
		}
	}
	g.telemetry.fields = []tsdb.Field{
		{Name: "door", Kind: tsdb.Bool, TimeMs: 5, Number: 1},
		{Name: "fw", Kind: tsdb.String, TimeMs: 6, Text: "1.2"},
		{Name: "level", Kind: tsdb.Float, TimeMs: 7, Number: math.NaN()},
		{Name: "power_w", Kind: tsdb.Decimal, TimeMs: 8, Number: 41.5},
	}
	var page struct {
		Things []struct {
			ThingName  string
			Attributes map[string]string
			Version    int
		}
		Total      int
		NextCursor string
	}
	seen := map[string]bool{}
	cursor := ""
	for {
		g.as(adminToken, "GET", "/api/things?q=lamp&limit=2&cursor="+cursor, "").want(200).json(&page)
		for _, thing := range page.Things {
			seen[thing.ThingName] = true
		}
		if page.Total != 5 || len(page.Things) > 2 {
			t.Fatalf("page %+v", page)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if len(seen) != 5 {
		t.Fatalf("pages have %v", seen)
	}
	var thing struct {
		ThingID, ThingName string
		Certificates       []any
	}
	g.as(adminToken, "GET", "/api/things/site%3Alamp-3", "").want(200).json(&thing)
	if thing.ThingName != "site:lamp-3" || thing.ThingID == "" || thing.Certificates == nil {
		t.Fatalf("thing %+v", thing)
	}
	want := `{"fields":[{"name":"door","kind":"bool","value":true,"timeMs":5},{"name":"fw","kind":"string","value":"1.2","timeMs":6},` +
		`{"name":"level","kind":"number","value":"NaN","timeMs":7},{"name":"power_w","kind":"number","value":41.5,"timeMs":8}]}`
	if text := g.as(adminToken, "GET", "/api/things/site:lamp-3/twin", "").want(200).text; text != want {
		t.Fatalf("twin\n got %s\nwant %s", text, want)
	}
	if kind := g.as(adminToken, "GET", "/api/things/none", "").want(404).kind(); kind != "notFound" {
		t.Fatal(kind)
	}
	g.as(adminToken, "GET", "/api/things?limit=0", "").want(400)
	g.as(adminToken, "GET", "/api/things?limit=x", "").want(400)
	g.as(adminToken, "GET", "/api/things?state=odd", "").want(400)

	var overview struct {
		Things, NeverSeen, Series int
		BytesPerSample            float64
		DiskFreeBytes             uint64
		Version                   string
		Ready                     bool
	}
	g.as(adminToken, "GET", "/api/overview", "").want(200).json(&overview)
	if overview.Things != 5 || overview.NeverSeen != 5 || overview.Series != 7 || overview.BytesPerSample != 2 || overview.DiskFreeBytes == 0 || overview.Version != "test" || !overview.Ready {
		t.Fatalf("overview %+v", overview)
	}
}

func TestAllowAndEnroll(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	cert, key := selfSigned(t, "whatever")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	spki := hex.EncodeToString(sum[:])
	device := g.newClient(&cert)

	if body := g.send(g.client, "GET", "/.well-known/est/cacerts", "").want(200); !strings.HasPrefix(body.header.Get("Content-Type"), "application/pkcs7-mime") {
		t.Fatalf("cacerts %v", body.header)
	}
	g.send(g.client, "GET", "/.well-known/est/csrattrs", "").want(204)
	csr := request(t, key)
	// no certificate, no enrolment; an unknown key neither
	g.send(g.client, "POST", "/.well-known/est/simpleenroll", csr).want(401)
	if r := g.send(device, "POST", "/.well-known/est/simpleenroll", csr); r.status != 401 && r.status != 403 {
		t.Fatalf("an unknown key got %d", r.status)
	}
	if text := g.as(adminToken, "GET", "/api/refused", "").want(200).text; !strings.Contains(text, spki) || !strings.Contains(text, "127.0.0.1:") {
		t.Fatalf("the refused key is not shown: %s", text)
	}

	g.as(adminToken, "POST", "/api/allow", fmt.Sprintf(`[{"thingName":"lamp-1","spkiSha256":%q,"thingTypeName":"lamp"}]`, spki)).want(200)
	if text := g.as(adminToken, "GET", "/api/allow", "").want(200).text; !strings.Contains(text, spki) {
		t.Fatal(text)
	}
	r := g.send(device, "POST", "/.well-known/est/simpleenroll", csr, "Content-Type", "application/pkcs10").want(200)
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/pkcs7-mime") {
		t.Fatalf("enroll %v", r.header)
	}
	if _, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(r.text), "")); err != nil {
		t.Fatalf("the answer is not base64: %v", err)
	}
	if _, _, err := g.registry.EnsureThing(ctx, "lamp-1", "lamp", "test"); err != nil {
		t.Fatal(err)
	}
	var thing struct {
		Certificates []struct{ CertificateID, Status string }
	}
	g.as(adminToken, "GET", "/api/things/lamp-1", "").want(200).json(&thing)
	if len(thing.Certificates) != 1 || thing.Certificates[0].Status != "ACTIVE" {
		t.Fatalf("certificates %+v", thing)
	}
	g.as(adminToken, "POST", "/api/certificates/"+thing.Certificates[0].CertificateID+"/revoke", "").want(204)
	g.as(adminToken, "POST", "/api/things/lamp-1/revoke", "").want(204)
	g.as(adminToken, "POST", "/api/things/none/revoke", "").want(204) // a deleted thing may have certificates
	if r := g.send(g.client, "GET", "/pki/crl", "").want(200); r.header.Get("Content-Type") != "application/pkix-crl" {
		t.Fatalf("crl %v", r.header)
	} else if list, err := x509.ParseRevocationList([]byte(r.text)); err != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Fatalf("crl has %v, %v", list, err)
	}

	// CSV: good rows are taken, bad ones are named
	csv := "thingName,spkiSha256\nlamp-2," + strings.Repeat("ab", 32) + "\nlamp-3,short\n"
	var added struct {
		Added  int
		Errors []struct{ Line int }
	}
	r = g.send(g.client, "POST", "/api/allow", csv, "Authorization", "Bearer "+adminToken, "Content-Type", "text/csv").want(200)
	if r.json(&added); added.Added != 1 || len(added.Errors) != 1 || added.Errors[0].Line != 3 {
		t.Fatalf("CSV: %+v", added)
	}
	g.as(adminToken, "DELETE", "/api/allow/"+strings.Repeat("ab", 32), "").want(204)
	g.as(adminToken, "DELETE", "/api/allow/"+strings.Repeat("ab", 32), "").want(404)
	g.as(adminToken, "POST", "/api/allow", `[{"thingName":"lamp-9","spkiSha256":"12"}]`).want(400)
	g.as(adminToken, "POST", "/api/allow", `[]`).want(400)
}

// request returns a PKCS#10 request for key as EST has it: base64 of the DER.
func request(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ignored"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestHealthAndMetrics(t *testing.T) {
	g := openGateway(t, nil).bootstrap()
	g.send(g.client, "GET", "/healthz", "").want(200)
	g.send(g.client, "GET", "/readyz", "").want(200)
	problem := "the disk is full"
	g.telemetry.problem.Store(&problem)
	if r := g.send(g.client, "GET", "/readyz", "").want(503); !strings.Contains(r.text, problem) {
		t.Fatal(r.text)
	}
	g.send(g.client, "GET", "/healthz", "").want(200)
	g.as(adminToken, "GET", "/api/things", "").want(200)
	text := g.send(g.client, "GET", "/metrics", "").want(200).text // from loopback
	if !strings.Contains(text, `muster_admin_requests_total{op="searchThings",code="2xx"} 1`) || !strings.Contains(text, "process_resident_memory_bytes") {
		t.Fatal(text)
	}
}

func TestAuditLines(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	viewer := g.token(account.Viewer)
	g.as(adminToken, "POST", "/iot/things/lamp-1", "").want(200)
	g.as(viewer, "POST", "/iot/things/lamp-2", "").want(403)
	g.as(viewer, "GET", "/api/users", "").want(403)
	g.as("mst_wrong", "GET", "/api/things", "").want(401)
	g.send(g.client, "GET", "/api/me", "").want(401) // a page that asks: no attempt
	g.as(viewer, "GET", "/api/things", "").want(200) // a read
	g.send(g.client, "POST", "/api/login", `{"username":"ann","password":"x"}`).want(401)
	var list struct{ Lines []audit.Entry }
	g.as(adminToken, "GET", "/api/audit?limit=50", "").want(200).json(&list)
	var got []string
	for _, e := range list.Lines {
		if e.From != "127.0.0.1" || e.RequestID == "" || e.Seq == 0 || e.TimeMs == 0 {
			t.Fatalf("line %+v", e)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %d", e.Who, e.Operation, e.Target, e.Result, e.Status))
	}
	want := []string{
		" login ann unauthorized 401",
		" searchThings  unauthorized 401",
		"viewer-token listUsers  denied 403",
		"viewer-token CreateThing lamp-2 denied 403",
		"bootstrap CreateThing lamp-1 ok 200",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("audit\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	if n, err := audit.Verify(vfs.OS{}, g.dir); err != nil || n != 5 {
		t.Fatalf("verified %d, %v", n, err)
	}
}

func TestStaticFiles(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil)
	f := func(path, accept, body, encoding, contentType, cache string) {
		t.Helper()
		r := g.send(g.client, "GET", path, "", "Accept-Encoding", accept).want(200)
		if r.text != body || r.header.Get("Content-Encoding") != encoding || r.header.Get("Content-Type") != contentType || !strings.Contains(r.header.Get("Cache-Control"), cache) {
			t.Fatalf("%s: %q %v", path, r.text, r.header)
		}
		if again := g.send(g.client, "GET", path, "", "Accept-Encoding", accept, "If-None-Match", r.header.Get("ETag")).want(304); again.text != "" {
			t.Fatalf("304 with a body: %q", again.text)
		}
	}
	const html, js = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
	const page = "<!doctype html><title>muster</title>"
	f("/", "gzip, deflate, br, zstd", "brotli of index", "br", html, "no-cache")
	f("/", "gzip", "gzip of index", "gzip", html, "no-cache")
	f("/", "identity", page, "", html, "no-cache")
	f("/", "br;q=0", page, "", html, "no-cache")
	// an address of the UI is the page, whatever it is called
	f("/things/lamp-1", "", page, "", html, "no-cache")
	f("/fleet?q=lamp", "", page, "", html, "no-cache")
	f("/policies/lamps%2Bv1.2", "", page, "", html, "no-cache")
	f("/assets/app-1a2b.js", "br", "brotli of app", "br", js, "immutable")
	f("/assets/app-1a2b.js", "", "console.log(1)", "", js, "immutable")
	f("/assets/inter-9.woff2", "", "font", "", "font/woff2", "immutable")

	for _, missing := range []string{"/assets/old-1.js", "/favicon.png", "/../etc/passwd.txt", "/%2e%2e/%2e%2e/etc/passwd.txt", "/api/none", "/api", "/prometheus", "/pki/none", "/.well-known/none", "/iot/none"} {
		req, err := http.NewRequest("GET", g.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = missing
		r := g.do(g.client, req)
		if r.status != 404 || !json.Valid([]byte(r.text)) {
			t.Fatalf("%s: %d %q", missing, r.status, r.text)
		}
	}
	g.send(g.client, "POST", "/", "").want(405)
	g.send(g.client, "PUT", "/api/things", "").want(405)
	if r := g.send(g.client, "HEAD", "/", "").want(200); r.text != "" {
		t.Fatal(r.text)
	}
	// every answer has the guards, errors too
	for _, path := range []string{"/", "/api/none", "/healthz"} {
		h := g.send(g.client, "GET", path, "").header
		if p := h.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; script-src 'self';") || !strings.Contains(p, "frame-ancestors 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Strict-Transport-Security") != "" || h.Get("Server") != "" {
			t.Fatalf("%s: %v", path, h)
		}
	}
}

func TestPrometheusDoor(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	want := `{"method":"GET","path":"/api/v1/query","query":"up + on"}`
	if text := g.as(adminToken, "GET", "/prometheus/api/v1/query?query=up+%2B+on", "").want(200).text; text != want {
		t.Fatal(text)
	}
	r := g.send(g.client, "POST", "/prometheus/api/v1/query_range", "query=up", "Authorization", "Bearer "+adminToken, "Content-Type", "application/x-www-form-urlencoded").want(200)
	if r.text != `{"method":"POST","path":"/api/v1/query_range","query":"up"}` {
		t.Fatal(r.text)
	}
	g.as(adminToken, "DELETE", "/prometheus/api/v1/query", "").want(405)
	if text := g.as(adminToken, "GET", "/prometheus/api/v1/label/thing/values", "").want(200).text; !strings.Contains(text, "/api/v1/label/thing/values") {
		t.Fatal(text)
	}
}
