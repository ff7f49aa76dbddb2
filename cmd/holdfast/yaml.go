package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// yamlReader reads YAML nodes strictly and gathers problems instead of stopping at the first, so that one run of a
// command tells an operator everything that is wrong with a file.
type yamlReader struct {
	file     string
	problems []error
}

// fields maps the keys that a mapping may have to what reads their values.
type fields map[string]func(*yaml.Node)

// maxSuggestBytes bounds the unknown keys for which a similar known one is searched.
const maxSuggestBytes = 64

func (p *yamlReader) errorf(n *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d:%d: %s", p.file, n.Line, n.Column, fmt.Sprintf(format, args...)))
}

// decodeYAML reads the one document of a file; an empty file is an empty mapping.
func decodeYAML(file string, data []byte) (*yaml.Node, error) {
	var root, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&root)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: 1, Column: 1}, nil
	}
	if err == nil {
		switch next := d.Decode(&more); {
		case next == nil:
			return nil, fmt.Errorf("%s:%d:%d: a second YAML document: want one", file, more.Line, more.Column)
		case !errors.Is(next, io.EOF):
			err = next
		}
	}
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if at, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
			return nil, fmt.Errorf("%s:%s: %s", file, at, rest)
		}
		return nil, fmt.Errorf("%s: %s", file, text)
	}
	return root.Content[0], nil
}

// mapping reads a mapping and returns the keys it has, nil if it is none. An empty value counts as an empty mapping.
func (p *yamlReader) mapping(n *yaml.Node, what string, known fields) map[string]bool {
	given := make(map[string]bool)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return given
	}
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "%s must be a list of keys and values, not %s", what, kindName(n))
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.errorf(key, "%s: a key must be a word", what)
		case read == nil:
			hint := ""
			if len(key.Value) <= maxSuggestBytes {
				hint = suggestion(key.Value, slices.Collect(maps.Keys(known)))
			}
			p.errorf(key, "%s: unknown key %q%s", what, shorten(key.Value), hint)
		case given[key.Value]:
			p.errorf(key, "%s: %q is given twice", what, key.Value)
		default:
			given[key.Value] = true
			read(value)
		}
	}
	return given
}

// sequence calls each for every item of a list.
func (p *yamlReader) sequence(n *yaml.Node, what string, each func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.errorf(n, "%s must be a list, not %s", what, kindName(n))
		return
	}
	for _, item := range n.Content {
		each(item)
	}
}

// text reads a scalar as it stands.
func (p *yamlReader) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		p.errorf(n, "want one value, not %s", kindName(n))
		return ""
	}
	return n.Value
}

func (p *yamlReader) nonEmpty(n *yaml.Node, want string) string {
	value := p.text(n)
	if value == "" && n.Kind == yaml.ScalarNode {
		p.errorf(n, "want %s, not an empty value", want)
	}
	return value
}

func (p *yamlReader) match(n *yaml.Node, re *regexp.Regexp, want string) string {
	value := p.text(n)
	if n.Kind == yaml.ScalarNode && !re.MatchString(value) {
		p.errorf(n, "%q is not %s", shorten(value), want)
	}
	return value
}

func (p *yamlReader) oneOf(n *yaml.Node, words ...string) string {
	value := p.text(n)
	if n.Kind == yaml.ScalarNode && !slices.Contains(words, value) {
		p.errorf(n, "%q is not one of: %s", shorten(value), strings.Join(words, ", "))
	}
	return value
}

func (p *yamlReader) integer(n *yaml.Node, least, most int64) int64 {
	value := p.text(n)
	if n.Kind != yaml.ScalarNode {
		return least
	}
	i, err := strconv.ParseInt(value, 10, 64)
	if err != nil || i < least || i > most {
		p.errorf(n, "%q is not a whole number from %d to %d", shorten(value), least, most)
		return least
	}
	return i
}

func (p *yamlReader) duration(n *yaml.Node, least, most time.Duration) time.Duration {
	value := p.text(n)
	if n.Kind != yaml.ScalarNode {
		return least
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		p.errorf(n, "%q is not a time from %v to %v, such as 30s or 5m", shorten(value), least, most)
		return least
	}
	return d
}

func (p *yamlReader) bytes(n *yaml.Node, least int64) int64 {
	return p.bytesUpTo(n, least, math.MaxInt64)
}

func (p *yamlReader) bytesUpTo(n *yaml.Node, least, most int64) int64 {
	value := p.text(n)
	if n.Kind != yaml.ScalarNode {
		return least
	}
	size, err := parseSize(value)
	if err != nil {
		p.errorf(n, "%v", err)
		return least
	}
	if size < least {
		p.errorf(n, "%q is less than the least sensible size, %s", value, formatSize(least))
	}
	if size > most {
		p.errorf(n, "%q is more than %s", value, formatSize(most))
	}
	return size
}

var errSize = errors.New("want a size such as 512MiB, 2GiB or a number of bytes")

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// parseSize reads a number of bytes with a decimal or binary unit.
func parseSize(text string) (int64, error) {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, fmt.Errorf("%q: %w", shorten(text), errSize)
}

// formatSize writes a number of bytes for people.
func formatSize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		value /= 1 << 10
		if value < 1<<10 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// kindName says what a node is, for people who do not know YAML's words.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (they are not supported here)"
	}
	return fmt.Sprintf("%q", shorten(n.Value))
}

// shorten keeps an error readable where somebody pasted a page into a value.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
