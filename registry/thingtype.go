package registry

import "context"

// ThingType is a class of things. It cannot be changed but for its deprecation.
type ThingType struct {
	Name                 string
	UUID                 string // AWS: thingTypeId
	Description          string
	SearchableAttributes []string // at most 3, ascending
	CreatedMs            int64
	Deprecated           bool
	DeprecatedMs         int64 // 0 when not deprecated
}

// ThingTypeInput is what CreateThingType takes.
type ThingTypeInput struct {
	Name                 string
	Description          string
	SearchableAttributes []string
}

// CreateThingType makes a type. The same call again succeeds and returns it; with other properties it is a Conflict.
func (r *Registry) CreateThingType(ctx context.Context, in ThingTypeInput) (ThingType, error) {
	return ThingType{}, refuse(Busy, "not yet")
}

// ThingType returns the type of that name, or NotFound.
func (r *Registry) ThingType(name string) (ThingType, error) {
	return ThingType{}, refuse(Busy, "not yet")
}

// DeprecateThingType stops new things of the type (undo: allows them again). Existing things keep it.
// Deprecating a deprecated type keeps its date.
func (r *Registry) DeprecateThingType(ctx context.Context, name string, undo bool) error {
	return refuse(Busy, "not yet")
}

// DeleteThingType deletes a type that no thing has and that was deprecated at least TypeDeleteAfter ago; else Invalid.
func (r *Registry) DeleteThingType(ctx context.Context, name string) error {
	return refuse(Busy, "not yet")
}
