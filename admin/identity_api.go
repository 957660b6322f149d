package admin

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"strings"

	"muster/agent/wire"
	"muster/pki"
)

// Identity is the identity service: enrolment, the allow-list and certificates.
type Identity interface {
	Enroller
	AllowList
	CertificateRegister
	Certificates(ctx context.Context, thingName string) ([]pki.Certificate, error)
	Revoke(ctx context.Context, certificateID string) error
	RevokeThing(ctx context.Context, thingName string) error
	Refused() []pki.RefusedKey
	CRL() []byte
}

// Enroller answers EST (RFC 7030). Bodies are as on the wire.
type Enroller interface {
	CACerts() []byte
	Enroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error)
	Reenroll(ctx context.Context, peer *x509.Certificate, body []byte) ([]byte, error)
}

// AllowList keeps the keys that may enrol.
type AllowList interface {
	Allow(ctx context.Context, entries []pki.Allowed) error
	AllowCSV(ctx context.Context, text io.Reader) (added int, rowErrors []pki.RowError, err error)
	ListAllowed(ctx context.Context, after wire.KeyHash, limit int) ([]pki.Allowed, error)
	RemoveAllowed(ctx context.Context, key wire.KeyHash) error
}

// identityOf returns the identity service, or an error where this server has none.
func (s *Server) identityOf() (Identity, error) {
	if s.opts.Identity == nil {
		return nil, notFound("this gateway runs without an identity service")
	}
	return s.opts.Identity, nil
}

type allowEntry struct {
	ThingName     string `json:"thingName"`
	SPKISHA256    string `json:"spkiSha256"`
	ThingTypeName string `json:"thingTypeName"`
	AddedMs       int64  `json:"addedMs"` // set by the gateway
	UsedMs        int64  `json:"usedMs"`  // 0: not used yet
}

type allowPage struct {
	Allow      []allowEntry `json:"allow"`
	NextCursor string       `json:"nextCursor"`
}

func listAllowed(ctx context.Context, s *Server, c *call) (*allowPage, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	limit, err := intArg(c, "limit", defaultPage, 1, 1000)
	if err != nil {
		return nil, err
	}
	var after wire.KeyHash
	if cursor := c.arg("cursor"); cursor != "" {
		if after, err = wire.ParseKeyHash(cursor); err != nil {
			return nil, invalid("cursor is not one of this list")
		}
	}
	entries, err := identity.ListAllowed(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]allowEntry, 0, len(entries))
	for _, e := range entries {
		out = append(out, allowEntry{e.ThingName, e.Key.String(), e.ThingTypeName, e.AddedMs, e.UsedMs})
	}
	next := ""
	if len(entries) == limit {
		next = entries[len(entries)-1].Key.String()
	}
	return &allowPage{out, next}, nil
}

const (
	csvType    = "text/csv"
	maxAllowed = 10_000 // entries in one JSON body; a CSV takes more
)

// allowInput is a key that may enrol, and as what.
type allowInput struct {
	ThingName     string `json:"thingName"`
	SPKISHA256    string `json:"spkiSha256"`
	ThingTypeName string `json:"thingTypeName"`
}

type allowedOutput struct {
	Added  int        `json:"added"`
	Errors []rowError `json:"errors"` // of the rows of a CSV that were left out
}

// postAllow adds keys, as JSON (all or none) or as CSV (row by row).
func postAllow(ctx context.Context, s *Server, c *call) (*allowedOutput, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(c.http.Request.Header.ContentType()), csvType) {
		return allowCSV(ctx, identity, c)
	}
	var in []allowInput
	if err := decodeStrict(c.http.PostBody(), &in); err != nil {
		return nil, err
	}
	if len(in) == 0 || len(in) > maxAllowed {
		return nil, invalid("the list has %d entries; 1 to %d are taken, more as %s", len(in), maxAllowed, csvType)
	}
	entries := make([]pki.Allowed, 0, len(in))
	for i, e := range in {
		key, err := wire.ParseKeyHash(e.SPKISHA256)
		if err != nil {
			return nil, invalid("entry %d: %v", i, err)
		}
		entries = append(entries, pki.Allowed{Key: key, ThingName: e.ThingName, ThingTypeName: e.ThingTypeName})
	}
	c.target = in[0].ThingName
	if err := identity.Allow(ctx, entries); err != nil {
		return nil, err
	}
	return &allowedOutput{len(entries), []rowError{}}, nil
}

type rowError struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func allowCSV(ctx context.Context, identity Identity, c *call) (*allowedOutput, error) {
	c.target = csvType
	added, bad, err := identity.AllowCSV(ctx, bytes.NewReader(c.http.PostBody()))
	if err != nil {
		return nil, err
	}
	out := make([]rowError, 0, len(bad))
	for _, b := range bad {
		out = append(out, rowError{b.Line, b.Message})
	}
	return &allowedOutput{added, out}, nil
}

