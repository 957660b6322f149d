package record

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// openSSL is a running s_client.
type openSSL struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	mu     sync.Mutex // guards out
	out    bytes.Buffer
	change chan struct{} // something was added to out
	ended  chan error
}

// startOpenSSL connects s_client; the server's end of the connection is the second result.
func startOpenSSL(t *testing.T, args ...string) (*openSSL, net.Conn) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir, p := t.TempDir(), testPKI()
	keyDER, err := x509.MarshalPKCS8PrivateKey(p.client.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cert.pem": pemOf("CERTIFICATE", p.client.Certificate[0]), "key.pem": pemOf("PRIVATE KEY", keyDER)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args = append([]string{"s_client", "-connect", l.Addr().String(), "-cert", filepath.Join(dir, "cert.pem"), "-key", filepath.Join(dir, "key.pem")}, args...)
	o := &openSSL{t: t, cmd: exec.Command(path, args...), change: make(chan struct{}, 1), ended: make(chan error, 1)}
	o.cmd.Stdout, o.cmd.Stderr = o, o
	if o.in, err = o.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { o.ended <- o.cmd.Wait() }()
	t.Cleanup(func() {
		o.in.Close()
		_ = o.cmd.Process.Kill() // mostly ended
		if t.Failed() {
			t.Logf("s_client said:\n%s", o.text())
		}
	})
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := raw.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return o, raw
}

// Write takes what s_client prints.
func (o *openSSL) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.Write(b)
	select {
	case o.change <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (o *openSSL) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.String()
}

// send types text, and waits until the answer was printed count times in all.
func (o *openSSL) send(text, answer string, count int) {
	o.t.Helper()
	if _, err := io.WriteString(o.in, text); err != nil {
		o.t.Fatal(err)
	}
	o.wait(answer, count)
}

func (o *openSSL) wait(answer string, count int) {
	o.t.Helper()
	timeout := time.After(time.Minute)
	for strings.Count(o.text(), answer) < count {
		select {
		case <-o.change:
		case <-timeout:
			o.t.Fatalf("s_client did not print %q", answer)
		}
	}
}

// answerLines answers each line with "got <line>", until the end; the error says how that was.
func answerLines(conn net.Conn) <-chan error {
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			if _, err := io.WriteString(conn, "got "+lines.Text()+"\n"); err != nil {
				break
			}
		}
		conn.Close()
		ended <- lines.Err()
	}()
	return ended
}

// TestOpenSSL: lines go both ways, around key updates of both forms, on a new session and on a resumed one.
func TestOpenSSL(t *testing.T) {
	l := newLayer(t, serverConfig())
	for _, id := range allSuites {
		name := tls.CipherSuiteName(id)
		t.Run(name, func(t *testing.T) {
			session := filepath.Join(t.TempDir(), "session")
			for _, resume := range []bool{false, true} {
				args := []string{"-tls1_3", "-ciphersuites", name, "-sess_out", session}
				if resume {
					args = []string{"-tls1_3", "-ciphersuites", name, "-sess_in", session}
				}
				o, raw := startOpenSSL(t, args...)
				conn, state, err := l.Handshake(t.Context(), raw)
				if err != nil {
					t.Fatal(err)
				}
				if state.CipherSuite != id || state.DidResume != resume || state.PeerCertificates[0].Subject.CommonName != "lamp-1" {
					t.Fatalf("suite %s, resumed %v, %d certificates", tls.CipherSuiteName(state.CipherSuite), state.DidResume, len(state.PeerCertificates))
				}
				ended := answerLines(conn)
				o.send("one\n", "got one", 1)
				o.send("K\n", "KEYUPDATE", 1) // asks for an update
				o.send("two\n", "got two", 1)
				o.send("three\n", "got three", 1)
				o.send("k\n", "KEYUPDATE", 2) // does not
				o.send("four\n", "got four", 1)
				o.send("K\n", "KEYUPDATE", 3)
				o.send("K\n", "KEYUPDATE", 4)
				o.send("five\n", "got five", 1)
				o.send(strings.Repeat("x", 6000)+"\n", "xx\n", 1)
				if _, err := io.WriteString(o.in, "Q\n"); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; err != nil {
					t.Fatalf("the connection ended with %v", err)
				}
				if err := <-o.ended; err != nil {
					t.Fatalf("s_client: %v", err)
				}
				if got := strings.Contains(o.text(), "Reused, TLSv1.3"); got != resume {
					t.Fatalf("s_client says it resumed: %v", got)
				}
			}
		})
	}
}

// TestOpenSSLEnds: it takes our close_notify and our alerts for what they are.
func TestOpenSSLEnds(t *testing.T) {
	l := newLayer(t, serverConfig())
	o, raw := startOpenSSL(t, "-tls1_3")
	conn, _, err := l.Handshake(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("bye\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-o.ended; err != nil || !strings.Contains(o.text(), "bye\n") || !strings.Contains(o.text(), "closed\n") {
		t.Fatalf("after a close_notify: %v", err)
	}

	o, raw = startOpenSSL(t, "-tls1_3")
	conn, _, err = l.Handshake(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*Conn)
	c.rmu.Lock()
	c.endRead(fault(alertDecodeError, "for the test"))
	c.rmu.Unlock()
	if <-o.ended == nil || !strings.Contains(o.text(), "alert decode error") {
		t.Fatal("s_client did not take the alert")
	}

	// TLS 1.2 works as ever
	o, raw = startOpenSSL(t, "-tls1_2")
	conn, _, err = l.Handshake(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	ended := answerLines(conn)
	o.send("old\n", "got old", 1)
	if _, err := io.WriteString(o.in, "Q\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
