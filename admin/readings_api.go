package admin

import (
	"context"

	"muster/registry/readings"
)

// Readings keeps the telemetry schemas of thing types. Its errors are *registry.Error where the caller can do something about them.
type Readings interface {
	Get(typeName string) (readings.Stored, error)
	// Put takes the place of the document that was there. It holds from each device's next message on.
	Put(ctx context.Context, typeName string, d readings.Document) (readings.Stored, error)
	Delete(ctx context.Context, typeName string) error
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

func putReadings(ctx context.Context, s *Server, c *call, in readings.Document) (*readings.Stored, error) {
	kept, err := s.readings()
	if err != nil {
		return nil, err
	}
	return orError(kept.Put(ctx, c.labels[0], in))
}

func deleteReadings(ctx context.Context, s *Server, c *call) (*noContent, error) {
	kept, err := s.readings()
	if err != nil {
		return nil, err
	}
	return nil, kept.Delete(ctx, c.labels[0])
}

// orError makes an answer of what returned a document.
func orError(stored readings.Stored, err error) (*readings.Stored, error) {
	if err != nil {
		return nil, err
	}
	return &stored, nil
}
