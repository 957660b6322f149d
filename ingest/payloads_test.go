package ingest_test

import (
	"bytes"
	"compress/gzip"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPayloadFormats: formats other than JSON, told by the content type or by their first bytes, from a client that knows none of them.
func TestPayloadFormats(t *testing.T) {
	f := newFixture(t, false).start()
	host, port, _ := net.SplitHostPort(f.plain)
	publish := func(payload string, args ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "payload")
		if err := os.WriteFile(path, []byte(payload), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"-h", host, "-p", port, "-i", "truck-1", "-t", "dt/truck-1", "-f", path}, args...)
		if out, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub %v: %v %s", args, err, out)
		}
	}
	column := func(name string, want float64) {
		t.Helper()
		eventually(t, name, func() bool { got, ok := f.last("truck-1", name); return ok && got == want })
	}
	publish("\xa1\x65speed\xfb\x40\x44\x99\x99\x99\x99\x99\x9a", "-V", "5", "-q", "1", "-D", "publish", "content-type", "application/cbor")
	column("speed", 41.2)
	publish(`[{"bn":"truck-1/","bt":1700000000,"n":"fuel","u":"l","v":63.5}]`, "-V", "5", "-q", "2", "-D", "publish", "content-type", "application/senml+json")
	column("fuel", 63.5)
	publish("tire,wheel=left pressure=2.4,worn=f\n", "-V", "311", "-q", "1")
	column("tire_pressure", 2.4)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(`{"load":12000}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	publish(packed.String(), "-V", "311", "-q", "0")
	column("load", 12000)
	// the content type is believed: what it promises is not there
	publish(`{"speed":1}`, "-V", "5", "-q", "0", "-D", "publish", "content-type", "application/cbor")
	eventually(t, "the refusal", func() bool { return f.server.Stats().Malformed == 1 })
	// and so is the content encoding
	publish(packed.String(), "-V", "5", "-q", "1", "-D", "publish", "user-property", "Content-Encoding", "gzip")
	publish(`{"load":1}`, "-V", "5", "-q", "0", "-D", "publish", "user-property", "content-encoding", "gzip")
	eventually(t, "the second refusal", func() bool { return f.server.Stats().Malformed == 2 })
	publish(`{"load":2}`, "-V", "5", "-q", "0", "-D", "publish", "user-property", "content-encoding", "br")
	eventually(t, "the third refusal", func() bool { return f.server.Stats().Malformed == 3 })
	column("load", 12000)
}
