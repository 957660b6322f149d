package tsdb

import (
	"context"
	"log/slog"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb/vfs"
)

const (
	// groupCommitBytes, in memory, ends the wait for more rows: 20,000 of eight values, which are packed to some 150 KB. Rows get there before
	// the wait ends by itself if there are four million a second. The more rows of each thing a group has, the less they cost.
	groupCommitBytes = 3 << 20
	// groupPiledBytes is how many that came while another group was being written are not kept waiting for more.
	groupPiledBytes = 1 << 20
	// groupSpareBytes is the room of a group that is kept when a flood is over: after so many groups of less than an eighth of it.
	groupSpareBytes = 1 << 20
	calmGroups      = 64
	// maxPendingBytes is how far rows may be ahead of the disk before Append waits: the slower the disk, the larger are groups.
	maxPendingBytes = groupCommitBytes * 3 / 2
	// diskProbe is how often a store with a full disk looks for space.
	diskProbe = time.Second
)

// logState says whether rows are taken. It only grows worse, except that diskFull goes back to open.
type logState uint32

const (
	logOpen logState = iota
	logDiskFull
	logClosed
	logFailed
)

func (s logState) err() error {
	switch s {
	case logDiskFull:
		return ErrDiskFull
	case logClosed:
		return ErrClosed
	case logFailed:
		return ErrFailed
	}
	return nil
}

// rowLog is the log that rows enter before anything else. Goroutines add records to the pending group; the committer
// goroutine (group.go), or one of those who wait (commit.go), takes the whole group, writes it, syncs it and releases who waits.
// Meanwhile records go to the other group.
//
// Locks: committing before mu; mu is taken last, after a shard's; nothing is called with it held.
type rowLog struct {
	fs           vfs.FS
	dir          string
	clock        vfs.Clock
	log          *slog.Logger
	dict         *Dict
	groupWait    time.Duration
	fileBytes    int64
	reserveBytes int64
	ackMemory    bool
	changed      func()                           // called by who commits when the state has become worse
	retire       func(number uint64, name string) // Options.Retire, or nothing

	state atomic.Uint32 // a logState; written with mu held, so that add sees it

	mu      sync.Mutex // guards all to the blank line
	room    *sync.Cond // signaled when the pending group was taken or the state changed
	pending *group
	spare   *group
	seq     uint64 // of the last row
	// expected counts those who will call settle: until then rows are no reason to wake the committer.
	expected int

	begun  chan struct{} // the pending group has got its first record or request, which nobody is expected to commit
	urgent chan struct{} // the pending group should be committed without waiting for more
	done   chan struct{} // closed when the committer has ended

	committing sync.Mutex // guards all to the blank line: of who commits
	file       vfs.File   // nil until the first group after opening, rotating or a full disk
	header     logHeader
	number     uint64 // of the newest file
	end        int64  // where the next group goes
	nextGroup  uint64
	logged     wordCount // dictionary entries that are in the log
	repeat     wordCount // those of them that are there twice
	buf        []byte    // the group that is being written
	packer     packer
	before     rowsBefore
	quick      time.Duration // what commits take: a mean of the last ones
	calm       int           // how many small groups there were since a large one

	filesMu sync.Mutex // guards files
	files   []logPiece // on disk, oldest first

	commits       atomic.Uint64
	fulls         atomic.Uint64 // how often the disk has become full
	bytes         atomic.Int64  // on disk, all files
	written       atomic.Uint64 // bytes of all groups
	durable       atomic.Uint64 // the place up to which groups are on disk, packed (follow.go)
	commitSeconds *metrics.Histogram
}

// wordCount is how many entries of a dictionary have been dealt with.
type wordCount struct{ names, texts, sources int }

// logPiece is one log file on disk.
type logPiece struct {
	number    uint64
	sizeBytes int64
}

// group is what is committed at once.
type group struct {
	rows     []pendingRow
	values   []Value // of the rows
	deleted  bool    // some of rows are deletions
	firstRow uint64
	waiters  []waiting
	syncs    []chan synced     // told when this group and all before it are done
	told     []chan<- struct{} // get a signal once the waiters were told
	rotate   bool
	stop     bool
	hurried  bool // urgent has been signaled
	begun    bool // there is something
	noted    bool // begun has been signaled
}

// synced answers rowLog.sync. lastFile is the newest log file if no group will be added to it any more, else 0.
type synced struct {
	lastFile uint64
	err      error
}

type waiting struct {
	w   Waiter
	seq uint64
}

func (g *group) reset() {
	clear(g.waiters)
	clear(g.syncs)
	clear(g.told)
	g.rows, g.values, g.waiters, g.syncs, g.told = g.rows[:0], g.values[:0], g.waiters[:0], g.syncs[:0], g.told[:0]
	g.deleted, g.firstRow, g.rotate, g.stop, g.hurried, g.begun, g.noted = false, 0, false, false, false, false, false
}

// relax gives back the buffers of a flood that is over: groups are small, or a Sync was the last one, as g, just written and not reset, tells.
// The caller holds committing and mu.
func (l *rowLog) relax(g *group) {
	if g.bytes() < groupSpareBytes/8 {
		l.calm++
	} else {
		l.calm = 0
	}
	if l.calm < calmGroups && (len(g.syncs) == 0 || l.pending.begun) {
		return
	}
	const spare = groupSpareBytes / 16 // values
	if cap(g.values) > spare {
		g.rows, g.values, g.waiters = nil, nil, nil
		l.packer, l.buf = packer{}, nil
	}
	if p := l.pending; !p.begun && cap(p.values) > spare {
		p.rows, p.values, p.waiters = nil, nil, nil
	}
}

