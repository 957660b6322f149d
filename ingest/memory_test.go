//go:build linux

package ingest_test

import (
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"muster/ingest"
)

// idleBudget is what one idle plain connection may cost, session and all, without the kernel's part: 2.4 to 3.2 KB are
// measured, by how far maps have grown and which stacks are still cached; the goal of the design is 6 KiB.
const idleBudget = 4 << 10

// TestMemoryOfIdleConnections measures what each more of many connections takes of heap and stacks.
func TestMemoryOfIdleConnections(t *testing.T) {
	if loop != ingest.LoopEpoll {
		t.Skip("two goroutines cost more")
	}
	f := newFixture(t, false).start()
	to := f.server.PlainAddr().(*net.TCPAddr)
	addr := &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	var fds []int
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	})
	connect := func(until int) {
		t.Helper()
		for i := len(fds); i < until; i++ { // without Go's net, whose part would be counted
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
			if err := syscall.Connect(fd, addr); err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprint("lamp-", i)
			b := append(connectPacket(4, name), publishPacket(4, "dt/"+name, `{"a":1}`, 1, 1, false)...)
			if _, err := syscall.Write(fd, b); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all connections and messages", func() bool {
			s := f.server.Stats()
			return s.Connections == until && s.Acks == uint64(until)
		})
	}
	inUse := func() uint64 {
		for range 3 { // also what pools let go of, and the stacks of goroutines that have ended
			runtime.GC()
			time.Sleep(10 * time.Millisecond)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const few, many = 1000, 4000
	connect(few)
	before := inUse()
	connect(many)
	perConn := (int64(inUse()) - int64(before)) / (many - few)
	t.Logf("%d bytes for each idle connection", perConn)
	if perConn > idleBudget {
		t.Errorf("an idle connection takes %d bytes, want %d at most", perConn, idleBudget)
	}
}
