package record

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// FuzzOpen: a record opens if, and only if, it is the one that was sealed. Whatever was tried before, that one opens.
func FuzzOpen(f *testing.F) {
	f.Add(uint8(0), []byte("{}"), uint16(0), []byte{})
	f.Add(uint8(1), []byte(""), uint16(3), []byte("\x17\x03\x03\x00\x20"))
	f.Add(uint8(2), text(500), uint16(100), []byte("\x17\x03\x03\x00\x11\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, suite uint8, plain []byte, at uint16, change []byte) {
		if len(plain) > MaxPlain {
			return
		}
		a, b := newPair(t, allSuites[int(suite)%len(allSuites)])
		record := a.seal(nil, TypeApplicationData, plain, 0)
		try := func(mutated []byte) {
			t.Helper()
			before := b.in.seq
			got, _, err := b.Open([]byte("dst"), bytes.Clone(mutated))
			if bytes.Equal(mutated, record) {
				t.Skip("no change")
			}
			var fault *Error
			if err == nil || !errors.As(err, &fault) || fault.Remote || string(got) != "dst" || b.in.seq != before {
				t.Fatalf("%x opened as %x, %v, sequence number %d", mutated, got, err, b.in.seq)
			}
		}
		try(change)
		i := int(at) % (len(record) + 1)
		try(record[:i])
		try(append(bytes.Clone(record[:i]), change...))
		try(append(append(bytes.Clone(record[:i]), change...), record[i:]...))
		over := bytes.Clone(record)
		for j := range change {
			over[(i+j)%len(over)] ^= change[j]
		}
		try(over)
		got, typ, err := b.Open([]byte("dst"), record)
		if err != nil || typ != TypeApplicationData || string(got) != "dst"+string(plain) {
			t.Fatalf("the record itself: %x %d %v", got, typ, err)
		}
	})
}

// FuzzReceive plays a client that has the keys: it sends what the input says, in records that the input cuts, in a stream that
// the input splits. It must not panic, must give the data of a model that reads the input straight, and must end in the same way.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x17\x03abc\x16\x05\x18\x00\x00\x01\x01\x17\x01x\x15\x02\x01\x00"), []byte{3})
	f.Add([]byte("\x16\x03\x18\x00\x00\x16\x02\x01\x00\x17\x00\x17\x02yy"), []byte{1, 0, 200})
	f.Add([]byte("\x16\x01\x18\x17\x01x"), []byte{5})
	f.Add([]byte("\x15\x02\x02\x28\x17\x01x"), []byte{255, 0})
	f.Add([]byte("\x15\x02\x01\x5a\x00\x01\x01"), []byte{7})
	f.Fuzz(func(t *testing.T, script, splits []byte) {
		sizes := func() int {
			if len(splits) == 0 {
				return 1 << 16
			}
			n := int(splits[0])
			splits = splits[1:]
			return n
		}
		raw := &pieces{Conn: discard{}, next: sizes}
		c, client := newConn(t, raw)
		var want []byte    // the data until the end
		var message []byte // of the handshake, so far
		var end error      // io.EOF, an *Error, or io.ErrUnexpectedEOF when the script is over
		useless, keys := 0, 0
		fail := func(alert Alert) { end = &Error{Alert: alert} }
		for len(script) >= 2 && end == nil {
			typ, n := ContentType(script[0]), min(int(script[1]), len(script)-2)
			if typ == 0 { // would be padding
				typ = 1
			}
			content := script[2 : 2+n]
			script = script[2+n:]
			raw.stream = client.seal(raw.stream, typ, content, n%5)
			switch {
			case typ != TypeApplicationData && typ != TypeAlert && typ != TypeHandshake, typ != TypeApplicationData && n == 0:
				fail(alertUnexpectedMessage)
				continue
			case len(message) > 0 && typ != TypeHandshake:
				fail(alertUnexpectedMessage)
				continue
			case typ == TypeApplicationData && n > 0:
				want = append(want, content...)
				useless = 0
				continue
			}
			if useless++; useless > maxUseless {
				fail(alertUnexpectedMessage)
				continue
			}
			if typ == TypeAlert {
				switch {
				case n != 2:
					fail(alertDecodeError)
				case content[1] == 0:
					end = io.EOF
				case content[1] != byte(alertUserCanceled):
					end = &Error{Alert: Alert(content[1]), Remote: true}
				}
				continue
			}
			if typ != TypeHandshake {
				continue
			}
			message = append(message, content...)
			switch {
			case message[0] != typeKeyUpdate:
				fail(alertUnexpectedMessage)
			case len(message) >= 4 && !bytes.Equal(message[1:4], []byte{0, 0, 1}):
				fail(alertDecodeError)
			case len(message) > 5:
				fail(alertUnexpectedMessage)
			case len(message) == 5 && message[4] > 1:
				fail(alertIllegalParameter)
			case len(message) == 5:
				message = nil
				client.update(&client.out)
				if keys++; keys > maxUpdates {
					fail(alertUnexpectedMessage)
				}
			}
		}
		if end == nil {
			end = io.ErrUnexpectedEOF
		}
		got, err := readPieces(c, func() int { return 1 + sizes() })
		if !bytes.Equal(got, want) {
			t.Fatalf("read %q, want %q", got, want)
		}
		var fault, wantFault *Error
		if errors.As(end, &wantFault) {
			if !errors.As(err, &fault) || fault.Alert != wantFault.Alert || fault.Remote != wantFault.Remote {
				t.Fatalf("ended with %v, want %v", err, end)
			}
		} else if err != end {
			t.Fatalf("ended with %v, want %v", err, end)
		}
		if _, again := c.Read(make([]byte, 1)); again != err {
			t.Fatalf("ended with %v, then %v", err, again)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || c.buf != nil {
			t.Fatal("a buffer is kept")
		}
	})
}
