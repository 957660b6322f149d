package decode

import "strconv"

// Malformed is the error of a payload that is refused as a whole: none of its rows may be stored.
//
// Reason is one of a fixed set of sentences that tell the sender what to change, so it may be a metric label and the reason
// string of an MQTT 5 PUBACK 0x99. Offset is the byte of the payload at which decoding stopped.
type Malformed struct {
	Reason string
	Offset int
}

// Error returns the reason and the place.
func (m *Malformed) Error() string {
	return "payload refused at byte " + strconv.Itoa(m.Offset) + ": " + m.Reason
}

// fault is a Malformed without its place; ok is none. Inner functions return it with the offset, so that only a refused
// payload costs an allocation.
type fault uint8

const (
	ok fault = iota
	faultEmpty
	faultTop
	faultEnd
	faultKey
	faultColon
	faultComma
	faultValue
	faultTrailing
	faultNumber
	faultNumberRange
	faultString
	faultEscape
	faultSurrogate
	faultUTF8
	faultStringLen
	faultArray
	faultElement
	faultRows
	faultDepth
	faultColumns
	faultName
	faultNameLen
	faultTime
	faultTimeRange
	faultNamesFull
	faultStringsFull
)

// reasons are the sentences of the faults.
var reasons = [...]string{
	ok:               "",
	faultEmpty:       "the payload is empty, want a JSON object",
	faultTop:         "want a JSON object or an array of objects",
	faultEnd:         "the JSON ends too early",
	faultKey:         "want a key in double quotes",
	faultColon:       "want a colon after the key",
	faultComma:       "want a comma or the closing brace or bracket",
	faultValue:       "want a number, a string, true, false, null or an object",
	faultTrailing:    "there is more after the JSON value",
	faultNumber:      "the number is not written as JSON allows",
	faultNumberRange: "the number is too large for a 64-bit float",
	faultString:      "a control character in a string must be escaped",
	faultEscape:      "the escape sequence in the string is unknown or incomplete",
	faultSurrogate:   "an escaped UTF-16 surrogate lacks its other half",
	faultUTF8:        "the string is not valid UTF-8",
	faultStringLen:   "a string value is longer than 1024 bytes",
	faultArray:       "an array inside an object is not supported, use one key per value",
	faultElement:     "every element of the top-level array must be an object",
	faultRows:        "the array has more than 1000 rows",
	faultDepth:       "objects are nested deeper than 8 levels",
	faultColumns:     "a row has more than 256 columns",
	faultName:        "a column name is empty",
	faultNameLen:     "a column name is longer than 128 bytes",
	faultTime:        "the time is neither a number nor an RFC 3339 string",
	faultTimeRange:   "the time is before 1970 or too far ahead",
	faultNamesFull:   "the gateway has no room for a new column name",
	faultStringsFull: "the gateway has no room for a new string value, send numbers or fewer different strings",
}
