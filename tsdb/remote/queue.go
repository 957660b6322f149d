package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/metrics"
	"github.com/klauspost/compress/zstd"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

const (
	packedSuffix = ".zst"
	tmpSuffix    = ".tmp"
	// maxFileBytes bounds what a packed log file may unpack to: a group of 64 MiB is alone in its file.
	maxFileBytes = 128 << 20
)

// queue is the place in the log up to which rows were sent, and the log files behind it that the twin store is done with.
// Layout of its folder: docs/formats/remote.md.
type queue struct {
	opts *Options
	log  *slog.Logger

	mu        sync.Mutex // guards what follows
	at        tsdb.LogPosition
	kept      map[uint64]keptFile
	keptBytes int64

	// The sending goroutine owns these.
	file    *tsdb.LogFile // open for reading; nil: none
	number  uint64        // of file
	src     source        // of file
	unsaved bool          // the cursor could not be written

	droppedBytes *metrics.Counter
	lostFiles    *metrics.Counter
	cursorErrors *metrics.Counter
}

// keptFile is a log file in the queue's folder.
type keptFile struct {
	name      string
	sizeBytes int64
	packed    bool
}

// source is an open log file, or an unpacked one.
type source interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

type unpacked struct{ *bytes.Reader }

func (u unpacked) Size() (int64, error) { return u.Reader.Size(), nil }
func (unpacked) Close() error           { return nil }

func openQueue(opts *Options) (*queue, error) {
	q := &queue{
		opts: opts, log: opts.Log, kept: map[uint64]keptFile{},
		droppedBytes: opts.Metrics.GetOrCreateCounter("muster_remote_queue_dropped_bytes_total"),
		lostFiles:    opts.Metrics.GetOrCreateCounter("muster_remote_lost_files_total"),
		cursorErrors: opts.Metrics.GetOrCreateCounter("muster_remote_cursor_errors_total"),
	}
	gauge := func(name string, f func() float64) {
		opts.Metrics.UnregisterMetric(name) // of a queue that was open before
		opts.Metrics.NewGauge(name, f)
	}
	gauge("muster_remote_queue_bytes", func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(q.keptBytes)
	})
	gauge("muster_remote_queue_files", func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(len(q.kept))
	})
	if err := opts.FS.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of remote write: %w", err)
	}
	if opts.KeepFree == 0 {
		total, err := opts.FS.TotalBytes(opts.Dir)
		if err != nil {
			return nil, err
		}
		opts.KeepFree = min(256<<20, int64(total/5)) // more than the twin store keeps: the queue gives way first
	}
	names, err := opts.FS.List(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of remote write: %w", err)
	}
	for _, name := range names { // ascending: a packed file comes after the one it was made of
		if strings.HasSuffix(name, tmpSuffix) {
			err = opts.FS.Remove(path.Join(opts.Dir, name))
		} else {
			err = q.found(name)
		}
		if err != nil {
			return nil, fmt.Errorf("folder of remote write: %w", err)
		}
	}
	if q.at, err = readCursor(opts.FS, opts.Dir); errors.Is(err, errCursorVersion) {
		return nil, err
	} else if err != nil {
		q.log.Error("the place up to which telemetry was sent on is not known: what is still in the log is sent again", "err", err)
	}
	return q, nil
}

// found takes a file of an earlier process into the queue.
func (q *queue) found(name string) error {
	plain, packed := strings.CutSuffix(name, packedSuffix)
	number, ok := tsdb.ParseLogFileName(plain)
	if !ok {
		return nil
	}
	f, err := q.opts.FS.Open(path.Join(q.opts.Dir, name))
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if before, ok := q.kept[number]; ok {
		if err := q.opts.FS.Remove(path.Join(q.opts.Dir, before.name)); err != nil {
			return err
		}
		q.keptBytes -= before.sizeBytes
	}
	q.kept[number] = keptFile{name, size, packed}
	q.keptBytes += size
	return nil
}

// keep gives a log file that is about to be removed a second name, unless all of it was sent.
func (q *queue) keep(number uint64, name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.kept[number]; ok || q.at.File > number {
		return
	}
	size, err := q.link(name, path.Join(q.opts.Dir, tsdb.LogFileName(number)))
	if err != nil {
		q.lostFiles.Inc()
		q.log.Error("a log file cannot be kept for the other side, which will not get its rows", "file", name, "err", err)
		return
	}
	q.kept[number] = keptFile{tsdb.LogFileName(number), size, false}
	q.keptBytes += size
	q.trim()
}

