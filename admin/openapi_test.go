package admin_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"muster/admin"
	"muster/registry/account"
)

// apiDocument is the part of the OpenAPI document that the tests look at.
type apiDocument struct {
	OpenAPI    string
	Info       struct{ Title, Version string }
	Tags       []struct{ Name string }
	Paths      map[string]map[string]apiOperation
	Components struct {
		Schemas         map[string]*apiSchema
		Responses       map[string]apiResponse
		SecuritySchemes map[string]json.RawMessage
	}
}

type apiOperation struct {
	OperationID, Summary string
	Tags                 []string
	Parameters           []struct {
		Name, In, Description string
		Required              bool
		Schema                *apiSchema
	}
	RequestBody *struct {
		Content map[string]struct{ Schema *apiSchema }
	}
	Responses map[string]apiResponse
	Security  []map[string][]string
	Scope     string `json:"x-muster-scope"`
}

type apiResponse struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]struct{ Schema *apiSchema }
}

type apiSchema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Enum                 []string
	Items                *apiSchema
	Properties           map[string]*apiSchema
	AdditionalProperties *apiSchema
	Required             []string
}

// document is that of the tables of routes.
var document = sync.OnceValues(func() (*apiDocument, error) {
	text, err := admin.OpenAPI("test")
	if err != nil {
		return nil, err
	}
	doc := &apiDocument{}
	return doc, json.Unmarshal(text, doc)
})

func (d *apiDocument) response(r apiResponse) (apiResponse, bool) {
	if r.Ref == "" {
		return r, true
	}
	name, _ := strings.CutPrefix(r.Ref, "#/components/responses/")
	found, ok := d.Components.Responses[name]
	return found, ok
}

func (d *apiDocument) schema(s *apiSchema) *apiSchema {
	for s != nil && s.Ref != "" {
		name, _ := strings.CutPrefix(s.Ref, "#/components/schemas/")
		s = d.Components.Schemas[name]
	}
	return s
}

// wrong returns what is not as a schema says, "" where all is. where is for messages.
func (d *apiDocument) wrong(where string, s *apiSchema, v any) string {
	s = d.schema(s)
	if s == nil {
		return where + ": there is no such schema"
	}
	if s.Type == "" {
		return ""
	}
	is := map[string]bool{}
	switch v := v.(type) {
	case string:
		is["string"] = s.Enum == nil || slices.Contains(s.Enum, v)
	case json.Number:
		_, err := v.Int64()
		is["number"], is["integer"] = true, err == nil
	case bool:
		is["boolean"] = true
	case []any:
		is["array"] = true
		for i, x := range v {
			if s.Items != nil {
				if problem := d.wrong(fmt.Sprintf("%s[%d]", where, i), s.Items, x); problem != "" {
					return problem
				}
			}
		}
	case map[string]any:
		is["object"] = true
		for name, x := range v {
			inner := s.Properties[name]
			if inner == nil {
				inner = s.AdditionalProperties
			}
			if inner == nil {
				return fmt.Sprintf("%s.%s is not declared", where, name)
			}
			if problem := d.wrong(where+"."+name, inner, x); problem != "" {
				return problem
			}
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Sprintf("%s.%s is missing", where, name)
			}
		}
	}
	if !is[s.Type] {
		return fmt.Sprintf("%s is %v, not of type %s %v", where, v, s.Type, s.Enum)
	}
	return ""
}

// find returns the operation of a request; the path with more literal segments wins.
func (d *apiDocument) find(method, path string) (op apiOperation, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	segments := strings.Split(path, "/")
	best := -1
	for pattern, methods := range d.Paths {
		parts := strings.Split(pattern, "/")
		if len(parts) != len(segments) {
			continue
		}
		literal, fits := 0, true
		for i, p := range parts {
			if p == segments[i] {
				literal++
			} else if !strings.HasPrefix(p, "{") {
				fits = false
			}
		}
		if candidate, has := methods[strings.ToLower(method)]; fits && has && literal > best {
			op, best = candidate, literal
		}
	}
	return op, best >= 0
}

