package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendChange appends one change of a batch.
func appendChange(dst []byte, op byte, key string, value []byte) []byte {
	dst = binary.AppendUvarint(append(dst, op), uint64(len(key)))
	dst = append(dst, key...)
	if op == opDelete {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// sealBatch fills in the head of a batch: all of it but the first batchHead bytes are changes.
func sealBatch(batch []byte) {
	body := batch[batchHead:]
	binary.LittleEndian.PutUint32(batch, uint32(len(body)))
	binary.LittleEndian.PutUint32(batch[4:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(batch[8:], crc32.Checksum(batch[:8], castagnoli))
}

// logged is a change as the log has it.
type logged struct {
	op    byte
	key   string
	value []byte
}

// replay applies data to live. good is where it stopped; damage says why, if that was not the end or a torn last batch.
func (j *journal) replay(data []byte) (version uint16, good int, damage string, err error) {
	if len(data) < journalHead {
		if len(data) > 0 {
			damage = "file header cut"
		}
		return 0, 0, damage, nil
	}
	if string(data[:8]) != journalMagic {
		return 0, 0, "file header", nil
	}
	version = binary.LittleEndian.Uint16(data[8:])
	next := nextBatch
	switch version {
	case journalVersion:
	case 1:
		next = nextFrame
	default:
		return version, 0, "", fmt.Errorf("format version %d is unknown: it was written by another version of muster, use that one", version)
	}
	for good = journalHead; good < len(data); {
		changes, size, damage := next(data[good:])
		if size == 0 {
			return version, good, damage, nil
		}
		for _, c := range changes {
			j.apply(c.op, c.key, c.value)
		}
		good += size
	}
	return version, good, "", nil
}

// nextBatch reads the batch at the start of b, which is not empty. size is 0 where there is none to go on from, and damage says why unless
// a write was torn.
func nextBatch(b []byte) (changes []logged, size int, damage string) {
	if len(b) < batchHead {
		return nil, 0, ""
	}
	if crc32.Checksum(b[:8], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		if len(bytes.Trim(b, "\x00")) == 0 {
			return nil, 0, "" // the length of the file had reached the disk, its bytes not
		}
		return nil, 0, "batch head"
	}
	length := uint64(binary.LittleEndian.Uint32(b))
	if uint64(len(b)-batchHead) < length {
		return nil, 0, ""
	}
	size = batchHead + int(length)
	body := b[batchHead:size]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		if size == len(b) {
			return nil, 0, "" // the last write was torn
		}
		return nil, 0, "batch checksum"
	}
	for r := (fields{b: body}); len(r.b) > 0; {
		c := logged{op: r.u8(), key: string(r.bytes())}
		if c.op == opPut {
			c.value = bytes.Clone(r.bytes())
		}
		if r.bad || c.op != opPut && c.op != opDelete {
			return nil, 0, "batch content"
		}
		changes = append(changes, c)
	}
	return changes, size, ""
}

// Frames of format 1: one change each.
const (
	frameHead = 8
	maxFrame  = 1 << 20
)

// nextFrame is nextBatch for format 1.
func nextFrame(b []byte) (changes []logged, size int, damage string) {
	if len(b) < frameHead {
		return nil, 0, ""
	}
	length := binary.LittleEndian.Uint32(b)
	if length > maxFrame {
		return nil, 0, "frame length"
	}
	size = frameHead + int(length)
	if len(b) < size {
		return nil, 0, ""
	}
	body := b[frameHead:size]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		if len(b) == size {
			return nil, 0, "" // the last write was torn
		}
		return nil, 0, "frame checksum"
	}
	r := fields{b: body}
	c := logged{op: r.u8(), key: string(r.bytes())}
	if r.bad || c.op != opPut && c.op != opDelete {
		return nil, 0, "frame content"
	}
	c.value = bytes.Clone(r.b)
	return []logged{c}, size, ""
}
