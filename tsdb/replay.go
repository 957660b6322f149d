package tsdb

import (
	"errors"
	"fmt"
	"math"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// replayGroups is how many groups of the log are decoded at once.
	replayGroups = 256
	// replayPayload bounds the bytes of such groups, for the memory that they take: packed rows grow to the twentyfold.
	replayPayload = 512 << 10
)

// replayLogs puts the rows of log files that are not in segments back into memory.
func (s *Store) replayLogs(numbers []uint64) error {
	r := replay{s: s}
	var want uint64
	for _, number := range numbers {
		name := path.Join(s.opts.Dir, logName(number))
		if number <= s.logDone {
			s.opts.Retire(number, name)
			if err := s.opts.FS.Remove(name); err != nil {
				return err
			}
			continue
		}
		last, err := r.file(name, number, want)
		if err != nil {
			return fmt.Errorf("log %q: %w", name, err)
		}
		if last > 0 {
			want = last + 1
			s.log.nextGroup = max(s.log.nextGroup, last+1)
		}
	}
	return nil
}

// replay reads the log, on all cores: while the rows of some groups are put into the shards side by side, those of a shard in the order of
// the groups, the next groups are decoded side by side.
type replay struct {
	s        *Store
	words    record
	next     replayBatch // to be decoded
	ready    replayBatch // to be put into the shards
	visitors [shardCount]visitor
}

// replayBatch is groups that follow each other. It keeps their buffers.
type replayBatch struct {
	groups []replayGroup // the first used of them count
	used   int
	bytes  int // of their payloads
}

// replayGroup is one group on its way back into memory.
type replayGroup struct {
	head    groupHead
	payload []byte // records of rows
	rec     record
	rows    []pendingRow // of a group that is no pack
	values  []Value
	visits  visits // of a pack
	err     error

	// The largest ids: damage may have taken their words.
	metric, text, source uint32
	lost                 bool
}

// file replays one file, cuts its torn tail, and returns its last group, 0 if it has none.
func (r *replay) file(name string, number, want uint64) (uint64, error) {
	s := r.s
	data, err := s.opts.FS.ReadFile(name)
	if err != nil {
		return 0, err
	}
	scan, err := scanLog(data, number, want, func(g groupHead, payload []byte) error { return r.group(number, g, payload) })
	r.flush(number)
	if errors.Is(err, errVersion) {
		return 0, err
	}
	if err != nil {
		if len(data) <= logHeaderBytes || allZero(data[logHeaderBytes:]) {
			return 0, s.opts.FS.Remove(name) // the power went while it was made: it never had a group
		}
		s.damage.found(logName(number), err)
		return 0, s.setAside(logName(number))
	}
	for _, d := range scan.damage {
		s.damage.found(logName(number), errors.New(d))
	}
	s.log.addFile(number, int64(len(data)))
	s.log.nextGroup = max(s.log.nextGroup, scan.header.firstGroup)
	if !scan.torn {
		return scan.lastSeq, nil
	}
	s.opts.Log.Info("torn tail of the log cut: it was never acknowledged", "file", logName(number), "at", scan.end)
	f, err := s.opts.FS.Open(name)
	if err != nil {
		return 0, err
	}
	err = f.Truncate(scan.end)
	if err == nil {
		err = f.Sync()
	}
	return scan.lastSeq, errors.Join(err, f.Close())
}

