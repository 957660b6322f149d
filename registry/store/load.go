package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"muster/registry"
	"muster/registry/store/pages"
)

// LoadThings reads the whole registry; see registry.Store. Things, links and groups come by id.
func (db *DB) LoadThings(ctx context.Context, into registry.Loader) (marks registry.Marks, err error) {
	// One transaction, so that all reads are of one moment.
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return registry.Marks{}, err
	}
	defer tx.Rollback() // nothing was written
	row := tx.QueryRowContext(ctx, `SELECT next, next_group, revision FROM thing_ids`)
	if err := row.Scan(&marks.NextID, &marks.NextGroupID, &marks.Revision); err != nil {
		return registry.Marks{}, fmt.Errorf("read the next ids: %w", err)
	}
	for _, load := range []struct {
		what string
		f    func() error
	}{
		{"thing types", func() error { return loadTypes(ctx, tx, into.Type) }},
		{"billing groups", func() error { return loadBillingGroups(ctx, tx, into.BillingGroup) }},
		{"things", func() error { return loadThings(ctx, tx, into) }},
		{"connectivity", func() error { return loadLinks(ctx, tx, into) }},
		{"thing groups", func() error { return loadGroups(ctx, tx, into.Group) }},
		{"members of thing groups", func() error { return loadMembers(ctx, tx, into) }},
		{"tags", func() error { return loadTags(ctx, tx, into.Tag) }},
	} {
		if err := load.f(); err != nil {
			return registry.Marks{}, fmt.Errorf("read %s: %w", load.what, err)
		}
	}
	return marks, nil
}

// A start reads every row of the large tables. It takes them from the pages of the database, which SQLite passes on as they are in the transaction:
// docs/decisions/0015. Where something is not as this package writes it, such as a number where a text should be, the rest is read with a
// statement, which converts it or says what is wrong.

// errOther is for a row that is not as this package writes it.
var errOther = errors.New("a column has another type")

func loadThings(ctx context.Context, tx *sql.Tx, into registry.Loader) error {
	const (
		id = iota
		name
		uuid
		typeName
		billingGroup
		attributes
		version
		createdMs
		updatedMs
	)
	b := newBatches(into.Things)
	defer b.end()
	last, err := readTable(ctx, tx, "things", []string{"id", "name", "uuid", "type_name", "billing_group", "attributes", "version", "created_ms", "updated_ms"},
		func(rowID int64, row []byte, r *columns) error {
			batch := b.room(len(row))
			if err := r.Parse(batch.keep(row)); err != nil {
				return err
			}
			t := registry.StoredThing{ID: uint32(rowID)}
			ok := rowID == int64(t.ID) && r.IsNull(r.at[id])
			ok = r.text(name, &t.Name) && r.text(uuid, &t.UUID) && r.textOrNull(typeName, &t.TypeName) && r.textOrNull(billingGroup, &t.BillingGroup) &&
				r.int(version, &t.Version) && r.int(createdMs, &t.CreatedMs) && r.int(updatedMs, &t.UpdatedMs) && ok
			var document []byte
			if !r.text(attributes, &document) || !ok {
				return errOther
			}
			var err error
			if t.Attributes, err = batch.attributes(document); err != nil {
				return errOther
			}
			batch.list = append(batch.list, t)
			return nil
		})
	if err == nil || ctx.Err() != nil {
		return err
	}
	into.Slow("things", err)
	rows, err := tx.QueryContext(ctx, `SELECT id, name, uuid, COALESCE(type_name, ''), COALESCE(billing_group, ''), attributes, version, created_ms, updated_ms
		FROM things WHERE id > $1 ORDER BY id`, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t registry.StoredThing
		var document sql.RawBytes
		var texts [4]sql.RawBytes
		var id int64 // numbers of another size are converted through text
		if err := rows.Scan(&id, &texts[0], &texts[1], &texts[2], &texts[3], &document, &t.Version, &t.CreatedMs, &t.UpdatedMs); err != nil {
			return err
		}
		size := len(document)
		for _, text := range texts {
			size += len(text)
		}
		batch := b.room(size)
		t.ID, t.Name, t.UUID = uint32(id), batch.keep(texts[0]), batch.keep(texts[1])
		t.TypeName, t.BillingGroup = batch.keep(texts[2]), batch.keep(texts[3])
		if t.Attributes, err = batch.attributes(batch.keep(document)); err != nil {
			return fmt.Errorf("thing %q: attributes: %w", t.Name, err)
		}
		batch.list = append(batch.list, t)
	}
	return rows.Err()
}

