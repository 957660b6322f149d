package decode

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Limits of a payload that is decompressed. What is beyond is never made.
const (
	maxUnpacked  = 1 << 20
	maxRatio     = 100
	maxZstdBlock = 128 << 10
	maxZstdBytes = 8 << 20 // window that a zstd frame may ask for (RFC 8878 section 3.1.1.1.2 recommends that decoders have it)
)

// encoding is a content encoding, told by the first bytes of a payload. None of them begins any other payload that is understood, but for a
// line whose measurement begins with "x^".
type encoding uint8

const (
	identity encoding = iota
	encodedGzip
	encodedZlib
	encodedZstd
)

// encodingOf returns the encoding of a payload: gzip (RFC 1952), zlib, which HTTP calls deflate (RFC 1950; window of 32 KiB, no
// dictionary), or zstd (RFC 8878).
func encodingOf(p []byte) encoding {
	if len(p) < 2 {
		return identity
	}
	switch p[0] {
	case 0x1f:
		if p[1] == 0x8b {
			return encodedGzip
		}
	case 0x78:
		if p[1] == 0x01 || p[1] == 0x5e || p[1] == 0x9c || p[1] == 0xda {
			return encodedZlib
		}
	case 0x28:
		if len(p) >= 4 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd {
			return encodedZstd
		}
	}
	return identity
}

// isPacked says whether a payload is to be decompressed. said is its content encoding (RFC 9110 section 8.4.1), in any case; empty:
// the payload tells.
func isPacked(said, payload []byte) (packed bool, f fault) {
	want := identity
	switch {
	case len(said) == 0:
		return true, ok
	case equalFold(said, "identity"):
		return false, ok
	case equalFold(said, "gzip"), equalFold(said, "x-gzip"):
		want = encodedGzip
	case equalFold(said, "deflate"):
		want = encodedZlib
	case equalFold(said, "zstd"):
		want = encodedZstd
	default:
		return false, faultEncoding
	}
	if encodingOf(payload) != want {
		return false, faultPromised
	}
	return true, ok
}

// unpacker decompresses payloads into a buffer that it reuses. Its decoders are made when they are first needed.
type unpacker struct {
	src  bytes.Reader
	gzip gzip.Reader
	zlib io.ReadCloser
	zstd *zstd.Decoder
	out  []byte
}

// unpack returns the payload without its encoding, valid until the next call.
func (u *unpacker) unpack(p []byte) ([]byte, fault) {
	kind := encodingOf(p)
	if kind == identity {
		return p, ok
	}
	limit := min(maxUnpacked, maxRatio*len(p))
	if kind == encodedZstd {
		return u.unpackZstd(p, limit)
	}
	u.src.Reset(p)
	var r io.Reader = &u.gzip
	var err error
	switch {
	case kind == encodedGzip:
		err = u.gzip.Reset(&u.src)
	case u.zlib == nil:
		u.zlib, err = zlib.NewReader(&u.src)
		r = u.zlib
	default:
		r = u.zlib
		err = u.zlib.(zlib.Resetter).Reset(&u.src, nil)
	}
	if err != nil {
		return nil, faultInflate
	}
	u.out = u.out[:0]
	for {
		if len(u.out) == cap(u.out) {
			u.grow(min(limit+1, max(4<<10, 2*cap(u.out)))) // one more than the limit shows that it was passed
		}
		n, err := r.Read(u.out[len(u.out):cap(u.out)])
		u.out = u.out[:len(u.out)+n]
		switch {
		case len(u.out) > limit:
			return nil, faultInflated
		case err == io.EOF && u.src.Len() == 0:
			return u.out, ok
		case err != nil:
			return nil, faultInflate
		}
	}
}

// unpackZstd is unpack of a zstd payload.
func (u *unpacker) unpackZstd(p []byte, limit int) ([]byte, fault) {
	if u.zstd == nil {
		// Concurrency 1 and no reader: it has no goroutines, so nothing needs to be closed.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxZstdBytes), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("BUG: " + err.Error()) // the options are constants
		}
		u.zstd = d
	}
	// With room for one more block than is allowed, it fails for lack of room only when the limit was passed.
	room := limit + maxZstdBlock + 1
	if cap(u.out) < room {
		u.grow(room)
	}
	out, err := u.zstd.DecodeAll(p, u.out[:0:room])
	switch {
	case len(out) > limit || err == zstd.ErrDecoderSizeExceeded || err == zstd.ErrWindowSizeExceeded:
		return nil, faultInflated
	case err != nil:
		return nil, faultInflate
	}
	return out, ok
}

// grow gives the buffer room for n bytes and keeps what is in it.
func (u *unpacker) grow(n int) {
	u.out = append(make([]byte, 0, n), u.out...)
}
