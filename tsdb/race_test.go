//go:build race

package tsdb_test

// raceFactor is how much slower the race detector makes us, about.
const raceFactor = 30
