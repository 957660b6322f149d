package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"muster/admin/sigv4"
	"muster/pki"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/account"
	fleetql "muster/registry/query"
)

// apiError is a refusal of admin's own.
type apiError struct {
	status  int
	kind    string // in our shape
	awsType string // in AWS's; "": by status
	message string
	fields  map[string]string // more fields of AWS's body
	at      *int              // where in a text the mistake is, in characters from 0; nil: nowhere
}

func (e *apiError) Error() string { return e.message }

func invalid(format string, args ...any) error {
	return &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &apiError{status: fasthttp.StatusNotFound, kind: "notFound", message: fmt.Sprintf(format, args...)}
}

func unauthorized(message string) error {
	return &apiError{status: fasthttp.StatusUnauthorized, kind: "unauthorized", message: message}
}

func busy(format string, args ...any) error {
	return &apiError{status: fasthttp.StatusServiceUnavailable, kind: "busy", message: fmt.Sprintf(format, args...)}
}

// describe turns any error into status, kind and message: the one map from the domains' kinds to HTTP.
func describe(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*account.Error](err); ok {
		switch e.Kind {
		case account.Denied:
			return &apiError{status: fasthttp.StatusUnauthorized, kind: "unauthorized", message: e.Message}
		case account.Invalid:
			return &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", message: e.Message}
		case account.Exists, account.Conflict:
			return &apiError{status: fasthttp.StatusConflict, kind: "conflict", message: e.Message}
		case account.NotFound:
			return &apiError{status: fasthttp.StatusNotFound, kind: "notFound", message: e.Message}
		case account.Busy:
			return &apiError{status: fasthttp.StatusTooManyRequests, kind: "busy", message: e.Message}
		}
	}
	if e, ok := errors.AsType[*fleetql.Error](err); ok {
		return &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", awsType: "InvalidQueryException", message: e.Message, at: &e.At}
	}
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Kind != registry.Internal {
		kinds := map[registry.Kind]struct {
			status  int
			awsType string
		}{
			registry.NotFound: {fasthttp.StatusNotFound, "ResourceNotFoundException"},
			registry.Conflict: {fasthttp.StatusConflict, "ResourceAlreadyExistsException"},
			registry.Stale:    {fasthttp.StatusConflict, "VersionConflictException"},
			registry.Invalid:  {fasthttp.StatusBadRequest, "InvalidRequestException"},
			registry.Limit:    {fasthttp.StatusGone, "LimitExceededException"},     // 410: AWS IoT's model
			registry.Denied:   {fasthttp.StatusForbidden, "UnauthorizedException"}, // AWS's is 401
			registry.Busy:     {fasthttp.StatusServiceUnavailable, "ServiceUnavailableException"},
		}
		if k, ok := kinds[e.Kind]; ok {
			return &apiError{status: k.status, kind: e.Kind.String(), awsType: k.awsType, message: e.Message}
		}
	}
	if e, ok := errors.AsType[*access.Error](err); ok {
		return describeAccess(e)
	}
	if e, ok := errors.AsType[*pki.Error](err); ok {
		return &apiError{status: e.Status, kind: e.Reason, awsType: certificateErrors[e.Reason], message: e.Message}
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return &apiError{status: fasthttp.StatusForbidden, kind: "denied", awsType: e.Type, message: e.Message}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &apiError{status: fasthttp.StatusServiceUnavailable, kind: "busy", message: "the request took too long and was given up; try again"}
	}
	return &apiError{status: fasthttp.StatusInternalServerError, kind: "internal"}
}

// awsTypes are AWS's names by status, where the error itself has none.
var awsTypes = map[int]string{
	fasthttp.StatusBadRequest:         "InvalidRequestException",
	fasthttp.StatusUnauthorized:       "UnauthorizedException",
	fasthttp.StatusForbidden:          "AccessDeniedException",
	fasthttp.StatusNotFound:           "ResourceNotFoundException",
	fasthttp.StatusConflict:           "ResourceAlreadyExistsException",
	fasthttp.StatusTooManyRequests:    "ThrottlingException",
	fasthttp.StatusServiceUnavailable: "ServiceUnavailableException",
}