// bytes returns what the rows of g take in memory.
func (g *group) bytes() int { return len(g.rows)*24 + len(g.values)*16 }

// start makes the log ready. The committer is started by the caller with go l.run().
func (l *rowLog) start() {
	l.room = sync.NewCond(&l.mu)
	l.pending, l.spare = &group{}, &group{}
	l.begun, l.urgent, l.done = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
}

// admit waits while the log is too far behind. It is called before a shard is locked, so that waiting blocks no query.
func (l *rowLog) admit() error {
	if err := logState(l.state.Load()).err(); err != nil {
		return err
	}
	l.mu.Lock()
	for l.pending.bytes() >= maxPendingBytes && logState(l.state.Load()) == logOpen {
		l.room.Wait()
	}
	l.mu.Unlock()
	return logState(l.state.Load()).err()
}

// addRow puts a row into the pending group and returns its seq. It never waits for the disk.
func (l *rowLog) addRow(thing ThingID, timeMs int64, values []Value, w Waiter) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := logState(l.state.Load()).err(); err != nil {
		return 0, err
	}
	g := l.pending
	g.rows = append(g.rows, pendingRow{timeMs, thing, uint32(len(values)), uint32(len(g.values))})
	g.values = append(g.values, values...)
	return l.added(g, w), nil
}

// addDeletion puts the deletion of a thing into the pending group and returns its seq.
func (l *rowLog) addDeletion(thing ThingID) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := logState(l.state.Load()).err(); err != nil {
		return 0, err
	}
	g := l.pending
	g.rows, g.deleted = append(g.rows, pendingRow{thing: thing}), true
	return l.added(g, nil), nil
}

// added counts what was added to the pending group g. The caller holds mu.
func (l *rowLog) added(g *group, w Waiter) uint64 {
	l.seq++
	if len(g.rows) == 1 {
		g.firstRow = l.seq
	}
	if w != nil {
		g.waiters = append(g.waiters, waiting{w, l.seq})
	}
	l.wake(g, g.bytes() >= groupCommitBytes)
	return l.seq
}

// wake signals the committer that there is something in g, each signal once per group. The caller holds mu.
func (l *rowLog) wake(g *group, hurry bool) {
	g.begun = true
	if !g.noted && (hurry || l.expected == 0) {
		g.noted = true
		signal(l.begun)
	}
	if hurry && !g.hurried {
		g.hurried = true
		signal(l.urgent)
	}
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// sync waits until everything added before is on disk. With rotate, the log file ends there: rows added later are in
// files with numbers above synced.lastFile, also when the disk is full.
func (l *rowLog) sync(ctx context.Context, rotate bool) synced {
	ch := make(chan synced, 1)
	l.mu.Lock()
	if st := logState(l.state.Load()); st == logClosed || st == logFailed {
		l.mu.Unlock()
		return synced{err: st.err()}
	}
	g := l.pending
	g.syncs = append(g.syncs, ch)
	g.rotate = g.rotate || rotate
	l.wake(g, true)
	l.mu.Unlock()
	select {
	case answer := <-ch:
		return answer
	case <-ctx.Done():
		return synced{err: ctx.Err()}
	}
}

func (l *rowLog) stateErr() error { return logState(l.state.Load()).err() }

// setState moves to a worse state, or from a full disk back to open, and wakes who waits.
func (l *rowLog) setState(to logState) {
	l.mu.Lock()
	if from := logState(l.state.Load()); to > from || from == logDiskFull && to == logOpen {
		l.state.Store(uint32(to))
		if to == logDiskFull {
			l.fulls.Add(1)
		}
	}
	l.room.Broadcast()
	l.mu.Unlock()
}

// stop commits what is pending, ends the committer and closes the file.
func (l *rowLog) stop() error {
	l.mu.Lock()
	if logState(l.state.Load()) != logFailed {
		l.state.Store(uint32(logClosed))
	}
	l.pending.stop = true
	l.wake(l.pending, true)
	l.room.Broadcast()
	l.mu.Unlock()
	<-l.done
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// drop removes the log files up to and including number, whose rows are all in segments, oldest first.
func (l *rowLog) drop(number uint64) error {
	l.filesMu.Lock()
	defer l.filesMu.Unlock()
	for len(l.files) > 0 && l.files[0].number <= number {
		l.retire(l.files[0].number, path.Join(l.dir, logName(l.files[0].number)))
		if err := l.fs.Remove(path.Join(l.dir, logName(l.files[0].number))); err != nil {
			return err
		}
		l.bytes.Add(-l.files[0].sizeBytes)
		l.files = slices.Delete(l.files, 0, 1)
	}
	return l.fs.SyncDir(l.dir)
}

func (l *rowLog) addFile(number uint64, sizeBytes int64) {
	l.filesMu.Lock()
	defer l.filesMu.Unlock()
	l.files = append(l.files, logPiece{number, sizeBytes})
	l.bytes.Add(sizeBytes)
}
