package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/tsdb"
)

// errOutside says that a payload is good JSON but beyond what decode takes.
var errOutside = errors.New("outside of the limits")

// oracle is the plain twin of the decoder: encoding/json's tokens, flattened. It returns per row its columns by name, in
// numbers json.Number, bool or string. Times are left to TestJSON.
type oracle struct {
	dec  *json.Decoder
	rows []map[string]any
}

func (o *oracle) document() error {
	t, err := o.dec.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		err = o.row()
	case json.Delim('['):
		for n := 1; o.dec.More() && err == nil; n++ {
			t, err = o.dec.Token()
			if err == nil && (t != json.Delim('{') || n > maxRows) {
				return errOutside
			}
			if err == nil {
				err = o.row()
			}
		}
	default:
		return errOutside
	}
	return err
}

func (o *oracle) row() error {
	row := map[string]any{}
	if err := o.object(row, "", 1); err != nil {
		return err
	}
	if len(row) > 0 {
		o.rows = append(o.rows, row)
	}
	return nil
}

func (o *oracle) object(row map[string]any, prefix string, depth int) error {
	if depth > maxDepth {
		return errOutside
	}
	for o.dec.More() {
		t, err := o.dec.Token()
		if err != nil {
			return err
		}
		key := t.(string)
		top := depth == 1 && (key == "ts" || key == "timestamp" || key == "time")
		if t, err = o.dec.Token(); err != nil {
			return err
		}
		if t == nil {
			continue
		}
		name := prefix + key
		if t == json.Delim('{') && !top {
			if err := o.object(row, name+"_", depth+1); err != nil {
				return err
			}
			continue
		}
		if top {
			return errOutside
		}
		if t == json.Delim('[') {
			if o.dec.More() {
				return errOutside
			}
			if _, err := o.dec.Token(); err != nil {
				return err
			}
			continue
		}
		name = strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf && isNameByte(byte(r)) {
				return r
			}
			return '_'
		}, widen(name))
		if name == "" {
			return errOutside
		}
		if '0' <= name[0] && name[0] <= '9' {
			name = "_" + name
		}
		if s, isText := t.(string); len(name) > maxNameBytes || isText && len(s) > maxValueBytes {
			return errOutside
		}
		if n, isNumber := t.(json.Number); isNumber {
			if _, err := strconv.ParseFloat(string(n), 64); err != nil {
				return errOutside
			}
		}
		row[name] = t
		if len(row) > maxColumns {
			return errOutside
		}
	}
	_, err := o.dec.Token()
	return err
}

// widen puts a ? for each byte beyond ASCII, so that strings.Map sees bytes.
func widen(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b.WriteByte(s[i])
		} else {
			b.WriteByte('?')
		}
	}
	return b.String()
}

