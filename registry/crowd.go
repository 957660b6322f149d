package registry

import "time"

// crowd remembers how many writes came together lately, so that the next transaction waits for as many: clients that were answered at the same
// time come back at about the same time, and a transaction costs as much for one of them as for all. Of the writing goroutine.
type crowd struct {
	sizes [16]int // of the last groups
	next  int     // place in sizes
	took  time.Duration
}

// maxGather bounds how long a write waits for others. It never waits longer than the last commit took, and one that came alone lately does not wait.
const maxGather = 2 * time.Millisecond

// note remembers a group and how long its commit took.
func (c *crowd) note(size int, took time.Duration) {
	c.sizes[c.next%len(c.sizes)] = size
	c.next++
	c.took = took
}

// usual returns how many writes a group may have.
func (c *crowd) usual() int {
	most := 1
	for _, n := range c.sizes {
		most = max(most, n)
	}
	return most
}

// gather returns the next write for a group that has some, nil if it is not to wait for more. until is nil at first, then the end of the time that it waits.
func (r *Registry) gather(have int, until *<-chan time.Time) *write {
	select {
	case w := <-r.writes:
		return w
	default:
	}
	if have >= r.crowd.usual() {
		return nil
	}
	if *until == nil {
		*until = time.After(min(r.crowd.took, maxGather)) // not of Options.Clock: those who wait are real
	}
	select {
	case w := <-r.writes:
		return w
	case <-*until:
	case <-r.closing:
	}
	return nil
}