// fail writes an error as the answer. An error without a kind goes to the log, and only the request's id to the caller.
func (s *Server) fail(c *call, err error) {
	e := describe(err)
	message := e.message
	if e.kind == "internal" {
		s.log.Error("request failed", "request", c.id, "op", c.op, "err", err)
		message = "something went wrong inside the gateway; its log says more under " + c.id
	} else if cause := errors.Unwrap(err); cause != nil {
		s.log.Debug("request refused", "request", c.id, "op", c.op, "err", cause)
	}
	c.http.Response.ResetBody()
	if c.shape == aws {
		awsType := e.awsType
		if awsType == "" {
			awsType = awsTypes[e.status]
		}
		switch awsType {
		case "":
			awsType = "InternalFailureException"
		case "UnauthorizedException":
			e.status = fasthttp.StatusUnauthorized
		}
		if e.at != nil {
			message = fmt.Sprintf("%s (at position %d)", message, *e.at)
		}
		body := map[string]string{"message": message}
		for k, v := range e.fields {
			body[k] = v
		}
		c.http.Response.Header.Set(errorTypeHeader, awsType)
		mustWriteJSON(c, e.status, body)
		return
	}
	if e.status == fasthttp.StatusUnauthorized {
		c.http.Response.Header.Set("WWW-Authenticate", "Bearer")
	}
	mustWriteJSON(c, e.status, failureBody{failure{e.kind, message, c.id, e.at}})
}

// failureBody is the body of a refusal in our form.
type failureBody struct {
	Error failure `json:"error"`
}

type failure struct {
	Kind      string `json:"kind"`
	Message   string `json:"message"`
	RequestID string `json:"requestId"`
	Position  *int   `json:"position,omitempty"`
}

// errorTypeHeader says the name of AWS's exception.
const errorTypeHeader = "x-amzn-errortype"

const jsonType = "application/json"

func writeJSON(c *call, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer of %s: %w", c.op, err)
	}
	c.http.SetStatusCode(status)
	c.http.SetContentType(jsonType)
	c.http.SetBody(text)
	return nil
}

// mustWriteJSON writes a value made of strings, which always encodes.
func mustWriteJSON(c *call, status int, v any) {
	if err := writeJSON(c, status, v); err != nil {
		panic("BUG: " + err.Error())
	}
}

// contentPolicy lets a page load what this gateway serves and nothing else. style-src has 'unsafe-inline' because the
// UI's component library positions its menus by style attributes; scripts have no such hole.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// setHeaders sets what every answer has, besides the Date that fasthttp writes.
func (s *Server) setHeaders(c *call) {
	h := &c.http.Response.Header
	h.Set("X-Request-Id", c.id)
	h.Set("x-amzn-requestid", c.id)
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if s.opts.HSTS {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// unreadable answers a request that could not be read.
func (s *Server) unreadable(http *fasthttp.RequestCtx, err error) {
	c := &call{http: http, op: "unreadable", id: s.nextID(), remote: addressOf(http.RemoteAddr())}
	s.setHeaders(c)
	http.SetConnectionClose()
	e := &apiError{status: fasthttp.StatusBadRequest, kind: "invalid", message: "this is not a valid HTTP/1.1 request"}
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		e = &apiError{status: fasthttp.StatusRequestEntityTooLarge, kind: "limit",
			message: fmt.Sprintf("the body is too large: at most %d KiB without, %d KiB with a credential", strangerBody>>10, knownBody>>10)}
	case isSmallBuffer(err):
		e = &apiError{status: fasthttp.StatusRequestHeaderFieldsTooLarge, kind: "limit",
			message: fmt.Sprintf("the headers are too large: at most %d KiB", headerBytes>>10)}
	case errors.As(err, &timeout) && timeout.Timeout():
		e = &apiError{status: fasthttp.StatusRequestTimeout, kind: "timeout",
			message: fmt.Sprintf("the request did not arrive within %s", s.opts.ReadTimeout.Round(time.Second))}
	}
	s.opts.Metrics.GetOrCreateCounter(fmt.Sprintf(`muster_admin_requests_total{op="unreadable",code="%dxx"}`, e.status/100)).Inc()
	s.fail(c, e)
}

func isSmallBuffer(err error) bool {
	_, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err)
	return ok
}
