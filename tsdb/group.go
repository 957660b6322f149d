package tsdb

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

// run is the committer: it commits one group after the other until stop.
func (l *rowLog) run() {
	defer close(l.done)
	for {
		if logState(l.state.Load()) == logDiskFull {
			select {
			case <-l.begun:
			case <-l.clock.After(diskProbe):
				l.committing.Lock()
				l.probe()
				l.committing.Unlock()
				continue
			}
		} else {
			<-l.begun
			select {
			case <-l.urgent:
			default:
				select {
				case <-l.urgent:
				case <-l.clock.After(l.groupWait):
				}
			}
		}
		if l.commit() {
			return
		}
	}
}

// commit is a turn of the committer. It reports whether that was the last one.
func (l *rowLog) commit() (last bool) {
	l.committing.Lock()
	defer l.committing.Unlock()
	l.mu.Lock()
	if !l.pending.begun { // someone else was faster
		l.mu.Unlock()
		return false
	}
	g := l.take()
	l.mu.Unlock()
	return l.commitGroup(g)
}

// take takes the pending group. The caller holds committing and mu.
func (l *rowLog) take() *group {
	g := l.pending
	l.pending, l.spare = l.spare, nil
	// A signal that came for g must not end the wait of the next group.
	select {
	case <-l.urgent:
	default:
	}
	l.room.Broadcast()
	return g
}

// commitGroup makes g durable and tells who waits. It reports whether that was the last one. The caller holds committing.
func (l *rowLog) commitGroup(g *group) (last bool) {
	if l.ackMemory {
		g.tell(nil)
	}
	before, began := logState(l.state.Load()), l.clock.Now()
	err := l.write(g)
	switch {
	case err == nil:
		took := max(l.clock.Now().Sub(began), 0)
		l.quick += (took - l.quick) / 4
		l.commits.Add(1)
		l.commitSeconds.Update(took.Seconds())
	case errors.Is(err, ErrDiskFull):
		l.closeFile() // it may hold a part of the group: later groups go to a file of their own
		if before == logOpen {
			l.log.Error("the disk is full: new rows are refused until there is space", "err", err)
		}
		l.setState(logDiskFull)
	default:
		if before != logFailed {
			l.log.Error("the log cannot be written: nothing more is accepted", "err", err)
		}
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		l.setState(logFailed)
	}
	if !l.ackMemory {
		g.tell(err)
	}
	if err != nil {
		l.changed()
	} else if logState(l.state.Load()) == logDiskFull {
		err = ErrDiskFull // the rows of an earlier group are not on disk
	}
	answer := synced{err: err}
	if g.rotate {
		l.closeFile()
		answer.lastFile = l.number
	}
	for _, ch := range g.syncs {
		ch <- answer
	}
	last = g.stop
	l.mu.Lock()
	l.relax(g)
	g.reset()
	l.spare = g
	if p := l.pending; p.bytes() >= groupPiledBytes { // it has waited for this one
		l.wake(p, true)
	}
	l.mu.Unlock()
	return last
}

func (g *group) tell(err error) {
	for _, x := range g.waiters {
		x.w.Durable(x.seq, err)
	}
	for _, ch := range g.told {
		signal(ch)
	}
}