// check compares a decoded value with the oracle's: numbers exactly, as rationals.
func check(dict *tsdb.Dict, v tsdb.Value, want any) error {
	switch want := want.(type) {
	case bool:
		if v.Kind == tsdb.Bool && (v.Mantissa == 1) == want && v.Mantissa>>1 == 0 {
			return nil
		}
	case string:
		if v.Kind == tsdb.String && dict.StringValue(uint32(v.Mantissa)) == want {
			return nil
		}
	case json.Number:
		switch v.Kind {
		case tsdb.Float:
			// encoding/json's number went through the same function; what matters is that no short decimal is a float.
			f, err := strconv.ParseFloat(string(want), 64)
			if err == nil && math.Float64bits(f) == uint64(v.Mantissa) && !short(string(want)) {
				return nil
			}
		case tsdb.Decimal:
			if v.Mantissa%10 == 0 && (v.Mantissa != 0 || v.Exp != 0) {
				return fmt.Errorf("%+v is not normalised", v)
			}
			if v.Mantissa == 0 {
				if strings.Trim(strings.FieldsFunc(string(want), func(r rune) bool { return r|0x20 == 'e' })[0], "-0.") == "" {
					return nil
				}
				break
			}
			got, _ := new(big.Rat).SetString(fmt.Sprintf("%de%d", v.Mantissa, v.Exp))
			exact, good := new(big.Rat).SetString(string(want))
			if good && got.Cmp(exact) == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("got %+v, want %T %v", v, want, want)
}

// short reports whether the number has at most 18 significant digits and an exponent of -128 to 127.
func short(text string) bool {
	mantissa, exponent := strings.ToLower(strings.TrimPrefix(text, "-")), 0
	if at := strings.IndexByte(mantissa, 'e'); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(mantissa[at+1:]); err != nil {
			return false
		}
		mantissa = mantissa[:at]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	exponent -= len(frac)
	digits := strings.TrimLeft(whole+frac, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	return trimmed == "" || len(trimmed) <= 18 && -128 <= exponent && exponent <= 127
}

// FuzzJSON: whatever encoding/json takes and lies in the limits is decoded to the same columns and values, by a new decoder
// and by one that has seen every payload before; everything else is refused.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1.5,"b":{"c":true,"d":null},"s":"x\u00e9\ud83d\ude00","l":[]}`,
		`[{"a":1},{"a":2e-3,"b":-0.0}]`,
		`{"a":123456789012345678901234567890,"b":1e400}`,
		`{"a":1,"a":2,"a_b":3,"a":{"b":4}}`,
		`{"":0,"1":{"":2}}`, `{"a":01}`, `{"a":"\ud800"}`, "{\"\xff\":1}", `{"a":[1]}`, ` { } x`, `[{}]`, `{"ts":5,"a":1}`,
	} {
		f.Add([]byte(seed))
	}
	dict := tsdb.NewDict()
	used := New(dict)
	f.Fuzz(func(t *testing.T, payload []byte) {
		rows, err := used.JSON(payload, arrival)
		fresh, freshErr := New(dict).JSON(payload, arrival)
		if render(dict, rows) != render(dict, fresh) || fmt.Sprint(err) != fmt.Sprint(freshErr) {
			t.Fatalf("%q: used decoder says\n%s %v\nnew decoder says\n%s %v", payload, render(dict, rows), err, render(dict, fresh), freshErr)
		}
		if !json.Valid(payload) || !utf8.Valid(payload) {
			if err == nil {
				t.Fatalf("%q: invalid JSON was taken as %s", payload, render(dict, rows))
			}
			return
		}
		o := oracle{dec: json.NewDecoder(bytes.NewReader(payload))}
		o.dec.UseNumber()
		wantErr := o.document()
		if wantErr != nil && wantErr != errOutside && wantErr != io.EOF {
			t.Fatalf("%q: oracle: %v", payload, wantErr)
		}
		var m *Malformed
		switch {
		case wantErr != nil && err == nil && !timed(payload):
			t.Fatalf("%q: should be refused, was taken as %s", payload, render(dict, rows))
		case wantErr != nil:
			return
		case errors.As(err, &m) && (m.Reason == reasons[faultSurrogate] && bytes.Contains(payload, []byte(`\u`)) ||
			m.Reason == reasons[faultNameLen] || m.Reason == reasons[faultNamesFull]):
			return // encoding/json replaces lone surrogates; a long key may have no value
		case err != nil:
			t.Fatalf("%q: refused: %v", payload, err)
		}
		if len(rows) != len(o.rows) {
			t.Fatalf("%q: %d rows, want %d", payload, len(rows), len(o.rows))
		}
		for i, r := range rows {
			if len(r.Values) != len(o.rows[i]) {
				t.Fatalf("%q: row %d: got %s, want %v", payload, i, render(dict, rows[i:i+1]), o.rows[i])
			}
			for _, v := range r.Values {
				name := dict.MetricName(v.Metric)
				want, known := o.rows[i][name]
				if !known {
					t.Fatalf("%q: row %d: column %q is not in %v", payload, i, name, o.rows[i])
				}
				if err := check(dict, v, want); err != nil {
					t.Fatalf("%q: row %d: column %q: %v", payload, i, name, err)
				}
			}
		}
	})
}

// timed reports whether a payload may have a time, which the oracle does not read.
func timed(payload []byte) bool {
	return bytes.Contains(payload, []byte("t")) || bytes.Contains(payload, []byte(`\u`))
}
