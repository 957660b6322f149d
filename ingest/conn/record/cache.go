package record

import (
	"crypto/cipher"
	"math/rand/v2"
	"sync"
)

// DefaultCache is how many ciphers a cache holds unless told otherwise, two for a connection: 6.5 MB of them, whatever the number of
// connections.
const DefaultCache = 8192

// Cache bounds how many directions of connections hold a built cipher. One that is built when there is no room takes the place of any
// other: devices send in turn, so the oldest would be the one that is needed next. To build one costs half a microsecond, and 0.8 KB to
// collect. Safe for concurrent use.
type Cache struct {
	mu    sync.Mutex // guards what follows, half.slot, and the storing of half.built
	slots []*half
	used  int // slots that were ever taken, the first ones
}

// NewCache returns a cache of size ciphers, at least one.
func NewCache(size int) *Cache { return &Cache{slots: make([]*half, max(size, 1))} }

// built is a cipher in the cache.
type built struct{ aead cipher.AEAD }

// cipher returns the AEAD of h. Several may ask for different halves at the same time, one for the same.
func (c *Cache) cipher(h *half, s suite) cipher.AEAD {
	if b := h.built.Load(); b != nil {
		return b.aead
	}
	b := &built{s.cipher(h.key[:s.keySize()])}
	c.mu.Lock()
	defer c.mu.Unlock()
	place := c.used
	if place < len(c.slots) {
		c.used++
	} else {
		place = rand.IntN(len(c.slots))
	}
	if old := c.slots[place]; old != nil {
		old.built.Store(nil)
		old.slot = 0
	}
	c.slots[place] = h
	h.slot = int32(place) + 1
	h.built.Store(b)
	return b.aead
}

// drop forgets the cipher of h, whose key is no longer good.
func (c *Cache) drop(h *half) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.slot > 0 {
		c.slots[h.slot-1] = nil
		h.slot = 0
	}
	h.built.Store(nil)
}
