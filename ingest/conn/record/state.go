package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// errNoKeys is what a State says after Close.
var errNoKeys = errors.New("tls: the connection is closed")

// half is one direction.
type half struct {
	seq    uint64                // of the next record (section 5.3)
	built  atomic.Pointer[built] // of key; nil: not in the cache
	secret [maxSecret]byte       // application_traffic_secret_N (section 7.1)
	key    [maxKey]byte          // of section 7.3, as iv
	iv     [ivSize]byte
	slot   int32 // in the cache, counted from 1; of the cache
}

// State protects and reads the records of one connection after its handshake. It knows no socket.
//
// The zero State has no keys. One goroutine may call Open and Receive while another calls Seal; otherwise it is not for
// concurrent use. It must not be copied.
type State struct {
	in, out half
	cache   *Cache
	owed    atomic.Uint32 // bits of owe...: what Seal does before its next application data; who receives sets them

	// Of Receive.
	minute  uint32  // Unix minute of updates
	hand    [4]byte // the first bytes of a handshake message that goes on in the next record
	handLen uint8
	useless uint8 // records since the last application data that carried none
	updates uint8 // KeyUpdates in minute

	suite suite
}

const (
	oweUpdate  = 1 << iota // the peer asked for a KeyUpdate
	oweRequest             // we ask the peer for one
	oweSilence             // no application data: see Parked.Seal
)

// Init sets the keys of a connection: suiteID as in crypto/tls, the secrets are application_traffic_secret_0 of each direction
// (section 7.1) and outSeq is how many records were sent under the outgoing one. It keeps no reference to the secrets.
func (s *State) Init(cache *Cache, suiteID uint16, inSecret, outSecret []byte, outSeq uint64) error {
	suite, err := suiteOf(suiteID)
	if err != nil {
		return err
	}
	if n := suite.secretSize(); len(inSecret) != n || len(outSecret) != n {
		return fmt.Errorf("cipher suite %#04x has secrets of %d bytes, not %d and %d", suiteID, n, len(inSecret), len(outSecret))
	}
	s.cache, s.suite = cache, suite
	s.install(&s.in, inSecret)
	s.install(&s.out, outSecret)
	s.out.seq = outSeq
	return nil
}

// install gives h a secret and what follows from it (section 7.3).
func (s *State) install(h *half, secret []byte) {
	s.cache.drop(h)
	copy(h.secret[:], secret)
	secret = h.secret[:s.suite.secretSize()]
	s.suite.expandLabel(h.key[:s.suite.keySize()], secret, "key")
	s.suite.expandLabel(h.iv[:], secret, "iv")
	h.seq = 0 // set to zero whenever the key is changed (section 5.3)
}

// update gives h the next generation of its secret (section 7.2); the last one is overwritten.
func (s *State) update(h *half) {
	secret := h.secret[:s.suite.secretSize()]
	s.suite.expandLabel(secret, secret, "traffic upd")
	s.install(h, secret)
}

// CloseIn forgets the keys of the incoming direction: nothing can be opened any more. CloseOut forgets those of the other, and
// nothing may be sealed.
func (s *State) CloseIn() { s.close(&s.in) }

// CloseOut is described with CloseIn.
func (s *State) CloseOut() { s.close(&s.out) }

func (s *State) close(h *half) {
	if s.cache == nil {
		return
	}
	s.cache.drop(h)
	clear(h.secret[:])
	clear(h.key[:])
	clear(h.iv[:])
	h.seq = closedSeq
}

// closedSeq is the sequence number of a direction without keys, beyond any limit.
const closedSeq = 1 << 63

// flipSeq turns the IV into the nonce of the record seq, and back (section 5.3: the IV XOR the padded sequence number). It is
// done in place because what is handed to a cipher.AEAD would otherwise be allocated.
func (h *half) flipSeq() {
	tail := h.iv[ivSize-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^h.seq)
}

// Size checks the header of a record and returns the size of the whole record with it.
func Size(header []byte) (int, error) {
	// The outer opaque_type is always 23 (section 5.2). A change_cipher_spec is to be dropped before the Finished only; after
	// it, it is an unexpected record type (section 5).
	if ContentType(header[0]) != TypeApplicationData {
		return 0, fault(alertUnexpectedMessage, fmt.Sprintf("a record of type %d is not protected", header[0]))
	}
	// legacy_record_version MUST be ignored (section 5.1); it is part of what is authenticated (section 5.2).
	n := int(binary.BigEndian.Uint16(header[3:]))
	if n > MaxRecord-HeaderSize { // MUST terminate the connection with record_overflow (section 5.2)
		return 0, fault(alertRecordOverflow, fmt.Sprintf("a record of %d bytes", n))
	}
	return HeaderSize + n, nil
}

