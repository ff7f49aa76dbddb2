// Package sparse matches paths against the patterns of sparse checkouts, as git's sparse:oid filter does.
//
// A file of patterns has the syntax of a .gitignore, but says what to take. The last pattern that matches a path decides, one
// with a leading "!" against it. A path that none matches fares as its directory does. What decides about the root is its own
// path, which is empty: a pattern such as "*" matches it, one with a slash never does.
//
// Git matches each path against each pattern by backtracking, which takes exponential time for patterns such as "*a*a*a*b",
// and visits a tree once for every path that it is found at: 2^n of them, in a tree of n levels that each name the next one
// twice. Patterns and trees both come from clients, so neither will do here. A pattern is a list of tokens, and all places in it
// that a path can have led to are followed side by side: the time is that of the length of both. A directory's state, a Dir, is
// those places of all patterns together, and what has been decided about the directory. All that can be said of a path depends
// on it, so that a tree has to be visited once for each Dir and not for each path; and real trees have few.
//
// What remains is bounded: once a set of patterns has cost too much, everything matches. A client that gets more than it asked
// for has lost nothing but bytes.
//
// Sources: git's documents gitignore and git-sparse-checkout, "--filter" in rev-list-options, and the tests t3070-wildmatch
// and t6112-rev-list-filters-objects, for the behaviour that is written nowhere else.
package sparse
