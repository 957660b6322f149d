package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"muster/admin/audit"
	"muster/admin/sigv4"
	"muster/registry/account"
)

// call is one request on its way through. It is used by one goroutine and is gone when the answer is written.
type call struct {
	http   *fasthttp.RequestCtx
	id     string // of the request, in answers, log and audit lines
	remote netip.Addr
	who    account.Principal // zero: nobody
	op     string
	route  *route   // nil until it is known
	labels []string // what the {x} of the route's pattern stand for
	target string   // for the audit line
	shape  shape    // of errors
}

const revisionHeader = "X-Muster-Revision"

// shape is the form of an error's body.
type shape uint8

const (
	ours shape = iota // {"error":{"kind","message"}}
	aws               // {"message"} and the header x-amzn-errortype
)

// serve is fasthttp's handler.
func (s *Server) serve(http *fasthttp.RequestCtx) {
	begin := time.Now()
	c := &call{
		http: http, op: "none",
		id:     s.nextID(),
		remote: addressOf(http.RemoteAddr()),
	}
	if isLocal(http) {
		c.who = localCaller
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic while serving a request", "request", c.id, "op", c.op, "panic", p, "stack", string(debug.Stack()))
			s.fail(c, errors.New("panic"))
		}
		s.measure(c.op, http.Response.StatusCode(), time.Since(begin))
	}()
	s.setHeaders(c)
	s.dispatch(c)
}

// nextID returns the id of a request, which is new with each.
func (s *Server) nextID() string {
	n := strconv.FormatUint(s.lastID.Add(1), 16)
	return s.ids + "-" + "000000"[:max(6-len(n), 0)] + n
}

// measured is what the metrics of a request are told apart by; op is the name of a route or one of a few fixed words.
type measured struct {
	op    string
	class int // of the status: 2 for 2xx
}

// requestMetrics are the metrics of one of them.
type requestMetrics struct {
	count *metrics.Counter
	took  *metrics.Histogram
}

// measure counts a request.
func (s *Server) measure(op string, status int, took time.Duration) {
	key := measured{op, status / 100}
	known, ok := s.measures.Load(key)
	if !ok {
		known, _ = s.measures.LoadOrStore(key, requestMetrics{
			count: s.opts.Metrics.GetOrCreateCounter(fmt.Sprintf(`muster_admin_requests_total{op=%q,code="%dxx"}`, key.op, key.class)),
			took:  s.opts.Metrics.GetOrCreateHistogram(fmt.Sprintf(`muster_admin_request_duration_seconds{op=%q}`, key.op)),
		})
	}
	m := known.(requestMetrics)
	m.count.Inc()
	m.took.Update(took.Seconds())
}

// dispatch finds the table for a request, and its route in it.
func (s *Server) dispatch(c *call) {
	header := &c.http.Request.Header
	path := string(c.http.URI().PathOriginal())
	segments, err := splitPath(path)
	if err != nil {
		if strings.HasPrefix(path, "/iot") {
			c.shape = aws
		}
		s.fail(c, invalid("%v", err))
		return
	}
	method := string(c.http.Method())
	if strings.HasPrefix(string(header.Peek("Authorization")), sigv4.Scheme) || c.http.QueryArgs().Has("X-Amz-Signature") {
		s.serveSigned(c, method, path, segments)
		return
	}
	if segments[0] == "iot" && len(segments) > 1 {
		c.shape = aws
		s.answer(c, s.iot, method, segments[1:])
		return
	}
	if segments[0] == "iot-data" && len(segments) > 1 {
		c.shape = aws
		s.answer(c, s.data, method, joinTopic(segments[1:]))
		return
	}
	if method == fasthttp.MethodHead {
		method = fasthttp.MethodGet // fasthttp leaves the body out
	}
	r, _, _ := s.api.match(method, segments)
	if r == nil && segments[0] == "prometheus" && len(segments) > 1 {
		s.answerRoute(c, promRoute(method), nil)
		return
	}
	if r == nil && s.isFile(segments) {
		c.op = "ui"
		s.serveFile(c, segments)
		return
	}
	s.answer(c, s.api, method, segments)
}

