package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/valyala/fasthttp"

	"muster/registry/account"
)

// The parts of an OpenAPI 3.1 document that this API needs (https://spec.openapis.org/oas/v3.1.0).
type (
	openAPI struct {
		OpenAPI    string                           `json:"openapi"`
		Info       openAPIInfo                      `json:"info"`
		Servers    []openAPIServer                  `json:"servers"`
		Tags       []openAPITag                     `json:"tags"`
		Paths      map[string]map[string]*operation `json:"paths"` // by path and method in lower case
		Components components                       `json:"components"`
	}
	openAPIInfo struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	openAPIServer struct {
		URL         string `json:"url"`
		Description string `json:"description"`
	}
	openAPITag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	components struct {
		Schemas   map[string]*schema        `json:"schemas"`
		Responses map[string]response       `json:"responses"`
		Security  map[string]securityScheme `json:"securitySchemes"`
	}
	operation struct {
		ID          string                `json:"operationId"`
		Tags        []string              `json:"tags"`
		Summary     string                `json:"summary"`
		Description string                `json:"description"`
		Docs        *externalDocs         `json:"externalDocs,omitempty"`
		Parameters  []openAPIParameter    `json:"parameters,omitempty"`
		Body        *requestBody          `json:"requestBody,omitempty"`
		Responses   map[string]response   `json:"responses"`
		Security    []map[string][]string `json:"security"`
		Scope       string                `json:"x-muster-scope"`
	}
	externalDocs struct {
		URL string `json:"url"`
	}
	openAPIParameter struct {
		Name        string  `json:"name"`
		In          string  `json:"in"`
		Description string  `json:"description,omitempty"`
		Required    bool    `json:"required,omitempty"`
		Schema      *schema `json:"schema"`
	}
	requestBody struct {
		Content map[string]mediaType `json:"content"`
	}
	response struct {
		Ref         string                   `json:"$ref,omitempty"`
		Description string                   `json:"description,omitempty"`
		Headers     map[string]openAPIHeader `json:"headers,omitempty"`
		Content     map[string]mediaType     `json:"content,omitempty"`
	}
	openAPIHeader struct {
		Description string  `json:"description"`
		Schema      *schema `json:"schema"`
	}
	mediaType struct {
		Schema *schema `json:"schema"`
	}
	securityScheme struct {
		Type        string `json:"type"`
		Scheme      string `json:"scheme,omitempty"`
		In          string `json:"in,omitempty"`
		Name        string `json:"name,omitempty"`
		Description string `json:"description"`
	}
)

func getOpenAPI(_ context.Context, s *Server, c *call) (*written, error) {
	return &written{}, writeJSON(c, fasthttp.StatusOK, describeAPI(s.opts.Version, s.api.domains, s.iot.domains, s.data.domains))
}

// OpenAPI returns the OpenAPI 3.1 document of a gateway of this version, as JSON.
func OpenAPI(version string) ([]byte, error) {
	return json.MarshalIndent(describeAPI(version, apiDomains, iotDomains, dataDomains), "", " ")
}

// describeAPI makes the document of the tables of routes.
func describeAPI(version string, api, iot, data []domain) *openAPI {
	schemas := newSchemas()
	for _, domains := range [][]domain{api, iot, data} {
		for _, d := range domains {
			for _, r := range d.routes {
				schemas.takes(r.handle.in)
			}
		}
	}
	doc := &openAPI{
		OpenAPI: "3.1.0",
		Info: openAPIInfo{"muster", version, "Everything that a gateway answers over HTTP. Under /iot and /iot-data are the APIs of AWS IoT; " +
			"requests that are signed (SigV4) leave these first segments of the path out. See docs/api.md."},
		Servers: []openAPIServer{{"/", "this gateway"}},
		Paths:   map[string]map[string]*operation{},
		Components: components{
			Security: map[string]securityScheme{
				"session": {Type: "apiKey", In: "cookie", Name: cookieName, Description: "Set by POST /api/login."},
				"write":   {Type: "apiKey", In: "header", Name: writeHeader, Description: "The value 1, beside a session cookie, where something is changed."},
				"bearer":  {Type: "http", Scheme: "bearer", Description: "A token of POST /api/tokens."},
				"sigv4": {Type: "apiKey", In: "header", Name: "Authorization", Description: "AWS Signature Version 4 with a key of POST /api/access-keys, " +
					"for the service iot or iotdata and any region. The path is then without /iot or /iot-data."},
			},
			Responses: map[string]response{},
		},
	}
	for _, table := range []struct {
		prefix  string
		shape   shape
		domains []domain
	}{{"", ours, api}, {"/iot", aws, iot}, {"/iot-data", aws, data}} {
		for _, d := range table.domains {
			doc.Tags = append(doc.Tags, openAPITag{d.name, d.about})
			for i := range d.routes {
				doc.add(schemas, &d.routes[i], table.prefix, table.shape, d.name)
			}
		}
	}
	failure := func(name string, description string, body any, headers map[string]openAPIHeader) {
		doc.Components.Responses[name] = response{Description: description, Headers: headers, Content: map[string]mediaType{jsonType: {schemas.of(body)}}}
	}
	failure("Failure", "A refusal. kind says what kind it is, message what to do; position, where there is one, is where in a text the mistake is.", failureBody{}, nil)
	failure("AWSFailure", "A refusal in AWS's form.", awsFailure{}, map[string]openAPIHeader{
		errorTypeHeader: {"The name of AWS's exception.", &schema{Type: "string"}},
	})
	doc.Components.Responses["OtherFailure"] = response{Description: "A refusal in the form of the API that this path is of: Prometheus' or InfluxDB's."}
	doc.Components.Schemas = schemas.named
	return doc
}