// Open opens one whole record and appends its content to dst, without padding. dst may be record[HeaderSize:HeaderSize], else it must not
// overlap record.
//
// A record that was not sealed by the peer as the next one leaves the State as it was; what dst has room for is then undefined. An error
// ends the connection (section 5.2); it is an *Error with the alert to send.
func (s *State) Open(dst, record []byte) ([]byte, ContentType, error) {
	if len(record) < HeaderSize {
		return dst, 0, fault(alertDecodeError, "a record without a header")
	}
	size, err := Size(record)
	if err != nil {
		return dst, 0, err
	}
	if size != len(record) {
		return dst, 0, fault(alertDecodeError, "not one whole record")
	}
	h := &s.in
	if s.suite == 0 || h.seq == closedSeq {
		return dst, 0, errNoKeys
	}
	if h.seq >= s.suite.maxRecords() {
		// The peer was asked for a new key at half of that (section 5.5).
		return dst, 0, fault(alertInternalError, "too many records with one key")
	}
	aead := s.cache.cipher(h, s.suite)
	h.flipSeq()
	// additional_data is the header (section 5.2).
	grown, err := aead.Open(dst, h.iv[:], record[HeaderSize:], record[:HeaderSize])
	h.flipSeq()
	if err != nil { // MUST terminate the connection with bad_record_mac (section 5.2)
		return dst, 0, fault(alertBadRecordMAC, "a record does not authenticate")
	}
	h.seq++
	if h.seq == s.suite.maxRecords()/2 {
		s.owe(oweRequest)
	}
	inner := grown[len(dst):]
	if len(inner) > MaxPlain+1 { // the full TLSInnerPlaintext MUST NOT exceed 2^14 + 1 bytes (section 5.4)
		return dst, 0, fault(alertRecordOverflow, fmt.Sprintf("a record with %d bytes of content", len(inner)))
	}
	// The last byte that is not zero is the type (section 5.4).
	end := len(inner) - 1
	for end >= 0 && inner[end] == 0 {
		end--
	}
	if end < 0 { // MUST terminate the connection with unexpected_message (section 5.4)
		return dst, 0, fault(alertUnexpectedMessage, "a record of zeros")
	}
	typ := ContentType(inner[end])
	switch typ {
	case TypeApplicationData:
	case TypeAlert, TypeHandshake:
		if end == 0 { // MUST terminate the connection with unexpected_message (section 5.4)
			return dst, 0, fault(alertUnexpectedMessage, fmt.Sprintf("an empty record of type %d", typ))
		}
	default: // section 5: an unexpected record type MUST be answered with unexpected_message
		return dst, 0, fault(alertUnexpectedMessage, fmt.Sprintf("a record of type %d", typ))
	}
	return grown[:len(dst)+end], typ, nil
}

// Seal appends plain to dst as records: as many as it needs, none for no bytes. Before application data it appends a KeyUpdate
// when the peer asked for one, or when the key has protected as many records as it may. plain must not overlap dst.
func (s *State) Seal(dst []byte, typ ContentType, plain []byte) []byte {
	for len(plain) > 0 {
		if typ == TypeApplicationData {
			dst = s.appendOwed(dst)
		}
		n := min(len(plain), MaxPlain) // section 5.1
		dst = s.seal(dst, typ, plain[:n], 0)
		plain = plain[n:]
	}
	return dst
}

// limitMargin leaves room for what is sealed without looking at the limit: a KeyUpdate and alerts.
const limitMargin = 16

// appendOwed appends the KeyUpdate that is due, if one is.
func (s *State) appendOwed(dst []byte) []byte {
	owed := s.owed.Load()
	if owed == 0 && s.out.seq < s.suite.maxRecords()-limitMargin { // MUST rekey before the limit (section 5.5)
		return dst
	}
	// One answer is enough for all requests that came while we were silent (section 4.6.3). What comes from now on gets its own.
	owed = s.owed.And(oweSilence)
	message := [5]byte{typeKeyUpdate, 0, 0, 1, updateNotRequested}
	if owed&oweRequest != 0 {
		message[4] = updateRequested
	}
	dst = s.seal(dst, TypeHandshake, message[:], 0) // with the old key (section 4.6.3)
	s.update(&s.out)
	return dst
}

func (s *State) owe(bits uint32) { s.owed.Or(bits) }

// seal appends one record, with padding bytes of padding.
func (s *State) seal(dst []byte, typ ContentType, plain []byte, padding int) []byte {
	h := &s.out
	if s.suite == 0 || h.seq >= s.suite.maxRecords() {
		panic("BUG: sealed without keys, or more than they may protect")
	}
	aead := s.cache.cipher(h, s.suite)
	inner := len(plain) + 1 + padding
	dst = slices.Grow(dst, HeaderSize+inner+tagSize)
	start := len(dst)
	dst = append(dst, byte(TypeApplicationData), legacyVersion>>8, legacyVersion&0xff, byte((inner+tagSize)>>8), byte(inner+tagSize))
	dst = append(dst, plain...)
	dst = append(dst, byte(typ))
	for range padding {
		dst = append(dst, 0)
	}
	header, content := dst[start:start+HeaderSize], dst[start+HeaderSize:]
	h.flipSeq()
	content = aead.Seal(content[:0], h.iv[:], content, header)
	h.flipSeq()
	h.seq++
	return dst[:start+HeaderSize+len(content)]
}
