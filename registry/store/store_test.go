package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openAt(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func (db *DB) versions(t *testing.T) (count, newest int) {
	t.Helper()
	if err := db.read.QueryRow(`SELECT COUNT(*), MAX(version) FROM schema_version`).Scan(&count, &newest); err != nil {
		t.Fatal(err)
	}
	return count, newest
}

func TestOpenMigratesOnce(t *testing.T) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	last := files[len(files)-1].Name()
	// a path with everything that a data source name could trip over
	path := filepath.Join(t.TempDir(), "a b%20?x=1&ü#.db")
	for range 2 {
		db := openAt(t, path)
		if count, newest := db.versions(t); count != len(files) || !strings.HasPrefix(last, fmt.Sprintf("%04d_", newest)) {
			t.Errorf("%d migrations, the newest %d, of %d files up to %s", count, newest, len(files), last)
		}
		for table, want := range map[string]int{"things": 0, "thing_types": 0, "connectivity": 0, "thing_ids": 1} {
			var n int
			if err := db.read.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n); err != nil || n != want {
				t.Errorf("table %s has %d rows, want %d: %v", table, n, want, err)
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || wal.Mode().Perm() != 0o600 {
		t.Errorf("modes %v and %v: others may read the registry", info.Mode(), wal.Mode())
	}
}

func TestOpenRefusesNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, path)
	if _, err := db.write.Exec(`INSERT INTO schema_version (version) VALUES (999)`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), path)
	if err == nil || !strings.Contains(err.Error(), "its schema is version 999 and this muster knows ") ||
		!strings.HasSuffix(err.Error(), ": use the newer binary, or restore a backup") {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	content := strings.Repeat("these are not the bytes of a database\n", 200)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), path); err == nil || !strings.Contains(err.Error(), "not a database") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != content {
		t.Errorf("the file was changed: %v", err)
	}
	if _, err := Open(context.Background(), filepath.Join(path, "r.db")); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// TestDurability: a commit that returned is on disk only with these.
func TestDurability(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := db.write.QueryRow(`PRAGMA ` + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s, want %s: %v", pragma, got, want, err)
		}
	}
	if _, err := db.read.Exec(`DELETE FROM thing_ids`); err == nil {
		t.Error("the read pool writes")
	}
	if err := db.Ping(context.Background()); err != nil {
		t.Error(err)
	}
}
