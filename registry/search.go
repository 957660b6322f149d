package registry

import "context"

// SearchInput is the fleet list of the UI.
type SearchInput struct {
	Text     string // a query as people type it; "": all
	State    string // "": all, "connected", "offline" (was connected), "never" (never connected)
	TypeName string // "": all
	Sort     string // as QueryInput has it
	Limit    int    // 1 to MaxPage
	Cursor   string // "" or the nextCursor of the page before, with the same Sort
}

// Search is Query for what people type: it returns one page of things, the number of all that match, and the cursor of
// the next page ("" at the end).
func (r *Registry) Search(ctx context.Context, in SearchInput) (things []Thing, total int, nextCursor string, err error) {
	page, err := r.Query(ctx, QueryInput{
		Text: in.Text, Typed: true, State: in.State, TypeName: in.TypeName, Sort: in.Sort, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, 0, "", err
	}
	things = make([]Thing, len(page.Hits))
	for i, h := range page.Hits {
		things[i] = h.Thing
	}
	return things, page.Total, page.NextCursor, nil
}
