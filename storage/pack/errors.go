package pack

import (
	"errors"
	"fmt"
)

// What can be wrong with a pack. Errors of this package wrap one of these or object.ErrCollision, an *object.FsckError,
// or an error of the operating system.
var (
	// ErrCorrupt says that the bytes are no valid pack.
	ErrCorrupt = errors.New("pack is corrupt")
	// ErrTruncated says that the pack ended before its trailer.
	ErrTruncated = errors.New("pack is truncated")
	// ErrTooLarge says that a limit was reached. The text names the limit.
	ErrTooLarge = errors.New("pack is too large")
	// ErrMissingBase says that a delta's base is neither in the pack nor in the repository.
	ErrMissingBase = errors.New("delta base is missing")
)

func corrupt(off int64, format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, off, fmt.Sprintf(format, args...))
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTooLarge, fmt.Sprintf(format, args...))
}
