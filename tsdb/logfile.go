package tsdb

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"strconv"
	"strings"

	"muster/tsdb/vfs"
)

// A log file is a header, twice, and groups, each padded to whole sectors so that writing one never touches a sector
// that holds an acknowledged row. Layout: docs/formats/log.md.
const (
	logMagic        = "MLOG"
	groupMagic      = "MGRP"
	logVersion      = 5 // 1 has no label sets; 1 and 2 have each row by itself; 1 to 3 have no packs; 4 has those of type 8
	logSector       = 512
	logHeadBytes    = 36
	logHeaderBytes  = 2 * logSector
	groupHeadBytes  = 36
	groupCrcOffset  = 32
	logSuffix       = ".log"
	badSuffix       = ".bad"
	tmpSuffix       = ".tmp"
	maxGroupPayload = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func logName(number uint64) string { return fmt.Sprintf("%08d%s", number, logSuffix) }

// parseNumbered returns the number in names like 00000012.log.
func parseNumbered(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) < 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, err == nil && n > 0
}

// logHeader stands at the start of a log file. The salt goes into the checksum of every group, so that bytes which a
// device sent can never pass for a group.
type logHeader struct {
	number     uint64
	firstGroup uint64
	salt       uint64
}

func (h logHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, logMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, logVersion)
	dst = binary.LittleEndian.AppendUint64(dst, h.number)
	dst = binary.LittleEndian.AppendUint64(dst, h.firstGroup)
	dst = binary.LittleEndian.AppendUint64(dst, h.salt)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

var errVersion = errors.New("was written by a newer version")

func parseLogHeader(src []byte) (logHeader, error) {
	const size = logHeadBytes - 4
	if len(src) < logHeadBytes || string(src[:4]) != logMagic ||
		crc32.Checksum(src[:size], castagnoli) != binary.LittleEndian.Uint32(src[size:]) {
		return logHeader{}, errors.New("the header of the log file is damaged")
	}
	if v := binary.LittleEndian.Uint32(src[4:]); v < 1 || v > logVersion {
		return logHeader{}, fmt.Errorf("log format %d %w", v, errVersion)
	}
	return logHeader{binary.LittleEndian.Uint64(src[8:]), binary.LittleEndian.Uint64(src[16:]), binary.LittleEndian.Uint64(src[24:])}, nil
}

// createLogFile makes a preallocated log file whose header and name are durable. On an error no file is left behind,
// as far as the disk lets us.
func createLogFile(fsys vfs.FS, dir string, number, firstGroup uint64, sizeBytes int64) (vfs.File, logHeader, error) {
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, logHeader{}, err
	}
	h := logHeader{number, firstGroup, binary.LittleEndian.Uint64(salt[:])}
	name := path.Join(dir, logName(number))
	f, err := fsys.Create(name)
	if err != nil {
		return nil, h, fmt.Errorf("create log %q: %w", name, err)
	}
	head := make([]byte, logHeaderBytes)
	h.append(head[:0])
	h.append(head[logSector:logSector])
	err = f.Allocate(sizeBytes)
	if err == nil {
		_, err = f.WriteAt(head, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, h, errors.Join(fmt.Errorf("create log %q: %w", name, err), f.Close(), fsys.Remove(name))
	}
	return f, h, nil
}

// groupHead stands in front of the records of one group. The last wordBytes of the payload are dictionary records,
// which come first when the group is read.
type groupHead struct {
	seq       uint64
	firstRow  uint64
	size      uint32 // of the payload
	wordBytes uint32
	rows      uint32
}

// put fills the head and the checksum in front of the payload: buf is the head's room followed by the payload.
func (g groupHead) put(buf []byte, salt uint64) {
	copy(buf, groupMagic)
	binary.LittleEndian.PutUint64(buf[4:], g.seq)
	binary.LittleEndian.PutUint64(buf[12:], g.firstRow)
	binary.LittleEndian.PutUint32(buf[20:], g.size)
	binary.LittleEndian.PutUint32(buf[24:], g.wordBytes)
	binary.LittleEndian.PutUint32(buf[28:], g.rows)
	binary.LittleEndian.PutUint32(buf[groupCrcOffset:], groupChecksum(buf, salt))
}

