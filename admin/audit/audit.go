// Package audit keeps the record of who changed what, and of who tried and was refused: <data-dir>/audit.log,
// one JSON object a line. Each line carries the SHA-256 of the line before, so that a changed, removed or inserted
// line shows (Verify). Lines cut off the end do not show by the chain alone.
//
// A full file is renamed to audit-<its last sequence number>.log and the chain goes on in a new one; the oldest of
// more than keepFiles is removed. Layout: docs/formats/audit.md. Log starts no goroutine and is safe for concurrent use.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"muster/tsdb/vfs"
)

const (
	current   = "audit.log"
	fileBytes = 8 << 20
	keepFiles = 16 // 128 MiB, about 400,000 lines
	maxLine   = 16 << 10
)

// Entry is one line. The log itself sets V, Seq, TimeMs and Prev.
type Entry struct {
	V         int    `json:"v"` // version of the line's layout: 1
	Seq       uint64 `json:"seq"`
	TimeMs    int64  `json:"timeMs"` // Unix ms
	Who       string `json:"who"`    // user, token or access key; "": nobody proved who they are
	Role      string `json:"role,omitempty"`
	Via       string `json:"via,omitempty"` // session, token, key or certificate
	From      string `json:"from"`          // address
	Operation string `json:"operation"`
	Target    string `json:"target,omitempty"`
	Result    string `json:"result"` // ok, or the kind of the refusal
	Status    int    `json:"status"`
	RequestID string `json:"requestId"`
	Prev      string `json:"prev"` // hex SHA-256 of the line before without its line feed; 64 zeros in the first line
}

// Clock tells the time.
type Clock interface{ Now() time.Time }

// Log is the open audit log. Make it with Open.
type Log struct {
	dir       string
	fs        vfs.FS
	clock     Clock
	fileBytes int64

	mu      sync.Mutex // guards all below
	file    vfs.File
	size    int64
	seq     uint64
	prev    string
	failed  error  // a file that could not be synced is not written again
	synced  uint64 // lines up to this one are on disk
	syncing bool   // by one caller for all lines that were there when it began, without mu
	idle    *sync.Cond
}

var zeroHash = strings.Repeat("0", 2*sha256.Size)

// Open opens the log in dir and finds the end of the chain. A last line that a power cut tore is removed.
func Open(files vfs.FS, dir string, clock Clock) (*Log, error) {
	l := &Log{dir: dir, fs: files, clock: clock, fileBytes: fileBytes, prev: zeroHash}
	l.idle = sync.NewCond(&l.mu)
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("open audit log %q: %w", path.Join(dir, current), err)
	}
	return l, nil
}

func (l *Log) open() error {
	name := path.Join(l.dir, current)
	text, err := l.fs.ReadFile(name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	last := lastLine(whole)
	if last == nil { // new, or emptied by a power cut right after a rotation
		rotated, err := l.rotated()
		if err != nil {
			return err
		}
		if len(rotated) > 0 {
			older, err := l.fs.ReadFile(path.Join(l.dir, rotated[len(rotated)-1]))
			if err != nil {
				return err
			}
			last = lastLine(older)
		}
	}
	if last != nil {
		var e Entry
		if err := json.Unmarshal(last, &e); err != nil {
			return fmt.Errorf("its last line is not an audit line; move the file away to start a new log: %w", err)
		}
		if e.V != 1 {
			return fmt.Errorf("its last line has layout %d and this muster knows 1: use the newer binary, or move the file away", e.V)
		}
		l.seq, l.prev = e.Seq, hash(last)
	}
	if missing {
		if l.file, err = l.fs.Create(name); err != nil {
			return err
		}
		return l.fs.SyncDir(l.dir)
	}
	if l.file, err = l.fs.Open(name); err != nil {
		return err
	}
	l.size = int64(len(whole))
	if len(whole) == len(text) {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	return l.file.Sync()
}

// lastLine returns the last line of text without its line feed, or nil.
func lastLine(text []byte) []byte {
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return nil
	}
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// rotated returns the names of the full files, oldest first.
func (l *Log) rotated() ([]string, error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, "audit-") || !strings.HasSuffix(name, ".log")
	})
	slices.Sort(names)
	return names, nil
}

