package access

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Target reads the ARN of a certificate or a group: arn:aws:iot:<region>:<account>:cert/<id> or :thinggroup/<name>. Region
// and account are not looked at: a gateway is one of each.
func (b *Book) Target(arn string) (Target, error) {
	part := strings.SplitN(arn, ":", 6)
	if len(part) == 6 && part[0] == "arn" && part[2] == "iot" {
		kind, name, _ := strings.Cut(part[5], "/")
		switch kind {
		case "cert":
			id, err := ParseCertID(name)
			return Target{Cert: id}, err
		case "thinggroup":
			if id, ok := b.opts.Groups.GroupID(name); ok {
				return Target{Group: id}, nil
			}
			return Target{}, refuse(NotFound, "thing group %q does not exist", name)
		}
	}
	return Target{}, refuse(Invalid, "target %.200q must be the ARN of a certificate (arn:aws:iot:<region>:<account>:cert/<id>) or of a thing group (...:thinggroup/<name>)", arn)
}

// TargetARN is the reverse of Target; "" for a group that is not there.
func (b *Book) TargetARN(t Target) string {
	if t.Group == 0 {
		return b.CertificateARN(t.Cert.String())
	}
	name, ok := b.opts.Groups.GroupName(t.Group)
	if !ok {
		return ""
	}
	return b.arn("thinggroup/" + name)
}

// Attach attaches a policy; again it changes nothing. The caller has seen that a certificate exists.
func (b *Book) Attach(ctx context.Context, name string, t Target) error {
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.find(name)
	if err != nil {
		return err
	}
	if _, ok := b.targets[d][t]; ok {
		return nil
	}
	if len(b.attached[t]) >= MaxPerTarget {
		return refuse(Limit, "the target has %d policies, the most there may be; detach one", len(b.attached[t]))
	}
	if err := b.apply(ctx, Batch{Attach: []Attachment{{d.name, t}}}, func() { b.attach(d, t) }); err != nil {
		return err
	}
	b.changedTarget(t)
	return nil
}

// Detach detaches a policy; one that is not attached is no error.
func (b *Book) Detach(ctx context.Context, name string, t Target) error {
	b.change.Lock()
	defer b.change.Unlock()
	d, err := b.find(name)
	if err != nil {
		return err
	}
	if _, ok := b.targets[d][t]; !ok {
		return nil
	}
	if err := b.apply(ctx, Batch{Detach: []Attachment{{d.name, t}}}, func() { b.detach(d, t) }); err != nil {
		return err
	}
	b.changedTarget(t)
	return nil
}

// attach changes the memory. mu is held.
func (b *Book) attach(d *document, t Target) {
	if _, ok := b.targets[d][t]; ok {
		return
	}
	list := append(slices.Clone(b.attached[t]), d)
	slices.SortFunc(list, func(x, y *document) int { return cmp.Compare(x.name, y.name) })
	b.attached[t] = list
	if b.targets[d] == nil {
		b.targets[d] = map[Target]struct{}{}
	}
	b.targets[d][t] = struct{}{}
	if t.Group != 0 {
		b.onGroups.Add(1)
	}
}

// detach changes the memory. mu is held.
func (b *Book) detach(d *document, t Target) {
	if _, ok := b.targets[d][t]; !ok {
		return
	}
	delete(b.targets[d], t)
	list := slices.DeleteFunc(slices.Clone(b.attached[t]), func(other *document) bool { return other == d })
	if len(list) > 0 {
		b.attached[t] = list
	} else {
		delete(b.attached, t)
	}
	if t.Group != 0 {
		b.onGroups.Add(-1)
	}
}

// AttachedTo returns the names of the policies of a target, by name; with inherited, those of the groups above a group, too.
func (b *Book) AttachedTo(t Target, inherited bool) []string {
	targets := []Target{t}
	if name, ok := b.opts.Groups.GroupName(t.Group); ok && inherited && t.Group != 0 {
		for _, above := range b.opts.Groups.GroupPath(name) {
			if id, ok := b.opts.Groups.GroupID(above); ok {
				targets = append(targets, Target{Group: id})
			}
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var names []string
	for _, t := range targets {
		for _, d := range b.attached[t] {
			names = append(names, d.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ListTargets returns the ARNs of the targets of a policy, ascending; with certificates only, those of certificates.
// Pages are as those of ListPolicies.
func (b *Book) ListTargets(name, after string, limit int, certificatesOnly, ascending bool) (arns []string, next string, err error) {
	b.mu.RLock()
	d, err := b.find(name)
	if err != nil {
		b.mu.RUnlock()
		return nil, "", err
	}
	targets := make([]Target, 0, len(b.targets[d]))
	for t := range b.targets[d] {
		targets = append(targets, t)
	}
	b.mu.RUnlock()
	all := make([]entry, 0, len(targets))
	for _, t := range targets {
		if arn := b.TargetARN(t); arn != "" && (t.Group == 0 || !certificatesOnly) {
			all = append(all, entry{0, arn})
		}
	}
	return page(all, after, limit, ascending)
}

// ListAttached pages AttachedTo.
func (b *Book) ListAttached(t Target, inherited bool, after string, limit int, ascending bool) (names []string, next string, err error) {
	var all []entry
	for _, name := range b.AttachedTo(t, inherited) {
		all = append(all, entry{0, name})
	}
	return page(all, after, limit, ascending)
}
