package admin

import (
	"context"

	"muster/registry/readings"
)

// Readings keeps the telemetry schemas of thing types. Its errors are *registry.Error where the caller can do something about them.
type Readings interface {
	// Get returns the empty document where a type has none.
	Get(typeName string) (readings.Stored, error)
	// Put takes the place of the document that was there, whose version is expected, or registry.AnyVersion. It holds from each device's next
	// message on. The empty document removes it; one that is there already is no change.
	Put(ctx context.Context, typeName string, d readings.Document, expected int64) (readings.Stored, error)
}

func (s *Server) readings() (Readings, error) {
	if s.opts.Readings == nil {
		return nil, busy("this gateway keeps no telemetry schemas")
	}
	return s.opts.Readings, nil
}

func getReadings(_ context.Context, s *Server, c *call) (*readings.Stored, error) {
	kept, err := s.readings()
	if err != nil {
		return nil, err
	}
	return orError(kept.Get(c.labels[0]))
}

// readingsInput is a document and the version of the one that it takes the place of; nil: any.
type readingsInput struct {
	readings.Document
	ExpectedVersion *int64 `json:"expectedVersion"`
}

func putReadings(ctx context.Context, s *Server, c *call, in readingsInput) (*readings.Stored, error) {
	kept, err := s.readings()
	if err != nil {
		return nil, err
	}
	expected, err := expectedSchema(in.ExpectedVersion)
	if err != nil {
		return nil, err
	}
	return orError(kept.Put(ctx, c.labels[0], in.Document, expected))
}

func deleteReadings(ctx context.Context, s *Server, c *call) (*noContent, error) {
	kept, err := s.readings()
	if err != nil {
		return nil, err
	}
	expected, err := expectedToDelete(c)
	if err != nil {
		return nil, err
	}
	_, err = kept.Put(ctx, c.labels[0], readings.Document{}, expected)
	return nil, err
}

// orError makes an answer of what returned a document.
func orError(stored readings.Stored, err error) (*readings.Stored, error) {
	if err != nil {
		return nil, err
	}
	return &stored, nil
}
