package registry

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"muster/agent/wire"
)

// MaxPage is the largest limit of List, ListThingTypes and Search.
const MaxPage = 10_000

// ListFilter selects things for List; zero fields select all.
type ListFilter struct {
	TypeName             string
	AttributeName        string
	AttributeValue       string // needs AttributeName; "": any value
	AttributeValuePrefix bool   // AttributeValue is a prefix (AWS: usePrefixAttributeValue)
}

// List returns up to limit things by name ascending. after is "" or the next of the page before; next is "" at the end.
// A thing made or deleted between two pages shows or not; no other one is left out or shown twice.
func (r *Registry) List(ctx context.Context, f ListFilter, after string, limit int) (things []Thing, next string, err error) {
	if f.AttributeValue != "" && f.AttributeName == "" {
		return nil, "", refuse(Invalid, "attributeValue needs attributeName; send both")
	}
	if err := f.check(); err != nil {
		return nil, "", err
	}
	records, next, err := pageOf(after, limit, func(from string, yield func(string, *record) bool) error {
		return r.scan(ctx, from, func(rec *record) bool { return !f.match(rec) || yield(rec.name, rec) })
	})
	for _, rec := range records {
		things = append(things, rec.thing())
	}
	return things, next, err
}

func (f *ListFilter) check() error {
	if err := checkNames("thingTypeName", f.TypeName); err != nil {
		return err
	}
	if err := checkText("attributeName", f.AttributeName, 0, MaxAttributeKeyLen, attributeKeyChars); err != nil {
		return err
	}
	return checkText("attributeValue", f.AttributeValue, 0, MaxAttributeValueLen, attributeValueChars)
}

func (f *ListFilter) match(rec *record) bool {
	if f.TypeName != "" && f.TypeName != rec.typeName() {
		return false
	}
	if f.AttributeName == "" {
		return true
	}
	value, ok := rec.attribute(f.AttributeName)
	switch {
	case !ok:
		return false
	case f.AttributeValue == "":
		return true
	case f.AttributeValuePrefix:
		return strings.HasPrefix(value, f.AttributeValue)
	}
	return value == f.AttributeValue
}

// scan calls visit for the records above the name after, ascending, until it returns false. It holds the lock only
// to copy a few hundred pointers at a time, so that a scan of the fleet delays no write.
func (r *Registry) scan(ctx context.Context, after string, visit func(*record) bool) error {
	buf := make([]*record, 0, maxChunk)
	for {
		if err := ctx.Err(); err != nil {
			return &Error{Kind: Busy, Message: "the search was given up before it was done", cause: err}
		}
		r.mu.RLock()
		buf = r.order.appendAfter(buf[:0], after)
		r.mu.RUnlock()
		if len(buf) == 0 {
			return nil
		}
		for _, rec := range buf {
			if !visit(rec) {
				return nil
			}
		}
		after = buf[len(buf)-1].name
	}
}

// ListThingTypes returns up to limit types by name ascending, or only the one called name if name is not "".
func (r *Registry) ListThingTypes(ctx context.Context, name, after string, limit int) (types []ThingType, next string, err error) {
	if err := checkNames("thingTypeName", name); err != nil {
		return nil, "", err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return pageOf(after, limit, func(from string, yield func(string, ThingType) bool) error {
		for _, n := range slices.Sorted(maps.Keys(r.types)) { // at most MaxThingTypes
			if n > from && (name == "" || n == name) && !yield(n, r.types[n].typ) {
				break
			}
		}
		return nil
	})
}

// pageOf returns up to limit items of a list and the cursor of the next page, "" at the end. after is "" or the cursor of the page before;
// each calls yield with the items whose names are above from, by name ascending, until it returns false.
func pageOf[T any](after string, limit int, each func(from string, yield func(name string, item T) bool) error) (page []T, next string, err error) {
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	from, err := decodeCursor(after)
	if err != nil {
		return nil, "", err
	}
	last := ""
	err = each(from, func(name string, item T) bool {
		if len(page) == limit {
			next = encodeCursor(last)
			return false
		}
		page, last = append(page, item), name
		return true
	})
	if err != nil {
		return nil, "", err
	}
	return page, next, nil
}

func checkLimit(limit int) error {
	if limit < 1 || limit > MaxPage {
		return refuse(Invalid, "maxResults must be 1 to %d, it is %d", MaxPage, limit)
	}
	return nil
}

// A cursor is the last name of a page. Callers must not read it, hence base64.
func encodeCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeCursor(cursor string) (name string, err error) {
	if cursor == "" {
		return "", nil
	}
	name, err = decodeText(cursor)
	if err != nil || wire.CheckThingName(name) != nil {
		return "", errCursor()
	}
	return name, nil
}

func decodeText(cursor string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", errCursor()
	}
	return string(raw), nil
}

func errCursor() error {
	return refuse(Invalid, "nextToken: this is not one that this list returned; start without it")
}
