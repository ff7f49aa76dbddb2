// Package storage keeps one host's repositories on disk, and the journal of all that changed them.
//
// # On disk
//
//	DATA/host.db                  bbolt: refs, journal, repositories, packs, secrets, facts (hostdb.go)
//	DATA/repos/ab/<id>/packs/     packfiles, named by PackID; new ones that are not small with an index file beside them
//	                              and the base pack with a graph file (basepack.go)
//	DATA/repos/ab/<id>/index.db   bbolt: where objects are (indexdb.go); can be made again from the packs
//	DATA/quarantine/              packs of pushes that are not accepted yet; emptied by Open
//
// There are no loose objects: every push is a pack, and packs are merged behind the pushes.
//
// # A push
//
// A Txn collects it. ReadPack verifies a pack in quarantine; Prepare checks that nothing is missing, syncs the pack and
// renames it into its repository; Store.Commit hands the transaction to the committer, the one goroutine that changes
// host.db. It takes whatever waits, decides on each group of transactions by itself, and writes all that it accepts in
// one bbolt transaction: refs and journal entry together. So there is never a ref without an entry to ship, nor an entry
// whose refs are lost, and a lone push waits for nobody.
//
// The order on disk is: pack fsync, rename, directory fsync, host.db (two fsyncs). What a crash leaves behind is a file
// that host.db does not name; Open removes it.
//
// A store is closed under links: an accepted pack's objects link to each other and to what the repository had, nothing
// else. So what is present is complete, and connectivity is checked by looking up the links that lead out of a pack.
// Check proves it for the whole store.
//
// # Objects
//
// A thin pack is completed with the bases that it lacks. A pack's objects are found through its index file, or in memory if
// it is small, from the moment of the commit; the filler moves them into the repository's index.db behind the push.
// Pack numbers are local to a repository and grow with the commits. An object may lie in several packs: the lowest number
// counts, everywhere, and bases that were added to thin packs do not count at all.
//
// # Merges
//
// Maintain merges packs whose entries are shipped: the newest ones into one when they are many, and all of a large repository
// into one of what the refs lead to and a cruft pack of the rest, once it has grown by half (mergeplan.go). Nothing is dropped.
// Full merges look for deltas for what is stored whole (mergedelta.go). A new pack is verified as a push is, and takes the
// place of the others in one write of host.db, which marks them as gone (mergerun.go). Who uses what a lookup told him holds a
// view from before the lookup (views.go). Once none is held from before the merge, gone packs are swept up: from index.db, from
// the disk, from host.db's list (sweep.go). The records of received packs stay, since entries name them.
//
// # Clones
//
// The largest pack that is closed under links becomes the base pack: it gets a graph file, made behind the push, which tells
// what commits lead to without opening any (package graph). A fetch walks the commits outside of the base pack and compares
// their trees with those of their parents; from where it enters the base pack, the graph answers, and ranges of the
// pack are copied.
//
// # Locks
//
// No bbolt transaction stays open across I/O, a callback or a wait: a reader that stalls would stop every write of the
// host as soon as bbolt has to map its file anew. Pages are copied out, and the mappings are made large beforehand.
package storage
