package admin

import (
	"context"
	"encoding/json"
	"strconv"

	"muster/registry"
)

// groupRoutes are AWS IoT's static thing groups; describing and listing is for dynamic ones as well.
var groupRoutes = []route{
	{method: "PUT", pattern: "/thing-groups/addThingToThingGroup", op: "AddThingToThingGroup", scope: fleet, audited: true, handle: awsBody(addThingToGroup)},
	{method: "PUT", pattern: "/thing-groups/removeThingFromThingGroup", op: "RemoveThingFromThingGroup", scope: fleet, audited: true, handle: awsBody(removeThingFromGroup)},
	{method: "PUT", pattern: "/thing-groups/updateThingGroupsForThing", op: "UpdateThingGroupsForThing", scope: fleet, audited: true, handle: awsBody(updateGroupsForThing)},
	{method: "POST", pattern: "/thing-groups/{thingGroupName}", op: "CreateThingGroup", scope: fleet, audited: true, handle: awsBody(createGroup)},
	{method: "GET", pattern: "/thing-groups/{thingGroupName}", op: "DescribeThingGroup", scope: read, handle: plain(describeGroup)},
	{method: "PATCH", pattern: "/thing-groups/{thingGroupName}", op: "UpdateThingGroup", scope: fleet, audited: true, handle: awsBody(updateGroup)},
	{method: "DELETE", pattern: "/thing-groups/{thingGroupName}", op: "DeleteThingGroup", scope: fleet, audited: true,
		query: "expectedVersion", handle: plain(deleteGroup)},
	{method: "GET", pattern: "/thing-groups", op: "ListThingGroups", scope: read,
		query: paged + " parentGroup namePrefixFilter recursive", handle: plain(listGroups)},
	{method: "GET", pattern: "/thing-groups/{thingGroupName}/things", op: "ListThingsInThingGroup", scope: read,
		query: paged + " recursive", handle: plain(listThingsInGroup)},
	{method: "GET", pattern: "/things/{thingName}/thing-groups", op: "ListThingGroupsForThing", scope: read,
		query: paged, handle: plain(listGroupsForThing)},
}

// groupProperties are the properties of a group, static or dynamic.
type groupProperties struct {
	Description *string           `json:"thingGroupDescription,omitempty"`
	Attributes  *attributePayload `json:"attributePayload,omitempty"`
}

func (p *groupProperties) description() string {
	if p.Description == nil {
		return ""
	}
	return *p.Description
}

// attributes returns what to set, nil for nothing, and whether it is laid over what is there.
func (p *groupProperties) attributes() (attributes map[string]string, merge bool) {
	if p.Attributes == nil {
		return nil, false
	}
	return orEmpty(p.Attributes.Attributes), p.Attributes.Merge
}

type createGroupInput struct {
	Parent     string          `json:"parentGroupName"`
	Properties groupProperties `json:"thingGroupProperties"`
	Tags       []tag           `json:"tags"`
}

func createGroup(ctx context.Context, s *Server, c *call, in createGroupInput) (*groupCreated, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	name := c.labels[0]
	attributes, _ := in.Properties.attributes()
	g, err := s.registry.CreateGroup(ctx, registry.GroupInput{
		Name: name, Parent: in.Parent, Description: in.Properties.description(), Attributes: attributes, Tags: tags,
	})
	if err != nil {
		return nil, exists(err, name, s.registry.GroupARN(name))
	}
	out := s.groupMade(g)
	return &out, nil
}

// groupCreated is the answer of the two operations that make groups.
type groupCreated struct {
	Name string `json:"thingGroupName"`
	ARN  string `json:"thingGroupArn"`
	ID   string `json:"thingGroupId"`
}

func (s *Server) groupMade(g registry.Group) groupCreated {
	return groupCreated{g.Name, s.registry.GroupARN(g.Name), g.UUID}
}

