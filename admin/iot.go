package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/valyala/fasthttp"

	"muster/registry"
)

// awsBody makes an endpoint of a function that takes a body in AWS's form: an empty one is {}, unknown fields are for
// newer clients and are left aside.
func awsBody[In, Out any](f func(ctx context.Context, s *Server, c *call, in In) (*Out, error)) endpoint {
	return takes[In](plain(func(ctx context.Context, s *Server, c *call) (*Out, error) {
		var in In
		if text := c.http.PostBody(); len(text) > 0 {
			if err := json.Unmarshal(text, &in); err != nil {
				return nil, &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", awsType: "InvalidRequestException",
					message: "the body is not the JSON of " + c.op + ": " + wrongJSON(err)}
			}
		}
		return f(ctx, s, c, in)
	}))
}

// empty is the answer of operations that return nothing: AWS sends {}.
type empty struct{}

// epochSeconds is a time as AWS's control plane writes it: seconds with three decimals.
type epochSeconds int64 // Unix ms

func (t epochSeconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%03d", t/1000, t%1000), nil
}

// exists adds to a conflict what AWS's has: id and ARN of the resource that is in the way.
func exists(err error, id, arn string) error {
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Kind == registry.Conflict {
		return &apiError{status: fasthttp.StatusConflict, kind: e.Kind.String(), awsType: "ResourceAlreadyExistsException",
			message: e.Message, fields: map[string]string{"resourceId": id, "resourceArn": arn}}
	}
	return err
}

type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge"`
}

type createThingInput struct {
	ThingTypeName    string           `json:"thingTypeName"`
	AttributePayload attributePayload `json:"attributePayload"`
	BillingGroupName string           `json:"billingGroupName"`
}

type thingCreated struct {
	ThingName string `json:"thingName"`
	ThingARN  string `json:"thingArn"`
	ThingID   string `json:"thingId"`
}

func createThing(ctx context.Context, s *Server, c *call, in createThingInput) (*thingCreated, error) {
	name := c.labels[0]
	t, err := s.registry.CreateThing(ctx, registry.ThingInput{
		Name: name, TypeName: in.ThingTypeName, BillingGroup: in.BillingGroupName, Attributes: in.AttributePayload.Attributes,
	})
	if err != nil {
		return nil, exists(err, name, s.registry.ThingARN(name))
	}
	return &thingCreated{t.Name, s.registry.ThingARN(t.Name), t.UUID}, nil
}

type thingDescription struct {
	DefaultClientID string            `json:"defaultClientId"`
	ThingName       string            `json:"thingName"`
	ThingID         string            `json:"thingId"`
	ThingARN        string            `json:"thingArn"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	Attributes      map[string]string `json:"attributes"`
	Version         int64             `json:"version"`
	BillingGroup    string            `json:"billingGroupName,omitempty"`
}

func describeThing(_ context.Context, s *Server, c *call) (*thingDescription, error) {
	t, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	return &thingDescription{t.Name, t.Name, t.UUID, s.registry.ThingARN(t.Name), t.TypeName, orEmpty(t.Attributes), t.Version, t.BillingGroup}, nil
}

func orEmpty(attributes map[string]string) map[string]string {
	if attributes == nil {
		return map[string]string{}
	}
	return attributes
}

type updateThingInput struct {
	ThingTypeName    string            `json:"thingTypeName"`
	AttributePayload *attributePayload `json:"attributePayload"`
	ExpectedVersion  int64             `json:"expectedVersion"`
	RemoveThingType  bool              `json:"removeThingType"`
}

func updateThing(ctx context.Context, s *Server, c *call, in updateThingInput) (*empty, error) {
	update := registry.ThingUpdate{
		Name: c.labels[0], TypeName: in.ThingTypeName, RemoveType: in.RemoveThingType, ExpectedVersion: in.ExpectedVersion,
	}
	if in.AttributePayload != nil {
		update.Attributes, update.Merge = orEmpty(in.AttributePayload.Attributes), in.AttributePayload.Merge
	}
	_, err := s.registry.UpdateThing(ctx, update)
	return &empty{}, err
}

// deleteThing refuses, as AWS does, a thing that certificates are attached to: a device that is in use, most likely.
func deleteThing(ctx context.Context, s *Server, c *call) (*empty, error) {
	name := c.labels[0]
	if id, ok := s.registry.ID(name); ok && s.opts.Access != nil {
		if n := len(s.opts.Access.CertsOf(id)); n > 0 {
			return nil, invalid("thing %q cannot be deleted: certificates are still attached to it (%d); detach them first, or delete it with what was enrolled for it: DELETE /api/things/%[1]s", name, n)
		}
	}
	_, err := removeThing(ctx, s, c)
	return &empty{}, err
}

// removeThing deletes a thing, whatever is attached to it: its certificates admit nobody from then on, and those that were enrolled for it are deleted.
func removeThing(ctx context.Context, s *Server, c *call) (*noContent, error) {
	expected, err := expectedVersion(c)
	if err != nil {
		return nil, err
	}
	return nil, s.registry.DeleteThing(ctx, c.labels[0], expected)
}

type thingListed struct {
	ThingName     string            `json:"thingName"`
	ThingTypeName string            `json:"thingTypeName,omitempty"`
	ThingARN      string            `json:"thingArn"`
	Attributes    map[string]string `json:"attributes"`
	Version       int64             `json:"version"`
}

type thingList struct {
	Things    []thingListed `json:"things"`
	NextToken string        `json:"nextToken,omitempty"`
}

func listThings(ctx context.Context, s *Server, c *call) (*thingList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	prefix, err := boolArg(c, "usePrefixAttributeValue")
	if err != nil {
		return nil, err
	}
	filter := registry.ListFilter{
		TypeName:             c.arg("thingTypeName"),
		AttributeName:        c.arg("attributeName"),
		AttributeValue:       c.arg("attributeValue"),
		AttributeValuePrefix: prefix,
	}
	if filter.AttributeName == "" && filter.AttributeValue != "" {
		return nil, invalid("attributeValue needs attributeName")
	}
	things, next, err := s.registry.List(ctx, filter, after, limit)
	if err != nil {
		return nil, err
	}
	items := make([]thingListed, 0, len(things))
	for _, t := range things {
		items = append(items, thingListed{t.Name, t.TypeName, s.registry.ThingARN(t.Name), orEmpty(t.Attributes), t.Version})
	}
	return &thingList{items, pageToken(next)}, nil
}

type endpointAddress struct {
	Address string `json:"endpointAddress"`
}

// describeEndpoint answers the address as the caller reached it, with the port of the devices' listener. AWS answers a
// host name only; here the port is needed, because it may be any.
func describeEndpoint(_ context.Context, s *Server, c *call) (*endpointAddress, error) {
	host := string(c.http.Request.Header.Host())
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	kind := c.arg("endpointType")
	address := host
	switch kind {
	case "", "iot:Data", "iot:Data-ATS", "iot:Data-Beta":
		if s.opts.MQTTAddr == nil {
			return nil, notFound("this gateway has no listener for devices")
		}
		_, port, err := net.SplitHostPort(s.opts.MQTTAddr().String())
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(name, port)
	case "iot:Jobs":
	default:
		return nil, invalid("endpointType %q is not one that this gateway has: iot:Data-ATS, iot:Data, iot:Jobs", short(kind))
	}
	return &endpointAddress{address}, nil
}
