package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// promAPI asks a Prometheus HTTP API. Safe for concurrent use.
type promAPI struct {
	base   string // up to and without /api/v1
	token  string // bearer token
	client *http.Client
}

// maxAnswerBytes bounds an answer of the API.
const maxAnswerBytes = 64 << 20

// newPromAPI returns the API of a gateway whose root certificate is in caFile.
func newPromAPI(base, token, caFile string) (*promAPI, error) {
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the root certificate of the gateway: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", caFile)
	}
	return &promAPI{base: base, token: token, client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 4},
	}}, nil
}

func (a *promAPI) close() { a.client.CloseIdleConnections() }

// raw returns the samples of a column of a thing with fromMs <= time <= toMs, ascending.
func (a *promAPI) raw(ctx context.Context, column, thing string, fromMs, toMs int64) ([]sample, error) {
	var result []struct {
		Values [][2]any `json:"values"`
	}
	// The range of a selector is open on its left, so it begins a millisecond earlier.
	query := fmt.Sprintf("%s{thing=%q}[%dms]", column, thing, toMs-fromMs+1)
	if err := a.query(ctx, query, toMs, &result); err != nil {
		return nil, err
	}
	switch len(result) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("%s gives %d series, want one", query, len(result))
	}
	samples := make([]sample, len(result[0].Values))
	for i, v := range result[0].Values {
		at, isNumber := v[0].(json.Number)
		value, isText := v[1].(string)
		ms, err := parseMs(string(at))
		if !isNumber || !isText || err != nil {
			return nil, fmt.Errorf("%s: sample %d is %v", query, i, v)
		}
		samples[i] = sample{ms: ms, value: value}
	}
	return samples, nil
}

// parseMs reads Unix seconds with up to three decimals, exactly.
func parseMs(text string) (int64, error) {
	whole, frac, _ := strings.Cut(text, ".")
	if len(frac) > 3 {
		return 0, fmt.Errorf("time %q has more than milliseconds", text)
	}
	return strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
}

// metric returns a metric without labels of base/metrics.
func (a *promAPI) metric(ctx context.Context, name string) (float64, error) {
	body, _, err := a.get(ctx, a.base+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s/metrics has no %s: %.500s", a.base, name, body)
}

// get returns the body of an answer and its HTTP status.
func (a *promAPI) get(ctx context.Context, address string) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	response, err := a.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	return body, response.StatusCode, err
}

// query asks an instant query and decodes its data.result into result.
func (a *promAPI) query(ctx context.Context, query string, atMs int64, result any) error {
	form := url.Values{"query": {query}, "time": {fmt.Sprintf("%d.%03d", atMs/1000, atMs%1000)}}
	body, status, err := a.get(ctx, a.base+"/api/v1/query?"+form.Encode())
	if err != nil {
		return err
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%s: HTTP %d: %.500s", query, status, body)
	}
	decoder := json.NewDecoder(strings.NewReader(string(answer.Data.Result)))
	decoder.UseNumber()
	return decoder.Decode(result)
}
