package registry

import (
	"context"
	"errors"
)

// Store keeps things and types on disk. Implemented by registry/store.
type Store interface {
	// LoadThings calls onType for every type, then onThing for every thing (any order) with its last connectivity,
	// and returns the id the next thing gets. It keeps no reference to what it passed.
	LoadThings(ctx context.Context, onType func(ThingType), onThing func(Thing, Connectivity)) (nextID uint32, err error)
	// ApplyThings makes all changes of b durable, or none.
	ApplyThings(ctx context.Context, b Batch) error
}

// Batch is one transaction, in this order: types, deleted, new and changed things, connectivity, deleted types.
type Batch struct {
	NextID       uint32 // 0: unchanged
	PutTypes     []ThingType
	DeleteThings []uint32
	CreateThings []Thing
	UpdateThings []Thing
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
func (r *Registry) OnChange(f func(Change)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(r.listeners, f)
}

// maxGroup bounds the operations that share one transaction, and so the time it takes (about 20 us each).
const maxGroup = 512

// write is one call that waits to be made durable.
type write struct {
	thing string // the thing it touches; "": it touches a type and shares its transaction with nothing
	plan  func(*transaction) error
	done  chan error // buffered, gets one value
}

// transaction collects what a group of writes will do. Plans read the committed state only, which is right because
// no two writes of a group touch the same thing, and a write of a type is alone.
type transaction struct {
	Batch
	created int
	memory  []func() // what to do to the memory after the commit, under fleet and mu
	changes []Change
}

// submit hands a write to the writing goroutine and waits for its commit.
func (r *Registry) submit(ctx context.Context, thing string, plan func(*transaction) error) error {
	w := &write{thing: thing, plan: plan, done: make(chan error, 1)}
	select {
	case <-r.closing: // checked first, so that nothing is taken after Close began
		return errClosing()
	default:
	}
	select {
	case r.writes <- w:
	case <-r.closing:
		return errClosing()
	case <-ctx.Done():
		return &Error{Kind: Busy, Message: "the registry is busy; nothing was changed, try again", cause: ctx.Err()}
	}
	select {
	case err := <-w.done:
		return err
	case <-r.stopped:
		select {
		case err := <-w.done:
			return err
		default:
			return errClosing()
		}
	case <-ctx.Done():
		return &Error{Kind: Busy, Message: "the registry did not answer in time; look before you try again, the change may be made", cause: ctx.Err()}
	}
}

func errClosing() error { return refuse(Busy, "the registry is closing; nothing was changed") }

// run is the writing goroutine, from Open to Close.
func (r *Registry) run() {
	defer close(r.stopped)
	tick := r.opts.Clock.After(r.opts.FlushEvery)
	var next *write // left over: it touches a thing of the group before
	for {
		if next == nil {
			select {
			case next = <-r.writes:
			case <-tick:
			case <-r.closing:
				r.flushPresence(true)
				return
			}
		}
		if next != nil {
			next = r.commitGroup(next)
			select {
			case <-tick:
			default:
				continue
			}
		}
		r.flushPresence(false)
		tick = r.opts.Clock.After(r.opts.FlushEvery)
	}
}

// commitGroup commits first and the writes that wait behind it, up to one that touches the same thing or a type,
// which it returns.
func (r *Registry) commitGroup(first *write) (next *write) {
	var tx transaction
	var waiting []*write
	touched := make(map[string]bool)
	for w := first; w != nil; {
		if err := w.plan(&tx); err != nil {
			w.done <- err
		} else {
			waiting = append(waiting, w)
		}
		touched[w.thing] = true
		if w.thing == "" || len(waiting) >= maxGroup {
			break
		}
		select {
		case w = <-r.writes:
			if w.thing == "" || touched[w.thing] {
				next, w = w, nil
			}
		default:
			w = nil
		}
	}
	err := r.commit(&tx)
	for _, w := range waiting {
		w.done <- err
	}
	return next
}

// commit makes a transaction durable, then visible, then known.
func (r *Registry) commit(tx *transaction) error {
	if len(tx.memory) == 0 {
		return nil
	}
	if tx.created > 0 {
		tx.NextID = r.nextID
	}
	err := r.opts.Store.ApplyThings(context.Background(), tx.Batch)
	r.noteWrite(err)
	if err != nil {
		return &Error{Kind: Busy, Message: "the registry could not be written, nothing was changed; see the gateway's log", cause: err}
	}
	r.metrics.commits.Inc()
	r.metrics.writes.Add(len(tx.memory))
	r.fleet.Lock()
	r.mu.Lock()
	for _, f := range tx.memory {
		f()
	}
	listeners := r.listeners
	r.mu.Unlock()
	r.fleet.Unlock()
	for _, c := range tx.changes {
		for _, f := range listeners {
			f(c)
		}
	}
	return nil
}

// noteWrite counts a failed write, and logs the first of a row and the end of it.
func (r *Registry) noteWrite(err error) {
	if err != nil {
		r.metrics.writeErrors.Inc()
		if !r.failing {
			r.opts.Log.Error("the registry cannot be written; changes are refused until it can", "err", err)
		}
	} else if r.failing {
		r.opts.Log.Info("the registry is written again")
	}
	r.failing = err != nil
}

// Close writes the connectivity of all things and ends the writing goroutine. Writes that wait for it are refused
// as Busy, as are later ones. Reads keep working.
func (r *Registry) Close() error {
	r.closeOnce.Do(func() { close(r.closing) })
	<-r.stopped
	if r.presenceErr != nil {
		return errors.Join(errors.New("close registry: last connectivity is not saved"), r.presenceErr)
	}
	return nil
}

// nowMs is the time of the clock in Unix milliseconds.
func (r *Registry) nowMs() int64 { return r.opts.Clock.Now().UnixMilli() }
