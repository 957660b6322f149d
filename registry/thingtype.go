package registry

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Limits of a thing type (AWS IoT).
const (
	MaxDescriptionLen       = 2028 // characters
	MaxSearchableAttributes = 3
)

// ThingType is a class of things. Its slices belong to the registry: do not write to them.
type ThingType struct {
	Name                 string
	UUID                 string // AWS: thingTypeId
	Description          string
	SearchableAttributes []string               // as given, at most 3
	Propagating          []PropagatingAttribute // AWS: mqtt5Configuration
	Schema               string                 // JSON, as schema.go has it; "": none
	SchemaVersion        int64                  // 0 before the first schema, +1 with every change of it
	CreatedMs            int64
	Deprecated           bool
	DeprecatedMs         int64 // 0 when not deprecated
}

// PropagatingAttribute is something that AWS adds to messages of a thing as an MQTT 5 user property. It is kept and
// returned.
type PropagatingAttribute struct {
	UserPropertyKey     string `json:"userPropertyKey,omitempty"`
	ThingAttribute      string `json:"thingAttribute,omitempty"`
	ConnectionAttribute string `json:"connectionAttribute,omitempty"`
}

// ThingTypeInput is what CreateThingType takes.
type ThingTypeInput struct {
	Name                 string
	Description          string
	SearchableAttributes []string // the order does not matter
	Propagating          []PropagatingAttribute
	Tags                 map[string]string // of a new type
}

// ThingTypeUpdate is what UpdateThingType takes; nil leaves things as they are.
type ThingTypeUpdate struct {
	Name                 string
	Description          *string
	SearchableAttributes []string               // must be what they are (AWS)
	Propagating          []PropagatingAttribute // empty: none from now on
}

// CreateThingType makes a type. The same call again succeeds and returns it, its tags as they are; with other properties it is
// a Conflict.
func (r *Registry) CreateThingType(ctx context.Context, in ThingTypeInput) (ThingType, error) {
	if err := checkTypeInput(in); err != nil {
		return ThingType{}, err
	}
	var made ThingType
	err := r.submit(ctx, "", func(tx *transaction) error {
		if typ := r.types[in.Name]; typ != nil {
			made = typ.typ
			if made.Description != in.Description || !sameSet(made.SearchableAttributes, in.SearchableAttributes) ||
				!slices.Equal(made.Propagating, in.Propagating) {
				return refuse(Conflict, "thing type %q already exists with other properties; update or delete it", in.Name)
			}
			return nil
		}
		var err error
		made, err = r.planCreateType(tx, in)
		return err
	})
	if err != nil {
		return ThingType{}, err
	}
	return made, nil
}

// ensureType makes the type if it is not there.
func (r *Registry) ensureType(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	if err := CheckName("thingTypeName", name); err != nil {
		return err
	}
	if _, err := r.ThingType(name); err == nil {
		return nil
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		if r.types[name] != nil {
			return nil
		}
		_, err := r.planCreateType(tx, ThingTypeInput{Name: name})
		return err
	})
}

func (r *Registry) planCreateType(tx *transaction, in ThingTypeInput) (ThingType, error) {
	if len(r.types) >= r.opts.MaxThingTypes {
		return ThingType{}, refuse(Limit, "this gateway takes at most %d thing types; delete some or raise the limit", r.opts.MaxThingTypes)
	}
	uuid, err := newUUID(r.opts.Rand)
	if err != nil {
		return ThingType{}, err
	}
	// Clones: the caller's strings may be parts of its request.
	made := ThingType{Name: strings.Clone(in.Name), UUID: uuid, Description: strings.Clone(in.Description), CreatedMs: r.nowMs()}
	for _, key := range in.SearchableAttributes {
		made.SearchableAttributes = append(made.SearchableAttributes, strings.Clone(key))
	}
	made.Propagating = clonePropagating(in.Propagating)
	tx.PutTypes = append(tx.PutTypes, made)
	r.planTags(tx, typeResource(made.Name), in.Tags)
	tx.memory = append(tx.memory, func() { r.types[made.Name] = &typeRecord{name: made.Name, typ: made} })
	tx.notices = append(tx.notices, notice{typ: &TypeChange{Op: Created, Type: made}})
	return made, nil
}

// clonePropagating copies them with their texts, which may be parts of a request.
func clonePropagating(list []PropagatingAttribute) (copied []PropagatingAttribute) {
	for _, p := range list {
		copied = append(copied, PropagatingAttribute{
			strings.Clone(p.UserPropertyKey), strings.Clone(p.ThingAttribute), strings.Clone(p.ConnectionAttribute),
		})
	}
	return copied
}

// UpdateThingType changes the description and what is propagated. Searchable attributes cannot be changed.
func (r *Registry) UpdateThingType(ctx context.Context, in ThingTypeUpdate) (ThingType, error) {
	if err := CheckName("thingTypeName", in.Name); err != nil {
		return ThingType{}, err
	}
	if in.Description != nil {
		if err := checkDescription("thingTypeDescription", *in.Description); err != nil {
			return ThingType{}, err
		}
	}
	if err := checkPropagating(in.Propagating); err != nil {
		return ThingType{}, err
	}
	var changed ThingType
	err := r.submit(ctx, "", func(tx *transaction) error {
		typ := r.types[in.Name]
		if typ == nil {
			return errNoType(in.Name)
		}
		changed = typ.typ
		if in.SearchableAttributes != nil && !sameSet(in.SearchableAttributes, changed.SearchableAttributes) {
			return refuse(Invalid, "searchableAttributes: they cannot be changed; send those that thing type %q has, or none", in.Name)
		}
		if in.Description != nil {
			changed.Description = strings.Clone(*in.Description)
		}
		if in.Propagating != nil {
			changed.Propagating = clonePropagating(in.Propagating)
		}
		now := changed
		tx.PutTypes = append(tx.PutTypes, now)
		tx.memory = append(tx.memory, func() { typ.typ = now })
		tx.notices = append(tx.notices, notice{typ: &TypeChange{Op: Updated, Type: now}})
		return nil
	})
	if err != nil {
		return ThingType{}, err
	}
	return changed, nil
}

