package admin

import (
	"context"
	"strconv"
	"strings"

	"muster/pki"
	"muster/registry/access"
)

// certificateRoutes are the certificates of devices.
var certificateRoutes = []route{
	{method: "POST", pattern: "/keys-and-certificate", op: "CreateKeysAndCertificate", scope: identity, audited: true,
		query: "setAsActive", handle: plain(createKeysAndCertificate)},
	{method: "POST", pattern: "/certificates", op: "CreateCertificateFromCsr", scope: identity, audited: true,
		query: "setAsActive", handle: awsBody(createCertificateFromCSR)},
	{method: "POST", pattern: "/certificate/register", op: "RegisterCertificate", scope: identity, audited: true,
		query: "setAsActive", handle: awsBody(registerCertificate)},
	{method: "POST", pattern: "/certificate/register-no-ca", op: "RegisterCertificateWithoutCA", scope: identity, audited: true, handle: awsBody(registerCertificateWithoutCA)},
	{method: "GET", pattern: "/certificates/{certificateId}", op: "DescribeCertificate", scope: read, handle: plain(describeCertificate)},
	{method: "GET", pattern: "/certificates", op: "ListCertificates", scope: read,
		query: marked, handle: plain(listCertificates)},
	{method: "PUT", pattern: "/certificates/{certificateId}", op: "UpdateCertificate", scope: identity, audited: true,
		query: "newStatus", handle: plain(updateCertificate)},
	{method: "DELETE", pattern: "/certificates/{certificateId}", op: "DeleteCertificate", scope: identity, audited: true,
		query: "forceDelete", handle: plain(deleteCertificate)},
}

// CertificateRegister keeps the certificates of devices.
type CertificateRegister interface {
	CertificateByID(ctx context.Context, id string) (pki.Certificate, bool, error)
	ListCertificates(ctx context.Context, after pki.Place, ascending bool, limit int) ([]pki.Certificate, error)
	CreateFromCSR(ctx context.Context, request []byte, active bool) (pki.Certificate, error)
	CreateKeys(ctx context.Context, active bool) (cert pki.Certificate, publicKey, privateKey string, err error)
	Register(ctx context.Context, text []byte, withoutCA, active bool) (pki.Certificate, error)
	SetStatus(ctx context.Context, id string, to pki.Status) error
	Delete(ctx context.Context, id string) error
	AuthorityID() string
}

// certificateErrors are AWS's exceptions by the reason of a refusal of the identity service.
var certificateErrors = map[string]string{
	"state": "CertificateStateException", "validation": "CertificateValidationException", "exists": "ResourceAlreadyExistsException",
	"csr": "InvalidRequestException", "revoked-key": "CertificateStateException", "bound-key": "CertificateConflictException",
}

// certificate returns a registered certificate.
func (s *Server) certificate(ctx context.Context, id string) (pki.Certificate, error) {
	identity, err := s.identityOf()
	if err != nil {
		return pki.Certificate{}, err
	}
	parsed, err := access.ParseCertID(strings.TrimPrefix(id, "0x"))
	if err != nil {
		return pki.Certificate{}, err
	}
	cert, ok, err := identity.CertificateByID(ctx, parsed.String())
	if err == nil && !ok {
		err = notFound("certificate %s does not exist", parsed)
	}
	return cert, err
}

type certificateOut struct {
	ARN string `json:"certificateArn"`
	ID  string `json:"certificateId"`
	PEM string `json:"certificatePem,omitempty"`
}

type keyPair struct {
	Public  string `json:"PublicKey"`
	Private string `json:"PrivateKey"`
}

type keysAndCertificate struct {
	certificateOut
	Keys keyPair `json:"keyPair"`
}

func createKeysAndCertificate(ctx context.Context, s *Server, c *call) (*keysAndCertificate, error) {
	identity, book, active, err := s.identityAndFlag(c, "setAsActive")
	if err != nil {
		return nil, err
	}
	cert, public, private, err := identity.CreateKeys(ctx, active)
	if err != nil {
		return nil, err
	}
	c.target = cert.ID
	return &keysAndCertificate{certificateOut{book.CertificateARN(cert.ID), cert.ID, cert.PEM}, keyPair{public, private}}, nil
}

func (s *Server) identityAndAccess() (Identity, *access.Book, error) {
	identity, err := s.identityOf()
	if err != nil {
		return nil, nil, err
	}
	book, err := s.accessOf()
	return identity, book, err
}

