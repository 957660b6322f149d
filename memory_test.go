package main

import (
	"runtime/debug"
	"testing"
)

// TestCollectAt: the gateway says when its garbage is collected, unless the operator has an opinion.
func TestCollectAt(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "77")
	collectAt(gcPercent)()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("%d although GOGC is set", got)
	}
	t.Setenv("GOGC", "")
	end := collectAt(gcPercent)
	if got := debug.SetGCPercent(gcPercent); got != gcPercent {
		t.Errorf("%d, want %d", got, gcPercent)
	}
	end()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("%d at the end, want what it was", got)
	}
}

// TestCollectLate: while the registry is read garbage piles up, but not into the last of the memory.
func TestCollectLate(t *testing.T) {
	t.Setenv("GOGC", "")
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer debug.SetGCPercent(percent)
	end := collectLate()
	if got := debug.SetGCPercent(loadPercent); got != loadPercent {
		t.Errorf("%d percent, want %d", got, loadPercent)
	}
	if got := debug.SetMemoryLimit(-1); got > machineMemory()*3/4 {
		t.Errorf("a limit of %d bytes of %d", got, machineMemory())
	}
	end()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("%d percent at the end, want what it was", got)
	}
	if got := debug.SetMemoryLimit(-1); got != limit {
		t.Errorf("a limit of %d bytes at the end, want %d", got, limit)
	}
}

func TestCiphersIn(t *testing.T) {
	for memory, want := range map[int64]int{512 << 20: 10485, 4 << 30: 83886, 24 << 30: 131072} {
		if got := ciphersIn(memory); got != want {
			t.Errorf("%d bytes of memory: %d ciphers, want %d", memory, got, want)
		}
	}
}
