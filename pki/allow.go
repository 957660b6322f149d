package pki

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"muster/agent/wire"
)

// Limits of one call of Allow, EnsureAllowed or AllowCSV.
const (
	maxAllowRows     = 100_000
	maxAllowCSVBytes = 32 << 20
	maxRowErrors     = 100
	// allowBatch bounds how long one transaction keeps other writers waiting.
	allowBatch = 1000
)

// Allow puts keys on the allow-list, all or none. Each may enrol once, as its thing. Doing it again changes nothing.
//
// Errors are *Error: a row that is not valid (400), a key that was used or revoked or belongs to another thing (409, 403).
func (a *Authority) Allow(ctx context.Context, entries []Allowed) error {
	entries, err := a.checkAllowed(entries)
	if err != nil {
		return err
	}
	a.allowMu.Lock()
	defer a.allowMu.Unlock()
	return a.allow(ctx, entries)
}

// EnsureAllowed is Allow for a list that is applied at every start: keys that have enrolled as the same thing are
// left as they are. It returns how many entries are new or changed.
func (a *Authority) EnsureAllowed(ctx context.Context, entries []Allowed) (int, error) {
	entries, err := a.checkAllowed(entries)
	if err != nil {
		return 0, err
	}
	a.allowMu.Lock()
	defer a.allowMu.Unlock()
	todo := entries[:0]
	for _, e := range entries {
		have, ok, err := a.opts.Store.AllowedKey(ctx, e.Key)
		if err != nil {
			return 0, err
		}
		if ok && have.ThingName == e.ThingName && (have.UsedMs != 0 || have.ThingTypeName == e.ThingTypeName) {
			continue
		}
		todo = append(todo, e)
	}
	return len(todo), a.allow(ctx, todo)
}

// checkAllowed validates entries and returns a copy with the time set.
func (a *Authority) checkAllowed(entries []Allowed) ([]Allowed, error) {
	if len(entries) > maxAllowRows {
		return nil, refusef(http.StatusBadRequest, "invalid", "%d keys at once are too many: allow at most %d", len(entries), maxAllowRows)
	}
	out := make([]Allowed, len(entries))
	nowMs := a.time.now().UnixMilli()
	for i, e := range entries {
		if err := checkEntry(e); err != nil {
			return nil, refusef(http.StatusBadRequest, "invalid", "key %d of %d: %v", i+1, len(entries), err)
		}
		out[i] = Allowed{Key: e.Key, ThingName: e.ThingName, ThingTypeName: e.ThingTypeName, AddedMs: nowMs}
	}
	return out, nil
}

func checkEntry(e Allowed) error {
	if err := wire.CheckThingName(e.ThingName); err != nil {
		return err
	}
	if e.ThingTypeName != "" && wire.CheckThingName(e.ThingTypeName) != nil {
		return fmt.Errorf("thing type name %q must have 1 to 128 of a-z A-Z 0-9 : _ -", e.ThingTypeName)
	}
	if e.Key == (wire.KeyHash{}) {
		return errors.New("the key hash is missing: want the SHA-256 of the public key as 64 hex digits")
	}
	return nil
}

// allow writes checked entries. The caller holds allowMu.
func (a *Authority) allow(ctx context.Context, entries []Allowed) error {
	if len(entries) == 0 {
		return nil
	}
	if err := a.opts.Store.Allow(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		a.refused.forget(e.Key)
	}
	return nil
}

// RowError says what is wrong with a row of a CSV text. Line counts from 1, the header included.
type RowError struct {
	Line    int
	Message string
}

