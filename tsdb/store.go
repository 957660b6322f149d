package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb/vfs"
)

// Options of a store. Dir is needed; what is zero gets the default in brackets.
type Options struct {
	Dir     string
	FS      vfs.FS       // [vfs.OS]
	Clock   vfs.Clock    // [vfs.SystemClock]
	Log     *slog.Logger // [none]
	Metrics *metrics.Set // [one of its own]

	CacheBytes      int64         // of decoded columns that queries keep [an eighth of MemoryBytes]
	MemoryBytes     int64         // rows that are not sealed yet; Append waits at it, sealing begins at half of it [128 MiB]
	Retention       time.Duration // how long rows are kept [for ever]
	RetentionTier5m time.Duration // how long buckets of five minutes are kept [they are not made]
	RetentionTier1h time.Duration // the same of one hour
	DiskLimitBytes  int64         // of all files; at 95 % the oldest segments go [none]
	GroupWait       time.Duration // how long a row waits for others to be committed with [5 ms]
	AckMemory       bool          // Durable comes when a group is about to be written, not when it is on disk

	LogBytes     int64         // of log files; sealing begins at it [64 MiB, less on a small disk]
	LogSamples   int64         // in log files; sealing begins at it, so that a start takes no longer than to read so many [32 M]
	LogFileBytes int64         // of one log file [8 MiB, less on a small disk]
	SealAge      time.Duration // how long rows stay in memory [2 h]
	ReserveBytes int64         // of free space that rows never take; sealing may [64 MiB, less on a small disk]
	ClockSettle  time.Duration // how long the clock must be steady before retention by time deletes [10 min]

	// Retire is called before a log file is removed because its rows are in segments, also while Open runs, so that who
	// follows the log may keep it under a name of its own. It must not call the store. [nothing]
	Retire func(number uint64, name string)
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Clock == nil {
		o.Clock = vfs.SystemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	o.MemoryBytes = cmp.Or(o.MemoryBytes, 128<<20)
	o.CacheBytes = cmp.Or(o.CacheBytes, o.MemoryBytes/8)
	o.GroupWait = cmp.Or(o.GroupWait, 5*time.Millisecond)
	o.SealAge = cmp.Or(o.SealAge, 2*time.Hour)
	o.LogSamples = cmp.Or(o.LogSamples, 32_000_000)
	o.ClockSettle = cmp.Or(o.ClockSettle, 10*time.Minute)
	if o.Retire == nil {
		o.Retire = func(uint64, string) {}
	}
	return o
}

// fitDisk gives the options about space their defaults. Those for large disks would leave no room on one of 64 MB.
func (o *Options) fitDisk() error {
	total, err := o.FS.TotalBytes(o.Dir)
	if err != nil {
		return err
	}
	share := int64(total / 8)
	o.ReserveBytes = cmp.Or(o.ReserveBytes, min(64<<20, share))
	o.LogFileBytes = cmp.Or(o.LogFileBytes, min(8<<20, share/4))
	o.LogBytes = cmp.Or(o.LogBytes, min(64<<20, share))
	o.LogBytes = max(o.LogBytes, 2*o.LogFileBytes) // less would seal without end
	return nil
}

// Store keeps rows of things: on disk before they are acknowledged, compressed by column, the last value of each column at
// hand. Safe for concurrent use. See doc.go for goroutines and locks.
type Store struct {
	opts       Options
	lock       io.Closer
	dict       *Dict
	live       live
	log        rowLog
	cache      columnCache
	segments   atomic.Pointer[[]*segment] // in order; the keeper replaces the list
	tiers      atomic.Pointer[[]*segment] // the same, of all tiers
	damage     damage
	damaged    atomic.Uint64
	flushBytes int64
	limitBytes int64

	rows    atomic.Uint64
	samples atomic.Uint64

	deletions atomic.Uint64 // calls of DeleteThings, and what Open found of earlier ones
	purged    atomic.Uint64 // those of them whose rows are in no file any more
	purgedMs  atomic.Int64  // when that was so last

	roomMu sync.Mutex // guards nothing but the waiting on room
	room   *sync.Cond // signaled when memory was given back or the state changed

	kick     chan struct{} // wakes the keeper
	orders   chan order    // carried out by the keeper, in turn with its own work
	stopping chan struct{}
	kept     chan struct{} // closed when the keeper has ended
	closing  sync.Once

	// The keeper owns these once the store is open.
	logDone          uint64
	nextSegment      uint64
	twinGeneration   uint64
	dictGeneration   uint64
	dictWords        int
	sourceGeneration uint64
	sourceCount      int
	sourcesForgotten uint64
	deletedAt        time.Time // since when deletions wait to be purged, about
	oldest           time.Time // since when rows wait to be sealed, about
	steady           time.Duration
	fulls            uint64              // of rowLog.fulls, those that sealing has answered
	summarized       map[int64]time.Time // days that went into the tiers since opening, and when

	flushes        *metrics.Counter
	merges         *metrics.Counter
	expired        *metrics.Counter
	summaries      *metrics.Counter
	segmentWritten *metrics.Counter
	scratches      sync.Pool
}

// Open opens the store in opts.Dir, made if missing, and recovers what was acknowledged. A folder that another process has open
// is an error that says so. Damaged files are set aside, named in the log and counted.
func Open(opts Options) (*Store, error) {
	if opts.Dir == "" {
		return nil, errors.New("the twin store needs a folder")
	}
	opts = opts.withDefaults()
	if err := opts.FS.MkdirAll(opts.Dir, folderPerm); err != nil {
		return nil, fmt.Errorf("make the folder of the twin store: %w", err)
	}
	if err := opts.FS.SyncDir(path.Dir(opts.Dir)); err != nil {
		return nil, fmt.Errorf("make the folder of the twin store: %w", err)
	}
	if err := opts.fitDisk(); err != nil {
		return nil, fmt.Errorf("open the twin store: %w", err)
	}
	lock, err := opts.FS.Lock(path.Join(opts.Dir, lockName))
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: opts, lock: lock, dict: NewDict(), flushBytes: opts.MemoryBytes / 2, limitBytes: opts.MemoryBytes,
		kick: make(chan struct{}, 1), orders: make(chan order), stopping: make(chan struct{}), kept: make(chan struct{}),
	}
	s.room = sync.NewCond(&s.roomMu)
	s.scratches.New = func() any { return new(scratch) }
	s.live.start()
	s.cache.start(int(opts.CacheBytes))
	s.segments.Store(&[]*segment{})
	s.tiers.Store(&[]*segment{})
	s.register(opts.Metrics)
	s.log = rowLog{
		fs: opts.FS, dir: opts.Dir, clock: opts.Clock, log: opts.Log, dict: s.dict, groupWait: opts.GroupWait, fileBytes: opts.LogFileBytes,
		reserveBytes: opts.ReserveBytes, ackMemory: opts.AckMemory, changed: s.wakeAll, retire: opts.Retire,
		commitSeconds: opts.Metrics.GetOrCreateHistogram("muster_tsdb_commit_seconds"),
	}
	s.log.start()
	began := opts.Clock.Now()
	if err := s.recover(); err != nil {
		for _, g := range s.allSegments() {
			g.release(opts.Log)
		}
		return nil, errors.Join(fmt.Errorf("open the twin store in %q: %w", opts.Dir, err), lock.Close())
	}
	stats := s.Stats()
	opts.Log.Info("twin store open", "things", stats.Things, "series", stats.Series, "samples", stats.Samples,
		"segments", stats.Segments, "damaged", stats.Damaged, "took", opts.Clock.Now().Sub(began))
	go s.log.run()
	go s.keep()
	signal(s.kick)
	return s, nil
}

