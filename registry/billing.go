package registry

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// BillingGroup is what things are charged to. A thing is in one at most.
type BillingGroup struct {
	Name        string
	UUID        string // AWS: billingGroupId
	Description string
	Version     int64 // 1 at creation, +1 with every update
	CreatedMs   int64
}

// billingRecord is a billing group in memory. Name never changes; the rest is guarded as Registry.billing.
type billingRecord struct {
	BillingGroup
	things index.Set
}

// CreateBillingGroup makes a billing group. The same call again succeeds and returns it; with another description
// it is a Conflict. Its tags stay as they are.
func (r *Registry) CreateBillingGroup(ctx context.Context, name, description string, tags map[string]string) (BillingGroup, error) {
	if err := CheckName("billingGroupName", name); err != nil {
		return BillingGroup{}, err
	}
	if err := checkDescription("billingGroupDescription", description); err != nil {
		return BillingGroup{}, err
	}
	if err := checkTags(tags); err != nil {
		return BillingGroup{}, err
	}
	var made BillingGroup
	err := r.submit(ctx, "", func(tx *transaction) error {
		if b := r.billing[name]; b != nil {
			made = b.BillingGroup
			if made.Description != description {
				return refuse(Conflict, "billing group %q already exists with another description; update or delete it", name)
			}
			return nil
		}
		if len(r.billing) >= r.opts.MaxBillingGroups {
			return refuse(Limit, "this gateway takes at most %d billing groups; delete some", r.opts.MaxBillingGroups)
		}
		uuid, err := newUUID(r.opts.Rand)
		if err != nil {
			return err
		}
		made = BillingGroup{Name: strings.Clone(name), UUID: uuid, Description: strings.Clone(description), Version: 1, CreatedMs: r.nowMs()}
		b := &billingRecord{BillingGroup: made}
		tx.PutBillingGroups = append(tx.PutBillingGroups, made)
		r.planTags(tx, billingResource(made.Name), tags)
		tx.memory = append(tx.memory, func() { r.billing[b.Name] = b })
		return nil
	})
	if err != nil {
		return BillingGroup{}, err
	}
	return made, nil
}

// UpdateBillingGroup changes the description of a billing group. expectedVersion 0 is any.
func (r *Registry) UpdateBillingGroup(ctx context.Context, name, description string, expectedVersion int64) (BillingGroup, error) {
	if err := CheckName("billingGroupName", name); err != nil {
		return BillingGroup{}, err
	}
	if err := checkDescription("billingGroupDescription", description); err != nil {
		return BillingGroup{}, err
	}
	if err := checkExpected(expectedVersion); err != nil {
		return BillingGroup{}, err
	}
	var updated BillingGroup
	err := r.submit(ctx, "", func(tx *transaction) error {
		b := r.billing[name]
		if b == nil {
			return errNoBilling(name)
		}
		if err := b.checkVersion(expectedVersion); err != nil {
			return err
		}
		updated = b.BillingGroup
		updated.Description = strings.Clone(description)
		updated.Version++
		now := updated
		tx.PutBillingGroups = append(tx.PutBillingGroups, now)
		tx.memory = append(tx.memory, func() { b.BillingGroup = now })
		return nil
	})
	if err != nil {
		return BillingGroup{}, err
	}
	return updated, nil
}

// DeleteBillingGroup deletes a billing group without things. One that does not exist is no error (AWS). expectedVersion 0
// is any.
func (r *Registry) DeleteBillingGroup(ctx context.Context, name string, expectedVersion int64) error {
	if err := CheckName("billingGroupName", name); err != nil {
		return err
	}
	if err := checkExpected(expectedVersion); err != nil {
		return err
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		b := r.billing[name]
		if b == nil {
			return nil
		}
		if err := b.checkVersion(expectedVersion); err != nil {
			return err
		}
		if n := b.things.Count(); n > 0 {
			return refuse(Invalid, "billing group %q has %d things; remove them first", name, n)
		}
		tx.DeleteBillingGroups = append(tx.DeleteBillingGroups, name)
		r.planForgetTags(tx, billingResource(name))
		tx.memory = append(tx.memory, func() { delete(r.billing, name) })
		return nil
	})
}

