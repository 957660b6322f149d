package broker

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"muster/tsdb"
)

// What a kill would leave untold: while somebody listens to events, the journal has a record of every connection that is open. Those
// that the last process left are announced as ended at the start, before anybody can connect.

// reasonRestart is why the connections of a process that was killed have ended. The registry says the same of their things.
const reasonRestart = "gateway restarted"

// LastSeener is a Presence that knows when a thing was last heard, also before this start.
type LastSeener interface {
	LastSeenMs(thing tsdb.ThingID) int64 // Unix ms; 0: never, or unknown
}

// openRecord is a connection as the journal has it.
type openRecord struct {
	thing tsdb.ThingID
	atMs  int64 // it was open then
	event lifecycleEvent
}

// saveOpen writes the record of a connection, which is open at atMs. Broker.meeting is held.
func (b *Broker) saveOpen(l *link, atMs int64) {
	b.journal.put(openKey(l.session.client), encodeOpen(l, atMs))
	b.journal.soon() // with the next write, not the next second: whoever hears of a connection may hear of its end
}

// forgetOpen removes the record, after the end was announced: a kill between the two tells it twice rather than never. Broker.meeting is held.
func (b *Broker) forgetOpen(l *link) {
	if b.journal.delete(openKey(l.session.client)) {
		b.journal.soon()
	}
}

// saveAllOpen writes the records of all connections, when the first listener has come.
func (b *Broker) saveAllOpen() {
	b.meeting.Lock()
	defer b.meeting.Unlock()
	for _, l := range b.linksOf("") {
		if !l.id.told {
			b.saveOpen(l, b.clock.Now().UnixMilli())
		}
	}
}

// tellLost announces the end of the connections that the last process had, in the order in which they were made, and forgets them.
func (b *Broker) tellLost(lost []openRecord) {
	slices.SortFunc(lost, func(x, y openRecord) int { return cmp.Compare(*x.event.Version, *y.event.Version) })
	presence, _ := b.presence.(LastSeener)
	byClient := false
	for _, o := range lost {
		b.lastVersion = max(b.lastVersion, *o.event.Version) // also where the clock was turned back
		e := o.event
		e.EventType, e.Reason, e.ByClient, e.TimestampMs = "disconnected", reasonRestart, &byClient, o.atMs
		if presence != nil {
			e.TimestampMs = max(o.atMs, presence.LastSeenMs(o.thing))
		}
		if b.index.listened() {
			b.announceEvent("$aws/events/presence/disconnected/", e)
		}
		b.journal.delete(openKey(e.ClientID))
	}
}

func openKey(client string) string { return string(clientKey(keyOpen, client)) }

func encodeOpen(l *link, atMs int64) []byte {
	dst := binary.AppendUvarint(nil, l.id.version)
	dst = binary.AppendUvarint(dst, uint64(l.grant.Thing))
	dst = appendBytes(dst, l.grant.ThingName)
	dst = binary.AppendVarint(dst, atMs)
	dst = appendBytes(dst, l.sessionIdentifier())
	dst = append(dst, l.id.principal[:]...)
	return appendBytes(dst, l.address())
}

func decodeOpen(client string, value []byte) (o openRecord, ok bool) {
	r := fields{b: value}
	version := r.uvarint()
	o.thing = tsdb.ThingID(r.uvarint())
	o.event = lifecycleEvent{ClientID: client, Version: &version, ThingName: string(r.bytes())}
	o.atMs = r.varint()
	o.event.Session = string(r.bytes())
	var principal [sha256.Size]byte
	for i := range principal {
		principal[i] = r.u8()
	}
	o.event.Principal = principalText(principal)
	o.event.IPAddress = string(r.bytes())
	return o, !r.bad
}
