package decode

// senmlJSON decodes a pack of SenML records in JSON (RFC 8428 section 5).
func (d *Decoder) senmlJSON(p []byte, arrivalMs int64) (int, fault) {
	d.senml.startPack(arrivalMs)
	i := skip(p, 0)
	switch {
	case i == len(p):
		return i, faultEmpty
	case p[i] != '[':
		return i, faultSenMLTop
	}
	more := true
	if i = skip(p, i+1); i < len(p) && p[i] == ']' {
		i++
		more = false
	}
	for more {
		switch {
		case i == len(p):
			return i, faultEnd
		case p[i] != '{':
			return i, faultSenMLTop
		}
		var f fault
		if i, f = d.senmlObject(p, i); f != ok {
			return i, f
		}
		if i, more, f = separator(p, i, ']'); f != ok {
			return i, f
		}
	}
	if i = skip(p, i); i < len(p) {
		return i, faultTrailing
	}
	return i, d.endRows()
}

// separator reads the comma at or after p[i], or the closing bracket or brace, and returns the index of what follows.
func separator(p []byte, i int, closing byte) (next int, more bool, f fault) {
	if i = skip(p, i); i == len(p) {
		return i, false, faultEnd
	}
	switch p[i] {
	case closing:
		return i + 1, false, ok
	case ',':
		return skip(p, i+1), true, ok
	}
	return i, false, faultComma
}

// memberKey reads the key at p[i] and its colon, and returns the index of the value.
func memberKey(p []byte, i int) (raw []byte, escaped bool, next int, f fault) {
	if i == len(p) {
		return nil, false, i, faultEnd
	}
	if p[i] != '"' {
		return nil, false, i, faultKey
	}
	if raw, escaped, i, f = scanString(p, i+1); f != ok {
		return nil, false, i, f
	}
	if i = skip(p, i); i == len(p) {
		return nil, false, i, faultEnd
	}
	if p[i] != ':' {
		return nil, false, i, faultColon
	}
	return raw, escaped, skip(p, i+1), ok
}

// senmlObject decodes the record at p[i].
func (d *Decoder) senmlObject(p []byte, i int) (int, fault) {
	d.senml.startRecord()
	at := i
	more := true
	if i = skip(p, i+1); i < len(p) && p[i] == '}' {
		i++
		more = false
	}
	for more {
		label, escaped, next, f := memberKey(p, i)
		if f != ok {
			return next, f
		}
		if escaped {
			var bad int
			if d.text, bad, f = unescape(d.text[:0], label); f != ok {
				return i + 1 + bad, f
			}
			label = d.text
		}
		field := senmlFieldOf(label)
		if field == fieldUnknown && len(label) > 0 && label[len(label)-1] == '_' {
			return i, faultSenMLMust
		}
		if i, f = d.senmlMember(p, next, field); f != ok {
			return i, f
		}
		if i, more, f = separator(p, i, '}'); f != ok {
			return i, f
		}
	}
	if at, f := d.endRecord(at); f != ok {
		return at, f
	}
	return i, ok
}

// senmlMember decodes the value of a field, at p[i].
func (d *Decoder) senmlMember(p []byte, i int, field senmlField) (int, fault) {
	if i == len(p) {
		return i, faultEnd
	}
	s := &d.senml
	var f fault
	end := i
	switch field {
	case fieldBaseName, fieldName, fieldString:
		var raw []byte
		var escaped bool
		if p[i] != '"' {
			return i, faultSenMLField
		}
		if raw, escaped, end, f = scanString(p, i+1); f != ok {
			return end, f
		}
		var bad int
		switch {
		case field == fieldBaseName:
			s.baseName, bad, f = unescape(s.baseName[:0], raw)
		case field == fieldName && escaped:
			s.nameText, bad, f = unescape(s.nameText[:0], raw)
			raw = s.nameText
		case escaped:
			s.textText, bad, f = unescape(s.textText[:0], raw)
			raw = s.textText
		}
		if f != ok {
			return i + 1 + bad, f
		}
		s.setText(field, raw)
	case fieldBool:
		switch {
		case literal(p, i, "true"):
			s.truth = true
			end = i + len("true")
		case literal(p, i, "false"):
			s.truth = false
			end = i + len("false")
		default:
			return i, faultSenMLField
		}
		s.has.set(field)
	case fieldBaseTime, fieldBaseValue, fieldBaseSum, fieldBaseVersion, fieldValue, fieldSum, fieldTime:
		if p[i] != '-' && p[i]-'0' > 9 {
			return i, faultSenMLField
		}
		var n number
		if n, end, f = scanNumber(p, i); f != ok {
			return end, f
		}
		v := scalar{n: n}
		if n.cut {
			f, fits := parseFloat(p[i:end])
			if !fits {
				return i, faultNumberRange
			}
			v = floatScalar(f)
		}
		if f = s.setNumber(field, v); f != ok {
			return i, f
		}
	default:
		if field == fieldData {
			s.has.set(field)
		}
		return skipJSON(p, i, maxDepth)
	}
	return end, ok
}

// skipJSON returns the index behind the value at p[i], whatever it is, of at most depth levels.
func skipJSON(p []byte, i, depth int) (int, fault) {
	if i == len(p) {
		return i, faultEnd
	}
	switch c := p[i]; c {
	case '"':
		_, _, end, f := scanString(p, i+1)
		return end, f
	case '{', '[':
		if depth == 0 {
			return i, faultDepth
		}
		closing := c + 2 // } and ] in ASCII
		if i = skip(p, i+1); i < len(p) && p[i] == closing {
			return i + 1, ok
		}
		for more := true; more; {
			var f fault
			if c == '{' {
				if _, _, i, f = memberKey(p, i); f != ok {
					return i, f
				}
			}
			if i, f = skipJSON(p, i, depth-1); f != ok {
				return i, f
			}
			if i, more, f = separator(p, i, closing); f != ok {
				return i, f
			}
		}
		return i, ok
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if literal(p, i, word) {
				return i + len(word), ok
			}
		}
		if c != '-' && c-'0' > 9 {
			return i, faultValue
		}
		_, end, f := scanNumber(p, i)
		return end, f
	}
}

// isSenML reports whether a JSON array is a SenML pack that no content type announces: its first object has fields of SenML only,
// and a bn that is a string, or an n that is one and a value or a sum.
func isSenML(p []byte) bool {
	i := skip(p, 0)
	if i == len(p) || p[i] != '[' {
		return false
	}
	if i = skip(p, i+1); i == len(p) || p[i] != '{' {
		return false
	}
	i = skip(p, i+1)
	var fields has
	based := false
	for more := true; more; {
		label, _, next, f := memberKey(p, i)
		if f != ok || next == len(p) {
			return false
		}
		field := senmlFieldOf(label)
		text := p[next] == '"'
		switch {
		case field == fieldUnknown || field == fieldName && !text:
			return false
		case field == fieldBaseName:
			based = text
		case field >= fieldName:
			fields.set(field)
		}
		if i, f = skipJSON(p, next, maxDepth); f != ok {
			return false
		}
		if i, more, f = separator(p, i, '}'); f != ok {
			return false
		}
	}
	return based || fields.of(fieldName) && (fields.values() > 0 || fields.of(fieldSum))
}