func (q *queue) link(from, to string) (sizeBytes int64, err error) {
	f, err := q.opts.FS.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if sizeBytes, err = f.Size(); err != nil {
		return 0, err
	}
	linker, ok := q.opts.FS.(vfs.Linker)
	if !ok || linker.Link(from, to) != nil {
		if err := vfs.Copy(context.Background(), q.opts.FS, f, sizeBytes, to, q.opts.KeepFree); err != nil {
			return 0, err
		}
	}
	return sizeBytes, q.opts.FS.SyncDir(q.opts.Dir)
}

// trim removes the oldest files while the queue is too large, or the disk nearly full: telemetry that comes in counts for more
// than what the other side has not fetched. The caller holds mu.
func (q *queue) trim() {
	for len(q.kept) > 0 {
		free, err := q.opts.FS.FreeBytes(q.opts.Dir)
		tight := err == nil && int64(free) < q.opts.KeepFree
		if !tight && (q.opts.QueueBytes == 0 || q.keptBytes <= q.opts.QueueBytes) {
			return
		}
		oldest := slices.Min(slices.Collect(maps.Keys(q.kept)))
		size := q.kept[oldest].sizeBytes
		if !q.remove(oldest) {
			return
		}
		q.droppedBytes.Add(int(size))
		q.log.Error("the queue for the other side is too large or the disk nearly full: its oldest rows were dropped",
			"bytes", size, "left", q.keptBytes, "free", free)
	}
}

// remove removes a file of the queue. The caller holds mu.
func (q *queue) remove(number uint64) bool {
	f := q.kept[number]
	if err := q.opts.FS.Remove(path.Join(q.opts.Dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.log.Warn("a file that was sent on cannot be removed", "file", f.name, "err", err)
		return false
	}
	delete(q.kept, number)
	q.keptBytes -= f.sizeBytes
	return true
}

// read hands the rows behind the cursor to use, until one is not taken or there is no more on disk, and returns the position behind
// the last. A file that cannot be read is named, counted and left out.
func (q *queue) read(end tsdb.LogPosition, use func(tsdb.LogRow) bool) (tsdb.LogPosition, error) {
	at := q.position()
	if at.File > end.File {
		q.log.Error("the log is older than the place up to which it was sent on, as after a restore: what it has is sent again", "at", at.File, "end", end.File)
		at = tsdb.LogPosition{}
	}
	for {
		if q.file == nil || q.number != at.File {
			number, err := q.open(at.File)
			if err != nil && number > 0 && number < end.File {
				q.lostFiles.Inc()
				q.log.Error("a log file cannot be read for the other side, which will not get its rows", "file", tsdb.LogFileName(number), "err", err)
				at = tsdb.LogPosition{File: number + 1}
				continue
			}
			if err != nil || number == 0 || number > end.File { // which nothing of is on disk for sure
				return at, err
			}
			if number != at.File {
				at = tsdb.LogPosition{File: number}
			}
		}
		stopped := false
		next, err := q.readFile(at, end, func(row tsdb.LogRow) bool {
			stopped = !use(row)
			return !stopped
		})
		if err != nil {
			q.close()
			if at.File == end.File {
				return at, err // rows that use took come again
			}
			q.lostFiles.Inc()
			q.log.Error("a log file cannot be read for the other side, which will not get the rest of its rows", "file", tsdb.LogFileName(at.File), "err", err)
			return tsdb.LogPosition{File: at.File + 1}, nil
		}
		if at = next; stopped || at.File >= end.File {
			return at, nil
		}
		q.close()
		at = tsdb.LogPosition{File: at.File + 1}
	}
}

func (q *queue) readFile(at, end tsdb.LogPosition, use func(tsdb.LogRow) bool) (tsdb.LogPosition, error) {
	to, err := q.src.Size()
	if err != nil {
		return at, err
	}
	if at.File == end.File {
		to = min(to, end.Offset)
	}
	return q.file.Read(at, to, use)
}

// open opens the log file with the smallest number from atLeast on, and returns its number, 0 if there is none.
func (q *queue) open(atLeast uint64) (number uint64, err error) {
	q.close()
	for range 10 { // a file may move between listing and opening
		if number, err = q.next(atLeast); err != nil || number == 0 {
			return 0, err
		}
		src, err := q.openSource(number)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return number, err
		}
		file, err := tsdb.OpenLogFile(src, number)
		if err != nil {
			return number, errors.Join(err, src.Close())
		}
		q.file, q.number, q.src = file, number, src
		return number, nil
	}
	return number, fmt.Errorf("log file %d comes and goes", number)
}

