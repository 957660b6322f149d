package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// newConn returns the Conn of a server over raw and the State of its client.
func newConn(t testing.TB, raw net.Conn) (*Conn, *State) {
	t.Helper()
	client, _ := newPair(t, tls.TLS_AES_128_GCM_SHA256)
	c := makeConn(newLayer(t, serverConfig()), raw)
	if err := c.state.Init(c.layer.cache, tls.TLS_AES_128_GCM_SHA256, client.out.secret[:32], client.in.secret[:32], 0); err != nil {
		t.Fatal(err)
	}
	return c, client
}

// TestFaultsAreAnswered: the peer is told what it did, and the connection is over on both sides.
func TestFaultsAreAnswered(t *testing.T) {
	f := func(name string, want Alert, do func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			p, conn := connectPeer(t, newLayer(t, serverConfig()).Handshake)
			p.send(TypeApplicationData, []byte("before"), 0)
			do(p)
			got, err := io.ReadAll(conn)
			if string(got) != "before" {
				t.Fatalf("read %q", got)
			}
			wantFault(t, err, want)
			p.expect(TypeAlert, string([]byte{levelFatal, byte(want)}))
			if _, werr := conn.Write([]byte("x")); werr != err {
				t.Fatalf("write after %v: %v", err, werr)
			}
			c := conn.(*Conn)
			if c.state.in.secret != [maxSecret]byte{} || c.state.out.secret != [maxSecret]byte{} || c.buf != nil {
				t.Fatal("keys or a buffer are left")
			}
			conn.Close()
			if _, _, err := p.tryNext(); err != io.EOF {
				t.Fatalf("after the alert came %v", err)
			}
		})
	}
	write := func(record string) func(*peer) {
		return func(p *peer) {
			if _, err := p.raw.Write([]byte(record)); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	f("forged", alertBadRecordMAC, write("\x17\x03\x03\x00\x20"+strings.Repeat("x", 32)))
	f("too long", alertRecordOverflow, write("\x17\x03\x03\x41\x01"))
	f("plain alert", alertUnexpectedMessage, write("\x15\x03\x03\x00\x02\x02\x2a"))
	f("change cipher spec", alertUnexpectedMessage, write("\x14\x03\x03\x00\x01\x01"))
	f("not tls", alertUnexpectedMessage, write("GET / HTTP/1.1\r\n\r\n"))
	f("certificate", alertUnexpectedMessage, func(p *peer) { p.send(TypeHandshake, []byte{11, 0, 0, 4, 0, 0, 0, 0}, 0) })
	f("update request 3", alertIllegalParameter, func(p *peer) { p.keyUpdate(3) })
	f("old key after an update", alertBadRecordMAC, func(p *peer) {
		p.send(TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, 0}, 0)
		p.send(TypeApplicationData, []byte("old"), 0)
	})
	f("empty records", alertUnexpectedMessage, func(p *peer) {
		for range maxUseless + 1 {
			p.send(TypeApplicationData, nil, 3)
		}
	})
}

// TestAlertOfPeer: it ends both directions and has a name.
func TestAlertOfPeer(t *testing.T) {
	p, conn := connectPeer(t, newLayer(t, serverConfig()).Handshake)
	p.send(TypeAlert, []byte{levelFatal, 48}, 0)
	_, err := conn.Read(make([]byte, 10))
	if err == nil || err.Error() != "tls: the peer sent alert unknown_ca" {
		t.Fatal(err)
	}
	if _, werr := conn.Write([]byte("x")); werr != err {
		t.Fatalf("write: %v", werr)
	}
	conn.Close()
	if _, _, err := p.tryNext(); err != io.EOF { // no answer to a fatal alert
		t.Fatalf("the server answered: %v", err)
	}
}

