package decode

import (
	"bytes"
	"hash/maphash"
	"unicode/utf8"

	"muster/tsdb"
)

// maxKeys is how many keys a decoder remembers: several times what the models of one fleet use. Beyond, it starts anew.
const maxKeys = 4096

// keyID is the place of a key in keys.nodes.
type keyID int32

const (
	rootKey keyID = 0  // the row itself, parent of its top-level keys
	noKey   keyID = -1 // not known yet
)

// keys remembers the keys of earlier payloads as a tree, and for each which one came after it last time. A payload of a known
// layout is therefore verified key by key, one comparison each; only where it differs from the last one a key is hashed.
type keys struct {
	nodes []node
	index []keyID // open-addressed table of nodes by parent and raw, rootKey where empty; a power of two, at most half full
	// columns holds the first node of each column. Only a key that is new to the decoder looks there.
	columns map[tsdb.MetricID]keyID
	seed    maphash.Seed
	prev    keyID  // the key before in this row
	row     uint64 // number of the current row
	name    []byte // the column name that is being made
}

// node is one key at its place in the tree.
type node struct {
	raw      string // as written between the quotes: valid UTF-8, valid escapes; for other formats than JSON the key itself
	parent   keyID
	next     keyID // the key after it last time, rootKey if there was none
	column   keyID // the first node of the same column name, noKey until a value asked for it
	at       int32 // in a column's first node: where Decoder.values has its value, if row is the current one
	row      uint64
	metric   tsdb.MetricID // in a column's first node
	timeRank uint8         // 1 to 3 for a top-level time, timestamp, ts
	escaped  bool          // raw has escapes
}

func newKeys() keys {
	return keys{
		nodes:   []node{{parent: noKey, column: noKey}},
		index:   make([]keyID, 32),
		columns: make(map[tsdb.MetricID]keyID),
		seed:    maphash.MakeSeed(),
	}
}

// trim forgets all keys if they are too many. Not to be called while a payload is being decoded.
func (k *keys) trim() {
	if len(k.nodes) > maxKeys {
		row := k.row
		*k = newKeys()
		k.row = row
	}
}

// startRow begins a row: no column of it is set yet.
func (k *keys) startRow() {
	k.row++
	k.prev = rootKey
}

// find returns the key below parent whose first byte behind the opening quote is p[i], and the index behind its closing quote.
func (k *keys) find(p []byte, i int, parent keyID) (keyID, int, fault) {
	id := k.nodes[k.prev].next
	n := &k.nodes[id]
	if end := i + len(n.raw); n.parent == parent && end < len(p) && p[end] == '"' && string(p[i:end]) == n.raw {
		k.prev = id
		return id, end + 1, ok
	}
	return k.findHashed(p, i, parent)
}

// findHashed is find for a key that was not foreseen.
func (k *keys) findHashed(p []byte, i int, parent keyID) (keyID, int, fault) {
	raw, escaped, next, f := scanString(p, i)
	if f != ok {
		return noKey, next, f
	}
	slot := k.slot(raw, parent)
	id := k.index[slot]
	if id == rootKey {
		if escaped {
			var at int
			if k.name, at, f = unescape(k.name[:0], raw); f != ok {
				return noKey, i + at, f
			}
		}
		if len(raw) > maxNameBytes && (!escaped || len(k.name) > maxNameBytes) {
			return noKey, i, faultNameLen
		}
		id = k.insert(string(raw), parent, slot)
		k.nodes[id].escaped = escaped
	}
	k.nodes[k.prev].next = id
	k.prev = id
	return id, next, ok
}

// findPlain returns the key below parent that is name itself, of a format without JSON's escapes.
func (k *keys) findPlain(name []byte, parent keyID) (keyID, fault) {
	id := k.nodes[k.prev].next
	if n := &k.nodes[id]; n.parent == parent && string(name) == n.raw && !n.escaped {
		k.prev = id
		return id, ok
	}
	// A backslash becomes an underscore in the column's name anyway; done here, it cannot be taken for an escape.
	if bytes.IndexByte(name, '\\') >= 0 {
		k.name = append(k.name[:0], name...)
		name = k.name
		for i, c := range name {
			if c == '\\' {
				name[i] = '_'
			}
		}
	}
	slot := k.slot(name, parent)
	if id = k.index[slot]; id == rootKey {
		switch {
		case !utf8.Valid(name):
			return noKey, faultUTF8
		case len(name) > maxNameBytes:
			return noKey, faultNameLen
		}
		id = k.insert(string(name), parent, slot)
	}
	k.nodes[k.prev].next = id
	k.prev = id
	return id, ok
}

// slot returns where the index has the key, or has room for it.
func (k *keys) slot(raw []byte, parent keyID) int {
	mask := uint64(len(k.index) - 1)
	// An odd constant of well-mixed bits (2^64 divided by the golden ratio) parts equal names below different parents.
	h := maphash.Bytes(k.seed, raw) ^ uint64(parent)*0x9E3779B97F4A7C15
	for ; ; h++ {
		id := k.index[h&mask]
		if id == rootKey || k.nodes[id].parent == parent && k.nodes[id].raw == string(raw) {
			return int(h & mask)
		}
	}
}

// insert adds a key whose free slot is known.
func (k *keys) insert(raw string, parent keyID, slot int) keyID {
	id := keyID(len(k.nodes))
	n := node{raw: raw, parent: parent, column: noKey}
	if parent == rootKey {
		n.timeRank = timeRank(raw)
	}
	k.nodes = append(k.nodes, n)
	k.index[slot] = id
	if 2*len(k.nodes) > len(k.index) {
		k.index = make([]keyID, 4*len(k.index))
		for old := rootKey + 1; int(old) < len(k.nodes); old++ {
			k.index[k.slot([]byte(k.nodes[old].raw), k.nodes[old].parent)] = old
		}
	}
	return id
}

// timeRank says how strongly a top-level key is the time of its row, 0 for a column.
func timeRank(key string) uint8 {
	switch key {
	case "ts":
		return 3
	case "timestamp":
		return 2
	case "time":
		return 1
	}
	return 0
}

// resolve gives key its column, making its name known to dict, and returns the first node of that column.
func (k *keys) resolve(dict *tsdb.Dict, key keyID) (keyID, fault) {
	k.name = k.appendName(k.name[:0], key)
	switch {
	case len(k.name) == 0:
		return noKey, faultName
	case k.name[0]-'0' <= 9:
		k.name = append(k.name, 0)
		copy(k.name[1:], k.name)
		k.name[0] = '_'
	}
	if len(k.name) > maxNameBytes {
		return noKey, faultNameLen
	}
	metric, err := dict.Metric(k.name)
	if err != nil {
		return noKey, faultNamesFull
	}
	column, known := k.columns[metric]
	if !known {
		column = key
		k.columns[metric] = key
	}
	k.nodes[key].column = column
	k.nodes[key].metric = metric
	return column, ok
}

// appendName appends the keys from the top to key, joined by underscores, with every byte that is not of PromQL's alphabet
// of metric names replaced by an underscore.
func (k *keys) appendName(dst []byte, key keyID) []byte {
	n := &k.nodes[key]
	if n.parent != rootKey {
		dst = append(k.appendName(dst, n.parent), '_')
	}
	start := len(dst)
	dst, _, _ = unescape(dst, []byte(n.raw))
	for i, c := range dst[start:] {
		if !isNameByte(c) {
			dst[start+i] = '_'
		}
	}
	return dst
}

// isNameByte reports whether c may be in a PromQL metric name, other than as a first digit.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == ':'
}
