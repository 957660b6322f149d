// Package pages reads the rows of an SQLite table from the pages of its b-tree, as https://www.sqlite.org/fileformat2.html has them. It is for
// a start, which reads every row: to step through the same rows as statements do takes ten times as long.
//
// Where the pages come from is the caller's business (a Source): they must be of one moment. The package writes nothing and takes whatever bytes
// it is given: what is no b-tree of a table is an error. It starts nothing.
package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Source passes on pages of a database: visit is called for each of the numbers, in their order. The page is visit's for the time of the call; visit
// does not ask for others meanwhile.
type Source func(numbers []uint32, visit func(page []byte) error) error

// Table is a table with row ids that is to be read, by one goroutine.
type Table struct {
	Source   Source
	Root     uint32 // number of the page that its b-tree begins with
	PageSize int    // bytes
	Reserved int    // of these at the end of each page, for others

	leaves []byte // pages that are being read
	long   []byte // a record that did not fit into its page
	last   int64  // row id
}

const (
	interiorPage = 5
	leafPage     = 13
	maxDepth     = 20 // as in SQLite
	atOnce       = 64 // pages
	maxRecord    = 16 << 20
	minUsable    = 480 // as in SQLite
)

var errPage = errors.New("it is no page of a table")

// Rows calls visit with each row, by row id ascending. The record is visit's for the time of the call.
func (t *Table) Rows(visit func(id int64, record []byte) error) error {
	if t.PageSize > 65536 || t.Reserved < 0 || t.PageSize-t.Reserved < minUsable {
		return fmt.Errorf("pages of %d bytes, %d of them reserved: there are none such", t.PageSize, t.Reserved)
	}
	t.last = -1 << 63
	return t.below([]uint32{t.Root}, 1, visit)
}

// below visits the rows at and below some pages of the same level.
func (t *Table) below(numbers []uint32, depth int, visit func(id int64, record []byte) error) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d: %w: it is too deep", numbers[0], errPage)
	}
	for len(numbers) > 0 {
		some := numbers[:min(len(numbers), atOnce)]
		numbers = numbers[len(some):]
		children, err := t.read(some)
		if err != nil {
			return err
		}
		if len(children) > 0 {
			if err := t.below(children, depth+1, visit); err != nil {
				return err
			}
			continue
		}
		for i, number := range some {
			page := t.leaves[i*t.PageSize:][:t.PageSize-t.Reserved]
			if err := t.leaf(page, depth == 1, visit); err != nil {
				return fmt.Errorf("page %d: %w", number, err)
			}
		}
	}
	return nil
}

// read reads pages, all of which are interior ones, whose children it returns, or leaves, which it keeps.
func (t *Table) read(numbers []uint32) (children []uint32, err error) {
	t.leaves = t.leaves[:0]
	i := 0
	err = t.Source(numbers, func(page []byte) error {
		if i == len(numbers) || len(page) != t.PageSize {
			return fmt.Errorf("a page of %d bytes: %w", len(page), errPage)
		}
		number := numbers[i]
		i++
		switch kind := page[0]; {
		case number > 1 && kind == leafPage && len(children) == 0:
			t.leaves = append(t.leaves, page...)
			return nil
		case number > 1 && kind == interiorPage && len(t.leaves) == 0:
			if children, err = appendChildren(children, page[:len(page)-t.Reserved]); err == nil {
				return nil
			}
		}
		return fmt.Errorf("page %d: %w", number, errPage)
	})
	if err == nil && i < len(numbers) {
		err = fmt.Errorf("page %d is missing", numbers[i])
	}
	return children, err
}

// pointersOf returns the places of the cells of a page, two bytes each.
func pointersOf(page []byte, headerLen int) ([]byte, error) {
	n := 2 * int(binary.BigEndian.Uint16(page[3:]))
	if headerLen+n > len(page) {
		return nil, errPage
	}
	return page[headerLen : headerLen+n], nil
}

// appendChildren appends the numbers of the pages below an interior one.
func appendChildren(list []uint32, page []byte) ([]uint32, error) {
	pointers, err := pointersOf(page, 12)
	if err != nil {
		return nil, err
	}
	for ; len(pointers) > 0; pointers = pointers[2:] {
		at := int(binary.BigEndian.Uint16(pointers))
		if at+4 > len(page) {
			return nil, errPage
		}
		list = append(list, binary.BigEndian.Uint32(page[at:]))
	}
	return append(list, binary.BigEndian.Uint32(page[8:])), nil
}

// leaf visits the rows of a page.
func (t *Table) leaf(page []byte, isRoot bool, visit func(id int64, record []byte) error) error {
	pointers, err := pointersOf(page, 8)
	if err != nil || len(pointers) == 0 && !isRoot {
		return errPage
	}
	for ; len(pointers) > 0; pointers = pointers[2:] {
		at := int(binary.BigEndian.Uint16(pointers))
		if at > len(page) {
			return errPage
		}
		cell := page[at:]
		size, n := varint(cell)
		id, m := varint(cell[n:])
		if n == 0 || m == 0 || size > maxRecord || int64(id) <= t.last {
			return errPage
		}
		t.last = int64(id)
		record := cell[n+m:]
		if local := t.local(int(size)); local < int(size) {
			if len(record) < local+4 {
				return errPage
			}
			if record, err = t.follow(record[:local], int(size), binary.BigEndian.Uint32(record[local:])); err != nil {
				return err
			}
		} else if len(record) < local {
			return errPage
		}
		if err := visit(t.last, record[:size]); err != nil {
			return err
		}
	}
	return nil
}

// local returns how many bytes of a record of that size are in its leaf.
func (t *Table) local(size int) int {
	usable := t.PageSize - t.Reserved
	most := usable - 35
	if size <= most {
		return size
	}
	least := (usable-12)*32/255 - 23
	if n := least + (size-least)%(usable-4); n <= most {
		return n
	}
	return least
}

// follow returns a record that goes on in other pages.
func (t *Table) follow(begin []byte, size int, number uint32) ([]byte, error) {
	t.long = append(t.long[:0], begin...)
	for len(t.long) < size {
		next, found := uint32(0), false
		err := t.Source([]uint32{number}, func(page []byte) error {
			if len(page) != t.PageSize {
				return errPage
			}
			found = true
			next = binary.BigEndian.Uint32(page)
			rest := page[4 : len(page)-t.Reserved]
			t.long = append(t.long, rest[:min(len(rest), size-len(t.long))]...)
			return nil
		})
		if err == nil && !found {
			err = errPage
		}
		if err != nil {
			return nil, fmt.Errorf("overflow page %d: %w", number, err)
		}
		number = next
	}
	return t.long, nil
}
