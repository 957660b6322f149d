package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Mem is a file system in memory that keeps apart what is visible from what would survive a power cut.
//
// Bytes survive once File.Sync returned, names once SyncDir did; folders survive at once. It fails chosen operations,
// runs full, and PowerCut (mem_cut.go) makes the file system that a machine would find after losing power now.
// Safe for concurrent use.
type Mem struct {
	mu      sync.Mutex // guards all below, and the bytes of every node
	entries map[string]*node
	durable map[string]*node
	journal []entryOp // name changes that no SyncDir has made durable, oldest first
	dirs    map[string]bool
	locks   map[string]bool
	used    int64
	limit   int64 // bytes, 0 is none

	ops     int
	failAt  int // the operation that fails, counted from 1; 0 is none
	failErr error
	failAll bool // so does every later one
}

// node is a file apart from its name. data is what readers see, synced what a power cut leaves for sure,
// pending what happened to data since.
type node struct {
	data    []byte
	synced  []byte
	pending []change
	linked  bool // a name leads here; then its bytes count as used
}

// change is a write of data at off, or (data == nil) a new length off.
type change struct {
	off  int64
	data []byte
}

// entryOp is a creation (from == ""), a removal (to == "") or a rename.
type entryOp struct {
	from, to string
	node     *node
}

// NewMem returns an empty file system without limit.
func NewMem() *Mem {
	return &Mem{
		entries: map[string]*node{}, durable: map[string]*node{},
		dirs: map[string]bool{".": true, "/": true}, locks: map[string]bool{},
	}
}

var _ FS = (*Mem)(nil)

// FailAt lets the n-th operation from now fail with err; n counts from 1, 0 takes the fault back.
func (m *Mem) FailAt(n int, err error) { m.fail(n, err, false) }

// FailFrom lets the n-th operation from now and all later ones fail with err.
func (m *Mem) FailFrom(n int, err error) { m.fail(n, err, true) }

func (m *Mem) fail(n int, err error, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failAt, m.failErr, m.failAll = 0, err, all
	if n > 0 {
		m.failAt = m.ops + n
	}
}

// Ops returns how many operations there were.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// SetCapacity limits the bytes of all files together; 0 takes the limit away. Past it operations fail with ENOSPC.
func (m *Mem) SetCapacity(sizeBytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = sizeBytes
}

// UsedBytes returns the bytes of all files together.
func (m *Mem) UsedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// FlipBit turns one bit of the file name, seen and synced, as a worn flash cell does.
func (m *Mem) FlipBit(name string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.entries[path.Clean(name)]
	if n == nil {
		return notExist("flip", name)
	}
	if bit < 0 || bit/8 >= int64(len(n.data)) {
		return fmt.Errorf("flip bit %d of %q with %d bytes", bit, name, len(n.data))
	}
	n.data[bit/8] ^= 1 << (bit % 8)
	if bit/8 < int64(len(n.synced)) {
		n.synced[bit/8] ^= 1 << (bit % 8)
	}
	return nil
}

// step counts an operation and returns the fault that is due. The caller holds mu.
func (m *Mem) step(op, name string) error {
	m.ops++
	if m.failAt == 0 || m.ops < m.failAt || m.ops > m.failAt && !m.failAll {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: m.failErr}
}

func notExist(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if err := m.step("create", name); err != nil {
		return nil, err
	}
	if !m.dirs[path.Dir(name)] {
		return nil, notExist("create", name)
	}
	n := m.entries[name]
	if n == nil {
		n = &node{linked: true}
		m.link(entryOp{to: name, node: n})
	} else {
		m.resize(n, 0)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if err := m.step("open", name); err != nil {
		return nil, err
	}
	n := m.entries[name]
	if n == nil {
		return nil, notExist("open", name)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if err := m.step("read", name); err != nil {
		return nil, err
	}
	n := m.entries[name]
	if n == nil {
		return nil, notExist("read", name)
	}
	return slices.Clone(n.data), nil
}

func (m *Mem) WriteFile(name string, data []byte, _ fs.FileMode) error {
	tmp := name + ".tmp"
	f, err := m.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = m.Rename(tmp, name)
	}
	if err != nil {
		_ = m.Remove(tmp) // best effort, as OS does
		return err
	}
	return m.SyncDir(path.Dir(name))
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	if err := m.step("rename", from); err != nil {
		return err
	}
	n := m.entries[from]
	if n == nil || !m.dirs[path.Dir(to)] {
		return notExist("rename", from)
	}
	m.link(entryOp{from: from, to: to, node: n})
	return nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if err := m.step("remove", name); err != nil {
		return err
	}
	if m.entries[name] == nil {
		if m.dirs[name] && len(m.list(name)) == 0 {
			delete(m.dirs, name)
			return nil
		}
		return notExist("remove", name)
	}
	m.link(entryOp{from: name})
	return nil
}

// link carries out op on the visible names and notes it in the journal. The caller holds mu.
func (m *Mem) link(op entryOp) {
	for _, gone := range []string{op.from, op.to} {
		if n := m.entries[gone]; n != nil && n != op.node {
			n.linked = false
			m.used -= int64(len(n.data))
		}
	}
	op.apply(m.entries)
	m.journal = append(m.journal, op)
}

// apply changes names; a rename whose source is missing does nothing.
func (op entryOp) apply(names map[string]*node) {
	if op.from == "" {
		names[op.to] = op.node
		return
	}
	n := names[op.from]
	delete(names, op.from)
	if op.to != "" && n != nil {
		names[op.to] = n
	}
}

func (op entryOp) in(dir string) bool {
	return op.from != "" && path.Dir(op.from) == dir || op.to != "" && path.Dir(op.to) == dir
}

func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if err := m.step("list", dir); err != nil {
		return nil, err
	}
	if !m.dirs[dir] {
		return nil, notExist("list", dir)
	}
	return m.list(dir), nil
}

