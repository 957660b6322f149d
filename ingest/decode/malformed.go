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
	faultCut
	faultCBOR
	faultCBORTop
	faultCBORElement
	faultCBORKey
	faultCBORValue
	faultCBORBytes
	faultCBORTag
	faultCBORTrailing
	faultBignum
	faultFraction
	faultSenMLTop
	faultSenMLField
	faultSenMLVersion
	faultSenMLMust
	faultSenMLName
	faultSenMLValues
	faultLineMeasurement
	faultLineTag
	faultLineFields
	faultLineValue
	faultLineInteger
	faultLineQuote
	faultLineTime
	faultProto
	faultRebirth
	faultBirth
	faultAlias
	faultMetricName
	faultDatatype
	faultInflate
	faultInflated
	faultPromised
	faultEncoding
	faultUnknown
)

// reasons are the sentences of the faults.
var reasons = [...]string{
	ok:                   "",
	faultEmpty:           "the payload is empty, want a JSON object",
	faultTop:             "want a JSON object or an array of objects",
	faultEnd:             "the JSON ends too early",
	faultKey:             "want a key in double quotes",
	faultColon:           "want a colon after the key",
	faultComma:           "want a comma or the closing brace or bracket",
	faultValue:           "want a number, a string, true, false, null or an object",
	faultTrailing:        "there is more after the JSON value",
	faultNumber:          "the number is not written as JSON allows",
	faultNumberRange:     "the number is too large for a 64-bit float",
	faultString:          "a control character in a string must be escaped",
	faultEscape:          "the escape sequence in the string is unknown or incomplete",
	faultSurrogate:       "an escaped UTF-16 surrogate lacks its other half",
	faultUTF8:            "the string is not valid UTF-8",
	faultStringLen:       "a string value is longer than 1024 bytes",
	faultArray:           "an array inside an object is not supported, use one key per value",
	faultElement:         "every element of the top-level array must be an object",
	faultRows:            "the array has more than 1000 rows",
	faultDepth:           "objects are nested deeper than 8 levels",
	faultColumns:         "a row has more than 256 columns",
	faultName:            "a column name is empty",
	faultNameLen:         "a column name is longer than 128 bytes",
	faultTime:            "the time is neither a number nor an RFC 3339 string",
	faultTimeRange:       "the time is before 1970 or too far ahead",
	faultNamesFull:       "the gateway has no room for a new column name",
	faultStringsFull:     "the gateway has no room for a new string value, send numbers or fewer different strings",
	faultCut:             "the payload ends too early",
	faultCBOR:            "the CBOR is not well-formed",
	faultCBORTop:         "want a CBOR map or an array of maps",
	faultCBORElement:     "every element of the top-level CBOR array must be a map",
	faultCBORKey:         "every key of a CBOR map must be a text string",
	faultCBORValue:       "want a CBOR number, text string, true, false, null or map",
	faultCBORBytes:       "a CBOR byte string is not supported, send text or numbers",
	faultCBORTag:         "the CBOR tag is not supported here",
	faultCBORTrailing:    "there is more after the CBOR value",
	faultBignum:          "a CBOR bignum is not supported, send at most 64 bits or a float",
	faultFraction:        "a CBOR decimal fraction must be an array of an exponent and a mantissa",
	faultSenMLTop:        "a SenML pack must be an array of records",
	faultSenMLField:      "the value of a SenML field has the wrong type",
	faultSenMLVersion:    "the SenML version is newer than 10",
	faultSenMLMust:       "a SenML field whose name ends in an underscore must be understood and is not",
	faultSenMLName:       "a SenML record with a value has no name",
	faultSenMLValues:     "a SenML record has more than one value",
	faultLineMeasurement: "a line must begin with a measurement",
	faultLineTag:         "a tag of a line must be key=value",
	faultLineFields:      "a line needs a blank and at least one field=value behind measurement and tags",
	faultLineValue:       "the value of a field is neither a number, a boolean nor a string in double quotes",
	faultLineInteger:     "the integer of a field does not fit into 64 bits",
	faultLineQuote:       "the closing quote of a field's string is missing",
	faultLineTime:        "want a whole number as timestamp, then the end of the line",
	faultProto:           "the payload is not well-formed protobuf",
	faultRebirth:         "rebirth needed: no birth told the name or the datatype of a metric",
	faultBirth:           "a birth has more than 2048 metrics, or their names more than 128 KiB",
	faultAlias:           "two metrics of a birth have the same alias",
	faultMetricName:      "a metric of a birth has no name",
	faultDatatype:        "the value of a metric is not of its datatype",
	faultInflate:         "the compressed payload is damaged",
	faultInflated:        "decompressed, the payload is larger than 1 MiB or than 100 times its size",
	faultPromised:        "the payload is not compressed as its content-encoding says",
	faultEncoding:        "the content-encoding is none of gzip, deflate, zstd and identity",
	faultUnknown:         "the payload is no JSON or CBOR object, SenML pack or InfluxDB line; if it is, say so in the content type",
}
