package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"sync"
	"time"

	"muster/tsdb"
)

// overview is the gateway in numbers. Rates are over the last few seconds.
type overview struct {
	Things         int            `json:"things"`
	Connected      int            `json:"connected"`
	NeverSeen      int            `json:"neverSeen"`
	ByType         map[string]int `json:"byType"`
	MessagesTotal  uint64         `json:"messagesTotal"`
	MessagesPerSec float64        `json:"messagesPerSecond"`
	SamplesTotal   uint64         `json:"samplesTotal"`
	SamplesPerSec  float64        `json:"samplesPerSecond"`
	Series         int            `json:"series"`
	BytesOnDisk    int64          `json:"bytesOnDisk"`
	BytesPerSample float64        `json:"bytesPerSample"`
	RefusedTotal   uint64         `json:"refusedTotal"`
	MemoryBytes    uint64         `json:"memoryBytes"`
	DiskFreeBytes  uint64         `json:"diskFreeBytes"`
	UptimeSeconds  int64          `json:"uptimeSeconds"`
	Version        string         `json:"version"`
	Ready          bool           `json:"ready"`
	ReadyReason    string         `json:"readyReason"`
}

// read reads the counters.
func (s *Server) read() reading {
	r := reading{at: s.opts.Clock.Now(), traffic: s.opts.Traffic()}
	if s.opts.Telemetry != nil {
		r.stats = s.opts.Telemetry.Stats()
	}
	return r
}

// overview makes the numbers of a reading; before is an older one for the rates.
func (s *Server) overview(at, before reading) overview {
	counts, stats := s.registry.Counts(), at.stats
	o := overview{
		Things: counts.Things, Connected: counts.Connected, NeverSeen: counts.NeverSeen, ByType: counts.ByType,
		MessagesTotal: at.traffic.Messages, RefusedTotal: at.traffic.Refused,
		SamplesTotal: stats.SamplesAppended, Series: stats.Series, BytesOnDisk: stats.DiskBytes,
		MemoryBytes: ResidentBytes(), UptimeSeconds: int64(at.at.Sub(s.started) / time.Second), Version: s.opts.Version,
	}
	if o.ByType == nil {
		o.ByType = map[string]int{}
	}
	if seconds := at.at.Sub(before.at).Seconds(); !before.at.IsZero() && seconds > 0 {
		o.MessagesPerSec = rate(at.traffic.Messages, before.traffic.Messages, seconds)
		o.SamplesPerSec = rate(stats.SamplesAppended, before.stats.SamplesAppended, seconds)
	}
	if stats.Samples > 0 {
		o.BytesPerSample = float64(stats.SegmentBytes) / float64(stats.Samples)
	}
	if free, err := s.opts.FS.FreeBytes(s.opts.DataDir); err == nil {
		o.DiskFreeBytes = free
	}
	o.ReadyReason = s.notReady(context.Background())
	o.Ready = o.ReadyReason == ""
	return o
}

func rate(now, before uint64, seconds float64) float64 {
	if now < before { // a counter that began anew
		return 0
	}
	return float64(now-before) / seconds
}

// reading is what the counters said at one time.
type reading struct {
	at      time.Time
	traffic Traffic
	stats   tsdb.Stats
}

// live makes the overview once a second and hands it to all listeners. The work is the same for one listener and
// for sixty; without any it is a few counters.
type live struct {
	server *Server

	mu        sync.Mutex // guards all below
	past      [6]reading // ring of the last seconds; past[next] is the oldest
	next      int
	listeners map[chan []byte]struct{}
	ended     bool
}

func newLive(s *Server) *live {
	return &live{server: s, listeners: map[chan []byte]struct{}{}}
}

// run ends with the server.
func (l *live) run() {
	for {
		select {
		case <-l.server.streams.Done():
			l.mu.Lock()
			l.ended = true
			for ch := range l.listeners {
				close(ch)
			}
			clear(l.listeners)
			l.mu.Unlock()
			return
		case <-l.server.opts.Clock.After(time.Second):
			l.tick()
		}
	}
}

func (l *live) tick() {
	before, at := l.oldest(), l.server.read()
	l.mu.Lock()
	l.past[l.next] = at
	l.next = (l.next + 1) % len(l.past)
	alone := len(l.listeners) == 0
	l.mu.Unlock()
	if alone {
		return
	}
	text, err := json.Marshal(l.server.overview(at, before))
	if err != nil {
		l.server.log.Error("encode the overview", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.listeners {
		select {
		case ch <- text:
		default: // a slow client misses this one and gets the next
		}
	}
}

// oldest returns the oldest reading of the last seconds; zero when there is none yet.
func (l *live) oldest() reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.past {
		if r := l.past[(l.next+i)%len(l.past)]; !r.at.IsZero() {
			return r
		}
	}
	return reading{}
}

// listen returns a channel of overviews as JSON, closed at shutdown; nil when there are too many listeners.
func (l *live) listen() chan []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.listeners) >= l.server.opts.MaxLiveListeners {
		return nil
	}
	ch := make(chan []byte, 1)
	l.listeners[ch] = struct{}{}
	return ch
}

func (l *live) leave(ch chan []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, ch)
}

func getOverview(_ context.Context, s *Server, _ *call) (*overview, error) {
	now := s.overview(s.read(), s.live.oldest())
	return &now, nil
}

// recheckEvery is how often an open stream looks whether its session still holds.
const recheckEvery = time.Minute

// getOverviewLive streams the overview once a second (server-sent events) until the client leaves, its session ends
// or the server stops.
func getOverviewLive(_ context.Context, s *Server, c *call) (*written, error) {
	ch := s.live.listen()
	if ch == nil {
		return nil, busy("too many live overviews are open (%d); close one", s.opts.MaxLiveListeners)
	}
	conn := c.http.Conn()
	secret := string(c.http.Request.Header.Cookie(cookieName))
	session := c.who.Via == "session"
	text, err := json.Marshal(s.overview(s.read(), s.live.oldest()))
	if err != nil {
		s.live.leave(ch)
		return nil, err
	}
	c.http.SetContentType("text/event-stream")
	c.http.Response.Header.Set("X-Accel-Buffering", "no")
	c.http.SetBodyStreamWriter(func(w *bufio.Writer) {
		defer s.live.leave(ch)
		checked := s.opts.Clock.Now()
		for {
			// The deadline that fasthttp set is for a whole answer; here it is for one event.
			if conn.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout)) != nil || writeEvent(w, text) != nil {
				return
			}
			var open bool
			if text, open = <-ch; !open {
				return
			}
			if now := s.opts.Clock.Now(); session && now.Sub(checked) >= recheckEvery {
				checked = now
				if alive, err := s.accounts.SessionAlive(s.ctx, secret); err == nil && !alive {
					return
				}
			}
		}
	})
	return &written{}, nil
}

func writeEvent(w *bufio.Writer, text []byte) error {
	w.WriteString("event: overview\ndata: ")
	w.Write(text)
	w.WriteString("\n\n")
	return w.Flush() // a bufio.Writer keeps its first error
}
