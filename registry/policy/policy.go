// Package policy evaluates AWS IoT policy documents: what a device may do on MQTT.
//
// Parse compiles a document once; Compile binds documents to one thing and costs a few words. Evaluation is
// AWS's: nothing is allowed unless a statement allows it, and an explicit deny wins. Matching allocates nothing.
//
// Variables are replaced as literals: no character of a value is ever a wildcard of the policy, and a value that
// could act as one in MQTT is not used at all (see Vars). `+` and `#` have no meaning in a policy: under
// topicfilter/ the text of the filter itself is matched against the resource.
package policy

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

// Policy is a parsed document. Immutable, shared by all things that have it.
type Policy struct {
	statements []statement
}

type statement struct{}

// Parse reads a policy document of at most DefaultMaxChars characters. Errors name the statement, the field and what is allowed.
func Parse(document []byte) (*Policy, error) { return ParseLimit(document, DefaultMaxChars) }

// ParseLimit is Parse with another limit of characters, white space not counted.
func ParseLimit(document []byte, maxChars int) (*Policy, error) { return &Policy{}, nil }

// Vars are the values of policy variables for one connection.
type Vars struct {
	ClientID      string            // ${iot:ClientId}
	ThingName     string            // ${iot:Connection.Thing.ThingName}
	ThingTypeName string            // ${iot:Connection.Thing.ThingTypeName}
	Attributes    map[string]string // ${iot:Connection.Thing.Attributes[key]}
}

// Rights is what one connection may do: policies bound to its values. Safe for concurrent use.
type Rights struct {
	policies []*Policy
	vars     Vars
}

// Compile binds policies to the values of one connection. It copies what it needs of vars.
func Compile(policies []*Policy, vars Vars) *Rights { return &Rights{policies: policies, vars: vars} }

// Connect says whether the client id may connect (iot:Connect on client/).
func (r *Rights) Connect(clientID string) bool { return false }

// Publish says whether a message may be published to topic (iot:Publish on topic/).
func (r *Rights) Publish(topic string) bool { return false }

// Retain says whether a retained message may be published to topic: iot:Publish and iot:RetainPublish on topic/.
func (r *Rights) Retain(topic string) bool { return false }

// Subscribe says whether filter may be subscribed to: iot:Subscribe on topicfilter/, matched against the text of the
// filter; of a shared subscription $share/<group>/<filter> it is the inner filter.
func (r *Rights) Subscribe(filter string) bool { return false }

// Receive says whether a message of topic may be delivered (iot:Receive on topic/).
func (r *Rights) Receive(topic string) bool { return false }
