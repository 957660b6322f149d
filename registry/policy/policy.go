// Package policy evaluates AWS IoT policy documents: what a device may do on MQTT.
//
// Parse compiles a document once; Compile binds documents to one connection and costs a few words. Evaluation is
// AWS's: nothing is allowed unless a statement allows it, and an explicit deny wins. Matching allocates nothing.
//
// Variables are replaced as literals: no character of a value is ever a wildcard of the policy, and a value that
// could act as one in MQTT is not used at all (see Vars). `+` and `#` have no meaning in a policy: under
// topicfilter/ the text of the filter itself is matched against the resource.
//
// The files: parse.go reads documents (json.go their JSON), variable.go knows the keys and their values, condition.go
// the operators, match.go compares names, explain.go says which statements decided.
package policy

import (
	"strings"
	"time"
)

// DefaultMaxChars is AWS IoT's limit for a document, white space not counted.
const DefaultMaxChars = 2048

// DefaultDocument is the least a device needs: to be itself, and its own topics.
const DefaultDocument = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect",
     "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
     "Resource": ["arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}",
                  "arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*",
                  "arn:aws:iot:*:*:topic/$aws/things/${iot:Connection.Thing.ThingName}/*"]},
    {"Effect": "Allow", "Action": "iot:Subscribe",
     "Resource": ["arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}",
                  "arn:aws:iot:*:*:topicfilter/dt/${iot:Connection.Thing.ThingName}/*",
                  "arn:aws:iot:*:*:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"]}
  ]
}`

// Action is what a device does.
type Action uint8

// The actions of MQTT. A statement may name others of AWS IoT (see parse.go), which nothing here asks for.
const (
	Connect Action = 1 << iota
	Publish
	RetainPublish
	Subscribe
	Receive
)

var actionNames = [...]struct {
	name   string
	action Action
}{
	{"iot:Connect", Connect},
	{"iot:Publish", Publish},
	{"iot:RetainPublish", RetainPublish},
	{"iot:Subscribe", Subscribe},
	{"iot:Receive", Receive},
}

// class is the kind of a resource, the part of the ARN before the slash.
type class uint8

const (
	client class = iota
	topic
	topicFilter
	classes
)

var classNames = [classes]string{"client", "topic", "topicfilter"}

// classOf is the class of the resources of an action.
func classOf(a Action) class {
	switch a {
	case Connect:
		return client
	case Subscribe:
		return topicFilter
	}
	return topic
}

// Policy is a parsed document. Immutable, shared by all things that have it.
type Policy struct {
	statements  []statement
	variables   []string // keys that its patterns use, each once
	conditional bool     // a statement has conditions
	certificate bool     // it uses a fact of the certificate
	timed       bool     // a statement has conditions of the time
}

// UsesCertificate says whether the document speaks of facts of the certificate (Vars.Certificate).
func (p *Policy) UsesCertificate() bool { return p.certificate }

// UsesTime says whether what the document allows changes by itself, as time passes.
func (p *Policy) UsesTime() bool { return p.timed }

type statement struct {
	sid        string
	deny       bool
	actions    Action
	resources  [classes][]pattern
	conditions []condition // all must hold; those about the time are in timed
	timed      []condition
}

// Rights is what one connection may do: policies bound to its values. Safe for concurrent use.
type Rights struct {
	bound []bound
	now   func() time.Time // nil: the time is not known
}

// bound is a policy with the values of a connection.
type bound struct {
	policy *Policy
	values []value  // of policy.variables, in their order
	off    []uint64 // bits of the statements whose conditions do not hold; nil: all hold
}

// Compile binds policies to the values of one connection: a few words per policy, as the patterns stay in the
// policies. It keeps of vars only what the policies use.
func Compile(policies []*Policy, vars Vars) *Rights {
	r := &Rights{bound: make([]bound, len(policies)), now: vars.Now}
	total := 0
	for _, p := range policies {
		total += len(p.variables)
	}
	all := make([]value, 0, total)
	for i, p := range policies {
		from := len(all)
		for _, key := range p.variables {
			all = append(all, vars.value(key))
		}
		b := &r.bound[i]
		b.policy, b.values = p, all[from:len(all):len(all)]
		if p.conditional {
			b.off = p.unmet(&vars, b.values)
		}
	}
	return r
}

// unmet returns the bits of the statements with a condition, other than of the time, that does not hold.
func (p *Policy) unmet(vars *Vars, values []value) []uint64 {
	off := make([]uint64, (len(p.statements)+63)/64)
	for i := range p.statements {
		s := &p.statements[i]
		for j := range s.conditions {
			if c := &s.conditions[j]; !c.holds(vars.keyValues(c.key), values, s.deny) {
				off[i/64] |= 1 << (i % 64)
				break
			}
		}
	}
	return off
}

// Connect says whether the client id may connect (iot:Connect on client/).
func (r *Rights) Connect(clientID string) bool { return r.allows(Connect, client, clientID) }

// Publish says whether a message may be published to topic (iot:Publish on topic/).
func (r *Rights) Publish(name string) bool { return r.allows(Publish, topic, name) }

// Retain says whether a retained message may be published to topic: iot:Publish and iot:RetainPublish on topic/.
func (r *Rights) Retain(name string) bool {
	return r.allows(Publish, topic, name) && r.allows(RetainPublish, topic, name)
}

// Subscribe says whether filter may be subscribed to: iot:Subscribe on topicfilter/, matched against the text of the
// filter; of a shared subscription $share/<group>/<filter> it is the inner filter.
func (r *Rights) Subscribe(filter string) bool {
	filter, ok := innerFilter(filter)
	return ok && r.allows(Subscribe, topicFilter, filter)
}

// innerFilter returns the filter of a shared subscription, or filter itself.
func innerFilter(filter string) (inner string, ok bool) {
	const share = "$share/"
	// Brokers differ in whether the case of $share matters; a filter must not get past a deny by its case.
	if len(filter) < len(share) || !strings.EqualFold(filter[:len(share)], share) {
		return filter, true
	}
	group, inner, ok := strings.Cut(filter[len(share):], "/")
	return inner, ok && group != "" && inner != "" && !strings.ContainsAny(group, "+#")
}

// Receive says whether a message of topic may be delivered (iot:Receive on topic/).
func (r *Rights) Receive(name string) bool { return r.allows(Receive, topic, name) }

// allows evaluates all statements. It allocates nothing, unless a condition of the time has to be read.
func (r *Rights) allows(a Action, c class, name string) bool {
	allowed := false
	for i := range r.bound {
		b := &r.bound[i]
		for j := range b.policy.statements {
			s := &b.policy.statements[j]
			if s.actions&a == 0 || allowed && !s.deny || b.isOff(j) || !s.covers(c, name, b.values) || !r.inTime(s) {
				continue
			}
			if s.deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func (b *bound) isOff(statement int) bool {
	return b.off != nil && b.off[statement/64]&(1<<(statement%64)) != 0
}

// covers says whether a resource of the statement matches.
func (s *statement) covers(c class, name string, values []value) bool {
	for _, p := range s.resources[c] {
		if p.match(name, values, s.deny) {
			return true
		}
	}
	return false
}

// inTime says whether the statement's conditions of the time hold now.
func (r *Rights) inTime(s *statement) bool {
	if len(s.timed) == 0 {
		return true
	}
	for i := range s.timed {
		c := &s.timed[i]
		if !c.holds(timeValues(c.key, r.now), nil, s.deny) {
			return false
		}
	}
	return true
}
