package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Backup writes the database as it is now, every change that has returned included, into the new file path. Reads and writes go on
// meanwhile. The copy is durable but for its name, and holds no bytes of deleted rows.
func (db *DB) Backup(ctx context.Context, path string) error {
	// Made here, so that it is nobody else's to read; VACUUM INTO takes an empty file.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy registry: %w", err)
	}
	if err = errors.Join(db.vacuumInto(ctx, path), file.Sync(), file.Close()); err != nil { // SQLite does not sync what it vacuums into
		return errors.Join(fmt.Errorf("copy registry to %q: %w", path, err), os.Remove(path))
	}
	return nil
}

// vacuumInto uses a connection of the read pool, so that writes go on, and throws it away: it may write for the length of one
// statement.
func (db *DB) vacuumInto(ctx context.Context, path string) error {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err = conn.ExecContext(ctx, `PRAGMA query_only(OFF)`); err == nil {
		_, err = conn.ExecContext(ctx, `VACUUM INTO $1`, path)
	}
	return errors.Join(err, discard(conn))
}

// Contents are the counts of a database that Check has read.
type Contents struct {
	Schema                      int // version
	Things, Certificates, Users int
}

// Check reads the whole database at path, which nobody has open, and changes nothing. The error says what is damaged, or that its
// schema is newer than this binary.
func Check(ctx context.Context, path string) (Contents, error) {
	if _, err := os.Stat(path); err != nil {
		return Contents{}, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&immutable=1")
	if err != nil {
		return Contents{}, fmt.Errorf("check registry %q: %w", path, err)
	}
	c, err := check(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return c, fmt.Errorf("check registry %q: %w", path, err)
	}
	return c, nil
}

func check(ctx context.Context, db *sql.DB) (c Contents, err error) {
	rows, err := db.QueryContext(ctx, `PRAGMA integrity_check(20)`)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return c, err
		}
		if line != "ok" {
			found = append(found, line)
		}
	}
	if err := rows.Err(); err != nil {
		return c, err
	}
	if len(found) > 0 {
		return c, fmt.Errorf("it is damaged: %s", strings.Join(found, "; "))
	}
	for _, q := range []struct {
		text string
		into *int
	}{
		{`SELECT COALESCE(MAX(version), 0) FROM schema_version`, &c.Schema},
		{`SELECT COUNT(*) FROM things`, &c.Things},
		{`SELECT COUNT(*) FROM certificates`, &c.Certificates},
		{`SELECT COUNT(*) FROM account_users`, &c.Users},
	} {
		if err := db.QueryRowContext(ctx, q.text).Scan(q.into); err != nil {
			return c, err
		}
	}
	_, versions, err := listMigrations()
	if err != nil {
		return c, err
	}
	if known := slices.Max(versions); c.Schema > known {
		return c, fmt.Errorf("its schema is version %d and this muster knows %d: use the newer binary", c.Schema, known)
	}
	return c, nil
}
