// Package admin is where people and programs talk to a gateway: the HTTP listener with the JSON API of the UI, the
// control plane in AWS IoT's shape, the Prometheus HTTP API, enrolment (EST), health, metrics and the UI's files.
//
// It owns no facts: it asks the registry, the telemetry store, the identity service and the accounts, and joins them.
// It owns who may do what (route.go, caller.go) and the audit log. All routes are rows of tables; a row says method,
// path, operation and scope, and metrics, audit lines and the OpenAPI document (openapi.go) follow from it. It is the only package that uses fasthttp.
//
// Goroutines: fasthttp's workers, and one that counts rates once a second and feeds the live overview (live.go).
// Open starts none; Serve starts them; Shutdown ends and awaits them.
package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"muster/admin/audit"
	"muster/registry"
	"muster/registry/access"
	"muster/registry/account"
	"muster/registry/fleetmetric"
	"muster/tsdb"
	"muster/tsdb/intake"
	"muster/tsdb/vfs"
)

// Telemetry is what admin asks the twin store.
type Telemetry interface {
	Twin(dst []tsdb.Field, thing tsdb.ThingID) []tsdb.Field
	Stats() tsdb.Stats
	Ready() error
	Metrics() []tsdb.Metric
}

// Traffic is what the devices' side has counted since its start.
type Traffic struct {
	Messages uint64 // received
	Refused  uint64 // connections and messages refused
}

// Options are what Open needs. Addr or Listener, TLS, DataDir, FS, Clock, Accounts and Registry are required; what is
// nil of the others is not served.
type Options struct {
	Addr     string       // ":8443"; port 0 takes a free one
	Listener net.Listener // instead of Addr, without TLS; Shutdown closes it
	// LocalSocket is the path of a Unix socket that serves the same to whoever may open it, with the role admin; "": none.
	LocalSocket string
	TLS         *tls.Config
	DataDir     string // of audit.log and the setup code
	FS          vfs.FS
	Clock       vfs.Clock
	Log         *slog.Logger
	Metrics     *metrics.Set
	Version     string

	Accounts  *account.Accounts
	Registry  *registry.Registry
	Telemetry Telemetry
	Identity  Identity
	Access    *access.Book
	// FleetMetrics are recorded by whoever opened them.
	FleetMetrics *fleetmetric.Metrics
	// Query answers a request of the Prometheus HTTP API; path follows /prometheus.
	Query func(ctx context.Context, method, path string, form url.Values) (status int, contentType string, body []byte)
	// Intake takes telemetry of other programs; nil: none is taken.
	Intake func(ctx context.Context, r intake.Request) intake.Response
	Raw    Raw // nil: no raw samples are handed out
	// Traffic must be cheap: it is called once a second.
	Traffic func() Traffic
	// MQTT takes over a connection that was upgraded at /mqtt and returns when it ended. The TLS state is in reach by
	// interface{ ConnectionState() tls.ConnectionState }.
	MQTT     func(net.Conn)
	Messages Messages // the devices' broker; nil: none
	Troubles Troubles // nil: none are known
	Readings Readings // telemetry schemas of thing types; nil: there are none
	Events   *Events  // which registry events are announced; nil: DataDir says it
	// MQTTAddr is the address of the devices' listener, for DescribeEndpoint.
	MQTTAddr func() net.Addr
	// NotReady says why the gateway as a whole is not ready, beyond Telemetry.Ready; nil or "" where it is.
	NotReady func() string
	UI       fs.FS // the built UI, rooted at index.html
	// Backup writes a backup to a path on this machine and returns what the answer says. Its errors are sentences for the caller.
	Backup func(ctx context.Context, to string, withUnlockKey bool) (any, error)

	HSTS             bool          // only where the certificate is one that browsers trust for this name on all ports
	ReadTimeout      time.Duration // for a whole request, handshake included; default 15 s
	WriteTimeout     time.Duration // for an answer; default 60 s
	IdleTimeout      time.Duration // between requests; default 2 min
	QueryTimeout     time.Duration // for a PromQL query; default 10 s
	MaxConnsPerAddr  int           // default 256
	MaxConns         int           // default 4096
	MaxLiveListeners int           // open live overviews; default 64
}

