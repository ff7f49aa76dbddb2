package svn

import (
	"errors"
	"fmt"
)

// Code is the number of an error, the same as Subversion's: clients act on it.
type Code int

// Error is an error with Subversion's number. Message is what clients show; Cause, if any, is shown below it.
type Error struct {
	Code    Code
	Message string
	Cause   error
}

// Errorf returns an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error above its cause.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// Error returns the number, the message and those of the causes.
func (e *Error) Error() string {
	s := fmt.Sprintf("E%06d: %s", int(e.Code), e.Message)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, svn.ErrFSNotFound) true for an Error of that code anywhere in the chain.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Error makes a Code usable as the target of errors.Is.
func (c Code) Error() string { return fmt.Sprintf("E%06d", int(c)) }

// CodeOf returns the number of the outermost Error in a chain, 0 if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
