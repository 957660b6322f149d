package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/agent"
	"muster/pki"
	"muster/registry"
	"muster/registry/store"
	"muster/tsdb/vfs"
)

// iot makes a request to the control plane and fails unless the answer has the status.
func (g *testGateway) iot(method, path, body string, want int) string {
	g.t.Helper()
	status, text := g.call(method, "/iot"+path, body)
	if status != want {
		g.t.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	return text
}

// certificateOf returns the ARN of the one certificate of a thing.
func (g *testGateway) certificateOf(thing string) string {
	g.t.Helper()
	var list struct{ Principals []string }
	if err := json.Unmarshal([]byte(g.iot("GET", "/things/"+thing+"/principals", "", 200)), &list); err != nil || len(list.Principals) != 1 {
		g.t.Fatalf("principals of %s: %+v, %v", thing, list, err)
	}
	return list.Principals[0]
}

// online runs a device until the test ends.
func (g *testGateway) online(device *agent.Device) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	g.t.Cleanup(func() { cancel(); <-ended })
}

// policyDocument is a document with the statements given as JSON, ready for a JSON body.
func policyDocument(t *testing.T, statements ...string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	allowEverything = `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`
	denyLoud        = `{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/loud"}`
	denyEntry       = `{"Effect":"Deny","Action":"iot:Connect","Resource":"*"}`
)

// TestNextPacketObeys: what is changed in a policy, an attachment, a group or a thing is in force on the next packet of a
// device that is connected.
func TestNextPacketObeys(t *testing.T) {
	g := startGateway(t, t.TempDir())
	_, device := g.enroll("lamp-1")
	g.online(device)
	cert := g.certificateOf("lamp-1")
	publish := func(topic string, want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := device.Publish(ctx, topic, []byte(`{"v": 1}`))
		if refused := err != nil && strings.Contains(err.Error(), "not authorized"); refused == want || err != nil && !refused {
			t.Fatalf("publish to %s: %v, allowed should be %v", topic, err, want)
		}
	}
	connections := func() uint64 { return g.devices.Stats().ConnectionsTotal }
	publish("dt/lamp-1/loud", true)
	before := connections()

	// attached to the certificate: it holds instead of the default
	g.iot("POST", "/policies/quiet", policyDocument(t, allowEverything, denyLoud), 200)
	g.iot("PUT", "/target-policies/quiet", `{"target":"`+cert+`"}`, 200)
	publish("dt/lamp-1/loud", false)
	publish("dt/lamp-1/low", true)
	// another version, and back
	g.iot("POST", "/policies/quiet/version?setAsDefault=true", policyDocument(t, allowEverything), 200)
	publish("dt/lamp-1/loud", true)
	g.iot("PATCH", "/policies/quiet/version/1", "", 200)
	publish("dt/lamp-1/loud", false)
	g.iot("POST", "/target-policies/quiet", `{"target":"`+cert+`"}`, 200)
	publish("dt/lamp-1/loud", true)

	// attached to a group above the thing's
	for _, group := range []registry.GroupInput{{Name: "city"}, {Name: "street", Parent: "city"}} {
		if _, err := g.things.CreateGroup(t.Context(), group); err != nil {
			t.Fatal(err)
		}
	}
	g.iot("PUT", "/target-policies/quiet", `{"target":"arn:aws:iot:local:123456789012:thinggroup/city"}`, 200)
	publish("dt/lamp-1/loud", true)
	if err := g.things.AddToGroup(t.Context(), "street", "lamp-1"); err != nil {
		t.Fatal(err)
	}
	publish("dt/lamp-1/loud", false)
	if err := g.things.RemoveFromGroup(t.Context(), "street", "lamp-1"); err != nil {
		t.Fatal(err)
	}
	publish("dt/lamp-1/loud", true)

	// an attribute in a condition
	g.iot("POST", "/policies/mode", policyDocument(t, allowEverything,
		`{"Effect":"Deny","Action":"iot:Publish","Resource":"*","Condition":{"StringEquals":{"iot:Connection.Thing.Attributes[mode]":"silent"}}}`), 200)
	g.iot("PUT", "/target-policies/mode", `{"target":"`+cert+`"}`, 200)
	publish("dt/lamp-1", true)
	g.iot("PATCH", "/things/lamp-1", `{"attributePayload":{"attributes":{"mode":"silent"},"merge":true}}`, 200)
	publish("dt/lamp-1", false)
	g.iot("PATCH", "/things/lamp-1", `{"attributePayload":{"attributes":{"mode":""},"merge":true}}`, 200)
	publish("dt/lamp-1", true)
	if now := connections(); now != before {
		t.Errorf("%d connections were made meanwhile: the device was to stay connected", now-before)
	}

	// no Connect any more: the session ends, and no other begins until it is allowed again
	g.iot("POST", "/policies/mode/version?setAsDefault=true", policyDocument(t, allowEverything, denyEntry), 200)
	eventually(t, "the session ends when Connect is denied", func() bool { return !device.Stats().Connected })
	g.iot("PATCH", "/policies/mode/version/1", "", 200)
	eventually(t, "the device comes back", func() bool { return device.Stats().Connected })
	publish("dt/lamp-1", true)
}

