package access

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"muster/registry/policy"
)

// maxStored is more than any document that was taken has.
const maxStored = 1 << 20

// document is a policy. name and createdMs never change; the rest is guarded by Book.mu.
type document struct {
	name      string
	inForce   int // id of the default version
	next      int
	createdMs int64
	changedMs int64
	versions  []version // ascending
}

// version is a document that never changes.
type version struct {
	id        int
	text      string
	createdMs int64
	parsed    *policy.Policy
}

func (d *document) version(id int) *version {
	for i := range d.versions {
		if d.versions[i].id == id {
			return &d.versions[i]
		}
	}
	return nil
}

func (d *document) row() PolicyRow {
	return PolicyRow{Name: d.name, Default: d.inForce, Next: d.next, CreatedMs: d.createdMs, ChangedMs: d.changedMs}
}

// Policy is a policy and one of its versions.
type Policy struct {
	Name      string
	Document  string
	Version   int
	Default   int // the version in force
	CreatedMs int64
	ChangedMs int64
	VersionMs int64 // when the version was made
}

func (d *document) policy(v *version) Policy {
	return Policy{Name: d.name, Document: v.text, Version: v.id, Default: d.inForce, CreatedMs: d.createdMs, ChangedMs: d.changedMs, VersionMs: v.createdMs}
}

// CreatePolicy makes a policy; its first version is 1 and in force.
func (b *Book) CreatePolicy(ctx context.Context, name, text string) (Policy, error) {
	if err := CheckPolicyName(name); err != nil {
		return Policy{}, err
	}
	if name == DefaultName {
		return Policy{}, refuse(Invalid, "policyName: %s is the gateway's own policy for devices that have no other; choose another name", name)
	}
	parsed, err := parse(text)
	if err != nil {
		return Policy{}, err
	}
	b.change.Lock()
	defer b.change.Unlock()
	if b.policies[name] != nil { // only a change writes it, so that change is enough to read it
		return Policy{}, refuse(Exists, "policy %q already exists; make a version of it, or delete it first", name)
	}
	if len(b.policies) >= maxPolicies {
		return Policy{}, refuse(Limit, "this gateway takes at most %d policies; delete some", maxPolicies)
	}
	now := b.nowMs()
	d := &document{name: strings.Clone(name), inForce: 1, next: 2, createdMs: now, changedMs: now,
		versions: []version{{id: 1, text: strings.Clone(text), createdMs: now, parsed: parsed}}}
	err = b.apply(ctx, Batch{PutPolicies: []PolicyRow{d.row()}, PutVersions: []VersionRow{{d.name, 1, text, now}}}, func() { b.policies[d.name] = d })
	if err != nil {
		return Policy{}, err
	}
	return d.policy(&d.versions[0]), nil
}

func parse(text string) (*policy.Policy, error) {
	parsed, err := policy.Parse([]byte(text))
	if err != nil {
		return nil, &Error{Kind: Malformed, Message: err.Error()}
	}
	return parsed, nil
}

// CreatePolicyVersion adds a version and, if wanted, puts it in force.
func (b *Book) CreatePolicyVersion(ctx context.Context, name, text string, inForce bool) (Policy, error) {
	parsed, err := parse(text)
	if err != nil {
		return Policy{}, err
	}
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.find(name)
	if err != nil {
		return Policy{}, err
	}
	if len(d.versions) >= MaxVersions {
		return Policy{}, refuse(Versions, "policy %q has %d versions, the most there may be; delete one that is not in force", name, len(d.versions))
	}
	now := b.nowMs()
	v := version{id: d.next, text: strings.Clone(text), createdMs: now, parsed: parsed}
	row := d.row()
	row.Next, row.ChangedMs = d.next+1, now
	if inForce {
		row.Default = v.id
	}
	err = b.apply(ctx, Batch{PutPolicies: []PolicyRow{row}, PutVersions: []VersionRow{{name, v.id, text, now}}}, func() {
		d.versions = append(d.versions, v)
		d.inForce, d.next, d.changedMs = row.Default, row.Next, now
	})
	if err != nil {
		return Policy{}, err
	}
	if inForce {
		b.changedAll()
	}
	return d.policy(&v), nil
}

// SetDefaultPolicyVersion puts a version in force.
func (b *Book) SetDefaultPolicyVersion(ctx context.Context, name string, id int) error {
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.findWith(name, id)
	if err != nil {
		return err
	}
	row := d.row()
	row.Default, row.ChangedMs = id, b.nowMs()
	if err := b.apply(ctx, Batch{PutPolicies: []PolicyRow{row}}, func() { d.inForce, d.changedMs = id, row.ChangedMs }); err != nil {
		return err
	}
	b.changedAll()
	return nil
}

