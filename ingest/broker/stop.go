package broker

import (
	"context"
	"time"

	"muster/ingest/lane"
)

var (
	errStopping    = lane.Violation{Code: 0x8b, Return: 0x03, Reason: "server shutting down"}
	errUnavailable = lane.Violation{Code: 0x88, Return: 0x03, Reason: "server unavailable"}
)

const (
	// drainRate is how many connections end per second at least, where there is time: about as many as a small gateway takes back, each with a
	// full handshake. A few devices need not wait for the end of the whole time.
	drainRate = 500
	// drainSlice is the time between two moments at which connections end.
	drainSlice = 20 * time.Millisecond
)

// Drain ends every connection and returns when all have ended. Called once.
//
// From now on no session opens: who connects reads that the server is unavailable. The connections that are there end one after the other over
// spread, or in less where they are few, so that their devices do not all come back in one moment; until its turn each is served as
// before. What is on disk is acknowledged, v5 clients are told that the server shuts down. What is not done when ctx ends is cut off.
func (b *Broker) Drain(ctx context.Context, spread time.Duration) {
	b.mu.Lock()
	b.closing = true
	if len(b.things) == 0 {
		close(b.drained)
	}
	b.mu.Unlock()
	b.endSlowly(ctx, spread)
	if err := b.env.Store.Sync(ctx); err != nil {
		b.log.Warn("rows were not committed at shutdown and are not acknowledged", "err", err)
	}
	select {
	case <-b.drained:
	case <-ctx.Done():
		for _, l := range b.linksOf("") {
			l.c.Abort(errStopping)
		}
	}
}

// endSlowly tells every connection to end, in no order, spread over the time, which is half of what is left to ctx at most. Times are the real
// clock's, as those of sockets.
func (b *Broker) endSlowly(ctx context.Context, spread time.Duration) {
	links := b.linksOf("") // there will be no more
	spread = min(spread, time.Duration(len(links))*time.Second/drainRate)
	if by, ok := ctx.Deadline(); ok {
		spread = min(spread, time.Until(by)/2)
	}
	began := time.Now()
	ticker := time.NewTicker(drainSlice)
	defer ticker.Stop()
	for told := 0; ; {
		due := len(links)
		if passed := time.Since(began) + drainSlice; passed < spread && ctx.Err() == nil {
			due = int(float64(len(links)) * float64(passed) / float64(spread))
		}
		for ; told < due; told++ {
			links[told].c.Drain(errStopping)
		}
		if told == len(links) {
			return
		}
		select {
		case <-ticker.C:
		case <-b.drained: // they went by themselves
			return
		case <-ctx.Done():
		}
	}
}

// Close fires the wills that wait, and syncs and closes the session log. Every Serve must have returned.
func (b *Broker) Close() error {
	b.leave()
	close(b.stop)
	<-b.stopped
	for client, w := range b.wills {
		delete(b.wills, client)
		b.fireWill(w)
	}
	return b.journal.close()
}
