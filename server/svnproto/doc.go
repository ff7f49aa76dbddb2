// Package svnproto holds Subversion's side of a conversation with a Subversion client: the server of the protocol of svn:// and
// svn+ssh://, over any pair of io.Reader and io.Writer. It knows no listener and no disk. Where a URL leads, who may do what and how a
// commit becomes durable it asks of a Host; what a command means is svnrepos's.
//
// # Flow
//
// Everything is an Item: a number, a word, a string or a list of items. A Reader takes one command at a time into memory that it uses
// again; a Writer collects answers in a 64 KiB buffer, which leaves when it is full and whenever the session is about to wait for the
// client. A command answers with an authentication request, most often an empty one, and with a response.
//
// A client starts without a name where anonymous ones may read, and is asked for one by the first command that needs more: a
// write, or a path that is hidden from anonymous ones. It can be asked once.
//
// # Edits
//
// For an update the client first describes what it has (reporter), then the server describes the changes (sender); for a commit the
// client does (driver). Nothing is answered before the end of an edit, so that it flows at full speed. The side that receives it may
// break it off at any time by sending a failure, and then reads on until the other side has noticed. The sender therefore looks for
// input before each command, by a read left behind in another goroutine; the driver sends the failure in one while it reads on.
//
// # Errors
//
// What fails in a command is told to the client as a chain of codes and texts, and the session goes on. What is no item or not the
// item that belongs there ends the session, as does what exceeds Options. Errors without a code are not shown to clients.
//
// Sources: Subversion's libsvn_ra_svn/protocol; for what is not in it, and for texts that clients and their tests compare, the behaviour of
// svnserve's serve.c and of libsvn_ra_svn's marshal.c, editorp.c and cram.c.
package svnproto
