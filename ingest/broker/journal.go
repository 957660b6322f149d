package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
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
// one fsync; what is written together is there whole or not at all after a power cut. Safe for concurrent use; it never calls out
// while it holds its mutex.
type journal struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	// whole is held for reading while changes are made that belong together, for writing while those of a write are picked. It is taken
	// before mu, and never while another mutex of the package is held.
	whole sync.RWMutex

	mu      sync.Mutex // guards what follows
	cond    sync.Cond  // a flush has ended
	live    map[string][]byte
	liveLen int64  // bytes that a snapshot of live has
	pending []byte // the batch not written yet: batchHead bytes, and changes; or nothing
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
	journalVersion = 2
	journalHead    = 16
	batchHead      = 12
	snapshotBatch  = 1 << 20 // a snapshot is cut into batches of about this size
	compactSlack   = 1 << 20 // a log may be so much larger than four times what it holds
	opPut          = 1
	opDelete       = 2
)

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
	version, good, damage, err := j.replay(data)
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
	if version < journalVersion {
		return j, nil // j.err lets the next write make a new file
	}
	if j.file, err = filesystem.Open(name); err != nil {
		return nil, fmt.Errorf("open session log %q: %w", name, err)
	}
	j.end = int64(good)
	if err := j.file.Truncate(j.end); err != nil {
		return nil, fmt.Errorf("cut session log %q: %w", name, err)
	}
	return j, nil
}

func changeLen(key string, value []byte) int64 { return int64(8 + len(key) + len(value)) }

func (j *journal) apply(op byte, key string, value []byte) {
	if old, ok := j.live[key]; ok {
		j.liveLen -= changeLen(key, old)
		delete(j.live, key)
	}
	if op == opPut {
		j.live[key] = value
		j.liveLen += changeLen(key, value)
	}
}

// together lets the changes that f makes reach the disk in one write, so that all or none of them survive. f must not wait for the disk, nor
// call together; the caller holds no mutex of the package.
func (j *journal) together(f func()) {
	j.whole.RLock()
	defer j.whole.RUnlock()
	f()
}

// put sets key to value, which the journal keeps: the caller does not change it any more.
func (j *journal) put(key string, value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.change(opPut, key, value)
}

// putAll is put for several keys, together.
func (j *journal) putAll(keys []string, values [][]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, key := range keys {
		j.change(opPut, key, values[i])
	}
}

// delete removes keys, together, and says whether one was there; nothing is written of those that were not.
func (j *journal) delete(keys ...string) (there bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, key := range keys {
		if _, ok := j.live[key]; ok {
			there = true
			j.change(opDelete, key, nil)
		}
	}
	return there
}

// change makes one change in memory and lets it wait for the next write. The mutex is held.
func (j *journal) change(op byte, key string, value []byte) {
	j.apply(op, key, value)
	j.seq++
	if len(j.pending) == 0 {
		j.pending = append(j.pending, make([]byte, batchHead)...)
	}
	j.pending = appendChange(j.pending, op, key, value)
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
	j.mu.Unlock()
	j.whole.Lock()
	j.mu.Lock()
	batch, upTo := j.pending, j.seq
	j.pending, j.spare = j.spare[:0], nil
	j.mu.Unlock()
	j.whole.Unlock()
	sealBatch(batch)
	_, err := j.file.WriteAt(batch, j.end)
	if err == nil {
		err = j.file.Sync()
	}
	j.mu.Lock()
	if err != nil {
		j.err = fmt.Errorf("write session log: %w", err)
		j.log.Error("session log could not be written; it is tried anew with every change", "file", path.Join(j.dir, journalFile), "err", err)
		return j.err
	}
	j.end += int64(len(batch))
	if cap(batch) <= compactSlack {
		j.spare = batch
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
	j.mu.Unlock()
	j.whole.Lock()
	j.mu.Lock()
	data := j.snapshot()
	j.pending = j.pending[:0] // live has it
	upTo, old := j.seq, j.file
	j.mu.Unlock()
	j.whole.Unlock()
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

// snapshot returns a file that holds live and nothing else. The mutex is held.
func (j *journal) snapshot() []byte {
	data := make([]byte, journalHead, journalHead+int(j.liveLen)+batchHead)
	copy(data, journalMagic)
	binary.LittleEndian.PutUint16(data[8:], journalVersion)
	start := len(data)
	for key, value := range j.live {
		if len(data) > start+snapshotBatch {
			sealBatch(data[start:])
			start = len(data)
		}
		if len(data) == start {
			data = append(data, make([]byte, batchHead)...)
		}
		data = appendChange(data, opPut, key, value)
	}
	if len(data) > start {
		sealBatch(data[start:])
	}
	return data
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
