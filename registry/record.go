package registry

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"unique"
)

// record is a thing in memory. It is never changed once readers can see it: an update puts a new one in its place.
type record struct {
	id         uint32
	uuid       [16]byte
	name       string
	typ        *typeRecord    // nil: no type
	billing    *billingRecord // nil: no billing group
	attributes []attribute    // by key ascending
	version    int64
	createdMs  int64
	updatedMs  int64
}

type attribute struct{ key, value string }

// typeRecord is a thing type in memory. name never changes; the rest is guarded by Registry.mu.
type typeRecord struct {
	name   string
	typ    ThingType
	schema *Schema // of typ.Schema; nil: none. Not changed, but replaced.
	things int     // things that have it
}

func newRecord(t Thing, typ *typeRecord, billing *billingRecord) (*record, error) {
	uuid, err := parseUUID(t.UUID)
	if err != nil {
		return nil, fmt.Errorf("thing %q: %w", t.Name, err)
	}
	rec := &record{
		id: t.ID, uuid: uuid, name: t.Name, typ: typ, billing: billing,
		version: t.Version, createdMs: t.CreatedMs, updatedMs: t.UpdatedMs,
	}
	if len(t.Attributes) > 0 {
		rec.attributes = make([]attribute, 0, len(t.Attributes))
		for _, key := range slices.Sorted(maps.Keys(t.Attributes)) {
			// A fleet has few different keys, so they are kept once.
			rec.attributes = append(rec.attributes, attribute{unique.Make(key).Value(), t.Attributes[key]})
		}
	}
	return rec, nil
}

// thing returns a copy that the caller owns.
func (rec *record) thing() Thing {
	attributes := make(map[string]string, len(rec.attributes))
	for _, a := range rec.attributes {
		attributes[a.key] = a.value
	}
	return Thing{
		ID: rec.id, Name: rec.name, UUID: formatUUID(rec.uuid), TypeName: rec.typeName(), Attributes: attributes,
		BillingGroup: rec.billingGroup(), Version: rec.version, CreatedMs: rec.createdMs, UpdatedMs: rec.updatedMs,
	}
}

func (rec *record) typeName() string {
	if rec.typ == nil {
		return ""
	}
	return rec.typ.name
}

func (rec *record) billingGroup() string {
	if rec.billing == nil {
		return ""
	}
	return rec.billing.Name
}

// join counts the thing where it belongs to, and leave takes it away again.
func (rec *record) join() {
	if rec.typ != nil {
		rec.typ.things++
	}
	if rec.billing != nil {
		rec.billing.things.Add(rec.id)
	}
}

func (rec *record) leave() {
	if rec.typ != nil {
		rec.typ.things--
	}
	if rec.billing != nil {
		rec.billing.things.Remove(rec.id)
	}
}

func (rec *record) attribute(key string) (string, bool) {
	for _, a := range rec.attributes {
		if a.key == key {
			return a.value, true
		}
	}
	return "", false
}

// newUUID makes a random UUID (RFC 9562 version 4).
func newUUID(random io.Reader) (string, error) {
	var u [16]byte
	if _, err := io.ReadFull(random, u[:]); err != nil {
		return "", fmt.Errorf("random bytes for a uuid: %w", err)
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return formatUUID(u), nil
}

func formatUUID(u [16]byte) string {
	return string(appendUUID(make([]byte, 0, 36), u))
}

func appendUUID(dst []byte, u [16]byte) []byte {
	var text [36]byte
	hex.Encode(text[0:8], u[0:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:36], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...)
}

// parseUUID reads what appendUUID writes, in either case. It does not allocate.
func parseUUID[T string | []byte](text T) (u [16]byte, err error) {
	ok := len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-'
	if ok {
		var digits [32]byte
		copy(digits[0:], text[0:8])
		copy(digits[8:], text[9:13])
		copy(digits[12:], text[14:18])
		copy(digits[16:], text[19:23])
		copy(digits[20:], text[24:])
		_, err = hex.Decode(u[:], digits[:])
		ok = err == nil
	}
	if !ok {
		return [16]byte{}, fmt.Errorf("%q is not a uuid", text)
	}
	return u, nil
}
