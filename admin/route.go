package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/valyala/fasthttp"

	"muster/registry/account"
)

// scope is a right that a route needs.
type scope uint8

const (
	open      scope = iota // nobody needs to be known
	read                   // see the fleet and its telemetry
	telemetry              // bring telemetry of other programs
	fleet                  // change things and thing types
	identity               // pre-authorize keys, revoke certificates
	auditing               // read the audit log
	accounts               // users, tokens, access keys
	loopback               // read, or a program on this machine
)

func (s scope) String() string {
	return [...]string{"open", "read", "telemetry", "fleet", "identity", "audit", "accounts", "loopback"}[s]
}

// allows is the whole authorization: which role has which right.
func allows(role account.Role, need scope) bool {
	switch need {
	case open:
		return true
	case read, loopback:
		return role != ""
	case fleet, telemetry:
		return role == account.Operator || role == account.Admin
	case identity, auditing:
		return role == account.Security || role == account.Admin
	case accounts:
		return role == account.Admin
	}
	return false
}

// route is a row of a table. A segment {x} of the pattern stands for any one segment of a path.
type route struct {
	method  string
	pattern string
	op      string // name in metrics and audit lines
	scope   scope
	audited bool // a line for every answer, not only for refusals
	handle  endpoint
	about   string // what it does, for the OpenAPI document; the names of AWS's operations say enough
	query   string // the parameters of the query that the endpoint reads, see parameters
	headers string // and the headers
	reads   string // media type of a request body that is not JSON
	gives   string // and of an answer
	// readsByPost marks a POST that changes nothing: a cookie is enough, without X-Muster.
	readsByPost bool
}

// endpoint is what answers the calls of a route. The types are for the OpenAPI document.
type endpoint struct {
	run     func(ctx context.Context, s *Server, c *call) (any, error) // a value that becomes JSON, *noContent or *written
	in, out reflect.Type                                               // of the JSON bodies; nil: another body, or none
	status  int                                                        // of the answer
}

// noContent is an answer without a body.
type noContent struct{}

// written says that a handler has written the answer.
type written struct{}

// plain makes an endpoint of a function that takes no JSON body.
func plain[Out any](f func(ctx context.Context, s *Server, c *call) (*Out, error)) endpoint {
	return answers[Out](endpoint{run: func(ctx context.Context, s *Server, c *call) (any, error) { return f(ctx, s, c) }})
}

// body makes an endpoint of a function that takes a JSON body.
func body[In, Out any](f func(ctx context.Context, s *Server, c *call, in In) (*Out, error)) endpoint {
	return takes[In](plain(func(ctx context.Context, s *Server, c *call) (*Out, error) {
		var in In
		if err := decodeStrict(c.http.PostBody(), &in); err != nil {
			return nil, err
		}
		return f(ctx, s, c, in)
	}))
}

// takes says that an endpoint reads a JSON body, whatever else it reads.
func takes[In any](e endpoint) endpoint {
	e.in = reflect.TypeFor[In]()
	return e
}

// answers says what an endpoint answers.
func answers[Out any](e endpoint) endpoint {
	e.out, e.status = reflect.TypeFor[Out](), fasthttp.StatusOK
	switch e.out {
	case reflect.TypeFor[noContent]():
		e.out, e.status = nil, fasthttp.StatusNoContent
	case reflect.TypeFor[written]():
		e.out = nil
	}
	return e
}

// creates says that the answer of an endpoint has the status 201.
func creates(e endpoint) endpoint {
	e.status = fasthttp.StatusCreated
	return e
}

// decodeStrict reads one JSON value into v. Fields that v does not have are refused: a typing error must not be
// taken for a default.
func decodeStrict(text []byte, v any) error {
	if len(text) == 0 {
		return invalid("the request needs a JSON body")
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return invalid("the body is not the JSON this request takes: %s", wrongJSON(err))
	}
	if decoder.More() {
		return invalid("the body has more than one JSON value")
	}
	return nil
}

// wrongJSON says what is wrong with a JSON text, in the words of those who wrote it.
func wrongJSON(err error) string {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || e.Field == "" {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	want := "a number"
	switch e.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice:
		want = "a list"
	case reflect.Map, reflect.Struct:
		want = "an object"
	}
	return fmt.Sprintf("%s must be %s, it is a JSON %s", e.Field[strings.LastIndexByte(e.Field, '.')+1:], want, e.Value)
}

// table finds the route of a request.
type table struct {
	domains []domain
	byPath  map[pathKey][]compiled
}

type pathKey struct {
	first    string // the first segment, so that few rows are compared
	segments int
}

type compiled struct {
	route    *route
	segments []string
}

// newTable makes a table of the routes of domains. Where two patterns fit a path, the one that comes first wins.
func newTable(domains []domain) *table {
	t := &table{domains: domains, byPath: map[pathKey][]compiled{}}
	for _, d := range domains {
		for i := range d.routes {
			r := &d.routes[i]
			segments := strings.Split(strings.TrimPrefix(r.pattern, "/"), "/")
			key := pathKey{segments[0], len(segments)}
			t.byPath[key] = append(t.byPath[key], compiled{r, segments})
		}
	}
	return t
}

// match returns the route of method and the decoded segments of a path, and what the {x} of its pattern stand for.
// known is true when the path is there with another method.
func (t *table) match(method string, segments []string) (r *route, labels []string, known bool) {
	for _, c := range t.byPath[pathKey{segments[0], len(segments)}] {
		labels, ok := matchSegments(c.segments, segments)
		if !ok {
			continue
		}
		known = true
		if c.route.method == method {
			return c.route, labels, true
		}
	}
	return nil, nil, known
}

func matchSegments(pattern, segments []string) (labels []string, ok bool) {
	for i, p := range pattern {
		if strings.HasPrefix(p, "{") {
			labels = append(labels, segments[i])
		} else if p != segments[i] {
			return nil, false
		}
	}
	return labels, true
}

// errEncoding is the error for a path that cannot be decoded.
var errEncoding = errors.New("the path has a percent sign that is no encoding")

// splitPath cuts a path as it was on the wire into decoded segments. An encoded slash stays inside its segment.
func splitPath(path string) ([]string, error) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, errEncoding
		}
		segments[i] = decoded
	}
	return segments, nil
}
