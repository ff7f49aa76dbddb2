package gitproto

import (
	"errors"
	"fmt"
	"strings"
)

// Causes of a conversation's end, to be found with errors.Is in what UploadPack and ReceivePack return.
var (
	ErrProtocol  = errors.New("the client broke the git protocol")
	ErrLimit     = errors.New("the request exceeds a limit")
	ErrNotOurRef = errors.New("the client wants an object that no ref names")
	ErrHungUp    = errors.New("the client hung up")
)

// Error is what ended a conversation before its time. Its text is what the client was told, unless Err is ErrHungUp
// or an error of the transport, when nobody was there to be told.
type Error struct {
	Op  string // "upload-pack" or "receive-pack"
	Err error
}

// Error returns the operation and the cause.
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// caused is an error with a text of its own and one of the sentinels as its kind.
type caused struct {
	kind error
	text string
}

func (e *caused) Error() string { return e.text }
func (e *caused) Unwrap() error { return e.kind }

func violation(format string, args ...any) error {
	return &caused{ErrProtocol, "protocol error: " + fmt.Sprintf(format, args...)}
}

func overLimit(format string, args ...any) error {
	return &caused{ErrLimit, fmt.Sprintf(format, args...)}
}

// settledError leaves nothing to tell: the transport has failed, or the client was told already.
type settledError struct{ err error }

func (e *settledError) Error() string { return e.err.Error() }
func (e *settledError) Unwrap() error { return e.err }

// settled reports whether the client needs no telling of err, or cannot be told.
func settled(err error) bool {
	var s *settledError
	return errors.As(err, &s) || errors.Is(err, ErrHungUp)
}

// maxErrorText bounds an error's text on the wire in bytes; beyond that it would serve no reader.
const maxErrorText = 2000

// oneLine makes text fit for one packet line and for a terminal: one line, no control characters, of bounded length.
func oneLine(text string) string {
	text = strings.TrimRight(text, "\r\n")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "..."
	}
	text = strings.ToValidUTF8(text, "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}
