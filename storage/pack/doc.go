// Package pack knows git's packfiles: it receives, verifies, indexes, reads and writes them.
//
// Receive takes a pack from an untrusted stream in two passes. The first copies the stream to a file, inflates every entry
// as it goes by, and names and checks the objects that are stored whole. The second resolves the deltas from the file,
// one delta tree after another, depth first, on all cores. A tree's largest branch is walked last, when its base is not
// needed any more, so that few bases are in memory at a time; past Options.CacheBytes they are dropped and made again.
// Links are collected while an object's content is in memory: at the end those to objects outside of the pack are known
// without a second look.
//
// An index file (Index) stands beside a pack and can always be made again by Scan. Its format is ours: see index.go.
//
// Nothing here fsyncs or renames packs: that is package storage's business.
//
// Sources: git's gitformat-pack document.
package pack