// Dict returns the dictionary, whose ids the values of Append use.
func (s *Store) Dict() *Dict { return s.dict }

// Append adds one row, which is one message of a thing, and returns its seq, which rises with every row. values is not kept. w,
// which may be nil, is told when the row is on disk. A row with the time of another one replaces its columns and leaves the
// rest.
//
// It allocates nothing in steady state, and waits while the log or the sealing is too far behind. Errors: ErrTime, ErrRow,
// ErrColumns and ErrDeleted refuse this row; ErrDiskFull until there is space; ErrFailed and ErrClosed for good.
func (s *Store) Append(thing ThingID, timeMs int64, values []Value, w Waiter) (uint64, error) {
	if timeMs < 0 || timeMs >= MaxTimeMs {
		return 0, ErrTime
	}
	if !s.valid(values) {
		return 0, ErrRow
	}
	if !s.dict.hasSource(thing) {
		return 0, errNoSource
	}
	if err := s.admit(); err != nil {
		return 0, err
	}
	sh := s.live.shard(thing)
	sh.mu.Lock()
	if len(sh.deleted) > 0 {
		if _, ok := sh.deleted[thing]; ok {
			sh.mu.Unlock()
			return 0, ErrDeleted
		}
	}
	t := sh.things.get(thing)
	if t != nil && !t.fits(values) {
		sh.mu.Unlock()
		return 0, ErrColumns
	}
	seq, err := s.log.addRow(thing, timeMs, values, w)
	if err == nil {
		if t == nil {
			t = s.live.thing(sh, thing)
		}
		s.live.insert(sh, t, timeMs, values)
	}
	sh.mu.Unlock()
	if err != nil {
		return 0, err
	}
	s.rows.Add(1)
	s.samples.Add(uint64(len(values)))
	if s.full() {
		signal(s.kick)
	}
	return seq, nil
}

