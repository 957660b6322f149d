package store

import (
	"encoding/json"
	"maps"
	"testing"
)

// FuzzDecodeAttributes: the result is encoding/json's, whatever the text.
func FuzzDecodeAttributes(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":"b"}`, `{"a":"b","c":""}`, `{"a":"b",}`, `{"a":"b"`, `{"a":"b"}x`, `{"a" :"b"}`, `{"a":"\u00fc\n"}`, `{"ü":"x"}`,
		`{"a":"b","a":"c"}`, `{"a":1}`, `{"a":null}`, `null`, ``, `{`, `{,}`, `["a"]`, "{\"a\":\"\x80\"}", "{\"a\":\"\n\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeAttributes(text)
		want := map[string]string{}
		wantErr := json.Unmarshal(text, &want)
		if (err == nil) != (wantErr == nil) || err == nil && !maps.Equal(got, want) {
			t.Fatalf("%q: %v %v, want %v %v", text, got, err, want, wantErr)
		}
	})
}
