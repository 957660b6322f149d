package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// userHz is the unit of the times in /proc/PID/stat: 1/100 s on every Linux (proc(5), sysconf(_SC_CLK_TCK)).
const userHz = 100

// usage is what a process has used up to one moment, as the kernel counts it.
type usage struct {
	at       time.Time
	cpu      time.Duration // user and system, all threads
	rssBytes int64
	threads  int
	files    int // open file descriptors
}

// readUsage reads /proc for the process pid, which must belong to this user or this user be root.
func readUsage(pid int) (usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	u := usage{at: time.Now()}
	// The second field is the name in parentheses and may hold anything: count from behind it. Field 3 is fields[0].
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 18 {
		return usage{}, fmt.Errorf("%s/stat is not as proc(5) says: %q", dir, stat)
	}
	user, err1 := strconv.ParseInt(string(fields[14-3]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[15-3]), 10, 64)
	threads, err3 := strconv.Atoi(string(fields[20-3]))
	if err := errors.Join(err1, err2, err3); err != nil {
		return usage{}, fmt.Errorf("%s/stat: %w", dir, err)
	}
	u.cpu = time.Duration(user+system) * (time.Second / userHz)
	u.threads = threads
	if u.rssBytes, err = residentBytes(dir); err != nil {
		return usage{}, err
	}
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return usage{}, fmt.Errorf("process %d: %w", pid, err)
	}
	u.files = len(files)
	return u, nil
}

// residentBytes reads the resident memory from smaps_rollup, which is exact, or from statm, whose counters lag behind by some
// pages per thread.
func residentBytes(dir string) (int64, error) {
	if rollup, err := os.ReadFile(dir + "/smaps_rollup"); err == nil {
		for line := range bytes.Lines(rollup) {
			if kb, found := bytes.CutPrefix(line, []byte("Rss:")); found {
				n, err := strconv.ParseInt(string(bytes.Fields(kb)[0]), 10, 64)
				return n << 10, err
			}
		}
	}
	statm, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s/statm is not as proc(5) says: %q", dir, statm)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// openFileLimit returns how many files this process may have open.
func openFileLimit() (uint64, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return uint64(limit.Cur), err
}
