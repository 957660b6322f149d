package prom

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb/pb"
)

const (
	maxReadBytes   = 1 << 20 // of an unpacked ReadRequest
	maxReadQueries = 64
	chunkSamples   = 120     // per chunk of a streamed answer, as Prometheus has
	frameBytes     = 1 << 20 // about what one frame of a streamed answer has
	sampledType    = "application/x-protobuf"
	streamedType   = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
)

// readQuery is one query of a remote read.
type readQuery struct {
	startMs, endMs int64
	matchers       []*labels.Matcher
}

// maxStreams is how many streamed reads run at once: each may take as long as its client reads.
const maxStreams = 4

// RemoteRead answers POST /api/v1/read [Prometheus remote read]: raw samples, as a snappy block of prometheus.ReadResponse, or, for clients that prefer
// it, as frames of prometheus.ChunkedReadResponse with XOR chunks. body is a snappy block of prometheus.ReadRequest. encoding is
// the Content-Encoding of the answer. The block takes a slot and has the time, the bytes and the memory of a query. Frames are as many as there are: run,
// which must be called once where it is not nil, writes them, and holds one frame and the buffers of one series; it ends with ctx or with the first
// error of w. resp has no body then.
func (a *API) RemoteRead(ctx context.Context, body []byte) (run func(ctx context.Context, w io.Writer) error, resp Response, encoding string) {
	a.reads.Inc()
	queries, streamed, err := a.parseRead(body)
	if err != nil {
		return nil, a.refuse(err), ""
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	if err := a.gate.enter(ctx); err != nil {
		return nil, a.refuse(err), ""
	}
	defer a.gate.leave()
	ctx, stop := watch(ctx, a.opts.MaxMemoryBytes)
	defer stop()
	found := make([]*seriesSet, len(queries))
	for i, rq := range queries {
		found[i] = a.queryable.querier(rq.startMs, rq.endMs).selectSeries(ctx, true, nil, rq.matchers...)
		if err := found[i].err; err != nil {
			return nil, a.refuse(causeOf(ctx, err)), ""
		}
	}
	if streamed {
		return a.stream(found)
	}
	out := readAnswer{maxBytes: a.opts.MaxResultBytes}
	for i := range found {
		if err := out.query(i, found[i]); err != nil {
			return nil, a.refuse(causeOf(ctx, err)), ""
		}
	}
	return nil, Response{http.StatusOK, sampledType, snappy.Encode(nil, out.body)}, "snappy"
}

// stream returns what writes the samples of series as frames.
func (a *API) stream(found []*seriesSet) (run func(ctx context.Context, w io.Writer) error, resp Response, encoding string) {
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return nil, a.refuse(&apiError{http.StatusTooManyRequests, "unavailable", fmt.Sprintf("%d streamed reads are running; try again when one has ended", maxStreams)}), ""
	}
	return func(ctx context.Context, w io.Writer) error {
		defer a.streams.Add(-1)
		out := readAnswer{maxBytes: a.opts.MaxResultBytes, streamed: true, w: w}
		for i, set := range found {
			if len(set.list) > 0 {
				set.list[0].sel.ctx = ctx // the request's own has ended
			}
			if err := out.query(i, set); err != nil {
				return err
			}
		}
		return nil
	}, Response{Status: http.StatusOK, ContentType: streamedType}, ""
}

// parseRead decodes a ReadRequest. Hints are ignored: they allow to leave out what is not needed, and demand nothing.
func (a *API) parseRead(body []byte) (queries []readQuery, streamed bool, err error) {
	size, err := snappy.DecodedLen(body)
	if err == nil && size > maxReadBytes {
		return nil, false, badData(fmt.Errorf("the request is larger than %d KiB", maxReadBytes>>10))
	}
	if err == nil {
		body, err = snappy.Decode(nil, body)
	}
	if err != nil {
		return nil, false, badData(fmt.Errorf("the body is no snappy block: %w", err))
	}
	var types []uint64
	m := pb.Read(body)
	for m.Next() {
		switch {
		case m.Is(1, pb.Bytes):
			if len(queries) == maxReadQueries {
				return nil, false, badData(fmt.Errorf("more than %d queries; ask in several requests", maxReadQueries))
			}
			q, err := parseReadQuery(m.Bytes)
			if err != nil {
				return nil, false, badData(err)
			}
			queries = append(queries, q)
		case m.Number == 2 && m.Wire == pb.Varint:
			types = append(types, m.Value)
		case m.Is(2, pb.Bytes): // packed
			for list := pb.Read(m.Bytes); list.Rest() > 0 && list.Err == nil; {
				types = append(types, list.Uvarint())
			}
		}
	}
	if m.Err != nil {
		return nil, false, badData(m.Err)
	}
	// The first type that is known here counts: 0 is samples, 1 is streamed chunks.
	i := slices.IndexFunc(types, func(t uint64) bool { return t <= 1 })
	return queries, i >= 0 && types[i] == 1, nil
}

func parseReadQuery(body []byte) (readQuery, error) {
	var q readQuery
	m := pb.Read(body)
	for m.Next() {
		switch {
		case m.Is(1, pb.Varint):
			q.startMs = int64(m.Value)
		case m.Is(2, pb.Varint):
			q.endMs = int64(m.Value)
		case m.Is(3, pb.Bytes):
			matcher, err := parseMatcher(m.Bytes)
			if err != nil {
				return q, err
			}
			if len(q.matchers) == maxSelectors {
				return q, fmt.Errorf("more than %d matchers", maxSelectors)
			}
			q.matchers = append(q.matchers, matcher)
		}
	}
	if m.Err == nil && len(q.matchers) == 0 {
		return q, errors.New("a query has no matchers")
	}
	return q, m.Err
}

