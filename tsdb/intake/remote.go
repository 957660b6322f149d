package intake

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"

	"muster/tsdb"
	"muster/tsdb/pb"
)

// maxSymbols bounds the symbol table of a request of remote write 2, 8 bytes each.
const maxSymbols = 1_000_000

// symbol is where a symbol stands in the body.
type symbol struct{ from, to uint32 }

// errNoHistograms refuses native histograms: columns hold numbers, and classic histograms are such.
var errNoHistograms = errors.New("native histograms are not kept; send classic ones")

// remoteWrite takes a request of Prometheus remote write [remote write 1.0; remote write 2.0-rc.4]. Content-Type says which of the two messages it
// is; they are told apart by nothing else. Exemplars and metadata are skipped, native histograms refused; float samples of a refused
// request are kept, as the specification lets a receiver do, and it must not be sent again.
func remoteWrite(ctx context.Context, in *Intake, r *Request) Response {
	second, err := isSecond(r.Header("Content-Type"))
	encoding := r.Header("Content-Encoding")
	if encoding == "" {
		encoding = "snappy" // senders of version 0.1.0 may leave it out
	}
	var total tally
	switch {
	case err != nil:
	case encoding != "snappy" && encoding != "zstd":
		err = refuse(http.StatusUnsupportedMediaType, "Content-Encoding %.32q is not known here; use snappy or zstd", encoding)
	case second:
		total, err = in.take(ctx, r, encoding, (*worker).readSecond)
	default:
		total, err = in.take(ctx, r, encoding, (*worker).readFirst)
	}
	resp := Response{Status: http.StatusNoContent}
	switch {
	case err != nil:
		resp = text(place(err))
	case total.invalid > 0:
		resp = text(http.StatusBadRequest, fmt.Sprintf("%d of %d samples were left out, the rest is kept; the first: %v",
			total.invalid, total.invalid+total.written, total.first))
	}
	if second {
		resp.Header = [][2]string{
			{"X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(total.written)},
			{"X-Prometheus-Remote-Write-Histograms-Written", "0"},
			{"X-Prometheus-Remote-Write-Exemplars-Written", "0"},
		}
	}
	if resp.Status == http.StatusTooManyRequests || resp.Status == http.StatusServiceUnavailable {
		resp.Header = append(resp.Header, [2]string{"Retry-After", "5"})
	}
	return resp
}

// isSecond says whether a Content-Type is that of remote write 2.
func isSecond(contentType string) (bool, error) {
	if contentType == "" {
		return false, nil
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err == nil && kind == "application/x-protobuf" {
		switch params["proto"] {
		case "", "prometheus.WriteRequest":
			return false, nil
		case "io.prometheus.write.v2.Request":
			return true, nil
		}
	}
	return false, refuse(http.StatusUnsupportedMediaType, "Content-Type %.96q is not known here; use application/x-protobuf with "+
		"proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request", contentType)
}

// malformed refuses a whole request.
func malformed(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*refusal](err); ok || !errors.Is(err, pb.Err) {
		return err
	}
	return refuse(http.StatusBadRequest, "%v", err)
}

// readFirst reads a prometheus.WriteRequest.
func (w *worker) readFirst(body []byte) error {
	for m := pb.Read(body); ; {
		if !m.Next() {
			return malformed(m.Err)
		}
		if !m.Is(1, pb.Bytes) { // 3 is metadata
			continue
		}
		if err := w.readSeries(m.Bytes, false); err != nil {
			return malformed(err)
		}
	}
}

// readSecond reads an io.prometheus.write.v2.Request. Symbols may come after the series that use them.
func (w *worker) readSecond(body []byte) error {
	w.symbols = w.symbols[:0]
	m := pb.Read(body)
	for m.Next() {
		if m.Is(4, pb.Bytes) {
			if len(w.symbols) == maxSymbols {
				return refuse(http.StatusBadRequest, "the request has more than %d symbols; send less at once", maxSymbols)
			}
			to := uint32(len(body) - m.Rest())
			w.symbols = append(w.symbols, symbol{to - uint32(len(m.Bytes)), to})
		}
	}
	if m.Err != nil {
		return malformed(m.Err)
	}
	if len(w.symbols) > 0 && w.symbols[0].from != w.symbols[0].to {
		return refuse(http.StatusBadRequest, "the first symbol of the request must be the empty string")
	}
	for m = pb.Read(body); m.Next(); {
		if m.Is(5, pb.Bytes) {
			if err := w.readSeries(m.Bytes, true); err != nil {
				return malformed(err)
			}
		}
	}
	return malformed(m.Err)
}

// readSeries reads one TimeSeries of either version. What the store cannot keep goes to the tally.
func (w *worker) readSeries(body []byte, second bool) error {
	w.beginSeries()
	m := pb.Read(body)
	samples, histograms, exemplars := 0, 0, 0
	fields := [...]uint64{3, 4} // exemplars, histograms
	if second {
		fields = [...]uint64{4, 3}
	}
	var pending []byte // a reference that waits for its second half: labels_refs need not be packed
	refs := 0
	for m.Next() {
		switch m.Number {
		case 1:
			var err error
			if !second {
				err = w.readLabel(&m)
			} else {
				pending, refs, err = w.readRefs(&m, pending, refs)
			}
			if err != nil {
				return err
			}
		case 2:
			samples++
		case fields[0]:
			exemplars++
		case fields[1]:
			histograms++
		}
	}
	if m.Err != nil {
		return m.Err
	}
	if refs%2 != 0 {
		return refuse(http.StatusBadRequest, "the labels_refs of a series are an odd number")
	}
	w.tally.exemplars += exemplars
	if histograms > 0 {
		w.tally.histograms += histograms
		w.tally.refuse(histograms, fmt.Errorf("series %.64q: %w", w.name, errNoHistograms))
	}
	if samples == 0 {
		return nil
	}
	thing, metric, err := w.target()
	if err != nil {
		w.tally.refuse(samples, err)
		return nil
	}
	for m = pb.Read(body); m.Next(); {
		if !m.Is(2, pb.Bytes) {
			continue
		}
		var timeMs int64
		var value float64
		s := pb.Read(m.Bytes)
		for s.Next() {
			if s.Is(1, pb.Fixed64) {
				value = s.Double()
			} else if s.Is(2, pb.Varint) {
				timeMs = int64(s.Value)
			}
		}
		if s.Err != nil {
			return s.Err
		}
		if err := w.add(thing, timeMs, tsdb.FloatValue(metric, value)); err != nil {
			return err
		}
	}
	if m.Err != nil {
		return m.Err
	}
	return w.endSeries()
}

// readLabel adds a Label to the set.
func (w *worker) readLabel(m *pb.Message) error {
	if !m.Is(1, pb.Bytes) {
		return pb.Err
	}
	var name, value []byte
	l := pb.Read(m.Bytes)
	for l.Next() {
		if l.Is(1, pb.Bytes) {
			name = l.Bytes
		} else if l.Is(2, pb.Bytes) {
			value = l.Bytes
		}
	}
	w.label(name, value)
	return l.Err
}

// readRefs adds labels by reference: a packed list, or one reference of a list that is not packed.
func (w *worker) readRefs(m *pb.Message, pending []byte, refs int) ([]byte, int, error) {
	list := pb.Read(m.Bytes)
	one := m.Wire == pb.Varint
	if !one && !m.Is(1, pb.Bytes) {
		return nil, 0, pb.Err
	}
	for one || list.Rest() > 0 {
		ref := m.Value
		if !one {
			ref = list.Uvarint()
		}
		if list.Err != nil {
			return nil, 0, list.Err
		}
		if ref >= uint64(len(w.symbols)) {
			return nil, 0, refuse(http.StatusBadRequest, "a series refers to symbol %d of %d", ref, len(w.symbols))
		}
		s := w.symbols[ref]
		text := w.body[s.from:s.to]
		if refs++; refs%2 == 1 {
			pending = text
		} else {
			w.label(pending, text)
		}
		if one {
			break
		}
	}
	return pending, refs, nil
}
