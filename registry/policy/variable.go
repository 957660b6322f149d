package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Keys of values that a connection has. Those of things and certificates with a variable part are below.
const (
	keyClientID      = "iot:ClientId"
	keySourceIP      = "aws:SourceIp"
	keyTransport     = "aws:SecureTransport"
	keyThingName     = "iot:Connection.Thing.ThingName"
	keyThingType     = "iot:Connection.Thing.ThingTypeName"
	keyAttached      = "iot:Connection.Thing.IsAttached"
	keyCertificateID = "iot:CertificateId"

	keyAttribute   = "iot:Connection.Thing.Attributes[" // <name>]
	keyCertificate = "iot:Certificate."                 // <fact>, see Certificate

	keyAvailable = keyCertificate + "AvailableKeys"

	// In conditions only: they differ from one packet to the next.
	keyTime  = "aws:CurrentTime"
	keyEpoch = "aws:EpochTime"
)

// simpleKeys are the keys without a variable part.
var simpleKeys = []string{keyClientID, keySourceIP, keyTransport, keyThingName, keyThingType, keyAttached, keyCertificateID}

// Vars are the values of policy variables and condition keys for one connection.
//
// An empty value, and in an Allow statement one with any of * ? + # $ (or, for client id, thing and type, a slash), is
// not substituted: a resource that uses it matches nothing. So no value can widen what a policy allows, be it in the
// policy's wildcards or in MQTT's. In a Deny it is used as the literal that it is: there it can but forbid more.
type Vars struct {
	ClientID      string            // iot:ClientId
	ThingName     string            // iot:Connection.Thing.ThingName; IsAttached is whether there is one
	ThingTypeName string            // iot:Connection.Thing.ThingTypeName
	Attributes    map[string]string // iot:Connection.Thing.Attributes[key]
	SourceIP      netip.Addr        // aws:SourceIp
	Plain         bool              // no TLS: aws:SecureTransport is false
	CertificateID string            // iot:CertificateId
	Certificate   *Certificate      // iot:Certificate.*; nil: none of them
	Now           func() time.Time  // aws:CurrentTime and aws:EpochTime; nil: not known
}

// value is a text to substitute. One that is not plain is used by Deny statements only.
type value struct {
	text  string
	plain bool
}

// value returns what ${key} stands for.
func (v *Vars) value(key string) value {
	list := v.keyValues(key)
	if len(list) == 0 {
		return value{}
	}
	text := list[0]
	if text == "" {
		return value{}
	}
	bad := "*?+#$\x00"
	switch key {
	case keyClientID, keyThingName, keyThingType: // each is to stay within one topic level
		bad += "/"
	}
	return value{text, utf8.ValidString(text) && !strings.ContainsAny(text, bad)}
}

// keyValues returns the values of a key: none where it is missing, several of a list only.
func (v *Vars) keyValues(key string) []string {
	one := func(text string) []string {
		if text == "" {
			return nil
		}
		return []string{text}
	}
	switch key {
	case keyClientID:
		return one(v.ClientID)
	case keySourceIP:
		if !v.SourceIP.IsValid() {
			return nil
		}
		return one(v.SourceIP.Unmap().String())
	case keyTransport:
		return one(strconv.FormatBool(!v.Plain))
	case keyThingName:
		return one(v.ThingName)
	case keyThingType:
		return one(v.ThingTypeName)
	case keyAttached:
		return one(strconv.FormatBool(v.ThingName != ""))
	case keyCertificateID:
		return one(v.CertificateID)
	case keyTime, keyEpoch:
		return timeValues(key, v.Now)
	}
	if name, ok := strings.CutPrefix(key, keyAttribute); ok {
		return one(v.Attributes[strings.TrimSuffix(name, "]")])
	}
	if fact, ok := strings.CutPrefix(key, keyCertificate); ok && v.Certificate != nil {
		return v.Certificate.values(fact)
	}
	return nil
}

// timeValues returns the value of a key of the time.
func timeValues(key string, now func() time.Time) []string {
	if now == nil {
		return nil
	}
	if key == keyEpoch {
		return []string{strconv.FormatInt(now().Unix(), 10)}
	}
	return []string{now().UTC().Format(time.RFC3339Nano)}
}

// isTime says whether a key's value differs from one packet to the next.
func isTime(key string) bool { return key == keyTime || key == keyEpoch }

// isList says whether a key has several values, which needs ForAnyValue or ForAllValues.
func isList(key string) bool { return key == keyAvailable || strings.HasSuffix(key, ".List") }

// isKey says whether there is such a key.
func isKey(key string) bool {
	if slices.Contains(simpleKeys, key) || isTime(key) {
		return true
	}
	if name, ok := strings.CutPrefix(key, keyAttribute); ok {
		return len(name) > 1 && strings.HasSuffix(name, "]")
	}
	fact, ok := strings.CutPrefix(key, keyCertificate)
	return ok && isFact(fact)
}

// nearKey returns the key that differs from key in case only, "" if there is none: keys are exact here.
func nearKey(key string) string {
	for _, k := range append([]string{keyTime, keyEpoch, keyAvailable}, simpleKeys...) {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return ""
}
