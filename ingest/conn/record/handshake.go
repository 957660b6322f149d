package record

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Options of New.
type Options struct {
	// TLS is the configuration of the listener. Its KeyLogWriter is not called.
	TLS     *tls.Config
	Metrics *metrics.Set
	Cache   int // built ciphers; 0: DefaultCache
}

// Layer makes the handshakes of one listener. Safe for concurrent use.
type Layer struct {
	config *tls.Config
	now    func() time.Time
	cache  *Cache
	small  sync.Pool // of *[smallBuffer]byte
	large  sync.Pool // of *[MaxRecord]byte

	set     *metrics.Set
	compact *metrics.Counter
	tls12   *metrics.Counter
}

// New returns a Layer. In a process that must use FIPS 140-3 modules only, the ciphers that it builds are refused.
func New(opts Options) (*Layer, error) {
	if fips140.Enforced() {
		return nil, errors.New("the compact record layer builds ciphers that GODEBUG=fips140=only refuses: set ingest.tls to stdlib")
	}
	size := opts.Cache
	if size == 0 {
		size = DefaultCache
	}
	l := &Layer{now: opts.TLS.Time, cache: NewCache(size), set: opts.Metrics,
		compact: opts.Metrics.GetOrCreateCounter(`muster_record_connections_total{layer="compact"}`),
		tls12:   opts.Metrics.GetOrCreateCounter(`muster_record_connections_total{layer="tls12"}`),
	}
	if l.now == nil {
		l.now = time.Now
	}
	base := opts.TLS.Clone()
	l.config = opts.TLS.Clone()
	l.config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return configFor(base, hello) }
	return l, nil
}

// configFor returns base with a KeyLogWriter of its own for one handshake. The keys of session tickets stay those of the
// configuration that the tls.Conn was made with, unless base has some that were set.
func configFor(base *tls.Config, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	chosen := base
	if base.GetConfigForClient != nil {
		own, err := base.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		if own != nil {
			chosen = own
		}
	}
	config := chosen.Clone()
	config.KeyLogWriter = nil
	if slices.Contains(hello.SupportedVersions, tls.VersionTLS13) { // else the master secret would be logged, for nobody
		config.KeyLogWriter = &hello.Conn.(*tap).log
	}
	return config, nil
}

// Handshake makes the handshake of raw. The state is that of crypto/tls, with the certificate of the peer; conn does not keep it.
//
// conn is a *Conn or, for a client of TLS 1.2, a *tls.Conn. It owns raw. After an error the caller closes raw.
func (l *Layer) Handshake(ctx context.Context, raw net.Conn) (conn net.Conn, state tls.ConnectionState, err error) {
	t := &tap{Conn: raw, buf: l.acquireBuffer(smallBuffer)}
	defer func() {
		t.log.wipe()
		if t.buf != nil {
			l.releaseBuffer(t.buf)
			t.buf = nil
		}
	}()
	std := tls.Server(t, l.config)
	if err := std.HandshakeContext(ctx); err != nil {
		return nil, tls.ConnectionState{}, err
	}
	state = std.ConnectionState()
	if state.Version != tls.VersionTLS13 {
		t.stop()
		l.tls12.Inc()
		return std, state, nil
	}
	c := makeConn(l, raw)
	c.resume = state.DidResume
	if err := t.takeOver(c.state, l.cache, state.CipherSuite); err != nil {
		return nil, tls.ConnectionState{}, fmt.Errorf("take over from crypto/tls: %w", err)
	}
	if t.from < t.to { // the client did not wait for us
		c.buf, c.from, c.to = t.buf, t.from, t.to
		t.buf = nil
		c.release()
	}
	l.compact.Inc()
	return c, state, nil
}

// tap is the connection below crypto/tls during a handshake.
type tap struct {
	net.Conn
	log keyLog

	// Reading: what has come is buf[from:to], and crypto/tls is never given more than the rest of a record at once, so that
	// it holds nothing back when the handshake ends.
	buf      []byte // nil after the handshake
	from, to int
	head     [HeaderSize]byte
	headLen  int // 0: the next record begins
	left     int // of the record after its header

	sent []byte // what was written since the secrets were there
	rest []byte // after a handshake of TLS 1.2, what crypto/tls has not read yet
}

func (t *tap) Read(b []byte) (int, error) {
	if t.buf == nil {
		if len(t.rest) > 0 {
			n := copy(b, t.rest)
			t.rest = t.rest[n:]
			return n, nil
		}
		return t.Conn.Read(b)
	}
	if t.from == t.to {
		n, err := t.Conn.Read(t.buf)
		if n == 0 {
			return 0, err
		}
		t.from, t.to = 0, n
	}
	n := t.left
	if t.headLen < HeaderSize {
		n = HeaderSize - t.headLen
	}
	n = copy(b, t.buf[t.from:min(t.to, t.from+n)])
	t.from += n
	if t.headLen < HeaderSize {
		t.headLen += copy(t.head[t.headLen:], b[:n])
		if t.headLen == HeaderSize {
			t.left = int(binary.BigEndian.Uint16(t.head[3:]))
		}
	} else {
		t.left -= n
	}
	if t.headLen == HeaderSize && t.left == 0 {
		t.headLen = 0
	}
	return n, nil
}

