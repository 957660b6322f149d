package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// mosquitto is a broker process of our own, with a configuration in a folder of the run: everything in memory, no
// persistence, nobody subscribed.
type mosquitto struct {
	addr   string
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{}
}

// startMosquitto starts binary on a free port of the loopback address. With ca, it speaks TLS and wants client certificates
// of it; its root for clients is ca, too.
func startMosquitto(ctx context.Context, binary, dir string, ca *authority) (*mosquitto, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\nlog_dest stderr\n", port)
	if ca != nil {
		cert, err := ca.server()
		if err != nil {
			return nil, err
		}
		caFile, certFile, keyFile := filepath.Join(dir, caCertFile), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem")
		if err := errors.Join(writePair(cert, certFile, keyFile), os.WriteFile(caFile, ca.certPEM(), 0o644)); err != nil {
			return nil, err
		}
		config += fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\n", caFile, certFile, keyFile)
	}
	if os.Getuid() == 0 {
		config += "user root\n" // it would give up root and then not read the key
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := allFiles(); err != nil {
		return nil, err
	}
	m := &mosquitto{addr: addr, cmd: exec.Command(binary, "-c", file), log: &tail{}, exited: make(chan struct{})}
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() {
		m.cmd.Wait()
		close(m.exited)
	}()
	if err := waitForListener(ctx, addr, m.exited); err != nil {
		m.stop()
		return nil, fmt.Errorf("start %s: %w\n%s", binary, err, m.log)
	}
	return m, nil
}

// allFiles lets the processes that are started from now on have as many open files as they may. A Go program takes them by itself, but hands
// the limit on that it was started with, often 1024: mosquitto resets connections beyond it.
func allFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	return nil
}

func (m *mosquitto) pid() int { return m.cmd.Process.Pid }

// stop ends the process; it has nothing to lose.
func (m *mosquitto) stop() {
	m.cmd.Process.Kill() // an error means that it has ended
	<-m.exited
}

// freeAddr finds a port of the loopback address that nobody listens on.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// waitForListener waits until addr accepts connections or the process has ended.
func waitForListener(ctx context.Context, addr string, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-exited:
			return errors.New("it ended before it was ready")
		default:
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("it does not listen on %s: %w", addr, err)
		}
	}
}

// findMosquitto returns the path of the program name, also from the folders of system programs, which are not in every PATH.
func findMosquitto(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err != nil && !strings.Contains(name, "/") {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return "", fmt.Errorf("find mosquitto (apt install mosquitto, or --mosquitto PATH): %w", err)
	}
	return path, nil
}
