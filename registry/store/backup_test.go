package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackupWhileWriting: what was committed before the copy is in it, whatever is written meanwhile.
func TestBackupWhileWriting(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	stop, done := make(chan struct{}), make(chan struct{})
	write := func(n int) error {
		_, err := db.write.Exec(`INSERT INTO allowed_keys (spki_sha256, thing_name, thing_type_name, added_ms, used_ms) VALUES ($1, $2, '', 0, 0)`,
			fmt.Sprintf("%064d", n), fmt.Sprint("thing-", n))
		return err
	}
	const before = 50
	for n := range before {
		if err := write(n); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer close(done)
		for n := before; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := write(n); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	path := filepath.Join(t.TempDir(), "a copy%20?.db")
	if err := db.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-done
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy's mode: %v, %v", info, err)
	}
	if err := db.Backup(t.Context(), path); err == nil {
		t.Error("a copy was overwritten")
	}
	contents, err := Check(t.Context(), path)
	if err != nil || contents.Schema == 0 {
		t.Fatalf("%+v, %v", contents, err)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(names) != 1 {
		t.Errorf("checking left files: %v", names)
	}
	again := openAt(t, path)
	var n int
	if err := again.read.QueryRow(`SELECT COUNT(*) FROM allowed_keys`).Scan(&n); err != nil || n < before {
		t.Errorf("%d rows, %d were committed before the copy: %v", n, before, err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, path)
	copied := filepath.Join(t.TempDir(), "c.db")
	if err := db.Backup(context.Background(), copied); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(text); i++ { // all pages but the first header
		text[i] ^= 0x55
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), copied); err == nil || !strings.Contains(err.Error(), copied) {
		t.Errorf("damage: %v", err)
	}
	if _, err := Check(t.Context(), copied+".missing"); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}
