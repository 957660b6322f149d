package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/pki"
	"muster/registry/access"
	"muster/registry/store"
)

// TestAccessMigration: certificates from before policies stand for the things that they were issued to, and for none that
// was made anew under the name.
func TestAccessMigration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE schema_version (version BIGINT PRIMARY KEY)`)
	for version, name := range []string{"0001_things", "0002_identity", "0003_account"} {
		text, err := os.ReadFile(filepath.Join("migrations", name+".sql"))
		if err != nil {
			t.Fatal(err)
		}
		exec(string(text))
		exec(`INSERT INTO schema_version (version) VALUES ($1)`, version+1)
	}
	for id, created := range map[int]int{1: 1000, 2: 9000} {
		exec(`INSERT INTO things (id, name, uuid, attributes, version, created_ms, updated_ms) VALUES ($1, $2, $3, '{}', 1, $4, $4)`,
			id, fmt.Sprint("lamp-", id), fmt.Sprintf("%08d-0000-4000-8000-000000000000", id), created)
	}
	id := func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", n), 32) }
	for n, thing := range map[int]string{1: "lamp-1", 2: "lamp-2", 3: "gone"} {
		exec(`INSERT INTO certificates (id, spki_sha256, thing_name, serial, pem, status, not_before_ms, not_after_ms, issued_ms, revoked_ms)
			VALUES ($1, $1, $2, '00', '', 'ACTIVE', 0, 99000, 5000, 0)`, id(n), thing)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	state, err := opened.Access().LoadAccess(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one, err := access.ParseCertID(id(1))
	if err != nil {
		t.Fatal(err)
	}
	if want := []access.Principal{{Cert: one, Thing: 1, Exclusive: true}}; !slices.Equal(state.Principals, want) {
		t.Fatalf("%+v", state.Principals)
	}
	if cert, ok, err := opened.Identity().CertificateByID(t.Context(), id(1)); err != nil || !ok || cert.Origin != pki.FromEST || cert.ChangedMs != 5000 {
		t.Fatalf("%+v, %v, %v", cert, ok, err)
	}
}

// TestForgottenCertificates: what ended or was deleted takes its attachments with it.
func TestForgottenCertificates(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cert := access.CertID{1}
	other := access.CertID{2}
	for n, id := range []access.CertID{cert, other} {
		row := certOf(id.String(), keyOf(byte(n)), "", int64(1000+n*1_000_000))
		must(db.Identity().Register(ctx, row))
	}
	must(db.Access().ApplyAccess(ctx, access.Batch{
		PutPolicies: []access.PolicyRow{{Name: "p", Default: 1, Next: 2}}, PutVersions: []access.VersionRow{{Policy: "p", ID: 1, Document: "{}"}},
		Attach: []access.Attachment{{Policy: "p", Target: access.Target{Cert: cert}}, {Policy: "p", Target: access.Target{Cert: other}}, {Policy: "p", Target: access.Target{Group: 7}}},
		Link:   []access.Principal{{Cert: cert, Thing: 1}, {Cert: other, Thing: 2, Exclusive: true}},
	}))
	state := func(want string) {
		t.Helper()
		s, err := db.Access().LoadAccess(ctx)
		must(err)
		var got []string
		for _, a := range s.Attachments {
			got = append(got, fmt.Sprintf("%s@%d/%x", a.Policy, a.Target.Group, a.Target.Cert[0]))
		}
		for _, p := range s.Principals {
			got = append(got, fmt.Sprintf("%x=%d%v", p.Cert[0], p.Thing, p.Exclusive))
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != want {
			t.Fatalf("got %s, want %s", text, want)
		}
	}
	state("1=1false 2=2true p@0/1 p@0/2 p@7/0")
	principals, attachments, err := db.Access().LoadPrincipal(ctx, other)
	if err != nil || len(principals) != 1 || !principals[0].Exclusive || len(attachments) != 1 {
		t.Fatal(principals, attachments, err)
	}
	must(db.Identity().Purge(ctx, 1_500_000))
	state("2=2true p@0/2 p@7/0")
	must(db.Access().ApplyAccess(ctx, access.Batch{ForgetCerts: []access.CertID{other}, ForgetGroups: []uint32{7}}))
	state("")
	must(db.Access().ApplyAccess(ctx, access.Batch{DeletePolicies: []string{"p"}}))
	s, err := db.Access().LoadAccess(ctx)
	if err != nil || len(s.Policies)+len(s.Versions) != 0 {
		t.Fatal(s, err)
	}
	// all or nothing
	err = db.Access().ApplyAccess(ctx, access.Batch{PutPolicies: []access.PolicyRow{{Name: "q", Default: 1}}, Attach: []access.Attachment{{Policy: "none"}}})
	if s, loadErr := db.Access().LoadAccess(ctx); err == nil || loadErr != nil || len(s.Policies) != 0 {
		t.Fatal(err, loadErr, s)
	}
}
