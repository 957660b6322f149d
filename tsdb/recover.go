package tsdb

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// recover reads the checkpoint, the footers of the segments and the log. It runs before the store's goroutines.
func (s *Store) recover() error {
	fsys, dir := s.opts.FS, s.opts.Dir
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	var segmentIDs [tierCount][]uint64
	var logNumbers []uint64
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := fsys.Remove(path.Join(dir, name)); err != nil {
				return err
			}
			continue
		}
		plain := strings.TrimSuffix(name, badSuffix)
		for t := range segmentIDs {
			if id, ok := parseNumbered(plain, tier(t).suffix()); ok {
				s.nextSegment = max(s.nextSegment, id)
				if plain == name {
					segmentIDs[t] = append(segmentIDs[t], id)
				}
			}
		}
		if number, ok := parseNumbered(plain, logSuffix); ok {
			s.log.number = max(s.log.number, number)
			if plain == name {
				logNumbers = append(logNumbers, number)
			}
		}
	}
	slices.Sort(logNumbers)
	if err := s.loadDict(); err != nil {
		return err
	}
	if err := s.loadSources(); err != nil {
		return err
	}
	s.log.repeat = s.dict.counts() // the log has the rest, and gets it again
	twinLost, err := s.loadTwin()
	if err != nil {
		return err
	}
	if err := s.openSegments(segmentIDs); err != nil {
		return err
	}
	if twinLost {
		if err := s.rebuildTwin(); err != nil {
			return err
		}
	}
	if err := s.replayLogs(logNumbers); err != nil {
		return err
	}
	if slices.ContainsFunc(s.allSegments(), s.holdsDeleted) {
		s.deletions.Add(1)
	}
	s.nextSegment++
	s.log.number = max(s.log.number, s.logDone)
	s.log.moveDurable(s.log.number, allOfFile)
	s.log.nextGroup = max(s.log.nextGroup, 1)
	s.log.logged = s.dict.counts()
	return nil
}

func (s *Store) loadDict() error {
	p, err := readPair(s.opts.FS, s.opts.Dir, dictBase, dictMagic)
	if err != nil {
		return err
	}
	for _, note := range p.notes {
		s.damage.found(dictBase, note)
	}
	if p.lost {
		return errors.New("both copies of the dictionary, dict.0 and dict.1, are damaged: restore the folder from a backup, or move it away to start empty")
	}
	if err := s.dict.load(p.payload); p.generation > 0 && err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	s.dictGeneration, s.dictWords = p.generation, s.dict.metrics.count()+s.dict.strings.count()
	if len(p.notes) > 0 {
		s.dictWords = -1 // the next flush writes both copies again
	}
	return nil
}

func (s *Store) loadSources() error {
	p, err := readPair(s.opts.FS, s.opts.Dir, sourceBase, sourceMagic)
	if err != nil {
		return err
	}
	for _, note := range p.notes {
		s.damage.found(sourceBase, note)
	}
	if p.lost {
		return errors.New("both copies of the label sets, source.0 and source.1, are damaged: restore the folder from a backup, or move it away to start empty")
	}
	if err := s.dict.loadSources(p.payload); p.generation > 0 && err != nil {
		return fmt.Errorf("label sets: %w", err)
	}
	s.sourceGeneration, s.sourceCount = p.generation, s.dict.sources.count()
	if len(p.notes) > 0 {
		s.sourceCount = -1 // the next flush writes both copies again
	}
	return nil
}

func (s *Store) loadTwin() (lost bool, err error) {
	p, err := readPair(s.opts.FS, s.opts.Dir, twinBase, twinMagic)
	if err != nil {
		return false, err
	}
	for _, note := range p.notes {
		s.damage.found(twinBase, note)
	}
	if p.lost {
		for _, suffix := range [...]string{".0", ".1"} {
			if err := s.setAside(twinBase + suffix); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	if p.generation == 0 {
		return false, nil
	}
	head, err := s.live.loadTwin(p.payload, s.dict.metrics.count())
	if err != nil {
		return false, fmt.Errorf("last values: %w", err)
	}
	s.twinGeneration, s.logDone = p.generation, head.logDone
	s.nextSegment = max(s.nextSegment, head.nextSegment)
	return false, nil
}

// setAside renames a file that cannot be used, so that it can be looked at.
func (s *Store) setAside(name string) error {
	full := path.Join(s.opts.Dir, name)
	if err := s.opts.FS.Rename(full, full+badSuffix); err != nil {
		return err
	}
	return s.opts.FS.SyncDir(s.opts.Dir)
}

// openSegments opens what can be opened, sets aside what cannot, and removes what a merge has replaced.
func (s *Store) openSegments(ids [tierCount][]uint64) error {
	for t := range ids {
		if err := s.openTier(tier(t), ids[t]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) openTier(t tier, ids []uint64) error {
	var list []*segment
	replaced := map[uint64]bool{}
	for _, id := range ids {
		g, notes, err := openSegment(s.opts.FS, s.opts.Dir, t, id)
		for _, note := range notes {
			s.damage.found(segmentName(t, id), note)
		}
		if errors.Is(err, errUnreadable) {
			s.damage.found(segmentName(t, id), err)
			if err := s.setAside(segmentName(t, id)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		g.damaged.Store(len(notes) > 0)
		list = append(list, g)
		for _, old := range g.replaces {
			replaced[old] = true
		}
	}
	s.publish(list, nil)
	var drop []*segment
	for _, g := range list {
		if replaced[g.head.id] {
			drop = append(drop, g)
		}
	}
	s.publish(nil, drop)
	for _, g := range drop {
		if err := s.removeSegment(g); err != nil {
			return err
		}
	}
	return nil
}

// rebuildTwin takes the last values from the segments: both copies of the file were damaged.
func (s *Store) rebuildTwin() error {
	var b block
	var dec blockDecoder
	var buf []byte
	for _, g := range *s.segments.Load() {
		for i := range g.blocks {
			ok, err := g.readBlock(i, &b, &buf, s.damage)
			if err != nil {
				return err
			}
			if !ok || dec.decodeTimes(&b) != nil {
				continue
			}
			t := s.live.thing(s.live.shard(b.thing), b.thing)
			for j := range b.cols {
				if err := dec.decodeColumn(&b, &b.cols[j]); err == nil {
					s.live.learn(t, &b.cols[j], &dec)
				}
			}
		}
	}
	return nil
}

// learn takes the last value of a decoded column as the thing's if it is not older than what is known.
func (l *live) learn(t *thing, c *blockColumn, dec *blockDecoder) {
	i := t.find(c.metric)
	if i < 0 {
		i = t.addColumn(c.metric)
		l.series.Add(1)
	}
	l.kinds[c.metric].Or(1 << c.kind)
	last := c.count - 1
	if ms := dec.times[dec.row(c, last)]; ms >= t.cols[i].lastMs {
		t.cols[i] = column{lastMs: ms, mantissa: dec.cell(c, last), exp: c.exp, kind: c.kind}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