// groupRef is a group in a list, a billing group as well.
type groupRef struct {
	Name string `json:"groupName"`
	ARN  string `json:"groupArn"`
}

func (s *Server) groupRefs(names []string) []groupRef {
	refs := make([]groupRef, 0, len(names))
	for _, name := range names {
		refs = append(refs, groupRef{name, s.registry.GroupARN(name)})
	}
	return refs
}

type groupMetadata struct {
	Parent       string       `json:"parentGroupName,omitempty"`
	Above        []groupRef   `json:"rootToParentThingGroups,omitempty"`
	CreationDate epochSeconds `json:"creationDate"`
}

type groupDescription struct {
	groupCreated
	Version      int64           `json:"version"`
	Properties   groupProperties `json:"thingGroupProperties"`
	Metadata     groupMetadata   `json:"thingGroupMetadata"`
	IndexName    string          `json:"indexName,omitempty"`
	QueryString  string          `json:"queryString,omitempty"`
	QueryVersion string          `json:"queryVersion,omitempty"`
	Status       registry.Status `json:"status,omitempty"`
}

func describeGroup(_ context.Context, s *Server, c *call) (*groupDescription, error) {
	g, err := s.registry.Group(c.labels[0])
	if err != nil {
		return nil, err
	}
	out := &groupDescription{
		groupCreated: s.groupMade(g), Version: g.Version, Status: g.Status,
		Properties: groupProperties{Attributes: &attributePayload{Attributes: orEmpty(g.Attributes)}},
		Metadata:   groupMetadata{Parent: g.Parent, Above: s.groupRefs(s.registry.GroupPath(g.Name)), CreationDate: epochSeconds(g.CreatedMs)},
	}
	if g.Description != "" {
		out.Properties.Description = &g.Description
	}
	if g.Dynamic != nil {
		out.IndexName, out.QueryString, out.QueryVersion = g.Dynamic.IndexName, g.Dynamic.Query, g.Dynamic.QueryVersion
	}
	return out, nil
}

type updateGroupInput struct {
	Properties      *groupProperties `json:"thingGroupProperties"`
	ExpectedVersion int64            `json:"expectedVersion"`
}

// versionOutput is the answer of operations that change a resource with a version.
type versionOutput struct {
	Version int64 `json:"version"`
}

func updateGroup(ctx context.Context, s *Server, c *call, in updateGroupInput) (*versionOutput, error) {
	if in.Properties == nil {
		return nil, invalid("thingGroupProperties is missing")
	}
	update := registry.GroupUpdate{Name: c.labels[0], Description: in.Properties.Description, ExpectedVersion: in.ExpectedVersion}
	update.Attributes, update.Merge = in.Properties.attributes()
	g, err := s.registry.UpdateGroup(ctx, update)
	if err != nil {
		return nil, err
	}
	return &versionOutput{g.Version}, nil
}

