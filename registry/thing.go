package registry

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"muster/agent/wire"
)

// Longest attribute names, values and free texts in characters (AWS IoT).
const (
	MaxAttributeKeyLen   = 128
	MaxAttributeValueLen = 800
)

// What attribute names and values may have besides letters and digits (AWS IoT).
const (
	attributeKeyChars   = "_.,@/:#-"
	attributeValueChars = "_.,@/:#=[]-"
)

// Thing is a device's entry in the registry. The caller owns the map of a Thing it got.
type Thing struct {
	ID           uint32 // dense, from 1
	Name         string
	UUID         string // AWS: thingId
	TypeName     string // "": no type
	BillingGroup string // "": none
	Attributes   map[string]string
	Version      int64 // 1 at creation, +1 with every update
	CreatedMs    int64
	UpdatedMs    int64
}

// ThingInput is what CreateThing takes.
type ThingInput struct {
	Name         string
	TypeName     string
	BillingGroup string
	Attributes   map[string]string // an empty value is no attribute
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
	if err := CheckName("thingName", in.Name); err != nil {
		return Thing{}, err
	}
	if err := checkNames("thingTypeName", in.TypeName, "billingGroupName", in.BillingGroup); err != nil {
		return Thing{}, err
	}
	attributes, err := r.checkAttributes(nil, in.Attributes)
	if err != nil {
		return Thing{}, err
	}
	var made Thing
	err = r.submit(ctx, in.Name, func(tx *transaction) error {
		if rec := r.things[in.Name]; rec != nil {
			if typ := r.types[in.TypeName]; typ != nil {
				typ.schema.fill(attributes)
			}
			made = rec.thing()
			if made.TypeName != in.TypeName || made.BillingGroup != in.BillingGroup || !maps.Equal(made.Attributes, attributes) {
				return refuse(Conflict, "thing %q already exists with another thing type, billing group or other attributes; update or delete it", in.Name)
			}
			return nil
		}
		var err error
		in.Attributes = attributes
		made, err = r.planCreate(tx, in, true)
		return err
	})
	if err != nil {
		return Thing{}, err
	}
	return made, nil
}

// planCreate adds a new thing to tx. Its attributes are checked, but for their number and the schema of its type, and
// belong to the result.
func (r *Registry) planCreate(tx *transaction, in ThingInput, checked bool) (Thing, error) {
	typ, err := r.typeForNew(in.TypeName)
	if err != nil {
		return Thing{}, err
	}
	if typ != nil {
		typ.schema.fill(in.Attributes)
		if checked {
			if err := typ.schema.checkThing(lookUp(in.Attributes)); err != nil {
				return Thing{}, err
			}
		}
	}
	billing, err := r.billingFor(in.BillingGroup)
	if err != nil {
		return Thing{}, err
	}
	if err := r.checkAttributeCount(len(in.Attributes), typ != nil); err != nil {
		return Thing{}, err
	}
	if have := len(r.things) + tx.created; have >= r.opts.MaxThings || r.nextID >= maxID {
		return Thing{}, refuse(Limit, "this gateway takes at most %d things; delete some or raise the limit", min(r.opts.MaxThings, maxID))
	}
	uuid, err := newUUID(r.opts.Rand)
	if err != nil {
		return Thing{}, err
	}
	now := r.nowMs()
	name := strings.Clone(in.Name) // the caller's may be a part of its request
	made := Thing{
		ID: r.nextID, Name: name, UUID: uuid, Attributes: in.Attributes,
		Version: 1, CreatedMs: now, UpdatedMs: now,
	}
	if typ != nil {
		made.TypeName = typ.name
	}
	if billing != nil {
		made.BillingGroup = billing.Name
	}
	rec, err := newRecord(made, typ, billing)
	if err != nil {
		return Thing{}, err
	}
	r.nextID++
	tx.created++
	tx.CreateThings = append(tx.CreateThings, made)
	tx.memory = append(tx.memory, func() {
		r.things[name] = rec
		r.setByID(rec)
		r.order.put(rec)
		rec.join()
		r.presence.add(rec.id)
		r.reindex(nil, rec)
	})
	tx.notices = append(tx.notices, notice{change: &Change{Op: Created, Thing: rec.thing()}})
	return made, nil
}

