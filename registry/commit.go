package registry

import (
	"context"
	"errors"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/standing"
)

// Store keeps the registry on disk. Implemented by registry/store.
type Store interface {
	// LoadThings passes on everything, as it was at one moment. It keeps no reference to what it passed.
	LoadThings(ctx context.Context, into Loader) (Marks, error)
	// ApplyThings makes all changes of b durable, or none.
	ApplyThings(ctx context.Context, b Batch) error
}

// Marks are numbers that never go down.
type Marks struct {
	NextID      uint32 // of the next thing, at least; it is also above that of every thing there is
	NextGroupID uint32
	Revision    int64 // no commit had a higher one
}

// Batch is one transaction. It is applied in the order of its fields.
type Batch struct {
	Marks // zero ones are unchanged

	PutTypes         []ThingType
	PutBillingGroups []BillingGroup
	CreateGroups     []Group
	UpdateGroups     []Group
	DeleteThings     []uint32 // with their connectivity and memberships
	CreateThings     []Thing
	UpdateThings     []Thing
	Join             []Member // members of static groups; those of dynamic ones are not stored
	Leave            []Member
	Presence         []Presence

	DeleteGroups        []uint32 // with their memberships
	DeleteTypes         []string // that no thing has
	DeleteBillingGroups []string
	PutTags             []Tag
	DeleteTags          []Tag // by resource and key; all of the resource if the key is ""
}

// Member is a thing in a group, both by id.
type Member struct{ Group, Thing uint32 }

// Presence is the connectivity of one thing to persist.
type Presence struct {
	ID uint32
	Connectivity
}

// maxGroup bounds the operations that share one transaction, and so the time it takes (about 20 us each).
const maxGroup = 512

// write is one call that waits to be made durable.
type write struct {
	thing string // the thing it touches; "": it touches something else and shares its transaction with nothing
	plan  func(*transaction) error
	done  chan error // buffered, gets one value
}

// transaction collects what a group of writes will do. Plans read the committed state only, which is right because
// no two writes of a group touch the same thing, and a write of anything but a thing and its memberships is alone.
type transaction struct {
	Batch
	created int
	memory  []func() // what to do to the memory after the commit, under fleet and mu
	notices []notice
}

// told waits until the listeners were told all that happened before the call.
func (r *Registry) told(ctx context.Context) error {
	return r.submit(ctx, "", func(*transaction) error { return nil })
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
			case <-r.news.wake:
				r.deliver()
				continue
			case <-tick:
			case <-r.closing:
				r.flush(true)
				r.deliver()
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
		r.flush(false)
		tick = r.opts.Clock.After(r.opts.FlushEvery)
	}
}

// flush persists what is not worth a transaction of its own; all of it at the end.
func (r *Registry) flush(all bool) {
	r.flushPresence(all)
	if all || r.marked-r.revision.Load() < revisionRoom/2 {
		room := int64(revisionRoom)
		if all {
			room = 0
		}
		err := r.opts.Store.ApplyThings(context.Background(), Batch{Marks: r.mark(room)})
		if r.noteWrite(err); err != nil && r.presenceErr == nil {
			r.presenceErr = err
		}
	}
}

// revisionRoom is how many revisions may be given without a transaction: those of changes that are not stored, such as
// connects. The stored mark is that far ahead, so that a revision is never given twice, also not after a crash.
const revisionRoom = 1 << 24

// mark returns the mark of revisions for a transaction.
func (r *Registry) mark(room int64) Marks {
	r.marked = r.revision.Load() + room
	return Marks{Revision: r.marked}
}

// commitGroup commits first and the writes that wait behind it, up to one that touches the same thing or is to be
// alone, which it returns.
func (r *Registry) commitGroup(first *write) (next *write) {
	var tx transaction
	var waiting []*write
	var until <-chan time.Time
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
		if w = r.gather(len(waiting), &until); w != nil && (w.thing == "" || touched[w.thing]) {
			next, w = w, nil
		}
	}
	began := time.Now()
	err := r.commit(&tx)
	r.crowd.note(len(waiting), time.Since(began))
	for _, w := range waiting {
		w.done <- err
	}
	return next
}

