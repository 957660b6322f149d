//go:build linux

package bench

import (
	"math"
	"os"
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
	for cpu() < 100*time.Millisecond {
	}
	memory, err := unix.Mmap(-1, 0, 32<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	before, err := readUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := before.cpu - cpu(); math.Abs(float64(d)) > float64(50*time.Millisecond) || before.cpu < 100*time.Millisecond-2*time.Second/userHz {
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