// BillingGroup returns the billing group of that name, or NotFound.
func (r *Registry) BillingGroup(name string) (BillingGroup, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if b := r.billing[name]; b != nil {
		return b.BillingGroup, nil
	}
	if err := CheckName("billingGroupName", name); err != nil {
		return BillingGroup{}, err
	}
	return BillingGroup{}, errNoBilling(name)
}

// ListBillingGroups returns up to limit billing groups whose name begins with prefix, by name ascending.
func (r *Registry) ListBillingGroups(prefix, after string, limit int) (groups []BillingGroup, next string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return pageOf(after, limit, func(from string, yield func(string, BillingGroup) bool) error {
		for _, name := range slices.Sorted(maps.Keys(r.billing)) { // at most MaxBillingGroups
			if name > from && strings.HasPrefix(name, prefix) && !yield(name, r.billing[name].BillingGroup) {
				break
			}
		}
		return nil
	})
}

// ThingsInBillingGroup pages through the names of the things in a billing group, as ThingsInGroup does.
func (r *Registry) ThingsInBillingGroup(name, after string, limit int) (names []string, next string, err error) {
	if err := CheckName("billingGroupName", name); err != nil {
		return nil, "", err
	}
	return r.pageOfNames(after, limit, func(set *bitset.BitSet) error {
		b := r.billing[name]
		if b == nil {
			return errNoBilling(name)
		}
		b.things.AddTo(set)
		return nil
	})
}

// SetBillingGroup puts a thing into a billing group, in place of the one it was in.
func (r *Registry) SetBillingGroup(ctx context.Context, thing, name string) error {
	return r.charge(ctx, thing, name, func(*record) string { return name })
}

// LeaveBillingGroup takes a thing out of a billing group. One that is in another or in none is no error.
func (r *Registry) LeaveBillingGroup(ctx context.Context, thing, name string) error {
	return r.charge(ctx, thing, name, func(rec *record) string {
		if rec.billingGroup() == name {
			return ""
		}
		return rec.billingGroup()
	})
}

// charge gives a thing the billing group that to says; name must exist.
func (r *Registry) charge(ctx context.Context, thing, name string, to func(*record) string) error {
	if err := CheckName("thingName", thing); err != nil {
		return err
	}
	if err := CheckName("billingGroupName", name); err != nil {
		return err
	}
	return r.submit(ctx, thing, func(tx *transaction) error {
		old := r.things[thing]
		if old == nil {
			return errNoThing(thing)
		}
		if r.billing[name] == nil {
			return errNoBilling(name)
		}
		rec := *old
		rec.billing = r.billing[to(old)]
		if rec.billing != old.billing {
			r.planReplace(tx, old, &rec)
		}
		return nil
	})
}

// BillingGroupOf returns the billing group of a thing by its dense id; "" for none.
func (r *Registry) BillingGroupOf(thing uint32) string {
	if rec := r.lookupID(thing); rec != nil {
		return rec.billingGroup()
	}
	return ""
}

// billingFor returns the billing group that a thing is to get, nil for none. The caller is the writing goroutine.
func (r *Registry) billingFor(name string) (*billingRecord, error) {
	if name == "" {
		return nil, nil
	}
	if b := r.billing[name]; b != nil {
		return b, nil
	}
	return nil, errNoBilling(name)
}

// BillingGroupARN returns arn:aws:iot:<region>:<account>:billinggroup/<name>.
func (r *Registry) BillingGroupARN(name string) string { return r.arn("billinggroup", name) }

func billingResource(name string) string { return "billinggroup/" + name }

func errNoBilling(name string) error {
	return refuse(NotFound, "billing group %q does not exist; create it first", name)
}

func (b *billingRecord) checkVersion(expected int64) error {
	if expected != 0 && expected != b.Version {
		return refuse(Stale, "billing group %q has version %d, expectedVersion is %d; read it again", b.Name, b.Version, expected)
	}
	return nil
}
