package bench

import (
	"math/bits"
	"time"
)

// subBits sets the resolution of a histogram: every power of two is parted into 2^subBits buckets of equal width, so a
// quantile is at most 1/128 (0.8 %) above the exact one.
const subBits = 7

// histogram counts durations in buckets whose width grows with the value, as HdrHistogram does: 58 KB for the whole range of
// an int64 of nanoseconds. The zero value is empty. Not safe for concurrent use.
type histogram struct {
	counts [(64 - subBits) << subBits]uint64
	total  uint64
	max    int64
}

// record adds one duration; a negative one counts as zero.
func (h *histogram) record(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(v)]++
	h.total++
	h.max = max(h.max, v)
}

// add adds all that o has counted.
func (h *histogram) add(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile returns a duration that at least the part q (0 to 1) of the recorded ones do not exceed: the upper end of the
// bucket that holds the exact answer. An empty histogram says 0.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q*float64(h.total) + 0.5)
	rank = min(max(rank, 1), h.total)
	for i, n := range h.counts {
		if rank <= n {
			return time.Duration(min(upper(i), h.max))
		}
		rank -= n
	}
	panic("BUG: the buckets hold fewer values than were counted")
}

// bucket returns the index of the bucket of v, 0 <= v.
func bucket(v int64) int {
	shift := max(bits.Len64(uint64(v))-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// upper returns the largest value of bucket i.
func upper(i int) int64 {
	shift := max(i>>subBits-1, 0)
	return int64(i-shift<<subBits+1)<<shift - 1
}
