package intake

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

const (
	// A body may unpack to maxRatio times its size, and to freeBytes in any case: real telemetry shrinks to a twentieth.
	maxRatio  = 100
	freeBytes = 1 << 20
)

// unpack returns the body without its Content-Encoding: "" or identity, snappy (one block, not frames), zstd or gzip. It is valid until
// the worker's next request.
func (w *worker) unpack(encoding string, body []byte) ([]byte, error) {
	limit := min(w.in.opts.MaxBytes, freeBytes+maxRatio*len(body))
	tooLarge := func() error {
		if limit < w.in.opts.MaxBytes {
			return refuse(http.StatusRequestEntityTooLarge, "the body unpacks to more than %d times its size", maxRatio)
		}
		return refuse(http.StatusRequestEntityTooLarge, "the body unpacks to more than %d MiB; send less at once", w.in.opts.MaxBytes>>20)
	}
	damaged := func(err error) error {
		return refuse(http.StatusBadRequest, "the body does not unpack as %s: %v", encoding, err)
	}
	switch encoding = strings.ToLower(strings.TrimSpace(encoding)); encoding {
	case "", "identity":
		if len(body) > w.in.opts.MaxBytes {
			return nil, tooLarge()
		}
		return body, nil
	case "snappy":
		size, err := snappy.DecodedLen(body)
		if err != nil {
			return nil, damaged(err)
		}
		if size > limit {
			return nil, tooLarge()
		}
		w.buf, err = snappy.Decode(w.buf[:cap(w.buf)], body)
		if err != nil {
			return nil, damaged(err)
		}
		return w.buf, nil
	case "zstd":
		if w.zstd == nil {
			var err error
			w.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(uint64(w.in.opts.MaxBytes)))
			if err != nil {
				return nil, err
			}
		}
		if err := w.zstd.Reset(bytes.NewReader(body)); err != nil {
			return nil, damaged(err)
		}
		return w.readAll(w.zstd, limit, tooLarge, damaged)
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, damaged(err)
		}
		return w.readAll(z, limit, tooLarge, damaged)
	}
	return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding %.32q is not known; use snappy, zstd or gzip", encoding)
}

// readAll reads from into the worker's buffer, up to limit bytes.
func (w *worker) readAll(from io.Reader, limit int, tooLarge func() error, damaged func(error) error) ([]byte, error) {
	if w.buf = w.buf[:0]; cap(w.buf) == 0 {
		w.buf = make([]byte, 0, 64<<10)
	}
	for {
		if len(w.buf) == cap(w.buf) {
			w.buf = append(w.buf, 0)[:len(w.buf)]
		}
		n, err := from.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		switch {
		case len(w.buf) > limit:
			return nil, tooLarge()
		case err == io.EOF:
			return w.buf, nil
		case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
			return nil, tooLarge()
		case err != nil:
			return nil, damaged(err)
		}
	}
}
