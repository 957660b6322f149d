package admin

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"muster/pki"
	"muster/registry"
	"muster/registry/account"
	"muster/registry/fleetmetric"
)

// schema is a JSON Schema (2020-12) with the keywords that Go types need.
type schema struct {
	Ref         string             `json:"$ref,omitempty"`
	Type        string             `json:"type,omitempty"` // "": anything
	Description string             `json:"description,omitempty"`
	Format      string             `json:"format,omitempty"`
	Encoding    string             `json:"contentEncoding,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Values      *schema            `json:"additionalProperties,omitempty"`
	Required    []string           `json:"required,omitempty"`
}

// schemas collects those of the types that have a name.
type schemas struct {
	named  map[string]*schema
	names  map[reflect.Type]string
	inputs map[reflect.Type]bool // of requests: no field of them must be there
}

func newSchemas() *schemas {
	return &schemas{map[string]*schema{}, map[reflect.Type]string{}, map[reflect.Type]bool{}}
}

// enums are the types with few values.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[account.Role]():            texts(account.Viewer, account.Operator, account.Security, account.Admin),
	reflect.TypeFor[registry.Status]():         texts(registry.Building, registry.Rebuilding, registry.Active),
	reflect.TypeFor[pki.Status]():              texts(pki.Active, pki.Inactive, pki.Revoked),
	reflect.TypeFor[fleetmetric.Aggregation](): texts(fleetmetric.Statistics, fleetmetric.Percentiles, fleetmetric.Cardinality),
}

func texts[T ~string](values ...T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// takes marks a type and all inside it as part of requests; nil: none.
func (s *schemas) takes(t reflect.Type) {
	if t == nil || s.inputs[t] {
		return
	}
	s.inputs[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		s.takes(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			s.takes(field.Type)
		}
	}
}

func (s *schemas) of(v any) *schema { return s.ofType(reflect.TypeOf(v)) }

// ofType returns the schema of what encoding/json makes of a type.
func (s *schemas) ofType(t reflect.Type) *schema {
	if values := enums[t]; values != nil {
		return &schema{Type: "string", Enum: values}
	}
	switch t {
	case reflect.TypeFor[epochSeconds]():
		return &schema{Type: "number", Description: "Seconds since 1970 in UTC, with three decimals."}
	case reflect.TypeFor[json.RawMessage]():
		return &schema{}
	case reflect.TypeFor[json.Number]():
		return &schema{Type: "number"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.ofType(t.Elem())
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		return &schema{Type: "integer"}
	case reflect.Int64:
		return &schema{Type: "integer", Format: "int64"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: new(0)}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Interface:
		return &schema{}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &schema{Type: "string", Encoding: "base64"}
		}
		return &schema{Type: "array", Items: s.ofType(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Values: s.ofType(t.Elem())}
	case reflect.Struct:
		return s.ofStruct(t)
	}
	panic(fmt.Sprintf("BUG: %v is in a table of routes and cannot be JSON", t))
}

func (s *schemas) ofStruct(t reflect.Type) *schema {
	name := s.names[t]
	if name == "" && t.Name() != "" {
		name = upperFirst(t.Name())
		if s.named[name] != nil {
			name = upperFirst(path.Base(t.PkgPath())) + name
		}
		if s.named[name] != nil {
			panic(fmt.Sprintf("BUG: two types are called %s", name))
		}
		s.names[t] = name
		s.named[name] = &schema{} // known before its fields, which may be of its own type
		*s.named[name] = *s.object(t)
	}
	if name == "" {
		return s.object(t)
	}
	return &schema{Ref: "#/components/schemas/" + name}
}

// object returns the schema of a struct, with the fields of embedded ones.
func (s *schemas) object(t reflect.Type) *schema {
	out := &schema{Type: "object", Properties: map[string]*schema{}}
	for field := range t.Fields() {
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && tag == "":
			inner := s.object(field.Type)
			for name, p := range inner.Properties {
				out.Properties[name] = p
			}
			out.Required = append(out.Required, inner.Required...)
			continue
		case tag == "-" || !field.IsExported():
			continue
		case tag == "":
			tag = field.Name
		}
		out.Properties[tag] = s.ofType(field.Type)
		if !s.inputs[t] && !strings.Contains(options, "omit") {
			out.Required = append(out.Required, tag)
		}
	}
	slices.Sort(out.Required)
	return out
}

func upperFirst(name string) string {
	letters := []rune(name)
	letters[0] = unicode.ToUpper(letters[0])
	return string(letters)
}
