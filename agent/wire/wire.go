// Package wire holds what a device and a gateway must agree on: names, topics, paths and key hashes.
//
// It is the leaf of the tree: it imports nothing of muster, keeps no state and may be used by any package.
package wire

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// MaxThingNameLen is the longest thing name in bytes (AWS IoT: 128).
const MaxThingNameLen = 128

// Paths of the enrolment service (EST, RFC 7030 section 3.2.2).
const (
	PathESTCACerts  = "/.well-known/est/cacerts"
	PathESTEnroll   = "/.well-known/est/simpleenroll"
	PathESTReenroll = "/.well-known/est/simplereenroll"
	PathESTAttrs    = "/.well-known/est/csrattrs"
)

// TelemetryRoot is the first level of every telemetry topic: dt/<thing> and dt/<thing>/<stream>/...
const TelemetryRoot = "dt"

// TelemetryTopic returns the topic on which thing publishes its telemetry.
func TelemetryTopic(thing string) string { return TelemetryRoot + "/" + thing }

// ReservedPrefix returns the prefix of the reserved topics of thing (shadow, jobs, tunnels), with the final slash.
func ReservedPrefix(thing string) string { return "$aws/things/" + thing + "/" }

// CheckThingName says whether name is a thing name, [a-zA-Z0-9:_-]{1,128}. The error is a sentence for the user.
//
// The alphabet has none of MQTT's separators and wildcards, so that a name put into a topic or a policy
// stays one literal level.
func CheckThingName(name string) error {
	if len(name) == 0 || len(name) > MaxThingNameLen {
		return fmt.Errorf("thing name must have 1 to %d characters, it has %d", MaxThingNameLen, len(name))
	}
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			return fmt.Errorf("thing name %q has %q at position %d; allowed are a-z A-Z 0-9 : _ -", name, name[i], i)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ':' || c == '_' || c == '-'
}

// ParseCertificates returns the certificates of a PEM text in order and skips blocks of other types.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// KeyHash is the SHA-256 of a DER SubjectPublicKeyInfo: the name of a device's key before it has a certificate.
type KeyHash [sha256.Size]byte

// HashKey returns the hash of the public key of cert.
func HashKey(cert *x509.Certificate) KeyHash { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String returns the hash as 64 lower-case hex digits.
func (h KeyHash) String() string { return hex.EncodeToString(h[:]) }

// ParseKeyHash reads 64 hex digits; colons and upper case are accepted, as openssl prints them.
func ParseKeyHash(text string) (KeyHash, error) {
	var h KeyHash
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil || len(raw) != len(h) {
		return h, fmt.Errorf("key hash %q is not the SHA-256 of a public key: want 64 hex digits", text)
	}
	copy(h[:], raw)
	return h, nil
}
