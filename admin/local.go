package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/valyala/fasthttp"

	"muster/registry/account"
)

// maxSocketPath is the longest path of a Unix socket on Linux, without the final zero byte.
const maxSocketPath = 107

// localCaller is whoever can open the local socket: the owner of the data folder, and root.
var localCaller = account.Principal{Name: "local", Role: account.Admin, Via: "local"}

// isLocal says whether a request came through the local socket.
func isLocal(http *fasthttp.RequestCtx) bool {
	_, local := http.LocalAddr().(*net.UnixAddr)
	return local
}

// listenLocal listens on a Unix socket that only its owner can open. A socket that an earlier process left is replaced:
// the caller holds the data folder.
func listenLocal(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %q has %d bytes and a socket's has at most %d: choose a shorter data folder", path, len(path), maxSocketPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

type loginLinkRequest struct {
	User string `json:"user"`
}

type loginLink struct {
	URL string `json:"url"`
}

// postLoginLink makes a code that opens one session of a user within 15 minutes. A user who does not exist is made, as admin.
func postLoginLink(ctx context.Context, s *Server, c *call, in loginLinkRequest) (*loginLink, error) {
	c.target = in.User
	code, err := s.accounts.NewLoginCode(ctx, in.User, account.Admin)
	if err != nil {
		return nil, err
	}
	return &loginLink{s.URL("/login#code=" + code)}, nil
}

// URL returns the address of a page as this machine reaches it.
func (s *Server) URL(page string) string { return "https://" + LocalAddr(s.Addr()) + page }

// LocalAddr returns the address of a listener for a client on this machine: the loopback address where it listens on all.
func LocalAddr(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
}