func deleteGroup(ctx context.Context, s *Server, c *call) (*empty, error) {
	expected, err := expectedVersion(c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.DeleteGroup(ctx, c.labels[0], expected, false)
}

// expectedVersion reads expectedVersion from the query, 0 where it is not given.
func expectedVersion(c *call) (int64, error) {
	text := c.arg("expectedVersion")
	if text == "" {
		return 0, nil
	}
	expected, err := strconv.ParseInt(text, 10, 64)
	if err != nil || expected < 1 {
		return 0, invalid("expectedVersion must be a whole number from 1")
	}
	return expected, nil
}

// listGroups lists all groups, or those directly below a parent; recursive decides about the deeper ones.
func listGroups(_ context.Context, s *Server, c *call) (*groupList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	filter := registry.GroupFilter{}
	if filter.Parent, err = nameArg(c, "parentGroup"); err != nil {
		return nil, err
	}
	if filter.Prefix, err = nameArg(c, "namePrefixFilter"); err != nil {
		return nil, err
	}
	recursive, err := boolArg(c, "recursive")
	if err != nil {
		return nil, err
	}
	if c.arg("recursive") == "" {
		recursive = filter.Parent == ""
	}
	filter.Below, filter.Roots = recursive, !recursive && filter.Parent == ""
	groups, next, err := s.registry.ListGroups(filter, after, limit)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return &groupList{s.groupRefs(names), pageToken(next)}, nil
}

// nameArg reads a name, or the beginning of one, from the query; "" where it is not given.
func nameArg(c *call, field string) (string, error) {
	name := c.arg(field)
	if name == "" {
		return "", nil
	}
	return name, registry.CheckName(field, name)
}

type groupList struct {
	Groups    []groupRef `json:"thingGroups"`
	NextToken string     `json:"nextToken,omitempty"`
}

func listGroupsForThing(_ context.Context, s *Server, c *call) (*groupList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	names, err := s.registry.GroupsOf(c.labels[0])
	if err != nil {
		return nil, err
	}
	names, next := pageOf(names, after, limit)
	return &groupList{s.groupRefs(names), pageToken(next)}, nil
}

// pageOf returns up to limit of the names that are above after; they are ascending.
func pageOf(names []string, after string, limit int) (page []string, next string) {
	for _, name := range names {
		if name <= after {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1]
		}
		page = append(page, name)
	}
	return page, ""
}

type thingNames struct {
	Things    []string `json:"things"`
	NextToken string   `json:"nextToken,omitempty"`
}

func listThingsInGroup(_ context.Context, s *Server, c *call) (*thingNames, error) {
	recursive, err := boolArg(c, "recursive")
	if err != nil {
		return nil, err
	}
	return namesOfThings(c, func(after string, limit int) ([]string, string, error) {
		return s.registry.ThingsInGroup(c.labels[0], recursive, after, limit)
	})
}

// namesOfThings answers a page of names.
func namesOfThings(c *call, list func(after string, limit int) (names []string, next string, err error)) (*thingNames, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	names, next, err := list(after, limit)
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	return &thingNames{names, pageToken(next)}, nil
}

// named is a resource that is given by name or by ARN.
type named struct{ name, arn string }

// resolve returns the name of a resource of a kind; field is for messages.
func (s *Server) resolve(field, kind string, n named) (string, error) {
	if n.arn == "" {
		if n.name == "" {
			return "", invalid("%sName or %[1]sArn is missing", field)
		}
		return n.name, nil
	}
	name, err := s.registry.NameOf(kind, n.arn)
	if err != nil {
		return "", invalid("%sArn: %v", field, err)
	}
	if n.name != "" && n.name != name {
		return "", invalid("%sName and %[1]sArn name different ones; send one of them", field)
	}
	return name, nil
}

// memberInput names a group and a thing. overrideDynamicGroups changes nothing: here no dynamic group takes the place of
// a static one.
type memberInput struct {
	GroupName string `json:"thingGroupName"`
	GroupARN  string `json:"thingGroupArn"`
	ThingName string `json:"thingName"`
	ThingARN  string `json:"thingArn"`
	Override  bool   `json:"overrideDynamicGroups"`
}

func (in *memberInput) names(s *Server, c *call) (group, thing string, err error) {
	if group, err = s.resolve("thingGroup", "thinggroup", named{in.GroupName, in.GroupARN}); err != nil {
		return "", "", err
	}
	if thing, err = s.resolve("thing", "thing", named{in.ThingName, in.ThingARN}); err != nil {
		return "", "", err
	}
	c.target = group + " " + thing
	return group, thing, nil
}

