package admin

import (
	"context"

	"muster/registry"
)

// typeRoutes are AWS IoT's thing types.
var typeRoutes = []route{
	{method: "POST", pattern: "/thing-types/{thingTypeName}", op: "CreateThingType", scope: fleet, audited: true, handle: awsBody(createThingType)},
	{method: "GET", pattern: "/thing-types/{thingTypeName}", op: "DescribeThingType", scope: read, handle: plain(describeThingType)},
	{method: "GET", pattern: "/thing-types", op: "ListThingTypes", scope: read,
		query: paged + " thingTypeName", handle: plain(listThingTypes)},
	{method: "PATCH", pattern: "/thing-types/{thingTypeName}", op: "UpdateThingType", scope: fleet, audited: true, handle: awsBody(updateThingType)},
	{method: "POST", pattern: "/thing-types/{thingTypeName}/deprecate", op: "DeprecateThingType", scope: fleet, audited: true, handle: awsBody(deprecateThingType)},
	{method: "DELETE", pattern: "/thing-types/{thingTypeName}", op: "DeleteThingType", scope: fleet, audited: true, handle: plain(deleteThingType)},
}

// schemaRoutes are the schemas of thing types, which AWS does not have.
var schemaRoutes = []route{
	{method: "GET", pattern: "/api/thing-types/{thingTypeName}/schema", op: "getSchema", scope: read,
		about: "The attributes that things of a type must and may have; none where it has no schema", handle: plain(getSchema)},
	{method: "PUT", pattern: "/api/thing-types/{thingTypeName}/schema", op: "putSchema", scope: fleet, audited: true,
		about: "Set the schema of a thing type; things that are there stay as they are until their next update", handle: body(putSchema)},
	{method: "DELETE", pattern: "/api/thing-types/{thingTypeName}/schema", op: "deleteSchema", scope: fleet, audited: true,
		about: "Remove the schema of a thing type", query: "expectedVersion", handle: plain(deleteSchema)},
	{method: "POST", pattern: "/api/thing-types/{thingTypeName}/schema/check", op: "checkSchema", scope: read, readsByPost: true,
		about: "Which things of a type a schema would refuse", handle: body(checkSchema)},
}

type thingTypeProperties struct {
	Description          string              `json:"thingTypeDescription,omitempty"`
	SearchableAttributes []string            `json:"searchableAttributes"`
	MQTT5                *mqtt5Configuration `json:"mqtt5Configuration,omitempty"`
}

type mqtt5Configuration struct {
	Propagating []registry.PropagatingAttribute `json:"propagatingAttributes"`
}

func (m *mqtt5Configuration) list() []registry.PropagatingAttribute {
	if m == nil {
		return nil
	}
	return m.Propagating
}

type thingTypeMetadata struct {
	Deprecated      bool          `json:"deprecated"`
	DeprecationDate *epochSeconds `json:"deprecationDate,omitempty"`
	CreationDate    epochSeconds  `json:"creationDate"`
}

func typeOut(t registry.ThingType) (thingTypeProperties, thingTypeMetadata) {
	properties := thingTypeProperties{Description: t.Description, SearchableAttributes: t.SearchableAttributes}
	if len(t.Propagating) > 0 {
		properties.MQTT5 = &mqtt5Configuration{t.Propagating}
	}
	if properties.SearchableAttributes == nil {
		properties.SearchableAttributes = []string{}
	}
	metadata := thingTypeMetadata{Deprecated: t.Deprecated, CreationDate: epochSeconds(t.CreatedMs)}
	if t.Deprecated {
		at := epochSeconds(t.DeprecatedMs)
		metadata.DeprecationDate = &at
	}
	return properties, metadata
}

type createThingTypeInput struct {
	Properties thingTypeProperties `json:"thingTypeProperties"`
	Tags       []tag               `json:"tags"`
}

type typeCreated struct {
	ThingTypeName string `json:"thingTypeName"`
	ThingTypeARN  string `json:"thingTypeArn"`
	ThingTypeID   string `json:"thingTypeId"`
}

func createThingType(ctx context.Context, s *Server, c *call, in createThingTypeInput) (*typeCreated, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	name := c.labels[0]
	t, err := s.registry.CreateThingType(ctx, registry.ThingTypeInput{
		Name: name, Description: in.Properties.Description, SearchableAttributes: in.Properties.SearchableAttributes,
		Propagating: in.Properties.MQTT5.list(), Tags: tags,
	})
	if err != nil {
		return nil, exists(err, name, s.registry.ThingTypeARN(name))
	}
	return &typeCreated{t.Name, s.registry.ThingTypeARN(t.Name), t.UUID}, nil
}

type updateThingTypeInput struct {
	Properties *struct {
		Description          *string             `json:"thingTypeDescription"`
		SearchableAttributes []string            `json:"searchableAttributes"`
		MQTT5                *mqtt5Configuration `json:"mqtt5Configuration"`
	} `json:"thingTypeProperties"`
}

func updateThingType(ctx context.Context, s *Server, c *call, in updateThingTypeInput) (*empty, error) {
	update := registry.ThingTypeUpdate{Name: c.labels[0]}
	if p := in.Properties; p != nil {
		update.Description, update.SearchableAttributes = p.Description, p.SearchableAttributes
		if p.MQTT5 != nil {
			if update.Propagating = p.MQTT5.Propagating; update.Propagating == nil {
				update.Propagating = []registry.PropagatingAttribute{}
			}
		}
	}
	_, err := s.registry.UpdateThingType(ctx, update)
	return &empty{}, err
}

