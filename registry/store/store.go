// Package store keeps the registry, the identities and the accounts in SQL. It is the only package that speaks it.
//
// One file per domain (things.go, identity.go, account.go) implements the small Store interface which that domain
// declares. One text per query, with $n placeholders that SQLite and PostgreSQL both read; times are BIGINT Unix
// milliseconds, documents are TEXT. Writes go through one connection, so that SQLite never answers "busy"; reads
// have a pool of their own.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite", without cgo
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the open database. Safe for concurrent use.
type DB struct {
	write    *sql.DB // one connection
	read     *sql.DB
	prepared map[string]*sql.Stmt // of write, by their texts
	tokens   tokenCache
}

// Open opens the SQLite database at path, makes it if it is missing, and brings its schema up to date.
//
// A database whose schema is newer than this binary is refused, not touched. synchronous=FULL: a commit that
// returned is on disk.
func Open(ctx context.Context, path string) (*DB, error) {
	// Made here, so that secrets are nobody else's to read; SQLite gives its -wal and -shm files the same mode.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	file.Close()
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_pragma=busy_timeout(10000)&_txlock=immediate"
	write, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open registry %q: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn+"&_pragma=query_only(ON)")
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("open registry %q: %w", path, err)
	}
	read.SetMaxOpenConns(4)
	db := &DB{write: write, read: read}
	if err := db.migrate(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open registry %q: %w", path, err)
	}
	if err := db.prepare(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("open registry %q: %w", path, err)
	}
	return db, nil
}

// Close waits for running statements and closes the database.
func (db *DB) Close() error {
	var errs []error
	for _, stmt := range db.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, db.read.Close(), db.write.Close())...)
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// update runs f in one write transaction and commits it; any error rolls back.
func (db *DB) update(ctx context.Context, f func(*sql.Tx) error) error {
	return transact(ctx, db.write, f)
}

// updateUnchecked is update without foreign keys, for f to delete rows of which it knows that nothing refers to them: where such a reference has no
// index, SQLite would look through the whole table that has it. Nothing cascades.
func (db *DB) updateUnchecked(ctx context.Context, f func(*sql.Tx) error) error {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err = conn.ExecContext(ctx, `PRAGMA foreign_keys(OFF)`); err == nil {
		err = transact(ctx, conn, f)
	}
	if err == nil {
		if _, on := conn.ExecContext(context.WithoutCancel(ctx), `PRAGMA foreign_keys(ON)`); on == nil {
			return conn.Close() // back to its pool
		}
	}
	return errors.Join(err, discard(conn)) // the next one has foreign keys, whatever became of this one
}

// discard closes a connection for good, instead of giving it back to its pool.
func discard(conn *sql.Conn) error {
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return nil
}

// transact runs f in a transaction of a pool or a connection.
func transact(ctx context.Context, on interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}, f func(*sql.Tx) error) error {
	tx, err := on.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		tx.Rollback() // its error could only say that the failed statement rolled back already
		return err
	}
	return tx.Commit()
}

// migrate applies the files of migrations/ in the order of their number, each in its own transaction.
func (db *DB) migrate(ctx context.Context) error {
	if _, err := db.write.ExecContext(ctx,
		`CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)`); err != nil {
		return err
	}
	applied := map[int]bool{}
	newest := 0
	rows, err := db.write.QueryContext(ctx, `SELECT version FROM schema_version`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var v int
		if err := rows.Scan(&v); err != nil {
			return err
		}
		applied[v] = true
		newest = max(newest, v)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	names, versions, err := listMigrations()
	if err != nil {
		return err
	}
	if known := slices.Max(versions); newest > known {
		return fmt.Errorf("its schema is version %d and this muster knows %d: use the newer binary, or restore a backup", newest, known)
	}
	for i, name := range names {
		version := versions[i]
		if applied[version] {
			continue
		}
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		err = db.update(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, version)
			return err
		})
		if err != nil {
			return fmt.Errorf("migrate to version %d: %w", version, err)
		}
	}
	return nil
}

// listMigrations returns the files of migrations/ in the order of their numbers, and these; a number may be missing.
func listMigrations() (names []string, versions []int, err error) {
	if names, err = fs.Glob(migrations, "migrations/*.sql"); err != nil { // sorted by name
		return nil, nil, err
	}
	versions = make([]int, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if versions[i], err = strconv.Atoi(number); err != nil {
			return nil, nil, fmt.Errorf("BUG: migration %q has no number", name)
		}
	}
	return names, versions, nil
}
