package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"
	"unsafe"
)

var now = time.Unix(1_700_000_000, 0)

// TestSize: what an idle connection costs is a promise.
func TestSizeOfState(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 256 {
		t.Errorf("a State takes %d bytes, the budget is 256", size)
	}
	if size := unsafe.Sizeof(Conn{}); size > 480 {
		t.Errorf("a Conn takes %d bytes, the budget is 480", size)
	}
}

func TestNoAllocation(t *testing.T) {
	for _, id := range allSuites {
		a, b := newPair(t, id)
		plain := text(300)
		record, out := make([]byte, 0, 400), make([]byte, 0, 400)
		ok := true
		run := func() {
			record = a.Seal(record[:0], TypeApplicationData, plain)
			data, err := b.Receive(record, now)
			ok = ok && err == nil && bytes.Equal(data, plain)
			record = b.Seal(record[:0], TypeApplicationData, plain)
			out, _, err = a.Open(out[:0], record)
			ok = ok && err == nil && bytes.Equal(out, plain)
		}
		if n := testing.AllocsPerRun(1000, run); n != 0 || !ok {
			t.Errorf("%s: %v allocations per message, ok %v", tls.CipherSuiteName(id), n, ok)
		}
	}
}

// wantFault expects a fault that is to be answered with an alert.
func wantFault(t *testing.T, err error, alert Alert) {
	t.Helper()
	var fault *Error
	if !errors.As(err, &fault) || fault.Remote || fault.Alert != alert {
		t.Fatalf("%v, want a fault with alert %v", err, alert)
	}
}

// TestOnlyTheNextRecordOpens: nothing else does, and it opens after all attempts.
func TestOnlyTheNextRecordOpens(t *testing.T) {
	for _, id := range allSuites {
		a, b := newPair(t, id)
		records := make([][]byte, 3)
		for i := range records {
			records[i] = a.Seal(nil, TypeApplicationData, text(20+i))
		}
		refuse := func(record []byte) {
			t.Helper()
			_, _, err := b.Open(nil, record)
			wantFault(t, err, alertBadRecordMAC)
		}
		refuse(records[1]) // one is missing
		for i, record := range records {
			for bit := range 8 * len(record) {
				changed := bytes.Clone(record)
				changed[bit/8] ^= 1 << (bit % 8)
				if _, _, err := b.Open(nil, changed); err == nil {
					t.Fatalf("record %d opens with bit %d changed", i, bit)
				}
			}
			if got, typ, err := b.Open([]byte("x"), record); err != nil || typ != TypeApplicationData || string(got) != "x"+string(text(20+i)) {
				t.Fatalf("record %d: %q %d %v", i, got, typ, err)
			}
			refuse(record) // again
		}
		refuse(b.Seal(nil, TypeApplicationData, []byte("own"))) // reflected
	}
}

func TestWhatRecordsMayHold(t *testing.T) {
	const bad = 99
	f := func(typ ContentType, content []byte, padding int, want Alert) {
		t.Helper()
		a, b := newPair(t, tls.TLS_AES_128_GCM_SHA256)
		got, gotType, err := b.Open(nil, a.seal(nil, typ, content, padding))
		if want != 0 {
			wantFault(t, err, want)
		} else if err != nil || gotType != typ || !bytes.Equal(got, content) {
			t.Fatalf("%d %x %v", gotType, got, err)
		}
	}
	f(TypeApplicationData, nil, 0, 0)
	f(TypeApplicationData, text(10), 0, 0)
	f(TypeApplicationData, text(10), 300, 0)
	f(TypeApplicationData, []byte{1, 0, 0}, 7, 0) // zeros of the content are not padding
	f(TypeApplicationData, nil, MaxPlain, 0)
	f(TypeApplicationData, text(MaxPlain), 0, 0)
	f(TypeApplicationData, text(MaxPlain), 1, alertRecordOverflow)
	f(TypeApplicationData, text(MaxPlain+1), 0, alertRecordOverflow)
	f(TypeApplicationData, text(MaxPlain), 256-tagSize-1, alertRecordOverflow) // the largest record
	f(TypeApplicationData, text(MaxPlain), 256-tagSize, alertRecordOverflow)   // a larger one is not opened
	f(TypeAlert, []byte{1, 0}, 5, 0)
	f(TypeHandshake, []byte{24}, 5, 0)
	f(TypeAlert, nil, 0, alertUnexpectedMessage)
	f(TypeHandshake, nil, 9, alertUnexpectedMessage)
	f(0, nil, 40, alertUnexpectedMessage) // zeros only
	f(0, nil, 0, alertUnexpectedMessage)
	f(20, []byte{1}, 0, alertUnexpectedMessage) // change_cipher_spec
	f(bad, text(3), 0, alertUnexpectedMessage)

	_, b := newPair(t, tls.TLS_AES_128_GCM_SHA256)
	g := func(record string, want Alert) {
		t.Helper()
		_, _, err := b.Open(nil, []byte(record))
		wantFault(t, err, want)
		_, err = b.Receive([]byte(record), now)
		wantFault(t, err, want)
	}
	g("", alertDecodeError)
	g("\x17\x03\x03\x00", alertDecodeError)
	g("\x17\x03\x03\x00\x01", alertDecodeError)           // shorter than it says
	g("\x17\x03\x03\x00\x01xx", alertDecodeError)         // longer
	g("\x17\x03\x03\x00\x00", alertBadRecordMAC)          // no tag
	g("\x14\x03\x03\x00\x01\x01", alertUnexpectedMessage) // change_cipher_spec after the Finished
	g("\x15\x03\x03\x00\x02\x01\x00", alertUnexpectedMessage)
	g("\x17\x03\x03\x41\x01"+string(make([]byte, MaxPlain+257)), alertRecordOverflow)
}

