//go:build unix

package ingest_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// dialSmall connects with a small receive buffer, so that what the server sends waits on its side.
func (f *fixture) dialSmall(secure bool, name string) *client {
	f.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		return errors.Join(err, failed)
	}}
	addr := f.plain
	if secure {
		addr = f.addr
	}
	conn, err := dialer.Dial("tcp", addr)
	if err == nil && secure {
		config := f.tlsConfig(name)
		config.ServerName = "127.0.0.1"
		conn = tls.Client(conn, config)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return &client{t: f.t, conn: conn, version: 5}
}

// TestReasonIsRead: a client that is cut off reads why, though it goes on sending and has left much unread until then (v5 section 3.14.4).
func TestReasonIsRead(t *testing.T) {
	for _, kind := range []string{"plain", "stdlib", "compact"} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t, true)
			f.config.CompactTLS = kind == "compact"
			f.start()
			for i := range 5 {
				name := fmt.Sprint("talker-", i)
				c := f.dialSmall(kind != "plain", name)
				c.open(name)
				text := bytes.Repeat([]byte{0xc0, 0}, 20_000)
				text = append(text, 0x36, 2, 0, 0) // a PUBLISH of QoS 3
				text = append(text, make([]byte, 256<<10)...)
				written := make(chan struct{})
				go func() {
					_, _ = c.conn.Write(text) // it may be cut off meanwhile
					close(written)
				}()
				select {
				case <-written:
				case <-time.After(300 * time.Millisecond): // the server reads no more before we do
				}
				if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x81 {
					t.Fatalf("client %d: last packet %x, want DISCONNECT 0x81", i, last)
				}
				c.conn.Close()
			}
		})
	}
}

// TestLingeringEnds: what is left of a connection whose client stays and says nothing is closed after a while.
func TestLingeringEnds(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "stays")
	f.server.Kick("stays", "go")
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x98 {
		t.Fatalf("last packet %x, want DISCONNECT 0x98", last)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := c.conn.Write([]byte{0xc0}); err != nil {
			return // reset: nobody is there
		}
		if time.Now().After(deadline) {
			t.Fatal("the server still takes bytes")
		}
	}
}
