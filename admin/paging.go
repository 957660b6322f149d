package admin

import (
	"encoding/base64"
	"strings"

	"muster/registry"
)

// The two pagers of AWS. What a token stands for is where the page before ended, so that pages stay right while things come and go.

const (
	defaultMaxResults = 250
	maxPageSize       = 250
	pageTokenPrefix   = "v1:"
)

// page reads maxResults and nextToken.
func page(c *call) (after string, limit int, err error) {
	if limit, err = intArg(c, "maxResults", defaultMaxResults, 1, registry.MaxPage); err != nil {
		return "", 0, err
	}
	after, err = decodePageToken(c.arg("nextToken"))
	return after, limit, err
}

// pageToken makes the nextToken of the next page, "" at the end.
func pageToken(next string) string { return encodePlace(base64.RawURLEncoding, next) }

// decodePageToken returns what pageToken encoded.
func decodePageToken(token string) (next string, err error) {
	return decodePlace(base64.RawURLEncoding, "nextToken", token)
}

// markerPage reads AWS's older pager: marker, pageSize and isAscendingOrder.
func markerPage(c *call) (after string, limit int, ascending bool, err error) {
	if limit, err = intArg(c, "pageSize", defaultMaxResults, 1, maxPageSize); err != nil {
		return "", 0, false, err
	}
	if ascending, err = boolArg(c, "isAscendingOrder"); err != nil {
		return "", 0, false, err
	}
	// AWS's pattern has base64's standard alphabet.
	after, err = decodePlace(base64.StdEncoding, "marker", c.arg("marker"))
	return after, limit, ascending, err
}

// nextMarker makes the marker of the next page, "" at the end.
func nextMarker(next string) string { return encodePlace(base64.StdEncoding, next) }

func encodePlace(encoding *base64.Encoding, place string) string {
	if place == "" {
		return ""
	}
	return encoding.EncodeToString([]byte(pageTokenPrefix + place))
}

func decodePlace(encoding *base64.Encoding, name, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	text, err := encoding.DecodeString(token)
	place, ok := strings.CutPrefix(string(text), pageTokenPrefix)
	if err != nil || !ok || place == "" {
		return "", invalid("%s is not one that this gateway gave", name)
	}
	return place, nil
}
