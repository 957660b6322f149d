package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"
)

// when is a statement that allows all when the conditions hold.
func when(effect, conditions string) string {
	return fmt.Sprintf(`{"Effect": %q, "Action": "*", "Resource": "*", "Condition": %s}`, effect, conditions)
}

func TestConditions(t *testing.T) {
	vars := lamp
	vars.SourceIP = netip.MustParseAddr("10.1.2.3")
	vars.Certificate = &Certificate{}
	for _, org := range []string{"Acme", "Lamps"} {
		vars.Certificate.add("Subject.Organization", org)
	}
	f := func(conditions string, want bool) {
		t.Helper()
		allowed := Compile([]*Policy{mustParse(t, statementDoc(when("Allow", conditions)))}, vars).Publish("a")
		denied := !Compile([]*Policy{mustParse(t, statementDoc(allow("*", "*"), when("Deny", conditions)))}, vars).Publish("a")
		if allowed != want || denied != want {
			t.Errorf("%s: allows %v, denies %v, want %v", conditions, allowed, denied, want)
		}
	}
	f(`{"StringEquals": {"iot:ClientId": "lamp-1"}}`, true)
	f(`{"StringEquals": {"iot:ClientId": "LAMP-1"}}`, false)
	f(`{"StringEqualsIgnoreCase": {"iot:ClientId": "LAMP-1"}}`, true)
	f(`{"StringEquals": {"iot:ClientId": ["x", "${iot:Connection.Thing.ThingName}"]}}`, true)
	f(`{"StringEquals": {"iot:ClientId": "lamp-*"}}`, false)
	f(`{"StringLike": {"iot:ClientId": "lamp-*"}}`, true)
	f(`{"StringLike": {"iot:ClientId": "lamp-${*}"}}`, false)
	f(`{"StringNotLike": {"iot:ClientId": ["a*", "l*"]}}`, false)
	f(`{"StringNotEquals": {"iot:ClientId": "lamp-2"}}`, true)
	// all keys and all operators must hold
	f(`{"StringEquals": {"iot:ClientId": "lamp-1", "iot:Connection.Thing.Attributes[city]": "oslo"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, true)
	f(`{"StringEquals": {"iot:ClientId": "lamp-1", "iot:Connection.Thing.Attributes[city]": "ulm"}}`, false)
	f(`{"StringEquals": {"iot:ClientId": "lamp-1"}, "NotIpAddress": {"aws:SourceIp": ["192.0.2.1", "10.0.0.0/8"]}}`, false)
	// a key that is missing
	f(`{"StringEquals": {"iot:Connection.Thing.Attributes[none]": "x"}}`, false)
	f(`{"StringNotEquals": {"iot:Connection.Thing.Attributes[none]": "x"}}`, true)
	f(`{"StringEqualsIfExists": {"iot:Connection.Thing.Attributes[none]": "x"}}`, true)
	f(`{"Null": {"iot:Connection.Thing.Attributes[none]": "true"}}`, true)
	f(`{"Null": {"iot:Connection.Thing.Attributes[city]": "true"}}`, false)
	// several values of a key
	f(`{"ForAnyValue:StringEquals": {"iot:Certificate.Subject.Organization.List": ["Lamps", "x"]}}`, true)
	f(`{"ForAllValues:StringEquals": {"iot:Certificate.Subject.Organization.List": ["Lamps", "x"]}}`, false)
	f(`{"ForAllValues:StringEquals": {"iot:Certificate.Subject.Organization.List": ["Lamps", "Acme"]}}`, true)
	f(`{"ForAllValues:StringEquals": {"iot:Certificate.Subject.Country.List": "x"}}`, true)
	f(`{"ForAnyValue:StringEquals": {"iot:Certificate.Subject.Country.List": "x"}}`, false)
	f(`{"ForAnyValue:StringEquals": {"iot:Certificate.AvailableKeys": "iot:Certificate.Subject.Organization"}}`, true)
	f(`{"StringEquals": {"iot:Certificate.Subject.Organization": "Acme", "iot:Certificate.Subject.Organization.1": "Lamps"}}`, true)
	f(`{"Bool": {"aws:SecureTransport": true}}`, true)
}

// TestConditionsNeverWiden: a variable that cannot be substituted makes no condition of an Allow statement true.
func TestConditionsNeverWiden(t *testing.T) {
	for _, operator := range []string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists", "ForAllValues:StringNotEquals"} {
		for _, name := range []string{"none", "evil", "star"} {
			text := fmt.Sprintf(`{%q: {"iot:Connection.Thing.Attributes[other]": "${iot:Connection.Thing.Attributes[%s]}"}}`, operator, name)
			if Compile([]*Policy{mustParse(t, statementDoc(when("Allow", text)))}, lamp).Publish("a") {
				t.Errorf("%s allows", text)
			}
		}
	}
}

func TestTimeConditions(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	vars := lamp
	vars.Now = func() time.Time { return now }
	r := Compile([]*Policy{mustParse(t, statementDoc(
		when("Allow", `{"DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-31T12:00:00Z"}, "NumericLessThan": {"aws:EpochTime": 1769864400}}`)))}, vars)
	f := func(at time.Duration, want bool) {
		t.Helper()
		now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(at)
		if got := r.Publish("a"); got != want {
			t.Errorf("%s: %v, want %v", now, got, want)
		}
	}
	// the same rights: the time is looked at with each packet
	f(0, true)
	f(-time.Second, false)
	f(time.Hour-time.Second, true)
	f(time.Hour, false)
	vars.Now = nil
	if Compile([]*Policy{mustParse(t, statementDoc(when("Allow", `{"DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}`)))}, vars).Publish("a") {
		t.Error("a time that is not known is later than 2020")
	}
}

func TestReadCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	link, err := url.Parse("urn:lamp:1")
	if err != nil {
		t.Fatal(err)
	}
	oid := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 4, n} }
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject: pkix.Name{CommonName: "lamp-1", Country: []string{"DE", "AT"}, Organization: []string{"Acme"}, OrganizationalUnit: []string{"Street"}, Province: []string{"Bayern"}, SerialNumber: "S7",
			ExtraNames: []pkix.AttributeTypeAndValue{{Type: oid(12), Value: "lamp"}, {Type: oid(4), Value: "Sur"}, {Type: oid(42), Value: "Given"}, {Type: oid(43), Value: "GS"},
				{Type: oid(44), Value: "III"}, {Type: oid(46), Value: "dnq"}, {Type: oid(65), Value: "*"}}},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example", "b.example"}, EmailAddresses: []string{"lamp@example.com"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}, URIs: []*url.URL{link},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	vars := Vars{Certificate: ReadCertificate(cert)}
	for name, want := range map[string]string{
		"SerialNumber": "4711", "Subject.CommonName": "lamp-1", "Subject.Country.List": "AT DE", "Subject.Country": "AT", "Subject.Country.1": "DE", "Subject.Country.2": "",
		"Subject.Organization": "Acme", "Subject.OrganizationalUnit": "Street", "Subject.State": "Bayern", "Subject.SerialNumber": "S7", "Subject.Title": "lamp",
		"Subject.Surname": "Sur", "Subject.GivenName": "Given", "Subject.Initials": "GS", "Subject.GenerationQualifier": "III",
		"Subject.DistinguishedNameQualifier": "dnq", "Subject.Pseudonym": "*", "Issuer.CommonName": "lamp-1",
		"Subject.AlternativeName.DNSName.List": "a.example b.example", "Subject.AlternativeName.RFC822Name": "lamp@example.com",
		"Subject.AlternativeName.IPAddress": "192.0.2.7", "Subject.AlternativeName.UniformResourceIdentifier": "urn:lamp:1", "Issuer.AlternativeName.DNSName": "",
	} {
		if !isKey("iot:Certificate." + name) {
			t.Errorf("%s is no key", name)
		}
		got := ""
		for i, text := range vars.keyValues("iot:Certificate." + name) {
			if i > 0 {
				got += " "
			}
			got += text
		}
		if got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	// * $ + ? # in a certificate are not substituted, the rest is
	r := Compile([]*Policy{mustParse(t, statementDoc(allow("iot:Publish", "arn:aws:iot:*:*:topic/c/${iot:Certificate.Subject.Pseudonym}"),
		allow("iot:Publish", "arn:aws:iot:*:*:topic/d/${iot:Certificate.Subject.CommonName}/${iot:Certificate.SerialNumber}")))}, vars)
	if got := ask(r, "publish c/*", "publish c/x", "publish d/lamp-1/4711"); got != "nny" {
		t.Errorf("substituted: %s, want nny", got)
	}
}

func TestExplain(t *testing.T) {
	first := mustParse(t, statementDoc(allow("iot:Publish", "arn:aws:iot:*:*:topic/a/*"),
		`{"Sid": "quiet", "Effect": "Deny", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/a/b"}`))
	second := mustParse(t, statementDoc(`{"Sid": "here", "Effect": "Allow", "Action": "iot:*", "Resource": "arn:aws:iot:*:*:topic/${iot:Certificate.Subject.CommonName}",
		"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}`))
	r := Compile([]*Policy{first, second}, lamp)
	f := func(a Action, name, want string) {
		t.Helper()
		if got := fmt.Sprintf("%+v", r.Explain(a, name, lamp)); got != want {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
	}
	f(Publish, "a/c", "{Decision:ALLOWED Matches:[{Policy:0 Statement:0 Sid: Deny:false}] Missing:[aws:SourceIp iot:Certificate.Subject.CommonName]}")
	f(Publish, "a/b", "{Decision:EXPLICIT_DENY Matches:[{Policy:0 Statement:0 Sid: Deny:false} {Policy:0 Statement:1 Sid:quiet Deny:true}] Missing:[aws:SourceIp iot:Certificate.Subject.CommonName]}")
	f(Publish, "b", "{Decision:IMPLICIT_DENY Matches:[] Missing:[aws:SourceIp iot:Certificate.Subject.CommonName]}")
	f(Connect, "lamp-1", "{Decision:IMPLICIT_DENY Matches:[] Missing:[aws:SourceIp]}")
}
