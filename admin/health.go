package admin

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// notReady returns why this gateway does not take work now, "" when it does.
func (s *Server) notReady(ctx context.Context) string {
	if ctx.Err() != nil || s.streams.Err() != nil {
		return "the gateway is stopping"
	}
	if s.opts.Telemetry != nil {
		if err := s.opts.Telemetry.Ready(); err != nil {
			return err.Error()
		}
	}
	if s.opts.NotReady != nil {
		return s.opts.NotReady()
	}
	return ""
}

type health struct {
	Status string `json:"status"`
}

func getHealth(context.Context, *Server, *call) (*health, error) {
	return &health{"ok"}, nil
}

// readiness has the status 503 where it is false.
type readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

func getReady(ctx context.Context, s *Server, c *call) (*written, error) {
	if reason := s.notReady(ctx); reason != "" {
		return &written{}, writeJSON(c, fasthttp.StatusServiceUnavailable, readiness{Reason: reason})
	}
	return &written{}, writeJSON(c, fasthttp.StatusOK, readiness{Ready: true})
}

func getMetrics(_ context.Context, s *Server, c *call) (*written, error) {
	var text bytes.Buffer
	s.opts.Metrics.WritePrometheus(&text)
	metrics.WriteProcessMetrics(&text)
	c.http.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	c.http.SetBody(text.Bytes())
	return &written{}, nil
}

// ResidentBytes returns the resident memory of this process, 0 where /proc does not tell.
func ResidentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
