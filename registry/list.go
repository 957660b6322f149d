package registry

import "context"

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
	return nil, "", refuse(Busy, "not yet")
}

// ListThingTypes returns up to limit types by name ascending, or only the one called name if name is not "".
func (r *Registry) ListThingTypes(ctx context.Context, name, after string, limit int) (types []ThingType, next string, err error) {
	return nil, "", refuse(Busy, "not yet")
}
