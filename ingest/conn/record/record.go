// Package record is the record layer of TLS 1.3 for servers with very many quiet connections.
//
// crypto/tls does the handshake. Then its Conn, with 10 KB of buffers, hashes and parsed certificates, is dropped, and a Conn of
// this package goes on over the same socket with what RFC 8446 section 5 needs: per direction a secret, a key, an IV and a
// sequence number. A connection that is idle holds no buffer and no cipher state. Clients of TLS 1.2 keep crypto/tls.
//
//   - Layer makes the handshake of one listener and takes over (handshake.go).
//   - State is the protocol without a socket: it opens and seals records and obeys what else comes after a handshake (state.go,
//     receive.go). It allocates nothing once its ciphers are built.
//   - Conn is a net.Conn over a State and a socket (conn.go).
//
// Package conn is the one who calls it. It starts no goroutine. Sections named without a document are those of RFC 8446; which
// state is kept for how long is in docs/formats/record-layer.md.
package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// ContentType is what a record carries (section 5.1).
type ContentType uint8

// The content types that may come after a handshake.
const (
	TypeAlert           ContentType = 21
	TypeHandshake       ContentType = 22
	TypeApplicationData ContentType = 23
)

const (
	// HeaderSize is opaque_type, legacy_record_version and length (section 5.2).
	HeaderSize = 5
	// MaxPlain is how much content one record may hold (section 5.1: the length MUST NOT exceed 2^14 bytes).
	MaxPlain = 1 << 14
	// MaxRecord is the size of the largest record with its header (section 5.2: the length MUST NOT exceed 2^14 + 256 bytes).
	MaxRecord = HeaderSize + MaxPlain + 256

	legacyVersion = tls.VersionTLS12 // legacy_record_version is always 0x0303 (section 5.2)
	tagSize       = 16               // of all three AEADs
	ivSize        = 12               // of all three; at least 8 (section 5.3)
	maxKey        = 32
	maxSecret     = sha512.Size384
)

// suite is a cipher suite of appendix B.4. The zero suite is a State without keys.
type suite uint8

const (
	aes128 suite = iota + 1
	aes256
	chacha20
)

func suiteOf(id uint16) (suite, error) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return aes128, nil
	case tls.TLS_AES_256_GCM_SHA384:
		return aes256, nil
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return chacha20, nil
	}
	return 0, fmt.Errorf("cipher suite %#04x is not one of TLS 1.3", id)
}

// id returns the number of the suite, 0 for none.
func (s suite) id() uint16 {
	switch s {
	case aes128:
		return tls.TLS_AES_128_GCM_SHA256
	case aes256:
		return tls.TLS_AES_256_GCM_SHA384
	case chacha20:
		return tls.TLS_CHACHA20_POLY1305_SHA256
	}
	return 0
}

func (s suite) keySize() int {
	if s == aes128 {
		return 16
	}
	return maxKey
}

// secretSize is Hash.length of section 7.1.
func (s suite) secretSize() int {
	if s == aes256 {
		return sha512.Size384
	}
	return sha256.Size
}

// maxRecords is how many records one key may protect (section 5.5): 2^24.5 full-size ones with AES-GCM. With
// ChaCha20-Poly1305 the sequence number would wrap first, which it must not (section 5.3).
func (s suite) maxRecords() uint64 {
	if s == chacha20 {
		return 1 << 62
	}
	return 23_726_566
}

// cipher builds the AEAD of a key: 1.3 KB for AES, of which half is garbage at once, 32 bytes for ChaCha20.
func (s suite) cipher(key []byte) cipher.AEAD {
	if s == chacha20 {
		aead, err := chacha20poly1305.New(key)
		return must(aead, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	return must(aead, err)
}

// must is for what fails only for a key of the wrong size.
func must[T any](value T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return value
}

// expandLabel fills dst with HKDF-Expand-Label(secret, label, "", len(dst)) (section 7.1). secret may be dst.
func (s suite) expandLabel(dst, secret []byte, label string) {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(len(dst)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0) // no context
	var out []byte
	var err error
	if s == aes256 {
		out, err = hkdf.Expand(sha512.New384, secret, string(info), len(dst))
	} else {
		out, err = hkdf.Expand(sha256.New, secret, string(info), len(dst))
	}
	copy(dst, must(out, err))
	clear(out)
}