func deleteAllowed(ctx context.Context, s *Server, c *call) (*noContent, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	key, err := wire.ParseKeyHash(c.labels[0])
	if err != nil {
		return nil, invalid("%v", err)
	}
	return nil, identity.RemoveAllowed(ctx, key)
}

type refusedKey struct {
	SPKISHA256  string `json:"spkiSha256"`
	CommonName  string `json:"commonName"` // as its certificate claims
	Remote      string `json:"remote"`
	Reason      string `json:"reason"`
	FirstSeenMs int64  `json:"firstSeenMs"`
	LastSeenMs  int64  `json:"lastSeenMs"`
	Count       uint64 `json:"count"`
}

type refusedList struct {
	Refused []refusedKey `json:"refused"`
}

// listRefused answers the keys that asked for enrolment lately and did not get it.
func listRefused(_ context.Context, s *Server, _ *call) (*refusedList, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	out := []refusedKey{}
	for _, k := range identity.Refused() {
		out = append(out, refusedKey{k.Key.String(), k.CommonName, k.Remote, k.Reason, k.FirstSeenMs, k.LastSeenMs, k.Count})
	}
	return &refusedList{out}, nil
}

func revokeCertificate(ctx context.Context, s *Server, c *call) (*noContent, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	return nil, identity.Revoke(ctx, c.labels[0])
}

// revokeThing revokes every certificate that was enrolled for a thing or is attached to it, and blocks their keys.
func revokeThing(ctx context.Context, s *Server, c *call) (*noContent, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	if err := identity.RevokeThing(ctx, c.labels[0]); err != nil {
		return nil, err
	}
	id, ok := s.registry.ID(c.labels[0])
	if !ok || s.opts.Access == nil {
		return nil, nil
	}
	for _, cert := range s.opts.Access.CertsOf(id) { // those that were attached to it
		if err := identity.Revoke(ctx, cert.ID.String()); err != nil && !errors.Is(err, pki.ErrNotFound) {
			return nil, err
		}
	}
	return nil, nil
}

// peer returns the certificate that the client showed at the handshake. TLS proved that it has the key.
func peer(c *call) (*x509.Certificate, error) {
	state := c.http.TLSConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil, unauthorized("enrolment needs a TLS client certificate: a self-signed one of the allowed key will do")
	}
	return state.PeerCertificates[0], nil
}

const (
	certsType = "application/pkcs7-mime"
	csrType   = "application/pkcs10"
)

// writeEST writes base64 of DER, as RFC 8951 section 3.1 has it: the transfer encoding is always base64 and the header
// that says so is for clients of RFC 7030.
func writeEST(c *call, contentType string, body []byte) (*written, error) {
	c.http.Response.Header.Set("Content-Transfer-Encoding", "base64")
	c.http.SetContentType(contentType)
	c.http.SetBody(body)
	return &written{}, nil
}

func estCACerts(_ context.Context, s *Server, c *call) (*written, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	return writeEST(c, certsType, identity.CACerts())
}

// estAttrs says that a certificate request needs no special attribute (RFC 7030 section 4.5.2: 204).
func estAttrs(context.Context, *Server, *call) (*noContent, error) { return nil, nil }

func estEnroll(ctx context.Context, s *Server, c *call) (*written, error) {
	return enroll(ctx, c, s, func(ctx context.Context, identity Identity, cert *x509.Certificate) ([]byte, error) {
		return identity.Enroll(ctx, cert, c.http.PostBody())
	})
}

func estReenroll(ctx context.Context, s *Server, c *call) (*written, error) {
	return enroll(ctx, c, s, func(ctx context.Context, identity Identity, cert *x509.Certificate) ([]byte, error) {
		return identity.Reenroll(ctx, cert, c.http.PostBody())
	})
}

func enroll(ctx context.Context, c *call, s *Server, issue func(context.Context, Identity, *x509.Certificate) ([]byte, error)) (*written, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	cert, err := peer(c)
	if err != nil {
		return nil, err
	}
	c.target = cert.Subject.CommonName
	c.who.Via = "certificate"
	answer, err := issue(pki.WithRemote(ctx, c.http.RemoteAddr().String()), identity, cert)
	if err != nil {
		return nil, err
	}
	return writeEST(c, certsType+"; smime-type=certs-only", answer)
}

func getCRL(_ context.Context, s *Server, c *call) (*written, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, err
	}
	crl := identity.CRL()
	if crl == nil {
		return nil, busy("the revocation list cannot be signed now; the gateway's log says why")
	}
	c.http.SetContentType("application/pkix-crl")
	c.http.SetBody(crl)
	return &written{}, nil
}
