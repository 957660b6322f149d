package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"muster/ingest/lane"
)

// Lifecycle events, as AWS IoT has them: $aws/events/presence/{connected,disconnected}/<client id> and
// $aws/events/subscriptions/{subscribed,unsubscribed}/<client id>. AWS's may come late, twice and in any order; these come once each
// and in the order of what happened, also when one connection takes over from another.

// identity is what the events of one connection say of it besides its session.
type identity struct {
	principal [sha256.Size]byte // of the client certificate; zero without one
	version   uint64            // rises with every connection of the gateway; Unix ms at least
	told      bool              // its end was announced; guarded by Broker.meeting
	took      *link             // whose session it took over, until that was announced; the same
}

// anonymous is the principal of a connection without a certificate.
const anonymous = "anonymous"

func principalText(certificate [sha256.Size]byte) string {
	if certificate == [sha256.Size]byte{} {
		return anonymous
	}
	return hex.EncodeToString(certificate[:])
}

// sessionIdentifier names a connection; nobody can guess it.
func (l *link) sessionIdentifier() string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(l.b.secret[:], l.id.version))
	return hex.EncodeToString(sum[:16])
}

// lifecycleEvent is the payload. Fields and their names are AWS IoT's.
type lifecycleEvent struct {
	ClientID    string   `json:"clientId"`
	ThingName   string   `json:"thingName"`
	TimestampMs int64    `json:"timestamp"`
	EventType   string   `json:"eventType"`
	ByClient    *bool    `json:"clientInitiatedDisconnect,omitempty"`
	Reason      string   `json:"disconnectReason,omitempty"`
	Session     string   `json:"sessionIdentifier"`
	Principal   string   `json:"principalIdentifier"`
	IPAddress   string   `json:"ipAddress,omitempty"`
	Version     *uint64  `json:"versionNumber,omitempty"`
	Topics      []string `json:"topics,omitempty"`
}

func (l *link) address() string {
	if !l.remote.IsValid() {
		return ""
	}
	return l.remote.Addr().Unmap().String()
}

// event returns what all events of l have.
func (l *link) event(kind string) lifecycleEvent {
	return lifecycleEvent{ClientID: l.session.client, ThingName: l.grant.ThingName, TimestampMs: l.b.clock.Now().UnixMilli(), EventType: kind,
		Session: l.sessionIdentifier(), Principal: principalText(l.id.principal)}
}

// EventsWanted says whether a session has subscribed to events of the gateway.
func (b *Broker) EventsWanted() bool { return b.index.listened() }

func (b *Broker) announceEvent(topic string, e lifecycleEvent) {
	text, err := json.Marshal(e)
	if err != nil {
		panic("BUG: " + err.Error()) // texts and numbers
	}
	b.Announce(topic+e.ClientID, text)
}

// tellConnected announces a connection, after the end of the one that it took over from. Broker.meeting is held.
func (b *Broker) tellConnected(l *link) {
	if old := l.id.took; old != nil {
		l.id.took = nil
		b.tellDisconnected(old, errTakenOver)
	}
	b.lastVersion = max(b.lastVersion+1, uint64(b.clock.Now().UnixMilli()))
	l.id.version = b.lastVersion
	if !b.index.listened() {
		return
	}
	e := l.event("connected")
	b.saveOpen(l, e.TimestampMs)
	e.IPAddress, e.Version = l.address(), &l.id.version
	b.announceEvent("$aws/events/presence/connected/", e)
}

// tellDisconnected announces the end of a connection, once. Broker.meeting is held.
func (b *Broker) tellDisconnected(l *link, reason error) {
	if l.id.told {
		return
	}
	l.id.told = true
	defer b.forgetOpen(l)
	if !b.index.listened() {
		return
	}
	e := l.event("disconnected")
	why, byClient := awsReason(reason)
	e.Reason, e.ByClient, e.Version, e.IPAddress = why, &byClient, &l.id.version, l.address()
	b.announceEvent("$aws/events/presence/disconnected/", e)
}

// tellTopics announces subscriptions that were made or ended.
func (l *link) tellTopics(kind string, topics []string) {
	if len(topics) == 0 || !l.b.index.listened() {
		return
	}
	e := l.event(kind)
	e.Topics = topics
	l.b.announceEvent("$aws/events/subscriptions/"+kind+"/", e)
}

// errTakenOver ends a connection whose client id connects anew.
var errTakenOver = lane.Violation{Code: 0x8e, Reason: "session taken over"}

// awsReason returns why a connection ended as AWS IoT's events spell it, and whether the client wanted it.
func awsReason(reason error) (text string, byClient bool) {
	if errors.Is(reason, lane.ErrDisconnected) || reason == errGoodbye {
		return "CLIENT_INITIATED_DISCONNECT", true
	}
	v, ok := reason.(lane.Violation)
	switch {
	case !ok:
		return "CONNECTION_LOST", false
	case v == errByAPI:
		return "API_INITIATED_DISCONNECT", false
	}
	switch v.Code {
	case 0x8e:
		return "DUPLICATE_CLIENTID", false
	case codeAdministrative:
		return "FORBIDDEN_ACCESS", false
	case codeNotAuthorized:
		return "AUTH_ERROR", false
	case 0x8d:
		return "MQTT_KEEP_ALIVE_TIMEOUT", false
	case 0x8b:
		return "SERVER_INITIATED_DISCONNECT", false
	case codeInternal:
		return "SERVER_ERROR", false
	case codeQuota:
		if lane.IsServerFault(v) {
			return "SERVER_ERROR", false
		}
		return "THROTTLED", false
	}
	return "CLIENT_ERROR", false
}

// mayMatchEvents says whether filter can match a topic under $aws/events/.
func mayMatchEvents(filter string) bool {
	rest, ok := strings.CutPrefix(plainFilter(filter), "$aws/")
	first, _, _ := strings.Cut(rest, "/")
	return ok && (first == "events" || first == "+" || first == "#")
}