// identityAndFlag also reads a parameter of the query that is true or false.
func (s *Server) identityAndFlag(c *call, name string) (Identity, *access.Book, bool, error) {
	identity, book, err := s.identityAndAccess()
	if err != nil {
		return nil, nil, false, err
	}
	flag, err := boolArg(c, name)
	return identity, book, flag, err
}

type csrInput struct {
	Request string `json:"certificateSigningRequest"`
}

func createCertificateFromCSR(ctx context.Context, s *Server, c *call, in csrInput) (*certificateOut, error) {
	identity, book, active, err := s.identityAndFlag(c, "setAsActive")
	if err != nil {
		return nil, err
	}
	cert, err := identity.CreateFromCSR(ctx, []byte(in.Request), active)
	if err != nil {
		return nil, err
	}
	c.target = cert.ID
	return &certificateOut{book.CertificateARN(cert.ID), cert.ID, cert.PEM}, nil
}

type registerInput struct {
	PEM         string `json:"certificatePem"`
	CAPEM       string `json:"caCertificatePem"` // not needed: all client CAs are looked at
	SetAsActive bool   `json:"setAsActive"`
	Status      string `json:"status"`
}

func registerCertificate(ctx context.Context, s *Server, c *call, in registerInput) (*certificateOut, error) {
	if active, err := boolArg(c, "setAsActive"); err != nil {
		return nil, err
	} else if active && in.Status == "" {
		in.Status = string(pki.Active)
	}
	return register(ctx, s, c, in, false)
}

func registerCertificateWithoutCA(ctx context.Context, s *Server, c *call, in registerInput) (*certificateOut, error) {
	return register(ctx, s, c, in, true)
}

func register(ctx context.Context, s *Server, c *call, in registerInput, withoutCA bool) (*certificateOut, error) {
	identity, book, err := s.identityAndAccess()
	if err != nil {
		return nil, err
	}
	active := false
	switch in.Status {
	case "", string(pki.Inactive):
	case string(pki.Active):
		active = true
	default:
		return nil, wrongStatus(in.Status, "ACTIVE or INACTIVE")
	}
	cert, err := identity.Register(ctx, []byte(in.PEM), withoutCA, active)
	if err != nil {
		return nil, err
	}
	c.target = cert.ID
	return &certificateOut{ARN: book.CertificateARN(cert.ID), ID: cert.ID}, nil
}

// wrongStatus is the error for a status that exists, but not for callers, or that does not exist.
func wrongStatus(status, allowed string) error {
	switch status {
	case "REVOKED", "PENDING_TRANSFER", "PENDING_ACTIVATION", "REGISTER_INACTIVE":
		return &apiError{status: 406, kind: "state", awsType: "CertificateStateException", message: "the status " + status + " cannot be set here: use " + allowed}
	}
	return invalid("status %q is not known: use %s", short(status), allowed)
}

type certificateValidity struct {
	NotBefore epochSeconds `json:"notBefore"`
	NotAfter  epochSeconds `json:"notAfter"`
}

type certificateDescription struct {
	certificateOut
	CA         string              `json:"caCertificateId,omitempty"`
	Status     string              `json:"status"`
	Mode       string              `json:"certificateMode"`
	Owner      string              `json:"ownedBy"`
	Created    epochSeconds        `json:"creationDate"`
	Changed    epochSeconds        `json:"lastModifiedDate"`
	Version    int                 `json:"customerVersion"`
	Generation string              `json:"generationId"`
	Validity   certificateValidity `json:"validity"`
	// Beyond AWS.
	Origin     string `json:"origin"`
	Serial     string `json:"serialNumber"`
	EnrolledAs string `json:"enrolledAs,omitempty"`
}

type certificateDescriptionOutput struct {
	Description certificateDescription `json:"certificateDescription"`
}