func groupChecksum(buf []byte, salt uint64) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], salt)
	sum := crc32.Checksum(s[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, buf[:groupCrcOffset])
	return crc32.Update(sum, castagnoli, buf[groupHeadBytes:])
}

// parseGroup checks the group at the start of src and returns its head and payload.
func parseGroup(src []byte, salt uint64) (groupHead, []byte, bool) {
	if len(src) < groupHeadBytes || string(src[:4]) != groupMagic {
		return groupHead{}, nil, false
	}
	g := groupHead{
		seq: binary.LittleEndian.Uint64(src[4:]), firstRow: binary.LittleEndian.Uint64(src[12:]),
		size: binary.LittleEndian.Uint32(src[20:]), wordBytes: binary.LittleEndian.Uint32(src[24:]), rows: binary.LittleEndian.Uint32(src[28:]),
	}
	if int64(g.size) > int64(len(src)-groupHeadBytes) || g.wordBytes > g.size {
		return g, nil, false
	}
	end := groupHeadBytes + int(g.size)
	if groupChecksum(src[:end], salt) != binary.LittleEndian.Uint32(src[groupCrcOffset:]) {
		return g, nil, false
	}
	return g, src[groupHeadBytes:end], true
}

// groupBytes is the room of a group with a payload of size bytes in the file.
func groupBytes(size int) int64 {
	return (int64(groupHeadBytes) + int64(size) + logSector - 1) / logSector * logSector
}

// logScan is what a log file holds.
type logScan struct {
	header  logHeader
	end     int64    // where the last good group ends
	groups  int      // good ones
	lastSeq uint64   // of the last good group, 0 is none
	damage  []string // groups that stand between good ones and are not readable themselves
	torn    bool     // there are bytes past end
}

// scanLog checks a log file and hands each good group to use, in order. wantGroup is the group that should come first,
// 0 if that is not known; groups that are missing before a later good one are damage. What is unreadable after the last good
// group is a torn tail and none: it was never acknowledged.
func scanLog(data []byte, number, wantGroup uint64, use func(groupHead, []byte) error) (logScan, error) {
	scan := logScan{end: logHeaderBytes}
	var err error
	if scan.header, err = parseLogHeader(data); err != nil {
		first := err
		if len(data) > logSector {
			scan.header, err = parseLogHeader(data[logSector:])
		}
		if err != nil {
			return scan, first
		}
		scan.damage = append(scan.damage, "the first copy of the header is damaged; the second is used")
	} else if len(data) >= logHeaderBytes {
		if second, err := parseLogHeader(data[logSector:]); err != nil || second != scan.header {
			scan.damage = append(scan.damage, "the second copy of the header is damaged; the first is used")
		}
	}
	if scan.header.number != number {
		return scan, fmt.Errorf("the file says that it is log %d", scan.header.number)
	}
	if len(data) >= logHeaderBytes && !(allZero(data[logHeadBytes:logSector]) && allZero(data[logSector+logHeadBytes:logHeaderBytes])) {
		scan.damage = append(scan.damage, "the padding of the header is not zero")
	}
	next := scan.header.firstGroup
	if wantGroup != 0 && next > wantGroup {
		scan.damage = append(scan.damage, fmt.Sprintf("groups %d to %d before it are missing", wantGroup, next-1))
	}
	for off := int64(logHeaderBytes); off+groupHeadBytes <= int64(len(data)); {
		g, payload, ok := parseGroup(data[off:], scan.header.salt)
		if !ok || g.seq < next {
			off += logSector
			continue
		}
		if g.seq != next {
			scan.damage = append(scan.damage, fmt.Sprintf("groups %d to %d between byte %d and %d are damaged", next, g.seq-1, scan.end, off))
		}
		if err := use(g, payload); err != nil {
			scan.damage = append(scan.damage, fmt.Sprintf("group %d at byte %d: %v", g.seq, off, err))
		}
		end := min(off+groupBytes(len(payload)), int64(len(data)))
		if !allZero(data[off+groupHeadBytes+int64(len(payload)) : end]) {
			scan.damage = append(scan.damage, fmt.Sprintf("the padding of group %d, up to byte %d, is not zero", g.seq, end))
		}
		next = g.seq + 1
		off = end
		scan.groups, scan.lastSeq, scan.end = scan.groups+1, g.seq, off
	}
	scan.torn = int64(len(data)) > scan.end && !allZero(data[scan.end:])
	return scan, nil
}
