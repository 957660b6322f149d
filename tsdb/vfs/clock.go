package vfs

import (
	"sync"
	"time"
)

// Manual is a clock that a test turns by hand. Waiting follows Advance; Jump turns the time of day only, as NTP or a
// dead battery does. Safe for concurrent use.
type Manual struct {
	mu     sync.Mutex // guards all below
	wall   time.Time
	passed time.Duration
	timers []manualTimer
}

type manualTimer struct {
	at time.Duration
	ch chan time.Time
}

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *Manual { return &Manual{wall: start} }

// Now returns the time of day.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

// After delivers the time once Advance has gone d further.
func (m *Manual) After(d time.Duration) <-chan time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- m.wall
		return ch
	}
	m.timers = append(m.timers, manualTimer{m.passed + d, ch})
	return ch
}

// Advance lets d pass and fires what is due.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed += d
	m.wall = m.wall.Add(d)
	rest := m.timers[:0]
	for _, t := range m.timers {
		if t.at <= m.passed {
			t.ch <- m.wall
		} else {
			rest = append(rest, t)
		}
	}
	m.timers = rest
}

// Jump turns the time of day by d, back or forth, and fires nothing.
func (m *Manual) Jump(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(d)
}

// Waiting returns how many After have not fired yet.
func (m *Manual) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.timers)
}
