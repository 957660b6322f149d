package admin

import (
	"context"
	"net/url"

	"github.com/valyala/fasthttp"
)

// promRoute is the route of a request under /prometheus that no row has: calls that say nothing here but that Grafana makes, and
// POST instead of GET. All have one operation, or clients could fill the metrics with theirs.
func promRoute(method string) *route {
	r := &route{method: method, pattern: "/prometheus", op: "prometheus", scope: read, readsByPost: true, handle: plain(query)}
	if method != fasthttp.MethodGet && method != fasthttp.MethodPost {
		r.handle = plain(func(context.Context, *Server, *call) (*written, error) {
			return nil, &apiError{status: fasthttp.StatusMethodNotAllowed, kind: "method", message: "the Prometheus API takes GET and POST"}
		})
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
