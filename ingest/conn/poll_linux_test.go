package conn

import (
	"net"
	"syscall"
	"testing"
)

// TestConnectionsInheritKeepAlive: TCP asks after a minute of silence whether the peer is there, and small packets are not delayed.
func TestConnectionsInheritKeepAlive(t *testing.T) {
	config := listenConfig()
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		f := func(level, option, want int) {
			t.Helper()
			if got, err := syscall.GetsockoptInt(int(fd), level, option); err != nil || got != want {
				t.Errorf("option %d of level %d: %d, %v, want %d", option, level, got, err, want)
			}
		}
		f(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
		f(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60)
		f(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15)
		f(syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryWakeCounts: the wakes of a poller have no end, although nobody reads its eventfd.
func TestEveryWakeCounts(t *testing.T) {
	p, err := openPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for i := range 10_000 {
		p.wake()
		if n := p.wait(1000); n != 1 {
			t.Fatalf("wake %d ended no wait", i)
		}
		if slot, _ := p.event(0); slot != wakeSlot {
			t.Fatalf("wake %d: event of slot %d", i, slot)
		}
	}
}
