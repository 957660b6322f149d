package broker

import "strings"

// table is a small map: few entries lie in a slice, for most nodes of a trie have one child.
type table[V any] struct {
	few  []tableEntry[V]
	many map[string]V // nil: few has all
}

type tableEntry[V any] struct {
	key   string
	value V
}

const fewEntries = 8

func (t *table[V]) get(key string) (value V, ok bool) {
	if t.many != nil {
		value, ok = t.many[key]
		return value, ok
	}
	for i := range t.few {
		if t.few[i].key == key {
			return t.few[i].value, true
		}
	}
	return value, false
}

func (t *table[V]) set(key string, value V) {
	if t.many == nil {
		for i := range t.few {
			if t.few[i].key == key {
				t.few[i].value = value
				return
			}
		}
		if len(t.few) < fewEntries {
			t.few = append(t.few, tableEntry[V]{key, value})
			return
		}
		t.many = make(map[string]V, 2*fewEntries)
		for _, e := range t.few {
			t.many[e.key] = e.value
		}
		t.few = nil
	}
	t.many[key] = value
}

func (t *table[V]) remove(key string) {
	if t.many != nil {
		if delete(t.many, key); len(t.many) == 0 {
			t.many = nil
		}
		return
	}
	for i := range t.few {
		if t.few[i].key == key {
			last := len(t.few) - 1
			t.few[i] = t.few[last]
			t.few[last] = tableEntry[V]{}
			if t.few = t.few[:last]; last == 0 {
				t.few = nil
			}
			return
		}
	}
}

func (t *table[V]) size() int { return len(t.few) + len(t.many) }

func (t *table[V]) each(f func(key string, value V)) {
	for i := range t.few {
		f(t.few[i].key, t.few[i].value)
	}
	for key, value := range t.many {
		f(key, value)
	}
}

// node is one level of a trie of topics or filters, which are split at every slash. The zero node is an empty trie.
type node[V any] struct {
	children table[*node[V]]
	value    V
}

// make returns the node of path, and makes those on the way that are missing.
func (n *node[V]) make(path string) *node[V] {
	for more := true; more; {
		var level string
		level, path, more = strings.Cut(path, "/")
		child, ok := n.children.get(level)
		if !ok {
			child = &node[V]{}
			n.children.set(strings.Clone(level), child)
		}
		n = child
	}
	return n
}

// change calls f with the value at path, if there is a node, and takes out the nodes that nobody needs after it: those without
// children whose value is blank.
func (n *node[V]) change(path string, f func(*V), blank func(*V) bool) {
	level, rest, more := strings.Cut(path, "/")
	child, ok := n.children.get(level)
	if !ok {
		return
	}
	if more {
		child.change(rest, f, blank)
	} else {
		f(&child.value)
	}
	if child.children.size() == 0 && blank(&child.value) {
		n.children.remove(level)
	}
}

// appendCovering appends to dst the values of the filters that match topic (v5 section 4.7). A filter that begins with a wildcard does
// not match a topic that begins with $ [MQTT-4.7.2-1].
func (n *node[V]) appendCovering(dst []V, topic string) []V {
	return n.covering(dst, topic, topic != "" && topic[0] == '$')
}

func (n *node[V]) covering(dst []V, topic string, named bool) []V {
	level, rest, more := strings.Cut(topic, "/")
	next := []string{level, "+"}
	if named {
		next = next[:1]
	} else if hash, ok := n.children.get("#"); ok {
		dst = append(dst, hash.value)
	}
	for _, name := range next {
		child, ok := n.children.get(name)
		switch {
		case !ok:
		case more:
			dst = child.covering(dst, rest, false)
		default:
			dst = append(dst, child.value)
			if hash, ok := child.children.get("#"); ok { // the level above is matched as well
				dst = append(dst, hash.value)
			}
		}
	}
	return dst
}

// eachCovered calls f with the values of the topics that filter matches.
func (n *node[V]) eachCovered(filter string, f func(V)) { n.covered(filter, true, f) }

func (n *node[V]) covered(filter string, top bool, f func(V)) {
	level, rest, more := strings.Cut(filter, "/")
	visit := func(name string, child *node[V]) {
		switch {
		case top && level != name && name != "" && name[0] == '$': // [MQTT-4.7.2-1]
		case level == "#":
			child.all(f)
		case more:
			if child.covered(rest, false, f); rest == "#" {
				f(child.value)
			}
		default:
			f(child.value)
		}
	}
	if level == "+" || level == "#" {
		n.children.each(visit)
	} else if child, ok := n.children.get(level); ok {
		visit(level, child)
	}
}

func (n *node[V]) all(f func(V)) {
	f(n.value)
	n.children.each(func(_ string, child *node[V]) { child.all(f) })
}
