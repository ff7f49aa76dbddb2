package svnproto

import (
	"context"
	"errors"

	"holdfast/storage/svn"
)

// maxCauses bounds the chain of errors that a client is sent.
const maxCauses = 32

// internal is what a client learns of an error that is not Subversion's: those may have names of files in them.
const internal = "The server cannot answer; its log says why"

// texts are those of errors that come without one.
var texts = map[svn.Code]string{
	svn.ErrRANotAuthorized:        "Authorization failed",
	svn.ErrAuthnFailed:            "Authentication failed",
	svn.ErrAuthzInvalidConfig:     "Invalid authz configuration",
	svn.ErrAuthzUnreadable:        "Item is not readable",
	svn.ErrAuthzUnwritable:        "Item is not writable",
	svn.ErrAuthzRootUnreadable:    "The root of edit is not readable",
	svn.ErrAuthzPartiallyReadable: "Item is partially readable",
	svn.ErrCancelled:              "The operation was interrupted",
}

// Failure writes a response that tells of an error and its causes, from the outermost on.
func (w *Writer) Failure(err error) {
	w.open("failure")
	n := 0
	for ; err != nil && n < maxCauses; n++ {
		var e *svn.Error
		if !errors.As(err, &e) {
			break
		}
		w.failed(e.Code, e.Message)
		err = e.Cause
	}
	switch {
	case n > 0: // what lies below an *svn.Error and is none is for the log
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		w.failed(svn.ErrCancelled, "")
	default:
		w.failed(svn.ErrFSGeneral, internal)
	}
	w.shut()
}

// shown reports whether Failure tells all of an error.
func shown(err error) bool {
	var e *svn.Error
	for err != nil {
		if !errors.As(err, &e) {
			return false
		}
		err = e.Cause
	}
	return true
}

func (w *Writer) failed(code svn.Code, text string) {
	if text == "" {
		text = texts[code]
	}
	w.Open()
	w.Number(uint64(code))
	w.Str(text)
	w.Raw("0: 0 ) ")
}
