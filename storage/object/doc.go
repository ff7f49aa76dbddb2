// Package object knows git objects as bytes: their ids, types, links and well-formedness. It does no I/O.
//
// Sources: git's gitformat-commit, gitdatamodel, fsck-msgids and hash-function-transition documents.
package object
