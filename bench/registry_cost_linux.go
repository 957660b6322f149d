package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU returns what a process of this user has used, all threads, in nanoseconds where /proc counts hundredths of a second.
func processCPU(pid int) (time.Duration, error) {
	const clockOfAllThreads = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|clockOfAllThreads), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
