package prom

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/prometheus/util/stats"

	"muster/tsdb"
)

// cost is what one query took. Safe for concurrent use.
type cost struct {
	series, lastValues             atomic.Int64
	calls, aggregates              atomic.Int64
	aggregatedSamples, results     atomic.Int64 // of aggregates
	mostSamples                    atomic.Int64 // of one of them
	reads, samples                 atomic.Int64
	blocks, headers, cached, parts atomic.Int64 // as tsdb.ReadCost
	buckets5m, buckets1h           atomic.Int64
}

// read notes one read of the store.
func (c *cost) read(samples int, r tsdb.ReadCost) {
	c.reads.Add(1)
	c.samples.Add(int64(samples))
	c.blocks.Add(int64(r.Blocks))
	c.headers.Add(int64(r.Headers))
	c.cached.Add(int64(r.Cached))
	c.parts.Add(int64(r.Sections))
}

// bucketsRead notes buckets in the place of samples.
func (c *cost) bucketsRead(tierMs int64, n int) {
	if tierMs == tsdb.Tier1h {
		c.buckets1h.Add(int64(n))
	} else {
		c.buckets5m.Add(int64(n))
	}
}

// aggregated notes an aggregation of so many samples with so many results.
func (c *cost) aggregated(samples, results int) {
	c.aggregatedSamples.Add(int64(samples))
	c.results.Add(int64(results))
	for most := c.mostSamples.Load(); int64(samples) > most && !c.mostSamples.CompareAndSwap(most, int64(samples)); most = c.mostSamples.Load() {
	}
}

// amend makes the engine's statistics those of a query whose aggregations it had evaluated itself.
func (c *cost) amend(s *stats.QuerySamples) {
	grown := c.aggregatedSamples.Load() - c.results.Load()
	s.TotalSamples += grown
	s.SamplesRead += grown
	s.UpdatePeak(int(c.mostSamples.Load()))
}

// appendStats appends Prometheus' own statistics of a query, and under "muster" what it took of the store if all is asked for.
func appendStats(dst []byte, own stats.QueryStats, c *cost, all bool) ([]byte, error) {
	text, err := json.Marshal(own)
	if err != nil {
		return dst, fmt.Errorf("encode the query's statistics: %w", err)
	}
	if !all || len(text) < 2 || text[len(text)-1] != '}' {
		return append(dst, text...), nil
	}
	dst = append(dst, text[:len(text)-1]...)
	dst = append(dst, `,"muster":`...)
	text, err = json.Marshal(struct {
		Series           int64 `json:"series"`           // selected
		LastValues       int64 `json:"lastValues"`       // of them, those that the last value answered
		Calls            int64 `json:"calls"`            // functions evaluated over columns
		Aggregations     int64 `json:"aggregations"`     // and those
		Reads            int64 `json:"reads"`            // of the store, each of one column and time range
		Samples          int64 `json:"samples"`          // that they gave
		BlocksRead       int64 `json:"blocksRead"`       // from segments, and decoded
		BlocksByHeader   int64 `json:"blocksByHeader"`   // answered by their header
		ColumnsFromCache int64 `json:"columnsFromCache"` // of blocks and sections of memory, decoded before
		SectionsDecoded  int64 `json:"sectionsDecoded"`  // of rows in memory
		Buckets5m        int64 `json:"buckets5m"`        // of the tier of five minutes, in the place of samples
		Buckets1h        int64 `json:"buckets1h"`
	}{
		c.series.Load(), c.lastValues.Load(), c.calls.Load(), c.aggregates.Load(), c.reads.Load(), c.samples.Load(), c.blocks.Load(),
		c.headers.Load(), c.cached.Load(), c.parts.Load(), c.buckets5m.Load(), c.buckets1h.Load(),
	})
	if err != nil {
		return dst, fmt.Errorf("encode the query's statistics: %w", err)
	}
	return append(append(dst, text...), '}'), nil
}
