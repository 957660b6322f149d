package admin

import (
	"encoding/json"
	"strconv"

	"muster/registry"
)

// appendThing appends a row of a search as encoding/json writes a thingOutput: a page has a hundred, and encoding/json would sort and copy
// the attributes of each.
func appendThing(dst []byte, row *registry.Row) []byte {
	link := row.Connectivity
	dst = appendText(append(dst, `{"thingName":`...), row.Name)
	dst = appendText(append(dst, `,"thingTypeName":`...), row.TypeName)
	dst = append(dst, `,"attributes":{`...)
	first := true
	row.EachAttribute(func(key, value string) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendText(dst, key), ':')
		dst = appendText(dst, value)
	})
	dst = strconv.AppendBool(append(dst, `},"connected":`...), link.Connected)
	dst = strconv.AppendInt(append(dst, `,"sinceMs":`...), link.SinceMs, 10)
	dst = strconv.AppendInt(append(dst, `,"lastSeenMs":`...), link.LastSeenMs, 10)
	dst = appendText(append(dst, `,"remote":`...), link.Remote)
	dst = appendText(append(dst, `,"reason":`...), link.Reason)
	dst = strconv.AppendInt(append(dst, `,"version":`...), row.Version, 10)
	return append(dst, '}')
}

// appendText appends a JSON string. Names and attributes have no characters that JSON escapes; all else is left to encoding/json.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
			escaped, err := json.Marshal(text)
			if err != nil {
				panic("BUG: " + err.Error()) // there is a form for every string
			}
			return append(dst, escaped...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