// TestTruncation: an end that the peer did not announce is not an end of file.
func TestTruncation(t *testing.T) {
	for _, cut := range []int{0, 1, HeaderSize - 1, HeaderSize, HeaderSize + 1, 60} {
		p, conn := connectPeer(t, newLayer(t, serverConfig()).Handshake)
		p.send(TypeApplicationData, []byte("whole"), 0)
		if _, err := p.raw.Write(p.state.Seal(nil, TypeApplicationData, text(100))[:cut]); err != nil {
			t.Fatal(err)
		}
		p.raw.Close()
		if got, err := io.ReadAll(conn); err != io.ErrUnexpectedEOF || string(got) != "whole" {
			t.Fatalf("cut after %d bytes: %q %v", cut, got, err)
		}
	}
}

// TestHalfClose: after the client's close_notify the server may still write, and what follows the alert is not read.
func TestHalfClose(t *testing.T) {
	client, conn, _ := connect(t, newLayer(t, serverConfig()).Handshake, clientConfig())
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := client.SetDeadline(time.Time{}); err != nil { // CloseWrite has ended it
		t.Fatal(err)
	}
	if _, err := client.NetConn().Write([]byte("not a record at all")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "question" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := conn.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("a second read: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "answer" {
		t.Fatalf("%q %v", got, err)
	}
}

// TestClose: the client reads an end of file; all that comes after is net.ErrClosed; the keys are gone.
func TestClose(t *testing.T) {
	client, conn, _ := connect(t, newLayer(t, serverConfig()).Handshake, clientConfig())
	reading := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		reading <- err
	}()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("the read that waited: %v", err)
	}
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the client: %d %v", n, err)
	}
	_, rerr := conn.Read(make([]byte, 1))
	_, werr := conn.Write([]byte("x"))
	if cerr := conn.Close(); rerr != net.ErrClosed || werr != net.ErrClosed || cerr != net.ErrClosed {
		t.Fatalf("after the end: read %v, write %v, close %v", rerr, werr, cerr)
	}
	c := conn.(*Conn)
	for _, h := range []*half{&c.state.in, &c.state.out} {
		if h.secret != [maxSecret]byte{} || h.key != [maxKey]byte{} || h.built.Load() != nil {
			t.Fatal("keys are left")
		}
	}
}

// slowPipe is a connection whose writes wait for a reader that does not come; entered is told of the first.
type slowPipe struct {
	net.Conn
	entered chan struct{}
	once    sync.Once
}

func (s *slowPipe) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	return s.Conn.Write(b)
}

// TestStuckWriter: a client that reads nothing holds up neither Close nor a reader that has to send an alert.
func TestStuckWriter(t *testing.T) {
	f := func(end func(c *Conn, client net.Conn)) {
		t.Helper()
		near, far := net.Pipe()
		raw := &slowPipe{Conn: near, entered: make(chan struct{})}
		c, _ := newConn(t, raw)
		writing := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("x"))
			writing <- err
		}()
		<-raw.entered
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			end(c, far)
		}()
		<-ended // not held up
		if err := <-writing; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the write ended with %v", err)
		}
		c.Close()
		far.Close()
	}
	f(func(c *Conn, _ net.Conn) { c.Close() })
	f(func(c *Conn, client net.Conn) {
		go func() { _, _ = client.Write([]byte("not a record")) }() // cut short with the connection
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
	})
}

// TestEndOfBuffer: a record may end at the end of the buffer that it came in, or one byte after it.
func TestEndOfBuffer(t *testing.T) {
	for over := -2; over <= 2; over++ {
		raw := &pieces{Conn: discard{}, next: func() int { return 1 << 20 }}
		c, client := newConn(t, raw)
		first := text(100)
		raw.stream = client.Seal(nil, TypeApplicationData, first)
		second := text(smallBuffer + over - len(raw.stream) - HeaderSize - 1 - tagSize)
		raw.stream = client.Seal(raw.stream, TypeApplicationData, second)
		if len(raw.stream) != smallBuffer+over {
			t.Fatalf("%d bytes", len(raw.stream))
		}
		raw.stream = client.Seal(raw.stream, TypeAlert, []byte{levelWarning, 0})
		if got, err := io.ReadAll(c); err != nil || string(got) != string(first)+string(second) {
			t.Fatalf("%d over the end: %d bytes, %v", over, len(got), err)
		}
	}
}

