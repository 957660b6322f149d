package admin

import (
	"context"
	"time"
	"unicode/utf8"

	"muster/registry"
)

// dynamicRoutes are AWS IoT's dynamic thing groups; describing and listing is with the static ones.
var dynamicRoutes = []route{
	{method: "POST", pattern: "/dynamic-thing-groups/{thingGroupName}", op: "CreateDynamicThingGroup", scope: fleet, audited: true, handle: awsBody(createDynamicGroup)},
	{method: "PATCH", pattern: "/dynamic-thing-groups/{thingGroupName}", op: "UpdateDynamicThingGroup", scope: fleet, audited: true, handle: awsBody(updateDynamicGroup)},
	{method: "DELETE", pattern: "/dynamic-thing-groups/{thingGroupName}", op: "DeleteDynamicThingGroup", scope: fleet, audited: true,
		query: "expectedVersion", handle: plain(deleteDynamicGroup)},
}

// dynamicAPIRoutes are what AWS cannot say about dynamic groups, and help with writing queries.
var dynamicAPIRoutes = []route{
	{method: "POST", pattern: "/api/groups", op: "createGroup", scope: fleet, audited: true,
		about: "Make a group: a dynamic one if it has a query, else a static one", handle: creates(body(postGroup))},
	{method: "POST", pattern: "/api/groups/preview", op: "previewGroup", scope: read, readsByPost: true,
		about: "What a definition of a dynamic group finds, and who would enter and leave", handle: body(previewGroup)},
	{method: "GET", pattern: "/api/groups/{thingGroupName}", op: "getGroup", scope: read,
		about: "A group with all that decides who is a member", handle: plain(getGroup)},
	{method: "PATCH", pattern: "/api/groups/{thingGroupName}", op: "changeGroup", scope: fleet, audited: true,
		about: "Change a group", handle: body(patchGroup)},
	{method: "GET", pattern: "/api/complete", op: "completeQuery", scope: read,
		about: "What may follow in a query that is being written", query: "q at limit", handle: plain(completeQuery)},
}

// dynamicGroupInput is what AWS's operations on dynamic groups take; of an update, what is nil stays as it is.
type dynamicGroupInput struct {
	Properties      groupProperties `json:"thingGroupProperties"`
	IndexName       string          `json:"indexName"`
	QueryString     *string         `json:"queryString"`
	QueryVersion    string          `json:"queryVersion"`
	Tags            []tag           `json:"tags"`
	ExpectedVersion int64           `json:"expectedVersion"`
}

func (in *dynamicGroupInput) check(s *Server) error {
	return s.checkThingsIndex("dynamic groups", in.IndexName, in.QueryVersion)
}

// dynamicAnswer is the answer of CreateDynamicThingGroup.
type dynamicAnswer struct {
	groupCreated
	IndexName    string `json:"indexName"`
	QueryString  string `json:"queryString"`
	QueryVersion string `json:"queryVersion"`
}