type typeDescription struct {
	ThingTypeName string              `json:"thingTypeName"`
	ThingTypeID   string              `json:"thingTypeId"`
	ThingTypeARN  string              `json:"thingTypeArn"`
	Properties    thingTypeProperties `json:"thingTypeProperties"`
	Metadata      thingTypeMetadata   `json:"thingTypeMetadata"`
}

func describeThingType(_ context.Context, s *Server, c *call) (*typeDescription, error) {
	t, err := s.registry.ThingType(c.labels[0])
	if err != nil {
		return nil, err
	}
	properties, metadata := typeOut(t)
	return &typeDescription{t.Name, t.UUID, s.registry.ThingTypeARN(t.Name), properties, metadata}, nil
}

type typeListed struct {
	ThingTypeName string              `json:"thingTypeName"`
	ThingTypeARN  string              `json:"thingTypeArn"`
	Properties    thingTypeProperties `json:"thingTypeProperties"`
	Metadata      thingTypeMetadata   `json:"thingTypeMetadata"`
}

type typeList struct {
	ThingTypes []typeListed `json:"thingTypes"`
	NextToken  string       `json:"nextToken,omitempty"`
}

func listThingTypes(ctx context.Context, s *Server, c *call) (*typeList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	types, next, err := s.registry.ListThingTypes(ctx, c.arg("thingTypeName"), after, limit)
	if err != nil {
		return nil, err
	}
	items := make([]typeListed, 0, len(types))
	for _, t := range types {
		properties, metadata := typeOut(t)
		items = append(items, typeListed{t.Name, s.registry.ThingTypeARN(t.Name), properties, metadata})
	}
	return &typeList{items, pageToken(next)}, nil
}

type deprecateInput struct {
	Undo bool `json:"undoDeprecate"`
}

func deprecateThingType(ctx context.Context, s *Server, c *call, in deprecateInput) (*empty, error) {
	return &empty{}, s.registry.DeprecateThingType(ctx, c.labels[0], in.Undo)
}

func deleteThingType(ctx context.Context, s *Server, c *call) (*empty, error) {
	return &empty{}, s.registry.DeleteThingType(ctx, c.labels[0])
}

// typeSchema is the schema of a type: with no attributes where it has none.
type typeSchema struct {
	Attributes map[string]registry.AttributeRule `json:"attributes"`
	Version    int64                             `json:"version"` // 0 before the first; it goes on counting when a schema is removed
}

func getSchema(_ context.Context, s *Server, c *call) (*typeSchema, error) {
	schema, version, err := s.registry.SchemaOf(c.labels[0])
	if err != nil {
		return nil, err
	}
	return schemaOut(schema, version), nil
}

func schemaOut(schema registry.Schema, version int64) *typeSchema {
	if schema.Attributes == nil {
		schema.Attributes = map[string]registry.AttributeRule{}
	}
	return &typeSchema{schema.Attributes, version}
}

// schemaInput is a schema and the version of the one that it takes the place of; nil: any.
type schemaInput struct {
	registry.Schema
	ExpectedVersion *int64 `json:"expectedVersion"`
}

func putSchema(ctx context.Context, s *Server, c *call, in schemaInput) (*typeSchema, error) {
	expected, err := expectedSchema(in.ExpectedVersion)
	if err != nil {
		return nil, err
	}
	version, err := s.registry.SetSchema(ctx, c.labels[0], in.Schema, expected)
	if err != nil {
		return nil, err
	}
	return schemaOut(in.Schema, version), nil
}

// expectedSchema reads the version that a schema is expected to have, 0 before the first.
func expectedSchema(given *int64) (int64, error) {
	switch {
	case given == nil:
		return registry.AnyVersion, nil
	case *given < 0:
		return 0, invalid("expectedVersion must be a whole number from 0; leave it out for any")
	}
	return *given, nil
}

func deleteSchema(ctx context.Context, s *Server, c *call) (*noContent, error) {
	expected, err := expectedToDelete(c)
	if err != nil {
		return nil, err
	}
	_, err = s.registry.SetSchema(ctx, c.labels[0], registry.Schema{}, expected)
	return nil, err
}

// expectedToDelete reads the version of a schema that is to be removed.
func expectedToDelete(c *call) (int64, error) {
	expected, err := expectedVersion(c)
	if expected == 0 {
		expected = registry.AnyVersion
	}
	return expected, err
}

// schemaCheck says how many things of a type break a schema.
type schemaCheck struct {
	Things    int                  `json:"things"`
	Violating int                  `json:"violating"`
	Examples  []registry.Violation `json:"examples"`
}

// checkSchema is the dry run of putSchema: it says which things of the type would break it.
func checkSchema(ctx context.Context, s *Server, c *call, in registry.Schema) (*schemaCheck, error) {
	things, violating, examples, err := s.registry.CheckSchema(ctx, c.labels[0], &in)
	if err != nil {
		return nil, err
	}
	if examples == nil {
		examples = []registry.Violation{}
	}
	return &schemaCheck{things, violating, examples}, nil
}
