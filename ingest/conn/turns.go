package conn

import (
	"net/netip"
	"sync"
)

// shares deals out places to hosts. A quarter of them is for hosts that have none; of the others each may have as many as are left. So one
// alone gets three eighths of all, and whoever else comes finds some, however many the others want and in whatever order they came.
// Safe for concurrent use.
type shares struct {
	spare int // for hosts that have none

	mu   sync.Mutex // guards what follows
	left int
	has  map[netip.Addr]int
}

func newShares(places int) *shares {
	return &shares{left: places, spare: places / 4, has: make(map[netip.Addr]int)}
}

// take gives host a place; false: it has its share.
func (s *shares) take(host netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if has := s.has[host]; has > 0 && has >= s.left-s.spare || s.left == 0 {
		return false
	}
	s.has[host]++
	s.left--
	return true
}

func (s *shares) giveBack(host netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left++
	if s.has[host]--; s.has[host] == 0 {
		delete(s.has, host)
	}
}

// turns say who may begin: a host that has its share of them waits for one of its own, in the order in which it came, and hosts that
// wait are asked one after the other. So one that opens a thousand connections is no hindrance for others. Safe for concurrent use.
type turns struct {
	shares *shares

	mu      sync.Mutex                     // guards what follows; taken before that of shares
	waiting map[netip.Addr][]chan struct{} // closed when it is their turn
	ring    []netip.Addr                   // the keys of waiting, the next one first
}

func newTurns(places int) *turns {
	return &turns{shares: newShares(places), waiting: make(map[netip.Addr][]chan struct{})}
}

// begin waits for a turn of host.
func (t *turns) begin(host netip.Addr) {
	t.mu.Lock()
	if len(t.waiting[host]) == 0 && t.shares.take(host) {
		t.mu.Unlock()
		return
	}
	if len(t.waiting[host]) == 0 {
		t.ring = append(t.ring, host)
	}
	turn := make(chan struct{})
	t.waiting[host] = append(t.waiting[host], turn)
	t.mu.Unlock()
	<-turn
}

// end gives a turn of host back. Who has none takes the first: so no more hosts are asked in vain than there are turns.
func (t *turns) end(host netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shares.giveBack(host)
	for vain := 0; vain < len(t.ring); {
		next := t.ring[0]
		t.ring = t.ring[1:]
		if !t.shares.take(next) {
			t.ring = append(t.ring, next)
			vain++
			continue
		}
		vain = 0
		queue := t.waiting[next]
		close(queue[0])
		if len(queue) == 1 {
			delete(t.waiting, next)
			continue
		}
		t.waiting[next] = queue[1:]
		t.ring = append(t.ring, next)
	}
}
