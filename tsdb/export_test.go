package tsdb

import "context"

// Compact merges once, on the keeper's goroutine.
func Compact(s *Store) error { return s.order(context.Background(), s.compact) }

// Tend lets the keeper do what is due.
func Tend(s *Store) error {
	return s.order(context.Background(), func() error { s.tend(); return nil })
}
