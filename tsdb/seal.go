package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

const (
	// maxFlushDays is how many days get a segment of their own in one flush; rows of other days share one more, so that a device
	// with a broken clock does not make a file per row.
	maxFlushDays = 7
	// maxTableSamples bounds the memory of sealing and merging, 24 bytes per sample. A thing with more gets blocks that may overlap in time: of
	// those, as everywhere, the later one counts.
	maxTableSamples = 1 << 20
	// sealBatch is how many things of a shard have their runs closed under one lock.
	sealBatch = 64
)

// sealing is what one flush writes of one thing.
type sealing struct {
	thing ThingID
	runs  []*run
}

// flush moves all rows that are in memory into segments and removes the log files that held them.
//
// The order keeps every acknowledged row on disk at each step: the log file ends; runs are closed, so that they hold all rows
// of the ended files; the dictionary is written, then the segments that need it, then the last values together with the
// number of the last ended file; then the files go. Only the keeper goroutine calls it.
func (s *Store) flush() error {
	answer := s.log.sync(context.Background(), true)
	if answer.err != nil && !errors.Is(answer.err, ErrDiskFull) {
		return answer.err
	}
	work := s.live.seal()
	if len(work) == 0 && answer.lastFile <= s.logDone {
		return nil
	}
	twin := s.live.appendTwin(nil) // before the dictionary, which then has every word that it uses
	if err := s.writeDict(); err != nil {
		return err
	}
	segments, err := s.writeSegments(work)
	if err != nil {
		return err
	}
	s.publish(segments, nil)
	s.twinGeneration++
	head := twinHead{answer.lastFile, s.nextSegment}
	if err := writePair(s.opts.FS, s.opts.Dir, twinBase, twinMagic, s.twinGeneration, append(head.append(nil), twin...)); err != nil {
		return diskFullOr(err)
	}
	s.logDone = answer.lastFile
	s.live.unseal(work)
	if err := s.log.drop(answer.lastFile); err != nil {
		return err
	}
	s.flushes.Inc()
	return nil
}

// seal closes all runs and returns them by thing; they stay readable where they are until unseal.
func (l *live) seal() []sealing {
	l.minMs.Store(math.MaxInt64)
	var work []sealing
	var ids []ThingID
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		ids = ids[:0]
		for t := range sh.things.all() {
			ids = append(ids, t.id)
		}
		sh.mu.Unlock()
		for batch := range slices.Chunk(ids, sealBatch) {
			sh.mu.Lock()
			for _, id := range batch {
				t := sh.things.get(id)
				if t == nil {
					continue
				}
				l.closeRun(sh, t)
				t.sealing = len(t.closed)
				if t.sealing > 0 {
					work = append(work, sealing{id, t.closed[:t.sealing:t.sealing]})
				}
			}
			sh.mu.Unlock()
		}
	}
	slices.SortFunc(work, func(a, b sealing) int { return cmp.Compare(a.thing, b.thing) })
	return work
}

// unseal forgets the runs that seal returned: they are in segments.
func (l *live) unseal(work []sealing) {
	for _, w := range work {
		sh := l.shard(w.thing)
		sh.mu.Lock()
		if t := sh.things.get(w.thing); t != nil {
			l.forget(t.closed[:t.sealing])
			t.closed, t.sealing = slices.Clone(t.closed[t.sealing:]), 0
		}
		sh.mu.Unlock()
	}
}

// writeDict makes the dictionary and the label sets durable if they have grown.
func (s *Store) writeDict() error {
	sources, forgotten := s.dict.sources.count(), s.dict.sources.forgotten.Load()
	if sources != s.sourceCount || forgotten != s.sourcesForgotten {
		s.sourceGeneration++
		if err := writePair(s.opts.FS, s.opts.Dir, sourceBase, sourceMagic, s.sourceGeneration, s.dict.appendSources(nil)); err != nil {
			return diskFullOr(err)
		}
		s.sourceCount, s.sourcesForgotten = sources, forgotten
	}
	words := s.dict.metrics.count() + s.dict.strings.count()
	if words == s.dictWords {
		return nil
	}
	s.dictGeneration++
	if err := writePair(s.opts.FS, s.opts.Dir, dictBase, dictMagic, s.dictGeneration, s.dict.append(nil)); err != nil {
		return diskFullOr(err)
	}
	s.dictWords = words
	return nil
}

