package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"muster/agent/wire"
)

const (
	// estTime bounds one exchange with the enrollment service.
	estTime = 30 * time.Second
	// maxESTAnswer is far above the two certificates an answer has.
	maxESTAnswer = 64 << 10
)

// ensureCertificate enrolls a device that has no valid certificate and renews one that is due. A renewal that fails
// while the certificate is still valid is put off, not an error.
func (d *Device) ensureCertificate(ctx context.Context) error {
	id := d.present()
	now := time.Now()
	switch {
	case id.leaf == nil || now.After(id.leaf.NotAfter):
		return d.Enroll(ctx)
	case now.Before(id.renewAt):
		return nil
	}
	err := d.obtain(ctx, wire.PathESTReenroll, id.tlsCertificate())
	if err == nil || errors.As(err, new(*permanentError)) {
		return err
	}
	// Half of what is left: tries get closer to each other towards the end, and stop at one a minute.
	later := *id
	later.renewAt = now.Add(max(id.leaf.NotAfter.Sub(now)/2, time.Minute))
	d.log.Warn("certificate not renewed", "err", err, "until", id.leaf.NotAfter, "retryAt", later.renewAt)
	d.mu.Lock()
	d.identity = &later
	d.mu.Unlock()
	return nil
}

// Enroll gets the first certificate for the device's key, once. The key must be on the gateway's allow-list.
func (d *Device) Enroll(ctx context.Context) error {
	cert, err := d.present().bootstrap(d.cfg.Thing)
	if err != nil {
		return err
	}
	return d.obtain(ctx, wire.PathESTEnroll, cert)
}

// obtain asks for a certificate at path, showing cert, and makes it the present one.
func (d *Device) obtain(ctx context.Context, path string, cert tls.Certificate) error {
	id := d.present()
	ctx, cancel := context.WithTimeout(ctx, estTime)
	defer cancel()
	root := id.root
	if root == nil {
		var err error
		if root, err = d.fetchRoot(ctx); err != nil {
			return err
		}
	}
	client := d.newESTClient(&tls.Config{RootCAs: poolOf(root), Certificates: []tls.Certificate{cert}})
	defer client.CloseIdleConnections()
	intermediates, err := d.askEST(ctx, client, http.MethodGet, wire.PathESTCACerts, nil)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.cfg.Thing}}, id.key)
	if err != nil {
		return err
	}
	certs, err := d.askEST(ctx, client, http.MethodPost, path, csr)
	if err != nil {
		return err
	}
	leaf := certs[0]
	if !id.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the gateway's answer is a certificate for another key")
	}
	pool := poolOf(intermediates...)
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: poolOf(root), Intermediates: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: leaf.NotBefore})
	if err != nil {
		return fmt.Errorf("the gateway's answer does not lead to its root: %w", err)
	}
	next := id.with(root, chains[0][:len(chains[0])-1])
	if err := next.save(d.cfg.Dir); err != nil {
		return err
	}
	if name := leaf.Subject.CommonName; name != d.cfg.Thing {
		return &permanentError{fmt.Errorf("the gateway's allow-list has this key as thing %q, not %q: use that name", name, d.cfg.Thing)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identity = next
	// A ticket of the old certificate would bring the old identity back.
	d.sessions = tls.NewLRUClientSessionCache(1)
	d.stats.Enrolled++
	d.log.Info("certificate obtained", "until", leaf.NotAfter)
	return nil
}

// fetchRoot returns the root certificate that has the hash given. Nothing is trusted before that is checked (RFC 7030
// section 4.1.1, out of band); the certificate of the key is not shown to a stranger.
func (d *Device) fetchRoot(ctx context.Context) (*x509.Certificate, error) {
	client := d.newESTClient(&tls.Config{InsecureSkipVerify: true})
	defer client.CloseIdleConnections()
	certs, err := d.askEST(ctx, client, http.MethodGet, wire.PathESTCACerts, nil)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return hasHash(c, d.cfg.RootSHA256) })
	if at < 0 {
		return nil, fmt.Errorf("this is not the gateway you named: it has no root certificate with the hash %s", d.cfg.RootSHA256)
	}
	return certs[at], nil
}

func (d *Device) newESTClient(config *tls.Config) *http.Client {
	config.MinVersion = tls.VersionTLS12
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, DialContext: d.cfg.Dial, TLSHandshakeTimeout: handshakeTime},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askEST makes one request and returns the certificates of the answer, at least one.
func (d *Device) askEST(ctx context.Context, client *http.Client, method, path string, csr []byte) ([]*x509.Certificate, error) {
	var body io.Reader
	if csr != nil {
		body = strings.NewReader(base64.StdEncoding.EncodeToString(csr))
	}
	request, err := http.NewRequestWithContext(ctx, method, d.cfg.ESTURL+path, body)
	if err != nil {
		return nil, err
	}
	if csr != nil {
		request.Header.Set("Content-Type", "application/pkcs10")
		request.Header.Set("Content-Transfer-Encoding", "base64")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxESTAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		sentence := strings.TrimSpace(string(answer[:min(len(answer), 500)]))
		return nil, fmt.Errorf("the gateway answered %s: %s", response.Status, sentence)
	}
	return parseCertsOnly(answer)
}

// oidSignedData is PKCS#7's signedData (RFC 2315 section 14).
var oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// parseCertsOnly returns the certificates of a certs-only PKCS#7 in base64, at least one (RFC 7030 section 4.1.3).
func parseCertsOnly(body []byte) ([]*x509.Certificate, error) {
	compact := bytes.Join(bytes.Fields(body), nil)
	der, err := base64.StdEncoding.AppendDecode(nil, compact)
	if err != nil {
		return nil, fmt.Errorf("the gateway's answer is not base64: %w", err)
	}
	var info, content, signed, certs cryptobyte.String
	var oid asn1.ObjectIdentifier
	var version int
	input := cryptobyte.String(der)
	tag0 := cbasn1.Tag(0).ContextSpecific().Constructed()
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidSignedData) ||
		!info.ReadASN1(&content, tag0) || !content.ReadASN1(&signed, cbasn1.SEQUENCE) ||
		!signed.ReadASN1Integer(&version) || !signed.SkipASN1(cbasn1.SET) || !signed.SkipASN1(cbasn1.SEQUENCE) ||
		!signed.ReadASN1(&certs, tag0) {
		return nil, errors.New("the gateway's answer is not a certs-only PKCS#7")
	}
	out, err := x509.ParseCertificates(certs)
	if err != nil {
		return nil, fmt.Errorf("the gateway's answer has a certificate that cannot be read: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("the gateway's answer has no certificate")
	}
	return out, nil
}

func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}
