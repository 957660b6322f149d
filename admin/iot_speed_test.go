package admin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// BenchmarkCreateThing makes things over HTTPS, signed, by 8 clients at a time; the clients' work is in the figure.
func BenchmarkCreateThing(b *testing.B) {
	g := openGateway(b, nil).bootstrap()
	g.iot("POST", "/thing-types/lamp", "").want(200)
	var next, failed atomic.Int64
	create := func(i int64) error {
		body := fmt.Sprintf(`{"thingTypeName":"lamp","attributePayload":{"attributes":{"city":"c%d","floor":"%d","serial":"sn-%d","fw":"1.%d","site":"s%d"}}}`,
			i%50, i%9, i, i%7, i%200)
		req, err := http.NewRequest("POST", fmt.Sprintf("%s/things/lamp-%d", g.url, i), strings.NewReader(body))
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(body))
		err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: keySecret}, req, hex.EncodeToString(sum[:]), "iot", "r", time.Now())
		if err != nil {
			return err
		}
		resp, err := g.client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("status %d %s: %w", resp.StatusCode, text, err)
		}
		return nil
	}
	b.ResetTimer()
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := create(i); err != nil {
					failed.Add(1)
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "things/s")
	if got := g.registry.Count(); failed.Load() == 0 && got != b.N {
		b.Fatalf("%d things of %d", got, b.N)
	}
}