// ThingType returns the type of that name, or NotFound.
func (r *Registry) ThingType(name string) (ThingType, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if typ := r.types[name]; typ != nil {
		return typ.typ, nil
	}
	if err := CheckName("thingTypeName", name); err != nil {
		return ThingType{}, err
	}
	return ThingType{}, errNoType(name)
}

// DeprecateThingType stops new things of the type (undo: allows them again). Existing things keep it.
// Deprecating a deprecated type keeps its date.
func (r *Registry) DeprecateThingType(ctx context.Context, name string, undo bool) error {
	if err := CheckName("thingTypeName", name); err != nil {
		return err
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		typ := r.types[name]
		if typ == nil {
			return errNoType(name)
		}
		if typ.typ.Deprecated == !undo {
			return nil
		}
		changed := typ.typ
		changed.Deprecated, changed.DeprecatedMs = !undo, 0
		if !undo {
			changed.DeprecatedMs = r.nowMs()
		}
		tx.PutTypes = append(tx.PutTypes, changed)
		tx.memory = append(tx.memory, func() { typ.typ = changed })
		tx.notices = append(tx.notices, notice{typ: &TypeChange{Op: Updated, Type: changed}})
		return nil
	})
}

// DeleteThingType deletes a type that no thing has and that was deprecated at least TypeDeleteAfter ago; else Invalid.
func (r *Registry) DeleteThingType(ctx context.Context, name string) error {
	if err := CheckName("thingTypeName", name); err != nil {
		return err
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		typ := r.types[name]
		if typ == nil {
			return errNoType(name)
		}
		if !typ.typ.Deprecated {
			return refuse(Invalid, "thing type %q is not deprecated; deprecate it, wait %s, then delete it", name, r.opts.TypeDeleteAfter)
		}
		since := time.Duration(r.nowMs()-typ.typ.DeprecatedMs) * time.Millisecond
		if since < r.opts.TypeDeleteAfter {
			return refuse(Invalid, "thing type %q was deprecated %s ago; it can be deleted after %s",
				name, since.Round(time.Second), r.opts.TypeDeleteAfter)
		}
		if typ.things > 0 {
			return refuse(Invalid, "thing type %q is used by %d things; give them another type or delete them", name, typ.things)
		}
		tx.DeleteTypes = append(tx.DeleteTypes, name)
		r.planForgetTags(tx, typeResource(name))
		tx.memory = append(tx.memory, func() { delete(r.types, name) })
		tx.notices = append(tx.notices, notice{typ: &TypeChange{Op: Deleted, Type: typ.typ}})
		return nil
	})
}

func typeResource(name string) string { return "thingtype/" + name }

func errNoType(name string) error { return refuse(NotFound, "thing type %q does not exist", name) }

func checkTypeInput(in ThingTypeInput) error {
	if err := CheckName("thingTypeName", in.Name); err != nil {
		return err
	}
	if err := checkDescription("thingTypeDescription", in.Description); err != nil {
		return err
	}
	if n := len(in.SearchableAttributes); n > MaxSearchableAttributes {
		return refuse(Invalid, "searchableAttributes: at most %d, these are %d", MaxSearchableAttributes, n)
	}
	for i, key := range in.SearchableAttributes {
		if err := checkText("searchableAttributes", key, 1, MaxAttributeKeyLen, attributeKeyChars); err != nil {
			return err
		}
		if slices.Contains(in.SearchableAttributes[:i], key) {
			return refuse(Invalid, "searchableAttributes: %q is there twice", key)
		}
	}
	if err := checkTags(in.Tags); err != nil {
		return err
	}
	return checkPropagating(in.Propagating)
}

// maxPropagating is how many propagating attributes a type may have (AWS).
const maxPropagating = 20

func checkPropagating(list []PropagatingAttribute) error {
	if len(list) > maxPropagating {
		return refuse(Invalid, "propagatingAttributes: at most %d, these are %d", maxPropagating, len(list))
	}
	for _, p := range list {
		if err := checkText("userPropertyKey", p.UserPropertyKey, 1, 128, ":$.-_"); err != nil {
			return err
		}
		if (p.ThingAttribute == "") == (p.ConnectionAttribute == "") {
			return refuse(Invalid, "propagatingAttributes: %q must have either thingAttribute or connectionAttribute", p.UserPropertyKey)
		}
		if err := checkText("thingAttribute", p.ThingAttribute, 0, MaxAttributeKeyLen, attributeKeyChars); err != nil {
			return err
		}
		if err := checkText("connectionAttribute", p.ConnectionAttribute, 0, 128, ":$."); err != nil {
			return err
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, s := range a {
		if !slices.Contains(b, s) {
			return false
		}
	}
	return true
}
