package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Certificate holds what a policy can ask of a client certificate: iot:Certificate.<fact>, where fact is SerialNumber
// (decimal), AvailableKeys, or Subject or Issuer, a dot and an attribute or AlternativeName.<kind>. A fact with several
// values stands for the first; .0, .1 ... pick one and .List is all of them. Immutable.
type Certificate struct {
	facts []fact
}

type fact struct {
	name   string // without .List and .N
	values []string
}

// attributeNames are the attributes of a distinguished name that AWS IoT has, by the last number of their OID below 2.5.4.
var attributeNames = map[int]string{
	3: "CommonName", 4: "Surname", 5: "SerialNumber", 6: "Country", 8: "State", 10: "Organization", 11: "OrganizationalUnit",
	12: "Title", 42: "GivenName", 43: "Initials", 44: "GenerationQualifier", 46: "DistinguishedNameQualifier", 65: "Pseudonym",
}

// alternativeKinds are the kinds of an alternative name by their tag (RFC 5280 section 4.2.1.6).
var alternativeKinds = map[int]string{1: "RFC822Name", 2: "DNSName", 4: "DirectoryName", 6: "UniformResourceIdentifier", 7: "IPAddress"}

const (
	alternative = "AlternativeName."
	maxFacts    = 128 // values of one certificate; what is beyond is left out
)

// ReadCertificate reads the facts of a certificate. It keeps no reference to it.
func ReadCertificate(cert *x509.Certificate) *Certificate {
	c := &Certificate{}
	c.add("SerialNumber", cert.SerialNumber.String())
	c.addName("Subject.", cert.Subject)
	c.addName("Issuer.", cert.Issuer)
	for _, extension := range cert.Extensions {
		switch {
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}):
			c.addAlternatives("Subject.", extension.Value)
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 18}):
			c.addAlternatives("Issuer.", extension.Value)
		}
	}
	return c
}

func (c *Certificate) add(name, text string) {
	if text == "" {
		return
	}
	for i := range c.facts {
		if c.facts[i].name == name {
			if len(c.facts[i].values) < maxFacts {
				c.facts[i].values = append(c.facts[i].values, strings.Clone(text))
			}
			return
		}
	}
	if len(c.facts) < maxFacts {
		c.facts = append(c.facts, fact{name, []string{strings.Clone(text)}})
	}
}

func (c *Certificate) addName(of string, name pkix.Name) {
	for _, attribute := range name.Names {
		if len(attribute.Type) != 4 || !attribute.Type[:3].Equal(asn1.ObjectIdentifier{2, 5, 4}) {
			continue
		}
		text, isText := attribute.Value.(string)
		if known := attributeNames[attribute.Type[3]]; known != "" && isText {
			c.add(of+known, text)
		}
	}
}

// addAlternatives reads GeneralNames. What cannot be read is left out, as a certificate that is no fact grants nothing.
func (c *Certificate) addAlternatives(of string, der []byte) {
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &names); err != nil {
		return
	}
	for _, name := range names {
		if name.Class != asn1.ClassContextSpecific {
			continue
		}
		text := string(name.Bytes)
		switch name.Tag {
		case 4:
			var rdn pkix.RDNSequence
			if _, err := asn1.Unmarshal(name.Bytes, &rdn); err != nil {
				continue
			}
			text = rdn.String()
		case 7:
			addr, ok := netip.AddrFromSlice(name.Bytes)
			if !ok {
				continue
			}
			text = addr.String()
		}
		if kind := alternativeKinds[name.Tag]; kind != "" {
			c.add(of+alternative+kind, text)
		}
	}
}

// values returns the values of a fact, with .List or .N or without.
func (c *Certificate) values(name string) []string {
	if name == "AvailableKeys" {
		keys := make([]string, 0, len(c.facts))
		for _, f := range c.facts {
			keys = append(keys, keyCertificate+f.name)
		}
		return keys
	}
	base, pick := splitFact(name)
	i := slices.IndexFunc(c.facts, func(f fact) bool { return f.name == base })
	if i < 0 {
		return nil
	}
	values := c.facts[i].values
	if pick == "List" {
		return values
	}
	n, err := strconv.Atoi(pick)
	if err != nil || n >= len(values) {
		return nil
	}
	return values[n : n+1]
}

// splitFact cuts .List or .N off; without either it picks the first value.
func splitFact(name string) (base, pick string) {
	at := strings.LastIndexByte(name, '.')
	if last := name[at+1:]; at >= 0 && (last == "List" || isIndex(last)) {
		return name[:at], last
	}
	return name, "0"
}

func isIndex(text string) bool {
	if len(text) == 0 || len(text) > 3 {
		return false
	}
	return strings.Trim(text, "0123456789") == ""
}

// isFact says whether there is such a fact, in some certificate.
func isFact(name string) bool {
	if name == "AvailableKeys" || name == "SerialNumber" {
		return true
	}
	base, _ := splitFact(name)
	for _, of := range []string{"Subject.", "Issuer."} {
		attribute, ok := strings.CutPrefix(base, of)
		if !ok {
			continue
		}
		names := attributeNames
		if kind, isAlternative := strings.CutPrefix(attribute, alternative); isAlternative {
			attribute, names = kind, alternativeKinds
		}
		for _, known := range names {
			if known == attribute {
				return true
			}
		}
	}
	return false
}
