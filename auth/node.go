package auth

import (
	"time"

	"go.yaml.in/yaml/v3"
)

// node edits a YAML mapping or list in place, which keeps comments. The zero node stands for one that is not there.
type node struct{ *yaml.Node }

func newMapping() node { return node{&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}} }
func newList() node    { return node{&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}} }

// text is a scalar that stays a text, quoted if it would be read as something else.
func text(value string) node {
	return node{&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}}
}

// scalar is a scalar as it is written.
func scalar(value string) node { return node{&yaml.Node{Kind: yaml.ScalarNode, Value: value}} }

func tokenNode(t Token) node {
	n := newMapping()
	n.set("name", text(t.Name))
	n.set("sha256", text(t.SHA256))
	if !t.Created.IsZero() {
		n.set("created", scalar(t.Created.UTC().Format(time.RFC3339)))
	}
	if !t.Expires.IsZero() {
		n.set("expires", scalar(t.Expires.UTC().Format(time.RFC3339)))
	}
	return n
}

func (n node) keys() []string {
	var all []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		all = append(all, n.Content[i].Value)
	}
	return all
}

// get returns the value of a mapping's key, the zero node if there is none.
func (n node) get(key string) node {
	if n.Node == nil || n.Kind != yaml.MappingNode {
		return node{}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return node{n.Content[i+1]}
		}
	}
	return node{}
}

func (n node) set(key string, value node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			value.LineComment = n.Content[i+1].LineComment
			n.Content[i+1] = value.Node
			return
		}
	}
	n.grow()
	n.Content = append(n.Content, text(key).Node, value.Node)
}

// unset removes a key and reports whether it was there.
func (n node) unset(key string) bool {
	if n.Node == nil || n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i], n.Content[i+2:]...)
			return true
		}
	}
	return false
}

// list returns the list under key, made if it is not there.
func (n node) list(key string) node { return n.child(key, newList()) }

// mapping returns the mapping under key, made if it is not there.
func (n node) mapping(key string) node { return n.child(key, newMapping()) }

func (n node) child(key string, empty node) node {
	if have := n.get(key); have.Node != nil && have.Kind == empty.Kind {
		return have
	}
	n.set(key, empty)
	return empty
}

func (n node) add(item node) {
	n.grow()
	n.Content = append(n.Content, item.Node)
}

// grow is called before something is added: "[]" and "{}" become blocks, one line an item.
func (n node) grow() {
	if len(n.Content) == 0 {
		n.Style &^= yaml.FlowStyle
	}
}

func (n node) removeItem(i int) { n.Content = append(n.Content[:i], n.Content[i+1:]...) }

// removeText removes the items of a list that are the text.
func (n node) removeText(value string) {
	for i := len(n.Content) - 1; i >= 0; i-- {
		if n.Content[i].Value == value {
			n.removeItem(i)
		}
	}
}