// DeletePolicyVersion deletes a version that is not in force.
func (b *Book) DeletePolicyVersion(ctx context.Context, name string, id int) error {
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.findWith(name, id)
	if err != nil {
		return err
	}
	if d.inForce == id {
		return refuse(Conflict, "version %d of policy %q is in force; put another in force first, or delete the policy", id, name)
	}
	return b.apply(ctx, Batch{DeleteVersions: []VersionRow{{Policy: name, ID: id}}}, func() {
		d.versions = slices.DeleteFunc(slices.Clone(d.versions), func(v version) bool { return v.id == id })
	})
}

// DeletePolicy deletes a policy that is attached to nothing and has one version.
func (b *Book) DeletePolicy(ctx context.Context, name string) error {
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.find(name)
	if err != nil {
		return err
	}
	if n := len(b.targets[d]); n > 0 {
		return refuse(Conflict, "policy %q is attached to %d targets; detach it first", name, n)
	}
	if len(d.versions) > 1 {
		return refuse(Conflict, "policy %q has %d versions; delete those that are not in force first", name, len(d.versions))
	}
	return b.apply(ctx, Batch{DeletePolicies: []string{name}}, func() {
		delete(b.policies, name)
		delete(b.targets, d)
	})
}

// Policy returns a policy with one of its versions, the one in force for 0.
func (b *Book) Policy(name string, id int) (Policy, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	d, err := b.find(name)
	if err != nil {
		return Policy{}, err
	}
	if id == 0 {
		id = d.inForce
	}
	v := d.version(id)
	if v == nil {
		return Policy{}, errNoVersion(name, id)
	}
	return d.policy(v), nil
}

// PolicyVersions returns all versions of a policy, the newest first.
func (b *Book) PolicyVersions(name string) ([]Policy, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	d, err := b.find(name)
	if err != nil {
		return nil, err
	}
	var out []Policy
	for i := range slices.Backward(d.versions) {
		out = append(out, d.policy(&d.versions[i]))
	}
	return out, nil
}

// Exists says whether there is a policy of that name.
func (b *Book) Exists(name string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.policies[name] != nil
}

// ListPolicies returns up to limit policies by their creation, the oldest or the newest first, after the one that next
// of the page before names ("" for the first page). next is "" at the end.
func (b *Book) ListPolicies(after string, limit int, ascending bool) (names []string, next string, err error) {
	b.mu.RLock()
	all := make([]entry, 0, len(b.policies))
	for _, d := range b.policies {
		all = append(all, entry{d.createdMs, d.name})
	}
	b.mu.RUnlock()
	return page(all, after, limit, ascending)
}

// entry is a row of a list: what it is sorted by, and its name.
type entry struct {
	ms   int64
	name string
}

// page cuts a page out of entries in any order. A cursor is the last entry of the page before it.
func page(all []entry, after string, limit int, ascending bool) (names []string, next string, err error) {
	order := func(x, y entry) int {
		c := cmp.Or(cmp.Compare(x.ms, y.ms), cmp.Compare(x.name, y.name))
		if !ascending {
			c = -c
		}
		return c
	}
	slices.SortFunc(all, order)
	if after != "" {
		ms, name, _ := strings.Cut(after, "/")
		at, err := strconv.ParseInt(ms, 10, 64)
		if err != nil {
			return nil, "", refuse(Invalid, "marker is not one that this list gave")
		}
		from, found := slices.BinarySearchFunc(all, entry{at, name}, order)
		if found {
			from++
		}
		all = all[from:]
	}
	if len(all) > limit {
		all = all[:limit]
		last := all[limit-1]
		next = strconv.FormatInt(last.ms, 10) + "/" + last.name
	}
	names = make([]string, 0, len(all))
	for _, e := range all {
		names = append(names, e.name)
	}
	return names, next, nil
}

// find returns a policy or NotFound. The caller holds mu or change.
func (b *Book) find(name string) (*document, error) {
	if d := b.policies[name]; d != nil {
		return d, nil
	}
	if err := CheckPolicyName(name); err != nil {
		return nil, err
	}
	return nil, refuse(NotFound, "policy %q does not exist", name)
}

// findWith returns a policy that has a version, or NotFound. The caller holds mu or change.
func (b *Book) findWith(name string, version int) (*document, error) {
	d, err := b.find(name)
	if err != nil {
		return nil, err
	}
	if d.version(version) == nil {
		return nil, errNoVersion(name, version)
	}
	return d, nil
}

func errNoVersion(name string, id int) error {
	return refuse(NotFound, "policy %q has no version %d", name, id)
}

// CheckPolicyName checks AWS's pattern [\w+=,.@-]{1,128}.
func CheckPolicyName(name string) error {
	if len(name) == 0 || len(name) > maxPolicyName {
		return refuse(Invalid, "policyName must have 1 to %d characters, it has %d", maxPolicyName, len(name))
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_+=,.@-", c) >= 0) {
			return refuse(Invalid, "policyName %q has %q at position %d; allowed are a-z A-Z 0-9 _ + = , . @ -", name, c, i)
		}
	}
	return nil
}