func (m *Mem) list(dir string) []string {
	names := []string{}
	for name := range m.entries {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for name := range m.dirs {
		if name != dir && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

func (m *Mem) MkdirAll(dir string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if err := m.step("mkdir", dir); err != nil {
		return err
	}
	for ; !m.dirs[dir]; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if err := m.step("syncdir", dir); err != nil {
		return err
	}
	rest := m.journal[:0]
	for _, op := range m.journal {
		if op.in(dir) {
			op.apply(m.durable)
		} else {
			rest = append(rest, op)
		}
	}
	m.journal = rest
	return nil
}

// unlimitedBytes is the size of a Mem without a capacity.
const unlimitedBytes = 1 << 40

func (m *Mem) TotalBytes(string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit == 0 {
		return unlimitedBytes, nil
	}
	return uint64(m.limit), nil
}

func (m *Mem) FreeBytes(string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit == 0 {
		return unlimitedBytes, nil
	}
	return uint64(max(0, m.limit-m.used)), nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if err := m.step("lock", name); err != nil {
		return nil, err
	}
	if m.locks[name] {
		return nil, lockedError(name, "")
	}
	m.locks[name] = true
	if m.entries[name] == nil {
		m.link(entryOp{to: name, node: &node{linked: true}})
	}
	return &memLock{m, name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}

// resize changes the length of n, within the capacity. The caller holds mu.
func (m *Mem) resize(n *node, size int64) bool {
	if m.room(n, size) < size {
		return false
	}
	m.setLen(n, size)
	n.pending = append(n.pending, change{off: size})
	return true
}

// room returns the length that n may have, at most size.
func (m *Mem) room(n *node, size int64) int64 {
	if m.limit == 0 || size <= int64(len(n.data)) {
		return size
	}
	return min(size, int64(len(n.data))+max(0, m.limit-m.used))
}

func (m *Mem) setLen(n *node, size int64) {
	if n.linked {
		m.used += size - int64(len(n.data))
	}
	n.data = setLen(n.data, size)
}

// setLen returns b cut or grown with zeros to size.
func setLen(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	old := len(b)
	b = slices.Grow(b, int(size)-old)[:size]
	clear(b[old:])
	return b
}

type memFile struct {
	m    *Mem
	n    *node
	name string
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.step("read", f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	got := copy(p, f.n.data[off:])
	if got < len(p) {
		return got, io.EOF
	}
	return got, nil
}

// WriteAt writes p; a fault or a full disk leaves a part of it written.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.step("write", f.name)
	fits := int64(len(p))
	if err != nil {
		fits /= 2
	} else if end := off + fits; f.m.room(f.n, end) < end {
		fits = max(0, f.m.room(f.n, end)-off)
		err = &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	if fits > 0 && f.m.room(f.n, off+fits) == off+fits {
		if end := off + fits; end > int64(len(f.n.data)) {
			f.m.setLen(f.n, end)
		}
		kept := slices.Clone(p[:fits])
		copy(f.n.data[off:], kept)
		f.n.pending = append(f.n.pending, change{off, kept})
	}
	return int(fits), err
}

// Sync makes the bytes durable. After a fault they stay visible but are lost in a power cut, even if a later Sync
// succeeds: Linux marks the pages clean all the same.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.step("sync", f.name)
	if err == nil {
		for _, c := range f.n.pending {
			f.n.synced = c.apply(f.n.synced)
		}
	}
	f.n.pending = nil
	return err
}

// apply returns b changed.
func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return setLen(b, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = setLen(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

func (f *memFile) Truncate(sizeBytes int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.step("truncate", f.name)
	if err == nil && !f.m.resize(f.n, sizeBytes) {
		err = &fs.PathError{Op: "truncate", Path: f.name, Err: syscall.ENOSPC}
	}
	return err
}

func (f *memFile) Allocate(sizeBytes int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.step("allocate", f.name)
	if err == nil && sizeBytes > int64(len(f.n.data)) && !f.m.resize(f.n, sizeBytes) {
		err = &fs.PathError{Op: "allocate", Path: f.name, Err: syscall.ENOSPC}
	}
	return err
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.step("size", f.name); err != nil {
		return 0, err
	}
	return int64(len(f.n.data)), nil
}

func (f *memFile) Close() error { return nil }

// Tree returns the names of all files, ascending, for tests that damage one of them.
func (m *Mem) Tree() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.entries {
		if !strings.HasSuffix(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
