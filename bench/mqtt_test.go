package bench

import (
	"bytes"
	"testing"
)

// TestCutPacket: packets of all sizes come out whole, wherever the stream is cut.
func TestCutPacket(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 16_383, 16_384, maxPacketBytes} {
		body := bytes.Repeat([]byte{0xA5}, size)
		stream := append(appendHeader(nil, packetPublish<<4, size), body...)
		head := len(stream) - size
		for _, cut := range []int{0, 1, head - 1, head, head + size/2, len(stream) - 1} {
			if cut >= len(stream) {
				continue
			}
			if _, rest, whole, err := cutPacket(stream[:cut]); whole || err != nil || len(rest) != cut {
				t.Fatalf("size %d cut at %d: whole %v, %v", size, cut, whole, err)
			}
		}
		p, rest, whole, err := cutPacket(append(stream, 0xD0, 0))
		if !whole || err != nil || p.kind != packetPublish || !bytes.Equal(p.body, body) || !bytes.Equal(rest, []byte{0xD0, 0}) {
			t.Fatalf("size %d: whole %v, %v, kind %d, %d bytes, rest %x", size, whole, err, p.kind, len(p.body), rest)
		}
	}
	if _, _, _, err := cutPacket(appendHeader(nil, packetPublish<<4, maxPacketBytes+1)); err == nil {
		t.Error("a packet that is too long is no error")
	}
	if _, _, _, err := cutPacket([]byte{0x30, 0xff, 0xff, 0xff, 0xff}); err == nil {
		t.Error("a length of five bytes is no error")
	}
}

// FuzzCutPacket: whatever a broker sends, nothing is taken twice, skipped or invented.
func FuzzCutPacket(f *testing.F) {
	f.Add([]byte{packetConnack << 4, 2, 0, 0, packetPuback << 4, 3, 0, 1, 0x10})
	f.Add([]byte{0x30, 0x80, 0x80, 0x01})
	f.Add([]byte{0x40, 0x80, 0x80, 0x80, 0x80, 0x01})
	f.Fuzz(func(t *testing.T, stream []byte) {
		for rest := stream; ; {
			p, after, whole, err := cutPacket(rest)
			if !whole || err != nil {
				if !bytes.Equal(after, rest) {
					t.Fatalf("%x: %d of %d bytes are left of no packet", stream, len(after), len(rest))
				}
				return
			}
			head := len(rest) - len(after) - len(p.body)
			if head < 2 || head > 5 || p.kind != rest[0]>>4 || !bytes.Equal(p.body, rest[head:head+len(p.body)]) {
				t.Fatalf("%x: packet %d of %d bytes, header of %d", stream, p.kind, len(p.body), head)
			}
			p.connack()
			p.suback()
			p.puback()
			rest = after
		}
	})
}
