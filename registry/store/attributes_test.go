package store

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
)

// FuzzAttributes: the result is encoding/json's, whatever the text.
func FuzzAttributes(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":"b"}`, `{"a":"b","c":""}`, `{"a":"b",}`, `{"a":"b"`, `{"a":"b"}x`, `{"a" :"b"}`, `{"a":"\u00fc\n"}`, `{"ü":"x"}`,
		`{"a":"b","a":"c"}`, `{"b":"1","a":"2"}`, `{"a":"1","b":"2"}`, `{"a":1}`, `{"a":null}`, `null`, ``, `{`, `{,}`, `["a"]`, "{\"a\":\"\x80\"}", "{\"a\":\"\n\"}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := new(batch[int]).attributes(text)
		got := map[string]string{}
		for i, a := range list {
			if i > 0 && bytes.Compare(list[i-1].Key, a.Key) >= 0 {
				t.Fatalf("%q: %q comes before %q", text, list[i-1].Key, a.Key)
			}
			got[string(a.Key)] = string(a.Value)
		}
		want := map[string]string{}
		wantErr := json.Unmarshal(text, &want)
		if (err == nil) != (wantErr == nil) || err == nil && !maps.Equal(got, want) {
			t.Fatalf("%q: %v %v, want %v %v", text, got, err, want, wantErr)
		}
	})
}
