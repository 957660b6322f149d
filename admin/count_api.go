package admin

import (
	"context"

	"muster/registry"
	"muster/registry/index"
)

// maxCounted bounds the values on each level of a count.
const (
	maxCounted     = 100
	defaultCounted = 10
)

// valueCount is a value and how many things have it; with a second field, how many of these have which value of that.
type valueCount struct {
	Value   string       `json:"value"`
	Count   int          `json:"count"`
	Buckets []valueCount `json:"buckets,omitempty"`
}

type countOutput struct {
	Total   int          `json:"totalCount"` // things that match, with such a value or without
	Buckets []valueCount `json:"buckets"`    // most things first
}

// getGroupedCounts counts things by one field or by two, which AWS's GetBucketsAggregation cannot.
func getGroupedCounts(ctx context.Context, s *Server, c *call) (*countOutput, error) {
	by, then := c.arg("by"), c.arg("then")
	if by == "" {
		return nil, invalid("by is missing: the field to count by, such as thingTypeName or attributes.city")
	}
	if wrong := wrongField(by); wrong != "" {
		return nil, invalid("by: %s", wrong)
	}
	if wrong := wrongField(then); then != "" && wrong != "" {
		return nil, invalid("then: %s", wrong)
	}
	limit, err := intArg(c, "limit", defaultCounted, 1, maxCounted)
	if err != nil {
		return nil, err
	}
	revision, err := minRevision(c)
	if err != nil {
		return nil, err
	}
	in := registry.QueryInput{Text: c.arg("q"), Typed: true, Limit: limit, MinRevision: revision}
	grouped, total, err := s.registry.QueryGrouped(ctx, in, by, then)
	if err != nil {
		return nil, err
	}
	out := &countOutput{Total: total, Buckets: make([]valueCount, 0, len(grouped))}
	for _, g := range grouped {
		counted := countOf(g.Bucket)
		for _, b := range g.Then {
			counted.Buckets = append(counted.Buckets, countOf(b))
		}
		out.Buckets = append(out.Buckets, counted)
	}
	return out, nil
}

func countOf(b index.Bucket) valueCount { return valueCount{Value: b.Value, Count: b.Things} }
