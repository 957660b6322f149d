package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCertificateCommands drives every certificate and principal operation with the AWS CLI.
func TestCertificateCommands(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	aws := commandLine{g.openAWS()}
	type made struct {
		CertificateARN, CertificateID, CertificatePEM string
		KeyPair                                       struct{ PublicKey, PrivateKey string }
	}
	read := func(text string) (m made) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	// keys are made on devices
	aws.fails(words("create-keys-and-certificate --set-as-active"), "CreateCertificateFromCsr")

	csr := "file://" + csrFile(t)
	one := read(aws.ok([]string{"create-certificate-from-csr", "--certificate-signing-request", csr}))
	aws.ok(words("describe-certificate --certificate-id "+one.CertificateID), `"status": "INACTIVE"`, `"ownedBy": "123456789012"`, `"notAfter"`, `"certificateMode": "DEFAULT"`, "BEGIN CERTIFICATE")
	aws.fails([]string{"create-certificate-from-csr", "--certificate-signing-request", "nonsense"}, "InvalidRequestException")
	aws.fails(words("describe-certificate --certificate-id "+strings.Repeat("0", 64)), "ResourceNotFoundException")
	g.iot("GET", "/certificates/xyz", "").awsError(400, "InvalidRequestException")

	// a certificate of somebody else
	self, _ := selfSigned(t, "pump")
	file := filepath.Join(t.TempDir(), "pump.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: self.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	aws.fails([]string{"register-certificate", "--certificate-pem", "file://" + file}, "CertificateValidationException")
	two := read(aws.ok([]string{"register-certificate-without-ca", "--certificate-pem", "file://" + file, "--status", "ACTIVE"}))
	aws.fails([]string{"register-certificate-without-ca", "--certificate-pem", "file://" + file}, "ResourceAlreadyExistsException")
	aws.fails([]string{"register-certificate-without-ca", "--certificate-pem", "file://" + file, "--status", "PENDING_TRANSFER"}, "CertificateStateException")
	aws.fails([]string{"register-certificate-without-ca", "--certificate-pem", "nonsense"}, "CertificateValidationException")
	// of a client CA
	ca, issue := g.clientCA(t)
	if err := g.authority.AddClientCA(ca, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, issue("gauge"), 0o600); err != nil {
		t.Fatal(err)
	}
	three := read(aws.ok([]string{"register-certificate", "--certificate-pem", "file://" + file, "--status", "ACTIVE"}))
	aws.ok(words("describe-certificate --certificate-id "+three.CertificateID), `"status": "ACTIVE"`)

	// principals
	for _, name := range []string{"pump", "gauge", "tank"} {
		g.iot("POST", "/things/"+name, "").want(200)
	}
	attach := func(thing, arn string) []string {
		return []string{"attach-thing-principal", "--thing-name", thing, "--principal", arn}
	}
	aws.ok(attach("pump", two.CertificateARN))
	aws.ok(attach("pump", two.CertificateARN)) // again
	aws.ok(attach("tank", two.CertificateARN))
	aws.fails(attach("none", two.CertificateARN), "ResourceNotFoundException")
	aws.fails(attach("pump", "arn:aws:iot:local:123456789012:cert/"+strings.Repeat("0", 64)), "ResourceNotFoundException")
	aws.fails(attach("pump", "pump"), "InvalidRequestException")
	aws.ok(words("list-thing-principals --thing-name pump"), two.CertificateARN)
	aws.ok([]string{"list-principal-things", "--principal", two.CertificateARN}, `"pump"`, `"tank"`)
	aws.fails(words("list-thing-principals --thing-name none"), "ResourceNotFoundException")
	g.withPrincipal("PUT", "/things/gauge/principals?thingPrincipalType=EXCLUSIVE_THING", two.CertificateARN).awsError(400, "InvalidRequestException")
	g.withPrincipal("PUT", "/things/gauge/principals?thingPrincipalType=MAYBE", three.CertificateARN).awsError(400, "InvalidRequestException")
	g.withPrincipal("PUT", "/things/gauge/principals?thingPrincipalType=EXCLUSIVE_THING", three.CertificateARN).want(200)
	g.withPrincipal("PUT", "/things/pump/principals", three.CertificateARN).awsError(400, "InvalidRequestException")
	if text := g.iot("GET", "/things/gauge/principals-v2", "").want(200).text; text != `{"thingPrincipalObjects":[{"principal":"`+three.CertificateARN+`","thingPrincipalType":"EXCLUSIVE_THING"}]}` {
		t.Fatal(text)
	}
	if text := g.iot("GET", "/things/gauge/principals-v2?thingPrincipalType=NON_EXCLUSIVE_THING", "").want(200).text; text != `{"thingPrincipalObjects":[]}` {
		t.Fatal(text)
	}
	if text := g.withPrincipal("GET", "/principals/things-v2", two.CertificateARN).want(200).text; text != `{"principalThingObjects":[{"thingName":"pump","thingPrincipalType":"NON_EXCLUSIVE_THING"},{"thingName":"tank","thingPrincipalType":"NON_EXCLUSIVE_THING"}]}` {
		t.Fatal(text)
	}
	var page struct {
		Things    []string
		NextToken string
	}
	g.withPrincipal("GET", "/principals/things?maxResults=1", two.CertificateARN).want(200).json(&page)
	if len(page.Things) != 1 || page.Things[0] != "pump" || page.NextToken == "" {
		t.Fatalf("%+v", page)
	}
	token := page.NextToken
	page.NextToken = ""
	g.withPrincipal("GET", "/principals/things?maxResults=1&nextToken="+token, two.CertificateARN).want(200).json(&page)
	if len(page.Things) != 1 || page.Things[0] != "tank" || page.NextToken != "" {
		t.Fatalf("%+v", page)
	}

	// the page of a thing has what is attached to it, too
	if text := g.as(adminToken, "GET", "/api/things/pump", "").want(200).text; !strings.Contains(text, two.CertificateID) {
		t.Fatal(text)
	}

	// states and the end
	update := func(id, status string) []string {
		return []string{"update-certificate", "--certificate-id", id, "--new-status", status}
	}
	remove := func(id string, more ...string) []string {
		return append([]string{"delete-certificate", "--certificate-id", id}, more...)
	}
	aws.fails(remove(two.CertificateID), "CertificateStateException")
	aws.fails(remove(two.CertificateID, "--force-delete"), "CertificateStateException")
	aws.ok(update(two.CertificateID, "INACTIVE"))
	aws.fails(remove(two.CertificateID, "--force-delete"), "DeleteConflictException")
	for _, thing := range []string{"pump", "tank"} {
		aws.ok([]string{"detach-thing-principal", "--thing-name", thing, "--principal", two.CertificateARN})
	}
	aws.fails([]string{"detach-thing-principal", "--thing-name", "tank", "--principal", two.CertificateARN}, "ResourceNotFoundException")
	g.iot("POST", "/policies/p", policyBody(publishDocument)).want(200)
	aws.ok([]string{"attach-policy", "--policy-name", "p", "--target", two.CertificateARN})
	aws.fails(remove(two.CertificateID), "DeleteConflictException")
	aws.ok(remove(two.CertificateID, "--force-delete"))
	aws.fails(remove(two.CertificateID), "ResourceNotFoundException")
	if out := aws.ok(words("list-targets-for-policy --policy-name p")); strings.Contains(out, "cert/") {
		t.Fatal(out)
	}
	aws.fails(update(one.CertificateID, "PENDING_TRANSFER"), "CertificateStateException")
	aws.ok(update(one.CertificateID, "ACTIVE"))
	aws.ok(update(one.CertificateID, "REVOKED"))
	aws.fails(update(one.CertificateID, "ACTIVE"), "CertificateStateException")
	g.as(adminToken, "POST", "/api/things/gauge/revoke", "").want(204)
	aws.ok(words("describe-certificate --certificate-id "+three.CertificateID), `"status": "REVOKED"`)
	audited := g.as(adminToken, "GET", "/api/audit", "").want(200).text
	for _, want := range []string{"p " + two.CertificateARN, "pump " + two.CertificateID, "DeleteCertificate"} {
		if !strings.Contains(audited, want) {
			t.Fatalf("%q is not in the audit log: %s", want, audited)
		}
	}
	aws.fails([]string{"create-certificate-from-csr", "--certificate-signing-request", csr}, "CertificateStateException") // the key is blocked
	aws.fails(attach("pump", one.CertificateARN), "InvalidRequestException")

	// pages, both ways
	for range 3 {
		aws.ok([]string{"create-certificate-from-csr", "--certificate-signing-request", "file://" + csrFile(t)})
	}
	list := func(order string) (ids []string) {
		t.Helper()
		for marker := ""; ; {
			var page struct {
				Certificates []struct{ CertificateID, Status string }
				NextMarker   string
			}
			g.iot("GET", fmt.Sprintf("/certificates?pageSize=2&isAscendingOrder=%s&marker=%s", order, strings.ReplaceAll(marker, "=", "%3D")), "").want(200).json(&page)
			for _, c := range page.Certificates {
				ids = append(ids, c.CertificateID)
			}
			if marker = page.NextMarker; marker == "" {
				return ids
			}
		}
	}
	up, down := list("true"), list("false")
	slices.Reverse(down)
	if len(up) != 5 || !slices.Equal(up, down) || up[0] != one.CertificateID || up[1] != three.CertificateID {
		t.Fatalf("up %v\ndown %v", up, down)
	}
	aws.ok(words("list-certificates --page-size 2 --ascending-order"), one.CertificateARN, three.CertificateARN, `"status": "REVOKED"`, `"nextMarker"`)
}

// withPrincipal makes a signed request with the principal in AWS's header.
func (g *gateway) withPrincipal(method, path, arn string) reply {
	g.t.Helper()
	return g.send(g.client, method, "/iot"+path, "", "Authorization", "Bearer "+adminToken, "x-amzn-principal", arn)
}

// clientCA returns the PEM of a CA, and what issues certificates of it for clients.
func (g *gateway) clientCA(t *testing.T) (ca []byte, issue func(name string) []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plant CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	sign := func(template *x509.Certificate, public any) []byte {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, template, root, public, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return sign(root, key.Public()), func(name string) []byte {
		t.Helper()
		device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, device.Public())
	}
}
