// Package server turns sessions into pushes and fetches.
//
// A push is one path for everybody: a git client over SSH or HTTP, an admin verb, the first entry of a new host. It is
// written out in push, in the order that the design gives:
//
//	Policy.Allow        and a push certificate must verify, if there is one
//	Txn.ReadPack        quarantine: limits, checksum, every object (large packs stream to the mirrors meanwhile)
//	Policy.Allow        and the certificate, again: the policy may have changed while the pack came in
//	Txn.Prepare         connectivity, fsync, rename
//	BigPack.Complete    large packs: on as many mirrors as acks are needed
//	Store.Commit        refs and entries in one write
//	Replicator.Wait     until enough mirrors hold the entry
//
// Git leaves it to hooks what a push certificate is worth. Here, what is signed must verify (signed.go): by the pushing
// user's own key, for this repository, just now, once. Such a push is all or nothing, so that its entry records what was
// signed, and the certificate with it.
//
// A Subversion session (svn.go) is svnproto's, which is given the repository, what its user may do with each path, and a way to commit:
// change, the middle part of a push, whoever has made the pack and the refs. Locks and revision properties take it too. What a push
// waits for at its end, the next change of a Subversion repository waits for before it begins.
//
// The policy is the repository holdfast-admin: admin verbs make commits there through the same path, and whatever
// arrives there is read as a policy before it is committed.
package server
