package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"sync"

	"muster/tsdb/vfs"
)

// journal keeps a map of keys to values on disk, as an append-only log of puts and deletes: what sessions must remember.
// Layout: docs/formats/sessions.md. Keys and values are those of records.go.
//
// put and delete change memory at once and the disk with the next sync. Syncs of several goroutines share one write and
// one fsync. Safe for concurrent use; it never calls out while it holds its mutex.
type journal struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	cond    sync.Cond  // a flush has ended
	live    map[string][]byte
	liveLen int64  // bytes that a snapshot of live has
	pending []byte // frames not written yet
	seq     uint64 // of the last change
	synced  uint64 // changes up to here are on disk
	busy    bool   // a flush is running; it alone uses file, end and spare
	file    vfs.File
	end     int64
	spare   []byte
	err     error // the disk failed; cleared when a new file could be written
	closed  bool
	waiting []waiter

	wanted chan struct{} // buffered: somebody waits without a goroutine of its own
}

// waiter is called once the changes up to seq are on disk.
type waiter struct {
	seq uint64
	f   func()
}

const (
	journalFile    = "sessions.log"
	journalMagic   = "MUSTSESS"
	journalVersion = 1
	journalHead    = 16
	frameHead      = 8
	maxFrame       = 1 << 20
	compactSlack   = 1 << 20 // a log may be so much larger than four times what it holds
	opPut          = 1
	opDelete       = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errJournalClosed = errors.New("the session log is closed")

// openJournal reads the log in dir. A damaged one is kept beside as sessions.log.damaged, and what came before the damage
// is used; only an unknown version or a disk that cannot be written is an error.
func openJournal(filesystem vfs.FS, dir string, log *slog.Logger) (*journal, error) {
	j := &journal{fs: filesystem, dir: dir, log: log, live: make(map[string][]byte), wanted: make(chan struct{}, 1)}
	j.cond.L = &j.mu
	if err := filesystem.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make session folder %q: %w", dir, err)
	}
	name := path.Join(dir, journalFile)
	data, err := filesystem.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return j, j.compact()
	case err != nil:
		return nil, fmt.Errorf("read session log %q: %w", name, err)
	}
	good, damage, err := j.replay(data)
	if err != nil {
		return nil, fmt.Errorf("session log %q: %w", name, err)
	}
	if damage != "" {
		log.Error("session log is damaged: sessions, subscriptions and retained messages after this place are lost",
			"file", name, "offset", good, "bytes", len(data)-good, "err", damage)
		if err := filesystem.WriteFile(name+".damaged", data, 0o600); err != nil {
			log.Warn("damaged session log could not be kept", "file", name, "err", err)
		}
	}
	// Also after a torn tail, so that nothing is ever written behind one.
	if err = j.compact(); err == nil {
		return j, nil
	}
	if good < journalHead {
		return nil, fmt.Errorf("write session log %q: %w", name, err)
	}
	log.Warn("session log could not be compacted; it is used as it is", "file", name, "err", err)
	if j.file, err = filesystem.Open(name); err != nil {
		return nil, fmt.Errorf("open session log %q: %w", name, err)
	}
	j.end = int64(good)
	if err := j.file.Truncate(j.end); err != nil {
		return nil, fmt.Errorf("cut session log %q: %w", name, err)
	}
	return j, nil
}

// replay applies data to live. good is where it stopped; damage says why, if that was not the end or a torn last frame.
func (j *journal) replay(data []byte) (good int, damage string, err error) {
	if len(data) < journalHead {
		if len(data) > 0 {
			damage = "file header cut"
		}
		return 0, damage, nil
	}
	if string(data[:8]) != journalMagic {
		return 0, "file header", nil
	}
	if version := binary.LittleEndian.Uint16(data[8:]); version != journalVersion {
		return 0, "", fmt.Errorf("format version %d is unknown: it was written by another version of muster, use that one", version)
	}
	for good = journalHead; good < len(data); {
		rest := data[good:]
		if len(rest) < frameHead {
			return good, "", nil
		}
		size := binary.LittleEndian.Uint32(rest)
		if size > maxFrame {
			return good, "frame length", nil
		}
		if len(rest) < frameHead+int(size) {
			return good, "", nil
		}
		body := rest[frameHead : frameHead+int(size)]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			if len(rest) == frameHead+int(size) {
				return good, "", nil // the last write was torn
			}
			return good, "frame checksum", nil
		}
		op, key, value, ok := parseFrame(body)
		if !ok {
			return good, "frame content", nil
		}
		j.apply(op, key, value)
		good += frameHead + int(size)
	}
	return good, "", nil
}

func parseFrame(body []byte) (op byte, key string, value []byte, ok bool) {
	if len(body) < 1 || body[0] != opPut && body[0] != opDelete {
		return 0, "", nil, false
	}
	size, n := binary.Uvarint(body[1:])
	if n <= 0 || size > uint64(len(body)-1-n) {
		return 0, "", nil, false
	}
	rest := body[1+n:]
	return body[0], string(rest[:size]), bytes.Clone(rest[size:]), true
}

func appendFrame(dst []byte, op byte, key string, value []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, op)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = append(dst, value...)
	body := dst[at+frameHead:]
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[at+4:], crc32.Checksum(body, castagnoli))
	return dst
}

