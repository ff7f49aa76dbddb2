package server

import (
	"errors"
	"strings"
)

// splitCommand splits the command line that came over SSH into arguments, as a POSIX shell would without ever being
// one: quotes and backslashes count, all else stands for itself. This covers what git and svn clients send: git quotes
// with single quotes, and writes '\” and '\!' for a quote and an exclamation mark inside.
func splitCommand(raw string) ([]string, error) {
	var (
		argv   []string
		arg    strings.Builder
		inside bool // an argument, which may be empty so far
		quote  byte // ' or " while in quotes
	)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == 0:
			return nil, errors.New("the command contains a zero byte")
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\':
			arg.WriteByte(c)
		case quote != 0 && c == quote:
			quote = 0
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == '\\':
			if i++; i == len(raw) {
				return nil, errors.New("the command ends in a backslash")
			}
			if quote == '"' && !strings.ContainsRune("\"\\$`", rune(raw[i])) {
				arg.WriteByte('\\')
			}
			arg.WriteByte(raw[i])
			inside = true
		case strings.IndexByte(" \t\r\n", c) >= 0:
			if inside {
				argv, inside = append(argv, arg.String()), false
				arg.Reset()
			}
		default:
			arg.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("the command has a quote without its end")
	}
	if inside {
		argv = append(argv, arg.String())
	}
	return argv, nil
}
