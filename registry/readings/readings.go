// Package readings says what the telemetry of a thing type is: which columns there are, in which unit, and how what the devices
// send becomes them.
//
// It holds the document that people write and its rules. main joins it to the thing types, to the decoders of package ingest, which
// apply it, and to the metadata of PromQL; registry/store keeps it. It has no state and no goroutines.
package readings

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a document.
const (
	MaxColumns     = 256
	MaxNameLen     = 128 // bytes of a column's name
	MaxUnitLen     = 64  // bytes
	MaxDescription = 256 // characters
)

// What becomes of a column that a document does not have.
const (
	Keep = "keep"
	Drop = "drop"
)

// Document is the telemetry schema of a thing type.
type Document struct {
	Unknown string            `json:"unknown"` // Keep, the default, or Drop
	Columns map[string]Column `json:"columns"` // by the name as PromQL would show it without this document
}

// Column is what becomes of one column. The value is multiplied by Scale, then Offset is added; booleans and strings stay.
type Column struct {
	Rename      string      `json:"rename,omitempty"`
	Drop        bool        `json:"drop,omitempty"`
	Scale       json.Number `json:"scale,omitempty"`
	Offset      json.Number `json:"offset,omitempty"`
	Unit        string      `json:"unit,omitempty"` // of the value that is kept
	Description string      `json:"description,omitempty"`
}

// Name returns the name that a column is kept under.
func (c Column) Name(column string) string {
	if c.Rename != "" {
		return c.Rename
	}
	return column
}

// Stored is a document with its history.
type Stored struct {
	Document
	TypeName  string `json:"thingTypeName"`
	TypeUUID  string `json:"-"`         // of the thing type: a later one of the same name has none of its documents
	Version   int64  `json:"version"`   // 0 before the first, +1 with every change
	ChangedMs int64  `json:"changedMs"` // 0 before the first
}

// Empty says whether a document that was checked changes nothing: it is as if there was none.
func (d *Document) Empty() bool { return d.Unknown == Keep && len(d.Columns) == 0 }

// Check returns a sentence about the first thing that is wrong with d, "" if nothing is, and fills in what was left out.
func (d *Document) Check() (wrong string) {
	switch d.Unknown {
	case "":
		d.Unknown = Keep
	case Keep, Drop:
	default:
		return fmt.Sprintf("unknown is %q: it must be %s or %s", cut(d.Unknown), Keep, Drop)
	}
	if len(d.Columns) > MaxColumns {
		return fmt.Sprintf("there are %d columns: at most %d are allowed", len(d.Columns), MaxColumns)
	}
	if d.Columns == nil {
		d.Columns = map[string]Column{}
	}
	units := map[string]string{} // by the name that a column is kept under
	for _, name := range slices.Sorted(maps.Keys(d.Columns)) {
		c := d.Columns[name]
		if wrong := c.check(name); wrong != "" {
			return fmt.Sprintf("column %q: %s", cut(name), wrong)
		}
		if c.Drop {
			continue
		}
		kept := c.Name(name)
		if unit, twice := units[kept]; twice && unit != c.Unit {
			return fmt.Sprintf("column %q: two columns become %q, with the units %q and %q", name, kept, unit, c.Unit)
		}
		units[kept] = c.Unit
	}
	return ""
}

func (c Column) check(name string) string {
	if wrong := checkName(name); wrong != "" {
		return "the name " + wrong
	}
	if c.Rename != "" {
		if wrong := checkName(c.Rename); wrong != "" {
			return "rename " + wrong
		}
	}
	switch {
	case c.Drop && c != Column{Drop: true, Description: c.Description}:
		return "it is dropped: leave rename, scale, offset and unit out"
	case len(c.Scale) > MaxUnitLen || len(c.Offset) > MaxUnitLen:
		return fmt.Sprintf("scale and offset must have at most %d characters", MaxUnitLen)
	case len(c.Unit) > MaxUnitLen || !printable(c.Unit):
		return fmt.Sprintf("unit must be text of at most %d bytes", MaxUnitLen)
	case utf8.RuneCountInString(c.Description) > MaxDescription || !printable(c.Description):
		return fmt.Sprintf("description must be text of at most %d characters", MaxDescription)
	}
	return ""
}

// checkName says what is wrong with a column's name.
func checkName(name string) string {
	if name == "" || len(name) > MaxNameLen {
		return fmt.Sprintf("must have 1 to %d characters", MaxNameLen)
	}
	for i := 0; i < len(name); i++ {
		b := name[i]
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '_' || b == ':'
		if !letter && (i == 0 || b < '0' || b > '9') {
			return "must be written as PromQL shows it: letters, digits, _ and :, with no digit first; nested keys are joined by _"
		}
	}
	return ""
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// cut shortens a text from outside for a sentence.
func cut(text string) string { return text[:min(len(text), 64)] }
