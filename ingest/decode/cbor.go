package decode

import (
	"encoding/binary"
	"unicode/utf8"

	"muster/tsdb"
)

// Major types of CBOR (RFC 8949 section 3.1).
const (
	cborUint   = 0
	cborNegint = 1
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborTag    = 6
	cborSimple = 7 // and floats
)

// Tags that are understood (RFC 8949 section 3.4).
const (
	tagDateTime   = 0
	tagEpoch      = 1
	tagPosBignum  = 2
	tagNegBignum  = 3
	tagFraction   = 4
	tagSelfMarker = 55799
)

// head is the start of a data item: its type and its argument.
type head struct {
	major byte
	info  byte // the low five bits of the first byte
	arg   uint64
	open  bool // of indefinite length, arg is 0
}

// cborBreak ends an item of indefinite length.
const cborBreak = 0xff

// cborHead reads the head at p[i] and returns the index behind it.
func cborHead(p []byte, i int) (h head, next int, f fault) {
	if i >= len(p) {
		return h, len(p), faultCut
	}
	h.major, h.info = p[i]>>5, p[i]&31
	rest := p[i+1:]
	switch {
	case h.info < 24:
		h.arg = uint64(h.info)
		return h, i + 1, ok
	case h.info < 28:
		size := 1 << (h.info - 24)
		if len(rest) < size {
			return h, len(p), faultCut
		}
		switch size {
		case 1:
			h.arg = uint64(rest[0])
		case 2:
			h.arg = uint64(binary.BigEndian.Uint16(rest))
		case 4:
			h.arg = uint64(binary.BigEndian.Uint32(rest))
		default:
			h.arg = binary.BigEndian.Uint64(rest)
		}
		return h, i + 1 + size, ok
	case h.info == 31 && h.major >= cborBytes && h.major <= cborMap:
		h.open = true
		return h, i + 1, ok
	}
	return h, i, faultCBOR
}

// cborItem reports whether container h, of which n items were read, has another one at p[i], and returns the index of that or
// the one behind the container. An item is a pair in a map.
func cborItem(p []byte, i int, h head, n uint64) (more bool, next int) {
	if !h.open {
		return n < h.arg, i
	}
	if i < len(p) && p[i] == cborBreak {
		return false, i + 1
	}
	return true, i
}

// cbor decodes a payload of the JSON payload's shape: a map with text keys, or an array of them.
func (d *Decoder) cbor(p []byte, arrivalMs int64) (int, fault) {
	h, i, f := d.cborTop(p)
	if f != ok {
		return i, f
	}
	switch h.major {
	case cborMap:
		i, f = d.cborRow(p, i, h, arrivalMs)
	case cborArray:
		for n := uint64(0); ; n++ {
			at := i
			var more bool
			if more, i = cborItem(p, i, h, n); !more {
				break
			}
			var row head
			if row, i, f = cborHead(p, i); f != ok {
				return i, f
			}
			if row.major != cborMap {
				return at, faultCBORElement
			}
			if n == maxRows {
				return at, faultRows
			}
			if i, f = d.cborRow(p, i, row, arrivalMs); f != ok {
				return i, f
			}
		}
	default:
		return 0, faultCBORTop
	}
	if f == ok && i < len(p) {
		return i, faultCBORTrailing
	}
	return i, f
}

// cborTop reads the head of the payload, behind the tag that marks it as CBOR if there is one.
func (d *Decoder) cborTop(p []byte) (h head, next int, f fault) {
	if len(p) == 0 {
		return h, 0, faultEmpty
	}
	h, next, f = cborHead(p, 0)
	if f == ok && h.major == cborTag && h.arg == tagSelfMarker {
		h, next, f = cborHead(p, next)
	}
	return h, next, f
}

// cborRow decodes the map behind h into a row.
func (d *Decoder) cborRow(p []byte, i int, h head, arrivalMs int64) (int, fault) {
	d.begin()
	i, f := d.cborPairs(p, i, h, rootKey, 1)
	if f != ok {
		return i, f
	}
	if d.timeRank > 0 {
		arrivalMs = d.timeMs
	}
	return i, d.finish(arrivalMs)
}

// cborPairs decodes the pairs of the map behind h, whose keys are below parent.
func (d *Decoder) cborPairs(p []byte, i int, h head, parent keyID, depth int) (int, fault) {
	for n := uint64(0); ; n++ {
		more, next := cborItem(p, i, h, n)
		if i = next; !more {
			return i, ok
		}
		name, next, f := d.cborKey(p, i)
		if f != ok {
			return next, f
		}
		key, f := d.keys.findPlain(name, parent)
		if f != ok {
			return i, f
		}
		i = next
		if rank := d.keys.nodes[key].timeRank; rank > 0 {
			i, f = d.cborTime(p, i, rank)
		} else {
			i, f = d.cborValue(p, i, key, depth)
		}
		if f != ok {
			return i, f
		}
	}
}

