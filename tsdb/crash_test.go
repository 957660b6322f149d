package tsdb_test

import (
	"flag"
	"testing"

	"muster/tsdb/torture"
)

var (
	cuts   = flag.Int("cuts", 150, "power cuts to simulate")
	faults = flag.Int("faults", 300, "the operations to fail, one run each")
	seed   = flag.Uint64("seed", 1, "of the power cuts and faults")
)

// The power goes at random points, the disk fails at every point, the clock jumps: what was acknowledged is there each time.
func TestTorture(t *testing.T) {
	plan := torture.Plan{PowerCuts: max(10, *cuts/raceFactor), Faults: *faults / raceFactor, Seed: *seed}
	if err := torture.Run(t.Context(), plan, t.Output()); err != nil {
		t.Fatal(err)
	}
}