// checkAnswer fails the test where an answer is not what the OpenAPI document says. Requests that are signed have other paths.
func checkAnswer(r reply, req *http.Request) {
	r.t.Helper()
	doc, err := document()
	if err != nil {
		r.t.Fatal(err)
	}
	checkException(r, req)
	if strings.HasPrefix(req.Header.Get("Authorization"), "AWS4") || req.URL.Query().Has("X-Amz-Signature") || req.Method == http.MethodHead {
		return
	}
	op, ok := doc.find(req.Method, req.URL.EscapedPath())
	if !ok {
		return
	}
	answer, ok := op.Responses[strconv.Itoa(r.status)]
	switch {
	case ok:
	case r.status >= 400:
		answer, ok = op.Responses["default"]
	case r.status/100 == 2:
		answer, ok = op.Responses["2XX"]
	}
	if !ok {
		r.t.Errorf("%s answered %d, which the OpenAPI document does not have", op.OperationID, r.status)
		return
	}
	if r.status == http.StatusRequestEntityTooLarge && r.text == "" {
		return // was asked with Expect: 100-continue, whose refusal has no body
	}
	answer, _ = doc.response(answer)
	content, ok := answer.Content["application/json"]
	if !ok || r.text == "" || r.header.Get("Content-Type") != "application/json" {
		if ok && (r.text == "" || op.Scope != "read") {
			r.t.Errorf("%s %d has no JSON: %q", op.OperationID, r.status, r.text)
		}
		return
	}
	if op.OperationID == "ready" && r.status == http.StatusServiceUnavailable || strings.HasPrefix(op.OperationID, "prometheus") {
		return // says in the form of the answer why not; another program's form
	}
	var v any
	decoder := json.NewDecoder(strings.NewReader(r.text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		r.t.Errorf("%s: %v", op.OperationID, err)
		return
	}
	if problem := doc.wrong(fmt.Sprintf("%s %d", op.OperationID, r.status), content.Schema, v); problem != "" {
		r.t.Errorf("not as the OpenAPI document says: %s", problem)
	}
}

// The document keeps the rules of OpenAPI 3.1 that clients and generators rely on.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil)
	g.send(g.client, "GET", "/api/openapi.json", "").want(401)
	answer := g.as(g.token(account.Viewer), "GET", "/api/openapi.json", "").want(200)
	doc := &apiDocument{}
	answer.json(doc)
	if doc.OpenAPI != "3.1.0" || doc.Info.Title == "" || doc.Info.Version != "test" || len(doc.Paths) < 100 {
		t.Fatalf("%s %+v, %d paths", doc.OpenAPI, doc.Info, len(doc.Paths))
	}
	var everything any
	answer.json(&everything)
	var checkRefs func(v any)
	checkRefs = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				checkRefs(x)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				at := everything
				for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					at = at.(map[string]any)[name]
				}
				if at == nil || len(v) != 1 {
					t.Errorf("%s leads nowhere, or has something beside it", ref)
				}
			}
			for _, x := range v {
				checkRefs(x)
			}
		}
	}
	checkRefs(everything)
	tags := map[string]bool{}
	for _, tag := range doc.Tags {
		if tags[tag.Name] {
			t.Errorf("tag %s is there twice", tag.Name)
		}
		tags[tag.Name] = true
	}
	ids := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			where := method + " " + path
			if other, twice := ids[op.OperationID]; twice || op.OperationID == "" {
				t.Errorf("%s and %s have the operation id %q", where, other, op.OperationID)
			}
			ids[op.OperationID] = where
			if op.Summary == "" || strings.HasSuffix(op.Summary, ".") || op.Scope == "" || len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s: summary %q, scope %q, tags %v", where, op.Summary, op.Scope, op.Tags)
			}
			if !strings.HasPrefix(path, "/iot") && !strings.Contains(op.Summary, " ") && !slices.Contains([]string{"Users"}, op.Summary) {
				t.Errorf("%s needs a sentence: %q says nothing", where, op.Summary)
			}
			inPath := map[string]bool{}
			seen := map[string]bool{}
			for _, p := range op.Parameters {
				if seen[p.In+p.Name] || p.Schema == nil || p.Schema.Type == "" || p.Required != (p.In == "path") || p.In != "path" && p.Description == "" {
					t.Errorf("%s: parameter %+v", where, p)
				}
				seen[p.In+p.Name] = true
				if p.In == "path" {
					inPath[p.Name] = true
				}
			}
			for segment := range strings.SplitSeq(path, "/") {
				if name, ok := strings.CutPrefix(segment, "{"); ok {
					name = strings.TrimSuffix(name, "}")
					if !inPath[name] {
						t.Errorf("%s: {%s} is not declared", where, name)
					}
					delete(inPath, name)
				}
			}
			if len(inPath) > 0 {
				t.Errorf("%s: the path has no %v", where, inPath)
			}
			good := 0
			for status, r := range op.Responses {
				resolved, ok := doc.response(r)
				if !ok || resolved.Description == "" {
					t.Errorf("%s: response %s %+v", where, status, r)
				}
				if status[0] == '1' || status[0] == '2' {
					good++
				}
				for media, content := range resolved.Content {
					if doc.schema(content.Schema) == nil {
						t.Errorf("%s: response %s %s has no schema", where, status, media)
					}
				}
			}
			if _, ok := op.Responses["default"]; !ok || good != 1 {
				t.Errorf("%s: %d good answers, failures: %v", where, good, ok)
			}
			for _, needed := range op.Security {
				for name := range needed {
					if doc.Components.SecuritySchemes[name] == nil {
						t.Errorf("%s: no security scheme %s", where, name)
					}
				}
			}
			if (len(op.Security) == 0) != (op.Scope == "open") {
				t.Errorf("%s: security %v with the scope %s", where, op.Security, op.Scope)
			}
		}
	}
	for name, s := range doc.Components.Schemas {
		for _, required := range s.Required {
			if s.Properties[required] == nil {
				t.Errorf("schema %s requires %s, which it has not", name, required)
			}
		}
	}
	// known shapes, written down here apart from the code
	f := func(method, path, schema string) {
		t.Helper()
		op, ok := doc.find(method, path)
		if got := op.Responses["200"].Content["application/json"].Schema; !ok || got == nil || got.Ref != "#/components/schemas/"+schema {
			t.Errorf("%s %s answers %+v, want %s", method, path, got, schema)
		}
	}
	f("GET", "/iot/things/lamp-1", "ThingDescription")
	f("POST", "/iot/indices/search", "SearchOutput")
	f("GET", "/api/things/lamp-1", "ThingDetail")
	if s := doc.Components.Schemas["ThingDescription"]; s.Properties["version"].Type != "integer" || s.Properties["attributes"].AdditionalProperties.Type != "string" ||
		!slices.Contains(s.Required, "thingArn") || slices.Contains(s.Required, "thingTypeName") {
		t.Errorf("%+v", s)
	}
	if s := doc.Components.Schemas["CreateThingInput"]; s == nil || len(s.Required) != 0 {
		t.Errorf("%+v", s)
	}
}

