package conn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// Events of epoll(7). syscall.EPOLLET is negative on some machines.
const (
	eventIn     = syscall.EPOLLIN
	eventOut    = syscall.EPOLLOUT
	eventHangup = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	eventEdge   = 1 << 31
)

// wakeSlot is the slot of a poller's own event.
const wakeSlot = -1

// poller waits for events of many sockets. One goroutine waits, any may add and wake.
type poller struct {
	epoll  int
	waker  int // eventfd(2), edge-triggered, so that nobody has to read it
	events [batch]syscall.EpollEvent
}

func openPoller() (*poller, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	waker, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return nil, errors.Join(os.NewSyscallError("eventfd2", errno), syscall.Close(epoll))
	}
	p := &poller{epoll: epoll, waker: int(waker)}
	if err := p.control(p.waker, wakeSlot, eventIn|eventEdge); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *poller) close() error { return errors.Join(syscall.Close(p.epoll), syscall.Close(p.waker)) }

// add reports every event of fd from now on with its slot, until fd is closed.
func (p *poller) add(fd int, slot int32) error {
	return p.control(fd, slot, eventIn|eventOut|syscall.EPOLLRDHUP|eventEdge)
}

func (p *poller) control(fd int, slot int32, events uint32) error {
	event := syscall.EpollEvent{Events: events, Fd: slot}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &event))
}

// wake ends a wait. The counter of the eventfd takes 2^64-2 of them.
func (p *poller) wake() {
	one := uint64(1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(p.waker), uintptr(unsafe.Pointer(&one)), 8)
}

// wait waits timeoutMs at most, -1: for ever, for events and returns how many there are; event reads them.
func (p *poller) wait(timeoutMs int) int {
	if timeoutMs != 0 {
		n, err := syscall.EpollWait(p.epoll, p.events[:], timeoutMs)
		if err != nil { // interrupted
			return 0
		}
		return n
	}
	// What does not wait needs no farewell to the scheduler: a raw system call costs half.
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), batch, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// event returns the slot and the mask of the i-th event.
func (p *poller) event(i int) (slot int32, mask uint32) {
	return p.events[i].Fd, p.events[i].Events
}

// listenConfig has connections inherit the listener's keep-alive (tcp(7)): what Go sets on each takes four system calls. Go turns delays
// of small packets off by itself.
func listenConfig() net.ListenConfig {
	return net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var errs []error
		set := func(fd uintptr, level, option, value int) {
			errs = append(errs, os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), level, option, value)))
		}
		err := raw.Control(func(fd uintptr) {
			set(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
			set(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, int(keepAlive/time.Second))
			set(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, int(keepAliveAgain/time.Second))
		})
		return errors.Join(append(errs, err)...)
	}}
}

// detach takes the socket out of tcp and out of Go's poller, which would wake up for each of its packets as well. The
// descriptor is duplicated and the first one closed (Go removes that from its poller), so that one per connection remains.
// It stays non-blocking. After an error tcp is as it was.
func detach(tcp *net.TCPConn) (fd int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	var errno syscall.Errno
	err = raw.Control(func(old uintptr) {
		var n uintptr
		if n, _, errno = syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0); errno == 0 {
			fd = int(n)
		}
	})
	if err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, fmt.Errorf("park a connection: %w", os.NewSyscallError("fcntl", errno))
	}
	_ = tcp.Close() // the duplicate is what counts
	return fd, nil
}

// readSocket and writeSocket never wait: a raw system call is enough, which costs half. would says that the call would have
// had to wait.
func readSocket(fd int, b []byte) (n int, would bool, err error) {
	return transfer(syscall.SYS_RECVFROM, fd, b)
}

func writeSocket(fd int, b []byte) (n int, would bool, err error) {
	return transfer(syscall.SYS_SENDTO, fd, b)
}

// transfer makes a call for sockets, which spares what read and write do for files of other kinds.
func transfer(call uintptr, fd int, b []byte) (n int, would bool, err error) {
	const flags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
	for {
		r, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(r), false, nil
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINTR:
		default:
			return 0, false, errno
		}
	}
}

// shutdownSocket ends our direction.
func shutdownSocket(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) }

func closeSocket(fd int) { _ = syscall.Close(fd) } // nobody is there to be told
