package tsdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What is deleted answers no query from then on. Its rows leave the files when the keeper purges: it seals, so that the log files and
// the last values that have them go, and writes the segments that have some again without them.

// purgeWait is how long the deletion of one thing waits for others, before segments are written again.
const purgeWait = 10 * time.Minute

// DeleteThing forgets a thing for ever; its id takes no rows any more. It returns when that is on disk; after an error it may be
// called again. Its rows leave the files within some minutes, or with Purge.
func (s *Store) DeleteThing(thing ThingID) error { return s.DeleteThings([]ThingID{thing}) }

// DeleteThings is DeleteThing for many at once. Label sets of sources among them are forgotten as well: rows that come for them later
// belong to new sources.
func (s *Store) DeleteThings(things []ThingID) error {
	var sources []uint32
	for _, thing := range things {
		if !s.dict.hasSource(thing) {
			return fmt.Errorf("source %d: %w", thing, errNoSource)
		}
		sh := s.live.shard(thing)
		sh.mu.Lock()
		_, err := s.log.addDeletion(thing)
		if err == nil {
			s.live.remove(sh, thing)
		}
		sh.mu.Unlock()
		if err != nil {
			return err
		}
		if thing >= FirstSource {
			sources = append(sources, uint32(thing-FirstSource))
		}
	}
	s.dict.sources.forget(sources)
	s.deletions.Add(1)
	return s.log.sync(context.Background(), false).err
}

func (s *Store) isDeleted(thing ThingID) bool {
	sh := s.live.shard(thing)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, ok := sh.deleted[thing]
	return ok
}

// Purge ends when no row of what was deleted before the call is left in the store's files. If ctx ends first, it goes on without the
// caller.
func (s *Store) Purge(ctx context.Context) error {
	return s.order(ctx, s.purge)
}

// purgeDue says whether a deletion has waited for long enough.
func (s *Store) purgeDue() bool {
	now := s.opts.Clock.Now()
	switch {
	case s.deletions.Load() == s.purged.Load():
		s.deletedAt = time.Time{}
	case s.deletedAt.IsZero():
		s.deletedAt = now
	default:
		return now.Sub(s.deletedAt) >= purgeWait && logState(s.log.state.Load()) == logOpen
	}
	return false
}

// errPurgeRoom says that a segment cannot be written again.
var errPurgeRoom = fmt.Errorf("what was deleted stays in the files until there is disk space: %w", ErrDiskFull)

// purge removes the rows of all deleted things from the files, and has told the state where it cannot.
func (s *Store) purge() error {
	s.deletedAt = time.Time{}
	deletions := s.deletions.Load()
	if err := s.doFlush(); err != nil {
		return err
	}
	err := s.purgeSegments()
	switch {
	case errors.Is(err, errPurgeRoom):
		s.opts.Log.Warn("not now", "err", err)
	case err != nil:
		s.flushFailed("remove what was deleted", err)
	default:
		s.purged.Store(deletions)
		s.purgedMs.Store(s.opts.Clock.Now().UnixMilli())
		s.opts.Log.Info("rows of deleted things are in no file any more", "deleted", s.live.deleted.Load())
	}
	return err
}

func (s *Store) purgeSegments() error {
	for _, g := range s.allSegments() {
		if !s.holdsDeleted(g) {
			continue
		}
		free, err := s.opts.FS.FreeBytes(s.opts.Dir)
		if err != nil {
			return err
		}
		if int64(free) < g.sizeBytes {
			return fmt.Errorf("%w: %q has %d bytes, %d are free", errPurgeRoom, g.name, g.sizeBytes, free)
		}
		if err := s.withoutDeleted(g); err != nil {
			return err
		}
	}
	return s.opts.FS.SyncDir(s.opts.Dir)
}

func (s *Store) holdsDeleted(g *segment) bool {
	for i := range g.blocks {
		if (i == 0 || g.blocks[i-1].thing != g.blocks[i].thing) && s.isDeleted(g.blocks[i].thing) {
			return true
		}
	}
	return false
}

// withoutDeleted puts a segment with the other blocks of g, damaged ones as they are, in its place.
func (s *Store) withoutDeleted(g *segment) (err error) {
	head := g.head
	head.id = s.nextSegment
	s.nextSegment++
	w, err := createSegment(s.opts.FS, s.opts.Dir, head)
	if err != nil {
		return diskFullOr(err)
	}
	var made *segment
	defer func() {
		if made == nil {
			if abortErr := w.abort(); err != nil {
				err = diskFullOr(errors.Join(err, abortErr))
			}
		}
	}()
	w.index.replaces, w.index.covers = []uint64{g.head.id}, g.covers
	var b block
	var buf []byte
	for i := range g.blocks {
		ref := &g.blocks[i]
		if s.isDeleted(ref.thing) {
			continue
		}
		ok, err := g.readBlock(i, &b, &buf, s.damage)
		if err == nil && !ok {
			b, err = g.described(ref), g.readRaw(ref, &buf)
		}
		if err == nil {
			err = w.copyBlock(&b, buf)
		}
		if err != nil {
			return err
		}
	}
	var add []*segment
	if len(w.index.blocks) > 0 || len(w.index.covers) > 0 {
		if made, err = w.finish(); err != nil {
			return err
		}
		made.damaged.Store(g.damaged.Load())
		add = append(add, made)
		s.segmentWritten.Add(int(made.sizeBytes))
	}
	s.publish(add, []*segment{g})
	return s.removeSegment(g)
}

// described is what the index says of a block that cannot be read.
func (g *segment) described(ref *blockRef) block {
	b := block{tier: g.head.tier, thing: ref.thing, rows: int(ref.rows), minMs: ref.minMs, maxMs: ref.maxMs}
	for _, m := range g.layouts[ref.layout] {
		b.cols = append(b.cols, blockColumn{metric: m})
	}
	return b
}

func (g *segment) readRaw(ref *blockRef, buf *[]byte) error {
	*buf = append((*buf)[:0], make([]byte, ref.size)...)
	_, err := g.file.ReadAt(*buf, ref.offset)
	return err
}

// goneWord begins what stands for the label set of a deleted source; as a count of labels its first byte is too large.
const goneWord = "gone_"

func isGone(word string) bool { return strings.HasPrefix(word, goneWord) }

// forget takes words out of the table; their ids are not used again.
func (w *words) forget(ids []uint32) {
	if len(ids) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	list := append([]string(nil), *w.list.Load()...)
	for _, id := range ids {
		if int(id) < len(list) && !isGone(list[id]) {
			w.bytes -= int64(len(list[id]))
			list[id] = fmt.Sprint(goneWord, id)
			w.bytes += int64(len(list[id]))
		}
	}
	w.list.Store(&list)
	w.forgotten.Add(1)
}
