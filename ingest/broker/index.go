package broker

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"muster/ingest/lane"
)

// subscription is what one session has subscribed to with one filter.
type subscription struct {
	filter            string
	id                int // subscription identifier; 0: none
	qos               byte
	retainHandling    byte
	noLocal           bool
	retainAsPublished bool
}

// target is one session that a message goes to, with all its matching subscriptions taken together.
type target struct {
	client            string
	qos               byte
	noLocal           bool
	retainAsPublished bool
	ids               []int
}

// index finds the subscriptions that match a topic: mochi's trie, with what it leaves out. Safe for concurrent use.
type index struct {
	trie *mqtt.TopicsIndex
	// parents holds x/+ for every filter x/+/#, which by MQTT also matches the level above (v5 section 4.7.1.2); mochi's
	// trie has that for x/y/# only.
	parents     *mqtt.TopicsIndex
	parentCount atomic.Int64
	telemetry   *atomic.Int64 // how many subscriptions may match telemetry
	topics      *lane.Topics  // telemetry besides dt/
	events      atomic.Int64  // how many may match events of the gateway
}

func newIndex(telemetry *atomic.Int64, topics *lane.Topics) *index {
	return &index{trie: mqtt.NewTopicsIndex(), parents: mqtt.NewTopicsIndex(), telemetry: telemetry, topics: topics}
}

// add enters a subscription of client; isNew says that the filter is a new one of its.
func (x *index) add(client string, sub subscription, isNew bool) {
	entry := packets.Subscription{Filter: sub.filter, Qos: sub.qos, NoLocal: sub.noLocal, RetainAsPublished: sub.retainAsPublished, Identifier: sub.id}
	x.trie.Subscribe(client, entry)
	parent, hasParent := parentFilter(sub.filter)
	if hasParent {
		entry.Filter = parent
		x.parents.Subscribe(client, entry)
	}
	if isNew && hasParent {
		x.parentCount.Add(1)
	}
	if isNew && x.mayMatchTelemetry(sub.filter) {
		x.telemetry.Add(1)
	}
	if isNew && mayMatchEvents(sub.filter) {
		x.events.Add(1)
	}
}

// parentFilter returns x/+ for x/+/#.
func parentFilter(filter string) (parent string, ok bool) {
	parent, ok = strings.CutSuffix(filter, "/#")
	return parent, ok && (parent == "+" || strings.HasSuffix(parent, "/+"))
}

// remove takes out a filter that client has.
func (x *index) remove(client, filter string) {
	x.trie.Unsubscribe(filter, client)
	if parent, ok := parentFilter(filter); ok {
		x.parents.Unsubscribe(parent, client)
		x.parentCount.Add(-1)
	}
	if x.mayMatchTelemetry(filter) {
		x.telemetry.Add(-1)
	}
	if mayMatchEvents(filter) {
		x.events.Add(-1)
	}
}

// listened says whether somebody may want an event of the gateway. The answer may be old by the time it is used.
func (x *index) listened() bool { return x.events.Load() > 0 }

// mayMatchTelemetry says whether filter can match a topic of telemetry.
func (x *index) mayMatchTelemetry(filter string) bool {
	plain := plainFilter(filter)
	first, _, _ := strings.Cut(plain, "/")
	return first == "dt" || first == "+" || first == "#" || x.topics.MayMatch(plain)
}

// plainFilter returns the filter of a shared subscription without $share/<group>/, any other as it is.
func plainFilter(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		return rest
	}
	return filter
}

// targets appends the sessions that topic goes to. pick chooses one client of a shared subscription.
func (x *index) targets(dst []target, topic string, pick func(clients map[string]packets.Subscription) string) []target {
	found := x.trie.Subscribers(topic)
	for client, sub := range found.Subscriptions { // each client once: nothing to merge with
		dst = addSubscription(append(dst, target{client: client, noLocal: true}), len(dst), sub)
	}
	found.Subscriptions = nil
	dst = appendTargets(dst, found, topic, pick)
	if x.parentCount.Load() > 0 {
		dst = appendTargets(dst, x.parents.Subscribers(topic), topic, pick)
	}
	return dst
}

func appendTargets(dst []target, found *mqtt.Subscribers, topic string, pick func(map[string]packets.Subscription) string) []target {
	for client, sub := range found.Subscriptions {
		dst = mergeTarget(dst, client, sub)
	}
	for filter, clients := range found.Shared {
		if hidden(plainFilter(filter), topic) {
			continue
		}
		if client := pick(clients); client != "" {
			dst = mergeTarget(dst, client, clients[client])
		}
	}
	return dst
}

