package broker

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

// target is one session that a message goes to, with all its matching subscriptions of one kind taken together.
type target struct {
	client            string
	qos               byte
	retainAsPublished bool
	ids               []int
}

// subscribers are those of one filter, by client id. It is nil in nodes on the way to others.
type subscribers struct {
	plain  table[subscription]
	shared table[*table[subscription]] // by group
}

// index finds the subscriptions that match a topic. Safe for concurrent use.
type index struct {
	mu        sync.RWMutex // guards filters
	filters   node[*subscribers]
	telemetry *atomic.Int64 // how many subscriptions may match telemetry
	topics    *lane.Topics  // telemetry besides dt/
	events    atomic.Int64  // how many may match events of the gateway
}

func newIndex(telemetry *atomic.Int64, topics *lane.Topics) *index {
	return &index{telemetry: telemetry, topics: topics}
}

// add enters a subscription of client; isNew says that the filter is a new one of its.
func (x *index) add(client string, sub subscription, isNew bool) {
	if isNew && x.mayMatchTelemetry(sub.filter) {
		x.telemetry.Add(1)
	}
	if isNew && mayMatchEvents(sub.filter) {
		x.events.Add(1)
	}
	group, plain := splitFilter(sub.filter)
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.filters.make(plain)
	if n.value == nil {
		n.value = &subscribers{}
	}
	if group == "" {
		n.value.plain.set(client, sub)
		return
	}
	members, ok := n.value.shared.get(group)
	if !ok {
		members = &table[subscription]{}
		n.value.shared.set(strings.Clone(group), members)
	}
	members.set(client, sub)
}

// remove takes out a filter that client has.
func (x *index) remove(client, filter string) {
	if x.mayMatchTelemetry(filter) {
		x.telemetry.Add(-1)
	}
	if mayMatchEvents(filter) {
		x.events.Add(-1)
	}
	group, plain := splitFilter(filter)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.filters.change(plain, func(s **subscribers) {
		if group == "" {
			(*s).plain.remove(client)
		} else if members, ok := (*s).shared.get(group); ok {
			if members.remove(client); members.size() == 0 {
				(*s).shared.remove(group)
			}
		}
		if (*s).plain.size()+(*s).shared.size() == 0 {
			*s = nil
		}
	}, func(s **subscribers) bool { return *s == nil })
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
	_, plain := splitFilter(filter)
	return plain
}

// splitFilter returns the group of a shared subscription, "" for any other, and the filter proper.
func splitFilter(filter string) (group, plain string) {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", filter
	}
	group, plain, _ = strings.Cut(rest, "/")
	return group, plain
}

// targets appends the sessions that a message of the client origin to topic goes to: once each for all its own subscriptions, with
// the highest QoS [MQTT-3.3.4-2] and all identifiers [MQTT-3.3.4-4], and once more for each group of which pick chooses it
// (v5 section 4.8.2). Subscriptions without local messages count for those of others only [MQTT-3.8.3-3].
func (x *index) targets(dst []target, topic, origin string, pick func(members []target) int) []target {
	var few [8]*subscribers
	var groups [][]target
	var places map[string]int // of clients in dst
	x.mu.RLock()
	for i, s := range x.filters.appendCovering(few[:0], topic) {
		if s == nil {
			continue
		}
		known := dst // within one filter each client is there once
		if i > 0 && len(known) > fewEntries {
			places = placesOf(known)
		}
		s.plain.each(func(client string, sub subscription) {
			if sub.noLocal && client == origin {
				return
			}
			at := find(known, places, client)
			if at < 0 {
				at = len(dst)
				dst = append(dst, target{client: client})
			}
			dst[at].merge(sub)
		})
		s.shared.each(func(_ string, members *table[subscription]) {
			group := make([]target, 0, members.size())
			members.each(func(client string, sub subscription) {
				group = append(group, target{client: client})
				group[len(group)-1].merge(sub)
			})
			groups = append(groups, group)
		})
	}
	x.mu.RUnlock()
	for _, group := range groups {
		if i := pick(group); i >= 0 {
			dst = append(dst, group[i])
		}
	}
	return dst
}

// find returns where client is in list, or -1. places is used where the list is long.
func find(list []target, places map[string]int, client string) int {
	if len(list) > fewEntries {
		if i, ok := places[client]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(list, func(t target) bool { return t.client == client })
}

func placesOf(list []target) map[string]int {
	places := make(map[string]int, len(list))
	for i := range list {
		places[list[i].client] = i
	}
	return places
}

// pick chooses which member of a group gets a message: a connected one with room if there is one, else any; -1: nobody.
func (b *Broker) pick(members []target) int {
	second := -1
	first := rand.IntN(len(members))
	for n := range members {
		i := (first + n) % len(members)
		s := b.session(members[i].client)
		if s == nil {
			continue
		}
		s.mu.Lock()
		l := s.link
		s.mu.Unlock()
		if l != nil && l.c.HasRoom() {
			return i
		}
		second = i
	}
	return second
}

func (t *target) merge(sub subscription) {
	t.qos = max(t.qos, sub.qos)
	t.retainAsPublished = t.retainAsPublished || sub.retainAsPublished
	if sub.id > 0 {
		t.ids = append(t.ids, sub.id)
	}
}

// retainedStore keeps the last retained message of each topic, within quotas. Safe for concurrent use.
type retainedStore struct {
	mu       sync.Mutex // guards all
	topics   node[*message]
	messages map[string]*message
	bytes    int
	byOrigin map[string]int // messages per client id
	limits   Limits
}

func newRetainedStore(limits Limits) *retainedStore {
	return &retainedStore{messages: make(map[string]*message), byOrigin: make(map[string]int), limits: limits}
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
	r.topics.make(m.topic).value = m
	return true
}

func (r *retainedStore) forget(m *message) {
	delete(r.messages, m.topic)
	r.bytes -= m.size()
	if r.byOrigin[m.origin]--; r.byOrigin[m.origin] == 0 {
		delete(r.byOrigin, m.origin)
	}
	r.topics.change(m.topic, func(m **message) { *m = nil }, func(m **message) bool { return *m == nil })
}

// matching returns the retained messages that filter matches.
func (r *retainedStore) matching(filter string) []*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*message
	r.topics.eachCovered(filter, func(m *message) {
		if m != nil {
			list = append(list, m)
		}
	})
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