func describeCertificate(ctx context.Context, s *Server, c *call) (*certificateDescriptionOutput, error) {
	identity, book, err := s.identityAndAccess()
	if err != nil {
		return nil, err
	}
	cert, err := s.certificate(ctx, c.labels[0])
	if err != nil {
		return nil, err
	}
	issuer := ""
	if cert.Origin != pki.FromCA && cert.Origin != pki.Pinned {
		issuer = identity.AuthorityID()
	}
	owner := strings.Split(book.CertificateARN(""), ":")[4]
	return &certificateDescriptionOutput{certificateDescription{
		certificateOut{book.CertificateARN(cert.ID), cert.ID, cert.PEM}, issuer, string(cert.Status), certificateMode(cert), owner,
		epochSeconds(cert.IssuedMs), epochSeconds(cert.ChangedMs), 1, strconv.FormatInt(cert.ChangedMs, 10),
		certificateValidity{epochSeconds(cert.NotBeforeMs), epochSeconds(cert.NotAfterMs)}, string(cert.Origin), cert.Serial, cert.ThingName,
	}}, nil
}

// certificateMode is AWS's word for how a certificate came: SNI_ONLY is one that was registered without its CA.
func certificateMode(cert pki.Certificate) string {
	if cert.Origin == pki.Pinned {
		return "SNI_ONLY"
	}
	return "DEFAULT"
}

type certificateListed struct {
	certificateOut
	Status  string       `json:"status"`
	Mode    string       `json:"certificateMode"`
	Created epochSeconds `json:"creationDate"`
}

type certificatePage struct {
	Certificates []certificateListed `json:"certificates"`
	Next         string              `json:"nextMarker,omitempty"`
}

func listCertificates(ctx context.Context, s *Server, c *call) (*certificatePage, error) {
	identity, book, err := s.identityAndAccess()
	if err != nil {
		return nil, err
	}
	marker, limit, ascending, err := markerPage(c)
	if err != nil {
		return nil, err
	}
	var after pki.Place
	if marker != "" {
		ms, id, _ := strings.Cut(marker, "/")
		if after.IssuedMs, err = strconv.ParseInt(ms, 10, 64); err != nil {
			return nil, invalid("marker is not one that this list gave")
		}
		after.ID = id
	}
	certs, err := identity.ListCertificates(ctx, after, ascending, limit+1)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(certs) > limit {
		certs = certs[:limit]
		last := certs[limit-1]
		next = strconv.FormatInt(last.IssuedMs, 10) + "/" + last.ID
	}
	out := make([]certificateListed, 0, len(certs))
	for _, cert := range certs {
		out = append(out, certificateListed{certificateOut{ARN: book.CertificateARN(cert.ID), ID: cert.ID}, string(cert.Status), certificateMode(cert), epochSeconds(cert.IssuedMs)})
	}
	return &certificatePage{out, nextMarker(next)}, nil
}

func updateCertificate(ctx context.Context, s *Server, c *call) (*empty, error) {
	identity, _, err := s.identityAndAccess()
	if err != nil {
		return nil, err
	}
	status := pki.Status(c.arg("newStatus"))
	if status != pki.Active && status != pki.Inactive && status != pki.Revoked {
		return nil, wrongStatus(string(status), "ACTIVE, INACTIVE or REVOKED")
	}
	cert, err := s.certificate(ctx, c.labels[0])
	if err != nil {
		return nil, err
	}
	return &empty{}, identity.SetStatus(ctx, cert.ID, status)
}

// deleteCertificate deletes a certificate that is not active and stands for no thing; with forceDelete policies may still
// be attached (AWS).
func deleteCertificate(ctx context.Context, s *Server, c *call) (*empty, error) {
	identity, book, force, err := s.identityAndFlag(c, "forceDelete")
	if err != nil {
		return nil, err
	}
	cert, err := s.certificate(ctx, c.labels[0])
	if err != nil {
		return nil, err
	}
	id, err := access.ParseCertID(cert.ID)
	if err != nil {
		return nil, err
	}
	conflict := func(message string) error {
		return &apiError{status: 409, kind: "conflict", awsType: "DeleteConflictException", message: message}
	}
	if cert.Status == pki.Active {
		return nil, &apiError{status: 406, kind: "state", awsType: "CertificateStateException", message: "the certificate is active: make it INACTIVE or REVOKED first"}
	}
	if things := book.ThingsOf(id); len(things) > 0 {
		return nil, conflict("the certificate is attached to thing " + things[0].Name + ": detach it first")
	}
	if names := book.AttachedTo(access.Target{Cert: id}, false); len(names) > 0 && !force {
		return nil, conflict("policy " + names[0] + " is attached to the certificate: detach it first, or use forceDelete")
	}
	if err := identity.Delete(ctx, cert.ID); err != nil {
		return nil, err
	}
	return &empty{}, book.ForgetCert(ctx, id)
}
