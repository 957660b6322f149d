package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lastSeen keeps the latest time this gateway has seen, over restarts, so that a gateway without a battery-backed
// clock issues nothing with a wrong date (threat 20).
//
// While the clock stands before that time, certificates are judged by that time and none is issued. Nor is any issued,
// and no time kept, beyond the end of the intermediate. A clock that was ahead by less leaves a time that is too late
// behind; removing the file is the way out, and the error says so.
type lastSeen struct {
	fs    FS
	clock Clock
	file  string
	// end is that of the intermediate. It is set before other goroutines come.
	end time.Time

	seenMs  atomic.Int64
	mu      sync.Mutex // one write of the file at a time; guards savedMs
	savedMs int64
}

// oldestClock is before the first release of muster: a clock that stands there was never set.
var oldestClock = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// saveEvery bounds the wear of the flash.
const saveEvery = time.Minute

func openLastSeen(files FS, clock Clock, file string, log *slog.Logger) *lastSeen {
	t := &lastSeen{fs: files, clock: clock, file: file}
	t.seenMs.Store(oldestClock.UnixMilli())
	raw, err := files.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return t
	}
	ms, perr := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err = errors.Join(err, perr); err != nil {
		log.Warn("the last seen time cannot be read; the certificates' dates are used instead", "file", file, "err", err)
		return t
	}
	t.savedMs = ms
	t.atLeast(time.UnixMilli(ms))
	return t
}

// atLeast notes that the time is not before at.
func (t *lastSeen) atLeast(at time.Time) {
	for ms := at.UnixMilli(); ; {
		seen := t.seenMs.Load()
		if ms <= seen || t.seenMs.CompareAndSwap(seen, ms) {
			return
		}
	}
}

// now returns the time to judge certificates by: the clock's, or the last seen one if the clock stands before it.
func (t *lastSeen) now() time.Time {
	now, seen := t.clock.Now(), time.UnixMilli(t.seenMs.Load())
	if now.Before(seen) {
		return seen
	}
	return now
}

// issuing returns the time to put on a certificate. It is an *Error with status 503 if the clock is not trusted.
func (t *lastSeen) issuing() (time.Time, error) {
	now, seen := t.clock.Now(), time.UnixMilli(t.seenMs.Load())
	if now.Before(seen.Add(-backdate)) {
		return time.Time{}, &Error{Status: http.StatusServiceUnavailable, Reason: "time", Message: fmt.Sprintf(
			"the time is not yet trusted: the clock says %s, but %s was seen before; set the clock (or, if the later time was wrong, stop muster and remove %s)",
			now.UTC().Format(time.RFC3339), seen.UTC().Format(time.RFC3339), t.file)}
	}
	if !t.end.IsZero() && now.After(t.end) {
		return time.Time{}, &Error{Status: http.StatusServiceUnavailable, Reason: "time", Message: fmt.Sprintf(
			"the clock says %s, but the gateway's intermediate certificate ended at %s: set the clock, or make a new intermediate (docs/security.md)",
			now.UTC().Format(time.RFC3339), t.end.UTC().Format(time.RFC3339))}
	}
	t.atLeast(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if ms := now.UnixMilli(); ms-t.savedMs >= saveEvery.Milliseconds() {
		if err := t.fs.WriteFile(t.file, strconv.AppendInt(nil, ms, 10), 0o600); err != nil {
			return time.Time{}, fmt.Errorf("keep the last seen time in %q: %w", t.file, err)
		}
		t.savedMs = ms
	}
	return now, nil
}
