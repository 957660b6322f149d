package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muster/registry/index"
)

// Schema says which attributes the things of a type have. Attributes that it does not name are free.
type Schema struct {
	Attributes map[string]AttributeRule `json:"attributes"`
}

// AttributeRule is the rule of one attribute.
type AttributeRule struct {
	// Type is "string" (also if ""), "number" (decimal, such as -1.5 or 2e3), "bool" (true or false), "time" (RFC 3339 in UTC,
	// such as 2026-01-02T15:04:05Z) or "geo" (latitude and longitude, such as 48.1,11.5).
	Type     string   `json:"type,omitempty"`
	Required bool     `json:"required,omitempty"`
	Default  string   `json:"default,omitempty"` // what a new thing gets that has none; "": nothing
	Enum     []string `json:"enum,omitempty"`    // the only values that are allowed; none: any
	Unit     string   `json:"unit,omitempty"`    // for people
}

// Limits of a schema.
const (
	maxEnum     = 100
	maxUnitLen  = 32 // characters
	maxExamples = 100
)

// Violation is an attribute of a thing that breaks a schema.
type Violation struct {
	Thing   string `json:"thingName"`
	Message string `json:"message"`
}

// AnyVersion as the version that a schema is expected to have is any.
const AnyVersion = -1

// SetSchema gives a type a schema, one without attributes for none, and returns its version. Things that are there stay as they are; their next
// update must fit. expected is the version of the schema that the new one takes the place of, 0 for none yet: another one is Stale. A schema that is
// there already is no change.
func (r *Registry) SetSchema(ctx context.Context, typeName string, schema Schema, expected int64) (version int64, err error) {
	var now int64 // not the named result: it is written on return, which may be before the plan has run
	if err := CheckName("thingTypeName", typeName); err != nil {
		return 0, err
	}
	if err := schema.check(r.opts.MaxTypeAttributes); err != nil {
		return 0, err
	}
	text := ""
	if len(schema.Attributes) > 0 {
		encoded, err := json.Marshal(schema)
		if err != nil {
			return 0, fmt.Errorf("encode the schema of thing type %q: %w", typeName, err)
		}
		text = string(encoded)
	}
	kept, err := parseSchema(text) // a copy that nobody else has
	if err != nil {
		return 0, err
	}
	err = r.submit(ctx, "", func(tx *transaction) error {
		typ := r.types[typeName]
		if typ == nil {
			return errNoType(typeName)
		}
		changed := typ.typ
		if now = changed.SchemaVersion; expected != AnyVersion && expected != now {
			return refuse(Stale, "the schema of thing type %q has version %d, expectedVersion is %d; read it again", typeName, now, expected)
		}
		if changed.Schema == text {
			return nil
		}
		now++
		changed.Schema, changed.SchemaVersion = text, now
		tx.PutTypes = append(tx.PutTypes, changed)
		tx.memory = append(tx.memory, func() { typ.typ, typ.schema = changed, kept })
		tx.notices = append(tx.notices, notice{typ: &TypeChange{Op: Updated, Type: changed}})
		return nil
	})
	if err != nil {
		return 0, err
	}
	return now, nil
}

// SchemaOf returns the schema of a type, one without attributes for none, and its version, 0 before the first. Do not change it.
func (r *Registry) SchemaOf(typeName string) (schema Schema, version int64, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	typ := r.types[typeName]
	if typ == nil {
		return Schema{}, 0, errNoType(typeName)
	}
	if typ.schema != nil {
		schema = *typ.schema
	}
	return schema, typ.typ.SchemaVersion, nil
}

// CheckSchema says how many things a type has, and how many of them a schema would refuse, with examples.
func (r *Registry) CheckSchema(ctx context.Context, typeName string, schema *Schema) (things, violating int, examples []Violation, err error) {
	if err := schema.check(r.opts.MaxTypeAttributes); err != nil {
		return 0, 0, nil, err
	}
	if _, _, err := r.SchemaOf(typeName); err != nil {
		return 0, 0, nil, err
	}
	err = r.scan(ctx, "", func(rec *record) bool {
		if rec.typeName() != typeName {
			return true
		}
		things++
		if err := schema.checkThing(rec.attribute); err != nil {
			violating++
			if len(examples) < maxExamples {
				examples = append(examples, Violation{rec.name, err.Error()})
			}
		}
		return true
	})
	return things, violating, examples, err
}

