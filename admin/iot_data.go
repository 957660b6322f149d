package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/valyala/fasthttp"

	"muster/registry"
)

// Message is what an operator publishes to devices.
type Message struct {
	Topic       string
	Payload     []byte // valid during the call only
	QoS         byte
	Retain      bool
	Publisher   string // who asked
	ContentType string
	// Further MQTT 5 properties; zero fields are absent.
	ResponseTopic   string
	CorrelationData []byte
	ExpirySec       uint32
	Text            bool        // payload format indicator: the payload is UTF-8
	User            [][2]string // name and value, in order
}

// Retained is a retained message.
type Retained struct {
	Topic   string
	Payload []byte
	QoS     byte
	AtMs    int64 // Unix ms
	User    [][2]string
}

// Messages is the devices' broker. Its errors are *registry.Error where the caller can do something about them.
type Messages interface {
	Publish(Message) error
	Retained(topic string) (Retained, bool)
	// ListRetained returns up to limit messages by topic ascending, from the first after `after`.
	ListRetained(after string, limit int) []Retained
	// Disconnect returns false where there was nothing to end.
	Disconnect(clientID string, endSession, preventWill bool) bool
}

// dataRoutes are AWS IoT's data plane (service model iot-data, 2015-05-28), served at the root to requests signed for the
// service iotdata, and under /iot-data to tokens and sessions. The topic of a path may have its slashes encoded or not.
var dataRoutes = []route{
	{method: "POST", pattern: "/topics/{topic}", op: "Publish", scope: fleet,
		query: "qos retain contentType responseTopic messageExpiry", headers: "x-amz-mqtt5-payload-format-indicator x-amz-mqtt5-correlation-data x-amz-mqtt5-user-properties", reads: "application/octet-stream", handle: plain(publish)},
	{method: "GET", pattern: "/retainedMessage/{topic}", op: "GetRetainedMessage", scope: read, handle: plain(getRetainedMessage)},
	{method: "GET", pattern: "/retainedMessage", op: "ListRetainedMessages", scope: read,
		query: paged, handle: plain(listRetainedMessages)},
	{method: "DELETE", pattern: "/connections/{clientId}", op: "DeleteConnection", scope: fleet, audited: true,
		query: "cleanSession preventWillMessage", handle: plain(deleteConnection)},
}

// joinTopic makes one segment of the topic in a path of the data plane.
func joinTopic(segments []string) []string {
	if len(segments) > 2 && (segments[0] == "topics" || segments[0] == "retainedMessage") {
		return []string{segments[0], strings.Join(segments[1:], "/")}
	}
	return segments
}

func (s *Server) messages() (Messages, error) {
	if s.opts.Messages == nil {
		return nil, busy("this gateway has no listener for devices")
	}
	return s.opts.Messages, nil
}

type publishedOutput struct {
	Message string `json:"message"`
	TraceID string `json:"traceId"`
}

func publish(_ context.Context, s *Server, c *call) (*publishedOutput, error) {
	broker, err := s.messages()
	if err != nil {
		return nil, err
	}
	m := Message{Topic: c.labels[0], Payload: c.http.PostBody(), Publisher: c.who.Name}
	if strings.HasPrefix(m.Topic, "$") && !strings.HasPrefix(m.Topic, "$aws/things/") {
		return nil, invalid("topic %q is reserved: of the topics that begin with $, only those under $aws/things/ can be published to", short(m.Topic))
	}
	if err := readPublish(c, &m); err != nil {
		return nil, err
	}
	if err := broker.Publish(m); err != nil {
		return nil, err
	}
	return &publishedOutput{"OK", c.id}, nil
}

// readPublish takes QoS, retain flag and properties from the query and the headers of a Publish.
func readPublish(c *call, m *Message) error {
	qos, err := intArg(c, "qos", 0, 0, 1)
	if err != nil {
		return err
	}
	m.QoS = byte(qos)
	if m.Retain, err = boolArg(c, "retain"); err != nil {
		return err
	}
	m.ContentType, m.ResponseTopic = c.arg("contentType"), c.arg("responseTopic")
	expiry, err := intArg(c, "messageExpiry", 0, 0, math.MaxInt32)
	if err != nil {
		return err
	}
	m.ExpirySec = uint32(expiry)
	switch format := c.header("x-amz-mqtt5-payload-format-indicator"); format {
	case "", "UNSPECIFIED_BYTES":
	case "UTF8_DATA":
		m.Text = true
	default:
		return invalid("payloadFormatIndicator must be UNSPECIFIED_BYTES or UTF8_DATA, not %q", short(format))
	}
	if text := c.header("x-amz-mqtt5-correlation-data"); text != "" {
		if m.CorrelationData, err = base64.StdEncoding.DecodeString(text); err != nil {
			return invalid("correlationData must be base64")
		}
	}
	if text := c.header("x-amz-mqtt5-user-properties"); text != "" {
		if m.User, err = readUserProperties(text); err != nil {
			return err
		}
	}
	return nil
}

