package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"muster/ingest/decode"
	"muster/registry"
	"muster/registry/readings"
	"muster/registry/store"
	"muster/tsdb"
	"muster/tsdb/vfs"
)

// typeReadings joins the telemetry schemas of thing types to the things whose messages they change. It implements ingest.Schemas
// and admin.Readings. Safe for concurrent use.
type typeReadings struct {
	store  store.Readings
	things *registry.Registry
	dict   *tsdb.Dict
	clock  vfs.Clock

	epoch  atomic.Uint64 // 0: there never was a schema
	change sync.Mutex    // held while a schema changes
	mu     sync.RWMutex  // guards what follows
	byType map[string]typeReading
	units  map[string][]string // by column, ascending
}

// typeReading is a schema, and the same for decoders.
type typeReading struct {
	readings.Stored
	schema *decode.Schema
}

// openReadings reads all schemas. One that cannot be applied is logged and left out.
func openReadings(store store.Readings, things *registry.Registry, dict *tsdb.Dict, clock vfs.Clock, log *slog.Logger) (*typeReadings, error) {
	r := &typeReadings{store: store, things: things, dict: dict, clock: clock, byType: map[string]typeReading{}}
	all, err := store.All(context.Background())
	if err != nil {
		return nil, err
	}
	for _, stored := range all {
		schema, err := r.compile(stored.Document)
		if err != nil {
			log.Error("a telemetry schema is not applied", "type", stored.TypeName, "err", err)
			continue
		}
		r.byType[stored.TypeName] = typeReading{stored, schema}
	}
	if len(r.byType) > 0 {
		r.changed()
	}
	things.OnChange(func(c registry.Change) { // perhaps of a thing's type
		if c.Op == registry.Updated && r.epoch.Load() > 0 {
			r.epoch.Add(1)
		}
	})
	return r, nil
}

// compile makes a schema for decoders, nil of the empty document.
func (r *typeReadings) compile(d readings.Document) (*decode.Schema, error) {
	if d.Empty() {
		return nil, nil
	}
	rules := make([]decode.Rule, 0, len(d.Columns))
	for name, c := range d.Columns {
		rules = append(rules, decode.Rule{Column: name, Rename: c.Rename, Drop: c.Drop, Scale: string(c.Scale), Offset: string(c.Offset)})
	}
	return decode.NewSchema(r.dict, rules, d.Unknown == readings.Drop)
}

// changed makes the units anew and has connections ask again.
func (r *typeReadings) changed() {
	units := map[string][]string{}
	for _, reading := range r.byType {
		for name, c := range reading.Columns {
			if kept := c.Name(name); c.Unit != "" && !slices.Contains(units[kept], c.Unit) {
				units[kept] = append(units[kept], c.Unit)
				slices.Sort(units[kept])
			}
		}
	}
	r.units = units
	r.epoch.Add(1)
}

// Epoch implements ingest.Schemas.
func (r *typeReadings) Epoch() uint64 { return r.epoch.Load() }

// Schema implements ingest.Schemas.
func (r *typeReadings) Schema(thing tsdb.ThingID) *decode.Schema {
	typeName, _ := r.things.Describe(uint32(thing), func(string, string) {})
	if typeName == "" {
		return nil
	}
	reading, err := r.of(typeName)
	if err != nil {
		return nil
	}
	return reading.schema
}

// Units returns the units that schemas give a column, ascending. It is prom.Options.Units.
func (r *typeReadings) Units(column string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.units[column]
}

// of returns the schema of a type that exists; its version is 0 where there never was one.
func (r *typeReadings) of(typeName string) (typeReading, error) {
	thingType, err := r.things.ThingType(typeName)
	if err != nil {
		return typeReading{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	reading, ok := r.byType[typeName]
	if !ok || reading.TypeUUID != thingType.UUID { // which begins with the empty one
		none := readings.Document{Unknown: readings.Keep, Columns: map[string]readings.Column{}}
		return typeReading{readings.Stored{Document: none, TypeName: typeName, TypeUUID: thingType.UUID}, nil}, nil
	}
	return reading, nil
}

// Get implements admin.Readings.
func (r *typeReadings) Get(typeName string) (readings.Stored, error) {
	reading, err := r.of(typeName)
	return reading.Stored, err
}

// Put implements admin.Readings.
func (r *typeReadings) Put(ctx context.Context, typeName string, d readings.Document, expected int64) (readings.Stored, error) {
	none := readings.Stored{}
	if wrong := d.Check(); wrong != "" {
		return none, &registry.Error{Kind: registry.Invalid, Message: wrong}
	}
	if _, err := r.things.ThingType(typeName); err != nil {
		return none, err
	}
	schema, err := r.compile(d)
	switch {
	case errors.Is(err, tsdb.ErrDictFull):
		return none, &registry.Error{Kind: registry.Limit, Message: "the telemetry store has no room for more column names"}
	case err != nil:
		return none, &registry.Error{Kind: registry.Invalid, Message: err.Error()}
	}
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.of(typeName)
	if err != nil {
		return none, err
	}
	if expected != registry.AnyVersion && expected != old.Version {
		return none, &registry.Error{Kind: registry.Stale,
			Message: fmt.Sprintf("the telemetry schema of thing type %q has version %d, expectedVersion is %d; read it again", typeName, old.Version, expected)}
	}
	if reflect.DeepEqual(old.Document, d) {
		return old.Stored, nil
	}
	stored := readings.Stored{Document: d, TypeName: typeName, TypeUUID: old.TypeUUID, Version: old.Version + 1, ChangedMs: r.clock.Now().UnixMilli()}
	if err := r.store.Put(ctx, stored); err != nil {
		return none, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byType[typeName] = typeReading{stored, schema}
	r.changed()
	return stored, nil
}
