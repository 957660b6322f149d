package registry

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of tags (AWS).
const (
	MaxTags     = 50 // of a resource
	MaxTagKey   = 128
	MaxTagValue = 256
)

// Tag is a tag of a resource.
type Tag struct {
	Resource   string // such as "thinggroup/north": the last part of its ARN
	Key, Value string
}

// Tag lays tags over those of a resource, given by its ARN. One that does not exist is NotFound.
func (r *Registry) Tag(ctx context.Context, arn string, tags map[string]string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return r.submit(ctx, "", func(tx *transaction) error {
		resource, err := r.taggable(arn)
		if err != nil {
			return err
		}
		sum := maps.Clone(r.tags[resource])
		if sum == nil {
			sum = map[string]string{}
		}
		maps.Copy(sum, tags)
		if len(sum) > MaxTags {
			return refuse(Limit, "tags: a resource has at most %d, this one would have %d", MaxTags, len(sum))
		}
		r.planTags(tx, resource, tags)
		return nil
	})
}

// Untag takes tags away from a resource; those that it does not have are no error.
func (r *Registry) Untag(ctx context.Context, arn string, keys []string) error {
	return r.submit(ctx, "", func(tx *transaction) error {
		resource, err := r.taggable(arn)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if _, ok := r.tags[resource][key]; !ok {
				continue
			}
			key = strings.Clone(key)
			tx.DeleteTags = append(tx.DeleteTags, Tag{Resource: resource, Key: key})
			tx.memory = append(tx.memory, func() { delete(r.tags[resource], key) })
		}
		return nil
	})
}

// TagsOf returns the tags of a resource by key ascending.
func (r *Registry) TagsOf(arn string) ([]Tag, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	resource, err := r.taggable(arn)
	if err != nil {
		return nil, err
	}
	var tags []Tag
	for _, key := range slices.Sorted(maps.Keys(r.tags[resource])) {
		tags = append(tags, Tag{resource, key, r.tags[resource][key]})
	}
	return tags, nil
}

// Taggable lets resources of another kind, such as "policy", have tags: exists says whether there is one of that name.
// It is called once per kind, before the first use; exists is called under the registry's locks and must not call it.
func (r *Registry) Taggable(kind string, exists func(name string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taggableKinds[kind] = exists
}

// ForgetTags takes all tags of a resource that another package has deleted.
func (r *Registry) ForgetTags(ctx context.Context, kind, name string) error {
	return r.submit(ctx, "", func(tx *transaction) error {
		r.planForgetTags(tx, kind+"/"+name)
		return nil
	})
}

// taggable returns the resource of an ARN. The caller holds mu or is the writing goroutine.
func (r *Registry) taggable(arn string) (resource string, err error) {
	resource, ok := strings.CutPrefix(arn, strings.TrimSuffix(r.arn("", ""), "/"))
	kind, name, isPair := strings.Cut(resource, "/")
	if !ok || !isPair {
		return "", refuse(Invalid, "resourceArn: %q is no ARN of this gateway, such as %s", arn, r.arn("billinggroup", "name"))
	}
	exists := false
	switch kind {
	case "thinggroup":
		exists = r.groups.byName[name] != nil
	case "thingtype":
		exists = r.types[name] != nil
	case "billinggroup":
		exists = r.billing[name] != nil
	default:
		f := r.taggableKinds[kind]
		if f == nil {
			return "", refuse(Invalid, "resourceArn: a %s has no tags; a thinggroup, a thingtype and a billinggroup have", kind)
		}
		exists = f(name)
	}
	if !exists {
		return "", refuse(NotFound, "resourceArn: there is no %s %q", kind, name)
	}
	return strings.Clone(resource), nil
}

// NameOf returns the name in an ARN of this gateway of a kind such as "thing", "thinggroup" or "billinggroup".
func (r *Registry) NameOf(kind, arn string) (string, error) {
	name, ok := strings.CutPrefix(arn, r.arn(kind, ""))
	if !ok {
		return "", refuse(Invalid, "%q is no ARN of a %s of this gateway, such as %s", arn, kind, r.arn(kind, "name"))
	}
	return name, nil
}

// planTags adds tags of a resource to tx, checked.
func (r *Registry) planTags(tx *transaction, resource string, tags map[string]string) {
	for key, value := range tags {
		tag := Tag{resource, strings.Clone(key), strings.Clone(value)}
		tx.PutTags = append(tx.PutTags, tag)
		tx.memory = append(tx.memory, func() { r.putTag(tag) })
	}
}

func (r *Registry) putTag(t Tag) {
	if r.tags[t.Resource] == nil {
		r.tags[t.Resource] = map[string]string{}
	}
	r.tags[t.Resource][t.Key] = t.Value
}

// planForgetTags adds the end of all tags of a resource to tx.
func (r *Registry) planForgetTags(tx *transaction, resource string) {
	if len(r.tags[resource]) == 0 {
		return
	}
	tx.DeleteTags = append(tx.DeleteTags, Tag{Resource: resource})
	tx.memory = append(tx.memory, func() { delete(r.tags, resource) })
}

func checkTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return refuse(Invalid, "tags: at most %d, these are %d", MaxTags, len(tags))
	}
	for key, value := range tags {
		if err := checkTag("the key of a tag", key, 1, MaxTagKey); err != nil {
			return err
		}
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return refuse(Invalid, "tags: the key %q begins with aws:, which is not for users", key)
		}
		if err := checkTag("the value of tag "+key, value, 0, MaxTagValue); err != nil {
			return err
		}
	}
	return nil
}

// checkTag checks a key or a value: letters, spaces, digits and _.:/=+-@ (AWS).
func checkTag(field, text string, minLen, maxLen int) error {
	if n := utf8.RuneCountInString(text); n < minLen || n > maxLen {
		return refuse(Invalid, "tags: %s must have %d to %d characters, it has %d", field, minLen, maxLen, n)
	}
	for i, c := range text {
		if c == utf8.RuneError || !unicode.IsLetter(c) && !unicode.IsNumber(c) && !unicode.Is(unicode.Z, c) && !strings.ContainsRune("_.:/=+-@", c) {
			return refuse(Invalid, "tags: %s has %q at position %d; allowed are letters, digits, spaces and _.:/=+-@", field, c, i)
		}
	}
	return nil
}
