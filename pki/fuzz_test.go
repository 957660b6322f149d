package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"testing"
)

// FuzzEnrollBody: whatever comes, a request that is taken is signed by its own key, of an accepted kind, asks for no
// CA, and is the same when it is sent in its plainest form.
func FuzzEnrollBody(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "lamp"}, DNSNames: []string{"a"}}, key)
	if err != nil {
		f.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(der)
	f.Add([]byte(text))
	f.Add([]byte(text[:70] + "\r\n" + text[70:] + "\n"))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"))
	f.Add([]byte("-----BEGIN X-----\nAAAA\n-----END X-----\n"))
	f.Add([]byte("AA=="))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		csr, err := parseCSR(bytes.Clone(body), false)
		if err != nil {
			refusal, ok := err.(*Error)
			if !ok || refusal.Status < 400 || refusal.Status > 499 || refusal.Message == "" {
				t.Fatalf("no refusal with a status of a client's fault: %v", err)
			}
			return
		}
		if csr.CheckSignature() != nil || checkDeviceKey(csr.PublicKey, false) != nil {
			t.Fatal("took a request that is not signed by an accepted key")
		}
		again, err := parseCSR([]byte(base64.StdEncoding.EncodeToString(csr.Raw)), false)
		if err != nil || !bytes.Equal(again.Raw, csr.Raw) {
			t.Fatalf("the plain form of an accepted request: %v", err)
		}
	})
}

// FuzzKeyFile: no bytes make the reader panic or take much memory, and only what was locked opens.
func FuzzKeyFile(f *testing.F) {
	secret := unlockSecret{kdf: kdfUnlockKey, secret: bytes.Repeat([]byte{7}, 32), file: "unlock.key"}
	master := bytes.Repeat([]byte{9}, masterSize)
	good, err := lockMaster(master, secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte(keyMagic))
	f.Fuzz(func(t *testing.T, file []byte) {
		kdf, err := keyFileKDF(file)
		if err != nil || kdf != kdfUnlockKey {
			return
		}
		if got, err := unlockMaster(file, secret); err == nil && !bytes.Equal(got, master) {
			t.Fatal("opened to something else")
		}
	})
}
