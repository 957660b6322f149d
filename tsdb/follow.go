package tsdb

import (
	"fmt"
	"io"
	"math"
)

// Following the log: who sends rows on reads them from the log's own files, where those of a thing stand in the order in which they came.
// Options.Retire tells when a file is about to go.

// LogPosition is a place in the log. The zero value stands before every row.
type LogPosition struct {
	File   uint64 // number of the log file; they rise
	Offset int64  // of a group in the file
	Rows   int    // records of that group that lie before the position
}

// LogRow is one row in the log. Values is valid until the next one.
type LogRow struct {
	Thing  ThingID
	TimeMs int64
	Values []Value
}

// LogEnd returns the place up to which the log is on disk. Log files with lower numbers are complete.
func (s *Store) LogEnd() LogPosition {
	packed := s.log.durable.Load()
	return LogPosition{File: packed >> durableBits, Offset: int64(packed&(1<<durableBits-1)) * logSector}
}

// durableBits of rowLog.durable are sectors of the file (8 GiB), the others its number.
const durableBits = 24

// allOfFile is a LogEnd offset past the end of any log file.
const allOfFile = 1<<durableBits - 1

// moveDurable notes that the groups of a log file up to end are on disk. The committer calls it, or recovery.
func (l *rowLog) moveDurable(number uint64, sectors int64) {
	l.durable.Store(number<<durableBits | uint64(min(sectors, allOfFile)))
}

// LogFileName returns the name of a log file in the store's folder.
func LogFileName(number uint64) string { return logName(number) }

// ParseLogFileName returns the number in the name of a log file.
func ParseLogFileName(name string) (uint64, bool) { return parseNumbered(name, logSuffix) }

// LogFile reads the rows of one log file, which may still grow. It keeps its buffers from read to read. Not safe for
// concurrent use.
type LogFile struct {
	src    io.ReaderAt
	header logHeader
	rec    record
	buf    []byte
}

// OpenLogFile begins to read the log file that src holds.
func OpenLogFile(src io.ReaderAt, number uint64) (*LogFile, error) {
	f := &LogFile{src: src}
	head := make([]byte, logHeaderBytes)
	if _, err := src.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("log %d: %w", number, err)
	}
	var err error
	if f.header, err = parseLogHeader(head); err != nil {
		if f.header, err = parseLogHeader(head[logSector:]); err != nil {
			return nil, fmt.Errorf("log %d: %w", number, err)
		}
	}
	if f.header.number != number {
		return nil, fmt.Errorf("log %d says that it is log %d", number, f.header.number)
	}
	return f, nil
}

// followWindow is how much of a log file is read at once, unless a group is larger.
const followWindow = 256 << 10

// Read hands the rows between from and the byte end to use, those of a thing in the order in which they came, until use does not take
// one. It returns the position behind the last row that was taken, or the end. Damaged groups are left out. An error is one of the disk.
func (f *LogFile) Read(from LogPosition, end int64, use func(LogRow) bool) (LogPosition, error) {
	at, skip := max(from.Offset, logHeaderBytes), from.Rows
	window, start := f.buf[:0], at // window holds the file's bytes from start on
	for at+groupHeadBytes <= end {
		if at+groupHeadBytes > start+int64(len(window)) {
			var err error
			if window, err = f.load(at, min(followWindow, end-at)); err != nil {
				return LogPosition{from.File, at, skip}, err
			}
			start = at
		}
		src := window[at-start:]
		g, payload, ok := parseGroup(src, f.header.salt)
		if need := int64(groupHeadBytes) + int64(g.size); !ok && string(src[:4]) == groupMagic &&
			need > int64(len(src)) && at+need <= end && g.size <= maxGroupPayload {
			var err error
			if window, err = f.load(at, need); err != nil {
				return LogPosition{from.File, at, skip}, err
			}
			start = at
			g, payload, ok = parseGroup(window, f.header.salt)
		}
		if !ok {
			at, skip = at+logSector, 0
			continue
		}
		taken, whole := f.useGroup(payload[:g.size-g.wordBytes], skip, use)
		if !whole {
			return LogPosition{from.File, at, taken}, nil
		}
		at, skip = at+groupBytes(len(payload)), 0
	}
	return LogPosition{from.File, max(from.Offset, min(at, end)), 0}, nil
}

// useGroup hands the rows of a group from the record skip on to use, and returns how many records lie before the first that was
// not taken.
func (f *LogFile) useGroup(records []byte, skip int, use func(LogRow) bool) (taken int, whole bool) {
	whole, err := f.rec.each(records, func() bool {
		if taken >= skip && f.rec.kind == recordRow && !use(LogRow{f.rec.thing, f.rec.timeMs, f.rec.values}) {
			return false
		}
		taken++
		return true
	})
	return taken, whole || err != nil // the checksum is right: a type of record that only a newer version has
}

// load reads size bytes from the byte at on.
func (f *LogFile) load(at, size int64) ([]byte, error) {
	if size > math.MaxInt32 || int64(cap(f.buf)) < size {
		f.buf = make([]byte, size)
	}
	f.buf = f.buf[:size]
	if _, err := f.src.ReadAt(f.buf, at); err != nil {
		return nil, fmt.Errorf("log %d at byte %d: %w", f.header.number, at, err)
	}
	return f.buf, nil
}
