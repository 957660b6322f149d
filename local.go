package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"
)

// localSocketName is the socket in the data folder that serves the HTTP API to whoever may open it (docs/decisions/0003).
const localSocketName = "muster.sock"

const (
	localTimeout     = time.Minute
	maxLocalResponse = 256 << 20
)

// localClient calls the HTTP API of the gateway that runs in a data folder of this machine.
type localClient struct {
	http    http.Client
	dataDir string
}

func newLocalClient(dataDir string) *localClient {
	socket := filepath.Join(dataDir, localSocketName)
	return &localClient{dataDir: dataDir, http: http.Client{
		Timeout: localTimeout,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}}
}

// call makes a request and returns the body of a 2xx answer. Any other answer is an error with the gateway's sentence.
func (c *localClient) call(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://muster"+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no gateway runs with the data folder %q; name its folder with --data-dir", c.dataDir)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("the data folder %q belongs to another user: run this as the gateway's user or root", c.dataDir)
	case err != nil:
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxLocalResponse))
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, refusal(response.StatusCode, text)
	}
	return text, nil
}

// refusal reads the sentence out of an error of /api or of the Prometheus API.
func refusal(status int, text []byte) error {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(text, &answer) == nil {
		var ours struct {
			Message string `json:"message"`
		}
		var prometheus string
		if json.Unmarshal(answer.Error, &ours) == nil && ours.Message != "" {
			return errors.New(ours.Message)
		}
		if json.Unmarshal(answer.Error, &prometheus) == nil && prometheus != "" {
			return errors.New(prometheus)
		}
	}
	return fmt.Errorf("the gateway answered %d %s", status, http.StatusText(status))
}