// write puts g on disk. ErrDiskFull means that nothing of g counts and that later groups may succeed.
func (l *rowLog) write(g *group) error {
	if logState(l.state.Load()) == logFailed {
		return errors.New("an earlier write failed")
	}
	// Entries that the group before brought come once more: then one damaged group costs its rows and no words.
	names, texts, sources := l.dict.metrics.since(l.repeat.names), l.dict.strings.since(l.repeat.texts), l.dict.sources.since(l.repeat.sources)
	words := wordCount{l.repeat.names + len(names), l.repeat.texts + len(texts), l.repeat.sources + len(sources)}
	if len(g.rows) == 0 && words == l.logged && (!g.stop || l.file == nil) {
		return nil // but for the last group: even an empty one shows that none is missing before it
	}
	l.buf = l.appendRows(slices.Grow(l.buf[:0], groupHeadBytes)[:groupHeadBytes], g)
	records := len(l.buf)
	for i, word := range names {
		l.buf = appendWordRecord(l.buf, recordMetric, l.repeat.names+i, word)
	}
	for i, word := range texts {
		l.buf = appendWordRecord(l.buf, recordString, l.repeat.texts+i, word)
	}
	for i, key := range sources {
		l.buf = appendWordRecord(l.buf, recordSource, l.repeat.sources+i, key)
	}
	size := len(l.buf) - groupHeadBytes
	room := groupBytes(size)
	if l.file != nil && l.end+room > l.fileBytes {
		l.closeFile()
	}
	if l.file == nil {
		if err := l.openFile(max(l.fileBytes, logHeaderBytes+room)); err != nil {
			return err
		}
	}
	l.buf = append(l.buf, zeros[:room-int64(len(l.buf))]...)
	head := groupHead{seq: l.nextGroup, firstRow: g.firstRow, size: uint32(size), wordBytes: uint32(size + groupHeadBytes - records), rows: uint32(len(g.rows))}
	head.put(l.buf[:groupHeadBytes+size], l.header.salt)
	if _, err := l.file.WriteAt(l.buf, l.end); err != nil {
		return diskFullOr(err)
	}
	if err := l.file.Sync(); err != nil {
		// Never a full disk that passes: the kernel may have dropped the pages, and the next fsync would not tell.
		return fmt.Errorf("sync log %d: %w", l.header.number, err)
	}
	l.end += room
	l.moveDurable(l.header.number, l.end/logSector)
	l.nextGroup++
	l.repeat, l.logged = l.logged, words
	l.written.Add(uint64(room))
	return nil
}

var zeros [logSector]byte

// appendRows encodes the rows of g, packed where they are many.
func (l *rowLog) appendRows(dst []byte, g *group) []byte {
	if len(g.rows) >= packLeast && !g.deleted {
		if packed, ok := l.packer.append(dst, g.rows, g.values); ok {
			return packed
		}
	}
	l.before.reset()
	for i := range g.rows {
		if r := &g.rows[i]; r.count == 0 {
			dst = appendDeleteRecord(dst, r.thing)
		} else {
			dst = l.before.appendRow(dst, r.thing, r.timeMs, g.values[r.from:r.from+r.count])
		}
	}
	return dst
}

// diskFullOr turns "no space left" and "quota exceeded" into ErrDiskFull and leaves other errors.
func diskFullOr(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

func (l *rowLog) openFile(sizeBytes int64) error {
	free, err := l.fs.FreeBytes(l.dir)
	if err != nil {
		return fmt.Errorf("free space of %q: %w", l.dir, err)
	}
	if int64(free) < l.reserveBytes+sizeBytes {
		return fmt.Errorf("%w: %d bytes are free in %q, %d are kept back", ErrDiskFull, free, l.dir, l.reserveBytes)
	}
	l.number++
	f, header, err := createLogFile(l.fs, l.dir, l.number, l.nextGroup, sizeBytes)
	if err != nil {
		return diskFullOr(err)
	}
	l.file, l.header, l.end = f, header, logHeaderBytes
	l.addFile(l.number, sizeBytes)
	return nil
}

// closeFile ends the current file. All that counts in it is synced, so an error of closing it loses nothing.
func (l *rowLog) closeFile() {
	if l.file == nil {
		return
	}
	if err := l.file.Close(); err != nil {
		l.log.Warn("log file does not close", "file", logName(l.header.number), "err", err)
	}
	l.file = nil
}

// probe looks whether there is space again: for a whole log file, beside what is kept back.
func (l *rowLog) probe() {
	free, err := l.fs.FreeBytes(l.dir)
	if err != nil || int64(free) < l.reserveBytes+l.fileBytes {
		return
	}
	if l.file == nil {
		if err := l.openFile(l.fileBytes); err != nil {
			if !errors.Is(err, ErrDiskFull) {
				l.log.Error("the log cannot be written: nothing more is accepted", "err", err)
				l.setState(logFailed)
				l.changed()
			}
			return
		}
	}
	l.log.Info("there is disk space again: rows are accepted")
	l.setState(logOpen)
}

// fullDisk refuses rows until a probe finds space, and reports whether they were accepted until now.
func (l *rowLog) fullDisk() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if logState(l.state.Load()) != logOpen {
		return false
	}
	l.state.Store(uint32(logDiskFull))
	l.fulls.Add(1)
	l.room.Broadcast()
	l.wake(l.pending, true) // so that the committer begins to probe
	return true
}
