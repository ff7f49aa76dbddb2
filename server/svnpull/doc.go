// Package svnpull reads the history of a repository from another Subversion server, over svn://, and writes it as a dump file.
//
// It is a client of the protocol that svnproto serves: it logs in (ANONYMOUS, or CRAM-MD5 with a name), and has the server replay
// revisions (replay-range), which is what svnsync and svnrdump do. A replay describes each revision as an edit of the one before. Its
// commands come in the order of a dump file's records, so each becomes one with little in between: a directory waits for its
// properties, a file for its text, whose svndiff goes into the dump as it comes.
//
// The server is not trusted: lengths are bounded, tokens too, and what it says is checked again by whoever loads the dump.
//
// Sources: Subversion's `protocol` document of libsvn_ra_svn, notes/dump-load-format.txt.
package svnpull