// AllowCSV puts the keys of a CSV text on the allow-list: a header line with the columns thingName, spkiSha256 and, if
// wanted, thingTypeName, in any order; at most 32 MiB and 100,000 rows.
//
// Good rows are taken, bad ones come back in rowErrors (at most 100). err is for the whole: a wrong header, too many
// rows, a fault of the database; rows before it may have been taken.
func (a *Authority) AllowCSV(ctx context.Context, text io.Reader) (added int, rowErrors []RowError, err error) {
	limited := &io.LimitedReader{R: text, N: maxAllowCSVBytes + 1}
	buffered := bufio.NewReader(limited)
	if bom, err := buffered.Peek(3); err == nil && string(bom) == "\xef\xbb\xbf" { // spreadsheets write it
		buffered.Discard(3)
	}
	rows := csv.NewReader(buffered)
	rows.FieldsPerRecord = -1
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return 0, nil, refusef(http.StatusBadRequest, "invalid", "the CSV text has no header line: want thingName,spkiSha256,thingTypeName")
	}
	columns, err := csvColumns(header)
	if err != nil {
		return 0, nil, err
	}
	bad := func(line int, message string) {
		if len(rowErrors) < maxRowErrors {
			rowErrors = append(rowErrors, RowError{Line: line, Message: message})
		}
	}
	a.allowMu.Lock()
	defer a.allowMu.Unlock()
	nowMs := a.time.now().UnixMilli()
	seen := map[wire.KeyHash]int{} // line of each key
	var batch []Allowed
	for count := 1; ; count++ {
		row, err := rows.Read()
		if limited.N <= 0 {
			return added, rowErrors, refusef(http.StatusRequestEntityTooLarge, "invalid", "the CSV text is larger than %d MiB: split it", maxAllowCSVBytes>>20)
		}
		if err == io.EOF {
			break
		}
		if syntax := (*csv.ParseError)(nil); errors.As(err, &syntax) {
			bad(syntax.Line, syntax.Err.Error())
			continue
		}
		if err != nil {
			return added, rowErrors, fmt.Errorf("read CSV text: %w", err)
		}
		if count > maxAllowRows {
			return added, rowErrors, refusef(http.StatusRequestEntityTooLarge, "invalid", "the CSV text has more than %d rows: split it", maxAllowRows)
		}
		line, _ := rows.FieldPos(0)
		entry, err := columns.entry(row)
		if err == nil && seen[entry.Key] != 0 {
			err = fmt.Errorf("the key is in line %d, too", seen[entry.Key])
		}
		if err != nil {
			bad(line, err.Error())
			continue
		}
		entry.AddedMs = nowMs
		if refusal := a.checkAllowable(ctx, entry); refusal != nil {
			if !errors.As(refusal, new(*Error)) {
				return added, rowErrors, refusal
			}
			bad(line, refusal.Error())
			continue
		}
		seen[entry.Key] = line
		if batch = append(batch, entry); len(batch) == allowBatch {
			if err := a.allow(ctx, batch); err != nil {
				return added, rowErrors, err
			}
			added, batch = added+len(batch), batch[:0]
		}
	}
	if err := a.allow(ctx, batch); err != nil {
		return added, rowErrors, err
	}
	return added + len(batch), rowErrors, nil
}

// checkAllowable says early what Store.Allow would refuse, so that one bad row does not stop its batch.
func (a *Authority) checkAllowable(ctx context.Context, e Allowed) error {
	if a.revoked.has(e.Key) {
		return ErrKeyRevoked
	}
	have, ok, err := a.opts.Store.AllowedKey(ctx, e.Key)
	switch {
	case err != nil || !ok:
		return err
	case have.ThingName != e.ThingName:
		return ErrKeyBound
	case have.UsedMs != 0:
		return ErrKeyUsed
	}
	return nil
}

// csvLayout holds the position of each column; typ is -1 if it is not there.
type csvLayout struct{ thing, key, typ int }

func csvColumns(header []string) (csvLayout, error) {
	at := csvLayout{-1, -1, -1}
	for i, name := range header {
		place := map[string]*int{"thingname": &at.thing, "spkisha256": &at.key, "thingtypename": &at.typ}[strings.ToLower(strings.TrimSpace(name))]
		if place == nil {
			return at, refusef(http.StatusBadRequest, "invalid", "the CSV header has the unknown column %.40q: want thingName,spkiSha256,thingTypeName", name)
		}
		*place = i
	}
	if at.thing < 0 || at.key < 0 {
		return at, refusef(http.StatusBadRequest, "invalid", "the CSV header lacks a column: want thingName,spkiSha256,thingTypeName")
	}
	return at, nil
}

func (at csvLayout) entry(row []string) (Allowed, error) {
	if len(row) <= max(at.thing, at.key) {
		return Allowed{}, fmt.Errorf("the row has %d fields, at least %d are needed", len(row), max(at.thing, at.key)+1)
	}
	key, err := wire.ParseKeyHash(row[at.key])
	if err != nil {
		return Allowed{}, err
	}
	e := Allowed{Key: key, ThingName: strings.Clone(strings.TrimSpace(row[at.thing]))}
	if at.typ >= 0 && at.typ < len(row) {
		e.ThingTypeName = strings.Clone(strings.TrimSpace(row[at.typ]))
	}
	return e, checkEntry(e)
}

// ListAllowed returns up to limit (1 to 1000) entries of the allow-list with a key above after, ascending by key.
func (a *Authority) ListAllowed(ctx context.Context, after wire.KeyHash, limit int) ([]Allowed, error) {
	return a.opts.Store.ListAllowed(ctx, after, max(1, min(limit, 1000)))
}

// RemoveAllowed takes a key off the allow-list. Certificates it has stay valid; a used key may be allowed again
// afterwards, which is how a device that lost its certificate enrols anew. ErrNotFound if it is not on the list.
func (a *Authority) RemoveAllowed(ctx context.Context, key wire.KeyHash) error {
	a.allowMu.Lock()
	defer a.allowMu.Unlock()
	there, err := a.opts.Store.RemoveAllowed(ctx, key)
	if err == nil && !there {
		err = ErrNotFound
	}
	return err
}
