package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// reader turns the YAML of one file into values and gathers what is wrong with it.
type reader struct {
	file     string
	problems []*PolicyError
}

func (r *reader) problem(line int, format string, args ...any) {
	r.problems = append(r.problems, &PolicyError{File: r.file, Line: line, Msg: fmt.Sprintf(format, args...)})
}

// field reads one value of a mapping.
type field func(value *yaml.Node)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document parses a file that holds one mapping with some of the given fields. An empty file is an empty mapping.
func (r *reader) document(raw string, fields map[string]field) {
	root, err := parseYAML(raw)
	if err != nil {
		line := 0
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		r.problem(line, "not valid YAML: %s", yamlLine.ReplaceAllString(err.Error(), ""))
		return
	}
	r.mapping(root, fields)
}

// parseYAML returns the mapping (or whatever else) that raw holds; an empty mapping for an empty file.
func parseYAML(raw string) (*yaml.Node, error) {
	if !utf8.ValidString(raw) {
		return nil, errors.New("the file is not UTF-8")
	}
	var doc, rest yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(raw))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1}, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&rest); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("yaml: line %d: one document a file, please", max(rest.Line, 1))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("the file holds no mapping")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		root.Kind, root.Tag, root.Value = yaml.MappingNode, "!!map", ""
	}
	return root, nil
}

// writeYAML is the inverse of parseYAML. The same node always gives the same bytes. The encoder is known to put some
// comments where they break the file, so what it wrote is read back, and written without comments if it went wrong.
func writeYAML(root *yaml.Node) (string, error) {
	raw, err := encodeYAML(root)
	if err != nil {
		return "", err
	}
	if again, err := parseYAML(raw); err == nil && sameYAML(root, again) {
		return raw, nil
	}
	return encodeYAML(withoutComments(root))
}

func encodeYAML(root *yaml.Node) (string, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return "", err
	}
	if err := enc.Close(); err != nil {
		return "", err
	}
	return buf.String(), nil
}

func sameYAML(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Value == b.Value && (a.Tag == "" || a.Tag == b.Tag) &&
		slices.EqualFunc(a.Content, b.Content, sameYAML)
}

func withoutComments(n *yaml.Node) *yaml.Node {
	bare := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style &^ yaml.FlowStyle}
	for _, c := range n.Content {
		bare.Content = append(bare.Content, withoutComments(c))
	}
	return bare
}

// plain refuses what makes YAML surprising. Without aliases, a file is no larger in memory than on disk.
func (r *reader) plain(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		r.problem(n.Line, "YAML anchors, aliases and merge keys are not allowed")
		return false
	}
	return true
}

// mapping reads a mapping that may hold each of the fields once, and nothing else.
func (r *reader) mapping(n *yaml.Node, fields map[string]field) {
	r.pairs(n, len(n.Content), func(key, value *yaml.Node) {
		if read := fields[key.Value]; read != nil {
			read(value)
			return
		}
		r.problem(key.Line, "unknown key %q; known are: %s", key.Value,
			strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	})
}

// pairs calls fn for each pair of a mapping with at most limit different keys.
func (r *reader) pairs(n *yaml.Node, limit int, fn func(key, value *yaml.Node)) {
	if !r.plain(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n.Line, "this should be a mapping, like \"key: value\"")
		return
	}
	if len(n.Content)/2 > limit {
		r.problem(n.Line, "%d entries are more than %d", len(n.Content)/2, limit)
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if _, ok := r.text(key); !ok {
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.problem(key.Line, "key %q is already set in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		fn(key, value)
	}
}

// list calls fn for each item of a list of at most limit items. Nothing at all is an empty list.
func (r *reader) list(n *yaml.Node, limit int, fn func(item *yaml.Node)) {
	switch {
	case !r.plain(n) || isNull(n):
	case n.Kind != yaml.SequenceNode:
		r.problem(n.Line, "this should be a list, like \"[a, b]\"")
	case len(n.Content) > limit:
		r.problem(n.Line, "%d items are more than %d", len(n.Content), limit)
	default:
		for _, item := range n.Content {
			fn(item)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// text reads a scalar as it is written, so that a user may be called 1e3 or no.
func (r *reader) text(n *yaml.Node) (string, bool) {
	if !r.plain(n) {
		return "", false
	}
	switch n.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		if n.Kind == yaml.ScalarNode {
			return n.Value, true
		}
	}
	r.problem(n.Line, "this should be a text")
	return "", false
}

func (r *reader) boolean(n *yaml.Node) bool {
	if r.plain(n) && n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	r.problem(n.Line, "this should be true or false")
	return false
}

func (r *reader) time(n *yaml.Node) time.Time {
	value, ok := r.text(n)
	if !ok {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC()
		}
	}
	r.problem(n.Line, "%q is no time: write it like 2026-01-31 or 2026-01-31T15:04:05Z", value)
	return time.Time{}
}
