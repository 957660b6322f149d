package tsdb

import (
	"math"

	"github.com/VictoriaMetrics/metrics"
)

// Stats are the counts of a store at one time.
type Stats struct {
	Things, Series  int
	Samples         int64 // in memory and in segments; rows that were sent twice count twice until they are merged
	RowsAppended    uint64
	SamplesAppended uint64
	Commits         uint64 // groups since opening
	DiskBytes       int64  // LogBytes, SegmentBytes and TierBytes
	LogBytes        int64  // of log files, which are reserved ahead
	SegmentBytes    int64
	SegmentSamples  int64 // in segments: SegmentBytes / SegmentSamples is what a sample costs
	TierBytes       int64 // of the tiers' segments
	MemoryBytes     int64 // of rows that are not in segments
	OldestMs        int64 // 0 if there are no rows
	NewestMs        int64
	Segments        int
	Damaged         uint64 // damages found since opening
	Deleted         int    // things and sources that were ever deleted
	Deleting        bool   // rows of some may still be in the files
	PurgedMs        int64  // when rows of deleted ones were last removed from the files, 0: not since opening
}

// Stats returns the counts. It is cheap enough for every second.
func (s *Store) Stats() Stats {
	st := Stats{
		Things: int(s.live.things.Load()), Series: int(s.live.series.Load()), Samples: s.live.samples.Load(),
		RowsAppended: s.rows.Load(), SamplesAppended: s.samples.Load(), Commits: s.log.commits.Load(),
		LogBytes: s.log.bytes.Load(), MemoryBytes: s.live.bytes.Load(), Damaged: s.damaged.Load(),
		OldestMs: s.live.minMs.Load(), NewestMs: s.live.maxMs.Load(),
	}
	st.Deleted, st.Deleting, st.PurgedMs = int(s.live.deleted.Load()), s.deletions.Load() != s.purged.Load(), s.purgedMs.Load()
	for _, g := range *s.segments.Load() {
		st.Segments++
		st.SegmentBytes += g.sizeBytes
		st.SegmentSamples += g.samples
		st.OldestMs, st.NewestMs = min(st.OldestMs, g.minMs), max(st.NewestMs, g.maxMs)
	}
	for _, g := range *s.tiers.Load() {
		st.Segments++
		st.TierBytes += g.sizeBytes
		st.OldestMs, st.NewestMs = min(st.OldestMs, max(0, g.minMs-g.head.tier.stepMs()+1)), max(st.NewestMs, g.maxMs)
	}
	st.Samples += st.SegmentSamples
	st.DiskBytes = st.LogBytes + st.SegmentBytes + st.TierBytes
	if st.NewestMs < 0 || st.OldestMs == math.MaxInt64 {
		st.OldestMs, st.NewestMs = 0, max(0, st.NewestMs)
	}
	return st
}

func (s *Store) register(set *metrics.Set) {
	s.flushes = set.GetOrCreateCounter("muster_tsdb_flushes_total")
	s.merges = set.GetOrCreateCounter("muster_tsdb_merges_total")
	s.summaries = set.GetOrCreateCounter("muster_tsdb_summaries_total")
	s.expired = set.GetOrCreateCounter("muster_tsdb_segments_expired_total")
	s.segmentWritten = set.GetOrCreateCounter("muster_tsdb_segment_written_bytes_total")
	s.damage = damage{s.opts.Log, set.GetOrCreateCounter("muster_tsdb_damaged_total"), &s.damaged}
	gauge := func(name string, f func() float64) {
		set.UnregisterMetric(name) // of a store that was open before
		set.NewGauge(name, f)
	}
	gauge("muster_tsdb_rows_total", func() float64 { return float64(s.rows.Load()) })
	gauge("muster_tsdb_samples_total", func() float64 { return float64(s.samples.Load()) })
	gauge("muster_tsdb_commits_total", func() float64 { return float64(s.log.commits.Load()) })
	gauge("muster_tsdb_log_written_bytes_total", func() float64 { return float64(s.log.written.Load()) })
	gauge("muster_tsdb_log_bytes", func() float64 { return float64(s.log.bytes.Load()) })
	gauge("muster_tsdb_segment_bytes", func() float64 { return float64(s.Stats().SegmentBytes) })
	gauge("muster_tsdb_tier_bytes", func() float64 { return float64(s.Stats().TierBytes) })
	gauge("muster_tsdb_memory_bytes", func() float64 { return float64(s.live.bytes.Load()) })
	gauge("muster_tsdb_things", func() float64 { return float64(s.live.things.Load()) })
	gauge("muster_tsdb_series", func() float64 { return float64(s.live.series.Load()) })
	gauge("muster_tsdb_deleted", func() float64 { return float64(s.live.deleted.Load()) })
	gauge("muster_tsdb_purged_seconds", func() float64 { return float64(s.purgedMs.Load()) / 1000 })
	gauge("muster_tsdb_ready", func() float64 {
		if s.Ready() != nil {
			return 0
		}
		return 1
	})
}
