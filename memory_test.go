package main

import (
	"runtime/debug"
	"testing"
)

// TestCollectEarly: the gateway collects its garbage early, unless the operator has an opinion.
func TestCollectEarly(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "77")
	collectEarly()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("%d although GOGC is set", got)
	}
	t.Setenv("GOGC", "")
	collectEarly()
	if got := debug.SetGCPercent(100); got != gcPercent {
		t.Errorf("%d, want %d", got, gcPercent)
	}
}