func (o Options) withDefaults() (Options, error) {
	if o.TLS == nil || o.FS == nil || o.Clock == nil || o.Accounts == nil || o.Registry == nil {
		return o, errors.New("BUG: admin needs TLS, FS, Clock, Accounts and Registry")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Traffic == nil {
		o.Traffic = func() Traffic { return Traffic{} }
	}
	orDuration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	orDuration(&o.ReadTimeout, 15*time.Second)
	orDuration(&o.WriteTimeout, time.Minute)
	orDuration(&o.IdleTimeout, 2*time.Minute)
	orDuration(&o.QueryTimeout, 10*time.Second)
	orInt := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	orInt(&o.MaxConnsPerAddr, 256)
	orInt(&o.MaxConns, 4096)
	orInt(&o.MaxLiveListeners, 64)
	return o, nil
}

const (
	handlerTimeout = 30 * time.Second
	// Bodies: a stranger may send what a login or a certificate request needs; who has a credential may send more.
	strangerBody = 64 << 10
	knownBody    = 1 << 20
	csvBody      = 8 << 20
	headerBytes  = 16 << 10
)

// Server is the open HTTP side. Its methods are safe for concurrent use.
type Server struct {
	opts     Options
	log      *slog.Logger
	accounts *account.Accounts
	registry *registry.Registry
	listener *listener
	http     *fasthttp.Server
	local    net.Listener     // nil: none
	localAPI *fasthttp.Server // of local
	audit    *audit.Log
	indexing *indexing
	events   *Events
	live     *live
	static   *static
	api      *table // at the root
	iot      *table // AWS IoT's control plane
	data     *table // and its data plane

	started  time.Time
	measures sync.Map // measured -> requestMetrics
	ids      string   // prefix of request ids, new with each start
	lastID   atomic.Uint64
	refusal  *refusals

	// Shutdown ends the streams at its beginning, and requests that still run at its end.
	streams    context.Context
	endStreams context.CancelFunc
	ctx        context.Context
	cancel     context.CancelFunc
	life       sync.Mutex // guards stopped, and served against an Add after the Wait
	stopped    bool
	served     sync.WaitGroup
}

// Open binds the listener and opens the audit log. Nothing is served before Serve.
func Open(opts Options) (*Server, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, log: opts.Log, accounts: opts.Accounts, registry: opts.Registry,
		started: opts.Clock.Now(), refusal: newRefusals(opts.Clock),
		api: newTable(apiDomains), iot: newTable(iotDomains), data: newTable(dataDomains),
	}
	if opts.FleetMetrics != nil {
		s.registry.Taggable("fleetmetric", opts.FleetMetrics.Exists)
	}
	prefix := make([]byte, 4)
	if _, err := rand.Read(prefix); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	s.ids = hex.EncodeToString(prefix)
	if opts.UI != nil {
		if s.static, err = openStatic(opts.UI); err != nil {
			return nil, fmt.Errorf("read the UI's files: %w", err)
		}
	}
	if s.indexing, err = openIndexing(opts.FS, opts.DataDir); err != nil {
		return nil, err
	}
	if s.events = opts.Events; s.events == nil {
		if s.events, err = OpenEvents(opts.FS, opts.DataDir); err != nil {
			return nil, err
		}
	}
	if s.audit, err = audit.Open(opts.FS, opts.DataDir, opts.Clock); err != nil {
		return nil, err
	}
	raw := opts.Listener
	if raw == nil {
		if raw, err = net.Listen("tcp", opts.Addr); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for HTTP at %s: %w (is another program there? choose another http.addr)", opts.Addr, err), s.audit.Close())
		}
	}
	if opts.LocalSocket != "" {
		if s.local, err = listenLocal(opts.LocalSocket); err != nil { // the gateway works without; its own commands do not
			s.log.Warn("muster admin and muster query will not reach this gateway", "err", err)
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.streams, s.endStreams = context.WithCancel(s.ctx)
	s.listener = newListener(raw, opts.TLS, opts.MaxConnsPerAddr, opts.Metrics.GetOrCreateCounter("muster_admin_connections_refused_total"))
	s.live = newLive(s)
	s.http = s.newHTTP()
	s.http.HeaderReceived = s.limits
	s.http.ExpectHandler = s.mayContinue
	// Who may open the local socket is known from the start, so that a large body needs no look at the header.
	s.localAPI = s.newHTTP()
	s.localAPI.MaxRequestBodySize = csvBody
	return s, nil
}

// newHTTP returns an HTTP server with the limits for everybody.
func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.serve,
		ErrorHandler:                 s.unreadable,
		ReadTimeout:                  s.opts.ReadTimeout,
		WriteTimeout:                 s.opts.WriteTimeout,
		IdleTimeout:                  s.opts.IdleTimeout,
		Concurrency:                  s.opts.MaxConns,
		MaxRequestBodySize:           strangerBody,
		ReadBufferSize:               headerBytes,
		CloseOnShutdown:              true,
		Logger:                       silent{},
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
	}
}

// silent drops fasthttp's own log: it writes a line for every client that goes away.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Addr returns the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until Shutdown. An error that ends the listener goes to the log.
func (s *Server) Serve() {
	s.life.Lock()
	if s.stopped {
		s.life.Unlock()
		return
	}
	s.served.Go(s.live.run)
	s.served.Go(func() { s.logEnd("HTTP listener", s.http.Serve(s.listener)) })
	if s.local != nil {
		s.served.Go(func() { s.logEnd("local socket", s.localAPI.Serve(s.local)) })
	}
	s.life.Unlock()
	s.served.Wait()
}

func (s *Server) logEnd(what string, err error) {
	if err != nil && s.streams.Err() == nil {
		s.log.Error(what+" ended", "err", err)
	}
}

// Shutdown takes no more connections, ends the live streams, waits for running requests until ctx ends, and closes
// the audit log. It is called once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.life.Lock()
	s.stopped = true
	s.life.Unlock()
	s.endStreams()
	err := s.http.ShutdownWithContext(ctx)
	if s.local != nil {
		err = errors.Join(err, s.localAPI.ShutdownWithContext(ctx), ignoreClosed(s.local.Close()))
	}
	s.cancel()
	if err != nil {
		err = fmt.Errorf("HTTP requests still running at shutdown: %w", err)
		s.listener.closeAll()
	}
	err = errors.Join(err, ignoreClosed(s.listener.Close()))
	s.served.Wait()
	return errors.Join(err, s.audit.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
