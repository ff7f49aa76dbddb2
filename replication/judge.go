//go:build judge

package replication

import "math"

// Idle returns a Replicator whose BigPacks forget what they are given. It can do nothing else. It is for server/judge,
// which judges pushes without mirrors.
func Idle() *Replicator { return &Replicator{o: Options{InlineBytes: math.MaxInt64}} }