// NetConn returns the connection below.
func (t *tap) NetConn() net.Conn { return t.Conn }

// stop makes t a plain connection: crypto/tls goes on with it.
func (t *tap) stop() { t.rest = append(t.rest, t.buf[t.from:t.to]...) }

func (t *tap) Write(b []byte) (int, error) {
	n, err := t.Conn.Write(b)
	if t.log.serverSize > 0 {
		t.sent = append(t.sent, b[:n]...) // the flight of the server and its tickets: what crypto/tls has made itself
	}
	return n, err
}

// takeOver gives s the keys of the connection whose handshake has just ended.
//
// The client's first record is the next to be read (section 5.3: the sequence number starts at zero): crypto/tls was given whole records only,
// and the one with the Finished must end with it (section 5.1), which it checks. The server may have sent records under its
// application keys: its tickets (section 4.6.1), in the flight of the handshake when no certificate is asked for, else after it.
// Those are the ones that open with them.
func (t *tap) takeOver(s *State, cache *Cache, suiteID uint16) error {
	if t.headLen != 0 {
		return errors.New("a part of a record was read")
	}
	client, server := t.log.client[:t.log.clientSize], t.log.server[:t.log.serverSize]
	var probe State // of a client that reads what we sent
	if err := probe.Init(cache, suiteID, server, client, 0); err != nil {
		return err
	}
	defer probe.CloseIn()
	defer probe.CloseOut()
	var plain []byte
	for sent := t.sent; len(sent) > 0; {
		if len(sent) < HeaderSize {
			return errors.New("a part of a record was sent")
		}
		size := HeaderSize + int(binary.BigEndian.Uint16(sent[3:]))
		if size > len(sent) {
			return errors.New("a part of a record was sent")
		}
		if opened, _, err := probe.Open(plain[:0], sent[:size]); err == nil {
			plain = opened
		} else if probe.in.seq > 0 {
			return errors.New("a record after the tickets is not under the same keys")
		}
		sent = sent[size:]
	}
	return s.Init(cache, suiteID, client, server, probe.in.seq)
}

// keyLog takes the two secrets that follow a handshake from crypto/tls: client_ and server_application_traffic_secret_0 (section 7.1).
type keyLog struct {
	client, server         [maxSecret]byte
	clientSize, serverSize int
}

// Write takes one line of the key log: a label, the client random and a secret, the last two in hexadecimal.
//
// It wipes the line, though an io.Writer must not: crypto/tls made it for this call, and the secret in it would lie around.
func (k *keyLog) Write(line []byte) (int, error) {
	defer clear(line)
	label, rest, _ := bytes.Cut(line, []byte(" "))
	_, secret, _ := bytes.Cut(bytes.TrimSuffix(rest, []byte("\n")), []byte(" "))
	dst, size := &k.client, &k.clientSize
	switch string(label) {
	case "CLIENT_TRAFFIC_SECRET_0":
	case "SERVER_TRAFFIC_SECRET_0":
		dst, size = &k.server, &k.serverSize
	default: // of the handshake, or of TLS 1.2
		return len(line), nil
	}
	if len(secret) > 2*maxSecret {
		return 0, fmt.Errorf("a traffic secret of %d digits", len(secret))
	}
	n, err := hex.Decode(dst[:], secret)
	*size = n
	if err != nil {
		return 0, errors.New("a traffic secret that is not hexadecimal")
	}
	return len(line), nil
}

func (k *keyLog) wipe() { *k = keyLog{} }

const smallBuffer = 4 << 10 // most records of devices are smaller

// acquireBuffer borrows a buffer of at least size bytes, MaxRecord at most.
func (l *Layer) acquireBuffer(size int) []byte {
	if size <= smallBuffer {
		if b, ok := l.small.Get().(*[smallBuffer]byte); ok {
			return b[:]
		}
		return new([smallBuffer]byte)[:]
	}
	if b, ok := l.large.Get().(*[MaxRecord]byte); ok {
		return b[:]
	}
	return new([MaxRecord]byte)[:]
}

// releaseBuffer gives a buffer back, whole.
func (l *Layer) releaseBuffer(b []byte) {
	if len(b) == smallBuffer {
		l.small.Put((*[smallBuffer]byte)(b))
		return
	}
	l.large.Put((*[MaxRecord]byte)(b))
}

// countFailure counts a connection that ended with an alert.
func (l *Layer) countFailure(err *Error) {
	from := "here"
	if err.Remote {
		from = "peer"
	}
	l.set.GetOrCreateCounter(fmt.Sprintf(`muster_record_alerts_total{from=%q,alert=%q}`, from, err.Alert)).Inc()
}
