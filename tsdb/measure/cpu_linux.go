package measure

import (
	"time"

	"golang.org/x/sys/unix"
)

// processCPU is what the process has used, user and system.
func processCPU() time.Duration { return usedCPU(unix.RUSAGE_SELF) }

// threadCPU is what the calling thread has used. The caller's goroutine is locked to it.
func threadCPU() time.Duration { return usedCPU(unix.RUSAGE_THREAD) }

func usedCPU(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