// What a route reads of the query and the headers is declared in its row, and the other way round. Read from the source, so that
// no way through a handler is forgotten.
func TestParametersAreDeclared(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]string{}
	type function struct{ reads, uses []string }
	functions := map[string]*function{}
	type row struct{ op, declared, handle ast.Expr }
	var rows []row
	text := func(e ast.Expr) string { return textOf(e, constants) }
	var parsed []*ast.File
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for i, name := range v.Names {
					if i < len(v.Values) {
						if s := textOf(v.Values[i], constants); s != "" {
							constants[name.Name] = s
						}
					}
				}
			}
			return true
		})
	}
	for _, f := range parsed {
		for _, d := range f.Decls {
			decl, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			fn := functions[decl.Name.Name]
			if fn == nil {
				fn = &function{}
				functions[decl.Name.Name] = fn
			}
			ast.Inspect(decl.Body, func(n ast.Node) bool {
				called, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				switch f := called.Fun.(type) {
				case *ast.Ident:
					fn.uses = append(fn.uses, f.Name)
					if f.Name == "intArg" || f.Name == "boolArg" || f.Name == "nameArg" {
						fn.reads = append(fn.reads, text(called.Args[1]))
					}
				case *ast.SelectorExpr:
					on, ok := f.X.(*ast.Ident)
					switch {
					case ok && on.Name == "c" && (f.Sel.Name == "arg" || f.Sel.Name == "header"):
						fn.reads = append(fn.reads, text(called.Args[0]))
					case ok && (on.Name == "s" || on.Name == "in"):
						fn.uses = append(fn.uses, f.Sel.Name)
						if f.Sel.Name == "identityAndFlag" {
							fn.reads = append(fn.reads, text(called.Args[1]))
						}
					}
				}
				return true
			})
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			fields := map[string]ast.Expr{}
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if id, ok := kv.Key.(*ast.Ident); ok {
						fields[id.Name] = kv.Value
					}
				}
			}
			if fields["pattern"] != nil && fields["handle"] != nil {
				rows = append(rows, row{fields["op"], fields["query"], fields["handle"]})
				if fields["headers"] != nil {
					rows[len(rows)-1].declared = &ast.BinaryExpr{X: orText(fields["query"]), Op: token.ADD, Y: &ast.BinaryExpr{
						X: &ast.BasicLit{Kind: token.STRING, Value: `" "`}, Op: token.ADD, Y: fields["headers"]}}
				}
			}
			return true
		})
	}
	// What is taken as a whole is passed on to another package.
	passedOn := []string{"query", "takeTelemetry", "deleteSeries", "exportTelemetry"}
	checked := 0
	for _, r := range rows {
		declared := map[string]bool{}
		for name := range strings.FieldsSeq(text(r.declared)) {
			declared[name] = true
		}
		reads, done, whole := map[string]bool{}, map[string]bool{}, false
		var follow func(name string)
		follow = func(name string) {
			if done[name] || functions[name] == nil {
				return
			}
			done[name] = true
			for _, read := range functions[name].reads {
				if read != "" {
					reads[read] = true
				}
			}
			for _, used := range functions[name].uses {
				follow(used)
			}
		}
		ast.Inspect(r.handle, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name != "plain" && id.Name != "body" && id.Name != "awsBody" {
				whole = whole || slices.Contains(passedOn, id.Name)
				follow(id.Name)
			}
			return true
		})
		if whole {
			continue
		}
		checked++
		if !maps.Equal(declared, reads) {
			t.Errorf("%s declares %v and reads %v", text(r.op), slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(reads)))
		}
	}
	if checked < 120 {
		t.Fatalf("only %d rows were found", checked)
	}
}

func orText(e ast.Expr) ast.Expr {
	if e == nil {
		return &ast.BasicLit{Kind: token.STRING, Value: `""`}
	}
	return e
}

// textOf returns the value of a constant expression of texts, "" for all others.
func textOf(e ast.Expr, constants map[string]string) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.Ident:
		return constants[e.Name]
	case *ast.BinaryExpr:
		return textOf(e.X, constants) + textOf(e.Y, constants)
	}
	return ""
}