func loadLinks(ctx context.Context, tx *sql.Tx, into registry.Loader) error {
	const (
		id = iota
		connected
		sinceMs
		seenMs
		remote
		reason
	)
	b := newBatches(into.Links)
	defer b.end()
	last, err := readTable(ctx, tx, "connectivity", []string{"thing_id", "connected", "since_ms", "last_seen_ms", "remote", "reason"},
		func(rowID int64, row []byte, r *columns) error {
			batch := b.room(len(row))
			if err := r.Parse(batch.keep(row)); err != nil {
				return err
			}
			l := registry.StoredLink{ThingID: uint32(rowID)}
			var on int64
			if rowID != int64(l.ThingID) || !r.IsNull(r.at[id]) || !r.int(connected, &on) || !r.int(sinceMs, &l.SinceMs) || !r.int(seenMs, &l.LastSeenMs) ||
				!r.text(remote, &l.Remote) || !r.text(reason, &l.Reason) {
				return errOther
			}
			l.Connected = on != 0
			batch.list = append(batch.list, l)
			return nil
		})
	if err == nil || ctx.Err() != nil {
		return err
	}
	into.Slow("connectivity", err)
	rows, err := tx.QueryContext(ctx, `SELECT thing_id, connected, since_ms, last_seen_ms, remote, reason FROM connectivity WHERE thing_id > $1 ORDER BY thing_id`, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l registry.StoredLink
		var id, on int64
		var remote, reason sql.RawBytes
		if err := rows.Scan(&id, &on, &l.SinceMs, &l.LastSeenMs, &remote, &reason); err != nil {
			return err
		}
		batch := b.room(len(remote) + len(reason))
		l.ThingID, l.Connected, l.Remote, l.Reason = uint32(id), on != 0, batch.keep(remote), batch.keep(reason)
		batch.list = append(batch.list, l)
	}
	return rows.Err()
}

