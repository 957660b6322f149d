package pki_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tests here look at us with other people's eyes: the openssl and curl commands.

type shell struct {
	t   testing.TB
	dir string
}

func newShell(t testing.TB, programs ...string) *shell {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	return &shell{t: t, dir: t.TempDir()}
}

// run runs a command in the shell's folder with nothing on stdin and returns all it prints.
func (s *shell) run(line string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	words := strings.Fields(line)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *shell) must(line string) string {
	s.t.Helper()
	out, err := s.run(line)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func (s *shell) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) read(name string) []byte {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// A device made of openssl and curl alone enrolls, renews, connects, and is shut out when it is revoked.
func TestOpenSSLDevice(t *testing.T) {
	s := newShell(t, "openssl", "curl")
	g := openGateway(t, nil)
	g.listen()
	s.write("ca.pem", g.RootPEM())
	est := "https://localhost:" + g.http[strings.LastIndex(g.http, ":")+1:] + "/.well-known/est/"

	// CA certificates: intermediate and root
	s.must("curl -sS --fail --cacert ca.pem -o cacerts.b64 " + est + "cacerts")
	s.must("openssl base64 -d -A -in cacerts.b64 -out cacerts.p7")
	s.must("openssl pkcs7 -inform DER -in cacerts.p7 -print_certs -out cacerts.pem")

	// a key, its hash on the allow-list, a self-signed certificate and a request
	s.must("openssl ecparam -name prime256v1 -genkey -noout -out key.pem")
	s.must("openssl req -x509 -new -key key.pem -subj /CN=whatever -days 1 -out self.pem")
	s.must("openssl pkey -in key.pem -pubout -outform DER -out spki.der")
	hash := strings.Fields(s.must("openssl dgst -sha256 -r spki.der"))[0]
	added, rows, err := g.AllowCSV(t.Context(), strings.NewReader("thingName,spkiSha256\nlamp-1,"+hash+"\n"))
	if err != nil || added != 1 || len(rows) != 0 {
		t.Fatal(added, rows, err)
	}
	s.must("openssl req -new -key key.pem -subj /CN=whatever -outform DER -out csr.der")
	s.must("openssl base64 -in csr.der -out csr.b64")
	post := "curl -sS --fail-with-body --cacert ca.pem --key key.pem --data-binary @csr.b64 -H Content-Type:application/pkcs10 -o answer.b64 "
	s.must(post + "--cert self.pem " + est + "simpleenroll")
	unwrap := func(name string) {
		t.Helper()
		s.must("openssl base64 -d -in answer.b64 -out answer.p7 -A")
		s.must("openssl pkcs7 -inform DER -in answer.p7 -print_certs -out " + name)
	}
	unwrap("dev.pem")
	if text := s.must("openssl x509 -in dev.pem -noout -subject -ext extendedKeyUsage,keyUsage"); !strings.Contains(text, "O = muster, CN = lamp-1") && !strings.Contains(text, "CN = lamp-1, O = muster") ||
		!strings.Contains(text, "TLS Web Client Authentication") || strings.Contains(text, "Server") {
		t.Fatal(text)
	}
	s.must("openssl verify -x509_strict -purpose sslclient -CAfile ca.pem -untrusted cacerts.pem dev.pem")
	if out, err := s.run(post + "--cert self.pem " + est + "simpleenroll"); err == nil || !strings.Contains(string(s.read("answer.b64")), "has enrolled already") {
		t.Fatalf("second time: %v %s %s", err, out, s.read("answer.b64"))
	}
	s.must(post + "--cert dev.pem " + est + "simplereenroll")
	unwrap("dev2.pem")
	s.must("openssl verify -CAfile ca.pem -untrusted cacerts.pem dev2.pem")

	// the device listener, twice with one ticket
	crl := func() {
		t.Helper()
		block := &pem.Block{Type: "X509 CRL", Bytes: g.CRL()}
		s.write("crl.pem", pem.EncodeToMemory(block))
	}
	crl()
	verify := "openssl verify -crl_check -CRLfile crl.pem -CAfile ca.pem -untrusted cacerts.pem dev.pem"
	s.must(verify)
	connect := "openssl s_client -quiet -connect " + g.mqtt + " -servername localhost -CAfile ca.pem -verify_return_error -cert dev.pem -key key.pem "
	if out := s.must(connect + "-sess_out ticket.pem"); !strings.Contains(out, "lamp-1\n") {
		t.Fatal(out)
	}
	if out := s.must(connect + "-sess_in ticket.pem"); !strings.Contains(out, "lamp-1\n") {
		t.Fatal(out)
	}
	if out, _ := s.run("openssl s_client -quiet -connect " + g.mqtt + " -CAfile ca.pem"); strings.Contains(out, "lamp") || !strings.Contains(out, "certificate required") {
		t.Fatalf("without a certificate: %s", out)
	}
	if out, _ := s.run(connect + "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"); !strings.Contains(out, "handshake failure") {
		t.Fatalf("a suite that is no AEAD: %s", out)
	}
	certs, err := g.Certificates(t.Context(), "lamp-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Revoke(t.Context(), certs[0].ID); err != nil {
		t.Fatal(err)
	}
	if out, _ := s.run(connect + "-sess_in ticket.pem"); strings.Contains(out, "lamp-1") {
		t.Fatalf("revoked, and back with a ticket: %s", out)
	}
	crl()
	if out, err := s.run(verify); err == nil || !strings.Contains(out, "error 23") {
		t.Fatalf("revoked: %v %s", err, out)
	}
	if text := s.must("openssl crl -in crl.pem -noout -text"); strings.Count(text, "Serial Number:") != 2 {
		t.Fatal(text)
	}
}

// openssl finds nothing to complain about in any certificate of ours.
func TestOpenSSLChain(t *testing.T) {
	s := newShell(t, "openssl")
	g := openGateway(t, nil)
	g.listen()
	s.write("ca.pem", g.RootPEM())
	s.must("openssl verify -x509_strict -check_ss_sig -CAfile ca.pem ca.pem")
	out, err := s.run("openssl s_client -connect " + g.http + " -servername localhost -verify_hostname localhost -verify_return_error -x509_strict -CAfile ca.pem")
	if err != nil || !strings.Contains(out, "Verify return code: 0 (ok)") {
		t.Fatalf("%v\n%s", err, out)
	}
	text := s.must("openssl x509 -in ca.pem -noout -text")
	for _, want := range []string{"CA:TRUE, pathlen:1", "Certificate Sign, CRL Sign", "ecdsa-with-SHA256"} {
		if !strings.Contains(text, want) {
			t.Fatalf("the root lacks %q:\n%s", want, text)
		}
	}
	if bytes.Contains([]byte(text), []byte("Name Constraints")) {
		t.Fatal("the root has name constraints")
	}
}
