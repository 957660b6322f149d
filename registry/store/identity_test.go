package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"muster/agent/wire"
	"muster/pki"
	"muster/registry/store"
)

// TestIdentity holds what pki asks of every Store; reopen gives the same rows to a new process.
func TestIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.db")
	var open []*store.DB
	reopen := func(t *testing.T) pki.Store {
		t.Helper()
		for _, db := range open {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		db, err := store.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		open = []*store.DB{db}
		return db.Identity()
	}
	t.Cleanup(func() {
		for _, db := range open {
			db.Close()
		}
	})
	testIdentity(t, reopen)
}

func keyOf(n byte) wire.KeyHash { return wire.KeyHash{n, 0xFF} }

func certOf(id string, key wire.KeyHash, thing string, issuedMs int64) pki.Certificate {
	return pki.Certificate{
		ID: id, Key: key, ThingName: thing, Serial: "00ff" + id, PEM: "pem of " + id, Status: pki.Active,
		Origin: pki.FromEST, NotBeforeMs: issuedMs - 300_000, NotAfterMs: issuedMs + 1_000_000, IssuedMs: issuedMs, ChangedMs: issuedMs,
	}
}

func testIdentity(t *testing.T, reopen func(*testing.T) pki.Store) {
	s := reopen(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	lamp1 := pki.Allowed{Key: keyOf(1), ThingName: "lamp-1", ThingTypeName: "lamp", AddedMs: 1000}

	// allowing twice keeps the first time and takes the new type
	must(s.Allow(ctx, []pki.Allowed{lamp1, {Key: keyOf(3), ThingName: "lamp-3", AddedMs: 1000}}))
	must(s.Allow(ctx, []pki.Allowed{{Key: keyOf(1), ThingName: "lamp-1", ThingTypeName: "bulb", AddedMs: 2000}}))
	got, ok, err := s.AllowedKey(ctx, keyOf(1))
	if want := (pki.Allowed{Key: keyOf(1), ThingName: "lamp-1", ThingTypeName: "bulb", AddedMs: 1000}); err != nil || !ok || got != want {
		t.Fatalf("got %+v, %v, %v", got, ok, err)
	}
	if _, ok, err := s.AllowedKey(ctx, keyOf(9)); ok || err != nil {
		t.Fatalf("a key that was never allowed: %v, %v", ok, err)
	}
	refused(s.Allow(ctx, []pki.Allowed{{Key: keyOf(2), ThingName: "lamp-2"}, {Key: keyOf(1), ThingName: "lamp-2"}}), pki.ErrKeyBound)
	if _, ok, _ := s.AllowedKey(ctx, keyOf(2)); ok {
		t.Fatal("a refused list was taken in part")
	}

	// the entry is used up by the first certificate
	refused(s.Issue(ctx, certOf("c9", keyOf(9), "lamp-9", 5000)), pki.ErrKeyUsed)
	refused(s.Issue(ctx, certOf("c9", keyOf(1), "lamp-2", 5000)), pki.ErrKeyUsed)
	must(s.Issue(ctx, certOf("c1", keyOf(1), "lamp-1", 5000)))
	refused(s.Issue(ctx, certOf("c2", keyOf(1), "lamp-1", 6000)), pki.ErrKeyUsed)
	refused(s.Allow(ctx, []pki.Allowed{lamp1}), pki.ErrKeyUsed)
	if got, _, err := s.AllowedKey(ctx, keyOf(1)); err != nil || got.UsedMs != 5000 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, ok, _ := s.CertificateByID(ctx, "c2"); ok {
		t.Fatal("a refused certificate was recorded")
	}

	// renewals: the same key, a new one, but not another thing's
	must(s.Renew(ctx, "c1", certOf("c3", keyOf(1), "lamp-1", 7000)))
	must(s.Renew(ctx, "c3", certOf("c4", keyOf(4), "lamp-1", 8000)))
	refused(s.Renew(ctx, "c4", certOf("c5", keyOf(3), "lamp-1", 9000)), pki.ErrKeyBound)
	must(s.Issue(ctx, certOf("d1", keyOf(3), "lamp-3", 5000)))
	refused(s.Renew(ctx, "d1", certOf("d2", keyOf(4), "lamp-3", 9000)), pki.ErrKeyBound)
	refused(s.Allow(ctx, []pki.Allowed{{Key: keyOf(4), ThingName: "lamp-4"}}), pki.ErrKeyBound)

	s = reopen(t)
	certs, err := s.Certificates(ctx, "lamp-1")
	must(err)
	if len(certs) != 3 || certs[0] != certOf("c4", keyOf(4), "lamp-1", 8000) || certs[2].ID != "c1" {
		t.Fatalf("newest first: %+v", certs)
	}
	keys, err := s.ActiveKeys(ctx, "lamp-1")
	slices.SortFunc(keys, func(a, b wire.KeyHash) int { return int(a[0]) - int(b[0]) })
	if err != nil || !slices.Equal(keys, []wire.KeyHash{keyOf(1), keyOf(4)}) {
		t.Fatalf("%v, %v", keys, err)
	}

	// revoking a key takes all of its certificates, and blocks it
	revoked, err := s.Revoke(ctx, keyOf(1), 10_000)
	if err != nil || len(revoked) != 2 || revoked[0].Status != pki.Revoked || revoked[0].RevokedMs != 10_000 || revoked[0].PEM != "" {
		t.Fatalf("%+v, %v", revoked, err)
	}
	if again, err := s.Revoke(ctx, keyOf(1), 11_000); err != nil || len(again) != 0 {
		t.Fatalf("revoked twice: %v, %v", again, err)
	}
	s = reopen(t)
	all, err := s.Revoked(ctx)
	if err != nil || len(all) != 2 || all[0].Key != keyOf(1) || all[0].RevokedMs != 10_000 {
		t.Fatalf("%+v, %v", all, err)
	}
	refused(s.Renew(ctx, "c3", certOf("c6", keyOf(6), "lamp-1", 12_000)), pki.ErrKeyRevoked)
	refused(s.Renew(ctx, "c4", certOf("c6", keyOf(1), "lamp-1", 12_000)), pki.ErrKeyRevoked)
	refused(s.Allow(ctx, []pki.Allowed{lamp1}), pki.ErrKeyRevoked)
	removed, err := s.RemoveAllowed(ctx, keyOf(1))
	if err != nil || !removed {
		t.Fatalf("removed %v, %v", removed, err)
	}
	removed, err = s.RemoveAllowed(ctx, keyOf(1))
	if err != nil || removed {
		t.Fatalf("removed twice: %v, %v", removed, err)
	}
	refused(s.Allow(ctx, []pki.Allowed{lamp1}), pki.ErrKeyRevoked)

	// what ended goes, what was revoked stays
	must(s.Purge(ctx, 8000+1_000_000+1))
	if certs, err := s.Certificates(ctx, "lamp-1"); err != nil || len(certs) != 2 || certs[0].Status != pki.Revoked {
		t.Fatalf("%+v, %v", certs, err)
	}

	t.Run("pages", func(t *testing.T) { testAllowedPages(t, s) })
	t.Run("race", func(t *testing.T) { testUsedOnce(t, s) })

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Allow(ended, []pki.Allowed{{Key: keyOf(77), ThingName: "x"}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func testAllowedPages(t *testing.T, s pki.Store) {
	var entries []pki.Allowed
	for i := range 25 {
		entries = append(entries, pki.Allowed{Key: wire.KeyHash{0x80, byte(i)}, ThingName: fmt.Sprint("page-", i)})
	}
	if err := s.Allow(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	after := wire.KeyHash{0x7F, 0xFF}
	var names []string
	for {
		page, err := s.ListAllowed(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			names = append(names, e.ThingName)
			after = e.Key
		}
		if len(page) < 10 {
			break
		}
	}
	if len(names) != 25 || names[0] != "page-0" || names[24] != "page-24" {
		t.Fatalf("%v", names)
	}
}

// Of many that want the same entry at the same time one gets it.
func testUsedOnce(t *testing.T, s pki.Store) {
	key := keyOf(50)
	if err := s.Allow(t.Context(), []pki.Allowed{{Key: key, ThingName: "race"}}); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 10)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Issue(t.Context(), certOf(fmt.Sprint("race-", i), key, "race", 5000)) })
	}
	wg.Wait()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		} else if !errors.Is(err, pki.ErrKeyUsed) {
			t.Fatal(err)
		}
	}
	if good != 1 {
		t.Fatalf("%d certificates for one entry", good)
	}
}
