package tsdb

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits of a Dict. A name or value past them is an error, so that no device can fill the memory with new words.
const (
	MaxMetrics      = 65_536
	MaxMetricBytes  = 512
	MaxStrings      = 1_000_000
	MaxStringBytes  = 1 << 10
	maxMetricsBytes = 8 << 20
	maxStringsBytes = 128 << 20
)

// ErrDictFull says that a Dict takes no new entry; entries that it has go on working.
var ErrDictFull = errors.New("the dictionary is full")

// Dict interns column names and string values into dense ids.
//
// Lookups take no lock and no allocation; new entries take a mutex. Safe for concurrent use. The log writes entries that
// are new since its last group in front of the rows of a group, so an entry is on disk no later than a row that uses it.
type Dict struct {
	metrics words
	strings words
	sources words // keys of label sets: source.go
}

// counts returns how many entries there are.
func (d *Dict) counts() wordCount {
	return wordCount{d.metrics.count(), d.strings.count(), d.sources.count()}
}

// NewDict returns an empty dictionary that belongs to no store.
func NewDict() *Dict {
	d := &Dict{}
	seed := maphash.MakeSeed()
	d.metrics.start(seed, MaxMetrics, MaxMetricBytes, maxMetricsBytes)
	d.strings.start(seed, MaxStrings, MaxStringBytes, maxStringsBytes)
	d.sources.start(seed, MaxSources, maxSourceBytes, maxAllSourcesBytes)
	return d
}

// Metric returns the id of a column name, which it keeps a copy of if it is new.
func (d *Dict) Metric(name []byte) (MetricID, error) {
	if id, ok := d.metrics.find(name); ok {
		return MetricID(id), nil
	}
	if len(name) == 0 {
		return 0, errors.New("a column name must not be empty")
	}
	id, err := d.metrics.add(name)
	if err != nil {
		return 0, fmt.Errorf("column %.64q: %w", name, err)
	}
	return MetricID(id), nil
}

// String returns the id of a string value, which it keeps a copy of if it is new.
func (d *Dict) String(value []byte) (uint32, error) {
	if id, ok := d.strings.find(value); ok {
		return id, nil
	}
	id, err := d.strings.add(value)
	if err != nil {
		return 0, fmt.Errorf("string %.64q: %w", value, err)
	}
	return id, nil
}

// MetricName returns the name of an id that Metric gave, "" for others.
func (d *Dict) MetricName(id MetricID) string { return d.metrics.word(uint32(id)) }

// LookupMetric finds a name without making it.
func (d *Dict) LookupMetric(name string) (MetricID, bool) {
	id, ok := d.metrics.findString(name)
	return MetricID(id), ok
}

// StringValue returns the text of an id that String gave, "" for others.
func (d *Dict) StringValue(id uint32) string { return d.strings.word(id) }

// words is one table of interned words: a list by id, and an open-addressing table from hash to id that readers
// probe without a lock. A writer publishes the word in the list first, then its slot.
type words struct {
	seed     maphash.Seed
	maxWords int
	maxLen   int
	maxBytes int64

	list  atomic.Pointer[[]string]
	table atomic.Pointer[wordTable]

	mu    sync.Mutex // guards writes to list and table, and what follows
	bytes int64
	lost  map[uint32]bool // ids whose word was in a damaged part of the log; recovery alone uses it

	anyLost   atomic.Bool   // lost is not empty
	forgotten atomic.Uint64 // calls of forget
}

type wordTable struct {
	mask  uint64
	slots []atomic.Uint32 // id + 1, 0 is free; at most half full
}

func newWordTable(size int) *wordTable {
	return &wordTable{mask: uint64(size - 1), slots: make([]atomic.Uint32, size)}
}

func (w *words) start(seed maphash.Seed, maxWords, maxLen int, maxBytes int64) {
	w.seed, w.maxWords, w.maxLen, w.maxBytes = seed, maxWords, maxLen, maxBytes
	w.list.Store(&[]string{})
	w.table.Store(newWordTable(64))
}

func (w *words) find(word []byte) (uint32, bool) {
	t := w.table.Load()
	for i := maphash.Bytes(w.seed, word); ; i++ {
		slot := t.slots[i&t.mask].Load()
		if slot == 0 {
			return 0, false
		}
		if (*w.list.Load())[slot-1] == string(word) {
			return slot - 1, true
		}
	}
}