func loadMembers(ctx context.Context, tx *sql.Tx, into registry.Loader) error {
	const (
		groupID = iota
		thingID
	)
	b := newBatches(into.Members)
	defer b.end()
	add := func(group, thing int64) {
		batch := b.room(0)
		batch.list = append(batch.list, registry.Member{Group: uint32(group), Thing: uint32(thing)})
	}
	last, err := readTable(ctx, tx, "thing_group_members", []string{"group_id", "thing_id"}, func(_ int64, row []byte, r *columns) error {
		if err := r.Parse(row); err != nil {
			return err
		}
		var group, thing int64
		if !r.int(groupID, &group) || !r.int(thingID, &thing) || group != int64(uint32(group)) || thing != int64(uint32(thing)) {
			return errOther
		}
		add(group, thing)
		return nil
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	into.Slow("thing_group_members", err)
	rows, err := tx.QueryContext(ctx, `SELECT group_id, thing_id FROM thing_group_members WHERE rowid > $1 ORDER BY rowid`, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var group, thing int64
		if err := rows.Scan(&group, &thing); err != nil {
			return err
		}
		add(group, thing)
	}
	return rows.Err()
}

// columns is a row as readTable passes it on.
type columns struct {
	pages.Record
	at []int // by place in the names: which column of the record
}

func (r *columns) text(i int, to *[]byte) (ok bool) {
	*to, ok = r.Text(r.at[i])
	return ok
}

func (r *columns) textOrNull(i int, to *[]byte) bool { return r.IsNull(r.at[i]) || r.text(i, to) }

func (r *columns) int(i int, to *int64) (ok bool) {
	*to, ok = r.Int(r.at[i])
	return ok
}

// readTable calls visit with each row of a table, by row id ascending, for it to be parsed with r. It returns the id of the last row that visit took,
// which with an error is the last before what could not be read.
func readTable(ctx context.Context, tx *sql.Tx, name string, names []string, visit func(rowID int64, row []byte, r *columns) error) (last int64, err error) {
	last = -1 << 63
	stmt, err := tx.PrepareContext(ctx, `SELECT p.data FROM json_each($1) AS n CROSS JOIN sqlite_dbpage AS p ON p.pgno = n.value`)
	if err != nil {
		return last, err
	}
	defer stmt.Close()
	source := pageSource(ctx, stmt)
	t := pages.Table{Source: source}
	if err := tx.QueryRowContext(ctx, `SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = $1`, name).Scan(&t.Root); err != nil {
		return last, err
	}
	var encoding uint32
	err = source([]uint32{1}, func(page []byte) error {
		t.PageSize, t.Reserved, encoding = len(page), int(page[20]), binary.BigEndian.Uint32(page[56:])
		return nil
	})
	if err != nil {
		return last, err
	}
	const utf8 = 1
	if encoding != utf8 {
		return last, errors.New("the database is not in UTF-8")
	}
	r := columns{at: make([]int, len(names))}
	for i, column := range names {
		if err := tx.QueryRowContext(ctx, `SELECT cid FROM pragma_table_info($1) WHERE name = $2`, name, column).Scan(&r.at[i]); err != nil {
			return last, fmt.Errorf("column %s: %w", column, err)
		}
	}
	err = t.Rows(func(id int64, row []byte) error {
		if err := visit(id, row, &r); err != nil {
			return err
		}
		last = id
		return nil
	})
	return last, err
}

// pageSource passes on the pages of the database that a statement reads for a JSON list of numbers, as they are in the transaction of the
// statement: from the write-ahead log as well as from the file.
func pageSource(ctx context.Context, stmt *sql.Stmt) pages.Source {
	var list []byte
	return func(numbers []uint32, visit func(page []byte) error) error {
		list = append(list[:0], '[')
		for i, n := range numbers {
			if i > 0 {
				list = append(list, ',')
			}
			list = strconv.AppendUint(list, uint64(n), 10)
		}
		list = append(list, ']')
		rows, err := stmt.QueryContext(ctx, string(list))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var page sql.RawBytes
			if err := rows.Scan(&page); err != nil {
				return err
			}
			if err := visit(page); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// batches hands rows on in lists, which are worked on while the next one is made.
type batches[T any] struct {
	batch *batch[T]
	full  chan *batch[T]
	empty chan *batch[T]
	done  chan struct{}
}

// batch is a list of rows, and what they point to.
type batch[T any] struct {
	list  []T
	text  []byte // never moved
	pairs []registry.StoredAttribute
}

const (
	batchRows  = 512
	batchBytes = 256 << 10
)

func newBatches[T any](visit func([]T)) *batches[T] {
	const some = 3 // one that is made, one that is worked on, one between
	b := &batches[T]{full: make(chan *batch[T], some), empty: make(chan *batch[T], some), done: make(chan struct{})}
	for range some {
		b.empty <- &batch[T]{list: make([]T, 0, batchRows)}
	}
	b.batch = <-b.empty
	go func() {
		defer close(b.done)
		for batch := range b.full {
			visit(batch.list)
			batch.list, batch.text, batch.pairs = batch.list[:0], batch.text[:0], batch.pairs[:0]
			b.empty <- batch
		}
	}()
	return b
}

// room returns the batch for the next row, with room for that many bytes.
func (b *batches[T]) room(bytes int) *batch[T] {
	if n := len(b.batch.list); n == batchRows || n > 0 && cap(b.batch.text)-len(b.batch.text) < bytes {
		b.full <- b.batch
		b.batch = <-b.empty
	}
	if cap(b.batch.text) < bytes {
		b.batch.text = make([]byte, 0, max(bytes, batchBytes))
	}
	return b.batch
}

// end waits until all rows are worked on.
func (b *batches[T]) end() {
	if len(b.batch.list) > 0 {
		b.full <- b.batch
	}
	close(b.full)
	<-b.done
}

// keep copies what room was asked for.
func (b *batch[T]) keep(text []byte) []byte {
	start := len(b.text)
	b.text = append(b.text, text...)
	return b.text[start:]
}

// attributes reads the JSON object of strings that a thing's attributes are stored as.
func (b *batch[T]) attributes(document []byte) ([]registry.StoredAttribute, error) {
	start := len(b.pairs)
	var plain bool
	if b.pairs, plain = appendAttributes(b.pairs, document); plain {
		return b.pairs[start:], nil
	}
	b.pairs = b.pairs[:start]
	var attributes map[string]string
	if err := json.Unmarshal(document, &attributes); err != nil {
		return nil, err
	}
	for key, value := range attributes {
		b.pairs = append(b.pairs, registry.StoredAttribute{Key: []byte(key), Value: []byte(value)})
	}
	slices.SortFunc(b.pairs[start:], func(x, y registry.StoredAttribute) int { return slices.Compare(x.Key, y.Key) })
	return b.pairs[start:], nil
}