// answer finds the route of a request in a table and runs it.
func (s *Server) answer(c *call, t *table, method string, segments []string) {
	r, labels, known := t.match(method, segments)
	switch {
	case r != nil:
		s.answerRoute(c, r, labels)
	case known:
		s.fail(c, &apiError{status: fasthttp.StatusMethodNotAllowed, kind: "method", awsType: "UnknownOperationException",
			message: fmt.Sprintf("%s is not a method of this path", method)})
	default:
		s.fail(c, &apiError{status: fasthttp.StatusNotFound, kind: "notFound", awsType: "UnknownOperationException",
			message: fmt.Sprintf("this gateway has no %s %s", method, c.http.URI().PathOriginal())})
	}
}

// answerRoute checks who calls and runs the route.
func (s *Server) answerRoute(c *call, r *route, labels []string) {
	c.op, c.route, c.labels = r.op, r, labels
	if len(labels) > 0 {
		c.target = labels[0]
	}
	ctx, cancel := context.WithTimeout(s.ctx, handlerTimeout)
	defer cancel()
	err := s.admit(ctx, c, r)
	if err == nil {
		err = s.run(ctx, c, r)
	}
	if err != nil {
		s.fail(c, err)
	}
	s.record(c, r, err)
}

// run calls the handler and writes its answer.
func (s *Server) run(ctx context.Context, c *call, r *route) error {
	answer, err := r.handle.run(ctx, s, c)
	if err != nil {
		return err
	}
	if r.scope == fleet {
		// A write that returned is in this revision: queries may ask for it as minRevision.
		c.http.Response.Header.Set(revisionHeader, strconv.FormatInt(s.registry.Revision(), 10))
	}
	switch answer.(type) {
	case *written:
		return nil
	case *noContent:
		c.http.SetStatusCode(fasthttp.StatusNoContent)
		return nil
	}
	return writeJSON(c, r.handle.status, answer)
}

// record writes the audit line of a call: of every one whose route says so, and of every refusal of a right.
func (s *Server) record(c *call, r *route, err error) {
	status := c.http.Response.StatusCode()
	denied := status == fasthttp.StatusUnauthorized || status == fasthttp.StatusForbidden || status == fasthttp.StatusTooManyRequests
	if !r.audited && !denied {
		return
	}
	// A page that asks whether it is signed in, and is not, is no attempt.
	if denied && c.who.Name == "" && !r.audited && !hasCredential(c) {
		return
	}
	// What strangers cause is bounded, and does not make the disk work: login attempts, enrolments.
	stranger := err != nil && (denied || c.who.Name == "")
	if stranger && !s.refusal.take() {
		return
	}
	result := "ok"
	if err != nil {
		result = describe(err).kind
	}
	line := audit.Entry{
		Who: c.who.Name, Role: string(c.who.Role), Via: c.who.Via, From: c.from(),
		Operation: c.op, Target: short(c.target), Result: result, Status: status, RequestID: c.id,
	}
	if err := s.audit.Append(line, r.audited && !stranger); err != nil {
		s.log.Error("audit line lost", "err", err, "request", c.id, "op", c.op, "who", c.who.Name)
	}
}

// from is where a request came from.
func (c *call) from() string {
	if isLocal(c.http) {
		return "local"
	}
	return c.remote.String()
}

// short cuts a name from the network to what an audit line takes.
func short(name string) string { return name[:min(len(name), 256)] }

// hasCredential says whether the caller sent something that should prove who they are.
func hasCredential(c *call) bool {
	h := &c.http.Request.Header
	return len(h.Peek("Authorization")) > 0 || len(h.Cookie(cookieName)) > 0
}