func lookUp(attributes map[string]string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		value, ok := attributes[key]
		return value, ok
	}
}

// typeForNew returns the type that a thing is to get, nil for none.
func (r *Registry) typeForNew(name string) (*typeRecord, error) {
	if name == "" {
		return nil, nil
	}
	typ := r.types[name]
	if typ == nil {
		return nil, refuse(NotFound, "thing type %q does not exist; create it first", name)
	}
	if typ.typ.Deprecated {
		return nil, refuse(Invalid, "thing type %q is deprecated and takes no new things; undo its deprecation or use another", name)
	}
	return typ, nil
}

// UpdateThing changes a thing and returns it as it is now.
func (r *Registry) UpdateThing(ctx context.Context, in ThingUpdate) (Thing, error) {
	if err := CheckName("thingName", in.Name); err != nil {
		return Thing{}, err
	}
	if err := checkNames("thingTypeName", in.TypeName); err != nil {
		return Thing{}, err
	}
	if in.RemoveType && in.TypeName != "" {
		return Thing{}, refuse(Invalid, "thingTypeName and removeThingType exclude each other; send one")
	}
	if in.ExpectedVersion < 0 {
		return Thing{}, refuse(Invalid, "expectedVersion must be positive, it is %d", in.ExpectedVersion)
	}
	if _, err := r.checkAttributes(nil, in.Attributes); err != nil {
		return Thing{}, err
	}
	var updated Thing
	err := r.submit(ctx, in.Name, func(tx *transaction) error {
		old := r.things[in.Name]
		if old == nil {
			return errNoThing(in.Name)
		}
		if err := checkVersion(old, in.ExpectedVersion); err != nil {
			return err
		}
		typ, attributes := old.typ, old.thing().Attributes
		var err error
		switch {
		case in.RemoveType:
			typ = nil
		case in.TypeName != "" && in.TypeName != old.typeName():
			if typ, err = r.typeForNew(in.TypeName); err != nil {
				return err
			}
		}
		if in.Attributes != nil {
			if !in.Merge {
				attributes = nil
			}
			if attributes, err = r.checkAttributes(attributes, in.Attributes); err != nil {
				return err
			}
		}
		if typ != nil && (typ != old.typ || in.Attributes != nil) {
			if typ != old.typ {
				typ.schema.fill(attributes)
			}
			if err := typ.schema.checkThing(lookUp(attributes)); err != nil {
				return err
			}
		}
		if err := r.checkAttributeCount(len(attributes), typ != nil); err != nil {
			return err
		}
		updated = old.thing()
		updated.Attributes = attributes
		updated.Version++
		updated.UpdatedMs = r.nowMs()
		updated.TypeName = ""
		if typ != nil {
			updated.TypeName = typ.name
		}
		rec, err := newRecord(updated, typ, old.billing)
		if err != nil {
			return err
		}
		r.planReplace(tx, old, rec)
		return nil
	})
	if err != nil {
		return Thing{}, err
	}
	return updated, nil
}

// planReplace adds the change of a thing from old to rec to tx.
func (r *Registry) planReplace(tx *transaction, old, rec *record) {
	tx.UpdateThings = append(tx.UpdateThings, rec.thing())
	tx.memory = append(tx.memory, func() {
		r.things[rec.name] = rec
		r.byID[rec.id] = rec
		r.order.put(rec)
		old.leave()
		rec.join()
		r.reindex(old, rec)
	})
	tx.notices = append(tx.notices, notice{change: &Change{Op: Updated, Thing: rec.thing(), OldType: old.typeName()}})
}

