// Package gitproto holds git's side of a conversation with a git client: upload-pack (clone and fetch) and
// receive-pack (push), protocol versions 0, 1 and 2, and upload-archive, over any pair of io.Reader and io.Writer. It
// knows no listener, no disk and no policy: what it needs of a repository it asks of a Fetcher, a Pusher or an Archiver.
//
// # Calls
//
// UploadPack and ReceivePack each hold one conversation, in one of three forms that Options select:
//
//   - the whole of it over a stream, as ssh runs it: the zero value;
//   - the advertisement alone, as the answer to GET info/refs: Options.Advertise;
//   - one request and its response, as the answer to a POST: Options.Stateless.
//
// In the last form nothing is written before the request has been read, since HTTP/1 servers and proxies may throw
// away the rest of a request once a response begins. Progress of a push waits until its pack has been read, therefore.
//
// UploadArchive knows the first form only, and no versions.
//
// # Flow
//
// Requests are sequences of packet lines (Reader, Writer). A request is parsed as it arrives and checked against the
// limits in Options; a refused one is read to its end, within Options.DrainBytes, so that the client is in a position
// to read why. Refs stream from the iterators a page at a time into a 64 KiB buffer. Packs pass through the band
// multiplexer (mux), which fills 64 KiB frames, lets progress text in between, and sends an empty frame whenever
// Options.KeepAlive has passed in silence. What follows the packet lines of a push is handed to the Pusher as the
// very *bufio.Reader that the lines came from.
//
// Errors reach the client in the form it can read at that point: an ERR line, band 3 once bands are on, or the report
// of a push. UploadPack and ReceivePack return the same error for the log.
//
// # Deadlines
//
// The context is looked at before every packet line and every frame. A Read or Write that blocks is the transport's
// to end: give the transport deadlines that each Read and Write pushes out, so that a client may be slow but not
// silent, and close it when the context ends. After a failed push over a stream, one Read may still be blocked when
// ReceivePack returns; closing the transport ends it. If the writer has a Flush method, as http.ResponseWriter and
// bufio.Writer have, it is called when the client may be waiting for what was written, not for each frame of a pack.
//
// # Not offered
//
// Packfile-uris are not advertised, and refused when a client asks all the same; so are shallow and partial clones if
// the Fetcher is no PartialFetcher, and signed pushes without Options.CertNonce.
//
// Sources: git's gitprotocol-common, gitprotocol-pack, gitprotocol-capabilities, gitprotocol-v2 and gitprotocol-http
// documents; the wording of a few errors and the order of acknowledgements follow git's upload-pack.c, receive-pack.c,
// serve.c and ls-refs.c, whose clients read them.
package gitproto
