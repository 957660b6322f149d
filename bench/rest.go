package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// restAPI speaks JSON with a gateway's HTTP API as its administrator, over connections that are kept. Safe for concurrent use.
//
// It shares the machine with the gateway, and what it takes itself counts as the gateway's latency. net/http reads its answers, but its
// client hands each request from goroutine to goroutine: of the 100 us that GetStatistics takes it makes 180, and client and a server that does
// nothing take 2.6 times the processor time together (120 us in place of 46). Making 100,000 things within a minute would do with it.
type restAPI struct {
	addr   string
	header string // the lines of every request
	tls    *tls.Config

	mu   sync.Mutex // guards idle
	idle []*restConn
	most int // connections that are kept
}

const (
	// restTimeout is how long an answer may take.
	restTimeout = 30 * time.Second
	// restIdle is how long a connection is kept that nobody uses; the gateway closes it after two minutes.
	restIdle = time.Minute
)

// newRestAPI returns the API of a gateway of our own, which keeps up to conns connections open.
func newRestAPI(g *gateway, token string, conns int) (*restAPI, error) {
	prom, err := newPromAPI("https://"+g.http, token, g.caFile())
	if err != nil {
		return nil, err
	}
	config := prom.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	if config.ServerName, _, err = net.SplitHostPort(g.http); err != nil {
		return nil, err
	}
	return &restAPI{addr: g.http, tls: config, most: conns,
		header: " HTTP/1.1\r\nHost: " + g.http + "\r\nAuthorization: Bearer " + token + "\r\n"}, nil
}

func (a *restAPI) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.idle {
		c.conn.Close()
	}
	a.idle = nil
}

// restError is an answer that is no success.
type restError struct {
	method, path string
	status       int
	body         string
}

func (e *restError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %.500s", e.method, e.path, e.status, e.body)
}

// restConn is a connection. Its buffers are used for one request after the other.
type restConn struct {
	conn  net.Conn
	in    *bufio.Reader
	out   []byte
	body  bytes.Buffer
	since time.Time // when it was last used
}

// take returns a connection, a new one if all are in use.
func (a *restAPI) take(ctx context.Context) (*restConn, error) {
	a.mu.Lock()
	for n := len(a.idle); n > 0; n = len(a.idle) {
		c := a.idle[n-1]
		a.idle = a.idle[:n-1]
		if time.Since(c.since) < restIdle {
			a.mu.Unlock()
			return c, nil
		}
		c.conn.Close()
	}
	a.mu.Unlock()
	conn, err := (&tls.Dialer{Config: a.tls}).DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, err
	}
	return &restConn{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}, nil
}

func (a *restAPI) giveBack(c *restConn) {
	c.since = time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.idle) < a.most {
		a.idle = append(a.idle, c)
		return
	}
	c.conn.Close()
}

// do sends in, nil for no body and []byte for JSON that is made, and decodes the answer into out, nil for nobody. It returns how long the
// answer took: until its last byte was read, and without the handshake of a new connection.
func (a *restAPI) do(ctx context.Context, method, path string, in, out any) (took time.Duration, err error) {
	text, made := in.([]byte)
	if in != nil && !made {
		if text, err = json.Marshal(in); err != nil {
			return 0, err
		}
	}
	c, err := a.take(ctx)
	if err != nil {
		return 0, err
	}
	c.out = append(append(append(c.out[:0], method...), ' '), path...)
	c.out = append(append(c.out, a.header...), "Content-Length: "...)
	c.out = append(strconv.AppendInt(c.out, int64(len(text)), 10), "\r\n\r\n"...)
	c.out = append(c.out, text...)

	began := time.Now()
	c.conn.SetDeadline(began.Add(restTimeout))
	end := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	status, kept, err := c.roundTrip()
	took = time.Since(began)
	if !end() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.conn.Close()
		return took, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if kept {
		defer a.giveBack(c)
	} else {
		defer c.conn.Close()
	}
	switch {
	case status/100 != 2:
		return took, &restError{method, path, status, c.body.String()}
	case out == nil:
		return took, nil
	}
	if err := json.Unmarshal(c.body.Bytes(), out); err != nil {
		return took, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return took, nil
}

// roundTrip writes the request in out and reads the answer into body. kept says that the connection can be used again.
func (c *restConn) roundTrip() (status int, kept bool, err error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, false, err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, false, err
	}
	c.body.Reset()
	n, err := c.body.ReadFrom(io.LimitReader(answer.Body, maxAnswerBytes+1))
	if n > maxAnswerBytes {
		err = fmt.Errorf("the body has more than %d bytes", maxAnswerBytes)
	}
	return answer.StatusCode, !answer.Close, err
}
