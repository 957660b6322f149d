// Package torture cuts the power under a twin store, breaks its disk and turns its clock, all simulated, over and over, and compares
// what is left with a model of what was acknowledged.
//
// The store is the real one; vfs.Mem stands for the disk and vfs.Manual for the clock. `go test ./tsdb` runs a little of it,
// `muster bench crash --powercuts` as much as is asked for. A seed chooses everything but the moments at which the store's own goroutines
// run, so a failing seed fails again soon, if not at once.
//
// Run works on as many histories at a time as there are cores, each on a goroutine that ends before Run does. A Model is shared by
// the goroutine that appends and the store's committer, and is safe for that.
package torture
