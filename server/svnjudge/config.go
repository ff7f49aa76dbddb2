//go:build judge

package main

import (
	"fmt"
	"os"
	"strings"
)

// option is a line of a configuration file: a section may have it twice.
type option struct{ name, value string }

// section is a part of a file, in the order of the file.
type section struct {
	name    string
	options []option
}

// readConfig reads a file of Subversion's form: [sections], "name = value", values that go on in lines that begin with
// blanks, comments that begin a line. See svn_config.h.
func readConfig(path string) ([]section, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var sections []section
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimRight(line, " \t\r")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			if line[len(line)-1] != ']' {
				return nil, fmt.Errorf("%s:%d: section without ']'", path, i+1)
			}
			sections = append(sections, section{name: line[1 : len(line)-1]})
		case len(sections) == 0:
			return nil, fmt.Errorf("%s:%d: option outside of a section", path, i+1)
		default:
			if err := sections[len(sections)-1].add(line); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
		}
	}
	return sections, nil
}

func (s *section) add(line string) error {
	if line[0] == ' ' || line[0] == '\t' {
		if len(s.options) == 0 {
			return fmt.Errorf("nothing to go on from")
		}
		last := &s.options[len(s.options)-1]
		last.value += " " + strings.TrimSpace(line)
		return nil
	}
	at := strings.IndexAny(line, ":=")
	if at < 0 {
		return fmt.Errorf("neither ':' nor '='")
	}
	s.options = append(s.options, option{strings.TrimSpace(line[:at]), strings.TrimSpace(line[at+1:])})
	return nil
}

// lookup finds an option's value: the last one of all sections of a name counts. Names are compared as Subversion does where
// case does not matter.
func lookup(sections []section, name, opt string) (string, bool) {
	value, ok := "", false
	for _, s := range sections {
		for _, o := range s.options {
			if strings.EqualFold(s.name, name) && strings.EqualFold(o.name, opt) {
				value, ok = o.value, true
			}
		}
	}
	return value, ok
}
