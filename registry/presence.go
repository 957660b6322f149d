package registry

import (
	"net/netip"
	"time"
)

// Connectivity is what is known of a thing's connection.
type Connectivity struct {
	Connected  bool
	SinceMs    int64  // when it connected, or when it went offline; 0: never seen
	LastSeenMs int64  // last packet; 0: never seen
	Remote     string // address:port of the present or last connection
	Reason     string // why it is offline; "" while connected
}

// Counts is the fleet in numbers.
type Counts struct {
	Things    int
	Connected int
	NeverSeen int            // never connected, no packet
	ByType    map[string]int // things without a type are in none
}

// Connected records a connection of a thing. Each Connected is followed by one Disconnected; when a new connection
// takes over, the two may come in either order.
func (r *Registry) Connected(id uint32, at time.Time, remote netip.AddrPort) {}

// Disconnected records the end of one connection of a thing.
func (r *Registry) Disconnected(id uint32, at time.Time, reason string) {}

// Seen records a packet of a thing. It is one atomic store: no lock, no allocation.
func (r *Registry) Seen(id uint32, at time.Time) {}

// Connectivity returns what is known of a thing's connection; zero for an unknown id.
func (r *Registry) Connectivity(id uint32) Connectivity { return Connectivity{} }

// Counts counts the fleet. It reads one word per thing.
func (r *Registry) Counts() Counts { return Counts{} }
