package tsdb

// Flush seals all rows now, on the keeper's goroutine.
func Flush(s *Store) error {
	done := make(chan error)
	s.orders <- func() { done <- s.flush() }
	return <-done
}

// Compact merges once, on the keeper's goroutine.
func Compact(s *Store) error {
	done := make(chan error)
	s.orders <- func() { done <- s.compact() }
	return <-done
}
