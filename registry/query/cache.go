package query

import (
	"sync"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Cache keeps what the queries over one index can share: what a term has found in a field, until a value of that field comes or goes, and the
// memory of sets. Safe for concurrent use.
type Cache struct {
	mu      sync.Mutex // guards all
	known   map[question]*answer
	ring    []*answer // all of known, in the order in which they are looked at when room is needed
	hand    int       // the next of ring
	bytes   int
	scratch []*bitset.BitSet // sets that nobody uses, of any length and content
}

// question is a term in one field: what has its form without the field.
type question struct{ field, what string }

// answer is the things that match, or only that somebody has asked for them.
type answer struct {
	question
	changes uint64 // of the field, when it was made
	asked   bool   // only that; there is no answer
	bits    *bitset.BitSet
	list    index.Set // instead of bits, for few things
	bytes   int
	used    bool // since the hand passed it
}

const (
	// bytesPerThing is how much memory answers take: room for 256 sets of bits, and for at least minBytes.
	bytesPerThing = 32
	minBytes      = 1 << 20
	maxAnswers    = 8192
	// answerBytes is what an answer takes besides its things.
	answerBytes = 200
	// maxScratch bounds the sets that wait to be used again; a query of twelve terms needs about six at a time.
	maxScratch = 32
)

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{known: map[question]*answer{}} }

// get returns the answer to a question while the field has not changed since; again says that somebody asked before, or that there is one.
func (c *Cache) get(q question, changes uint64) (a answer, ok, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known[q]
	if known == nil || known.changes != changes {
		return answer{}, false, false
	}
	known.used = true
	return *known, !known.asked, true
}

// put keeps an answer, or that a question was asked, for an index of that many things. It keeps a.bits: nobody may change them from now on.
func (c *Cache) put(a *answer, things int) {
	a.bytes = answerBytes
	if a.bits != nil {
		a.bytes += len(a.bits.Words()) * 8
	} else {
		a.bytes += a.list.Count() * 4
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.known[a.question]; old != nil {
		c.bytes -= old.bytes
		*old = *a
		c.bytes += old.bytes
	} else {
		c.known[a.question] = a
		c.ring = append(c.ring, a)
		c.bytes += a.bytes
	}
	for most := max(bytesPerThing*things, minBytes); c.bytes > most || len(c.ring) > maxAnswers; {
		c.evict()
	}
}

// evict drops the first answer that nobody used since the last time around.
func (c *Cache) evict() {
	for {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		a := c.ring[c.hand]
		if a.used {
			a.used = false
			c.hand++
			continue
		}
		delete(c.known, a.question)
		c.bytes -= a.bytes
		last := len(c.ring) - 1
		c.ring[c.hand] = c.ring[last]
		c.ring[last] = nil
		c.ring = c.ring[:last]
		return
	}
}

// newSet returns an empty set with room for the ids below length. A nil Cache has no memory to give.
func (c *Cache) newSet(length uint) *bitset.BitSet {
	const step = 4096 // while things are made, sets need not become longer with each of them
	length = (length + step - 1) / step * step
	if c == nil {
		return bitset.MustNew(length)
	}
	c.mu.Lock()
	var set *bitset.BitSet
	if n := len(c.scratch); n > 0 {
		set = c.scratch[n-1]
		c.scratch = c.scratch[:n-1]
	}
	c.mu.Unlock()
	if set == nil || set.Len() != length {
		return bitset.MustNew(length)
	}
	return set.ClearAll()
}

// Release gives back a set that Run returned. Nobody may use it any more.
func (c *Cache) Release(set *bitset.BitSet) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.scratch) < maxScratch {
		c.scratch = append(c.scratch, set)
	}
}