// cborKey reads the key at p[i].
func (d *Decoder) cborKey(p []byte, i int) (name []byte, next int, f fault) {
	if i < len(p) {
		if size := int(p[i]) - cborText<<5; uint(size) < 24 && size < len(p)-i { // most keys
			return p[i+1 : i+1+size], i + 1 + size, ok
		}
	}
	h, next, f := cborHead(p, i)
	switch {
	case f != ok:
		return nil, next, f
	case h.major != cborText:
		return nil, i, faultCBORKey
	}
	return cborString(p, next, h, &d.text)
}

// cborString returns the text or bytes behind h and the index behind them. Pieces are put together in scratch. It does not
// look whether text is UTF-8.
func cborString(p []byte, i int, h head, scratch *[]byte) (s []byte, next int, f fault) {
	if !h.open {
		if h.arg > uint64(len(p)-i) {
			return nil, len(p), faultCut
		}
		end := i + int(h.arg)
		return p[i:end], end, ok
	}
	s = (*scratch)[:0]
	for {
		if i < len(p) && p[i] == cborBreak {
			*scratch = s
			return s, i + 1, ok
		}
		piece, next, f := cborHead(p, i)
		if f != ok {
			return nil, next, f
		}
		if piece.major != h.major || piece.open {
			return nil, i, faultCBOR
		}
		if piece.arg > uint64(len(p)-next) {
			return nil, len(p), faultCut
		}
		if h.major == cborText && !utf8.Valid(p[next:next+int(piece.arg)]) {
			return nil, next, faultUTF8
		}
		i = next + int(piece.arg)
		s = append(s, p[next:i]...)
	}
}

// cborValue decodes the value of a key, at p[i].
func (d *Decoder) cborValue(p []byte, i int, key keyID, depth int) (int, fault) {
	h, next, f := cborHead(p, i)
	if f != ok {
		return next, f
	}
	switch h.major {
	case cborText:
		return d.cborText(p, i, next, h, key)
	case cborMap:
		if depth == maxDepth {
			return i, faultDepth
		}
		return d.cborPairs(p, next, h, key, depth+1)
	case cborArray:
		if more, end := cborItem(p, next, h, 0); !more {
			return end, ok
		}
		return i, faultArray
	case cborBytes:
		return i, faultCBORBytes
	case cborTag:
		if h.arg == tagDateTime {
			text, next2, f := cborHead(p, next)
			if f != ok {
				return next2, f
			}
			if text.major != cborText {
				return i, faultCBORTag
			}
			return d.cborText(p, i, next2, text, key)
		}
	case cborSimple:
		switch h.info {
		case 20, 21:
			return d.add(i, next, key, tsdb.Value{Mantissa: int64(h.info - 20), Kind: tsdb.Bool})
		case 22, 23: // null, undefined
			return next, ok
		}
	}
	s, next, there, f := d.cborNumber(p, i, h, next)
	if f != ok || !there {
		return next, f
	}
	return d.addScalar(i, next, key, s)
}

// cborText decodes the text of item i, whose head h ends before next, into a column.
func (d *Decoder) cborText(p []byte, i, next int, h head, key keyID) (int, fault) {
	s, next, f := cborString(p, next, h, &d.text)
	if f != ok {
		return next, f
	}
	return d.addString(i, next, key, s)
}

// cborSkip returns the index behind the item at p[i], whatever it is, of at most depth levels.
func cborSkip(p []byte, i, depth int) (int, fault) {
	h, next, f := cborHead(p, i)
	for f == ok && h.major == cborTag {
		h, next, f = cborHead(p, next)
	}
	if f != ok {
		return next, f
	}
	switch h.major {
	case cborBytes, cborText:
		if h.open {
			for {
				more, end := cborItem(p, next, h, 0)
				if !more {
					return end, ok
				}
				piece, end, f := cborHead(p, next)
				if f != ok {
					return end, f
				}
				if piece.major != h.major || piece.open {
					return next, faultCBOR
				}
				if _, next, f = cborString(p, end, piece, nil); f != ok {
					return next, f
				}
			}
		}
		_, next, f = cborString(p, next, h, nil)
		return next, f
	case cborArray, cborMap:
		if depth == 0 {
			return i, faultDepth
		}
		for n := uint64(0); ; n++ {
			more, at := cborItem(p, next, h, n)
			if next = at; !more {
				return next, ok
			}
			if next, f = cborSkip(p, next, depth-1); f != ok {
				return next, f
			}
			if h.major == cborMap {
				if next, f = cborSkip(p, next, depth-1); f != ok {
					return next, f
				}
			}
		}
	case cborSimple:
		if h.info == 24 && h.arg < 32 {
			return i, faultCBOR
		}
	}
	return next, ok
}