// TestReceive plays records of a client.
func TestReceive(t *testing.T) {
	type record struct {
		typ     ContentType
		content string
		rekeys  bool // the client goes on with its next key
	}
	update := func(request byte) record {
		return record{TypeHandshake, string([]byte{typeKeyUpdate, 0, 0, 1, request}), true}
	}
	data := record{TypeApplicationData, "data", false}
	empty := record{TypeApplicationData, "", false}
	alert := func(content string) record { return record{TypeAlert, content, false} }
	piece := func(content string) record { return record{TypeHandshake, content, false} }
	last := func(content string) record { return record{TypeHandshake, content, true} }
	times := func(n int, rs ...record) (all []record) {
		for range n {
			all = append(all, rs...)
		}
		return all
	}
	f := func(name string, want any, records ...record) {
		t.Helper()
		for _, id := range allSuites {
			a, b := newPair(t, id)
			var err error
			for _, r := range records {
				sealed := a.seal(nil, r.typ, []byte(r.content), 0)
				if r.rekeys {
					a.update(&a.out)
				}
				if _, err = b.Receive(sealed, now); err != nil {
					break
				}
			}
			switch want := want.(type) {
			case nil:
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			case Alert:
				var fault *Error
				if !errors.As(err, &fault) || fault.Remote || fault.Alert != want {
					t.Fatalf("%s: %v, want alert %v", name, err, want)
				}
			case error:
				if err == nil || err.Error() != want.Error() {
					t.Fatalf("%s: %v, want %v", name, err, want)
				}
			}
		}
	}
	f("data", nil, data, data)
	f("empty records", nil, append(times(16, empty), data)...)
	f("data resets the count", nil, times(5, append(times(16, empty), data)...)...)
	f("too many empty records", alertUnexpectedMessage, times(17, empty)...)
	f("updates", nil, data, update(0), data, update(1), data)
	f("update in pieces", nil, data, piece("\x18\x00\x00"), last("\x01\x01"), data)
	f("update in bytes", nil, piece("\x18"), piece("\x00"), piece("\x00"), piece("\x01"), last("\x01"), data)
	f("too many updates without data", alertUnexpectedMessage, times(17, update(0))...)
	f("too many updates in a minute", alertUnexpectedMessage, times(33, update(0), data)...)
	f("updates that are few enough", nil, times(32, update(1), data)...)
	f("two updates in a record", alertUnexpectedMessage, piece(update(0).content+update(0).content))
	f("update of a wrong length", alertDecodeError, piece("\x18\x00\x00\x02\x00\x00"))
	f("long update", alertDecodeError, piece("\x18\xff\xff\xff"))
	f("update request 2", alertIllegalParameter, update(2))
	f("data within an update", alertUnexpectedMessage, piece("\x18\x00\x00"), data)
	f("alert within an update", alertUnexpectedMessage, piece("\x18\x00\x00"), alert("\x01\x00"))
	f("client hello", alertUnexpectedMessage, piece("\x01\x00\x00\x10"))
	f("server hello", alertUnexpectedMessage, piece("\x02\x00"))
	f("ticket", alertUnexpectedMessage, piece("\x04\x00\x00\xc9"))
	f("end of early data", alertUnexpectedMessage, piece("\x05\x00\x00\x00"))
	f("certificate", alertUnexpectedMessage, piece("\x0b"))
	f("certificate request", alertUnexpectedMessage, piece("\x0d\x00"))
	f("certificate verify", alertUnexpectedMessage, piece("\x0f\x00"))
	f("finished", alertUnexpectedMessage, piece("\x14\x00\x00\x20"))
	f("close", io.EOF, data, alert("\x01\x00"))
	f("close with a wrong level", io.EOF, alert("\x02\x00"))
	f("user canceled", io.EOF, alert("\x01\x5a"), alert("\x01\x00"))
	f("canceled too often", alertUnexpectedMessage, times(17, alert("\x01\x5a"))...)
	f("fatal alert", errors.New("tls: the peer sent alert certificate_expired"), alert("\x02\x2d"))
	f("fatal alert, level warning", errors.New("tls: the peer sent alert unknown_ca"), alert("\x01\x30"))
	f("unknown alert", errors.New("tls: the peer sent alert alert 200"), alert("\x01\xc8"))
	f("short alert", alertDecodeError, alert("\x01"))
	f("two alerts", alertDecodeError, alert("\x01\x5a\x01\x00"))
}
