// Package policy evaluates AWS IoT policy documents: what a device may do on MQTT.
//
// Parse compiles a document once; Compile binds documents to one thing and costs a few words. Evaluation is
// AWS's: nothing is allowed unless a statement allows it, and an explicit deny wins. Matching allocates nothing.
//
// Variables are replaced as literals: no character of a value is ever a wildcard of the policy, and a value that
// could act as one in MQTT is not used at all (see Vars). `+` and `#` have no meaning in a policy: under
// topicfilter/ the text of the filter itself is matched against the resource.
package policy

import "strings"

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

// action is a bit for each action.
type action uint8

const (
	connect action = 1 << iota
	publish
	retainPublish
	subscribe
	receive
)

var actionNames = [...]struct {
	name   string
	action action
}{
	{"iot:Connect", connect},
	{"iot:Publish", publish},
	{"iot:RetainPublish", retainPublish},
	{"iot:Subscribe", subscribe},
	{"iot:Receive", receive},
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

// Policy is a parsed document. Immutable, shared by all things that have it.
type Policy struct {
	statements []statement
	attributes []string // keys of thing attributes that it uses
}

type statement struct {
	deny      bool
	attached  condition
	actions   action
	resources [classes][]pattern
}

// condition is what a statement wants of iot:Connection.Thing.IsAttached, which is true of a connection that has
// a thing: a client id that is not its certificate's thing does not get this far.
type condition uint8

const (
	always condition = iota
	ifAttached
	ifNotAttached
)

func (c condition) holds(attached bool) bool { return c == always || (c == ifAttached) == attached }

// Vars are the values of policy variables for one connection.
//
// An empty value, and in an Allow statement one with any of * ? + # $ (or, but for attributes, a slash), is not
// substituted: a resource that uses it matches nothing. So no value can widen what a policy allows, be it in the
// policy's wildcards or in MQTT's.
type Vars struct {
	ClientID      string            // ${iot:ClientId}
	ThingName     string            // ${iot:Connection.Thing.ThingName}
	ThingTypeName string            // ${iot:Connection.Thing.ThingTypeName}
	Attributes    map[string]string // ${iot:Connection.Thing.Attributes[key]}
}

// Rights is what one connection may do: policies bound to its values. Safe for concurrent use.
type Rights struct {
	policies []*Policy
	values   values
}

// Compile binds policies to the values of one connection: a few words per thing, as the patterns stay in the
// policies. It keeps the slice, and of vars only what the policies use.
func Compile(policies []*Policy, vars Vars) *Rights {
	r := &Rights{policies: policies}
	r.values.fixed[clientID] = oneLevel(vars.ClientID)
	r.values.fixed[thingName] = oneLevel(vars.ThingName)
	r.values.fixed[thingTypeName] = oneLevel(vars.ThingTypeName)
	for _, p := range policies {
		for _, key := range p.attributes {
			r.values.attributes = append(r.values.attributes, boundAttribute{key, anyLevels(vars.Attributes[key])})
		}
	}
	return r
}

// Connect says whether the client id may connect (iot:Connect on client/).
func (r *Rights) Connect(clientID string) bool { return r.allows(connect, client, clientID) }

// Publish says whether a message may be published to topic (iot:Publish on topic/).
func (r *Rights) Publish(name string) bool { return r.allows(publish, topic, name) }

// Retain says whether a retained message may be published to topic: iot:Publish and iot:RetainPublish on topic/.
func (r *Rights) Retain(name string) bool {
	return r.allows(publish, topic, name) && r.allows(retainPublish, topic, name)
}

// Subscribe says whether filter may be subscribed to: iot:Subscribe on topicfilter/, matched against the text of the
// filter; of a shared subscription $share/<group>/<filter> it is the inner filter.
func (r *Rights) Subscribe(filter string) bool {
	const share = "$share/"
	// Brokers differ in whether the case of $share matters; a filter must not get past a deny by its case.
	if len(filter) >= len(share) && strings.EqualFold(filter[:len(share)], share) {
		group, inner, ok := strings.Cut(filter[len(share):], "/")
		if !ok || group == "" || inner == "" || strings.ContainsAny(group, "+#") {
			return false
		}
		filter = inner
	}
	return r.allows(subscribe, topicFilter, filter)
}

// Receive says whether a message of topic may be delivered (iot:Receive on topic/).
func (r *Rights) Receive(name string) bool { return r.allows(receive, topic, name) }

// allows evaluates all statements. It allocates nothing.
func (r *Rights) allows(a action, c class, name string) bool {
	allowed := false
	for _, p := range r.policies {
		for i := range p.statements {
			s := &p.statements[i]
			if s.actions&a == 0 || allowed && !s.deny || !s.attached.holds(r.values.fixed[thingName].text != "") {
				continue
			}
			for _, pattern := range s.resources[c] {
				if pattern.match(name, &r.values, s.deny) {
					if s.deny {
						return false
					}
					allowed = true
					break
				}
			}
		}
	}
	return allowed
}
