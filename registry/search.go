package registry

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
)

// SearchInput is the fleet list of the UI.
type SearchInput struct {
	Text     string // case-insensitive substring of name, type or an attribute's value; "": all
	State    string // "": all, "connected", "offline" (was seen, is not connected), "never" (never seen)
	TypeName string // "": all
	Sort     string // "name" (default, ascending) or "lastSeen" (newest first, never seen at the end)
	Limit    int    // 1 to MaxPage
	Cursor   string // "" or the nextCursor of the page before, with the same Sort
}

// maxSearchText bounds the text of a search in bytes.
const maxSearchText = 256

// hit is a thing that matches, with the time that it is sorted by (0 when sorted by name).
type hit struct {
	rec    *record
	seenMs int64
}

func compareHits(a, b hit) int {
	return cmp.Or(cmp.Compare(b.seenMs, a.seenMs), cmp.Compare(a.rec.name, b.rec.name))
}

// Search returns one page of things, the number of all that match, and the cursor of the next page ("" at the end).
// It reads every thing. Pages are by keys, so that things made or deleted meanwhile shift nothing; sorted by
// lastSeen, a thing that is seen between two pages moves to the front.
func (r *Registry) Search(ctx context.Context, in SearchInput) (things []Thing, total int, nextCursor string, err error) {
	if err := in.check(); err != nil {
		return nil, 0, "", err
	}
	var after *hit
	if in.Cursor != "" {
		if after, err = in.decodeCursor(); err != nil {
			return nil, 0, "", err
		}
	}
	text := strings.ToLower(in.Text)
	var best []hit // never more than twice what the page needs
	err = r.scan(ctx, "", func(rec *record) bool {
		if in.TypeName != "" && rec.typeName() != in.TypeName || !rec.contains(text) {
			return true
		}
		h := hit{rec: rec}
		if in.State != "" || in.Sort == "lastSeen" {
			connected, seenMs := r.presence.state(rec.id)
			if !in.matchState(connected, seenMs) {
				return true
			}
			if in.Sort == "lastSeen" {
				h.seenMs = seenMs
			}
		}
		total++
		if after != nil && compareHits(h, *after) <= 0 {
			return true
		}
		if best = append(best, h); len(best) > 2*in.Limit+1 {
			slices.SortFunc(best, compareHits)
			best = best[:in.Limit+1]
		}
		return true
	})
	if err != nil {
		return nil, 0, "", err
	}
	slices.SortFunc(best, compareHits)
	if len(best) > in.Limit {
		best = best[:in.Limit]
		nextCursor = in.encodeCursor(best[in.Limit-1])
	}
	things = make([]Thing, len(best))
	for i, h := range best {
		things[i] = h.rec.thing()
	}
	return things, total, nextCursor, nil
}

func (in *SearchInput) check() error {
	switch {
	case in.Sort != "" && in.Sort != "name" && in.Sort != "lastSeen":
		return refuse(Invalid, "sort: %q is not known; use name or lastSeen", in.Sort)
	case in.State != "" && in.State != "connected" && in.State != "offline" && in.State != "never":
		return refuse(Invalid, "state: %q is not known; use connected, offline or never", in.State)
	case len(in.Text) > maxSearchText:
		return refuse(Invalid, "q: at most %d bytes, it has %d", maxSearchText, len(in.Text))
	case in.Limit < 1 || in.Limit > MaxPage:
		return refuse(Invalid, "limit must be 1 to %d, it is %d", MaxPage, in.Limit)
	}
	return nil
}

func (in *SearchInput) matchState(connected bool, seenMs int64) bool {
	switch in.State {
	case "connected":
		return connected
	case "offline":
		return !connected && seenMs != 0
	case "never":
		return !connected && seenMs == 0
	}
	return true
}

// A cursor is the sort key of the last thing of a page: [<ms>.]<name>, in base64.
func (in *SearchInput) encodeCursor(h hit) string {
	if in.Sort == "lastSeen" {
		return encodeCursor(strconv.FormatInt(h.seenMs, 10) + "." + h.rec.name)
	}
	return encodeCursor(h.rec.name)
}

func (in *SearchInput) decodeCursor() (*hit, error) {
	key, err := decodeText(in.Cursor)
	if err != nil {
		return nil, err
	}
	var h hit
	if in.Sort == "lastSeen" {
		ms, name, ok := strings.Cut(key, ".")
		if h.seenMs, err = strconv.ParseInt(ms, 10, 64); err != nil || !ok {
			return nil, errCursor()
		}
		key = name
	}
	if checkName("cursor", key) != nil {
		return nil, errCursor()
	}
	h.rec = &record{name: key}
	return &h, nil
}

// contains says whether lower, in lower case, is in the name, the type or an attribute's value, whatever their case.
// All of these are ASCII.
func (rec *record) contains(lower string) bool {
	if lower == "" || containsFold(rec.name, lower) || containsFold(rec.typeName(), lower) {
		return true
	}
	for _, a := range rec.attributes {
		if containsFold(a.value, lower) {
			return true
		}
	}
	return false
}

func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		n := 0
		for n < len(lower) && lowerByte(s[i+n]) == lower[n] {
			n++
		}
		if n == len(lower) {
			return true
		}
	}
	return false
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
