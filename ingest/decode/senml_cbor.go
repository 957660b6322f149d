package decode

// senmlCBOR decodes a pack of SenML records in CBOR (RFC 8428 section 6).
func (d *Decoder) senmlCBOR(p []byte, arrivalMs int64) (int, fault) {
	d.senml.startPack(arrivalMs)
	h, i, f := d.cborTop(p)
	if f != ok {
		return i, f
	}
	if h.major != cborArray {
		return 0, faultSenMLTop
	}
	for n := uint64(0); ; n++ {
		at := i
		var more bool
		if more, i = cborItem(p, i, h, n); !more {
			break
		}
		var record head
		if record, i, f = cborHead(p, i); f != ok {
			return i, f
		}
		if record.major != cborMap {
			return at, faultSenMLTop
		}
		if i, f = d.senmlMap(p, i, record); f != ok {
			return i, f
		}
		if _, f = d.endRecord(at); f != ok {
			return at, f
		}
	}
	if i < len(p) {
		return i, faultCBORTrailing
	}
	return i, d.endRows()
}

// senmlMap decodes the record behind h. Labels are SenML's integers, or texts as in JSON.
func (d *Decoder) senmlMap(p []byte, i int, h head) (int, fault) {
	d.senml.startRecord()
	for n := uint64(0); ; n++ {
		more, next := cborItem(p, i, h, n)
		if i = next; !more {
			return i, ok
		}
		field, next, f := d.senmlLabel(p, i)
		if f != ok {
			return next, f
		}
		if i, f = d.senmlItem(p, next, field); f != ok {
			return i, f
		}
	}
}

// senmlLabel reads the label at p[i].
func (d *Decoder) senmlLabel(p []byte, i int) (senmlField, int, fault) {
	h, next, f := cborHead(p, i)
	if f != ok {
		return 0, next, f
	}
	switch {
	case h.major == cborUint && h.arg < uint64(fieldUnknown):
		return senmlField(h.arg), next, ok
	case h.major == cborNegint && h.arg < uint64(-fieldBaseSum):
		return -1 - senmlField(h.arg), next, ok
	case h.major <= cborNegint:
		return fieldUnknown, next, ok
	case h.major != cborText:
		return 0, i, faultSenMLField
	}
	label, next, f := cborString(p, next, h, &d.text)
	if f != ok {
		return 0, next, f
	}
	field := senmlFieldOf(label)
	if field == fieldUnknown && len(label) > 0 && label[len(label)-1] == '_' {
		return 0, i, faultSenMLMust
	}
	return field, next, ok
}

// senmlItem decodes the value of a field, at p[i].
func (d *Decoder) senmlItem(p []byte, i int, field senmlField) (int, fault) {
	s := &d.senml
	h, next, f := cborHead(p, i)
	if f != ok {
		return next, f
	}
	switch field {
	case fieldBaseName, fieldName, fieldString:
		if h.major != cborText {
			return i, faultSenMLField
		}
		scratch := &d.text
		switch field {
		case fieldName:
			scratch = &s.nameText
		case fieldString:
			scratch = &s.textText
		}
		var text []byte
		if text, next, f = cborString(p, next, h, scratch); f != ok {
			return next, f
		}
		if field == fieldBaseName {
			s.baseName = append(s.baseName[:0], text...)
		}
		s.setText(field, text)
	case fieldBool:
		if h.major != cborSimple || h.info != 20 && h.info != 21 {
			return i, faultSenMLField
		}
		s.truth = h.info == 21
		s.has.set(field)
	case fieldBaseTime, fieldBaseValue, fieldBaseSum, fieldBaseVersion, fieldValue, fieldSum, fieldTime:
		v, next, there, f := d.cborNumber(p, i, h, next)
		switch {
		case f == faultCBORValue:
			return i, faultSenMLField
		case f != ok:
			return next, f
		case !there:
			if field != fieldValue && field != fieldSum {
				return i, faultSenMLField
			}
			return next, ok
		}
		if f = s.setNumber(field, v); f != ok {
			return i, f
		}
		return next, ok
	default:
		if field == fieldData {
			s.has.set(field)
		}
		return cborSkip(p, i, maxDepth)
	}
	return next, ok
}

// isSenMLCBOR reports whether a CBOR array is a SenML pack that no content type announces: its first item is a map whose first
// label is an integer, which no other payload has.
func isSenMLCBOR(p []byte) bool {
	h, i, f := cborHead(p, 0)
	if f == ok && h.major == cborTag && h.arg == tagSelfMarker {
		h, i, f = cborHead(p, i)
	}
	if f != ok || h.major != cborArray {
		return false
	}
	if h, i, f = cborHead(p, i); f != ok || h.major != cborMap {
		return false
	}
	h, _, f = cborHead(p, i)
	return f == ok && h.major <= cborNegint
}