func (w *words) findString(word string) (uint32, bool) {
	t := w.table.Load()
	for i := maphash.String(w.seed, word); ; i++ {
		slot := t.slots[i&t.mask].Load()
		if slot == 0 {
			return 0, false
		}
		if (*w.list.Load())[slot-1] == word {
			return slot - 1, true
		}
	}
}

func (w *words) add(word []byte) (uint32, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, ok := w.find(word); ok {
		return id, nil
	}
	list := *w.list.Load()
	switch {
	case len(word) > w.maxLen:
		return 0, fmt.Errorf("%d bytes, at most %d are kept", len(word), w.maxLen)
	case len(list) >= w.maxWords:
		return 0, fmt.Errorf("%w: it has %d entries", ErrDictFull, w.maxWords)
	case w.bytes+int64(len(word)) > w.maxBytes:
		return 0, fmt.Errorf("%w: its entries have %d bytes", ErrDictFull, w.bytes)
	}
	w.push(list, string(word))
	return uint32(len(list)), nil
}

// push appends word to the list and its slot to the table. The caller holds mu.
func (w *words) push(list []string, word string) {
	list = append(list, word)
	w.list.Store(&list)
	w.bytes += int64(len(word))
	t := w.table.Load()
	if len(list)*2 > len(t.slots) {
		t = newWordTable(len(t.slots) * 2)
		for id, s := range list {
			t.insert(maphash.String(w.seed, s), uint32(id))
		}
		w.table.Store(t)
		return
	}
	t.insert(maphash.String(w.seed, word), uint32(len(list)-1))
}

func (t *wordTable) insert(hash uint64, id uint32) {
	for i := hash; ; i++ {
		if slot := &t.slots[i&t.mask]; slot.Load() == 0 {
			slot.Store(id + 1)
			return
		}
	}
}

func (w *words) word(id uint32) string {
	list := *w.list.Load()
	if int(id) >= len(list) {
		return ""
	}
	return list[id]
}

// since returns the words with ids from first on. The slice must not be changed.
func (w *words) since(first int) []string {
	return (*w.list.Load())[first:]
}

func (w *words) count() int { return len(*w.list.Load()) }

// restore sets the word of an id while the store is recovered. An id that is there already must have the same word; ids
// that are skipped were in a damaged part of the log.
func (w *words) restore(id uint32, word string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := *w.list.Load()
	switch {
	case int(id) < len(list):
		switch {
		case list[id] == word || isGone(list[id]):
		case isGone(word):
			list = slices.Clone(list)
			list[id] = word
			w.list.Store(&list)
		default:
			return fmt.Errorf("dictionary entry %d is %.64q and %.64q", id, list[id], word)
		}
		return nil
	case int(id) >= w.maxWords || len(word) > w.maxLen:
		return fmt.Errorf("dictionary entry %d is past the limits", id)
	}
	w.fill(int(id))
	w.push(*w.list.Load(), word)
	return nil
}

// fill gives ids below n that have no word one that says so, and none to others: an id is never used for a second word.
// The caller holds mu, or is alone.
func (w *words) fill(n int) {
	for id := w.count(); id < min(n, w.maxWords); id++ {
		if w.lost == nil {
			w.lost = map[uint32]bool{}
			w.anyLost.Store(true)
		}
		w.lost[uint32(id)] = true
		w.push(*w.list.Load(), fmt.Sprintf("lost_%d", id))
	}
}

// isLost says, while the store is recovered, whether the word of an id is not known; the id is not used again then.
func (w *words) isLost(id uint32) bool {
	if !w.anyLost.Load() && int(id) < w.count() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fill(int(id) + 1)
	return w.lost[id]
}

// lacks says, while the store is recovered, whether the words of some ids up to a column, a text and a source, counted from 1, are
// not known.
func (d *Dict) lacks(metric, text, source uint32) bool {
	return d.metrics.lacks(metric) || text > 0 && d.strings.lacks(text) || source > 0 && d.sources.lacks(source-1)
}

func (w *words) lacks(id uint32) bool { return w.anyLost.Load() || int(id) >= w.count() }

// lost says, while the store is recovered, whether v is of a column, or is a text, whose word is not known.
func (d *Dict) lost(v Value) bool {
	return d.metrics.isLost(uint32(v.Metric)) || v.Kind == String && d.strings.isLost(uint32(v.Mantissa))
}
