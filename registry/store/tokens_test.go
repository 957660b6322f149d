package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"muster/registry/account"
	"muster/registry/store"
)

// TestTokenEndsAtOnce: a token that was deleted or changed is never found as it was, also while others ask for it all the time.
func TestTokenEndsAtOnce(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tokens := db.Accounts()
	secret := sha256.Sum256([]byte("secret"))
	asking, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	var asked atomic.Int64
	for range 3 {
		others.Go(func() {
			for asking.Err() == nil {
				if _, _, err := tokens.Token(ctx, secret); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 200 {
		made := account.Token{ID: "tok-1", Name: fmt.Sprint("ci-", i), Role: account.Viewer, Secret: secret}
		if err := tokens.PutToken(ctx, made); err != nil {
			t.Fatal(err)
		}
		for range 2 { // from the database, and as it is remembered
			if got, ok, err := tokens.Token(ctx, secret); err != nil || !ok || got != made {
				t.Fatalf("round %d: %+v %v %v, want %+v", i, got, ok, err, made)
			}
		}
		if err := tokens.TouchToken(ctx, "tok-1", int64(i)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := tokens.Token(ctx, secret); err != nil || got.UsedMs != int64(i) {
			t.Fatalf("round %d: used %d, %v", i, got.UsedMs, err)
		}
		if err := tokens.DeleteToken(ctx, "tok-1"); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := tokens.Token(ctx, secret); err != nil || ok {
			t.Fatalf("round %d: %+v after it was deleted, %v", i, got, err)
		}
	}
	if asked.Load() == 0 {
		t.Fatal("nobody asked meanwhile")
	}
}
