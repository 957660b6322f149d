package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// gateway is a `muster serve` of our own: a child process with a data directory in a folder of the run.
type gateway struct {
	binary    string
	dataDir   string
	bootstrap string // file

	confine *profile // nil: the gateway has the whole machine

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended and its output is read
	log    *tail         // what it wrote to stderr

	mqtt, plain, http string // addresses, as the process printed them
	started           time.Duration
}

// startTimeout is how long a gateway may take until it says ready; far more than it should.
const startTimeout = 30 * time.Second

// stopTimeout is how long a gateway may take to end after SIGTERM.
const stopTimeout = 20 * time.Second

// newGateway prepares a gateway below dir. token is its admin token; deviceCA, if not nil, may register devices.
func newGateway(binary, dir, token string, deviceCA *authority) (*gateway, error) {
	type clientCA struct {
		File         string `json:"file"`
		AutoRegister bool   `json:"autoRegister"`
	}
	content := struct {
		AdminToken string     `json:"adminToken"`
		ClientCAs  []clientCA `json:"clientCAs,omitempty"`
	}{AdminToken: token}
	if deviceCA != nil {
		file := filepath.Join(dir, caCertFile)
		if err := os.WriteFile(file, deviceCA.certPEM(), 0o644); err != nil {
			return nil, err
		}
		content.ClientCAs = []clientCA{{File: file, AutoRegister: true}}
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	g := &gateway{binary: binary, dataDir: filepath.Join(dir, "data"), bootstrap: filepath.Join(dir, "bootstrap.json")}
	return g, os.WriteFile(g.bootstrap, text, 0o600)
}

// start runs the process until it is ready and notes the time that took.
func (g *gateway) start(ctx context.Context, extra ...string) error {
	args := append([]string{"serve", "--data-dir", g.dataDir, "--bootstrap", g.bootstrap,
		"--mqtt.addr", "127.0.0.1:0", "--mqtt.plain-addr", "127.0.0.1:0", "--http.addr", "127.0.0.1:0"}, extra...)
	g.cmd = exec.Command(g.binary, args...)
	g.log = &tail{}
	g.cmd.Stderr = g.log
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	start := g.cmd.Start
	if g.confine != nil {
		start = func() error { return g.confine.start(g.cmd) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("start %s: %w", g.binary, err)
	}
	g.exited = make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		defer close(g.exited)
		ready <- g.readReady(stdout)
		io.Copy(io.Discard, stdout)
		g.cmd.Wait()
	}()
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case err = <-ready:
	case <-timer.C:
		err = fmt.Errorf("not ready after %v", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.started = time.Since(began)
	if err != nil {
		g.kill()
		return fmt.Errorf("start %s %s: %w\n%s", g.binary, strings.Join(args, " "), err, g.log)
	}
	return nil
}

// readReady reads the lines that the gateway prints until it is ready.
func (g *gateway) readReady(stdout io.Reader) error {
	g.mqtt, g.plain, g.http = "", "", ""
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 3 && fields[0] == "listening":
			switch fields[1] {
			case "mqtt":
				g.mqtt = fields[2]
			case "mqtt-plain":
				g.plain = fields[2]
			case "http":
				g.http = fields[2]
			}
		case len(fields) == 1 && fields[0] == "ready":
			if g.mqtt == "" || g.plain == "" || g.http == "" {
				return fmt.Errorf("it is ready but did not name its listeners: mqtt %q, mqtt-plain %q, http %q", g.mqtt, g.plain, g.http)
			}
			return nil
		}
	}
	return errors.Join(lines.Err(), errors.New("it ended before it was ready"))
}

func (g *gateway) pid() int { return g.cmd.Process.Pid }

// caFile is the file of its root certificate.
func (g *gateway) caFile() string { return filepath.Join(g.dataDir, "ca.pem") }

// running reports whether the process lives.
func (g *gateway) running() bool {
	select {
	case <-g.exited:
		return false
	default:
		return true
	}
}

// kill ends the process as a power cut does, and waits until it is gone.
func (g *gateway) kill() {
	g.cmd.Process.Kill() // an error means that it has ended
	<-g.exited
}

// stop asks the process to end, and returns an error if it does not end well and in time.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	select {
	case <-g.exited:
	case <-time.After(stopTimeout):
		g.kill()
		return fmt.Errorf("the gateway did not end within %v of SIGTERM\n%s", stopTimeout, g.log)
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the gateway ended with exit code %d after SIGTERM\n%s", code, g.log)
	}
	return nil
}

// tail keeps the last lines of a process's output. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

// maxTailBytes is how much of the output is kept.
const maxTailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
