// Package measure is `muster bench tsdb`: speed, size and memory of the twin store, by itself and beside VictoriaMetrics or Prometheus.
//
// It loads a deterministic fleet (fleet.go) into stores of its own on the real file system (store.go), asks queries (query.go), does the
// same over the network with another store if asked to (peer.go, remotewrite.go), and prints one table (table.go). CPU is that of the
// whole process less what making the load took, so that the committer and the keeper count and the harness does not (cpu_linux.go).
//
// Everything runs on the caller's goroutine, apart from the stores' own and, with a peer, an HTTP server on loopback; both end before Main
// returns.
package measure
