package decode

import "bytes"

// format is what a payload is written in.
type format uint8

const (
	formatUnknown format = iota
	formatJSON
	formatCBOR
	formatSenMLJSON
	formatSenMLCBOR
	formatLines
	formatSparkplug
)

// contentTypes are the media types that name a format. Any other leaves it to the payload's first bytes.
var contentTypes = [...]struct {
	name   string // lower case
	format format
}{
	{"application/json", formatJSON},
	{"application/cbor", formatCBOR},
	{"application/senml+json", formatSenMLJSON},
	{"application/senml+cbor", formatSenMLCBOR},
	{"text/vnd.influx.line", formatLines},
	{"application/vnd.influx.line", formatLines},
	{"application/vnd.eclipse.sparkplug.b", formatSparkplug},
}

// formatOf returns the format of an MQTT 5 content type. Case and parameters behind a semicolon do not matter.
func formatOf(contentType []byte) format {
	if at := bytes.IndexByte(contentType, ';'); at >= 0 {
		contentType = contentType[:at]
	}
	for i := range contentTypes {
		if equalFold(contentType, contentTypes[i].name) {
			return contentTypes[i].format
		}
	}
	return formatUnknown
}

// equalFold reports whether s without blanks around it is the lower-case ASCII text lower, in any case.
func equalFold(s []byte, lower string) bool {
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	if len(s) != len(lower) {
		return false
	}
	for i, c := range s {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// detect tells the format of a payload without a content type by its first bytes. Sparkplug has none that tell.
func detect(p []byte) format {
	i := skip(p, 0)
	if i == len(p) {
		return formatJSON // which says that it is empty
	}
	switch c := p[i]; {
	case c == '{':
		return formatJSON
	case c == '[':
		if isSenML(p) {
			return formatSenMLJSON
		}
		return formatJSON
	case i == 0 && c>>5 >= cborArray && c>>5 <= cborTag: // no UTF-8 begins with an array or a map, and no text with the tag
		if c>>5 == cborTag && (len(p) < 3 || c != 0xd9 || p[1] != 0xd9 || p[2] != 0xf7) {
			return formatUnknown
		}
		if isSenMLCBOR(p) {
			return formatSenMLCBOR
		}
		return formatCBOR
	}
	return formatUnknown
}

// Decode decodes a payload in any of the formats that docs/formats/payloads.md lists, compressed or not. contentType is the MQTT 5
// property, or empty: then, and if it names no format, the first bytes of the payload decide.
//
// It is JSON's contract otherwise, but that the decoder may refer to the payload until the next call. The offset of a *Malformed
// counts in what was decompressed.
func (d *Decoder) Decode(contentType, payload []byte, arrivalMs int64) ([]Row, error) {
	d.reset()
	p := payload
	packed, f := isPacked(d.Encoding, payload)
	if f == ok && packed {
		p, f = d.unpacked.unpack(payload)
	}
	if f != ok {
		return d.result(0, f)
	}
	form := formatUnknown
	if len(contentType) > 0 {
		form = formatOf(contentType)
	}
	if form == formatUnknown {
		form = detect(p)
	}
	switch form {
	case formatJSON:
		return d.result(d.document(p, arrivalMs))
	case formatCBOR:
		return d.result(d.cbor(p, arrivalMs))
	case formatSenMLJSON:
		return d.result(d.senmlJSON(p, arrivalMs))
	case formatSenMLCBOR:
		return d.result(d.senmlCBOR(p, arrivalMs))
	case formatLines:
		return d.result(d.influx(p, arrivalMs))
	case formatSparkplug:
		return d.result(d.sparkplug(p, false, nil, arrivalMs))
	}
	i, f := d.influx(p, arrivalMs)
	if len(d.rows) == 0 && (f == ok || d.lines.f != ok) {
		return d.result(0, faultUnknown) // not even one line of it
	}
	return d.result(i, f)
}

// Skipped returns how many values the decoder has left out so far because no column holds them: infinities, NaN, and the binary
// data of SenML and Sparkplug.
func (d *Decoder) Skipped() uint64 { return d.skipped }