// Append writes e. durable also syncs it: changes are on disk before they are answered, refusals with the next change
// (an attacker must not be able to make the disk work).
func (l *Log) Append(e Entry, durable bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.syncing && l.size+maxLine >= l.fileBytes { // it may have to be rotated
		l.idle.Wait()
	}
	if l.failed != nil {
		return l.failed
	}
	e.V, e.Seq, e.TimeMs, e.Prev = 1, l.seq+1, l.clock.Now().UnixMilli(), l.prev
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode audit line: %w", err)
	}
	if len(line) > maxLine {
		return fmt.Errorf("audit line of %d bytes; at most %d", len(line), maxLine)
	}
	if l.size > 0 && l.size+int64(len(line)) >= l.fileBytes {
		if err := l.rotate(); err != nil {
			l.failed = fmt.Errorf("rotate audit log: %w", err)
			return l.failed
		}
	}
	// A failed write may leave a part of the line: the next one overwrites it, because size did not move.
	if _, err := l.file.WriteAt(append(line, '\n'), l.size); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.size += int64(len(line)) + 1
	l.seq, l.prev = e.Seq, hash(line)
	if !durable {
		return nil
	}
	return l.sync(e.Seq)
}

// sync waits until a line is on disk. Callers that wait at the same time share one sync. The caller holds mu.
func (l *Log) sync(seq uint64) error {
	for l.synced < seq && l.failed == nil {
		if l.syncing {
			l.idle.Wait()
			continue
		}
		l.syncing = true
		file, upTo := l.file, l.seq
		l.mu.Unlock()
		err := file.Sync()
		l.mu.Lock()
		l.syncing = false
		if err != nil {
			l.failed = fmt.Errorf("sync audit log: %w", err)
		} else {
			l.synced = upTo
		}
		l.idle.Broadcast()
	}
	if l.synced >= seq {
		return nil
	}
	return l.failed
}

// rotate syncs and renames the full file and starts a new one. The caller holds mu and has waited for other syncs.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := l.file.Close(); err != nil {
		return err
	}
	name := path.Join(l.dir, current)
	if err := l.fs.Rename(name, path.Join(l.dir, fmt.Sprintf("audit-%020d.log", l.seq))); err != nil {
		return err
	}
	file, err := l.fs.Create(name)
	if err != nil {
		return err
	}
	l.file, l.size, l.synced = file, 0, l.seq
	rotated, err := l.rotated()
	if err != nil {
		return err
	}
	for len(rotated) >= keepFiles {
		if err := l.fs.Remove(path.Join(l.dir, rotated[0])); err != nil {
			return err
		}
		rotated = rotated[1:]
	}
	return l.fs.SyncDir(l.dir)
}

// Newest returns up to n lines as they are on disk, newest first. It reads the present file and, where that has not
// enough, the one before.
func (l *Log) Newest(n int) ([]json.RawMessage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := make([]byte, l.size)
	if _, err := l.file.ReadAt(text, 0); err != nil && !(errors.Is(err, io.EOF) && l.size == 0) {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	lines := newestLines([]json.RawMessage{}, text, n)
	if len(lines) < n {
		rotated, err := l.rotated()
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		if len(rotated) > 0 {
			older, err := l.fs.ReadFile(path.Join(l.dir, rotated[len(rotated)-1]))
			if err != nil {
				return nil, fmt.Errorf("read audit log: %w", err)
			}
			lines = newestLines(lines, older, n)
		}
	}
	return lines, nil
}

// newestLines appends lines of text to dst, last one first, until dst has n.
func newestLines(dst []json.RawMessage, text []byte, n int) []json.RawMessage {
	for len(dst) < n {
		line := lastLine(text)
		if line == nil {
			return dst
		}
		dst = append(dst, line)
		text = text[:len(text)-len(line)-1]
	}
	return dst
}

// Close syncs and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.syncing {
		l.idle.Wait()
	}
	if l.failed != nil {
		return l.file.Close()
	}
	l.failed = errors.New("the audit log is closed")
	return errors.Join(l.file.Sync(), l.file.Close())
}
