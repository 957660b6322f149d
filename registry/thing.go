package registry

import (
	"context"
)

// Thing is a device's entry in the registry. The caller owns the map of a Thing it got.
type Thing struct {
	ID         uint32 // dense, from 1
	Name       string
	UUID       string // AWS: thingId
	TypeName   string // "": no type
	Attributes map[string]string
	Version    int64 // 1 at creation, +1 with every update
	CreatedMs  int64
	UpdatedMs  int64
}

// ThingInput is what CreateThing takes.
type ThingInput struct {
	Name       string
	TypeName   string
	Attributes map[string]string // an empty value is no attribute
}

// ThingUpdate is what UpdateThing takes; zero fields leave things as they are.
type ThingUpdate struct {
	Name            string
	TypeName        string            // new type
	RemoveType      bool              // not together with TypeName
	Attributes      map[string]string // nil: unchanged; an empty value removes the attribute
	Merge           bool              // false: Attributes replaces all; true: it is laid over the present ones
	ExpectedVersion int64             // 0: any
}

// CreateThing makes a thing. The same call again succeeds and returns the thing that is there; with another type
// or other attributes it is a Conflict. Many calls at the same time share one transaction.
//
// When ctx ends first, the thing may still be made.
func (r *Registry) CreateThing(ctx context.Context, in ThingInput) (Thing, error) {
	return Thing{}, refuse(Busy, "not yet")
}

// UpdateThing changes a thing and returns it as it is now.
func (r *Registry) UpdateThing(ctx context.Context, in ThingUpdate) (Thing, error) {
	return Thing{}, refuse(Busy, "not yet")
}

// DeleteThing deletes a thing. One that does not exist is no error (AWS DeleteThing). expectedVersion 0 is any.
func (r *Registry) DeleteThing(ctx context.Context, name string, expectedVersion int64) error {
	return refuse(Busy, "not yet")
}

// EnsureThing returns the thing, made with typeName (and the type, too) if it was not there; created says so.
// An existing thing keeps its type. cause goes to the log, e.g. "first connect". Safe against itself.
func (r *Registry) EnsureThing(ctx context.Context, name, typeName, cause string) (t Thing, created bool, err error) {
	return Thing{}, false, refuse(Busy, "not yet")
}

// Thing returns the thing of that name, or NotFound.
func (r *Registry) Thing(name string) (Thing, error) { return Thing{}, refuse(Busy, "not yet") }

// ThingByID returns the thing of that id, or NotFound.
func (r *Registry) ThingByID(id uint32) (Thing, error) { return Thing{}, refuse(Busy, "not yet") }

// ID returns the dense id of a thing.
func (r *Registry) ID(name string) (uint32, bool) { return 0, false }

// Name returns the name of a thing by its dense id; false when it was deleted or never was.
func (r *Registry) Name(id uint32) (string, bool) { return "", false }

// Describe calls attribute for each attribute of a thing, by key ascending, and returns its type ("": none).
// It copies nothing: made for label joins over many things. ok is false when there is no such thing.
func (r *Registry) Describe(id uint32, attribute func(key, value string)) (typeName string, ok bool) {
	return "", false
}

// ThingARN returns arn:aws:iot:<region>:<account>:thing/<name>.
func (r *Registry) ThingARN(name string) string { return r.arn("thing", name) }

// ThingTypeARN returns arn:aws:iot:<region>:<account>:thingtype/<name>.
func (r *Registry) ThingTypeARN(name string) string { return r.arn("thingtype", name) }

func (r *Registry) arn(resource, name string) string {
	return "arn:aws:iot:" + r.opts.Region + ":" + r.opts.AccountID + ":" + resource + "/" + name
}