// DeleteThing deletes a thing. One that does not exist is no error (AWS DeleteThing). expectedVersion 0 is any.
func (r *Registry) DeleteThing(ctx context.Context, name string, expectedVersion int64) error {
	if err := CheckName("thingName", name); err != nil {
		return err
	}
	if expectedVersion < 0 {
		return refuse(Invalid, "expectedVersion must be positive, it is %d", expectedVersion)
	}
	return r.submit(ctx, name, func(tx *transaction) error {
		old := r.things[name]
		if old == nil {
			return nil
		}
		if err := checkVersion(old, expectedVersion); err != nil {
			return err
		}
		tx.DeleteThings = append(tx.DeleteThings, old.id)
		tx.memory = append(tx.memory, func() {
			for _, g := range r.groupsOf(old.id) {
				r.setMember(g, old.id, false, "the thing was deleted")
			}
			delete(r.things, name)
			r.byID[old.id] = nil
			r.order.remove(name)
			old.leave()
			r.reindex(old, nil)
			r.presence.remove(old.id)
		})
		tx.notices = append(tx.notices, notice{change: &Change{Op: Deleted, Thing: old.thing(), OldType: old.typeName()}})
		return nil
	})
}

// EnsureThing returns the thing, made with typeName (and the type, too) if it was not there; created says so.
// An existing thing keeps its type. cause goes to the log, e.g. "first connect". Safe against itself.
func (r *Registry) EnsureThing(ctx context.Context, name, typeName, cause string) (thing Thing, created bool, err error) {
	if err := CheckName("thingName", name); err != nil {
		return Thing{}, false, err
	}
	if rec := r.lookup(name); rec != nil {
		return rec.thing(), false, nil
	}
	if err := r.ensureType(ctx, typeName); err != nil {
		return Thing{}, false, err
	}
	// Not the named results: they are written on return, which may be before the plan has run.
	var made Thing
	var isNew bool
	err = r.submit(ctx, name, func(tx *transaction) error {
		if rec := r.things[name]; rec != nil {
			made = rec.thing()
			return nil
		}
		var err error
		// A device that registers itself has no attributes yet: those that its type requires come with the next update.
		made, err = r.planCreate(tx, ThingInput{Name: name, TypeName: typeName, Attributes: map[string]string{}}, false)
		isNew = err == nil
		return err
	})
	if err != nil {
		return Thing{}, false, err
	}
	if isNew {
		r.opts.Log.Debug("thing made", "thing", name, "type", typeName, "cause", cause) // a new fleet makes thousands: Changed tells of each
	}
	return made, isNew, nil
}

// Thing returns the thing of that name, or NotFound.
func (r *Registry) Thing(name string) (Thing, error) {
	if rec := r.lookup(name); rec != nil {
		return rec.thing(), nil
	}
	if err := CheckName("thingName", name); err != nil {
		return Thing{}, err
	}
	return Thing{}, errNoThing(name)
}

// ThingByID returns the thing of that id, or NotFound.
func (r *Registry) ThingByID(id uint32) (Thing, error) {
	if rec := r.lookupID(id); rec != nil {
		return rec.thing(), nil
	}
	return Thing{}, refuse(NotFound, "there is no thing with the id %d", id)
}

// ID returns the dense id of a thing.
func (r *Registry) ID(name string) (uint32, bool) {
	if rec := r.lookup(name); rec != nil {
		return rec.id, true
	}
	return 0, false
}

// Name returns the name of a thing by its dense id; false when it was deleted or never was.
func (r *Registry) Name(id uint32) (string, bool) {
	if rec := r.lookupID(id); rec != nil {
		return rec.name, true
	}
	return "", false
}

// Describe calls attribute for each attribute of a thing, by key ascending, and returns its type ("": none).
// It copies nothing: made for label joins over many things. ok is false when there is no such thing.
func (r *Registry) Describe(id uint32, attribute func(key, value string)) (typeName string, ok bool) {
	rec := r.lookupID(id)
	if rec == nil {
		return "", false
	}
	for _, a := range rec.attributes {
		attribute(a.key, a.value)
	}
	return rec.typeName(), true
}

// Count returns the number of things.
func (r *Registry) Count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.things)
}

func (r *Registry) lookup(name string) *record {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.things[name]
}

