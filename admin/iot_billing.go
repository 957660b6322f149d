package admin

import (
	"context"

	"muster/registry"
)

// billingRoutes are AWS IoT's billing groups.
var billingRoutes = []route{
	{method: "PUT", pattern: "/billing-groups/addThingToBillingGroup", op: "AddThingToBillingGroup", scope: fleet, audited: true, handle: awsBody(addThingToBilling)},
	{method: "PUT", pattern: "/billing-groups/removeThingFromBillingGroup", op: "RemoveThingFromBillingGroup", scope: fleet, audited: true, handle: awsBody(removeThingFromBilling)},
	{method: "POST", pattern: "/billing-groups/{billingGroupName}", op: "CreateBillingGroup", scope: fleet, audited: true, handle: awsBody(createBilling)},
	{method: "GET", pattern: "/billing-groups/{billingGroupName}", op: "DescribeBillingGroup", scope: read, handle: plain(describeBilling)},
	{method: "PATCH", pattern: "/billing-groups/{billingGroupName}", op: "UpdateBillingGroup", scope: fleet, audited: true, handle: awsBody(updateBilling)},
	{method: "DELETE", pattern: "/billing-groups/{billingGroupName}", op: "DeleteBillingGroup", scope: fleet, audited: true,
		query: "expectedVersion", handle: plain(deleteBilling)},
	{method: "GET", pattern: "/billing-groups", op: "ListBillingGroups", scope: read,
		query: paged + " namePrefixFilter", handle: plain(listBilling)},
	{method: "GET", pattern: "/billing-groups/{billingGroupName}/things", op: "ListThingsInBillingGroup", scope: read,
		query: paged, handle: plain(listThingsInBilling)},
}

type billingProperties struct {
	Description string `json:"billingGroupDescription,omitempty"`
}

type createBillingInput struct {
	Properties billingProperties `json:"billingGroupProperties"`
	Tags       []tag             `json:"tags"`
}

func createBilling(ctx context.Context, s *Server, c *call, in createBillingInput) (*billingOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	name := c.labels[0]
	b, err := s.registry.CreateBillingGroup(ctx, name, in.Properties.Description, tags)
	if err != nil {
		return nil, exists(err, name, s.registry.BillingGroupARN(name))
	}
	out := s.billingOut(b)
	return &out, nil
}

type billingOutput struct {
	Name string `json:"billingGroupName"`
	ARN  string `json:"billingGroupArn"`
	ID   string `json:"billingGroupId"`
}

func (s *Server) billingOut(b registry.BillingGroup) billingOutput {
	return billingOutput{b.Name, s.registry.BillingGroupARN(b.Name), b.UUID}
}

type billingMetadata struct {
	CreationDate epochSeconds `json:"creationDate"`
}

type billingDescription struct {
	billingOutput
	Version    int64             `json:"version"`
	Properties billingProperties `json:"billingGroupProperties"`
	Metadata   billingMetadata   `json:"billingGroupMetadata"`
}

func describeBilling(_ context.Context, s *Server, c *call) (*billingDescription, error) {
	b, err := s.registry.BillingGroup(c.labels[0])
	if err != nil {
		return nil, err
	}
	return &billingDescription{s.billingOut(b), b.Version, billingProperties{b.Description}, billingMetadata{epochSeconds(b.CreatedMs)}}, nil
}

type updateBillingInput struct {
	Properties      *billingProperties `json:"billingGroupProperties"`
	ExpectedVersion int64              `json:"expectedVersion"`
}

func updateBilling(ctx context.Context, s *Server, c *call, in updateBillingInput) (*versionOutput, error) {
	if in.Properties == nil {
		return nil, invalid("billingGroupProperties is missing")
	}
	b, err := s.registry.UpdateBillingGroup(ctx, c.labels[0], in.Properties.Description, in.ExpectedVersion)
	if err != nil {
		return nil, err
	}
	return &versionOutput{b.Version}, nil
}

func deleteBilling(ctx context.Context, s *Server, c *call) (*empty, error) {
	expected, err := expectedVersion(c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.DeleteBillingGroup(ctx, c.labels[0], expected)
}

type billingList struct {
	Groups    []groupRef `json:"billingGroups"`
	NextToken string     `json:"nextToken,omitempty"`
}

func listBilling(_ context.Context, s *Server, c *call) (*billingList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	prefix, err := nameArg(c, "namePrefixFilter")
	if err != nil {
		return nil, err
	}
	groups, next, err := s.registry.ListBillingGroups(prefix, after, limit)
	if err != nil {
		return nil, err
	}
	refs := make([]groupRef, 0, len(groups))
	for _, b := range groups {
		refs = append(refs, groupRef{b.Name, s.registry.BillingGroupARN(b.Name)})
	}
	return &billingList{refs, pageToken(next)}, nil
}

func listThingsInBilling(_ context.Context, s *Server, c *call) (*thingNames, error) {
	return namesOfThings(c, func(after string, limit int) ([]string, string, error) {
		return s.registry.ThingsInBillingGroup(c.labels[0], after, limit)
	})
}

type billingMemberInput struct {
	GroupName string `json:"billingGroupName"`
	GroupARN  string `json:"billingGroupArn"`
	ThingName string `json:"thingName"`
	ThingARN  string `json:"thingArn"`
}

func (in *billingMemberInput) names(s *Server, c *call) (group, thing string, err error) {
	if group, err = s.resolve("billingGroup", "billinggroup", named{in.GroupName, in.GroupARN}); err != nil {
		return "", "", err
	}
	if thing, err = s.resolve("thing", "thing", named{in.ThingName, in.ThingARN}); err != nil {
		return "", "", err
	}
	c.target = group + " " + thing
	return group, thing, nil
}

func addThingToBilling(ctx context.Context, s *Server, c *call, in billingMemberInput) (*empty, error) {
	group, thing, err := in.names(s, c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.SetBillingGroup(ctx, thing, group)
}

func removeThingFromBilling(ctx context.Context, s *Server, c *call, in billingMemberInput) (*empty, error) {
	group, thing, err := in.names(s, c)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.registry.LeaveBillingGroup(ctx, thing, group)
}
