package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"muster/tsdb/prom"
)

// peer is another store of this machine: VictoriaMetrics, or Prometheus with its remote write receiver.
type peer struct {
	url    string
	pid    int
	dir    string
	client http.Client
	buf    []byte
	packed []byte
}

// requestRows is how many messages are in one remote write request.
const requestRows = 1000

// peerLoaded is what a load took the peer.
type peerLoaded struct {
	samples      int
	durable, all time.Duration
	bytes        int64 // on disk
	written      int64
}

// load sends the same fleet. What the peer has done when it answers counts as durable, with its flush where it has one; all is when it has
// merged what there is to merge and is quiet.
func (p *peer) load(ctx context.Context, m *measurement) (l peerLoaded, err error) {
	before, err := p.usage()
	if err != nil {
		return l, err
	}
	f := newFleet(0, m.devices, m.seed)
	var messages []message
	for n := range m.rows + 1 {
		if n < m.rows {
			messages = f.round(messages[:0])
		} else {
			messages = f.rest(messages[:0])
		}
		if err := p.write(ctx, messages); err != nil {
			return l, err
		}
		l.samples += len(messages) * columns
	}
	if _, err := p.command(ctx, "/internal/force_flush"); err != nil {
		return l, err
	}
	now, err := p.usage()
	if err != nil {
		return l, err
	}
	l.durable = now.cpu - before.cpu
	if _, err := p.command(ctx, "/internal/force_merge"); err != nil {
		return l, err
	}
	if now, err = p.quiet(ctx); err != nil {
		return l, err
	}
	l.all, l.written = now.cpu-before.cpu, now.written-before.written
	l.bytes, err = folderBytes(p.dir)
	return l, err
}

// memory is measurement.memory for the peer, which gives memory back when its garbage collector likes to: about.
func (p *peer) memory(ctx context.Context, m *measurement) (float64, error) {
	devices := int(float64(scaleDevices) * m.scale)
	f := newFleet(1_000_000, devices, m.seed) // their names are none of the load's: every series is new
	if _, err := p.quiet(ctx); err != nil {
		return 0, err
	}
	before, err := residentBytes(p.pid)
	if err != nil {
		return 0, err
	}
	var messages []message
	for range scaleRounds {
		messages = f.round(messages[:0])
		if err := p.write(ctx, messages); err != nil {
			return 0, err
		}
	}
	if _, err := p.quiet(ctx); err != nil {
		return 0, err
	}
	after, err := residentBytes(p.pid)
	return float64(after-before) / float64(devices) / columns, err
}

// write sends messages by remote write.
func (p *peer) write(ctx context.Context, messages []message) error {
	for len(messages) > 0 {
		n := min(requestRows, len(messages))
		p.buf = appendWriteRequest(p.buf[:0], messages[:n])
		messages = messages[n:]
		p.packed = s2.EncodeSnappy(p.packed[:cap(p.packed)], p.buf)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/api/v1/write", bytes.NewReader(p.packed))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/x-protobuf")
		request.Header.Set("Content-Encoding", "snappy")
		request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		if status, body, err := p.do(request); err != nil || status/100 != 2 {
			return errors.Join(err, fmt.Errorf("remote write: HTTP %d: %.300s", status, body))
		}
	}
	return nil
}

// command calls one of VictoriaMetrics' own paths, and reports whether the peer has it: Prometheus does not.
func (p *peer) command(ctx context.Context, path string) (known bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return false, err
	}
	status, _, err := p.do(request)
	return status == http.StatusOK, err
}

// name is what to call the peer.
// victoriaMetrics is the peer that the goals are set beside.
const victoriaMetrics = "VictoriaMetrics"

func (p *peer) name(ctx context.Context) (string, error) {
	victoria, err := p.command(ctx, "/internal/force_flush")
	if err != nil {
		return "", fmt.Errorf("--vs: %w", err)
	}
	if victoria {
		return victoriaMetrics, nil
	}
	return "Prometheus", nil
}

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 64 << 20

func (p *peer) do(request *http.Request) (status int, body []byte, err error) {
	response, err := p.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	return response.StatusCode, body, err
}

// ask asks the peer over HTTP.
func (p *peer) ask(ctx context.Context, q question) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+q.path+"?"+q.form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	status, body, err := p.do(request)
	if err != nil || status != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("%v: HTTP %d: %.300s", q.form, status, body))
	}
	return body, nil
}

// serve puts api behind HTTP on loopback, as a peer is, and returns its client and how to end it.
func serve(api *prom.API) (*peer, func() error, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := api.Serve(r.Context(), r.Method, r.URL.Path, r.Form)
		w.Header().Set("Content-Type", answer.ContentType)
		w.WriteHeader(answer.Status)
		w.Write(answer.Body) // the client sees what is missing
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	stop := func() error {
		err := server.Close()
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}
	return &peer{url: "http://" + listener.Addr().String()}, stop, nil
}

// peerUsage is what the peer's process has used.
type peerUsage struct {
	cpu     time.Duration
	written int64 // bytes sent to the disk
}

// userHz is the unit of the times in /proc/PID/stat (proc(5)).
const userHz = 100

func (p *peer) usage() (u peerUsage, err error) {
	dir := "/proc/" + strconv.Itoa(p.pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, fmt.Errorf("--vs-pid: %w", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat is not as proc(5) says: %q", dir, stat)
	}
	for _, field := range fields[11:13] { // user and system, fields 14 and 15 counted from 1
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * (time.Second / userHz)
	}
	counts, err := os.ReadFile(dir + "/io")
	if err != nil {
		return u, fmt.Errorf("--vs-pid: %w", err)
	}
	for line := range strings.Lines(string(counts)) {
		if text, found := strings.CutPrefix(line, "write_bytes:"); found {
			u.written, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
	}
	return u, err
}

// quiet waits until the peer has used next to nothing for a second, or for half a minute.
func (p *peer) quiet(ctx context.Context) (u peerUsage, err error) {
	if u, err = p.usage(); err != nil {
		return u, err
	}
	for range 30 {
		if err := wait(ctx, time.Second); err != nil {
			return u, err
		}
		before := u.cpu
		if u, err = p.usage(); err != nil || u.cpu-before < 30*time.Millisecond {
			return u, err
		}
	}
	return u, nil
}

// residentBytes is the resident memory of a process.
func residentBytes(pid int) (int64, error) {
	rollup, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	for line := range strings.Lines(string(rollup)) {
		if text, found := strings.CutPrefix(line, "Rss:"); found {
			kb, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup of process %d has no Rss", pid)
}

// folderBytes is the size of all files below dir.
func folderBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged away meanwhile
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
