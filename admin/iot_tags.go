package admin

import (
	"context"

	"muster/registry"
)

// tagRoutes are AWS IoT's tags of resources.
var tagRoutes = []route{
	{method: "POST", pattern: "/tags", op: "TagResource", scope: fleet, audited: true, handle: awsBody(tagResource)},
	{method: "POST", pattern: "/untag", op: "UntagResource", scope: fleet, audited: true, handle: awsBody(untagResource)},
	{method: "GET", pattern: "/tags", op: "ListTagsForResource", scope: read,
		query: "resourceArn nextToken", handle: plain(listTags)},
}

// tag is a tag as AWS IoT writes it.
type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// tagMap refuses a key that is there twice.
func tagMap(list []tag) (map[string]string, error) {
	if len(list) > registry.MaxTags {
		return nil, invalid("tags: at most %d, these are %d", registry.MaxTags, len(list))
	}
	tags := make(map[string]string, len(list))
	for _, t := range list {
		if _, twice := tags[t.Key]; twice {
			return nil, invalid("tags: the key %q is there twice", short(t.Key))
		}
		tags[t.Key] = t.Value
	}
	return tags, nil
}

type tagResourceInput struct {
	ARN  string `json:"resourceArn"`
	Tags []tag  `json:"tags"`
}

func tagResource(ctx context.Context, s *Server, c *call, in tagResourceInput) (*empty, error) {
	c.target = in.ARN
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, invalid("tags are missing")
	}
	return &empty{}, s.registry.Tag(ctx, in.ARN, tags)
}

type untagResourceInput struct {
	ARN  string   `json:"resourceArn"`
	Keys []string `json:"tagKeys"`
}

func untagResource(ctx context.Context, s *Server, c *call, in untagResourceInput) (*empty, error) {
	c.target = in.ARN
	if n := len(in.Keys); n < 1 || n > registry.MaxTags {
		return nil, invalid("tagKeys: 1 to %d, these are %d", registry.MaxTags, n)
	}
	return &empty{}, s.registry.Untag(ctx, in.ARN, in.Keys)
}

type tagList struct {
	Tags []tag `json:"tags"`
}

// listTags answers all tags on one page: a resource has at most 50.
func listTags(_ context.Context, s *Server, c *call) (*tagList, error) {
	if c.arg("nextToken") != "" {
		return nil, invalid("nextToken is not one that this gateway gave")
	}
	found, err := s.registry.TagsOf(c.arg("resourceArn"))
	if err != nil {
		return nil, err
	}
	tags := make([]tag, 0, len(found))
	for _, t := range found {
		tags = append(tags, tag{t.Key, t.Value})
	}
	return &tagList{tags}, nil
}
