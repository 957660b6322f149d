package store

import (
	"bytes"

	"muster/registry"
)

// appendAttributes reads a JSON object of strings, by key ascending: {"key":"value",...}. What the registry writes has neither white space nor, as
// attributes cannot have such characters, escapes: that is read here, as parts of text. plain is false if it is anything else, which is to be left to
// encoding/json.
func appendAttributes(dst []registry.StoredAttribute, text []byte) (_ []registry.StoredAttribute, plain bool) {
	if string(text) == "{}" {
		return dst, true
	}
	var last []byte // key
	for first := byte('{'); ; first = ',' {
		if len(text) == 0 || text[0] != first {
			return dst, first == ',' && string(text) == "}"
		}
		key, rest, ok := plainString(text[1:])
		if !ok || len(rest) == 0 || rest[0] != ':' || first == ',' && bytes.Compare(last, key) >= 0 {
			return dst, false
		}
		value, rest, ok := plainString(rest[1:])
		if !ok {
			return dst, false
		}
		dst = append(dst, registry.StoredAttribute{Key: key, Value: value})
		text, last = rest, key
	}
}

// plainString cuts a JSON string of printable ASCII without escapes off text.
func plainString(text []byte) (value, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[1:i], text[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return nil, nil, false
		}
	}
	return nil, nil, false
}