// TestReadDeadline: a read that timed out within a record goes on later; a write that timed out does not.
func TestReadDeadline(t *testing.T) {
	p, conn := connectPeer(t, newLayer(t, serverConfig()).Handshake)
	record := p.state.Seal(nil, TypeApplicationData, []byte("slow"))
	b := make([]byte, 10)
	for _, part := range [][]byte{nil, record[:3], record[3:7], record[7 : len(record)-1]} {
		if _, err := p.raw.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		var timeout net.Error
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("read %d %v", n, err)
		}
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.raw.Write(record[len(record)-1:]); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "slow" {
		t.Fatalf("%q %v", b[:n], err)
	}
	if err := conn.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a second write: %v", err)
	}
}

// TestConcurrentWriters: what one Write writes stays together, while keys change in both directions.
func TestConcurrentWriters(t *testing.T) {
	eachSuite(t, func(t *testing.T, _ uint16) {
		p, conn := connectPeer(t, newLayer(t, serverConfig()).Handshake)
		const writers, messages, size = 6, 50, 64
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				line := bytes.Repeat([]byte{byte('a' + w)}, size)
				for range messages {
					if _, err := conn.Write(line); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Go(func() {
			if _, err := io.ReadAll(conn); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for i := range maxUpdates - 1 {
				p.keyUpdate(byte(i % 2))
				p.send(TypeApplicationData, []byte("data"), 0)
			}
			p.send(TypeAlert, []byte{levelWarning, 0}, 0)
		})
		count := 0
		for count < writers*messages {
			typ, content := p.next()
			if typ == TypeHandshake {
				p.state.update(&p.state.in)
				continue
			}
			if len(content) != size || !bytes.Equal(content, bytes.Repeat(content[:1], size)) {
				t.Fatalf("message %d is %q", count, content)
			}
			count++
		}
		all.Wait()
	})
}

// pieces is a connection whose reads end where the test says, some of them with a timeout.
type pieces struct {
	net.Conn
	stream []byte
	next   func() int // size of the next read; 0: a timeout
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	size := p.next()
	if size == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b[:min(size, len(b))], p.stream)
	p.stream = p.stream[n:]
	return n, nil
}

// readPieces reads until the end with buffers of the given sizes in turn.
func readPieces(c *Conn, sizes func() int) (got []byte, err error) {
	for {
		b := make([]byte, sizes())
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return got, err
		}
	}
}

// conversation seals a stream with everything that a client may send, and returns the data in it.
func conversation(client *State) (stream, data []byte) {
	add := func(n, padding int) {
		b := text(n)
		for i := range b {
			b[i] += byte(len(data))
		}
		stream = client.seal(stream, TypeApplicationData, b, padding)
		data = append(data, b...)
	}
	for i, n := range []int{1, 0, 200, smallBuffer, 3, MaxPlain, 0, 5, MaxPlain - 100, 300, 300, 300, smallBuffer - 40, 7} {
		add(n, min(10*(i%3), MaxPlain-n))
		switch i % 4 {
		case 1:
			stream = client.seal(stream, TypeHandshake, []byte{typeKeyUpdate, 0, 0, 1, 0}, 0)
			client.update(&client.out)
		case 2:
			stream = client.seal(stream, TypeHandshake, []byte{typeKeyUpdate, 0}, 3)
			stream = client.seal(stream, TypeHandshake, []byte{0, 1, 1}, 0)
			client.update(&client.out)
		case 3:
			stream = client.seal(stream, TypeAlert, []byte{levelWarning, byte(alertUserCanceled)}, 0)
		}
	}
	stream = client.seal(stream, TypeAlert, []byte{levelWarning, 0}, 0)
	return stream, data
}

