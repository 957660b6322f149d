package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// hidden is [MQTT-4.7.2-1]: a filter that begins with a wildcard does not match a topic that begins with $.
func hidden(filter, topic string) bool {
	return topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// matches is a naive matcher of v5 section 4.7, the oracle.
func matches(filter, topic string) bool {
	if hidden(filter, topic) {
		return false
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i == len(t) || level != "+" && level != t[i] {
			return false
		}
		if i == len(t)-1 && len(f) == i+2 && f[i+1] == "#" {
			return true
		}
	}
	return len(f) == len(t)
}

func randomPath(rnd *rand.Rand, wild bool) string {
	words := []string{"a", "b", "", "$aws", "dt"}
	n := 1 + rnd.IntN(4)
	var levels []string
	for i := range n {
		word := words[rnd.IntN(len(words))]
		if wild && rnd.IntN(3) == 0 {
			word = "+"
		}
		if wild && i == n-1 && rnd.IntN(3) == 0 {
			word = "#"
		}
		levels = append(levels, word)
	}
	if path := strings.Join(levels, "/"); path != "" {
		return path
	}
	return "a"
}

func TestIndexAgainstANaiveMatcher(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var telemetry atomic.Int64
		x := newIndex(&telemetry, nil)
		subs := make(map[string]map[string]subscription) // by client and filter
		for range 300 {
			client := fmt.Sprint("c", rnd.IntN(8))
			filter := randomPath(rnd, true)
			if rnd.IntN(5) == 0 {
				filter = "$share/g/" + filter
			}
			if subs[client] == nil {
				subs[client] = make(map[string]subscription)
			}
			_, existed := subs[client][filter]
			if existed && rnd.IntN(2) == 0 {
				delete(subs[client], filter)
				x.remove(client, filter)
			} else {
				sub := subscription{filter: filter, id: 1 + rnd.IntN(5), qos: byte(rnd.IntN(3))}
				subs[client][filter] = sub
				x.add(client, sub, !existed)
			}
			topic := randomPath(rnd, false)
			want := make(map[string]target)
			shared := make(map[string]bool) // filters with somebody to pick
			for client, filters := range subs {
				for filter, sub := range filters {
					if !matches(plainFilter(filter), topic) {
						continue
					}
					if filter != plainFilter(filter) {
						shared[filter] = true
						continue
					}
					w := want[client]
					w.qos = max(w.qos, sub.qos)
					w.ids = append(w.ids, sub.id)
					want[client] = w
				}
			}
			picked := 0
			got := make(map[string]target)
			for _, tg := range x.targets(nil, topic, "", func([]target) int { picked++; return -1 }) {
				got[tg.client] = tg
			}
			if picked != len(shared) {
				t.Fatalf("seed %d, topic %q: %d shared subscriptions, want %v", seed, topic, picked, shared)
			}
			if len(got) != len(want) {
				t.Fatalf("seed %d, topic %q: got %v, want %v", seed, topic, got, want)
			}
			for client, w := range want {
				g := got[client]
				slices.Sort(g.ids)
				slices.Sort(w.ids)
				if g.qos != w.qos || !slices.Equal(g.ids, w.ids) {
					t.Fatalf("seed %d, topic %q, client %s: got %+v, want %+v", seed, topic, client, g, w)
				}
			}
		}
		n := int64(0)
		for _, filters := range subs {
			for filter := range filters {
				if matchesTelemetry(filter) {
					n++
				}
			}
		}
		if telemetry.Load() != n {
			t.Fatalf("seed %d: %d subscriptions may match telemetry, want %d", seed, telemetry.Load(), n)
		}
	}
}

func matchesTelemetry(filter string) bool {
	switch first := strings.Split(plainFilter(filter), "/")[0]; first {
	case "dt", "+", "#":
		return true
	}
	return false
}

func TestRetainedAgainstANaiveMatcher(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		r := newRetainedStore(DefaultLimits())
		have := make(map[string]bool)
		for range 200 {
			topic := randomPath(rnd, false)
			m := &message{topic: topic, origin: "c", payload: []byte("x")}
			if rnd.IntN(3) == 0 {
				m.payload = nil
			}
			if !r.set(m) {
				t.Fatal("refused")
			}
			delete(have, topic)
			if m.payload != nil {
				have[topic] = true
			}
			filter := randomPath(rnd, true)
			var got, want []string
			for _, m := range r.matching(filter) {
				got = append(got, m.topic)
			}
			for topic := range have {
				if matches(filter, topic) {
					want = append(want, topic)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, filter %q: got %q, want %q", seed, filter, got, want)
			}
		}
	}
}

func TestRetainedQuotas(t *testing.T) {
	limits := DefaultLimits()
	limits.Retained, limits.RetainedBytes, limits.RetainedPerClient = 5, 100, 3
	r := newRetainedStore(limits)
	set := func(topic, origin string, size int, want bool) {
		t.Helper()
		if got := r.set(&message{topic: topic, origin: origin, payload: make([]byte, size)}); got != want {
			t.Fatalf("%s of %s, %d bytes: %v, want %v", topic, origin, size, got, want)
		}
	}
	set("1", "a", 10, true)
	set("2", "a", 10, true)
	set("3", "a", 10, true)
	set("4", "a", 10, false) // too many of one client
	set("3", "a", 20, true)  // a new value of an old one
	set("4", "b", 60, false) // too many bytes
	set("4", "b", 10, true)
	set("5", "b", 10, true)
	set("6", "c", 1, false) // too many
	set("1", "c", 0, true)  // forgotten
	set("6", "c", 1, true)
	if r.count() != 5 {
		t.Fatalf("%d messages", r.count())
	}
}
