//go:build linux

package bench

import (
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadUsage holds /proc against what the process knows of itself.
func TestReadUsage(t *testing.T) {
	cpu := func() time.Duration {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			t.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
	}
	memory := make([]byte, 32<<20)
	before, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := before.cpu - cpu(); math.Abs(float64(d)) > float64(50*time.Millisecond) || before.cpu < 50*time.Millisecond {
		t.Errorf("CPU %v, getrusage says %v", before.cpu, cpu())
	}
	for i := range memory {
		memory[i] = 1
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	after, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(memory)
	if grown := after.rssBytes - before.rssBytes; grown < 28<<20 || grown > 64<<20 {
		t.Errorf("32 MB of memory were written, resident are %d bytes more", grown)
	}
	if after.files != before.files+1 || after.threads < 1 {
		t.Errorf("one more file is open: %d, before %d; %d threads", after.files, before.files, after.threads)
	}
	if _, err := readUsage(math.MaxInt32); err == nil || !strings.Contains(err.Error(), "process 2147483647") {
		t.Errorf("a process that is not there: %v", err)
	}
}