// TestAnySplit: however the stream comes in and however it is read, the data are the same.
func TestAnySplit(t *testing.T) {
	f := func(read, want func() int) {
		t.Helper()
		raw := &pieces{next: read, Conn: discard{}}
		c, client := newConn(t, raw)
		var data []byte
		raw.stream, data = conversation(client)
		got, err := readPieces(c, want)
		if err != io.EOF || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
		}
		if c.buf != nil {
			t.Fatal("a buffer is kept after the end")
		}
	}
	fixed := func(n int) func() int { return func() int { return n } }
	cycle := func(sizes ...int) func() int {
		i := -1
		return func() int {
			i++
			return sizes[i%len(sizes)]
		}
	}
	f(fixed(1<<20), fixed(1<<20))
	f(fixed(1), fixed(1<<20))
	f(fixed(1<<20), fixed(1))
	f(cycle(1, 0), fixed(100))
	f(fixed(4), fixed(7))
	f(fixed(5), fixed(4096))
	f(fixed(6), fixed(4096))
	f(cycle(5, 0, 1<<20), cycle(1, 5000))
	f(cycle(smallBuffer, 0, 0, 1), cycle(1<<15, 1))
	f(cycle(0, 3, 50, 4096, 17000), cycle(2048))
}

// TestIdleHoldsNoBuffer: a connection that waits for its next record, or for the rest of its header, has none.
func TestIdleHoldsNoBuffer(t *testing.T) {
	sizes := []int{1 << 20, 1 << 20, 0, 2, 0, 1 << 20, 1 << 20}
	raw := &pieces{Conn: discard{}, next: func() int {
		n := sizes[0]
		sizes = sizes[1:]
		return n
	}}
	c, client := newConn(t, raw)
	one := client.Seal(nil, TypeApplicationData, []byte("one"))
	two := client.Seal(nil, TypeApplicationData, []byte("two"))
	raw.stream = append(append([]byte{}, one...), two[:2]...)
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "one" || c.buf != nil || c.headLen != 2 {
		t.Fatalf("%q %v, buffer %v, %d bytes of the next header", b[:n], err, c.buf != nil, c.headLen)
	}
	raw.stream = two[2:]
	for i := range 2 {
		if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) || c.buf != nil {
			t.Fatalf("%d: %v, buffer %v", i, err, c.buf != nil)
		}
	}
	if n, err := c.Read(b); err != nil || string(b[:n]) != "two" || c.buf != nil {
		t.Fatalf("%q %v, buffer %v", b[:n], err, c.buf != nil)
	}
}

// TestNoAllocationOfConn: a message in and one out cost none.
func TestNoAllocationOfConn(t *testing.T) {
	raw := &pieces{next: func() int { return 1 << 20 }, Conn: discard{}}
	c, client := newConn(t, raw)
	plain, b := text(300), make([]byte, 1024)
	stream := make([]byte, 0, 1024)
	ok := true
	n := testing.AllocsPerRun(1000, func() {
		stream = client.Seal(stream[:0], TypeApplicationData, plain)
		raw.stream = stream
		n, err := c.Read(b)
		ok = ok && err == nil && bytes.Equal(b[:n], plain)
		_, err = c.Write(plain[:4])
		ok = ok && err == nil
	})
	if n >= 1 || !ok { // the pools may have been emptied once
		t.Fatalf("%v allocations per message, ok %v", n, ok)
	}
}

// discard is a connection that nobody reads.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error)      { return len(b), nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }

// TestAlertNames: those of section 6, and a number for any other.
func TestAlertNames(t *testing.T) {
	seen := map[string]bool{}
	named := 0
	for i := range 256 {
		name := Alert(i).String()
		if seen[name] {
			t.Fatalf("two alerts are called %s", name)
		}
		seen[name] = true
		if name != fmt.Sprintf("alert %d", i) {
			named++
		}
	}
	if named != 27 {
		t.Fatalf("%d alerts have a name", named)
	}
}