// full says whether memory or the log have grown past where sealing begins.
func (s *Store) full() bool {
	return s.live.bytes.Load() >= s.flushBytes || s.log.bytes.Load() >= s.opts.LogBytes || s.live.samples.Load() >= s.opts.LogSamples
}

// AckMemory says that Waiters are told before their rows are on disk.
func (s *Store) AckMemory() bool { return s.opts.AckMemory }

func (s *Store) valid(values []Value) bool {
	names := s.dict.metrics.count()
	ok := len(values) > 0 && len(values) <= MaxRowValues
	for i := range values {
		v := &values[i]
		ok = ok && int(v.Metric) < names && v.Kind <= String && (v.Kind != Bool || v.Mantissa>>1 == 0)
		if v.Kind == String {
			ok = ok && v.Mantissa >= 0 && v.Mantissa < int64(s.dict.strings.count())
		}
	}
	return ok
}

// admit waits for room in memory and in the log.
func (s *Store) admit() error {
	if s.live.bytes.Load() >= s.limitBytes {
		s.roomMu.Lock()
		for s.live.bytes.Load() >= s.limitBytes && s.log.stateErr() == nil {
			signal(s.kick)
			s.room.Wait()
		}
		s.roomMu.Unlock()
	}
	return s.log.admit()
}

// wakeAll wakes the keeper and those who wait for room, to see a new state.
func (s *Store) wakeAll() {
	signal(s.kick)
	s.roomMu.Lock()
	s.room.Broadcast()
	s.roomMu.Unlock()
}

// Sync waits until all rows that were appended before it are on disk.
func (s *Store) Sync(ctx context.Context) error { return s.log.sync(ctx, false).err }

// Close commits what was appended, ends the goroutines and gives the folder free. Rows that are not in segments are read from
// the log at the next start. Closing twice does nothing.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.stopping)
		err = s.log.stop()
		s.wakeAll()
		<-s.kept
		for _, g := range s.allSegments() {
			g.release(s.opts.Log)
		}
		err = errors.Join(err, s.lock.Close())
	})
	return err
}

// Ready returns nil, or why rows are not accepted now.
func (s *Store) Ready() error { return s.log.stateErr() }
