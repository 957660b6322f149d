package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

// signature computes what a holder of secret signs a request with (AWS General Reference, "Create a signed AWS API request"):
// HMAC-SHA256 with a key of the day, region and service over a canonical form of the request. date is X-Amz-Date, payload the
// hash of the body in hex. The headers that a names must be there.
func signature(r Request, a authorization, secret, date, payload string) string {
	canonical := sha256.Sum256([]byte(strings.Join([]string{
		r.Method, escapePath(r.Path), canonicalQuery(r.Query), canonicalHeaders(r, a.signed), strings.Join(a.signed, ";"), payload,
	}, "\n")))
	c := a.credential
	scope := strings.Join([]string{c.Date, c.Region, c.Service, "aws4_request"}, "/")
	text := strings.Join([]string{Scheme, date, scope, hex.EncodeToString(canonical[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.Date, c.Region, c.Service, "aws4_request"} {
		key = keyed(key, part)
	}
	return hex.EncodeToString(keyed(key, text))
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// canonicalPaths returns what clients sign as a path: what they send (AWS's SDK for Go), or that without its empty and dot segments
// (those for Python and JavaScript).
func canonicalPaths(path string) []string {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, segment)
		}
	}
	normal := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(path, "/") {
		normal += "/"
	}
	if normal == path {
		return []string{path}
	}
	return []string{path, normal}
}

// escapePath escapes a path as it was on the wire once more, as all services but S3 want it. Slashes stay.
func escapePath(path string) string {
	if path == "" {
		return "/"
	}
	var b strings.Builder
	for _, c := range []byte(path) {
		if c == '/' || isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// isUnreserved says whether a character stands for itself everywhere in a URI (RFC 3986, section 2.3).
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~", c) >= 0
}

// canonicalQuery sorts the parameters by name and value, in their escaped forms. A plus is a space.
func canonicalQuery(query string) string {
	var pairs []string
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, escapeParameter(name)+"="+escapeParameter(value))
	}
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if n := strings.Compare(an, bn); n != 0 {
			return n
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

// escapeParameter escapes a name or value anew, so that different ways to write the same one agree. What cannot be decoded stays.
func escapeParameter(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		text = decoded
	}
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// canonicalHeaders writes the signed headers, one a line and an empty one at the end: values joined by commas, white space at their ends
// dropped and runs of it within one space.
func canonicalHeaders(r Request, signed []string) string {
	var b strings.Builder
	for _, name := range signed {
		values := r.Header.Values(name)
		if name == "host" {
			values = []string{r.Host}
		}
		b.WriteString(name + ":")
		for i, value := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.Fields(value), " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
