package record

import (
	"crypto/cipher"
	"sync"
)

// DefaultCache is how many ciphers a cache holds unless told otherwise: 0.8 MB of them, whatever the number of connections.
const DefaultCache = 1024

// Cache bounds how many directions of connections hold a built cipher: those that were built last. The cipher of an idle
// connection gives way to those of busy ones and is built again when a record comes, in half a microsecond. Safe for
// concurrent use.
type Cache struct {
	mu    sync.Mutex // guards what follows, half.slot, and the storing of half.built
	slots []*half
	next  int // the slot that gives way
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
	if old := c.slots[c.next]; old != nil {
		old.built.Store(nil)
		old.slot = 0
	}
	c.slots[c.next] = h
	h.slot = int32(c.next) + 1
	h.built.Store(b)
	c.next = (c.next + 1) % len(c.slots)
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
