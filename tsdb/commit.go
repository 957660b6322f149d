package tsdb

import "time"

// Who appends many rows in one go, and waits for them then, has no need of the committer: three goroutines would wake up for each
// group, which costs more than the commit. A loop of connections says Expect, appends, and says Commit.

// quickCommit is how long commits take at most, by the mean of the last ones, that a caller of Commit makes itself: on a slow disk it has
// other things to do meanwhile.
const quickCommit = 5 * time.Millisecond

// Expect says that the caller will call Commit soon, once for each Expect. Until then rows wake nobody; they would not be committed
// without.
func (s *Store) Expect() { s.log.expect() }

// Commit ends an Expect and has all rows committed that were appended until now, without waiting for more. It reports whether they are: the
// caller's goroutine has done it and their Waiters were told. Else, where there are some, done gets a signal, unless it is full, after their
// Waiters were told. It does not wait for that, and with wait false for nothing.
//
// It commits by itself where nobody else does, the disk is a quick one and the log file has room.
func (s *Store) Commit(wait bool, done chan<- struct{}) (committed bool) {
	return s.log.settle(wait, done)
}

func (l *rowLog) expect() {
	l.mu.Lock()
	l.expected++
	l.mu.Unlock()
}

// settle is Commit.
func (l *rowLog) settle(wait bool, done chan<- struct{}) (committed bool) {
	if wait = wait && l.committing.TryLock(); wait {
		defer l.committing.Unlock()
	}
	l.mu.Lock()
	l.expected--
	g := l.pending
	switch {
	case !g.begun:
		l.mu.Unlock()
		return false
	case !wait || !l.ready(g):
		g.told = append(g.told, done)
		l.wake(g, true)
		l.mu.Unlock()
		return false
	}
	l.take()
	l.mu.Unlock()
	l.commitGroup(g)
	if logState(l.state.Load()) == logDiskFull {
		signal(l.begun) // the committer is to look for space
	}
	return true
}

// ready says whether committing g is writing and syncing, and that quick. The caller holds committing and mu.
func (l *rowLog) ready(g *group) bool {
	return logState(l.state.Load()) == logOpen && !g.stop && len(g.syncs) == 0 && l.quick < quickCommit &&
		l.file != nil && l.end+int64(g.bytes()) <= l.fileBytes
}
