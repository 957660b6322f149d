package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// restAPI speaks JSON with a gateway's HTTP API as its administrator. Safe for concurrent use.
type restAPI struct {
	base   string
	token  string
	client *http.Client
}

// newRestAPI returns the API of a gateway of our own, which keeps up to conns connections open.
func newRestAPI(g *gateway, token string, conns int) (*restAPI, error) {
	prom, err := newPromAPI("https://"+g.http, token, g.caFile())
	if err != nil {
		return nil, err
	}
	prom.client.Transport.(*http.Transport).MaxIdleConnsPerHost = conns
	return &restAPI{base: prom.base, token: token, client: prom.client}, nil
}

func (a *restAPI) close() { a.client.CloseIdleConnections() }

// restError is an answer that is no success.
type restError struct {
	method, path string
	status       int
	body         string
}

func (e *restError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %.500s", e.method, e.path, e.status, e.body)
}

// do sends in, nil for no body, and decodes the answer into out, nil for nobody. It returns how long the answer took.
func (a *restAPI) do(ctx context.Context, method, path string, in, out any) (time.Duration, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	began := time.Now()
	response, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	took := time.Since(began)
	switch {
	case err != nil:
		return took, fmt.Errorf("%s %s: %w", method, path, err)
	case response.StatusCode/100 != 2:
		return took, &restError{method, path, response.StatusCode, string(text)}
	case out == nil:
		return took, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return took, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return took, nil
}
