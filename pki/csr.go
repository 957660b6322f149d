package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"slices"
)

// MaxESTBody is the largest EST request body in bytes. A CSR of a 4096-bit key has about 2 KiB.
const MaxESTBody = 16 << 10

// parseCSR reads the body of an EST enrolment: a PKCS#10 request as base64 of DER, with or without line breaks, or in
// PEM armor (RFC 7030 section 4.2.1, RFC 8951 section 3.1; clients send all of these). It checks that the request is
// signed by its key and asks for nothing that a device may not have. Its subject and names are not looked at.
func parseCSR(body []byte, allowRSA bool) (*x509.CertificateRequest, error) {
	if len(body) > MaxESTBody {
		return nil, refusef(http.StatusRequestEntityTooLarge, "csr", "the request has %d bytes: at most %d are taken", len(body), MaxESTBody)
	}
	der, ok := decodeESTBody(body)
	if !ok {
		return nil, refusef(http.StatusBadRequest, "csr", "the request is not base64: send a PKCS#10 request as base64 of its DER")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, refusef(http.StatusBadRequest, "csr", "the request is not PKCS#10: %v", err)
	}
	if err := checkDeviceKey(csr.PublicKey, allowRSA); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, refusef(http.StatusBadRequest, "csr", "the request is not signed by its own key: %v", err)
	}
	if err := checkCSRExtensions(csr); err != nil {
		return nil, err
	}
	return csr, nil
}

func decodeESTBody(body []byte) (der []byte, ok bool) {
	if trimmed := bytes.TrimSpace(body); bytes.HasPrefix(trimmed, []byte("-----BEGIN ")) {
		block, rest := pem.Decode(trimmed)
		if block == nil || len(rest) != 0 || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, false
		}
		return block.Bytes, true
	}
	compact := slices.DeleteFunc(slices.Clone(body), func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' })
	der, err := base64.StdEncoding.AppendDecode(nil, compact)
	return der, err == nil && len(der) > 0
}

// checkDeviceKey lets P-256, P-384 and Ed25519 through, and RSA of 2048 to 4096 bits where the operator wants it.
func checkDeviceKey(key any, allowRSA bool) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); allowRSA && bits >= 2048 && bits <= 4096 {
			return nil
		}
		if allowRSA {
			return refusef(http.StatusBadRequest, "csr", "the RSA key has %d bits: use 2048 to 4096, or better P-256", k.N.BitLen())
		}
	}
	return refusef(http.StatusBadRequest, "csr", "the kind of key is not accepted: use P-256, P-384 or Ed25519")
}

// Extensions that may be critical in a request, as the server writes its own.
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

func checkCSRExtensions(csr *x509.CertificateRequest) error {
	for _, ext := range csr.Extensions {
		if ext.Id.Equal(oidBasicConstraints) {
			var basic struct {
				IsCA    bool `asn1:"optional"`
				PathLen int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(ext.Value, &basic); err != nil || len(rest) != 0 || basic.IsCA {
				return refusef(http.StatusBadRequest, "csr", "the request asks for the certificate of a CA: devices get none")
			}
			continue
		}
		known := ext.Id.Equal(oidKeyUsage) || ext.Id.Equal(oidSubjectAltName) || ext.Id.Equal(oidExtKeyUsage)
		if ext.Critical && !known {
			return refusef(http.StatusBadRequest, "csr", "the request has the critical extension %v, which is not supported", ext.Id)
		}
	}
	return nil
}