// group takes the words of a group at once, and its rows later.
func (r *replay) group(number uint64, g groupHead, payload []byte) error {
	rows, words := payload[:g.size-g.wordBytes], payload[g.size-g.wordBytes:]
	dict := r.s.dict
	var failed error
	_, err := r.words.each(words, func() bool {
		switch rec := &r.words; rec.kind {
		case recordMetric:
			failed = dict.metrics.restore(rec.id, string(rec.word))
		case recordString:
			failed = dict.strings.restore(rec.id, string(rec.word))
		case recordSource:
			failed = dict.sources.restore(rec.id, string(rec.word))
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if g.rows > 0 {
		r.s.log.seq = max(r.s.log.seq, g.firstRow+uint64(g.rows)-1)
	}
	if len(rows) == 0 {
		return nil
	}
	n := &r.next
	if n.used == len(n.groups) {
		n.groups = append(n.groups, replayGroup{})
	}
	x := &n.groups[n.used]
	x.head, x.payload = g, rows
	n.used++
	n.bytes += len(rows)
	if n.used == replayGroups || n.bytes >= replayPayload {
		r.step(number)
	}
	return nil
}

// step decodes the groups that were read and puts the rows of those before into the shards.
func (r *replay) step(number uint64) {
	ready := r.ready.groups[:r.ready.used]
	for i := range ready {
		ready[i].lost = r.s.dict.lacks(ready[i].metric, ready[i].text, ready[i].source)
	}
	workers := min(runtime.GOMAXPROCS(0), shardCount)
	var tasks atomic.Int64
	sideBySide(workers, func() {
		for {
			task := int(tasks.Add(1)) - 1
			switch {
			case task < workers:
				r.s.replayGroups(&r.visitors[task], ready, task, workers)
			case task-workers < r.next.used:
				r.next.groups[task-workers].decode()
			default:
				return
			}
		}
	})
	for i := range ready {
		if err := ready[i].err; err != nil {
			r.s.damage.found(logName(number), fmt.Errorf("group %d: %w", ready[i].head.seq, err))
		}
		ready[i].payload = nil
	}
	r.ready.used, r.ready.bytes = 0, 0
	r.ready, r.next = r.next, r.ready
}

// flush replays all groups that were read.
func (r *replay) flush(number uint64) {
	for r.next.used > 0 || r.ready.used > 0 {
		r.step(number)
	}
}

// sideBySide calls do n times, each on a goroutine of its own, and waits for all.
func sideBySide(n int, do func()) {
	var others sync.WaitGroup
	for range n - 1 {
		others.Go(do)
	}
	do()
	others.Wait()
}

// decode decodes the rows of the group: all, or none of a group that does not decode.
func (x *replayGroup) decode() {
	x.rows, x.values, x.visits.list, x.err = x.rows[:0], x.values[:0], x.visits.list[:0], nil
	x.metric, x.text, x.source = 0, 0, 0
	if isPack(x.payload) { // alone, but for a version to come
		x.decodeVisits()
	} else {
		x.decodeRows()
	}
}

func (x *replayGroup) decodeVisits() {
	b := reader{src: x.payload}
	x.visits.decode(&x.rec.pack, &b)
	if x.err = b.err; x.err == nil && len(b.src) > 0 {
		x.err = errRecord
	}
	for i := range x.visits.list {
		x.see(x.visits.list[i].thing)
	}
	for _, l := range x.rec.pack.layouts[:x.rec.pack.used] {
		for i := range l.before {
			x.metric = max(x.metric, uint32(l.before[i].Metric))
		}
	}
	x.text = x.visits.text
}

func (x *replayGroup) see(id ThingID) {
	if id >= FirstSource {
		x.source = max(x.source, uint32(id-FirstSource)+1)
	}
}

func (x *replayGroup) decodeRows() {
	_, x.err = x.rec.each(x.payload, func() bool {
		row := pendingRow{timeMs: x.rec.timeMs, thing: x.rec.thing, from: uint32(len(x.values))}
		if x.rec.kind == recordRow {
			row.count = uint32(len(x.rec.values))
			x.values = append(x.values, x.rec.values...)
			if row.count == 0 {
				return true // a row without values is none, and no deletion
			}
		}
		x.rows = append(x.rows, row)
		return true
	})
	for i := range x.rows {
		x.see(x.rows[i].thing)
	}
	for i := range x.values {
		v := &x.values[i]
		x.metric = max(x.metric, uint32(v.Metric))
		if v.Kind == String {
			x.text = max(x.text, uint32(min(uint64(v.Mantissa), math.MaxUint32)))
		}
	}
}

// replayThings is how many things, or ids, are taken through groups together: their rows, columns and open runs stay in the cache of a core from one
// group to the next.
const replayThings = 512

// replayGroups puts the rows of groups into the shards of one of workers workers: those of a thing in the order of the groups.
func (s *Store) replayGroups(w *visitor, groups []replayGroup, worker, workers int) {
	for len(groups) > 0 {
		packs := 0 // that stand together
		for packs < len(groups) && (len(groups[packs].visits.list) > 0 || groups[packs].err != nil) {
			packs++
		}
		s.replayPacks(w, groups[:packs], worker, workers)
		if packs < len(groups) {
			s.replayRows(&groups[packs], worker, workers)
			packs++
		}
		groups = groups[packs:]
	}
}

// replayPacks does so with groups that are packs, or have an error. In a pack things ascend.
func (s *Store) replayPacks(w *visitor, groups []replayGroup, worker, workers int) {
	w.at = slices.Grow(w.at[:0], len(groups))[:len(groups)]
	clear(w.at)
	for {
		end := int64(math.MaxInt64)
		for i := range groups {
			if list := groups[i].visits.list; groups[i].err == nil && w.at[i] < len(list) {
				end = min(end, int64(list[w.at[i]].thing)+replayThings)
			}
		}
		if end == math.MaxInt64 {
			return
		}
		for i := range groups {
			if groups[i].err == nil {
				w.at[i] = s.replayVisits(w, &groups[i], w.at[i], end, worker, workers)
			}
		}
	}
}

// replayRows does so with the rows of a group that is no pack.
func (s *Store) replayRows(x *replayGroup, worker, workers int) {
	var t *thing
	for i := range x.rows {
		row := &x.rows[i]
		if int(row.thing%shardCount)%workers != worker {
			continue
		}
		if i == 0 || t == nil || x.rows[i-1].thing != row.thing {
			t = s.replayThing(x, row.thing)
		}
		values := x.values[row.from : row.from+row.count]
		switch {
		case t == nil:
		case row.count == 0:
			s.live.remove(s.live.shard(row.thing), row.thing)
			if row.thing >= FirstSource {
				s.dict.sources.forget([]uint32{uint32(row.thing - FirstSource)})
			}
			s.deletions.Add(1)
			t = nil
		default:
			s.replayRow(x, t, row.timeMs, values)
		}
	}
}

// replayVisits puts visits of a group, from the one at from on, of things before end, into the shards of one of workers workers. It returns
// where the next ones are.
func (s *Store) replayVisits(w *visitor, x *replayGroup, from int, end int64, worker, workers int) int {
	var t *thing
	row := func(timeMs int64, values []Value) { s.replayRow(x, t, timeMs, values) }
	for list := x.visits.list; from < len(list) && int64(list[from].thing) < end; from++ {
		v := &list[from]
		if int(v.thing%shardCount)%workers != worker {
			continue
		}
		if t = s.replayThing(x, v.thing); t != nil {
			w.add(&s.live, s.live.shard(v.thing), t, &x.visits, v, x.rec.pack.layouts[v.layout].before, x.lost, row)
		}
	}
	return from
}

// replayRow adds one row to t, without what it has of lost words.
func (s *Store) replayRow(x *replayGroup, t *thing, timeMs int64, values []Value) {
	if x.lost {
		values = slices.DeleteFunc(slices.Clone(values), s.dict.lost)
	}
	if t.fits(values) && len(values) > 0 {
		s.live.insert(s.live.shard(t.id), t, timeMs, values)
	}
}

// replayThing returns the thing that has rows in x, nil if it takes none: it was deleted, or its label set was lost.
func (s *Store) replayThing(x *replayGroup, id ThingID) *thing {
	sh := s.live.shard(id)
	if _, deleted := sh.deleted[id]; deleted {
		return nil
	}
	if id >= FirstSource && (id-FirstSource >= MaxSources || x.lost && s.dict.sources.isLost(uint32(id-FirstSource))) {
		return nil
	}
	return s.live.thing(sh, id)
}