// TestCertificateStates: a certificate that is not active ends the session at once and lets nobody in.
func TestCertificateStates(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, dir)
	folder, device := g.enroll("lamp-1")
	g.online(device)
	eventually(t, "the device is connected", func() bool { return device.Stats().Connected })
	id := g.certificateOf("lamp-1")
	id = id[strings.LastIndex(id, "/")+1:]
	found := func(query, want string) {
		t.Helper()
		status, body := g.get("/api/things?q=" + url.QueryEscape(query))
		var page struct{ Things []struct{ ThingName string } }
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 {
			t.Fatalf("%d %s: %v", status, body, err)
		}
		var names []string
		for _, thing := range page.Things {
			names = append(names, thing.ThingName)
		}
		if got := strings.Join(names, " "); got != want {
			t.Fatalf("%s finds %q, want %q", query, got, want)
		}
	}
	found("cert.status:ACTIVE AND cert.subject:CN=lamp-1* AND cert.notAfter>now+1d AND cert.id:"+id, "lamp-1")
	pub := func(want bool) {
		t.Helper()
		code, out := g.mosquittoPub(folder, "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{"power_w": 2}`)
		if (code == 0) != want {
			t.Fatalf("mosquitto_pub: exit %d, want success %v\n%s", code, want, out)
		}
	}
	g.iot("PUT", "/certificates/"+id+"?newStatus=INACTIVE", "", 200)
	found("cert.status:INACTIVE", "lamp-1")
	eventually(t, "the session of the inactive certificate ends", func() bool { return !device.Stats().Connected })
	pub(false)
	g.iot("PUT", "/certificates/"+id+"?newStatus=ACTIVE", "", 200)
	eventually(t, "the device comes back", func() bool { return device.Stats().Connected })

	// detached from its thing: valid, but for nobody
	arn := "arn:aws:iot:local:123456789012:cert/" + id
	g.principal("DELETE", "/things/lamp-1/principals", arn, 200)
	eventually(t, "the session of the detached certificate ends", func() bool { return !device.Stats().Connected })
	pub(false)
	// attached to another thing it is that thing
	g.iot("POST", "/things/lamp-2", "", 200)
	g.principal("PUT", "/things/lamp-2/principals", arn, 200)
	if code, out := g.mosquittoPub(folder, "-i", "lamp-2", "-t", "dt/lamp-2", "-q", "1", "-m", `{"power_w": 3}`); code != 0 {
		t.Fatalf("as lamp-2: %d\n%s", code, out)
	}
	found("cert.status:*", "lamp-2")
	if got := g.query("power_w"); got["lamp-2"] != "3" {
		t.Errorf("power_w = %v", got)
	}
	g.iot("PUT", "/certificates/"+id+"?newStatus=REVOKED", "", 200)
	if code, _ := g.mosquittoPub(folder, "-i", "lamp-2", "-t", "dt/lamp-2", "-q", "1", "-m", `{}`); code == 0 {
		t.Error("a revoked certificate connects")
	}
	if text := g.iot("PUT", "/certificates/"+id+"?newStatus=ACTIVE", "", 406); !strings.Contains(text, "for ever") {
		t.Error(text)
	}
	found("cert.status:REVOKED", "lamp-2")
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, dir)
	found("cert.status:REVOKED", "lamp-2")
}

