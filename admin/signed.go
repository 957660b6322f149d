package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valyala/fasthttp"

	"muster/admin/sigv4"
)

// serveSigned answers a request signed with SigV4. The service in the credential scope says which API is meant: the
// services of AWS share paths.
func (s *Server) serveSigned(c *call, method, path string, segments []string) {
	c.shape, c.op = aws, "signed"
	ctx, cancel := context.WithTimeout(s.ctx, handlerTimeout)
	service, err := s.verify(ctx, c, method, path)
	cancel()
	if err != nil {
		s.fail(c, err)
		s.record(c, &route{op: c.op}, err)
		return
	}
	switch {
	case controlPlane[service]:
		s.answer(c, s.iot, method, segments)
	case service == "iotdata":
		s.answer(c, s.data, method, joinTopic(segments))
	default:
		s.fail(c, &apiError{status: fasthttp.StatusNotFound, kind: "notFound", awsType: "UnknownOperationException",
			message: fmt.Sprintf("this gateway has no API for the service %q; it has: iot, iotdata", short(service))})
	}
}

// controlPlane are the signing names of AWS IoT's control plane: SDKs before 2023, Debian 12's AWS CLI among them, call
// it execute-api.
var controlPlane = map[string]bool{"iot": true, "execute-api": true}

// verify checks the signature, sets who calls, and returns the service of the credential scope.
func (s *Server) verify(ctx context.Context, c *call, method, path string) (service string, err error) {
	h := &c.http.Request.Header
	authorization := string(h.Peek("Authorization"))
	if authorization == "" {
		return "", &sigv4.Error{Type: "InvalidSignatureException", Message: "Presigned URLs are not accepted by this gateway: sign the Authorization header."}
	}
	claim, err := sigv4.Parse(authorization)
	if err != nil {
		return "", err
	}
	c.target = claim.KeyID
	secret, who, ok, err := s.accounts.Secret(ctx, claim.KeyID)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", sigv4.UnknownKey()
	}
	header := http.Header{}
	for name, value := range h.All() {
		header.Add(string(name), string(value))
	}
	err = sigv4.Verify(sigv4.Request{
		Method: method, Host: string(h.Host()), Path: path, Query: string(c.http.URI().QueryString()),
		Header: header, Body: c.http.PostBody(),
	}, secret, s.opts.Clock.Now())
	if err != nil {
		return "", err
	}
	c.who, c.target = who, ""
	return claim.Service, s.accounts.UseAccessKey(ctx, claim.KeyID)
}
