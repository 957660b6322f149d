package ingest_test

import (
	"io/fs"
	"sync"

	"muster/tsdb/vfs"
)

// heldFS is a file system whose syncs can be made to wait.
type heldFS struct {
	vfs.FS

	mu   sync.Mutex // guards held
	cond *sync.Cond
	held bool
}

func newHeldFS(below vfs.FS) *heldFS {
	h := &heldFS{FS: below}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *heldFS) stop() { h.set(true) }
func (h *heldFS) free() { h.set(false) }

func (h *heldFS) set(held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
	h.cond.Broadcast()
}

func (h *heldFS) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.held {
		h.cond.Wait()
	}
}

func (h *heldFS) Create(name string) (vfs.File, error) { return h.wrap(h.FS.Create(name)) }
func (h *heldFS) Open(name string) (vfs.File, error)   { return h.wrap(h.FS.Open(name)) }

func (h *heldFS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	h.wait()
	return h.FS.WriteFile(name, data, perm)
}

func (h *heldFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return heldFile{f, h}, nil
}

type heldFile struct {
	vfs.File
	fs *heldFS
}

func (f heldFile) Sync() error {
	f.fs.wait()
	return f.File.Sync()
}
