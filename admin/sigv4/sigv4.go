// Package sigv4 verifies requests signed the way AWS clients sign them (AWS Signature Version 4, in headers).
//
// It computes the signature anew and compares. That is code of its own because no client's signer signs all that another client does,
// such as the length of an empty body; AWS's SDK is the oracle of its tests. Signatures in the query (presigned URLs) and streamed
// payload hashes are refused. It keeps no state and is safe for concurrent use.
package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Scheme is what the Authorization header of a signed request begins with.
const Scheme = "AWS4-HMAC-SHA256"

// MaxSkew is how far the clocks of client and gateway may be apart (AWS: 15 minutes).
const MaxSkew = 15 * time.Minute

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	timeLayout      = "20060102T150405Z"
	maxHeaders      = 64
)

// Request is what was received. Path and Query are as they were on the wire, not decoded.
type Request struct {
	Method string
	Host   string // the Host header
	Path   string // with its first slash
	Query  string // without the question mark
	Header http.Header
	Body   []byte
}

// Credential is what the Authorization header claims.
type Credential struct {
	KeyID, Date, Region, Service string
}

// Error is a refusal in AWS's terms: Type goes into the x-amzn-errortype header, with status 403.
type Error struct{ Type, Message string }

func (e *Error) Error() string { return e.Type + ": " + e.Message }

func incomplete(format string, args ...any) error {
	return &Error{"IncompleteSignatureException", fmt.Sprintf(format, args...)}
}

func mismatch(format string, args ...any) error {
	return &Error{"InvalidSignatureException", fmt.Sprintf(format, args...)}
}

// UnknownKey is the error for a key id that does not exist.
func UnknownKey() error {
	return &Error{"UnrecognizedClientException", "The security token included in the request is invalid: there is no such access key on this gateway."}
}

// authorization is a parsed Authorization header.
type authorization struct {
	credential Credential
	signed     []string // names of the signed headers, lower case, ascending
	signature  string
}

// Parse reads whose key and which service the request claims, before anything is proved.
func Parse(header string) (Credential, error) {
	a, err := parse(header)
	return a.credential, err
}

// parse reads an Authorization header:
// AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=hex
func parse(header string) (authorization, error) {
	var a authorization
	rest, ok := strings.CutPrefix(header, Scheme)
	if !ok {
		return a, incomplete("Authorization header does not begin with %s.", Scheme)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; !ok || twice {
			return a, incomplete("Authorization header has a part that is no name=value, or one twice.")
		}
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || slices.Contains(scope, "") {
		return a, incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request.")
	}
	a.credential = Credential{KeyID: scope[0], Date: scope[1], Region: scope[2], Service: scope[3]}
	a.signed = strings.Split(parts["SignedHeaders"], ";")
	a.signature = parts["Signature"]
	if len(a.signed) > maxHeaders || !slices.IsSorted(a.signed) || len(slices.Compact(slices.Clone(a.signed))) != len(a.signed) {
		return a, incomplete("SignedHeaders must name at most %d headers, each once, in ascending order.", maxHeaders)
	}
	if !slices.Contains(a.signed, "host") {
		return a, incomplete("SignedHeaders must contain host.")
	}
	if len(a.signature) != 2*sha256.Size {
		return a, incomplete("Signature must be 64 hex digits.")
	}
	return a, nil
}

// Verify proves that r was signed with secret by somebody whose clock is right, and that its body is the signed one.
// The error is an *Error.
func Verify(r Request, secret string, now time.Time) error {
	a, err := parse(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	at, err := time.Parse(timeLayout, r.Header.Get("X-Amz-Date"))
	if err != nil || !slices.Contains(a.signed, "x-amz-date") {
		return incomplete("X-Amz-Date must be there as YYYYMMDDTHHMMSSZ, and be signed.")
	}
	if at.Format("20060102") != a.credential.Date {
		return mismatch("The date in the credential scope, %s, is not that of X-Amz-Date, %s.", a.credential.Date, at.Format(timeLayout))
	}
	if skew := now.Sub(at); skew > MaxSkew || skew < -MaxSkew {
		return mismatch("Signature expired or not yet valid: it was made at %s and the time of this gateway is %s; at most %s apart.",
			at.Format(timeLayout), now.UTC().Format(timeLayout), MaxSkew)
	}
	payload, err := payloadHash(r, a)
	if err != nil {
		return err
	}

	for _, name := range a.signed {
		if name != "host" && len(r.Header.Values(name)) == 0 {
			return mismatch("The signed header %s is missing.", name)
		}
	}
	signed := false
	for _, path := range canonicalPaths(r.Path) {
		r.Path = path
		ours := signature(r, a, secret, r.Header.Get("X-Amz-Date"), payload)
		signed = signed || subtle.ConstantTimeCompare([]byte(ours), []byte(a.signature)) == 1
	}
	if !signed {
		return mismatch("The request signature we calculated does not match the signature you provided. Check the secret access key and the signing method.")
	}
	return nil
}

// payloadHash returns the hash that goes into the signature, after it compared it with the body.
func payloadHash(r Request, a authorization) (string, error) {
	sum := sha256.Sum256(r.Body)
	actual := hex.EncodeToString(sum[:])
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case claimed == "": // only S3 clients must send it; the hash is in the signature all the same
		return actual, nil
	case !slices.Contains(a.signed, "x-amz-content-sha256"):
		return "", incomplete("X-Amz-Content-Sha256 is not signed.")
	case claimed == unsignedPayload:
		if r.Method != http.MethodGet && r.Method != http.MethodHead || len(r.Body) > 0 {
			return "", mismatch("%s is not accepted for a request that writes: sign the body.", unsignedPayload)
		}
		return unsignedPayload, nil
	case claimed != actual:
		return "", mismatch("X-Amz-Content-Sha256 is not the hash of the body, or the body is signed in chunks, which this gateway does not read.")
	}
	return actual, nil
}