func frameLen(key string, value []byte) int64 { return int64(frameHead + 4 + len(key) + len(value)) }

func (j *journal) apply(op byte, key string, value []byte) {
	if old, ok := j.live[key]; ok {
		j.liveLen -= frameLen(key, old)
		delete(j.live, key)
	}
	if op == opPut {
		j.live[key] = value
		j.liveLen += frameLen(key, value)
	}
}

// put sets key to value, which the journal keeps: the caller does not change it any more.
func (j *journal) put(key string, value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.apply(opPut, key, value)
	j.seq++
	j.pending = appendFrame(j.pending, opPut, key, value)
}

// delete removes key and says whether it was there; nothing is written where it was not.
func (j *journal) delete(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.live[key]; !ok {
		return false
	}
	j.apply(opDelete, key, nil)
	j.seq++
	j.pending = appendFrame(j.pending, opDelete, key, nil)
	return true
}

// each calls f for every key and value, in no order; f must not call the journal.
func (j *journal) each(f func(key string, value []byte)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for key, value := range j.live {
		f(key, value)
	}
}

// changed returns the number of the last change, for syncTo.
func (j *journal) changed() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}

// syncTo returns once the changes up to seq are on disk, or with the error of the disk.
func (j *journal) syncTo(seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.synced < seq {
		if j.closed {
			return errJournalClosed
		}
		if j.busy {
			j.cond.Wait()
			continue
		}
		if err := j.flush(); err != nil {
			return err
		}
	}
	return nil
}

// after lets f be called once all changes so far are on disk, by whoever calls run; never by the caller. Calls keep their order.
func (j *journal) after(f func()) {
	j.mu.Lock()
	j.waiting = append(j.waiting, waiter{j.seq, f})
	j.mu.Unlock()
	j.soon()
}

// soon lets whoever calls run do it now, not with the next second.
func (j *journal) soon() {
	select {
	case j.wanted <- struct{}{}:
	default:
	}
}

// run writes what is pending and calls those that waited for it. One goroutine calls it. Where the disk fails they go on waiting.
func (j *journal) run() {
	_ = j.syncTo(j.changed()) // logged there; the next second tries again
	j.mu.Lock()
	n := 0
	for n < len(j.waiting) && j.waiting[n].seq <= j.synced {
		n++
	}
	due := j.waiting[:n:n]
	if j.waiting = j.waiting[n:]; len(j.waiting) == 0 {
		j.waiting = nil
	}
	j.mu.Unlock()
	for _, w := range due {
		w.f()
	}
}

// flush writes what is pending. The mutex is held on entry and exit, and free while the disk works.
func (j *journal) flush() error {
	j.busy = true
	defer func() {
		j.busy = false
		j.cond.Broadcast()
	}()
	if j.err != nil || j.end+int64(len(j.pending)) > 4*j.liveLen+compactSlack {
		return j.compactLocked()
	}
	frames, upTo := j.pending, j.seq
	j.pending, j.spare = j.spare[:0], nil
	j.mu.Unlock()
	_, err := j.file.WriteAt(frames, j.end)
	if err == nil {
		err = j.file.Sync()
	}
	j.mu.Lock()
	if err != nil {
		j.err = fmt.Errorf("write session log: %w", err)
		j.log.Error("session log could not be written; it is tried anew with every change", "file", path.Join(j.dir, journalFile), "err", err)
		return j.err
	}
	j.end += int64(len(frames))
	if cap(frames) <= compactSlack {
		j.spare = frames
	}
	j.synced = upTo
	return nil
}

// compact replaces the file by one that holds live and nothing else.
func (j *journal) compact() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.busy = true
	defer func() { j.busy = false }()
	return j.compactLocked()
}

func (j *journal) compactLocked() error {
	data := make([]byte, journalHead, journalHead+int(j.liveLen))
	copy(data, journalMagic)
	binary.LittleEndian.PutUint16(data[8:], journalVersion)
	for key, value := range j.live {
		data = appendFrame(data, opPut, key, value)
	}
	j.pending = j.pending[:0] // live has it
	upTo, old := j.seq, j.file
	j.mu.Unlock()
	file, err := j.replaceFile(data)
	if err == nil && old != nil {
		_ = old.Close() // replaced: nothing of it is needed
	}
	j.mu.Lock()
	if err != nil {
		j.err = err
		return err
	}
	j.file, j.end, j.err, j.synced = file, int64(len(data)), nil, upTo
	return nil
}

func (j *journal) replaceFile(data []byte) (vfs.File, error) {
	name := path.Join(j.dir, journalFile)
	if err := j.fs.WriteFile(name, data, 0o600); err != nil {
		return nil, fmt.Errorf("write session log %q: %w", name, err)
	}
	file, err := j.fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open session log %q: %w", name, err)
	}
	return file, nil
}

// close syncs and closes the file. No change may follow.
func (j *journal) close() error {
	err := j.syncTo(j.changed())
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.busy {
		j.cond.Wait()
	}
	j.closed = true
	if j.file == nil {
		return err
	}
	return errors.Join(err, j.file.Close())
}
