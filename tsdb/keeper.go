package tsdb

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

const (
	// keeperTick is how often the keeper looks around without being asked.
	keeperTick = 10 * time.Second
	// clockJump is the step of the time of day within one tick that is not the machine's pace.
	clockJump = 5 * time.Minute
	// diskLimitShare of tsdb.disk-limit is where the oldest segments begin to go.
	diskLimitShare = 0.95
)

// keep is the keeper goroutine: it seals, merges and deletes, one thing at a time, until stopped.
func (s *Store) keep() {
	defer close(s.kept)
	armed, tick := s.opts.Clock.Now().Round(0), s.opts.Clock.After(keeperTick)
	for {
		select {
		case <-s.stopping:
			return
		case o := <-s.orders:
			o.done <- o.do()
			continue
		case <-s.kick:
		case <-tick:
			now := s.opts.Clock.Now().Round(0) // without the monotonic part, which does not jump
			s.watchClock(now.Sub(armed))
			armed, tick = now, s.opts.Clock.After(keeperTick)
		}
		s.tend()
	}
}

// order is work that another goroutine wants done by the keeper.
type order struct {
	do   func() error
	done chan error
}

func (s *Store) order(ctx context.Context, do func() error) error {
	o := order{do, make(chan error, 1)}
	select {
	case s.orders <- o:
	case <-s.kept:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Seal moves all rows that are in memory into segments now, before a backup or a measurement of their size. If ctx ends first,
// sealing goes on without the caller.
func (s *Store) Seal(ctx context.Context) error { return s.order(ctx, s.doFlush) }

// watchClock notes how long the time of day has moved at the machine's pace. Retention trusts it only then: a gateway without
// a battery starts in 1970, and a wrong year must not delete the history.
func (s *Store) watchClock(passed time.Duration) {
	if off := passed - keeperTick; off > clockJump || off < -clockJump {
		s.opts.Log.Warn("the clock jumped: retention by time waits until it has been steady", "by", off, "wait", s.opts.ClockSettle)
		s.steady = 0
		return
	}
	s.steady += keeperTick
}

// tend does what is due now.
func (s *Store) tend() {
	if s.log.stateErr() != nil && !errors.Is(s.log.stateErr(), ErrDiskFull) {
		return
	}
	if s.flushDue() {
		_ = s.doFlush() // has told the state
	}
	if s.purgeDue() {
		_ = s.purge() // has told the state
	}
	if err := s.summarize(); err != nil {
		s.flushFailed("make tiers", err)
	}
	if err := s.expire(); err != nil {
		s.flushFailed("delete old segments", err)
	}
	if err := s.compact(); err != nil {
		s.flushFailed("merge segments", err)
	}
}

// flushDue says whether rows in memory or their log have grown past a limit, or have been there for long.
func (s *Store) flushDue() bool {
	bytes := s.live.bytes.Load()
	if logState(s.log.state.Load()) == logDiskFull {
		// Sealing shrinks rows to a tenth of their log, but a disk that has no room for it is not asked again and again.
		fulls := s.log.fulls.Load()
		again := fulls == s.fulls
		s.fulls = fulls
		return bytes > 0 && !again
	}
	if bytes == 0 {
		s.oldest = time.Time{}
		return false
	}
	now := s.opts.Clock.Now()
	if s.oldest.IsZero() {
		s.oldest = now
	}
	return s.full() || now.Sub(s.oldest) >= s.opts.SealAge
}

// doFlush flushes and lets those go on who wait for memory, or for a state that tells them why there is none.
func (s *Store) doFlush() error {
	err := s.flush()
	if err != nil {
		s.flushFailed("seal rows", err)
	} else {
		s.oldest = time.Time{}
	}
	s.roomMu.Lock()
	s.room.Broadcast()
	s.roomMu.Unlock()
	return err
}

// removeSegment removes a segment's file, which open queries go on reading.
func (s *Store) removeSegment(g *segment) error {
	if err := s.opts.FS.Remove(path.Join(s.opts.Dir, g.name)); err != nil {
		return fmt.Errorf("remove segment %q: %w", g.name, err)
	}
	return nil
}

// expire deletes segments that are past the retention, and the oldest ones while the store is near its disk limit: raw ones first.
func (s *Store) expire() error {
	var drop []*segment
	left := s.allSegments()
	if s.steady >= s.opts.ClockSettle {
		now := s.opts.Clock.Now().UnixMilli()
		kept := left[:0]
		for _, g := range left {
			if s.outlived(g, now) {
				drop = append(drop, g)
			} else {
				kept = append(kept, g)
			}
		}
		left = kept
	}
	if limit := int64(float64(s.opts.DiskLimitBytes) * diskLimitShare); limit > 0 {
		now, total := s.opts.Clock.Now().UnixMilli(), s.log.bytes.Load()
		for _, g := range left {
			total += g.sizeBytes
		}
		for total > limit && len(left) > 0 {
			oldest := 0
			for i, g := range left {
				raw, than := g.head.tier == rawTier, left[oldest].head.tier == rawTier
				if raw && !than || raw == than && g.ageMs(now) < left[oldest].ageMs(now) {
					oldest = i
				}
			}
			drop = append(drop, left[oldest])
			total -= left[oldest].sizeBytes
			left = append(left[:oldest], left[oldest+1:]...)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	isRaw := func(g *segment) bool { return g.head.tier == rawTier }
	s.publish(nil, slices.DeleteFunc(slices.Clone(drop), func(g *segment) bool { return !isRaw(g) }))
	s.publish(nil, slices.DeleteFunc(slices.Clone(drop), isRaw))
	for _, g := range drop {
		if err := s.removeSegment(g); err != nil {
			return err
		}
		s.expired.Inc()
		s.opts.Log.Info("old segment deleted", "file", g.name, "newest", time.UnixMilli(g.maxMs).UTC())
	}
	return s.opts.FS.SyncDir(s.opts.Dir)
}

// outlived says whether a segment is past its retention. Raw rows of a day that is over stay until the tiers have them.
func (s *Store) outlived(g *segment, nowMs int64) bool {
	keep := s.opts.Retention
	if g.head.tier != rawTier {
		keep = s.tierKept(g.head.tier)
		if keep == 0 {
			keep = max(s.opts.RetentionTier5m, s.opts.RetentionTier1h, s.opts.Retention)
		}
	}
	if keep == 0 || g.ageMs(nowMs) >= nowMs-keep.Milliseconds() {
		return false
	}
	if g.head.tier == rawTier && s.hasTiers() && !g.damaged.Load() {
		for _, day := range g.days() {
			if !s.covered(day, g.head.order, nowMs) {
				return false
			}
		}
	}
	return true
}

// ageMs is the time by which a segment grows old: that of its newest row, or, where a device's clock ran ahead by more than a
// day, that of its making.
func (g *segment) ageMs(nowMs int64) int64 {
	if g.maxMs > nowMs+dayMs {
		return g.head.createdMs
	}
	return g.maxMs
}
