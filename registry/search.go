package registry

import "context"

// SearchInput is the fleet list of the UI.
type SearchInput struct {
	Text     string // case-insensitive substring of name, type or an attribute's value; "": all
	State    string // "": all, "connected", "offline" (was seen, is not connected), "never" (never seen)
	TypeName string // "": all
	Sort     string // "name" (default, ascending) or "lastSeen" (newest first, never seen at the end)
	Limit    int    // 1 to MaxPage
	Cursor   string // "" or the nextCursor of the page before, with the same Sort
}

// Search returns one page of things, the number of all that match, and the cursor of the next page ("" at the end).
func (r *Registry) Search(ctx context.Context, in SearchInput) (things []Thing, total int, nextCursor string, err error) {
	return nil, 0, "", refuse(Busy, "not yet")
}
