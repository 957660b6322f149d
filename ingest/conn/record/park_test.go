package record

import (
	"errors"
	"io"
	"net"
	"testing"
	"unsafe"
)

// TestSizeOfParked: what every idle connection costs fits its size class of Go's allocator; the next one takes 32 bytes more.
func TestSizeOfParked(t *testing.T) {
	if size := unsafe.Sizeof(Parked{}); unsafe.Sizeof(uintptr(0)) == 8 && size > 256 {
		t.Errorf("a Parked takes %d bytes, want 256 at most", size)
	}
}

// TestDetach: what was opened and not read, and what was read and not opened, is handed over; the connection goes on without
// its socket, and ends with the alert that fits.
func TestDetach(t *testing.T) {
	f := func(end func(client *State) []byte, want error, farewell ...byte) {
		t.Helper()
		raw := &pieces{Conn: discard{}, next: func() int { return 1 << 20 }}
		c, client := newConn(t, raw)
		one := client.Seal(nil, TypeApplicationData, []byte("one"))
		two := client.Seal(nil, TypeApplicationData, []byte("two"))
		raw.stream = append(append([]byte{}, one...), two[:3]...)
		b := make([]byte, 1)
		if n, err := c.Read(b); n != 1 || err != nil || b[0] != 'o' {
			t.Fatalf("%q %v", b, err)
		}
		p, plain, rest, err := c.Detach()
		if err != nil || string(plain) != "ne" || string(rest) != string(two[:3]) || c.buf != nil || c.NetConn() != nil {
			t.Fatalf("%q %x %v", plain, rest, err)
		}
		if _, err := c.Read(b); err != net.ErrClosed {
			t.Fatalf("read after Detach: %v", err)
		}
		if _, err := c.Write(b); err != net.ErrClosed {
			t.Fatalf("write after Detach: %v", err)
		}
		if data, err := p.Receive(append(rest, two[3:]...)); err != nil || string(data) != "two" {
			t.Fatalf("%q %v", data, err)
		}
		if got := take(t, client, p.Seal(nil, []byte("answer"))); got != "d" {
			t.Fatalf("sealed %q", got)
		}
		_, err = p.Receive(end(client))
		var failed, wanted *Error
		if errors.As(want, &wanted) && (!errors.As(err, &failed) || failed.Alert != wanted.Alert || failed.Remote != wanted.Remote) || wanted == nil && err != want {
			t.Fatalf("ended with %v, want %v", err, want)
		}
		if failed != nil && len(p.Seal(nil, []byte("late"))) > 0 {
			t.Fatalf("data was sealed after %v", err)
		}
		last := p.AppendFarewell(nil, err)
		if len(farewell) == 0 && len(last) > 0 {
			t.Fatalf("%x", last)
		}
		if len(farewell) > 0 {
			if content, typ, err := client.Open(nil, last); err != nil || typ != TypeAlert || string(content) != string(farewell) {
				t.Fatalf("farewell %d %x %v", typ, content, err)
			}
		}
		p.Wipe()
		if p.state.in.secret != [maxSecret]byte{} || p.state.out.secret != [maxSecret]byte{} {
			t.Fatal("keys are left")
		}
		if _, err := p.Receive(one); err != errNoKeys {
			t.Fatalf("after Wipe: %v", err)
		}
	}
	f(func(client *State) []byte { return client.Seal(nil, TypeAlert, []byte{levelWarning, 0}) }, io.EOF, levelWarning, 0)
	f(func(client *State) []byte { return client.Seal(nil, TypeAlert, []byte{levelFatal, 45}) }, &Error{Alert: 45, Remote: true})
	f(func(*State) []byte { return []byte("\x17\x03\x03\x00\x13 this is no record of") }, &Error{Alert: alertDecodeError}, levelFatal, byte(alertDecodeError))
	f(func(*State) []byte { return []byte("\x16\x03\x03") }, &Error{Alert: alertDecodeError}, levelFatal, byte(alertDecodeError))

	// what has ended cannot be detached
	c, _ := newConn(t, &pieces{Conn: discard{}, next: func() int { return 1 }})
	if _, err := io.ReadAll(c); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if _, _, _, err := c.Detach(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
}
