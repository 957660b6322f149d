package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// node is a JSON value. encoding/json's own decoding will not do: it takes the last of two fields of one name, and
// any case of a name, so that two readers of a policy could see two policies.
type node struct {
	kind    kind
	text    string // of a string; of a boolean, true or false; of a number, itself
	items   []node
	members []member
}

type member struct {
	name string
	node
}

type kind uint8

const (
	other kind = iota // number, boolean, null
	text
	array
	object
)

func (k kind) String() string {
	return [...]string{"a number, boolean or null", "a string", "a list", "an object"}[k]
}

// String is the node in an error.
func (n node) String() string {
	if n.kind == text {
		return strconv.Quote(n.text)
	}
	return n.kind.String()
}

// maxDepth is more than any policy has.
const maxDepth = 8

func readJSON(document []byte) (node, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	root, err := readNode(d, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return node{}, fmt.Errorf("there is something behind its end, at byte %d", d.InputOffset())
	}
	return root, nil
}

func readNode(d *json.Decoder, depth int) (node, error) {
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		return node{}, errors.New("the JSON ends too early")
	}
	if err != nil {
		return node{}, fmt.Errorf("it is not JSON, at byte %d: %w", d.InputOffset(), err)
	}
	if depth > maxDepth {
		return node{}, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	switch t := t.(type) {
	case string:
		return node{kind: text, text: t}, nil
	case json.Delim:
		if t == '[' {
			return readArray(d, depth)
		}
		return readObject(d, depth)
	case bool:
		return node{text: strconv.FormatBool(t)}, nil
	case json.Number:
		return node{text: t.String()}, nil
	}
	return node{}, nil
}

func readArray(d *json.Decoder, depth int) (node, error) {
	n := node{kind: array}
	for d.More() {
		item, err := readNode(d, depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	return n, readEnd(d)
}

func readObject(d *json.Decoder, depth int) (node, error) {
	n := node{kind: object}
	names := make(map[string]bool)
	for d.More() {
		name, err := readNode(d, depth+1)
		if err != nil {
			return node{}, err
		}
		if names[name.text] {
			return node{}, fmt.Errorf("field %q is there twice", name.text)
		}
		names[name.text] = true
		value, err := readNode(d, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name.text, value})
	}
	return n, readEnd(d)
}

// readEnd reads the bracket that More saw, or says why there is none.
func readEnd(d *json.Decoder) error {
	_, err := d.Token()
	if errors.Is(err, io.EOF) {
		return errors.New("the JSON ends too early")
	}
	if err != nil {
		return fmt.Errorf("it is not JSON, at byte %d: %w", d.InputOffset(), err)
	}
	return nil
}
