package registry

import "context"

// Store keeps things and types on disk. Implemented by registry/store.
type Store interface {
	// LoadThings calls onType for every type, then onThing for every thing (any order) with its last connectivity,
	// and returns the id the next thing gets. It keeps no reference to what it passed.
	LoadThings(ctx context.Context, onType func(ThingType), onThing func(Thing, Connectivity)) (nextID uint32, err error)
	// ApplyThings makes all changes of b durable, or none.
	ApplyThings(ctx context.Context, b Batch) error
}

// Batch is one transaction: types first, then things, then connectivity, then deletions of types.
type Batch struct {
	NextID       uint32 // 0: unchanged
	PutTypes     []ThingType
	CreateThings []Thing
	UpdateThings []Thing
	DeleteThings []uint32
	Presence     []Presence
	DeleteTypes  []string
}

// Presence is the connectivity of one thing to persist.
type Presence struct {
	ID uint32
	Connectivity
}

// Change tells a listener what happened to a thing.
type Change struct {
	Op    Op
	Thing Thing // as it is now; when deleted, as it was
}

// Op is what happened to a thing.
type Op uint8

const (
	Created Op = iota + 1
	Updated
	Deleted
)

// OnChange calls f after every committed change of a thing, in commit order, before the call that made the change
// returns. f runs on the writing goroutine: it must be short and must not write to the registry.
func (r *Registry) OnChange(f func(Change)) {}