func (r *Registry) lookupID(id uint32) *record {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if int(id) < len(r.byID) {
		return r.byID[id]
	}
	return nil
}

// ThingARN returns arn:aws:iot:<region>:<account>:thing/<name>.
func (r *Registry) ThingARN(name string) string { return r.arn("thing", name) }

// FleetMetricARN returns the ARN of a fleet metric.
func (r *Registry) FleetMetricARN(name string) string { return r.arn("fleetmetric", name) }

// ThingTypeARN returns arn:aws:iot:<region>:<account>:thingtype/<name>.
func (r *Registry) ThingTypeARN(name string) string { return r.arn("thingtype", name) }

func (r *Registry) arn(resource, name string) string {
	return "arn:aws:iot:" + r.opts.Region + ":" + r.opts.AccountID + ":" + resource + "/" + name
}

func errNoThing(name string) error { return refuse(NotFound, "thing %q does not exist", name) }

func checkVersion(rec *record, expected int64) error {
	if expected != 0 && expected != rec.version {
		return refuse(Stale, "thing %q has version %d, expectedVersion is %d; read it again", rec.name, rec.version, expected)
	}
	return nil
}

// CheckName checks the name of a thing, a type or a group, which have AWS's alphabet [a-zA-Z0-9:_-]{1,128}. field is for the message.
func CheckName(field, name string) error {
	if err := wire.CheckThingName(name); err != nil {
		if field != "thingName" {
			return refuse(Invalid, "%s: %s", field, strings.Replace(err.Error(), "thing name", "the name", 1))
		}
		return refuse(Invalid, "%s: %s", field, err)
	}
	return nil
}

// checkNames is CheckName for pairs of fields and names, of which an empty name is none.
func checkNames(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if err := CheckName(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// checkAttributes lays change over base and returns the sum, new; an empty value takes the attribute away.
func (r *Registry) checkAttributes(base, change map[string]string) (map[string]string, error) {
	return layAttributes(base, change, r.opts.MaxTypeAttributes)
}

// layAttributes lays at most limit attributes over base.
func layAttributes(base, change map[string]string, limit int) (map[string]string, error) {
	sum := make(map[string]string, len(base)+len(change))
	maps.Copy(sum, base)
	if len(change) > limit {
		return nil, refuse(Invalid, "attributes: at most %d at a time, these are %d", limit, len(change))
	}
	for key, value := range change {
		if err := checkText("attribute name", key, 1, MaxAttributeKeyLen, attributeKeyChars); err != nil {
			return nil, err
		}
		if err := checkText("value of attribute "+key, value, 0, MaxAttributeValueLen, attributeValueChars); err != nil {
			return nil, err
		}
		if value == "" {
			delete(sum, key)
		} else {
			sum[strings.Clone(key)] = strings.Clone(value)
		}
	}
	return sum, nil
}

func (r *Registry) checkAttributeCount(count int, typed bool) error {
	if limit := r.opts.MaxTypeAttributes; typed && count > limit {
		return refuse(Invalid, "attributes: a thing has at most %d, this one would have %d", limit, count)
	}
	if limit := r.opts.MaxAttributes; !typed && count > limit {
		return refuse(Invalid, "attributes: a thing without a thing type has at most %d, this one would have %d; give it a thing type (up to %d)",
			limit, count, r.opts.MaxTypeAttributes)
	}
	return nil
}

// checkText checks a text of minLen to maxLen characters out of a-z A-Z 0-9 and extra.
func checkText(field, text string, minLen, maxLen int, extra string) error {
	if len(text) < minLen || len(text) > maxLen {
		return refuse(Invalid, "%s: must have %d to %d characters, it has %d", field, minLen, maxLen, len(text))
	}
	for i, c := range text {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c < utf8.RuneSelf && strings.ContainsRune(extra, c) {
			continue
		}
		return refuse(Invalid, "%s: %q has %q at position %d; allowed are a-z A-Z 0-9 %s", field, text, c, i, extra)
	}
	return nil
}