func addThingToGroup(ctx context.Context, s *Server, c *call, in memberInput) (*empty, error) {
	group, thing, err := in.names(s, c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.AddToGroup(ctx, group, thing)
}

func removeThingFromGroup(ctx context.Context, s *Server, c *call, in memberInput) (*empty, error) {
	group, thing, err := in.names(s, c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.RemoveFromGroup(ctx, group, thing)
}

type groupsForThingInput struct {
	ThingName string   `json:"thingName"`
	Add       []string `json:"thingGroupsToAdd"`
	Remove    []string `json:"thingGroupsToRemove"`
	Override  bool     `json:"overrideDynamicGroups"`
}

func updateGroupsForThing(ctx context.Context, s *Server, c *call, in groupsForThingInput) (*empty, error) {
	if in.ThingName == "" {
		return nil, invalid("thingName is missing")
	}
	c.target = in.ThingName
	return &empty{}, s.registry.UpdateGroupsForThing(ctx, in.ThingName, in.Add, in.Remove)
}

// groupAPIRoutes are what AWS cannot say about groups.
var groupAPIRoutes = []route{
	{method: "GET", pattern: "/api/groups", op: "listGroups", scope: read,
		about: "Groups directly below one, or the roots, with how much is in them", query: "parent prefix below limit cursor", handle: plain(getGroups)},
	{method: "POST", pattern: "/api/groups/{thingGroupName}/move", op: "moveGroup", scope: fleet, audited: true,
		about: "Move a group with all below it to another parent", handle: body(moveGroup)},
}

type moveInput struct {
	Parent          *string `json:"parentGroupName"`
	ExpectedVersion int64   `json:"expectedVersion"`
}

type groupMoved struct {
	Parent  string `json:"parentGroupName"`
	Version int64  `json:"version"`
}

func moveGroup(ctx context.Context, s *Server, c *call, in moveInput) (*groupMoved, error) {
	if in.Parent == nil {
		return nil, invalid(`parentGroupName is missing; "" makes the group a root`)
	}
	g, err := s.registry.MoveGroup(ctx, c.labels[0], *in.Parent, in.ExpectedVersion)
	if err != nil {
		return nil, err
	}
	return &groupMoved{g.Parent, g.Version}, nil
}

// groupListed is a group with how much is in it.
type groupListed struct {
	Name        string          `json:"thingGroupName"`
	Parent      string          `json:"parentGroupName"`
	Description string          `json:"description"`
	Query       string          `json:"queryString,omitempty"`
	Status      registry.Status `json:"status,omitempty"`
	Extra       json.RawMessage `json:"extra,omitempty"` // what else decides who is a member
	Version     int64           `json:"version"`
	registry.GroupSize
}

type groupPage struct {
	Groups     []groupListed `json:"groups"`
	NextCursor string        `json:"nextCursor"`
	Revision   int64         `json:"revision"`
}

// getGroups answers the groups directly below one, or the roots, with how much is in them: the levels of a tree. With
// below=true it answers all levels at once.
func getGroups(_ context.Context, s *Server, c *call) (*groupPage, error) {
	limit, err := intArg(c, "limit", defaultPage, 1, registry.MaxPage)
	if err != nil {
		return nil, err
	}
	filter := registry.GroupFilter{Parent: c.arg("parent"), Prefix: c.arg("prefix")}
	below, err := boolArg(c, "below")
	if err != nil {
		return nil, err
	}
	filter.Roots = filter.Parent == "" && filter.Prefix == "" && !below
	filter.Below = filter.Parent != "" && below
	groups, next, err := s.registry.ListGroups(filter, c.arg("cursor"), limit)
	if err != nil {
		return nil, err
	}
	items := make([]groupListed, 0, len(groups))
	for _, g := range groups {
		it := groupListed{Name: g.Name, Parent: g.Parent, Description: g.Description, Status: g.Status, Version: g.Version}
		if g.Dynamic != nil {
			it.Query = g.Dynamic.Query
			if g.Dynamic.Extra != "" {
				it.Extra = json.RawMessage(g.Dynamic.Extra)
			}
		}
		if it.GroupSize, err = s.registry.GroupSize(g.Name); err != nil {
			continue // deleted meanwhile
		}
		items = append(items, it)
	}
	return &groupPage{items, next, s.registry.Revision()}, nil
}