// awsFailure is the body of a refusal in AWS's form; a conflict names the resource that is in the way.
type awsFailure struct {
	Message     string `json:"message"`
	ResourceID  string `json:"resourceId,omitempty"`
	ResourceARN string `json:"resourceArn,omitempty"`
}

// add puts a route into the document.
func (doc *openAPI) add(schemas *schemas, r *route, prefix string, form shape, tag string) {
	methods := doc.Paths[prefix+r.pattern]
	if methods == nil {
		methods = map[string]*operation{}
		doc.Paths[prefix+r.pattern] = methods
	}
	op := &operation{
		ID: r.op, Tags: []string{tag}, Summary: r.about, Description: r.whoMay(), Security: r.security(form),
		Responses: map[string]response{}, Scope: r.scope.String(),
	}
	for _, other := range methods {
		if other.ID == op.ID {
			op.ID += "_" + strings.ToLower(r.method)
		}
	}
	if r.about == "" {
		op.Summary = words(r.op)
	}
	failure := "Failure"
	if strings.HasPrefix(r.pattern, "/prometheus/") || strings.HasPrefix(r.pattern, "/influx/") {
		failure = "OtherFailure"
	}
	if form == aws {
		failure = "AWSFailure"
		op.Docs = &externalDocs{awsReference + r.op + ".html"}
		if prefix == "/iot-data" {
			op.Docs.URL = awsReference + "iotdata_" + r.op + ".html"
		}
	}
	op.Responses["default"] = response{Ref: "#/components/responses/" + failure}
	for segment := range strings.SplitSeq(r.pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			op.Parameters = append(op.Parameters, openAPIParameter{Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &schema{Type: "string"}})
		}
	}
	for _, from := range []struct{ in, names string }{{"query", r.query}, {"header", r.headers}} {
		for name := range strings.FieldsSeq(from.names) {
			p := parameters[name]
			kind := &schema{Type: p.kind}
			if element, ok := strings.CutPrefix(p.kind, "[]"); ok {
				kind = &schema{Type: "array", Items: &schema{Type: element}}
			}
			op.Parameters = append(op.Parameters, openAPIParameter{Name: name, In: from.in, Description: p.about, Schema: kind})
		}
	}
	op.Body = r.requestBody(schemas)
	status, answer := r.answer(schemas)
	op.Responses[status] = answer
	methods[strings.ToLower(r.method)] = op
}

const awsReference = "https://docs.aws.amazon.com/iot/latest/apireference/API_"

// words makes a sentence of the name of an operation: "ListThingTypes" is "List thing types".
func words(op string) string {
	var out strings.Builder
	letters := []rune(op)
	for i, letter := range letters {
		begins := i > 0 && unicode.IsUpper(letter) && (unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			out.WriteByte(' ')
		}
		alone := i+1 < len(letters) && unicode.IsUpper(letters[i+1]) || i+1 == len(letters)
		if i > 0 && !alone {
			letter = unicode.ToLower(letter)
		}
		out.WriteRune(letter)
	}
	return out.String()
}

// whoMay says in a sentence who may call.
func (r *route) whoMay() string {
	switch r.scope {
	case open:
		return "Needs no credential."
	case loopback:
		return "Needs any credential, except from the gateway's own machine."
	}
	var roles []string
	for _, role := range allRoles {
		if allows(role, r.scope) {
			roles = append(roles, string(role))
		}
	}
	return fmt.Sprintf("Scope %s, which the roles %s have.", r.scope, strings.Join(roles, ", "))
}

var allRoles = []account.Role{account.Viewer, account.Operator, account.Security, account.Admin}

func (r *route) security(form shape) []map[string][]string {
	if r.scope == open {
		return []map[string][]string{}
	}
	session := map[string][]string{"session": {}}
	if r.method != http.MethodGet && !r.readsByPost {
		session["write"] = []string{}
	}
	list := []map[string][]string{session, {"bearer": {}}}
	if form == aws {
		list = append(list, map[string][]string{"sigv4": {}})
	}
	if r.scope == loopback {
		list = append(list, map[string][]string{})
	}
	return list
}

func (r *route) requestBody(schemas *schemas) *requestBody {
	content := map[string]mediaType{}
	if r.handle.in != nil {
		content[jsonType] = mediaType{schemas.ofType(r.handle.in)}
	}
	if r.reads != "" {
		content[r.reads] = mediaType{&schema{}}
	}
	if len(content) == 0 {
		return nil
	}
	return &requestBody{content}
}

// answer returns the status and the form of the answer of a route that did what it was asked for.
func (r *route) answer(schemas *schemas) (status string, answer response) {
	status, answer.Description = strconv.Itoa(r.handle.status), "Done."
	switch {
	case r.handle.out != nil:
		answer.Content = map[string]mediaType{jsonType: {schemas.ofType(r.handle.out)}}
	case r.gives != "":
		answer.Content = map[string]mediaType{r.gives: {&schema{}}}
	case r.pattern == "/mqtt":
		status = strconv.Itoa(http.StatusSwitchingProtocols)
	case r.handle.status != http.StatusNoContent: // what another program's API answers
		status = "2XX"
	}
	if r.scope == fleet {
		answer.Headers = map[string]openAPIHeader{
			revisionHeader: {"The revision of the registry that has the change; queries may ask for it as minRevision.", &schema{Type: "integer"}},
		}
	}
	return status, answer
}
