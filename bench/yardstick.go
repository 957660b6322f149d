package bench

import (
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine says what the figures of a run were measured on. The same virtual machine may have a third of its speed on another day: a figure
// in seconds is to be read beside the yardstick's.
func machine() string {
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	return fmt.Sprintf("machine: %s/%s, %d cores, load %s; one core sorts %d numbers in %.1f ms",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load, yardstickNumbers, yardstick().Seconds()*1e3)
}

// yardstickNumbers take half a megabyte: what is timed depends on the core and its own cache, as most of a gateway's work does.
const yardstickNumbers = 1 << 16

// yardstick times work that never changes: the median of nine sorts of the same random numbers.
func yardstick() time.Duration {
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	numbers := make([]uint64, yardstickNumbers)
	for i := range numbers {
		numbers[i] = rng.Uint64()
	}
	sorted := make([]uint64, len(numbers))
	var times [9]time.Duration
	for i := range times {
		copy(sorted, numbers)
		began := time.Now()
		slices.Sort(sorted)
		times[i] = time.Since(began)
	}
	slices.Sort(times[:])
	return times[len(times)/2]
}