// commit makes a transaction durable, then visible, then known.
func (r *Registry) commit(tx *transaction) error {
	if len(tx.memory) == 0 {
		r.deliver()
		return nil
	}
	if len(tx.DeleteThings) > 0 { // else the next id follows from the highest thing there is
		tx.NextID = r.nextID
	}
	if len(tx.CreateGroups) > 0 {
		tx.NextGroupID = r.nextGroupID
	}
	if r.marked-r.revision.Load() < revisionRoom/2 {
		tx.Revision = r.mark(revisionRoom).Revision
	}
	err := r.opts.Store.ApplyThings(context.Background(), tx.Batch)
	r.noteWrite(err)
	if err != nil {
		return &Error{Kind: Busy, Message: "the registry could not be written, nothing was changed; see the gateway's log", cause: err}
	}
	r.metrics.commits.Inc()
	r.metrics.writes.Add(len(tx.memory))
	r.change(func() {
		for _, n := range tx.notices {
			r.notify(n)
		}
		for _, f := range tx.memory {
			f()
		}
	})
	r.deliver()
	return nil
}

// change makes a change of the fleet visible at once: what f does to memory and index, what follows from it for dynamic
// groups, and a new revision. Everything that a query may see is changed in here.
func (r *Registry) change(f func()) {
	r.fleet.Lock()
	defer r.fleet.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	r.settle(&r.delta)
	r.delta.reset()
	r.revision.Add(1)
}

// Revision returns the number of the newest change of the fleet. It never goes down, also not over restarts: a write that
// returned has this number or a lower one, and a query that begins now sees it.
func (r *Registry) Revision() int64 { return r.revision.Load() }

// Reached refuses, as Stale, a revision that was not given yet. After it, every query sees that revision.
func (r *Registry) Reached(revision int64) error {
	if now := r.revision.Load(); revision > now {
		return refuse(Stale, "minRevision is %d, but this gateway is at revision %d: it has not given that one", revision, now)
	}
	return nil
}

// delta is what a change did, for dynamic groups.
type delta struct {
	things  []thingDelta
	links   []linkDelta
	members []memberDelta
	groups  []groupDelta
	touched []touch
	listed  []listing
	due     bool // it is time for what changes with time alone
}

// thingDelta is a thing that was made (old is nil), changed, or deleted (now is nil).
type thingDelta struct{ old, now *record }

// memberDelta is a thing that entered or left a group, but for what dynamic groups did by themselves.
type memberDelta struct {
	id    uint32
	group *groupRecord
	cause string
}

// groupDelta is a group that was made, changed its query, moved or was deleted.
type groupDelta struct {
	op    Op
	group *groupRecord
	from  *groupRecord   // of a group that moved: the parent before
	left  *bitset.BitSet // of a group that was deleted: the things that were in it
}

// touch is a thing of which something changed that is not in its record.
type touch struct {
	id uint32
	standing.Change
}

// linkDelta is a thing that connected or disconnected.
type linkDelta struct {
	id       uint32
	old, now link
}

func (d *delta) reset() {
	clear(d.things)
	clear(d.members)
	clear(d.groups)
	clear(d.touched)
	*d = delta{things: d.things[:0], links: d.links[:0], members: d.members[:0], groups: d.groups[:0], touched: d.touched[:0]}
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
	r.StopFollowing()
	r.closeOnce.Do(func() { close(r.closing) })
	<-r.stopped
	if r.presenceErr != nil {
		return errors.Join(errors.New("close registry: last connectivity is not saved"), r.presenceErr)
	}
	return nil
}

// nowMs is the time of the clock in Unix milliseconds.
func (r *Registry) nowMs() int64 { return r.opts.Clock.Now().UnixMilli() }
