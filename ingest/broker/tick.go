package broker

import (
	"math"
	"time"
)

// tick runs what time makes due, every second.
func (b *Broker) tick() {
	defer close(b.stopped)
	next := b.clock.After(time.Second)
	for {
		select {
		case <-b.stop:
			return
		case <-b.journal.wanted:
			b.journal.run()
			continue
		case <-next:
			next = b.clock.After(time.Second)
		}
		now := b.clock.Now()
		b.endSessions(now)
		for _, w := range b.dueWills(now) {
			b.fireWill(w)
		}
		b.endRetained(now)
		b.watch.forget(now)
		b.journal.run()
	}
}

// endSessions looks through the sessions when one may be over: with many that is a while in which none can open.
func (b *Broker) endSessions(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Unix() < b.nextEnd {
		return
	}
	b.nextEnd = math.MaxInt64
	for client, s := range b.sessions {
		s.mu.Lock()
		if s.over(now) {
			delete(b.sessions, client)
			s.forget()
		} else if s.link == nil {
			b.nextEnd = min(b.nextEnd, s.end())
		}
		s.mu.Unlock()
	}
}

func (b *Broker) endRetained(now time.Time) {
	b.keeping.Lock()
	defer b.keeping.Unlock()
	for _, topic := range b.retained.expired(func(m *message) bool { return m.expired(now) }) {
		b.journal.delete(retainedKey(topic))
	}
}
