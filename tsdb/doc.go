// Package tsdb is the twin store: the last value of every column of every thing, and their history, on disk before it is
// acknowledged.
//
// A row is one message: a time and some values. It goes into a log (log.go, group.go, commit.go) and into memory (live.go, run.go) at once;
// a group of rows is made durable together, and then their waiters are told. When memory or log have grown, rows move into
// segments (seal.go): files of blocks, each some rows of one thing in compressed columns (block.go, package codec). Queries
// (read.go, query.go, ahead.go) read segments and memory and merge them; decoded columns of what never changes are kept, packed (cache.go, column.go). Small
// segments of a day are merged (compact.go), old ones deleted (keeper.go); what buckets of five minutes and of an hour say of them
// stays longer (tier.go, tier_build.go). The next start reads the checkpoint, the segments' footers and the log (recover.go, replay.go). Fsck
// checks a store that is not open, Backup copies one that is (backup.go), and who sends rows on follows the log (follow.go). The bytes
// are in docs/formats.
//
// It knows things and columns by dense ids: names of things are the registry's. It does not speak PromQL: package prom does.
//
// # Goroutines
//
// Open starts two and Close ends them. The committer (rowLog.run) writes the log, where a caller of Commit does not do it by itself; who
// writes it calls Waiter.Durable. The keeper (Store.keep) seals, merges and deletes; it alone changes the list of segments.
//
// # Locks
//
// Taken in this order, and none is held while waiting for the disk, apart from committing and filesMu:
//
//   - rowLog.committing: who writes the log; nobody waits for it but the committer.
//   - shard.mu (32 of them, by thing id; never two at once): a shard's things, and that the log has the rows of a thing in the order
//     in which memory has them. Held for one row, or for copying one open run.
//   - rowLog.mu: the pending group, and changes of the log's state.
//   - words.mu: new dictionary entries; lookups take no lock.
//   - columnCache.mu: nothing is taken under it.
//   - rowLog.filesMu: the list of log files; Options.Retire is called with it held. Store.roomMu: waiting for memory; nothing is taken under either.
//
// Append waits for room before it locks a shard, so a full log blocks no query. The list of segments is replaced, never changed;
// a query keeps a segment's file open by counting itself in segment.refs.
//
// # When things go wrong
//
// An error of writing or syncing ends the taking of rows (ErrFailed): after a failed fsync nobody knows what is on disk, so it is
// never tried again; a new start finds out. A full disk (ErrDiskFull) refuses rows until there is space. Damaged bytes are named
// in the log, counted, and left out: a block, a group of the log, or a file that is renamed to *.bad.
package tsdb
