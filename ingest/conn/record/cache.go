package record

import (
	"crypto/cipher"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultCache is how many ciphers a cache holds unless told otherwise, two for a connection: 6.5 MB of them.
const DefaultCache = 8192

// CipherBytes is about what a built cipher takes: AES key schedule and GCM table.
const CipherBytes = 800

// keepUnused is how long a cipher is kept that nobody uses, twice that at most: a device that sends every other second finds its own, one that
// is idle has none.
const keepUnused = 2 * time.Second

// Cache holds the built ciphers of busy connections, one for each direction. What is not there is built when a record comes: that costs
// half a microsecond, and garbage. One that is built when there is no room takes the place of any other: devices send in turn, so
// the oldest would be the one that is needed next. Safe for concurrent use.
type Cache struct {
	size int

	mu       sync.Mutex // guards what follows, half.slot, and the storing of half.built
	slots    []*half
	free     []int32 // slots without a cipher
	sweeping bool    // sweep will run
}

// NewCache returns a cache of size ciphers, at least one.
func NewCache(size int) *Cache { return &Cache{size: max(size, 1)} }

// built is a cipher in the cache.
type built struct {
	aead cipher.AEAD
	used atomic.Bool // since the last sweep
}

// cipher returns the AEAD of h. Several may ask for different halves at the same time, one for the same.
func (c *Cache) cipher(h *half, s suite) cipher.AEAD {
	if b := h.built.Load(); b != nil {
		if !b.used.Load() {
			b.used.Store(true)
		}
		return b.aead
	}
	b := &built{aead: s.cipher(h.key[:s.keySize()])}
	b.used.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 && len(c.slots) == c.size {
		c.give(rand.Int32N(int32(c.size)))
	}
	if n := len(c.free); n > 0 {
		h.slot = c.free[n-1] + 1
		c.free = c.free[:n-1]
		c.slots[h.slot-1] = h
	} else {
		c.slots = append(c.slots, h)
		h.slot = int32(len(c.slots))
	}
	h.built.Store(b)
	if !c.sweeping {
		c.sweeping = true
		time.AfterFunc(keepUnused, c.sweep)
	}
	return b.aead
}

// drop forgets the cipher of h, whose key is no longer good.
func (c *Cache) drop(h *half) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.slot > 0 {
		c.give(h.slot - 1)
	}
}

// give takes the cipher out of a slot. The mutex is held.
func (c *Cache) give(slot int32) {
	h := c.slots[slot]
	h.built.Store(nil)
	h.slot = 0
	c.slots[slot] = nil
	c.free = append(c.free, slot)
}

// sweep drops what was not used since the last one, a few at a time, and comes again as long as there are ciphers.
func (c *Cache) sweep() {
	const atOnce = 256
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i < len(c.slots); i++ {
		if h := c.slots[i]; h != nil && !h.built.Load().used.Swap(false) {
			c.give(int32(i))
		}
		if i%atOnce == atOnce-1 { // others wait for it
			c.mu.Unlock()
			c.mu.Lock()
		}
	}
	if len(c.free) == len(c.slots) {
		c.slots, c.free, c.sweeping = nil, nil, false
		return
	}
	time.AfterFunc(keepUnused, c.sweep)
}