// principal makes a request with the principal in AWS's header.
func (g *testGateway) principal(method, path, arn string, want int) string {
	g.t.Helper()
	request, err := http.NewRequest(method, g.people.URL("/iot"+path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+testToken)
	request.Header.Set("x-amzn-principal", arn)
	client := g.client()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != want {
		g.t.Fatalf("%s %s: %d %s (%v), want %d", method, path, response.StatusCode, text, err, want)
	}
	return string(text)
}

// removeThing deletes a thing with what is attached to it.
func (g *testGateway) removeThing(name string) {
	g.t.Helper()
	if code, body := g.call("DELETE", "/api/things/"+name, ""); code != 204 {
		g.t.Fatalf("remove %s: %d %s", name, code, body)
	}
}

// TestThingMadeAnew: a thing that was deleted and made anew under its name does not admit the old device, whose key is
// free to be allowed again.
func TestThingMadeAnew(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, dir)
	folder, device := g.enroll("lamp-1")
	pub := func(want bool) {
		t.Helper()
		code, out := g.mosquittoPub(folder, "-i", "lamp-1", "-t", "dt/lamp-1", "-q", "1", "-m", `{"power_w": 2}`)
		if (code == 0) != want {
			t.Fatalf("mosquitto_pub: exit %d, want success %v\n%s", code, want, out)
		}
	}
	pub(true)
	// as AWS: not while a device has it
	if text := g.iot("DELETE", "/things/lamp-1", "", 400); !strings.Contains(text, "certificates are still attached to it (1)") {
		t.Fatal(text)
	}
	pub(true)
	g.removeThing("lamp-1")
	g.iot("POST", "/things/lamp-1", "", 200)
	pub(false)
	allow := func() error {
		return g.identities.Allow(t.Context(), []pki.Allowed{{Key: device.KeyHash(), ThingName: "lamp-1"}})
	}
	eventually(t, "the key may be allowed again", func() bool { return allow() == nil })
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, dir)
	pub(false)
	if body := g.iot("GET", "/certificates", "", 200); body != `{"certificates":[]}` {
		t.Errorf("certificates of the deleted thing: %s", body)
	}
	again, err := agent.NewDevice(agent.Config{Thing: "lamp-1", MQTTAddr: g.devices.Addr().String(), ESTURL: g.people.URL(""), RootPEM: g.identities.RootPEM(), Dir: folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	if err := again.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	pub(true)
}

// TestWithoutCA: a self-signed certificate that was registered is a device; the same key in another one is not.
func TestWithoutCA(t *testing.T) {
	g := startGateway(t, t.TempDir())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	folder := func(serial int64) (dir string, text []byte) {
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "any name/at all"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		dir = t.TempDir()
		text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		for name, data := range map[string][]byte{"cert.pem": text, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir, text
	}
	pub := func(dir string, want bool) {
		t.Helper()
		code, out := g.mosquittoPub(dir, "-i", "pump", "-t", "dt/pump", "-q", "1", "-m", `{"power_w": 2}`)
		if (code == 0) != want {
			t.Fatalf("mosquitto_pub: exit %d, want success %v\n%s", code, want, out)
		}
	}
	dir, text := folder(1)
	other, _ := folder(2)
	pub(dir, false)
	body, err := json.Marshal(map[string]string{"certificatePem": string(text), "status": "ACTIVE"})
	if err != nil {
		t.Fatal(err)
	}
	g.iot("POST", "/certificate/register", string(body), 400)
	var made struct{ CertificateARN, CertificateID string }
	if err := json.Unmarshal([]byte(g.iot("POST", "/certificate/register-no-ca", string(body), 200)), &made); err != nil {
		t.Fatal(err)
	}
	g.iot("POST", "/certificate/register-no-ca", string(body), 409)
	pub(dir, false) // stands for no thing
	g.iot("POST", "/things/pump", "", 200)
	g.principal("PUT", "/things/pump/principals?thingPrincipalType=EXCLUSIVE_THING", made.CertificateARN, 200)
	pub(dir, true)
	pub(other, false)
	g.iot("PUT", "/certificates/"+made.CertificateID+"?newStatus=INACTIVE", "", 200)
	pub(dir, false)
	g.iot("DELETE", "/certificates/"+made.CertificateID, "", 409)
	g.principal("DELETE", "/things/pump/principals", made.CertificateARN, 200)
	g.iot("DELETE", "/certificates/"+made.CertificateID, "", 200)
	g.iot("GET", "/certificates/"+made.CertificateID, "", 404)
	pub(dir, false)
	// registered again, it starts anew
	g.iot("POST", "/certificate/register-no-ca", string(body), 200)
	if text := g.principal("GET", "/principals/things", made.CertificateARN, 200); text != `{"things":[]}` {
		t.Error(text)
	}
}

// TestRenewalKeepsPolicies: a certificate that follows another one has its things and its policies.
func TestRenewalKeepsPolicies(t *testing.T) {
	g := startGateway(t, t.TempDir())
	folder, device := g.enroll("lamp-1")
	g.iot("POST", "/policies/quiet", policyDocument(t, allowEverything, denyLoud), 200)
	g.iot("PUT", "/target-policies/quiet", `{"target":"`+g.certificateOf("lamp-1")+`"}`, 200)
	text, err := os.ReadFile(filepath.Join(folder, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.identities.Reenroll(t.Context(), device.Certificate(), []byte(base64.StdEncoding.EncodeToString(request))); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{g.iot("POST", "/policy-targets/quiet", "", 200), g.iot("GET", "/things/lamp-1/principals", "", 200)} {
		if strings.Count(list, "cert/") != 2 {
			t.Error(list)
		}
	}
}

// TestServerKeys: where the operator wants it, a key that was made here connects, as the thing that its certificate is attached to.
func TestServerKeys(t *testing.T) {
	g := startGateway(t, t.TempDir(), "--pki.allow-server-keys")
	var made struct {
		CertificateARN, CertificatePEM string
		KeyPair                        struct{ PrivateKey string }
	}
	if err := json.Unmarshal([]byte(g.iot("POST", "/keys-and-certificate?setAsActive=true", "", 200)), &made); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"cert.pem": made.CertificatePEM, "key.pem": made.KeyPair.PrivateKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// several things: the client id says which
	for _, thing := range []string{"one", "two"} {
		g.iot("POST", "/things/"+thing, "", 200)
		g.principal("PUT", "/things/"+thing+"/principals", made.CertificateARN, 200)
	}
	for client, want := range map[string]bool{"one": true, "two": true, "three": false} {
		code, out := g.mosquittoPub(dir, "-i", client, "-t", "dt/"+client, "-q", "1", "-m", `{"power_w": 2}`)
		if (code == 0) != want {
			t.Errorf("as %s: exit %d\n%s", client, code, out)
		}
	}
	if got := g.query("power_w"); len(got) != 2 || got["one"] != "2" || got["two"] != "2" {
		t.Errorf("power_w = %v", got)
	}
}

// TestSharedCertificate: a certificate that stands for another thing, too, outlives one that is deleted.
func TestSharedCertificate(t *testing.T) {
	g := startGateway(t, t.TempDir())
	folder, _ := g.enroll("lamp-1")
	cert := g.certificateOf("lamp-1")
	g.iot("POST", "/things/lamp-2", "", 200)
	g.principal("PUT", "/things/lamp-1/principals?thingPrincipalType=NON_EXCLUSIVE_THING", cert, 200)
	g.principal("PUT", "/things/lamp-2/principals", cert, 200)
	pub := func(thing string, want bool) {
		t.Helper()
		code, out := g.mosquittoPub(folder, "-i", thing, "-t", "dt/"+thing, "-q", "1", "-m", `{"power_w": 2}`)
		if (code == 0) != want {
			t.Fatalf("as %s: exit %d, want success %v\n%s", thing, code, want, out)
		}
	}
	pub("lamp-2", true)
	g.removeThing("lamp-2")
	eventually(t, "the deleted thing is forgotten", func() bool {
		things, _ := g.access.Orphans()
		return len(things) == 0
	})
	pub("lamp-2", false)
	pub("lamp-1", true)
}

// TestKilledWhileForgetting: what a deletion has not ended when the gateway is killed is ended at the next start, and lets nobody in meanwhile.
func TestKilledWhileForgetting(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, dir)
	g.enroll("lamp-1")
	cert := g.certificateOf("lamp-1")
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	// the registry alone, as when nothing after its commit was done
	db, err := store.Open(t.Context(), filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	things, err := registry.Open(t.Context(), registry.Options{Store: db, Clock: vfs.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := things.DeleteThing(t.Context(), "lamp-1", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := things.CreateThing(t.Context(), registry.ThingInput{Name: "lamp-1"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(things.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, dir)
	g.iot("GET", "/certificates/"+cert[strings.LastIndex(cert, "/")+1:], "", 404)
	if text := g.iot("GET", "/things/lamp-1/principals", "", 200); text != `{"principals":[]}` {
		t.Error(text)
	}
}
