package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

func TestConformance(t *testing.T) {
	t.Run("os", func(t *testing.T) { conform(t, vfs.OS{}, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := vfs.NewMem()
		must(t, m.MkdirAll("base", 0o700))
		conform(t, m, "base")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func conform(t *testing.T, fsys vfs.FS, base string) {
	dir := path.Join(base, "a/b")
	name := path.Join(dir, "file")
	_, err := fsys.Create(name)
	wantNotExist(t, err)
	must(t, fsys.MkdirAll(dir, 0o700))
	must(t, fsys.MkdirAll(dir, 0o700))
	_, err = fsys.Open(name)
	wantNotExist(t, err)
	_, err = fsys.ReadFile(name)
	wantNotExist(t, err)
	wantNotExist(t, fsys.Remove(name))
	wantNotExist(t, fsys.Rename(name, name+"2"))
	_, err = fsys.List(path.Join(base, "none"))
	wantNotExist(t, err)

	f, err := fsys.Create(name)
	must(t, err)
	must(t, f.Allocate(4096))
	wantSize(t, f, 4096)
	_, err = f.WriteAt([]byte("hello"), 4094)
	must(t, err)
	must(t, f.Sync())
	must(t, fsys.SyncDir(dir))
	wantSize(t, f, 4099)
	must(t, f.Allocate(100)) // never shrinks
	wantSize(t, f, 4099)
	buf := make([]byte, 8)
	if n, err := f.ReadAt(buf, 4092); n != 7 || err != io.EOF || !bytes.Equal(buf[:7], []byte("\x00\x00hello")) {
		t.Fatalf("read %d %q %v", n, buf[:n], err)
	}
	must(t, f.Truncate(4096))
	must(t, f.Truncate(4100))
	want := append(make([]byte, 4094), "he\x00\x00\x00\x00"...)
	wantFile(t, fsys, name, want)
	// a rename keeps open files and replaces what was there
	must(t, fsys.WriteFile(name+"2", []byte("old"), 0o600))
	must(t, fsys.Rename(name, name+"2"))
	_, err = f.WriteAt([]byte("X"), 0)
	must(t, err)
	must(t, f.Close())
	want[0] = 'X'
	wantFile(t, fsys, name+"2", want)
	// Create empties, WriteFile replaces
	f, err = fsys.Create(name + "2")
	must(t, err)
	must(t, f.Close())
	wantFile(t, fsys, name+"2", nil)
	must(t, fsys.WriteFile(name+"2", []byte("one"), 0o600))
	must(t, fsys.WriteFile(name+"2", []byte("two"), 0o600))
	wantFile(t, fsys, name+"2", []byte("two"))

	must(t, fsys.WriteFile(path.Join(dir, "aaa"), nil, 0o600))
	must(t, fsys.MkdirAll(path.Join(dir, "sub"), 0o700))
	names, err := fsys.List(dir)
	must(t, err)
	if !slices.Equal(names, []string{"aaa", "file2", "sub"}) {
		t.Fatalf("list %q", names)
	}
	must(t, fsys.Remove(path.Join(dir, "aaa")))
	must(t, fsys.Remove(path.Join(dir, "sub")))

	if free, err := fsys.FreeBytes(dir); err != nil || free == 0 {
		t.Fatalf("free %d %v", free, err)
	}
	lock, err := fsys.Lock(path.Join(dir, "lock"))
	must(t, err)
	if _, err := fsys.Lock(path.Join(dir, "lock")); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second lock: %v", err)
	}
	must(t, lock.Close())
	lock, err = fsys.Lock(path.Join(dir, "lock"))
	must(t, err)
	must(t, lock.Close())
}

func wantNotExist(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want a missing file", err)
	}
}

func wantSize(t *testing.T, f vfs.File, want int64) {
	t.Helper()
	if got, err := f.Size(); err != nil || got != want {
		t.Fatalf("size %d %v, want %d", got, err, want)
	}
}

func wantFile(t *testing.T, fsys vfs.FS, name string, want []byte) {
	t.Helper()
	if got, err := fsys.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q has %d bytes %.40q, %v, want %d bytes %.40q", name, len(got), got, err, len(want), want)
	}
}

// What was synced survives every power cut; what was not survives some and not others, and never as other bytes.
func TestPowerCut(t *testing.T) {
	m := vfs.NewMem()
	synced := bytes.Repeat([]byte("s"), 2000)
	f, err := m.Create("kept")
	must(t, err)
	_, err = f.WriteAt(synced, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("."))
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), 1500), 2000)
	must(t, err)
	_, err = m.Create("unsynced name")
	must(t, err)
	must(t, m.WriteFile("doc", []byte("old"), 0o600))
	must(t, m.SyncDir("."))
	must(t, m.WriteFile("next", []byte("new"), 0o600))
	must(t, m.Rename("next", "doc"))
	lengths, docs := map[int]bool{}, map[string]int{}
	for seed := range uint64(300) {
		after := m.PowerCut(seed)
		got, err := after.ReadFile("kept")
		must(t, err)
		if len(got) < len(synced) || !bytes.Equal(got[:len(synced)], synced) {
			t.Fatalf("seed %d lost synced bytes", seed)
		}
		if rest := bytes.Trim(got[len(synced):], "n\x00"); len(rest) > 0 {
			t.Fatalf("seed %d made up %q", seed, rest)
		}
		lengths[len(got)] = true
		doc, err := after.ReadFile("doc")
		must(t, err)
		docs[string(doc)]++
		again, err := m.PowerCut(seed).ReadFile("kept")
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("seed %d is not repeatable: %v", seed, err)
		}
	}
	if len(lengths) < 10 || len(docs) != 2 || docs["old"] == 0 || docs["new"] == 0 {
		t.Fatalf("%d lengths, documents %v", len(lengths), docs)
	}
}

// A failed Sync loses the bytes even if a later one succeeds.
func TestFailedSyncDropsBytes(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("f")
	must(t, err)
	must(t, m.SyncDir("."))
	_, err = f.WriteAt([]byte("x"), 0)
	must(t, err)
	m.FailAt(1, syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	must(t, f.Sync())
	wantFile(t, m, "f", []byte("x"))
	wantFile(t, m.PowerCut(1), "f", nil)
}

func TestCapacity(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(10)
	f, err := m.Create("f")
	must(t, err)
	if n, err := f.WriteAt(make([]byte, 16), 0); n != 10 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := f.Allocate(11); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("allocate: %v", err)
	}
	_, err = f.WriteAt(make([]byte, 10), 0) // writing over what is there needs no space
	must(t, err)
	must(t, m.Remove("f"))
	if free, err := m.FreeBytes("."); err != nil || free != 10 {
		t.Fatalf("free %d %v", free, err)
	}
}

func TestFailFrom(t *testing.T) {
	m := vfs.NewMem()
	m.FailFrom(2, syscall.EIO)
	must(t, m.SyncDir("."))
	for range 3 {
		if err := m.SyncDir("."); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
	}
	m.FailFrom(0, nil)
	must(t, m.SyncDir("."))
}

func TestManualClock(t *testing.T) {
	start := time.Unix(1000, 0)
	c := vfs.NewManual(start)
	ch := c.After(time.Minute)
	c.Jump(-time.Hour)
	c.Advance(59 * time.Second)
	select {
	case <-ch:
		t.Fatal("fired early")
	default:
	}
	c.Advance(time.Second)
	if at := <-ch; !at.Equal(start.Add(time.Minute - time.Hour)) {
		t.Fatalf("fired at %v", at)
	}
	<-c.After(0)
}
