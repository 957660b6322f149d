package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"muster/ingest/lane"
)

// admitTimeout bounds how long the gate may take to know a client.
const admitTimeout = 5 * time.Second

// Connect implements lane.Handler.
func (l *link) Connect(info *lane.Connect) error {
	b := l.b
	client := info.ClientID
	if client == "" && l.cert == nil {
		client = b.newClientID()
	}
	claim := Claim{ClientID: client, Cert: l.cert, Remote: l.remote}
	kicks := b.kicks.Load()
	grant, err := b.admit(claim)
	if err != nil {
		b.env.Refuse("not admitted")
		if b.refusals.Allow() {
			b.log.Info("client not admitted", "remote", l.remote, "client", client, "err", err)
		}
		return errNotAuthorized
	}
	if client == "" {
		client = grant.ThingName
	}
	if !grant.Rights.Connect(client) {
		b.env.Refuse("client id not allowed")
		if b.refusals.Allow() {
			b.log.Info("client id not allowed", "remote", l.remote, "thing", grant.ThingName, "client", client)
		}
		return errNotAuthorized
	}
	l.grant = grant
	if l.cert != nil {
		l.id.principal = sha256.Sum256(l.cert.Raw)
	}
	if err := l.takeConnect(info, client); err != nil {
		return err
	}
	expiry := l.sessionExpiry(info)
	connack := l.connack(info, client, expiry)
	if l.maxPacket > 0 && len(connack) > int(l.maxPacket) { // [MQTT-3.1.2-24]
		return b.refuse(errSmall)
	}
	// A client without an id gets a session that nobody had before [MQTT-3.2.2-16].
	clean := info.Clean || info.ClientID == ""
	present, err := b.attach(l, client, grant, clean, expiry)
	if err != nil {
		return err
	}
	if info.Will != nil && b.journal.syncTo(b.journal.changed()) != nil { // logged there
		return b.refuse(errSessionsLog)
	}
	if present {
		connack[connackFlags(connack)] = 1
	}
	if b.kicks.Load() != kicks { // perhaps this client's, when it had no session yet that Kick could find
		if again, err := b.admit(claim); err != nil || again.Thing != grant.Thing || !grant.Rights.Connect(client) {
			l.c.End(lane.Violation{Code: codeAdministrative, Reason: "no longer admitted"})
		}
	}
	_, _ = l.c.Write(connack) // it only fails when the connection ends
	l.c.Meter(grant.Thing)
	l.c.Open(grant, info.Keepalive)
	l.session.open(l)
	l.cert = nil // 2.5 KB that nobody needs any more
	return nil
}

func (b *Broker) admit(c Claim) (lane.Grant, error) {
	ctx, cancel := context.WithTimeout(context.Background(), admitTimeout)
	defer cancel()
	return b.gate.Admit(ctx, c)
}

// takeConnect keeps the client's limits and its will, if it may publish that (EMQX #8978: wills need the same check).
func (l *link) takeConnect(info *lane.Connect, client string) error {
	l.window = min(int(info.ReceiveMaximum), l.b.env.Limits.InFlight)
	l.maxPacket = info.MaxPacketBytes
	l.wantsExpiry = info.SessionExpirySec > 0
	if info.Will == nil {
		return nil
	}
	if !mayPublish(&l.grant, info.Will.Topic, info.Will.Retain) {
		l.b.env.Refuse("will not allowed")
		return errNotAuthorized
	}
	l.will = l.newWill(info.Will, client)
	return nil
}

// sessionExpiry returns how long the session outlives its connection, in seconds, capped.
func (l *link) sessionExpiry(info *lane.Connect) uint32 {
	longest := uint32(l.b.limits.SessionExpiry / time.Second)
	switch {
	case info.Version == 5:
		return min(info.SessionExpirySec, longest)
	case info.Clean:
		return 0
	}
	return longest
}

// connack accepts the client, without a session present, and tells a v5 one our limits (v5 section 3.2.2.3).
func (l *link) connack(info *lane.Connect, client string, expirySec uint32) []byte {
	if info.Version < 5 {
		return []byte{2 << 4, 2, 0, 0}
	}
	limits := &l.b.env.Limits
	var props []byte
	if expirySec != info.SessionExpirySec {
		props = binary.BigEndian.AppendUint32(append(props, 17), expirySec)
	}
	props = binary.BigEndian.AppendUint16(append(props, 33), uint16(limits.InFlight))
	props = binary.BigEndian.AppendUint32(append(props, 39), uint32(limits.PacketBytes))
	props = binary.BigEndian.AppendUint16(append(props, 34), uint16(limits.TopicAliases))
	if info.ClientID == "" { // [MQTT-3.2.2-16]
		props = binary.BigEndian.AppendUint16(append(props, 18), uint16(len(client)))
		props = append(props, client...)
	}
	packet := appendVar([]byte{2 << 4}, 2+varLen(len(props))+len(props))
	packet = append(packet, 0, 0)
	return append(appendVar(packet, len(props)), props...)
}

// connackFlags returns where in a CONNACK the session present flag is: behind the remaining length.
func connackFlags(packet []byte) int {
	i := 1
	for packet[i] >= 128 {
		i++
	}
	return i + 1
}
