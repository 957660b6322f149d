package ingest

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"muster/ingest/broker"
	"muster/ingest/lane"
)

// Config are the settings of the front door. A zero field means its default.
type Config struct {
	HelloTimeout  time.Duration // pauses of a client during TLS handshake and CONNECT, together; 5 s
	WriteTimeout  time.Duration // a client that reads nothing for so long is cut off; 30 s
	Drain         time.Duration // Shutdown spreads the ends of connections over so long, where they are many; 5 s, below 0: all at once
	CompactTLS    bool          // the record layer of package record, which keeps little of an idle connection; false: crypto/tls
	Ciphers       int           // that the record layer keeps built for busy connections, two for each; 8,192
	MaxConns      int           // 100,000
	MaxHandshakes int           // that compute at the same time; 2 per core
	// Loop says what serves an idle connection: `epoll`, a loop that it shares with others, needs neither goroutine nor buffer, on
	// Linux only; `goroutine` is two of its own. Default: epoll where there is one. Connections of crypto/tls have goroutines.
	Loop string
	// Coalesce is what a busy loop lets pass before it looks again; 22 ms, below 0: nothing. Acknowledgements that wait for the disk
	// take half of it and a commit; with a store that acknowledges from memory the default is 0.5 ms.
	Coalesce time.Duration
	// AddressRate is how many connections per second one address may make, AddressBurst how many at once: 1,000 and 20,000. A
	// fleet often comes through one address (NAT, a load test); a single-site gateway may want 50 and 500.
	AddressRate  float64
	AddressBurst int
	Topics       *Topics // telemetry besides dt/<thing>/...; nil: none
	Sparkplug    bool    // spBv1.0/... is telemetry of edge nodes
	// ThingRates bound what one thing sends, TotalRates what all do; none by default.
	ThingRates, TotalRates lane.Rates
	// ProxyFrom are the addresses of load balancers that speak the PROXY protocol, version 2: from there nothing else is taken.
	ProxyFrom []netip.Prefix
	// Bypass sends telemetry through the broker too, as any other message: slower. Tests compare the two ways with it.
	Bypass   bool
	Packets  lane.Limits   // what a packet may be; lane.DefaultLimits
	Sessions broker.Limits // what sessions may hold; broker.DefaultLimits
}

// complete fills in the defaults and checks the ranges. ackMemory says that acknowledgements do not wait for the disk.
func (c Config) complete(ackMemory bool) (Config, error) {
	coalesce := 22 * time.Millisecond
	if ackMemory {
		coalesce = 500 * time.Microsecond
	}
	setDefault(&c.HelloTimeout, 5*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.Drain, 5*time.Second)
	setDefault(&c.MaxConns, 100_000)
	setDefault(&c.MaxHandshakes, 2*runtime.GOMAXPROCS(0))
	setDefault(&c.Loop, defaultLoop())
	setDefault(&c.Coalesce, coalesce)
	setDefault(&c.AddressRate, 1000)
	setDefault(&c.AddressBurst, 20_000)
	setDefault(&c.Packets, lane.DefaultLimits())
	setDefault(&c.Sessions, broker.DefaultLimits())
	if c.HelloTimeout < 0 || c.WriteTimeout < 0 || c.Ciphers < 0 || c.MaxConns < 0 || c.MaxHandshakes < 0 || c.AddressRate < 0 || c.AddressBurst < 0 {
		return c, fmt.Errorf("ingest settings must not be negative: %+v", c)
	}
	if c.Loop != LoopEpoll && c.Loop != LoopGoroutine {
		return c, fmt.Errorf("ingest loop %q: want %s or %s", c.Loop, LoopEpoll, LoopGoroutine)
	}
	return c, nil
}

// What Config.Loop may be.
const (
	LoopEpoll     = "epoll"
	LoopGoroutine = "goroutine"
)

func defaultLoop() string {
	if runtime.GOOS == "linux" {
		return LoopEpoll
	}
	return LoopGoroutine
}

// setDefault gives a zero *value its default.
func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}