// hidden is [MQTT-4.7.2-1]: a filter that begins with a wildcard does not match a topic that begins with $.
func hidden(filter, topic string) bool {
	return topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// mergeTarget adds sub to the target of client, which may be there already.
func mergeTarget(dst []target, client string, sub packets.Subscription) []target {
	for i := range dst {
		if dst[i].client == client {
			return addSubscription(dst, i, sub)
		}
	}
	return addSubscription(append(dst, target{client: client, noLocal: true}), len(dst), sub)
}

// addSubscription adds sub to dst[i]: a message goes to a session once, with the highest QoS [MQTT-3.3.4-2] and all
// identifiers [MQTT-3.3.4-4].
func addSubscription(dst []target, i int, sub packets.Subscription) []target {
	t := &dst[i]
	t.qos = max(t.qos, sub.Qos)
	t.noLocal = t.noLocal && sub.NoLocal
	t.retainAsPublished = t.retainAsPublished || sub.RetainAsPublished
	if sub.Identifiers == nil && sub.Identifier > 0 {
		t.ids = append(t.ids, sub.Identifier)
	}
	for _, id := range sub.Identifiers {
		if id > 0 {
			t.ids = append(t.ids, id)
		}
	}
	return dst
}

// retainedStore keeps the last retained message of each topic, within quotas. Safe for concurrent use.
type retainedStore struct {
	mu       sync.Mutex // guards all; mochi's trie alone is not safe for a scan beside a change
	trie     *mqtt.TopicsIndex
	messages map[string]*message
	bytes    int
	byOrigin map[string]int // messages per client id
	limits   Limits
}

func newRetainedStore(limits Limits) *retainedStore {
	return &retainedStore{trie: mqtt.NewTopicsIndex(), messages: make(map[string]*message), byOrigin: make(map[string]int), limits: limits}
}

// set keeps m, or with an empty payload forgets its topic. It reports whether the quotas had room.
func (r *retainedStore) set(m *message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.messages[m.topic]
	if len(m.payload) == 0 {
		if old != nil {
			r.forget(old)
		}
		return true
	}
	count, size, mine := len(r.messages), r.bytes+m.size(), r.byOrigin[m.origin]
	if old != nil {
		count, size = count-1, size-old.size()
		if old.origin == m.origin {
			mine--
		}
	}
	if count >= r.limits.Retained || size > r.limits.RetainedBytes || m.origin != "" && mine >= r.limits.RetainedPerClient {
		return false
	}
	if old != nil {
		r.forget(old)
	}
	r.messages[m.topic] = m
	r.bytes += m.size()
	r.byOrigin[m.origin]++
	// The trie only says which topics there are; it wants a payload.
	r.trie.RetainMessage(packets.Packet{TopicName: m.topic, Payload: retainedMark})
	return true
}

var retainedMark = []byte{1}

func (r *retainedStore) forget(m *message) {
	delete(r.messages, m.topic)
	r.bytes -= m.size()
	if r.byOrigin[m.origin]--; r.byOrigin[m.origin] == 0 {
		delete(r.byOrigin, m.origin)
	}
	r.trie.RetainMessage(packets.Packet{TopicName: m.topic})
}

// matching returns the retained messages that filter matches.
func (r *retainedStore) matching(filter string) []*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*message
	collect := func(filter string) {
		for _, found := range r.trie.Messages(filter) {
			if m := r.messages[found.TopicName]; m != nil && !hidden(filter, m.topic) {
				list = append(list, m)
			}
		}
	}
	collect(filter)
	if parent, ok := strings.CutSuffix(filter, "/#"); ok {
		collect(parent) // x/# matches x as well; mochi's scan begins below it
	}
	return list
}

// get returns the retained message of a topic, or nil.
func (r *retainedStore) get(topic string) *message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages[topic]
}

// from returns the retained messages whose topic comes after a topic, by topic ascending.
func (r *retainedStore) from(after string) []*message {
	r.mu.Lock()
	var list []*message
	for topic, m := range r.messages {
		if topic > after {
			list = append(list, m)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b *message) int { return strings.Compare(a.topic, b.topic) })
	return list
}

// expired removes the messages that have expired and returns their topics.
func (r *retainedStore) expired(isExpired func(*message) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var topics []string
	for topic, m := range r.messages {
		if isExpired(m) {
			topics = append(topics, topic)
			r.forget(m)
		}
	}
	return topics
}

func (r *retainedStore) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.messages)
}
