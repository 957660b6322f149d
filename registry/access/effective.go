package access

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"muster/registry/policy"
)

// Effective is a policy that holds for somebody.
type Effective struct {
	Name     string
	Document string
}

// EffectivePolicies returns the policies in force for a target and a thing, each may be zero: what a connection of that
// certificate and thing is judged by.
func (b *Book) EffectivePolicies(t Target, thing uint32) []Effective {
	var out []Effective
	for _, p := range b.effective(t, thing) {
		out = append(out, Effective{p.name, p.text})
	}
	return out
}

func (b *Book) effective(t Target, thing uint32) []inForce {
	if t.Group == 0 {
		return b.documentsOf(thing, t.Cert)
	}
	targets := []Target{t}
	if name, ok := b.opts.Groups.GroupName(t.Group); ok {
		for _, above := range b.opts.Groups.GroupPath(name) {
			if id, ok := b.opts.Groups.GroupID(above); ok {
				targets = append(targets, Target{Group: id})
			}
		}
	}
	return b.documentsOn(targets)
}

// Question asks what would be decided. Add and Skip are names of policies that are taken in or left out.
type Question struct {
	Target   Target // zero: no certificate, as on the plain listener
	Thing    uint32 // of a question without a target; 0: none
	ClientID string
	Add      []string
	Skip     []string
	Draft    *Draft
}

// Draft is a document that is kept nowhere. With the name of a policy it takes the place of its version in force. Who does not have
// that policy is judged as if it were attached to the certificate, which then has no default.
type Draft struct {
	Policy   string
	Document string
}

// Request is one action on resources, given by their ARNs.
type Request struct {
	Action    policy.Action
	Resources []string
}

// Outcome is what was decided on a Request: of several resources the worst.
type Outcome struct {
	Decision policy.Decision
	Allowed  []string // policies that allow it
	Explicit []string // policies that deny it
	Implicit []string // policies that do not allow it
	Matches  []Matched
	Missing  []string // keys that the policies ask for and the question has not
}

// Matched is a statement that speaks of a request.
type Matched struct {
	Policy    string
	Statement int // from 0
	Sid       string
	Deny      bool
	Resource  string
}

// TestAuthorization evaluates requests as for a connection of the target, of the thing that it would stand for.
func (b *Book) TestAuthorization(ctx context.Context, q Question, requests []Request) ([]Outcome, error) {
	s := Subject{ClientID: q.ClientID, Cert: q.Target.Cert}
	if q.Target == (Target{}) {
		s.Thing = q.Thing
	} else if q.Target.Group == 0 {
		thing, _, err := b.Resolve(q.Target.Cert, q.ClientID)
		if err != nil {
			return nil, err
		}
		s.Thing = thing
	} else if id, ok := b.opts.Things.ID(q.ClientID); ok {
		s.Thing = id
	}
	list, err := b.asked(q, s.Thing)
	if err != nil {
		return nil, err
	}
	vars, ok := b.vars(s)
	if !ok {
		return nil, refuse(NotFound, "the thing of the certificate was deleted")
	}
	parsed := make([]*policy.Policy, len(list))
	for i, p := range list {
		parsed[i] = p.parsed
	}
	if slices.ContainsFunc(parsed, (*policy.Policy).UsesCertificate) && s.Cert != (CertID{}) {
		vars.Certificate = b.opts.Certificate(ctx, s.Cert)
	}
	rights := policy.Compile(parsed, vars)
	outcomes := make([]Outcome, 0, len(requests))
	for _, r := range requests {
		o, err := decide(rights, vars, list, r)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// asked returns the policies that a question is about.
func (b *Book) asked(q Question, thing uint32) ([]inForce, error) {
	list := slices.DeleteFunc(b.effective(q.Target, thing), func(p inForce) bool { return slices.Contains(q.Skip, p.name) })
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, name := range q.Skip {
		if name != DefaultName && b.policies[name] == nil {
			return nil, refuse(NotFound, "policyNamesToSkip: policy %q does not exist", name)
		}
	}
	for _, name := range q.Add {
		d := b.policies[name]
		if d == nil {
			return nil, refuse(NotFound, "policyNamesToAdd: policy %q does not exist", name)
		}
		// It is as if it were attached to the certificate, which then has no default.
		list = slices.DeleteFunc(list, func(p inForce) bool { return p.name == DefaultName || p.name == name })
		list = append(list, inForce{d.name, *d.version(d.inForce)})
	}
	if q.Draft != nil {
		parsed, err := parse(q.Draft.Document)
		if err != nil {
			return nil, err
		}
		draft := inForce{q.Draft.Policy, version{text: q.Draft.Document, parsed: parsed}}
		if i := slices.IndexFunc(list, func(p inForce) bool { return p.name == draft.name }); i >= 0 {
			list[i] = draft
		} else {
			list = append(slices.DeleteFunc(list, func(p inForce) bool { return p.name == DefaultName }), draft)
		}
	}
	slices.SortFunc(list, func(x, y inForce) int { return cmp.Compare(x.name, y.name) })
	return list, nil
}

// decide evaluates a request on all its resources: denied if one is, allowed if all are.
func decide(rights *policy.Rights, vars policy.Vars, list []inForce, r Request) (Outcome, error) {
	o := Outcome{Decision: policy.Allowed}
	for i, arn := range r.Resources {
		name, err := resourceName(r.Action, arn)
		if err != nil {
			return o, err
		}
		e := rights.Explain(r.Action, name, vars)
		if e.Decision == policy.ExplicitDeny || e.Decision == policy.ImplicitDeny && o.Decision != policy.ExplicitDeny || i == 0 {
			o.Decision = e.Decision
		}
		o.Missing = append(o.Missing, e.Missing...)
		for _, m := range e.Matches {
			p := list[m.Policy].name
			o.Matches = append(o.Matches, Matched{p, m.Statement, m.Sid, m.Deny, arn})
			if m.Deny {
				o.Explicit = append(o.Explicit, p)
			} else {
				o.Allowed = append(o.Allowed, p)
			}
		}
	}
	if o.Decision == policy.ImplicitDeny {
		for _, p := range list {
			if !slices.Contains(o.Allowed, p.name) {
				o.Implicit = append(o.Implicit, p.name)
			}
		}
	}
	for _, names := range []*[]string{&o.Allowed, &o.Explicit, &o.Missing} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return o, nil
}

// resourceName returns what follows the class in the ARN of a resource.
func resourceName(a policy.Action, arn string) (string, error) {
	class := "topic/"
	switch a {
	case policy.Connect:
		class = "client/"
	case policy.Subscribe:
		class = "topicfilter/"
	}
	part := strings.SplitN(arn, ":", 6)
	if len(part) == 6 && part[0] == "arn" && part[2] == "iot" {
		if name, ok := strings.CutPrefix(part[5], class); ok {
			return name, nil
		}
	}
	return "", refuse(Invalid, "resource %.200q must be an ARN such as arn:aws:iot:<region>:<account>:%s<name> for this action", arn, class)
}
