package broker

import (
	"context"

	"muster/ingest/lane"
)

// Drain ends every connection: what is on disk is acknowledged, v5 clients are told that the server shuts down. Those that
// are not done when ctx ends are cut off. No session opens any more. Called once.
func (b *Broker) Drain(ctx context.Context) {
	reason := lane.Violation{Code: 0x8b, Return: 0x03, Reason: "server shutting down"}
	b.mu.Lock()
	b.closing = reason
	if len(b.things) == 0 {
		close(b.drained)
	}
	b.mu.Unlock()
	for _, l := range b.linksOf("") {
		l.c.Drain(reason)
	}
	if err := b.env.Store.Sync(ctx); err != nil {
		b.log.Warn("rows were not committed at shutdown and are not acknowledged", "err", err)
	}
	select {
	case <-b.drained:
	case <-ctx.Done():
		for _, l := range b.linksOf("") {
			l.c.Abort(reason)
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
