package pages_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	_ "modernc.org/sqlite"

	"muster/registry/store/pages"
)

// open makes a database with a table t (k INTEGER PRIMARY KEY, a, b) and pages of that size.
func open(t testing.TB, pageSize int) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "t.db")+fmt.Sprintf("?_pragma=page_size(%d)&_pragma=journal_mode(WAL)", pageSize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	exec(t, db, `CREATE TABLE other (x TEXT)`)
	exec(t, db, `CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)`)
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

// load reads all pages of a database, page 1 first.
func load(t testing.TB, db *sql.DB) (all [][]byte, root uint32) {
	t.Helper()
	rows, err := db.Query(`SELECT data FROM sqlite_dbpage ORDER BY pgno`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var page []byte
		if err := rows.Scan(&page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT rootpage FROM sqlite_schema WHERE name = 't'`).Scan(&root); err != nil {
		t.Fatal(err)
	}
	return all, root
}

func table(all [][]byte, root uint32) pages.Table {
	return pages.Table{Root: root, PageSize: len(all[0]), Source: func(numbers []uint32, visit func([]byte) error) error {
		for _, n := range numbers {
			if n == 0 || int(n) > len(all) {
				continue
			}
			if err := visit(bytes.Clone(all[n-1])); err != nil {
				return err
			}
		}
		return nil
	}}
}

// TestRows: the rows are those that SQLite returns, of any size and number, after rows were changed and deleted and a column was added.
func TestRows(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, pageSize := range []int{512, 4096, 65536} {
		db := open(t, pageSize)
		value := func() any {
			switch rng.IntN(9) {
			case 0:
				return nil
			case 1:
				return rng.Int64N(1 << (1 + rng.IntN(62)))
			case 2:
				return -rng.Int64N(1 << (1 + rng.IntN(62)))
			case 3:
				return []int64{0, 1, math.MinInt64, math.MaxInt64, 1 << 47, -1 << 47, -1, 127, 128, -128}[rng.IntN(10)]
			case 4:
				return bytes.Repeat([]byte("long"), rng.IntN(min(pageSize, 8192)))[rng.IntN(2):]
			}
			return fmt.Sprint("text ", rng.IntN(1000))
		}
		check := func(columns int) {
			t.Helper()
			var want [][]any
			rows, err := db.Query(`SELECT * FROM t ORDER BY k`)
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				row := make([]any, columns)
				to := make([]any, columns)
				for i := range row {
					to[i] = &row[i]
				}
				if err := rows.Scan(to...); err != nil {
					t.Fatal(err)
				}
				want = append(want, row)
			}
			rows.Close()
			var got [][]any
			all, root := load(t, db)
			source := table(all, root)
			err = source.Rows(func(id int64, record []byte) error {
				var r pages.Record
				if err := r.Parse(record); err != nil {
					return err
				}
				if !r.IsNull(0) {
					t.Fatalf("row %d: the row id is a column", id)
				}
				row := []any{id}
				for i := 1; i < columns; i++ {
					if n, ok := r.Int(i); ok {
						row = append(row, n)
					} else if text, ok := r.Text(i); ok {
						row = append(row, string(text))
					} else if r.IsNull(i) {
						row = append(row, nil)
					} else {
						row = append(row, want[len(got)][i]) // a blob or a float
						switch row[i].(type) {
						case []byte, float64:
						default:
							t.Fatalf("row %d, column %d is %v and was not read", id, i, row[i])
						}
					}
				}
				got = append(got, row)
				return nil
			})
			if err != nil {
				t.Fatalf("pages of %d bytes: %v", pageSize, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("pages of %d bytes: %d rows are not the %d of SQLite", pageSize, len(got), len(want))
			}
		}
		check(3)
		for round := range 3 {
			exec(t, db, `BEGIN`)
			for range 300 {
				key := rng.Int64N(1500)
				switch rng.IntN(4) {
				case 0:
					exec(t, db, `DELETE FROM t WHERE k BETWEEN $1 AND $1 + 3`, key)
				case 1:
					exec(t, db, `INSERT INTO other VALUES ($1)`, value())
				default:
					long := value()
					if b, ok := long.([]byte); ok && rng.IntN(2) == 0 {
						long = string(b)
					}
					exec(t, db, `INSERT OR REPLACE INTO t (k, a, b) VALUES ($1, $2, $3)`, key-100, long, value())
				}
			}
			exec(t, db, `COMMIT`)
			if round == 1 {
				exec(t, db, `ALTER TABLE t ADD COLUMN c`)
			}
			check(3 + min(round, 1))
		}
		exec(t, db, `INSERT OR REPLACE INTO t (k, a) VALUES ($1, 0.5), ($2, 1)`, int64(math.MaxInt64), int64(math.MinInt64+1))
		check(4)
	}
}

// TestNoTable: pages that are none of a table, or not there, are errors.
func TestNoTable(t *testing.T) {
	db := open(t, 512)
	exec(t, db, `CREATE INDEX of_a ON t (a)`)
	for i := range 300 {
		exec(t, db, `INSERT INTO t (a) VALUES ($1)`, fmt.Sprint("text ", i))
	}
	all, root := load(t, db)
	rows := func(change func(*pages.Table)) error {
		table := table(all, root)
		change(&table)
		return table.Rows(func(int64, []byte) error { return nil })
	}
	if err := rows(func(*pages.Table) {}); err != nil {
		t.Fatal(err)
	}
	var index uint32
	if err := db.QueryRow(`SELECT rootpage FROM sqlite_schema WHERE name = 'of_a'`).Scan(&index); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*pages.Table){
		"an index":        func(t *pages.Table) { t.Root = index },
		"the schema":      func(t *pages.Table) { t.Root = 1 },
		"no page":         func(t *pages.Table) { t.Root = 0 },
		"beyond the end":  func(t *pages.Table) { t.Root = uint32(len(all)) + 1 },
		"another size":    func(t *pages.Table) { t.PageSize = 1024 },
		"reserved beyond": func(t *pages.Table) { t.Reserved = 100 },
		"a tree of itself": func(t *pages.Table) {
			circle := bytes.Clone(all[root-1])
			copy(circle[8:], []byte{0, 0, byte(root >> 8), byte(root)})
			t.Source = func(numbers []uint32, visit func([]byte) error) error {
				for range numbers {
					if err := visit(bytes.Clone(circle)); err != nil {
						return err
					}
				}
				return nil
			}
		},
	} {
		if rows(change) == nil {
			t.Errorf("%s is read", name)
		}
	}
}

// FuzzPages: bytes that changed make an error or other rows, and never a panic or a loop.
func FuzzPages(f *testing.F) {
	db := open(f, 512)
	for i := range 200 {
		exec(f, db, `INSERT INTO t (k, a, b) VALUES ($1, $2, $3)`, i*3, fmt.Sprint("text ", i), bytes.Repeat([]byte("x"), i%7*300))
	}
	all, root := load(f, db)
	f.Add(uint32(0), []byte{0xff})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		broken := bytes.Join(all, nil)
		copy(broken[int(at)%len(broken):], change)
		var list [][]byte
		for ; len(broken) > 0; broken = broken[512:] {
			list = append(list, broken[:512])
		}
		table := table(list, root)
		table.Rows(func(_ int64, record []byte) error {
			var r pages.Record
			if r.Parse(record) == nil {
				for i := range pages.MaxColumns {
					r.Text(i)
					r.Int(i)
					r.IsNull(i)
				}
			}
			return nil
		})
	})
}
