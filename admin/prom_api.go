package admin

import (
	"context"
	"net/url"

	"github.com/valyala/fasthttp"
)

// promRoute is the route of a request under /prometheus: what is answered by GET or POST reads, the rest does not exist.
func promRoute(method string, segments []string) *route {
	r := &route{method: method, pattern: "/prometheus", op: "prometheus", scope: read, readsByPost: true, handle: plain(query)}
	if method != fasthttp.MethodGet && method != fasthttp.MethodPost {
		r.handle = plain(func(context.Context, *Server, *call) (*written, error) {
			return nil, &apiError{status: fasthttp.StatusMethodNotAllowed, kind: "method", message: "the Prometheus API takes GET and POST"}
		})
	}
	// One label per call of the API, so that a slow kind of query shows; only names that exist, or clients could
	// fill the metrics with theirs.
	if len(segments) == 4 {
		switch name := segments[3]; name {
		case "query", "query_range", "series", "labels", "metadata":
			r.op = "prometheus_" + name
		}
	}
	return r
}

// query hands a request to the Prometheus API. The time limit stands in for the client that has gone: fasthttp does not
// tell when a connection is closed while a request runs.
func query(ctx context.Context, s *Server, c *call) (*written, error) {
	if s.opts.Query == nil {
		return nil, notFound("this gateway answers no queries")
	}
	form := url.Values{}
	add := func(args *fasthttp.Args) {
		for key, value := range args.All() {
			form.Add(string(key), string(value))
		}
	}
	add(c.http.QueryArgs())
	add(c.http.PostArgs())
	ctx, cancel := context.WithTimeout(ctx, s.opts.QueryTimeout)
	defer cancel()
	path := string(c.http.URI().PathOriginal())[len("/prometheus"):]
	status, contentType, text := s.opts.Query(ctx, string(c.http.Method()), path, form)
	c.http.SetStatusCode(status)
	c.http.SetContentType(contentType)
	c.http.SetBody(text)
	return &written{}, nil
}