func createDynamicGroup(ctx context.Context, s *Server, c *call, in dynamicGroupInput) (*dynamicAnswer, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	if in.QueryString == nil {
		return nil, invalid("queryString is missing; * finds every thing")
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	name := c.labels[0]
	attributes, _ := in.Properties.attributes()
	g, err := s.registry.CreateDynamicGroup(ctx, registry.DynamicInput{
		Name: name, Definition: registry.Definition{Query: *in.QueryString}, Description: in.Properties.description(), Attributes: attributes, Tags: tags,
	})
	if err != nil {
		return nil, exists(err, name, s.registry.GroupARN(name))
	}
	return &dynamicAnswer{s.groupMade(g), g.Dynamic.IndexName, g.Dynamic.Query, g.Dynamic.QueryVersion}, nil
}

func updateDynamicGroup(ctx context.Context, s *Server, c *call, in dynamicGroupInput) (*versionOutput, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	update := registry.DynamicUpdate{Name: c.labels[0], Description: in.Properties.Description, ExpectedVersion: in.ExpectedVersion}
	update.Attributes, update.Merge = in.Properties.attributes()
	if in.QueryString != nil {
		d, err := s.definitionOf(c.labels[0])
		if err != nil {
			return nil, err
		}
		// What this operation cannot say stays, as far as it goes with the new query.
		d.Query = *in.QueryString
		if _, ok := d.Expression(); ok {
			d.LeaveQuery = ""
		} else {
			d.Every = 0
		}
		update.Definition = &d
	}
	g, err := s.registry.UpdateDynamicGroup(ctx, update)
	if err != nil {
		return nil, err
	}
	return &versionOutput{g.Version}, nil
}

// definitionOf returns the definition of a dynamic group.
func (s *Server) definitionOf(name string) (registry.Definition, error) {
	g, err := s.registry.Group(name)
	if err != nil {
		return registry.Definition{}, err
	}
	if g.Dynamic == nil {
		return registry.Definition{}, invalid("thing group %q is a static group; use the operation for static groups", name)
	}
	return g.Dynamic.Definition(), nil
}

func deleteDynamicGroup(ctx context.Context, s *Server, c *call) (*empty, error) {
	expected, err := expectedVersion(c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.DeleteGroup(ctx, c.labels[0], expected, true)
}

// definition is a registry.Definition in JSON; of a change, what is nil stays as it is. Durations are such as 90s and 2m.
type definition struct {
	QueryString *string `json:"queryString"`
	LeaveQuery  *string `json:"leaveQuery"`
	EnterAfter  *string `json:"enterAfter"`
	LeaveAfter  *string `json:"leaveAfter"`
	Every       *string `json:"every"`
}

// over returns a definition with what is given instead of what it has.
func (in *definition) over(d registry.Definition) (registry.Definition, error) {
	for _, text := range []struct {
		from *string
		to   *string
	}{{in.QueryString, &d.Query}, {in.LeaveQuery, &d.LeaveQuery}} {
		if text.from != nil {
			*text.to = *text.from
		}
	}
	for _, duration := range []struct {
		name string
		from *string
		to   *time.Duration
	}{{"enterAfter", in.EnterAfter, &d.EnterAfter}, {"leaveAfter", in.LeaveAfter, &d.LeaveAfter}, {"every", in.Every, &d.Every}} {
		if duration.from == nil {
			continue
		}
		*duration.to = 0
		if *duration.from == "" {
			continue
		}
		parsed, err := time.ParseDuration(*duration.from)
		if err != nil {
			return d, invalid("%s must be a duration such as 90s, 2m or 1h, not %q", duration.name, short(*duration.from))
		}
		*duration.to = parsed
	}
	return d, nil
}

// groupInput makes a group: a dynamic one if it has a query, else a static one.
type groupInput struct {
	Name        string            `json:"thingGroupName"`
	Parent      string            `json:"parentGroupName"`
	Description string            `json:"description"`
	Attributes  map[string]string `json:"attributes"`
	definition
}

func postGroup(ctx context.Context, s *Server, c *call, in groupInput) (*groupOutput, error) {
	c.target = in.Name
	if in.QueryString == nil {
		if in.definition != (definition{}) {
			return nil, invalid("queryString is missing; without one the group is a static one, which has no leaveQuery, enterAfter, leaveAfter and every")
		}
		_, err := s.registry.CreateGroup(ctx, registry.GroupInput{Name: in.Name, Parent: in.Parent, Description: in.Description, Attributes: in.Attributes})
		if err != nil {
			return nil, err
		}
		return s.groupOut(in.Name)
	}
	if in.Parent != "" {
		return nil, invalid("parentGroupName: a dynamic group has no parent; name the group in its query instead, as group:%s", short(in.Parent))
	}
	d, err := in.over(registry.Definition{})
	if err != nil {
		return nil, err
	}
	_, err = s.registry.CreateDynamicGroup(ctx, registry.DynamicInput{Name: in.Name, Definition: d, Description: in.Description, Attributes: in.Attributes})
	if err != nil {
		return nil, err
	}
	return s.groupOut(in.Name)
}

type groupChange struct {
	Description     *string           `json:"description"`
	Attributes      map[string]string `json:"attributes"` // over the present ones; "" takes one away
	ExpectedVersion int64             `json:"expectedVersion"`
	definition
}

func patchGroup(ctx context.Context, s *Server, c *call, in groupChange) (*groupOutput, error) {
	name := c.labels[0]
	g, err := s.registry.Group(name)
	if err != nil {
		return nil, err
	}
	if g.Dynamic == nil {
		if in.definition != (definition{}) {
			return nil, invalid("thing group %q is a static group: its members are put into it, and follow from no query", name)
		}
		_, err = s.registry.UpdateGroup(ctx, registry.GroupUpdate{
			Name: name, Description: in.Description, Attributes: in.Attributes, Merge: true, ExpectedVersion: in.ExpectedVersion,
		})
	} else {
		var d registry.Definition
		if d, err = in.over(g.Dynamic.Definition()); err != nil {
			return nil, err
		}
		_, err = s.registry.UpdateDynamicGroup(ctx, registry.DynamicUpdate{
			Name: name, Definition: &d, Description: in.Description, Attributes: in.Attributes, Merge: true, ExpectedVersion: in.ExpectedVersion,
		})
	}
	if err != nil {
		return nil, err
	}
	return s.groupOut(name)
}

func getGroup(_ context.Context, s *Server, c *call) (*groupOutput, error) {
	return s.groupOut(c.labels[0])
}

// groupOutput is a group with all that decides who is a member.
type groupOutput struct {
	Name        string            `json:"thingGroupName"`
	ARN         string            `json:"thingGroupArn"`
	ID          string            `json:"thingGroupId"`
	Parent      string            `json:"parentGroupName"`
	Above       []string          `json:"rootToParent"`
	Description string            `json:"description"`
	Attributes  map[string]string `json:"attributes"`
	Version     int64             `json:"version"`
	CreatedMs   int64             `json:"createdMs"`
	QueryString string            `json:"queryString,omitempty"`
	LeaveQuery  string            `json:"leaveQuery,omitempty"`
	EnterAfter  string            `json:"enterAfter,omitempty"`
	LeaveAfter  string            `json:"leaveAfter,omitempty"`
	Every       string            `json:"every,omitempty"`
	Status      registry.Status   `json:"status,omitempty"`
	Problem     string            `json:"problem,omitempty"` // why the members may be old
	registry.GroupSize
	Revision int64 `json:"revision"`
}

func (s *Server) groupOut(name string) (*groupOutput, error) {
	g, err := s.registry.Group(name)
	if err != nil {
		return nil, err
	}
	out := &groupOutput{
		Name: g.Name, ARN: s.registry.GroupARN(g.Name), ID: g.UUID, Parent: g.Parent, Above: s.registry.GroupPath(g.Name), Description: g.Description,
		Attributes: orEmpty(g.Attributes), Version: g.Version, CreatedMs: g.CreatedMs, Status: g.Status, Revision: s.registry.Revision(),
	}
	if out.Above == nil {
		out.Above = []string{}
	}
	if g.Dynamic != nil {
		d := g.Dynamic.Definition()
		text := func(d time.Duration) string {
			if d == 0 {
				return ""
			}
			return d.String()
		}
		out.QueryString, out.LeaveQuery = d.Query, d.LeaveQuery
		out.EnterAfter, out.LeaveAfter, out.Every = text(d.EnterAfter), text(d.LeaveAfter), text(d.Every)
		out.Problem = s.registry.GroupProblem(g.Name)
	}
	out.GroupSize, err = s.registry.GroupSize(name)
	return out, err
}

// previewInput is a definition, and the group that it may be for.
type previewInput struct {
	Group string `json:"thingGroupName"`
	Limit *int   `json:"limit"`
	definition
}

const defaultPreview = 20

// previewOutput is what a definition finds now, and who would come and go if the group had it.
type previewOutput struct {
	Total          int           `json:"total"`
	Things         []thingOutput `json:"things"`
	Entering       int           `json:"entering"`
	EnteringThings []string      `json:"enteringThings"`
	Leaving        int           `json:"leaving"`
	LeavingThings  []string      `json:"leavingThings"`
	TookMs         float64       `json:"tookMs"`
}

func previewGroup(ctx context.Context, s *Server, _ *call, in previewInput) (*previewOutput, error) {
	limit := defaultPreview
	if in.Limit != nil {
		limit = *in.Limit
	}
	d, err := in.over(registry.Definition{})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	p, err := s.registry.PreviewGroup(ctx, d, in.Group, limit)
	if err != nil {
		return nil, err
	}
	things := make([]thingOutput, 0, len(p.Hits))
	for _, h := range p.Hits {
		things = append(things, s.thingOut(h.Thing))
	}
	return &previewOutput{p.Total, things, p.Entering, orNone(p.EnteringThings), p.Leaving, orNone(p.LeavingThings), float64(time.Since(begin).Microseconds()) / 1000}, nil
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// maxQueryBytes bounds a query that is being written.
const maxQueryBytes = 16 << 10

type completion struct {
	Text   string `json:"text"`
	Kind   string `json:"kind"`
	Things *int   `json:"things,omitempty"`
}

// completions are for the characters from From to To of a query.
type completions struct {
	From   int          `json:"from"`
	To     int          `json:"to"`
	Items  []completion `json:"items"`
	TookMs float64      `json:"tookMs"`
}

func completeQuery(_ context.Context, s *Server, c *call) (*completions, error) {
	q := c.arg("q")
	if len(q) > maxQueryBytes || !utf8.ValidString(q) {
		return nil, invalid("q must be UTF-8 of at most %d bytes", maxQueryBytes)
	}
	length := utf8.RuneCountInString(q)
	at, err := intArg(c, "at", length, 0, length)
	if err != nil {
		return nil, err
	}
	limit, err := intArg(c, "limit", 20, 1, registry.MaxSuggestions)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var columns []string
	if s.opts.Telemetry != nil {
		for _, m := range s.opts.Telemetry.Metrics() {
			columns = append(columns, m.Name)
		}
	}
	found := s.registry.Complete(q, at, limit, columns)
	items := make([]completion, 0, len(found.Suggestions))
	for _, f := range found.Suggestions {
		it := completion{Text: f.Text, Kind: f.Kind}
		if f.Things >= 0 {
			it.Things = &f.Things
		}
		items = append(items, it)
	}
	return &completions{found.From, found.To, items, float64(time.Since(begin).Microseconds()) / 1000}, nil
}
