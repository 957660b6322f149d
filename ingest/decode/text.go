package decode

import (
	"unicode/utf16"
	"unicode/utf8"
)

// scanString returns the bytes between the quotes of the string whose first byte behind the opening quote is p[i], and the
// index behind the closing quote. escaped says that raw holds escape sequences, which are checked by unescape only.
func scanString(p []byte, i int) (raw []byte, escaped bool, next int, f fault) {
	start := i
	ascii := true
	for i < len(p) {
		c := p[i]
		switch {
		case c == '"':
			raw = p[start:i]
			if !ascii && !utf8.Valid(raw) {
				return nil, false, start, faultUTF8
			}
			return raw, escaped, i + 1, ok
		case c == '\\':
			escaped = true
			i++ // the next byte is no closing quote
		case c < ' ':
			return nil, false, i, faultString
		case c >= utf8.RuneSelf:
			ascii = false
		}
		i++
	}
	return nil, false, len(p), faultEnd
}

// unescape appends raw, as scanString returned it, with its escape sequences replaced (RFC 8259 section 7). On a fault next
// is its place in raw.
func unescape(dst, raw []byte) (out []byte, next int, f fault) {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch raw[i+1] { // scanString saw to it that a byte follows
		case '"', '\\', '/':
			dst = append(dst, raw[i+1])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, good := hex4(raw[i+2:])
			if !good {
				return dst, i, faultEscape
			}
			if utf16.IsSurrogate(r) {
				low, good := rune(0), false
				if rest := raw[i+6:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
					low, good = hex4(rest[2:])
				}
				r = utf16.DecodeRune(r, low)
				if !good || r == utf8.RuneError {
					return dst, i, faultSurrogate
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			i += 4
		default:
			return dst, i, faultEscape
		}
		i += 2
	}
	return dst, len(raw), ok
}

// hex4 reads four hexadecimal digits at the start of s.
func hex4(s []byte) (r rune, good bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, c := range s[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
