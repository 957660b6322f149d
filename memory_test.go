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
