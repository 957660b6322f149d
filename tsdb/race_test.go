//go:build race

package tsdb_test

// raceFactor is how much more time the race detector may take.
const raceFactor = 15
