// Package replication copies a host's journal to append-only buckets, and brings it back.
//
// Entries travel in Segments: immutable objects with a clear, signed header and an encrypted body. A root record, signed
// by the key in the operator's kit, says which journal key signs them and who can read them. Formats: doc/formats.
//
// The Replicator seals entries once: it writes a segment to the spool and syncs it, and then every Mirror ships those
// same bytes in the order of their numbers, each at its own pace. One rule decides what is sealed: the entries that some
// mirror lacks and that no segment which it has still to ship carries. New entries, a restart and a lost reply are cases of it.
//
// An ack is a clean success of a put. A refusal because the key is taken means, on the first attempt of a number, that
// somebody else writes as this host: the mirror stops, and that is on disk before anything else happens. After an attempt
// with an unknown outcome the same refusal means nothing, so the entries go out again under the next number.
//
// The host never reads what it wrote: its credential may only put, and its keys encrypt but cannot decrypt.
//
// Restore and Takeover belong to whoever has the kit. Restore asks each mirror for segment 1, 2, 3 by its key, never for a
// list; of all that lies there, it takes what signature and chain prove, from whichever mirror has a good copy, and replays
// it through the store's own transactions. Where the journal forks, a root record decides, else the operator, else the
// providers' clocks; nothing is chosen silently. Takeover decides and records what it is going to write before it writes
// it, so that a second run finishes a first one.
package replication
