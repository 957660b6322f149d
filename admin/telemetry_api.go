package admin

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"muster/tsdb/intake"
)

// Raw hands out samples as they are stored; the bodies are not JSON documents as those of Query are.
type Raw interface {
	// RemoteRead answers a Prometheus remote read: with answer, or where run is not nil with what run writes.
	RemoteRead(ctx context.Context, body []byte) (run func(ctx context.Context, w io.Writer) error, status int, contentType, encoding string, answer []byte)
	// Export checks the parameters of an export and returns what writes it, or nil and the refusal.
	Export(form url.Values) (run func(ctx context.Context, w io.Writer) error, status int, contentType string, answer []byte)
	// DeleteSeries deletes telemetry of other programs, as Prometheus' delete_series does.
	DeleteSeries(ctx context.Context, form url.Values) (status int, contentType string, answer []byte)
}

// formType is the media type of what HTML forms send; Prometheus' API takes its parameters so.
const formType = "application/x-www-form-urlencoded"

// takesTelemetry says whether a path takes telemetry of other programs, whose bodies may be larger than others.
func takesTelemetry(uri string) bool {
	path, _, _ := strings.Cut(uri, "?")
	switch path {
	case intake.PathRemoteWrite, intake.PathImport, intake.PathInflux, intake.PathInflux2:
		return true
	}
	return false
}

// takeTelemetry hands samples of another program to the store, and answers when they are on disk.
func takeTelemetry(ctx context.Context, s *Server, c *call) (*written, error) {
	if s.opts.Intake == nil {
		return nil, notFound("this gateway takes no telemetry of other programs")
	}
	header := &c.http.Request.Header
	resp := s.opts.Intake(ctx, intake.Request{
		Path:   string(c.http.URI().PathOriginal()),
		Form:   formOf(c.http.QueryArgs()),
		Header: func(name string) string { return string(header.Peek(name)) },
		Body:   c.http.PostBody(),
	})
	c.http.SetStatusCode(resp.Status)
	if resp.ContentType != "" {
		c.http.SetContentType(resp.ContentType)
	}
	for _, h := range resp.Header {
		c.http.Response.Header.Set(h[0], h[1])
	}
	c.http.SetBody(resp.Body)
	return &written{}, nil
}

// remoteRead hands out raw samples to a Prometheus.
func remoteRead(ctx context.Context, s *Server, c *call) (*written, error) {
	if s.opts.Raw == nil {
		return nil, notFound("this gateway answers no queries")
	}
	run, status, contentType, encoding, answer := s.opts.Raw.RemoteRead(ctx, c.http.PostBody())
	if run != nil {
		s.stream(c, contentType, "a remote read", run)
		return &written{}, nil
	}
	c.http.SetStatusCode(status)
	c.http.SetContentType(contentType)
	if encoding != "" {
		c.http.Response.Header.Set("Content-Encoding", encoding)
	}
	c.http.SetBody(answer)
	return &written{}, nil
}

// deleteSeries deletes what other programs have sent.
func deleteSeries(ctx context.Context, s *Server, c *call) (*written, error) {
	if s.opts.Raw == nil {
		return nil, notFound("this gateway takes no telemetry of other programs")
	}
	form := formOf(c.http.QueryArgs())
	for key, value := range c.http.PostArgs().All() {
		form.Add(string(key), string(value))
	}
	status, contentType, answer := s.opts.Raw.DeleteSeries(ctx, form)
	c.http.SetStatusCode(status)
	if contentType != "" {
		c.http.SetContentType(contentType)
	}
	c.http.SetBody(answer)
	return &written{}, nil
}

// exportTelemetry streams raw samples as JSON lines, for as long as the client reads them. An export that fails on the way ends with
// the connection, so that no client takes a part for the whole.
func exportTelemetry(_ context.Context, s *Server, c *call) (*written, error) {
	if s.opts.Raw == nil {
		return nil, notFound("this gateway answers no queries")
	}
	run, status, contentType, answer := s.opts.Raw.Export(formOf(c.http.QueryArgs()))
	if run == nil {
		c.http.SetStatusCode(status)
		c.http.SetContentType(contentType)
		c.http.SetBody(answer)
		return &written{}, nil
	}
	s.stream(c, "application/stream+json", "an export", run)
	return &written{}, nil
}

// stream answers with what run writes, for as long as the client reads it.
func (s *Server) stream(c *call, contentType, what string, run func(ctx context.Context, w io.Writer) error) {
	conn, id := c.http.Conn(), c.id
	c.http.SetContentType(contentType)
	c.http.SetBodyStreamWriter(func(w *bufio.Writer) {
		// The deadline that fasthttp set is for a whole answer; here it is for one line or frame.
		err := run(s.streams, writerFunc(func(part []byte) (int, error) {
			if err := conn.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)); err != nil {
				return 0, err
			}
			return w.Write(part)
		}))
		if err != nil {
			s.log.Warn(what+" ended early", "request", id, "err", err)
			conn.Close()
		}
	})
}

// writerFunc makes an io.Writer of a function.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func formOf(args *fasthttp.Args) url.Values {
	form := url.Values{}
	for key, value := range args.All() {
		form.Add(string(key), string(value))
	}
	return form
}