// writeSegments writes the rows of work and returns the segments, durable and not yet published.
func (s *Store) writeSegments(work []sealing) (done []*segment, err error) {
	var rd runReader
	out := s.newDaySegments(busiestDays(work, &rd))
	defer func() {
		if err != nil {
			err = diskFullOr(errors.Join(err, out.abort()))
			for _, g := range done {
				g.release(s.opts.Log)
				err = errors.Join(err, s.removeSegment(g))
			}
			done = nil
		}
	}()
	var t table
	for _, w := range work {
		for runs := w.runs; len(runs) > 0; {
			t.reset()
			for samples := 0; len(runs) > 0 && samples < maxTableSamples; runs = runs[1:] {
				t.addRun(runs[0], &rd)
				samples += runs[0].samples
			}
			t.settle()
			if err := out.add(w.thing, &t); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range out.writers {
		g, err := w.finish()
		if err != nil {
			return done, err
		}
		done = append(done, g)
		out.finished++
		s.segmentWritten.Add(int(g.sizeBytes))
	}
	return done, nil
}

// busiestDays returns the days with the most rows, at most maxFlushDays.
func busiestDays(work []sealing, rd *runReader) []int64 {
	rows := map[int64]int{}
	for _, w := range work {
		for _, r := range w.runs {
			if day := r.maxMs / dayMs; r.minMs/dayMs == day {
				rows[day] += r.rows
				continue
			}
			for rd.reset(r.data, r.rows, len(r.metrics)); rd.next(); {
				rows[rd.row.timeMs/dayMs]++
			}
		}
	}
	days := slices.Collect(maps.Keys(rows))
	slices.SortFunc(days, func(a, b int64) int { return cmp.Or(cmp.Compare(rows[b], rows[a]), cmp.Compare(a, b)) })
	return days[:min(len(days), maxFlushDays)]
}

// strayDay stands for all days without a segment of their own.
const strayDay = -1

// daySegments spreads rows over one segment per day.
type daySegments struct {
	s        *Store
	days     []int64
	byDay    map[int64]*segmentWriter
	writers  []*segmentWriter // in the order they were begun
	finished int              // of writers
}

func (s *Store) newDaySegments(days []int64) *daySegments {
	return &daySegments{s: s, days: days, byDay: map[int64]*segmentWriter{}}
}

// add writes the rows of t, which is settled, each to the segment of its day.
func (o *daySegments) add(thing ThingID, t *table) error {
	for lo := 0; lo < len(t.times); {
		day := o.day(t.times[lo])
		hi := lo + 1
		for hi < len(t.times) && o.day(t.times[hi]) == day {
			hi++
		}
		w := o.byDay[day]
		if w == nil {
			var err error
			id := o.s.nextSegment
			o.s.nextSegment++
			if w, err = createSegment(o.s.opts.FS, o.s.opts.Dir, segmentHead{id, id, o.s.opts.Clock.Now().UnixMilli(), rawTier}); err != nil {
				return err
			}
			o.byDay[day] = w
			o.writers = append(o.writers, w)
		}
		if err := w.add(thing, t, lo, hi); err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

func (o *daySegments) day(ms int64) int64 {
	if day := ms / dayMs; slices.Contains(o.days, day) {
		return day
	}
	return strayDay
}

// abort removes the segments that were not finished.
func (o *daySegments) abort() error {
	var errs []error
	for _, w := range o.writers[o.finished:] {
		errs = append(errs, w.abort())
	}
	return errors.Join(errs...)
}

// publish puts new segments in the place of old ones, all raw or all of tiers, for queries that begin now.
func (s *Store) publish(add, drop []*segment) {
	at := &s.segments
	if len(add) > 0 && add[0].head.tier != rawTier || len(drop) > 0 && drop[0].head.tier != rawTier {
		at = &s.tiers
	}
	list := slices.DeleteFunc(slices.Clone(*at.Load()), func(g *segment) bool { return slices.Contains(drop, g) })
	list = append(list, add...)
	sortSegments(list)
	at.Store(&list)
	for _, g := range drop {
		g.release(s.opts.Log)
	}
}

// sortSegments puts segments in the order in which their cells count: later ones win.
func sortSegments(list []*segment) {
	slices.SortFunc(list, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.head.order, b.head.order), cmp.Compare(a.head.id, b.head.id))
	})
}

// flushFailed decides what an error of the keeper means for the store.
func (s *Store) flushFailed(doing string, err error) {
	switch {
	case errors.Is(err, ErrClosed) || errors.Is(err, ErrFailed):
	case errors.Is(err, ErrDiskFull) && !errors.Is(err, errSync):
		if s.log.fullDisk() {
			s.opts.Log.Error("the disk is full: new rows are refused until there is space", "err", fmt.Errorf("%s: %w", doing, err))
		}
	default:
		s.opts.Log.Error("the disk failed: nothing more is accepted", "err", fmt.Errorf("%s: %w", doing, err))
		s.log.setState(logFailed)
	}
}