func (q *queue) next(atLeast uint64) (uint64, error) {
	names, err := q.opts.FS.List(q.opts.LogDir)
	if err != nil {
		return 0, err
	}
	smallest := uint64(0)
	consider := func(number uint64) {
		if number >= atLeast && (smallest == 0 || number < smallest) {
			smallest = number
		}
	}
	for _, name := range names {
		if number, ok := tsdb.ParseLogFileName(name); ok {
			consider(number)
		}
	}
	q.mu.Lock() // after the listing: a file that left the twin store since then is here
	defer q.mu.Unlock()
	for number := range q.kept {
		consider(number)
	}
	return smallest, nil
}

func (q *queue) openSource(number uint64) (source, error) {
	q.mu.Lock()
	f, ok := q.kept[number]
	q.mu.Unlock()
	switch {
	case !ok:
		return q.opts.FS.Open(path.Join(q.opts.LogDir, tsdb.LogFileName(number)))
	case !f.packed:
		return q.opts.FS.Open(path.Join(q.opts.Dir, f.name))
	}
	data, err := q.opts.FS.ReadFile(path.Join(q.opts.Dir, f.name))
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFileBytes))
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	plain, err := decoder.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return unpacked{bytes.NewReader(plain)}, nil
}

// close closes the file that is read.
func (q *queue) close() {
	if q.file == nil {
		return
	}
	if err := q.src.Close(); err != nil {
		q.log.Warn("log file does not close", "file", tsdb.LogFileName(q.number), "err", err)
	}
	q.file, q.src = nil, nil
}

func (q *queue) position() tsdb.LogPosition {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.at
}

// advance moves the cursor: what lies before it was taken or refused. A cursor that cannot be written counts all the same until
// the process ends.
func (q *queue) advance(to tsdb.LogPosition) {
	q.mu.Lock()
	moved := q.at != to
	q.at = to
	q.sweep()
	q.mu.Unlock()
	if !moved && !q.unsaved {
		return
	}
	err := writeCursor(q.opts.FS, q.opts.Dir, to)
	if err != nil {
		q.cursorErrors.Inc()
		if !q.unsaved {
			q.log.Warn("the place up to which telemetry was sent on cannot be written: after a restart some is sent again", "err", err)
		}
	}
	q.unsaved = err != nil
}

// sweep removes the files that were sent whole. The caller holds mu.
func (q *queue) sweep() {
	for _, number := range slices.Sorted(maps.Keys(q.kept)) {
		if number < q.at.File {
			q.remove(number)
		}
	}
}

// tidy removes what was sent, and packs one file that has to wait. It reports whether there may be more to pack.
func (q *queue) tidy() (more bool) {
	q.mu.Lock()
	q.sweep()
	q.trim()
	waiting, f := uint64(0), keptFile{}
	for number, k := range q.kept {
		if !k.packed && number > max(q.at.File, q.number) && (waiting == 0 || number < waiting) { // the next to be read stays as it is
			waiting, f = number, k
		}
	}
	q.mu.Unlock()
	if waiting == 0 {
		return false
	}
	if err := q.pack(waiting, f); err != nil {
		q.log.Debug("a log file is not compressed", "file", f.name, "err", err)
		return false
	}
	return true
}

// pack compresses a file of the queue, to about a tenth. The lock is not held while it works: the twin store's keeper needs it.
func (q *queue) pack(number uint64, f keptFile) error {
	data, err := q.opts.FS.ReadFile(path.Join(q.opts.Dir, f.name))
	if err != nil {
		return err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	packed := encoder.EncodeAll(data, nil)
	name := f.name + packedSuffix
	if err := errors.Join(encoder.Close(), q.opts.FS.WriteFile(path.Join(q.opts.Dir, name), packed, 0o600)); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.kept[number]; !ok { // dropped meanwhile
		return q.opts.FS.Remove(path.Join(q.opts.Dir, name))
	}
	if q.remove(number) {
		q.kept[number] = keptFile{name, int64(len(packed)), true}
		q.keptBytes += int64(len(packed))
	}
	return nil
}