func parseSchema(text string) (*Schema, error) {
	if text == "" {
		return nil, nil
	}
	var s Schema
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return &s, nil
}

// check checks the schema itself, which may have limit attributes.
func (s *Schema) check(limit int) error {
	if n := len(s.Attributes); n > limit {
		return refuse(Invalid, "attributes: a schema has at most %d, this one has %d", limit, n)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
		rule := s.Attributes[key]
		if err := checkText("attribute name", key, 1, MaxAttributeKeyLen, attributeKeyChars); err != nil {
			return err
		}
		if !slices.Contains([]string{"", "string", "number", "bool", "time", "geo"}, rule.Type) {
			return refuse(Invalid, "type of attribute %s: %q is none; use string, number, bool, time or geo", key, rule.Type)
		}
		if len(rule.Enum) > maxEnum {
			return refuse(Invalid, "enum of attribute %s: at most %d values, these are %d", key, maxEnum, len(rule.Enum))
		}
		if len([]rune(rule.Unit)) > maxUnitLen {
			return refuse(Invalid, "unit of attribute %s: at most %d characters", key, maxUnitLen)
		}
		for _, value := range rule.Enum {
			if err := checkText("enum of attribute "+key, value, 1, MaxAttributeValueLen, attributeValueChars); err != nil {
				return err
			}
			if why := (AttributeRule{Type: rule.Type}).refuses(value); why != "" {
				return refuse(Invalid, "enum of attribute %s: %s", key, why)
			}
		}
		if rule.Default == "" {
			continue
		}
		if err := checkText("default of attribute "+key, rule.Default, 1, MaxAttributeValueLen, attributeValueChars); err != nil {
			return err
		}
		if why := rule.refuses(rule.Default); why != "" {
			return refuse(Invalid, "default of attribute %s: %s", key, why)
		}
	}
	return nil
}

// fill adds the defaults that a new thing does not have itself. A nil schema has none.
func (s *Schema) fill(attributes map[string]string) {
	if s == nil {
		return
	}
	for key, rule := range s.Attributes {
		if _, ok := attributes[key]; !ok && rule.Default != "" {
			attributes[key] = rule.Default
		}
	}
}

// checkThing says which attribute of a thing breaks the schema, the first by name. A nil schema takes all.
func (s *Schema) checkThing(attribute func(key string) (string, bool)) error {
	if s == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
		rule := s.Attributes[key]
		value, ok := attribute(key)
		switch {
		case !ok && rule.Required:
			return refuse(Invalid, "attribute %s: the thing type requires it%s", key, rule.hint())
		case ok:
			if why := rule.refuses(value); why != "" {
				return refuse(Invalid, "attribute %s: %s", key, why)
			}
		}
	}
	return nil
}

func (rule AttributeRule) hint() string {
	switch {
	case len(rule.Enum) > 0:
		return ", one of " + strings.Join(rule.Enum, ", ")
	case rule.Type != "":
		return ", a " + rule.Type
	}
	return ""
}

// refuses says why a value does not fit, "" if it does.
func (rule AttributeRule) refuses(value string) string {
	ok := true
	switch rule.Type {
	case "number":
		_, ok = index.ParseNumber(value)
	case "bool":
		ok = value == "true" || value == "false"
	case "time":
		_, err := time.Parse(time.RFC3339, value)
		ok = err == nil
	case "geo":
		_, ok = index.ParsePoint(value)
	}
	if !ok {
		return fmt.Sprintf("%q is not a %s%s", value, rule.Type, typeExamples[rule.Type])
	}
	if len(rule.Enum) > 0 && !slices.Contains(rule.Enum, value) {
		return fmt.Sprintf("%q is not one of %s", value, strings.Join(rule.Enum, ", "))
	}
	return ""
}

var typeExamples = map[string]string{
	"number": ", such as -1.5", "bool": ": true or false", "time": ", such as 2026-01-02T15:04:05Z", "geo": ", such as 48.1,11.5",
}