func parseMatcher(body []byte) (*labels.Matcher, error) {
	kind, name, text := uint64(0), "", ""
	m := pb.Read(body)
	for m.Next() {
		switch {
		case m.Is(1, pb.Varint):
			kind = m.Value
		case m.Is(2, pb.Bytes):
			name = string(m.Bytes)
		case m.Is(3, pb.Bytes):
			text = string(m.Bytes)
		}
	}
	if m.Err != nil {
		return nil, m.Err
	}
	kinds := [...]labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}
	if kind >= uint64(len(kinds)) {
		return nil, fmt.Errorf("matcher type %d is not known", kind)
	}
	// The bounds of regular expressions, before one is compiled.
	if kind >= 2 && (len(text) > maxRegexBytes || patternOps(text) > maxRegexOps) {
		return nil, fmt.Errorf("regular expression on label %.64q is too large; shorten it", name)
	}
	return labels.NewMatcher(kinds[kind], name, text)
}

// readAnswer builds the answer to a remote read.
type readAnswer struct {
	body     []byte
	maxBytes int
	streamed bool
	w        io.Writer // takes what is streamed
	result   []byte    // of one query, sampled
	series   []byte    // one series, in either form
	frame    []byte    // a ChunkedReadResponse
	one      []byte
	it       chunkenc.Iterator
}

func (r *readAnswer) query(index int, found storage.SeriesSet) error {
	r.result, r.frame = r.result[:0], r.frame[:0]
	for found.Next() {
		s := found.At()
		r.it = s.Iterator(r.it)
		var err error
		if r.streamed {
			err = r.chunks(index, s.Labels())
		} else {
			err = r.samples(s.Labels())
		}
		if err != nil {
			return err
		}
	}
	if r.streamed {
		if err := r.endFrame(index); err != nil {
			return err
		}
	} else {
		r.body = pb.AppendBytes(r.body, 1, r.result)
	}
	return found.Err()
}

// startSeries begins a series with its labels, which have field 1 in both forms.
func (r *readAnswer) startSeries(lset labels.Labels) {
	r.series = r.series[:0]
	lset.Range(func(l labels.Label) {
		r.one = pb.AppendBytes(pb.AppendBytes(r.one[:0], 1, l.Name), 2, l.Value)
		r.series = pb.AppendBytes(r.series, 1, r.one)
	})
}

func (r *readAnswer) bound() error {
	if len(r.body)+len(r.result)+len(r.series)+len(r.frame) > r.maxBytes {
		return &limitError{fmt.Sprintf("the answer is larger than %d MiB (query.max-result); ask for fewer series or a shorter range", r.maxBytes>>20)}
	}
	return nil
}

// samples appends a TimeSeries to the result. A series without samples in the range is left out.
func (r *readAnswer) samples(lset labels.Labels) error {
	r.startSeries(lset)
	n := 0
	for ; r.it.Next() != chunkenc.ValNone; n++ {
		timeMs, v := r.it.At()
		r.one = pb.AppendVarint(pb.AppendDouble(r.one[:0], 1, v), 2, timeMs)
		r.series = pb.AppendBytes(r.series, 2, r.one)
		if n%1024 == 0 {
			if err := r.bound(); err != nil {
				return err
			}
		}
	}
	if n > 0 {
		r.result = pb.AppendBytes(r.result, 1, r.series)
	}
	return r.it.Err()
}

// chunks appends ChunkedSeries to frames; a series longer than a frame goes on in the next.
func (r *readAnswer) chunks(index int, lset labels.Labels) error {
	r.startSeries(lset)
	head := len(r.series)
	for more := r.it.Next() != chunkenc.ValNone; more; {
		c := chunkenc.NewXORChunk()
		app, err := c.Appender()
		if err != nil {
			return err
		}
		firstMs, lastMs := r.it.AtT(), int64(0)
		for n := 0; more && n < chunkSamples; n++ {
			timeMs, v := r.it.At()
			app.Append(0, timeMs, v)
			lastMs = timeMs
			more = r.it.Next() != chunkenc.ValNone
		}
		r.one = pb.AppendVarint(pb.AppendVarint(r.one[:0], 1, firstMs), 2, lastMs)
		r.one = pb.AppendBytes(pb.AppendVarint(r.one, 3, int64(chunkenc.EncXOR)), 4, c.Bytes())
		r.series = pb.AppendBytes(r.series, 2, r.one)
		if len(r.series) >= frameBytes && more {
			r.frame = pb.AppendBytes(r.frame, 1, r.series)
			r.series = r.series[:head]
			if err := r.endFrame(index); err != nil {
				return err
			}
		}
		if err := r.bound(); err != nil {
			return err
		}
	}
	if len(r.series) > head {
		r.frame = pb.AppendBytes(r.frame, 1, r.series)
	}
	if len(r.frame) >= frameBytes {
		if err := r.endFrame(index); err != nil {
			return err
		}
	}
	return r.it.Err()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// endFrame writes the frame: uvarint size, crc32c (big-endian), message.
func (r *readAnswer) endFrame(index int) error {
	if len(r.frame) == 0 {
		return nil
	}
	r.frame = pb.AppendVarint(r.frame, 2, int64(index))
	r.body = binary.AppendUvarint(r.body[:0], uint64(len(r.frame)))
	r.body = binary.BigEndian.AppendUint32(r.body, crc32.Checksum(r.frame, castagnoli))
	r.body = append(r.body, r.frame...)
	r.frame = r.frame[:0]
	_, err := r.w.Write(r.body)
	r.body = r.body[:0]
	return err
}
