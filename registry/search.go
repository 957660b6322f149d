package registry

import (
	"context"

	"github.com/bits-and-blooms/bitset"
)

// SearchInput is the fleet list of the UI.
type SearchInput struct {
	Text     string // a query as people type it; "": all
	State    string // "": all, "connected", "offline" (was connected), "never" (never connected)
	TypeName string // "": all
	Sort     string // as QueryInput has it
	Limit    int    // 1 to MaxPage
	Cursor   string // "" or the nextCursor of the page before, with the same Sort
}

// Row is a thing of a page, as it was when the query ran. It shares what it has with the registry, so that a page costs little.
type Row struct {
	Name         string
	TypeName     string // "": no type
	Version      int64
	Connectivity Connectivity
	attributes   []attribute
}

// EachAttribute calls f for each attribute, by key ascending.
func (r *Row) EachAttribute(f func(key, value string)) {
	for _, a := range r.attributes {
		f(a.key, a.value)
	}
}

// Search is Query for what people type: it returns one page of things, the number of all that match, and the cursor of
// the next page ("" at the end).
func (r *Registry) Search(ctx context.Context, in SearchInput) (rows []Row, total int, nextCursor string, err error) {
	q := QueryInput{
		Text: in.Text, Typed: true, State: in.State, TypeName: in.TypeName, Sort: in.Sort, Limit: in.Limit, Cursor: in.Cursor,
	}
	nextCursor, err = r.queryPage(ctx, q, func(set *bitset.BitSet, ids []uint32) {
		total = int(set.Count())
		rows = make([]Row, len(ids))
		for i, id := range ids {
			rec := r.byID[id]
			rows[i] = Row{
				Name: rec.name, TypeName: rec.typeName(), Version: rec.version, Connectivity: r.Connectivity(id), attributes: rec.attributes,
			}
		}
	})
	return rows, total, nextCursor, err
}
