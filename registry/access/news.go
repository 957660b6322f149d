package access

import (
	"context"
	"maps"
	"slices"
)

// changedAll is after a change of a policy's document.
func (b *Book) changedAll() {
	b.all.Add(1)
	b.opts.Changed(0)
}

// changedTarget is after an attachment to, or a detachment from, a target.
func (b *Book) changedTarget(t Target) {
	if t.Group != 0 {
		b.changedAll()
		return
	}
	b.byCert[stripe(t.Cert)].Add(1)
	b.mu.RLock()
	links := b.principals[t.Cert]
	b.mu.RUnlock()
	for _, l := range links {
		b.opts.Changed(l.thing)
	}
}

// ThingChanged is called after a thing's type or attributes have changed.
func (b *Book) ThingChanged(thing uint32) {
	b.byThing[thing%stripes].Add(1)
	b.opts.Changed(thing)
}

// MembershipChanged is called after a thing has come into a group or left one.
func (b *Book) MembershipChanged(thing uint32) {
	if b.onGroups.Load() > 0 { // else no policy depends on it
		b.ThingChanged(thing)
	}
}

// GroupMoved is called after a group has got other ancestors.
func (b *Book) GroupMoved() {
	if b.onGroups.Load() > 0 {
		b.changedAll()
	}
}

// ForgetThing drops what a deleted thing had. Nobody is let in by it meanwhile: its id is not given again.
func (b *Book) ForgetThing(ctx context.Context, thing uint32) error {
	b.change.Lock()
	defer b.change.Unlock()
	if len(b.things[thing]) == 0 {
		return nil
	}
	return b.apply(ctx, Batch{ForgetThings: []uint32{thing}}, func() {
		for _, id := range slices.Clone(b.things[thing]) {
			b.unlink(id, thing)
		}
	})
}

// ForgetGroup drops the attachments of a deleted group.
func (b *Book) ForgetGroup(ctx context.Context, group uint32) error {
	b.change.Lock()
	defer b.change.Unlock()
	t := Target{Group: group}
	if len(b.attached[t]) == 0 {
		return nil
	}
	err := b.apply(ctx, Batch{ForgetGroups: []uint32{group}}, func() {
		for _, d := range b.attached[t] {
			b.detach(d, t)
		}
	})
	b.changedAll()
	return err
}

// Orphans returns the things and groups that are not there any more, but have left certificates or attachments behind:
// they were deleted when the gateway ended.
func (b *Book) Orphans() (things, groups []uint32) {
	b.mu.RLock()
	linked := slices.Collect(maps.Keys(b.things))
	targets := slices.Collect(maps.Keys(b.attached))
	b.mu.RUnlock()
	for _, thing := range linked {
		if !b.lives(thing) {
			things = append(things, thing)
		}
	}
	for _, t := range targets {
		if _, ok := b.opts.Groups.GroupName(t.Group); t.Group != 0 && !ok {
			groups = append(groups, t.Group)
		}
	}
	return things, groups
}
