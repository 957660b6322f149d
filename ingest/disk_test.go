package ingest_test

import (
	"errors"
	"io/fs"
	"sync"
	"testing"

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

// TestAckMemory: acknowledgements that do not wait for the disk do not wait for a disk that is busy either.
func TestAckMemory(t *testing.T) {
	f := newFixture(t, false)
	hold := newHeldFS(f.fs)
	f.fs, f.ackMemory = hold, true
	f.start()
	c := f.connect(4, "lamp")
	hold.stop()
	t.Cleanup(hold.free)
	for id := range byte(10) {
		c.send(publishPacket(4, "dt/lamp", `{"a":1}`, 1, uint16(id)+1, false))
		c.expect(0x40, 2, 0, id+1)
	}
}

// TestDiskFull: no false acknowledgement, and all is well once there is space again.
func TestDiskFull(t *testing.T) {
	f := newFixture(t, false)
	disk := vfs.NewMem()
	f.fs = disk
	f.start()
	c5, c4 := f.connect(5, "v5"), f.connect(4, "v4")
	disk.SetCapacity(disk.UsedBytes()) // the store has not made its first log file yet
	c5.send(publishPacket(5, "dt/v5", `{"a":1}`, 1, 1, false))
	if first, body := c5.read(); first != 0x40 || len(body) < 3 || body[2] != 0x97 {
		t.Fatalf("v5 got %x %x, want a puback with 0x97", first, body)
	}
	c5.send(publishPacket(5, "dt/v5", `{"a":1}`, 2, 2, false))
	if first, body := c5.read(); first != 0x50 || len(body) < 3 || body[2] != 0x97 {
		t.Fatalf("v5 got %x %x, want a pubrec with 0x97", first, body)
	}
	c4.send(publishPacket(4, "dt/v4", `{"a":2}`, 1, 2, false))
	if last := c4.expectEnd(); last != nil {
		t.Fatalf("v4 got %x, want the end", last)
	}
	disk.SetCapacity(0)
	eventually(t, "an acknowledgement", func() bool {
		c5.send(publishPacket(5, "dt/v5", `{"a":3}`, 1, 3, false))
		_, body := c5.read()
		return len(body) == 2
	})
}

// TestDiskFails: after a failed fsync nothing is acknowledged any more.
func TestDiskFails(t *testing.T) {
	f := newFixture(t, false)
	disk := vfs.NewMem()
	f.fs, f.broken = disk, true
	f.start()
	c5, c4 := f.connect(5, "v5"), f.connect(4, "v4")
	c4.send(publishPacket(4, "dt/v4", `{"a":1}`, 1, 1, false))
	c4.expect(0x40, 2, 0, 1)
	disk.FailFrom(1, errors.New("i/o error"))
	c5.send(publishPacket(5, "dt/v5", `{"a":1}`, 1, 1, false))
	if last := c5.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x83 {
		t.Fatalf("v5 got %x, want a disconnect with 0x83", last)
	}
	c4.send(publishPacket(4, "dt/v4", `{"a":2}`, 1, 2, false))
	if last := c4.expectEnd(); last != nil {
		t.Fatalf("v4 got %x, want the end", last)
	}
	// nor a retained message or a subscription that could not be written
	c := f.dialPlain(5)
	c.open("v5", keepSession(100))
	c.send(subscribePacket(5, 1, "dt/v5", 1))
	if last := c.expectEnd(); len(last) < 3 || last[2] != 0x83 {
		t.Fatalf("v5 got %x, want a disconnect with 0x83", last)
	}
}
