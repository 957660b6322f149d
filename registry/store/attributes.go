package store

import (
	"bytes"
	"encoding/json"
)

// decodeAttributes reads a JSON object of strings. What the registry writes has neither white space nor, as attributes
// cannot have such characters, escapes: that is read here, for it is most of the work of a start. All else is left to
// encoding/json. It keeps no reference to text.
func decodeAttributes(text []byte) (map[string]string, error) {
	attributes := make(map[string]string, bytes.Count(text, []byte(`":"`)))
	if plainAttributes(attributes, string(text)) {
		return attributes, nil
	}
	clear(attributes)
	err := json.Unmarshal(text, &attributes)
	return attributes, err
}

// plainAttributes reads {"key":"value",...} into attributes, as parts of text; false if it is anything else.
func plainAttributes(attributes map[string]string, text string) bool {
	if text == "{}" {
		return true
	}
	for first := byte('{'); ; first = ',' {
		if len(text) == 0 || text[0] != first {
			return first == ',' && text == "}"
		}
		key, rest, ok := plainString(text[1:])
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		value, rest, ok := plainString(rest[1:])
		if !ok {
			return false
		}
		attributes[key] = value
		text = rest
	}
}

// plainString cuts a JSON string of printable ASCII without escapes off text.
func plainString(text string) (value, rest string, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[1:i], text[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}
