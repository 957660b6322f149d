package admin

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"muster/admin/sigv4"
	"muster/registry/account"
	"muster/tsdb/intake"
	"muster/tsdb/vfs"
)

const (
	// The prefix makes browsers refuse a cookie of that name without Secure, with a Domain or with another path.
	cookieName  = "__Host-muster"
	writeHeader = "X-Muster"
)

// admit finds out who calls and says whether they may.
func (s *Server) admit(ctx context.Context, c *call, r *route) error {
	if c.who.Name == "" { // else the signature or the local socket has said it
		if err := s.identify(ctx, c); err != nil && r.scope != open {
			return err
		}
	}
	if c.who.Via == "session" || c.who.Name == "" {
		if err := checkOrigin(c, r); err != nil {
			return err
		}
	}
	if r.scope == loopback && c.remote.IsLoopback() {
		return nil
	}
	if allows(c.who.Role, r.scope) {
		return nil
	}
	if c.who.Name == "" {
		return unauthorized("sign in, or send Authorization: Bearer with a token")
	}
	return &apiError{status: fasthttp.StatusForbidden, kind: "denied", awsType: "AccessDeniedException",
		message: fmt.Sprintf("%s has the role %s, which may not %s", c.who.Name, c.who.Role, r.op)}
}

// identify reads the bearer token or the session cookie of a request. Nobody is no error.
func (s *Server) identify(ctx context.Context, c *call) (err error) {
	c.who, err = s.caller(ctx, &c.http.Request.Header)
	return err
}

func (s *Server) caller(ctx context.Context, h *fasthttp.RequestHeader) (account.Principal, error) {
	if authorization := string(h.Peek("Authorization")); authorization != "" {
		scheme, token, _ := strings.Cut(authorization, " ")
		if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Token") { // InfluxDB's clients say Token
			return account.Principal{}, unauthorized("Authorization takes Bearer and a token")
		}
		return s.accounts.Bearer(ctx, strings.TrimSpace(token))
	}
	if cookie := h.Cookie(cookieName); len(cookie) > 0 {
		return s.accounts.Session(ctx, string(cookie))
	}
	return account.Principal{}, nil
}

// checkOrigin refuses what another site's page makes a browser send (CSRF).
//
// A browser that says where a request comes from is believed (Sec-Fetch-Site, else Origin): the rule of
// net/http.CrossOriginProtection. A session's write needs the header X-Muster as well, which no form and no
// simple cross-origin request can have.
func checkOrigin(c *call, r *route) error {
	h := &c.http.Request.Header
	if c.http.IsGet() || c.http.IsHead() {
		return nil
	}
	foreign := false
	if site := string(h.Peek("Sec-Fetch-Site")); site != "" {
		foreign = site != "same-origin" && site != "none"
	} else if origin := string(h.Peek("Origin")); origin != "" {
		from, err := url.Parse(origin)
		foreign = err != nil || from.Scheme != "https" || !strings.EqualFold(from.Host, string(h.Host()))
	}
	refuse := func(why string) error {
		return &apiError{status: fasthttp.StatusForbidden, kind: "denied", awsType: "AccessDeniedException", message: why}
	}
	if foreign {
		return refuse("the request comes from a page of another site")
	}
	if c.who.Via == "session" && r.scope != open && !r.readsByPost && string(h.Peek(writeHeader)) != "1" {
		return refuse("a change with a session cookie needs the header " + writeHeader + ": 1")
	}
	return nil
}

func setSession(c *call, secret string) {
	c.http.Response.Header.Add("Set-Cookie", cookieName+"="+secret+"; Path=/; Secure; HttpOnly; SameSite=Strict")
}

func clearSession(c *call) {
	c.http.Response.Header.Add("Set-Cookie", cookieName+"=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict")
}

// limits decides how large a body may be, when the header has come and before memory is taken for the body.
func (s *Server) limits(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	length := h.ContentLength()
	if length >= 0 && length <= strangerBody || length == -2 {
		return fasthttp.RequestConfig{}
	}
	ctx, cancel := context.WithTimeout(s.ctx, handlerTimeout)
	defer cancel()
	authorization := string(h.Peek("Authorization"))
	if strings.HasPrefix(authorization, sigv4.Scheme) {
		// The key must exist; the signature can only be checked with the body.
		if claim, err := sigv4.Parse(authorization); err == nil {
			if _, _, ok, err := s.accounts.Secret(ctx, claim.KeyID); err == nil && ok {
				return fasthttp.RequestConfig{MaxRequestBodySize: knownBody}
			}
		}
		return fasthttp.RequestConfig{}
	}
	who, err := s.caller(ctx, h)
	switch {
	case err != nil || who.Name == "":
		return fasthttp.RequestConfig{}
	case allows(who.Role, identity) && strings.HasPrefix(string(h.ContentType()), csvType) && string(h.RequestURI()) == "/api/allow":
		return fasthttp.RequestConfig{MaxRequestBodySize: csvBody}
	case allows(who.Role, telemetry) && takesTelemetry(string(h.RequestURI())):
		return fasthttp.RequestConfig{MaxRequestBodySize: intake.MaxBody}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: knownBody}
}

// mayContinue answers a client that asks before it sends its body (Expect: 100-continue), as curl does with large ones:
// it learns that the body is too large, where others find the connection closed.
func (s *Server) mayContinue(http *fasthttp.RequestCtx) int {
	limit := s.limits(&http.Request.Header).MaxRequestBodySize
	if limit == 0 {
		limit = strangerBody
	}
	if http.Request.Header.ContentLength() > limit {
		return fasthttp.StatusRequestEntityTooLarge
	}
	return fasthttp.StatusContinue
}

// refusals bounds the audit lines about refusals: 20 a second, so that nobody fills the log from outside.
type refusals struct {
	clock vfs.Clock
	mu    sync.Mutex // guards second, count
	at    time.Time
	count int
}

const refusalsPerSecond = 20

func newRefusals(clock vfs.Clock) *refusals { return &refusals{clock: clock} }

func (r *refusals) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.clock.Now().Truncate(time.Second); !now.Equal(r.at) {
		r.at, r.count = now, 0
	}
	r.count++
	return r.count <= refusalsPerSecond
}
