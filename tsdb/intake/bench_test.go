package intake_test

import (
	"fmt"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"

	"muster/tsdb/intake"
	"muster/tsdb/vfs"
)

// BenchmarkRemoteWrite takes requests of 2,000 samples, one of each series, as Prometheus sends them: 20 targets of 100 metrics. The disk is
// memory.
func BenchmarkRemoteWrite(b *testing.B) {
	for _, isSecond := range []bool{false, true} {
		b.Run(fmt.Sprint("second=", isSecond), func(b *testing.B) {
			g := open(b, vfs.NewMem(), intake.Options{})
			contentType, encode := type1, first
			if isSecond {
				contentType, encode = type2, second
			}
			var bodies [][]byte
			for round := range 16 {
				var list []series
				for i := range 2000 {
					list = append(list, series{
						labels: labels.FromStrings("__name__", fmt.Sprint("metric_number_", i%100), "instance", fmt.Sprint("host-", i/100, ":9100"), "job", "node"),
						times:  []int64{nowMs + int64(round)*15_000}, values: []float64{float64(i*round) / 10},
					})
				}
				bodies = append(bodies, snappy.Encode(nil, encode(list...)))
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if resp := g.post(intake.PathRemoteWrite, bodies[n%len(bodies)], "Content-Type", contentType); resp.Status != 204 {
					b.Fatalf("%d %s", resp.Status, resp.Body)
				}
				n++
			}
			if got := g.store.Stats().SamplesAppended; got != uint64(n)*2000 {
				b.Fatalf("%d samples, want %d", got, n*2000)
			}
			b.ReportMetric(float64(n)*2000/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
