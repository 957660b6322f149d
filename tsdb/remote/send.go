package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"muster/tsdb/vfs"
)

const (
	maxTokenBytes = 16 << 10
	// maxRetryAfter bounds what the other side may ask for.
	maxRetryAfter = time.Hour
	// maxAnswerBytes of an error's text are shown.
	maxAnswerBytes = 512
)

func newClient(opts *Options) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if opts.CAFile != "" {
		text, err := opts.FS.ReadFile(opts.CAFile)
		if err != nil {
			return nil, fmt.Errorf("setting remote.tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("setting remote.tls-ca: %q has no PEM certificate", opts.CAFile)
		}
	}
	return &http.Client{
		Timeout: opts.Timeout,
		// A redirect would send telemetry, and the token, where the operator did not say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: 2 * time.Minute, ForceAttemptHTTP2: true},
	}, nil
}

func readToken(fsys vfs.FS, file string) (string, error) {
	text, err := fsys.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("setting remote.bearer-token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(token) > maxTokenBytes || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("setting remote.bearer-token-file: %q must have one line with a token", file)
	}
	return token, nil
}

// answer is what came of one request: taken, refused for good, or neither, and then when to try again at the earliest.
type answer struct {
	taken   bool
	refused bool
	after   time.Duration
	err     error
}

// send makes one request (Prometheus remote write 1.0, section "Protocol").
func (f *Forwarder) send(ctx context.Context, body []byte) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.opts.URL, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	request.Header.Set("User-Agent", "muster")
	if f.opts.BearerTokenFile != "" {
		token, err := readToken(f.opts.FS, f.opts.BearerTokenFile)
		if err != nil {
			return answer{err: err}
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.count("error")
		return answer{err: err}
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	closeErr := response.Body.Close()
	code := response.StatusCode
	f.count(strconv.Itoa(code/100) + "xx")
	if code/100 == 2 {
		return answer{taken: true} // whatever its body says
	}
	if err := errors.Join(err, closeErr); err != nil {
		return answer{err: err}
	}
	a := answer{err: fmt.Errorf("it answers %d %s: %s", code, http.StatusText(code), firstLine(text)), refused: isRefusal(code)}
	if code/100 == 3 {
		a.err = errRedirect
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		a.after = retryAfter(response.Header.Get("Retry-After"), f.opts.Clock.Now())
	}
	return a
}

func (f *Forwarder) count(code string) {
	f.opts.Metrics.GetOrCreateCounter(fmt.Sprintf(`muster_remote_requests_total{code=%q}`, code)).Inc()
}

// isRefusal says whether a status is about what the batch says, so that the same batch would be refused for ever. The
// exceptions are about the settings or the moment: a token that has ended or a wrong address must not cost telemetry.
func isRefusal(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return code/100 == 4
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return strings.ToValidUTF8(line, "?")
}
