// Package svnfs is Subversion's filesystem on git objects: revisions of a tree whose nodes have identity, properties and
// history, kept in a storage.Repo, so that every revision is a push: same packs, journal, mirrors and restore as git's.
//
// # Objects
//
// A file's text is a blob, and so is a node-revision (node.go): a few lines that name its kind, node id, copy id, the revision
// and path that it was created at, its predecessor, its properties, and its text or its entries. Two nodes are related if
// they have one node id; a node-revision is unchanged if the blob is the same. A directory of more than 1,000 entries keeps
// them in buckets by the hash of their names. Copies share what is below them, so that they cost one small object.
//
// A revision object (revision.go), a blob too, names the root directory and holds the revision's properties and changed paths.
// RevsRef points at a git commit for each revision: its parent is that of the revision before, its tree holds the revision object and
// all objects that the revision was the first to have. So git's reachability, packs and tools see everything, and the storage engine
// knows nothing of Subversion. doc/formats/svn.md specifies every byte.
//
// # Facts
//
// What is no revision is a fact in the journal: edits of revision properties, locks, the uuid (facts.go). An index beside the
// repository, svn.db (index.go), holds where revisions are and what the facts amount to. It is made again from the journal and the
// objects when it is lost or behind.
//
// # Transactions
//
// A Txn is a mutable tree in memory over its base revision: a directory that it changes holds what is different from its base.
// Texts are spooled. Commit merges with what was committed since the transaction began, as Subversion does (merge.go), numbers the
// new nodes, and writes one thin pack of deltas against what is there (build.go). Commits of a repository go one after another.
//
// Sources: Subversion's svn_fs.h, and the behaviour of its FSFS back end.
package svnfs