// readUserProperties reads base64 of a JSON array of objects, each with one name and its text or more.
func readUserProperties(text string) ([][2]string, error) {
	wrong := invalid(`userProperties must be base64 of a JSON array such as [{"name":"value"}]`)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, wrong
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, wrong
	}
	var pairs [][2]string
	for _, item := range list {
		// An object is read by tokens: a map would lose the order of its names, and names that come twice.
		d := json.NewDecoder(strings.NewReader(string(item)))
		if open, err := d.Token(); err != nil || open != json.Delim('{') {
			return nil, wrong
		}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, wrong
			}
			value, err := d.Token()
			if err != nil {
				return nil, wrong
			}
			text, ok := value.(string)
			if !ok {
				return nil, wrong
			}
			pairs = append(pairs, [2]string{name.(string), text})
		}
	}
	return pairs, nil
}

func boolArg(c *call, name string) (bool, error) {
	switch text := c.arg(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid("%s must be true or false, not %q", name, short(text))
	}
}

type retainedOutput struct {
	Topic          string `json:"topic"`
	Payload        []byte `json:"payload"`
	QoS            byte   `json:"qos"`
	LastModified   int64  `json:"lastModifiedTime"` // Unix ms, as all of the data plane
	UserProperties []byte `json:"userProperties,omitempty"`
}

func getRetainedMessage(_ context.Context, s *Server, c *call) (*retainedOutput, error) {
	broker, err := s.messages()
	if err != nil {
		return nil, err
	}
	m, ok := broker.Retained(c.labels[0])
	if !ok {
		return nil, &apiError{status: fasthttp.StatusNotFound, kind: "notFound", message: fmt.Sprintf("no message is retained for topic %q", short(c.labels[0]))}
	}
	answer := &retainedOutput{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, LastModified: m.AtMs}
	if len(m.User) > 0 {
		list := make([]map[string]string, len(m.User))
		for i, pair := range m.User {
			list[i] = map[string]string{pair[0]: pair[1]}
		}
		if answer.UserProperties, err = json.Marshal(list); err != nil {
			return nil, fmt.Errorf("encode user properties: %w", err)
		}
	}
	return answer, nil
}

type retainedListed struct {
	Topic        string `json:"topic"`
	PayloadSize  int    `json:"payloadSize"`
	QoS          byte   `json:"qos"`
	LastModified int64  `json:"lastModifiedTime"`
}

type retainedList struct {
	RetainedTopics []retainedListed `json:"retainedTopics"`
	NextToken      string           `json:"nextToken,omitempty"`
}

func listRetainedMessages(_ context.Context, s *Server, c *call) (*retainedList, error) {
	broker, err := s.messages()
	if err != nil {
		return nil, err
	}
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	next := ""
	list := broker.ListRetained(after, limit+1)
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].Topic
	}
	items := make([]retainedListed, 0, len(list))
	for _, m := range list {
		items = append(items, retainedListed{m.Topic, len(m.Payload), m.QoS, m.AtMs})
	}
	return &retainedList{items, pageToken(next)}, nil
}

func deleteConnection(_ context.Context, s *Server, c *call) (*empty, error) {
	broker, err := s.messages()
	if err != nil {
		return nil, err
	}
	endSession, err := boolArg(c, "cleanSession")
	if err != nil {
		return nil, err
	}
	preventWill, err := boolArg(c, "preventWillMessage")
	if err != nil {
		return nil, err
	}
	if !broker.Disconnect(c.labels[0], endSession, preventWill) {
		return nil, &registry.Error{Kind: registry.NotFound, Message: fmt.Sprintf("client %q is not connected", short(c.labels[0]))}
	}
	return &empty{}, nil
}
