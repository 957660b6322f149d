package bench

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// errWouldBlock is what a socket says when there is nothing to read now. It is a temporary net.Error, after which crypto/tls
// lets a connection go on.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// maxUnsentBytes bounds what a socket keeps for a broker that reads slowly.
const maxUnsentBytes = 1 << 20

// socket is a TCP connection in one of two ways of use: during the handshakes a blocking net.Conn of the Go runtime, after
// detach a file descriptor of its owner, non-blocking and unknown to the runtime's poller, so that thousands cost one
// goroutine. In both it may carry a tls.Conn. Not safe for concurrent use.
type socket struct {
	net.Conn        // nil after detach
	fd       int    // after detach
	drained  bool   // the last read found less than it had room for: the next one is spared
	unsent   []byte // accepted by Write, not yet taken by the kernel
}

// detach takes the connection away from the runtime.
func (s *socket) detach() error {
	raw, err := s.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		// The duplicate shares O_NONBLOCK, which the runtime has set.
		s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, dupErr, s.Conn.Close()); err != nil {
		return err
	}
	s.Conn = nil
	return nil
}

// Read reads what is there; nothing there is errWouldBlock.
func (s *socket) Read(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Read(p)
	}
	if s.drained {
		return 0, errWouldBlock
	}
	for {
		n, err := unix.Read(s.fd, p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errWouldBlock
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			s.drained = n < len(p)
			return n, nil
		}
	}
}

// Write takes all of p or fails; what the kernel does not take now waits in unsent for flush.
func (s *socket) Write(p []byte) (int, error) {
	if s.Conn != nil {
		return s.Conn.Write(p)
	}
	n := 0
	if len(s.unsent) == 0 {
		var err error
		if n, err = writeSome(s.fd, p); err != nil {
			return n, err
		}
	}
	if len(s.unsent)+len(p)-n > maxUnsentBytes {
		return n, errors.New("the broker does not read what it is sent")
	}
	s.unsent = append(s.unsent, p[n:]...)
	return len(p), nil
}

// flush writes what is unsent, as far as the kernel takes it.
func (s *socket) flush() error {
	n, err := writeSome(s.fd, s.unsent)
	s.unsent = s.unsent[:copy(s.unsent, s.unsent[n:])]
	return err
}

// Close closes the connection in either way of use.
func (s *socket) Close() error {
	if s.Conn != nil {
		return s.Conn.Close()
	}
	return unix.Close(s.fd)
}

// writeSome writes until p is gone or the kernel takes no more.
func writeSome(fd int, p []byte) (n int, err error) {
	for n < len(p) {
		w, err := unix.Write(fd, p[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return n, nil
		case err != nil:
			return n, err
		}
		n += w
	}
	return n, nil
}
