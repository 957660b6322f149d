package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"

	"muster/tsdb"
)

// jsonToCBOR converts a JSON document, keys that occur twice included. open makes everything of indefinite length that can be.
func jsonToCBOR(dec *json.Decoder, open bool) (any, error) {
	wrap := func(v any) any {
		if open {
			return cborOpen{v}
		}
		return v
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		var items []any
		for dec.More() {
			item, err := jsonToCBOR(dec, open)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
		if token == '{' {
			return wrap(cborPairs(items)), nil
		}
		return wrap(cborList(items)), nil
	case string:
		return wrap(token), nil
	case json.Number:
		if n, err := strconv.ParseInt(token.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := token.Float64()
		return f, err
	default:
		return token, nil
	}
}

// numberOf returns a column's number as a query reads it.
func numberOf(v tsdb.Value) float64 {
	if v.Kind == tsdb.Float {
		return math.Float64frombits(uint64(v.Mantissa))
	}
	f, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", v.Mantissa, v.Exp), 64)
	return f
}

// FuzzCBOR: a JSON payload and its translation to CBOR give the same rows; and bytes of any kind, the same from a new decoder and a used one.
func FuzzCBOR(f *testing.F) {
	for _, seed := range []string{
		`{"a":1.5,"b":{"c":true,"d":null},"s":"x\u00e9","l":[],"a":7}`, `[{"a":1,"ts":1700000000.25},{"a":2e-3,"time":"2023-11-14T22:13:21Z"}]`,
		`{"a":123456789012345678,"b":1e300,"c":0.1234567890123456789,"d":-12.5}`, `{"a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":1}}}}}}}}}`, `{"a":[1]}`, `[1]`, `{"":1}`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Add(encodeCBOR(nil, cborPairs{"a", fraction(5, -2), "ts", cborTagged{1, 5.5}, "b", cborHalf(5), "c", float32(0.1)}), false)
	f.Add([]byte("\xbf\x7f\x61a\x61b\xff\x9f\xff\xff"), false)
	dict := tsdb.NewDict()
	used := New(dict)
	contentType := []byte("application/cbor")
	f.Fuzz(func(t *testing.T, payload []byte, open bool) {
		if encodingOf(payload) == identity {
			for _, contentType := range []string{"", "application/cbor", "application/senml+cbor"} {
				rows, err := used.Decode([]byte(contentType), payload, arrival)
				fresh, freshErr := New(dict).Decode([]byte(contentType), payload, arrival)
				if render(dict, rows) != render(dict, fresh) || fmt.Sprint(err) != fmt.Sprint(freshErr) {
					t.Fatalf("%s %x: used decoder says\n%s %v\nnew decoder says\n%s %v", contentType, payload, render(dict, rows), err, render(dict, fresh), freshErr)
				}
			}
		}
		rows, err := New(dict).JSON(payload, arrival)
		if !json.Valid(payload) || bytes.Contains(payload, []byte(`\`)) {
			return // encoding/json replaces half surrogates; a backslash in a key is no letter
		}
		dec := json.NewDecoder(bytes.NewReader(payload))
		dec.UseNumber()
		item, convErr := jsonToCBOR(dec, open)
		if convErr != nil {
			return // a number that is too large
		}
		translated := encodeCBOR(nil, item)
		got, gotErr := used.Decode(contentType, translated, arrival)
		if (err != nil) != (gotErr != nil) {
			var m *Malformed
			if errors.As(err, &m) && m.Reason == reasons[faultUTF8] {
				return // replaced by encoding/json
			}
			t.Fatalf("%q: %s %v\nas CBOR %x: %s %v", payload, render(dict, rows), err, translated, render(dict, got), gotErr)
		}
		if len(rows) != len(got) {
			t.Fatalf("%q: %s\nas CBOR %x: %s", payload, render(dict, rows), translated, render(dict, got))
		}
		for i := range rows {
			if rows[i].TimeMs != got[i].TimeMs && !bytes.ContainsAny(payload, "eE.") || len(rows[i].Values) != len(got[i].Values) {
				t.Fatalf("%q: %s\nas CBOR %x: %s", payload, render(dict, rows), translated, render(dict, got))
			}
			for j, v := range rows[i].Values {
				w := got[i].Values[j]
				same := v == w
				if v.Kind != tsdb.Bool && v.Kind != tsdb.String && v.Metric == w.Metric {
					same = (w.Kind == tsdb.Decimal || w.Kind == tsdb.Float) && numberOf(v) == numberOf(w)
				}
				if !same {
					t.Fatalf("%q: %s\nas CBOR %x: %s", payload, render(dict, rows), translated, render(dict, got))
				}
			}
		}
	})
}

// FuzzDecode: whatever the content type and the bytes, a decoder that has seen other payloads says what a new one says, rows keep their
// promises, and a payload that names its format is decoded as if that format had been told.
func FuzzDecode(f *testing.F) {
	for _, v := range formats(f) {
		f.Add([]byte(v.contentType), v.payload)
	}
	f.Add([]byte(" Application/JSON ; a=b"), []byte(`{"a":1}`))
	dict := tsdb.NewDict()
	used := New(dict)
	f.Fuzz(func(t *testing.T, contentType, payload []byte) {
		rows, err := used.Decode(contentType, payload, arrival)
		fresh, freshErr := New(dict).Decode(contentType, payload, arrival)
		if render(dict, rows) != render(dict, fresh) || fmt.Sprint(err) != fmt.Sprint(freshErr) {
			t.Fatalf("%q %q: used decoder says\n%s %v\nnew decoder says\n%s %v", contentType, payload, render(dict, rows), err, render(dict, fresh), freshErr)
		}
		if err != nil {
			var m *Malformed
			if !errors.As(err, &m) || m.Reason == "" || m.Offset < 0 || m.Offset > maxUnpacked {
				t.Fatalf("%q %q: %#v", contentType, payload, err)
			}
			return
		}
		if len(rows) > maxRows {
			t.Fatalf("%q: %d rows", payload, len(rows))
		}
		for _, r := range rows {
			seen := map[tsdb.MetricID]bool{}
			for _, v := range r.Values {
				if seen[v.Metric] {
					t.Fatalf("%q: a column twice: %s", payload, render(dict, rows))
				}
				seen[v.Metric] = true
				if f := numberOf(v); v.Kind == tsdb.Float && f-f != 0 {
					t.Fatalf("%q: not finite: %s", payload, render(dict, rows))
				}
			}
			if len(r.Values) == 0 || len(r.Values) > maxColumns || r.TimeMs < 0 {
				t.Fatalf("%q: %s", payload, render(dict, rows))
			}
		}
		if formatOf(contentType) == formatUnknown && len(payload) > 0 && payload[0] == '{' {
			plain, err := used.JSON(payload, arrival)
			if got := render(dict, plain); err != nil || got != render(dict, fresh) {
				t.Fatalf("%q: JSON says %s %v", payload, got, err)
			}
		}
	})
}
