package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

type clock struct{}

func (clock) Now() time.Time { return time.UnixMilli(1_795_000_000_000) }

func openLog(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(vfs.OS{}, dir, clock{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendLines(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if err := l.Append(Entry{Who: "ann", From: "10.0.0.1", Operation: "CreateThing", Target: fmt.Sprintf("lamp-%d", i), Result: "ok", Status: 200, RequestID: "r"}, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
}

func wantVerified(t *testing.T, dir string, lines uint64) {
	t.Helper()
	if n, err := Verify(vfs.OS{}, dir); err != nil || n != lines {
		t.Fatalf("verified %d lines, error %v; want %d", n, err, lines)
	}
}

func TestChain(t *testing.T) {
	dir := t.TempDir()
	wantVerified(t, dir, 0)
	l := openLog(t, dir)
	appendLines(t, l, 10)
	wantVerified(t, dir, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(Entry{}, true); err == nil {
		t.Fatal("a closed log takes lines")
	}

	// the chain goes on after a restart
	l = openLog(t, dir)
	appendLines(t, l, 5)
	wantVerified(t, dir, 15)
	lines, err := l.Newest(3)
	if err != nil || len(lines) != 3 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	var e Entry
	if err := json.Unmarshal(lines[0], &e); err != nil || e.Seq != 15 || e.Target != "lamp-4" || e.TimeMs != (clock{}).Now().UnixMilli() {
		t.Fatalf("newest is %+v, %v", e, err)
	}
	if lines, err := l.Newest(100); err != nil || len(lines) != 15 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever byte is changed, whatever line but the last removed, Verify sees it.
func TestTampering(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendLines(t, l, 4)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "audit.log")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(changed []byte, what string) {
		t.Helper()
		if err := os.WriteFile(name, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(vfs.OS{}, dir); err == nil {
			t.Fatalf("%s was not seen", what)
		}
	}
	lastStart := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for i := range text[:lastStart] {
		changed := bytes.Clone(text)
		changed[i] ^= 1
		refuse(changed, fmt.Sprintf("a changed byte %d", i))
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	refuse(bytes.Join([][]byte{lines[0], lines[2], lines[3]}, nil), "a removed line")
	refuse(bytes.Join([][]byte{lines[1], lines[0], lines[2], lines[3]}, nil), "an exchanged pair")
	refuse(bytes.Join([][]byte{lines[0], lines[1], lines[1], lines[2], lines[3]}, nil), "a doubled line")
	refuse(text[:len(text)-5], "a cut line")
}

func TestTornLineIsRemoved(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	appendLines(t, l, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "audit.log")
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,"seq":4,"timeM`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l = openLog(t, dir)
	appendLines(t, l, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, dir, 4)
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	l.fileBytes = 2000
	const lines = 200
	appendLines(t, l, lines)
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.log"))
	if err != nil || len(names) != keepFiles-1 {
		t.Fatalf("%d full files, want %d, %v", len(names), keepFiles-1, err)
	}
	n, err := Verify(vfs.OS{}, dir)
	if err != nil || n >= lines || n < keepFiles*4 {
		t.Fatalf("verified %d lines, %v", n, err)
	}
	if newest, err := l.Newest(6); err != nil || len(newest) != 6 || !strings.Contains(string(newest[0]), `"seq":200`) {
		t.Fatalf("newest: %s, %v", newest, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	// a power cut between the rename and the new file: the chain goes on from the full one
	if err := os.Remove(filepath.Join(dir, "audit.log")); err != nil {
		t.Fatal(err)
	}
	before, err := Verify(vfs.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir)
	appendLines(t, l, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, dir, before+2)
}

// A log kept from the first release reads and goes on; one from a newer release is refused, not damaged.
func TestKeptLogs(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "audit.log")
	kept, err := os.ReadFile("testdata/v1.log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir)
	appendLines(t, l, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, dir, 3)

	newer := []byte(strings.ReplaceAll(string(kept), `"v":1`, `"v":2`))
	if err := os.WriteFile(name, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(vfs.OS{}, dir, clock{}); err == nil || !strings.Contains(err.Error(), "layout 2") {
		t.Fatalf("error %v", err)
	}
	if text, err := os.ReadFile(name); err != nil || !bytes.Equal(text, newer) {
		t.Fatalf("the newer log was changed, %v", err)
	}
}

// gated is the real file system, but the first sync waits until it may go on.
type gated struct {
	vfs.OS
	syncs   atomic.Int64
	release chan struct{}
}

type gatedFile struct {
	vfs.File
	fs *gated
}

func (g *gated) Create(name string) (vfs.File, error) {
	file, err := g.OS.Create(name)
	return gatedFile{file, g}, err
}

func (f gatedFile) Sync() error {
	if f.fs.syncs.Add(1) == 1 {
		<-f.fs.release
	}
	return f.File.Sync()
}

// TestOneSyncForMany: lines that come while a sync runs are on disk after the next one, all together.
func TestOneSyncForMany(t *testing.T) {
	dir := t.TempDir()
	files := &gated{release: make(chan struct{})}
	l, err := Open(files, dir, clock{})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	add := func() {
		if err := l.Append(Entry{Who: "ann", Operation: "CreateThing", Result: "ok", Status: 200}, true); err != nil {
			t.Error(err)
		}
	}
	written := func(n int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if lines, err := l.Newest(100); err != nil || len(lines) == n {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not %d lines", n)
			}
		}
	}
	done.Go(add)
	written(1)
	for range 7 {
		done.Go(add)
	}
	written(8)
	close(files.release)
	done.Wait()
	if n := files.syncs.Load(); n != 2 {
		t.Errorf("%d syncs for 8 lines, want 2", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, dir, 8)
}
