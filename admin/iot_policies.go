package admin

import (
	"context"
	"errors"
	"strconv"

	"github.com/valyala/fasthttp"

	"muster/registry/access"
	"muster/registry/policy"
)

// policyRoutes are policies, what they are attached to, and what they decide.
var policyRoutes = []route{
	{method: "POST", pattern: "/policies/{policyName}", op: "CreatePolicy", scope: identity, audited: true, handle: awsBody(createPolicy)},
	{method: "GET", pattern: "/policies/{policyName}", op: "GetPolicy", scope: read, handle: plain(getPolicy)},
	{method: "GET", pattern: "/policies", op: "ListPolicies", scope: read,
		query: marked, handle: plain(listPolicies)},
	{method: "DELETE", pattern: "/policies/{policyName}", op: "DeletePolicy", scope: identity, audited: true, handle: plain(deletePolicy)},
	{method: "POST", pattern: "/policies/{policyName}/version", op: "CreatePolicyVersion", scope: identity, audited: true,
		query: "setAsDefault", handle: awsBody(createPolicyVersion)},
	{method: "GET", pattern: "/policies/{policyName}/version/{policyVersionId}", op: "GetPolicyVersion", scope: read, handle: plain(getPolicyVersion)},
	{method: "GET", pattern: "/policies/{policyName}/version", op: "ListPolicyVersions", scope: read, handle: plain(listPolicyVersions)},
	{method: "DELETE", pattern: "/policies/{policyName}/version/{policyVersionId}", op: "DeletePolicyVersion", scope: identity, audited: true, handle: plain(deletePolicyVersion)},
	{method: "PATCH", pattern: "/policies/{policyName}/version/{policyVersionId}", op: "SetDefaultPolicyVersion", scope: identity, audited: true, handle: plain(setDefaultPolicyVersion)},
	{method: "PUT", pattern: "/target-policies/{policyName}", op: "AttachPolicy", scope: identity, audited: true, handle: awsBody(attachPolicy)},
	{method: "POST", pattern: "/target-policies/{policyName}", op: "DetachPolicy", scope: identity, audited: true, handle: awsBody(detachPolicy)},
	{method: "POST", pattern: "/attached-policies/{target}", op: "ListAttachedPolicies", scope: read, readsByPost: true,
		query: marked + " recursive", handle: plain(listAttachedPolicies)},
	{method: "POST", pattern: "/policy-targets/{policyName}", op: "ListTargetsForPolicy", scope: read, readsByPost: true,
		query: marked, handle: plain(listTargetsForPolicy)},
	{method: "POST", pattern: "/effective-policies", op: "GetEffectivePolicies", scope: read, readsByPost: true,
		query: "thingName", handle: awsBody(getEffectivePolicies)},
	{method: "POST", pattern: "/test-authorization", op: "TestAuthorization", scope: read, readsByPost: true,
		query: "clientId", handle: awsBody(testAuthorization)},
	{method: "PUT", pattern: "/principal-policies/{policyName}", op: "AttachPrincipalPolicy", scope: identity, audited: true,
		headers: oldPrincipalHeader, handle: plain(attachPrincipalPolicy)},
	{method: "DELETE", pattern: "/principal-policies/{policyName}", op: "DetachPrincipalPolicy", scope: identity, audited: true,
		headers: oldPrincipalHeader, handle: plain(detachPrincipalPolicy)},
	{method: "GET", pattern: "/principal-policies", op: "ListPrincipalPolicies", scope: read,
		query: marked, headers: oldPrincipalHeader, handle: plain(listPrincipalPolicies)},
	{method: "GET", pattern: "/policy-principals", op: "ListPolicyPrincipals", scope: read,
		query: marked, headers: oldPolicyHeader, handle: plain(listPolicyPrincipals)},
}

// accessErrors are AWS's exceptions.
var accessErrors = map[access.Kind]struct {
	status  int
	awsType string
}{
	access.Invalid:   {fasthttp.StatusBadRequest, "InvalidRequestException"},
	access.NotFound:  {fasthttp.StatusNotFound, "ResourceNotFoundException"},
	access.Exists:    {fasthttp.StatusConflict, "ResourceAlreadyExistsException"},
	access.Malformed: {fasthttp.StatusBadRequest, "MalformedPolicyException"},
	access.Conflict:  {fasthttp.StatusConflict, "DeleteConflictException"},
	access.Versions:  {fasthttp.StatusConflict, "VersionsLimitExceededException"},
	access.Limit:     {fasthttp.StatusGone, "LimitExceededException"},
	access.Busy:      {fasthttp.StatusServiceUnavailable, "ServiceUnavailableException"},
}

// describeAccess turns an error of access into AWS's.
func describeAccess(e *access.Error) *apiError {
	k := accessErrors[e.Kind]
	return &apiError{status: k.status, kind: e.Kind.String(), awsType: k.awsType, message: e.Message}
}

// accessOf returns the policies, or an error where this server has none.
func (s *Server) accessOf() (*access.Book, error) {
	if s.opts.Access == nil {
		return nil, notFound("this gateway runs without policies")
	}
	return s.opts.Access, nil
}

type policyInput struct {
	Document string `json:"policyDocument"`
	Tags     []tag  `json:"tags"`
}

type policyRef struct {
	Name string `json:"policyName"`
	ARN  string `json:"policyArn"`
}

func refs(book *access.Book, names []string) []policyRef {
	out := make([]policyRef, 0, len(names))
	for _, name := range names {
		out = append(out, policyRef{name, book.PolicyARN(name)})
	}
	return out
}

type policyCreated struct {
	policyRef
	Document string `json:"policyDocument"`
	Version  string `json:"policyVersionId"`
}

func createPolicy(ctx context.Context, s *Server, c *call, in policyInput) (*policyCreated, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	p, err := book.CreatePolicy(ctx, c.labels[0], in.Document)
	if err != nil {
		return nil, existingPolicy(err, book, c.labels[0])
	}
	if len(tags) > 0 {
		if err := s.registry.Tag(ctx, book.PolicyARN(p.Name), tags); err != nil {
			return nil, errors.Join(err, book.DeletePolicy(ctx, p.Name)) // all or nothing
		}
	}
	return &policyCreated{policyRef{p.Name, book.PolicyARN(p.Name)}, p.Document, strconv.Itoa(p.Version)}, nil
}

// existingPolicy adds to a conflict what AWS's has.
func existingPolicy(err error, book *access.Book, name string) error {
	e := describe(err)
	if e.awsType == "ResourceAlreadyExistsException" {
		e.fields = map[string]string{"resourceId": name, "resourceArn": book.PolicyARN(name)}
		return e
	}
	return err
}

type policyOutput struct {
	policyRef
	Document   string       `json:"policyDocument"`
	Default    string       `json:"defaultVersionId"`
	Created    epochSeconds `json:"creationDate"`
	Changed    epochSeconds `json:"lastModifiedDate"`
	Generation string       `json:"generationId"`
}

func getPolicy(_ context.Context, s *Server, c *call) (*policyOutput, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	p, err := book.Policy(c.labels[0], 0)
	if err != nil {
		return nil, err
	}
	return &policyOutput{policyRef{p.Name, book.PolicyARN(p.Name)}, p.Document, strconv.Itoa(p.Default), epochSeconds(p.CreatedMs), epochSeconds(p.ChangedMs), strconv.FormatInt(p.ChangedMs, 10)}, nil
}

func listPolicies(_ context.Context, s *Server, c *call) (*policyPage, error) {
	return listOfPolicies(s, c, func(book *access.Book, after string, limit int, ascending bool) ([]string, string, error) {
		return book.ListPolicies(after, limit, ascending)
	})
}

type policyPage struct {
	Policies []policyRef `json:"policies"`
	Next     string      `json:"nextMarker,omitempty"`
}

// listOfPolicies answers a page of names of policies.
func listOfPolicies(s *Server, c *call, list func(book *access.Book, after string, limit int, ascending bool) ([]string, string, error)) (*policyPage, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	after, limit, ascending, err := markerPage(c)
	if err != nil {
		return nil, err
	}
	names, next, err := list(book, after, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &policyPage{refs(book, names), nextMarker(next)}, nil
}

func deletePolicy(ctx context.Context, s *Server, c *call) (*empty, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	if err := book.DeletePolicy(ctx, c.labels[0]); err != nil {
		return nil, err
	}
	return &empty{}, s.registry.ForgetTags(ctx, "policy", c.labels[0])
}

type versionCreated struct {
	ARN       string `json:"policyArn"`
	Document  string `json:"policyDocument"`
	Version   string `json:"policyVersionId"`
	IsDefault bool   `json:"isDefaultVersion"`
}

func createPolicyVersion(ctx context.Context, s *Server, c *call, in policyInput) (*versionCreated, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	inForce, err := boolArg(c, "setAsDefault")
	if err != nil {
		return nil, err
	}
	p, err := book.CreatePolicyVersion(ctx, c.labels[0], in.Document, inForce)
	if err != nil {
		return nil, err
	}
	return &versionCreated{book.PolicyARN(p.Name), p.Document, strconv.Itoa(p.Version), p.Version == p.Default}, nil
}

// versionLabel reads the version in the path.
func versionLabel(c *call) (int, error) {
	id, err := strconv.Atoi(c.labels[1])
	if err != nil || id < 1 {
		return 0, invalid("policyVersionId %q must be a number from 1", short(c.labels[1]))
	}
	return id, nil
}

type policyVersionOutput struct {
	policyRef
	Document   string       `json:"policyDocument"`
	Version    string       `json:"policyVersionId"`
	IsDefault  bool         `json:"isDefaultVersion"`
	Created    epochSeconds `json:"creationDate"`
	Changed    epochSeconds `json:"lastModifiedDate"`
	Generation string       `json:"generationId"`
}

func getPolicyVersion(_ context.Context, s *Server, c *call) (*policyVersionOutput, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	id, err := versionLabel(c)
	if err != nil {
		return nil, err
	}
	p, err := book.Policy(c.labels[0], id)
	if err != nil {
		return nil, err
	}
	return &policyVersionOutput{policyRef{p.Name, book.PolicyARN(p.Name)}, p.Document, strconv.Itoa(p.Version), p.Version == p.Default,
		epochSeconds(p.VersionMs), epochSeconds(p.VersionMs), strconv.FormatInt(p.ChangedMs, 10)}, nil
}

type versionListed struct {
	ID        string       `json:"versionId"`
	IsDefault bool         `json:"isDefaultVersion"`
	Created   epochSeconds `json:"createDate"`
}

type versionList struct {
	Versions []versionListed `json:"policyVersions"`
}

func listPolicyVersions(_ context.Context, s *Server, c *call) (*versionList, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	versions, err := book.PolicyVersions(c.labels[0])
	if err != nil {
		return nil, err
	}
	out := []versionListed{}
	for _, v := range versions {
		out = append(out, versionListed{strconv.Itoa(v.Version), v.Version == v.Default, epochSeconds(v.VersionMs)})
	}
	return &versionList{out}, nil
}

func deletePolicyVersion(ctx context.Context, s *Server, c *call) (*empty, error) {
	return changeVersion(ctx, s, c, (*access.Book).DeletePolicyVersion)
}

func setDefaultPolicyVersion(ctx context.Context, s *Server, c *call) (*empty, error) {
	return changeVersion(ctx, s, c, (*access.Book).SetDefaultPolicyVersion)
}

func changeVersion(ctx context.Context, s *Server, c *call, change func(*access.Book, context.Context, string, int) error) (*empty, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	id, err := versionLabel(c)
	if err != nil {
		return nil, err
	}
	return &empty{}, change(book, ctx, c.labels[0], id)
}

type targetInput struct {
	Target string `json:"target"`
}

func attachPolicy(ctx context.Context, s *Server, c *call, in targetInput) (*empty, error) {
	return attach(ctx, s, c, in.Target)
}

func attach(ctx context.Context, s *Server, c *call, target string) (*empty, error) {
	c.target = c.labels[0] + " " + target
	if err := access.CheckPolicyName(c.labels[0]); err != nil {
		return nil, err
	}
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	t, err := s.existingTarget(ctx, book, target)
	if err != nil {
		return nil, err
	}
	return &empty{}, book.Attach(ctx, c.labels[0], t)
}

// existingTarget returns the group or the certificate of an ARN.
func (s *Server) existingTarget(ctx context.Context, book *access.Book, arn string) (access.Target, error) {
	t, err := book.Target(arn)
	if err == nil && t.Group == 0 { // a group was found by its name
		_, err = s.certificate(ctx, t.Cert.String())
	}
	return t, err
}

func detachPolicy(ctx context.Context, s *Server, c *call, in targetInput) (*empty, error) {
	return detach(ctx, s, c, in.Target)
}

func detach(ctx context.Context, s *Server, c *call, target string) (*empty, error) {
	c.target = c.labels[0] + " " + target
	if err := access.CheckPolicyName(c.labels[0]); err != nil {
		return nil, err
	}
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	t, err := book.Target(target)
	if err != nil {
		return nil, err
	}
	return &empty{}, book.Detach(ctx, c.labels[0], t)
}

func listAttachedPolicies(ctx context.Context, s *Server, c *call) (*policyPage, error) {
	inherited, err := boolArg(c, "recursive")
	if err != nil {
		return nil, err
	}
	return listPoliciesOf(ctx, s, c, c.labels[0], inherited, true) // AWS lets nobody turn the order of this one
}

// listPoliciesOf answers a page of the policies of a target, ascending always or where the caller says so.
func listPoliciesOf(ctx context.Context, s *Server, c *call, arn string, inherited, alwaysAscending bool) (*policyPage, error) {
	return listOfPolicies(s, c, func(book *access.Book, after string, limit int, ascending bool) ([]string, string, error) {
		t, err := s.existingTarget(ctx, book, arn)
		if err != nil {
			return nil, "", err
		}
		return book.ListAttached(t, inherited, after, limit, ascending || alwaysAscending)
	})
}

type targetPage struct {
	Targets []string `json:"targets"`
	Next    string   `json:"nextMarker,omitempty"`
}

func listTargetsForPolicy(_ context.Context, s *Server, c *call) (*targetPage, error) {
	arns, next, err := listTargets(s, c, c.labels[0], false)
	return &targetPage{arns, next}, err
}

// listTargets returns a page of what a policy is attached to, and the marker of the next.
func listTargets(s *Server, c *call, name string, certificatesOnly bool) (arns []string, marker string, err error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, "", err
	}
	after, limit, ascending, err := markerPage(c)
	if err != nil {
		return nil, "", err
	}
	arns, next, err := book.ListTargets(name, after, limit, certificatesOnly, ascending || !certificatesOnly)
	return arns, nextMarker(next), err
}

type effectiveInput struct {
	Principal string `json:"principal"`
	Cognito   string `json:"cognitoIdentityPoolId"`
}

const noCognito = "this gateway has no Cognito identities: leave cognitoIdentityPoolId out"

type effectivePolicy struct {
	policyRef
	Document string `json:"policyDocument"`
}

type effectiveOutput struct {
	Policies []effectivePolicy `json:"effectivePolicies"`
}

func getEffectivePolicies(ctx context.Context, s *Server, c *call, in effectiveInput) (*effectiveOutput, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	if in.Cognito != "" {
		return nil, invalid(noCognito)
	}
	var t access.Target
	var thing uint32
	if in.Principal != "" {
		if t, err = s.existingTarget(ctx, book, in.Principal); err != nil {
			return nil, err
		}
	}
	if name := c.arg("thingName"); name != "" {
		found, err := s.registry.Thing(name)
		if err != nil {
			return nil, err
		}
		thing = found.ID
	}
	if in.Principal == "" && thing == 0 {
		return nil, invalid("principal or thingName is needed")
	}
	out := []effectivePolicy{}
	for _, p := range book.EffectivePolicies(t, thing) {
		out = append(out, effectivePolicy{policyRef{p.Name, book.PolicyARN(p.Name)}, p.Document})
	}
	return &effectiveOutput{out}, nil
}

type authInfo struct {
	Action    string   `json:"actionType"`
	Resources []string `json:"resources"`
}

type testInput struct {
	effectiveInput
	Infos []authInfo `json:"authInfos"`
	Add   []string   `json:"policyNamesToAdd"`
	Skip  []string   `json:"policyNamesToSkip"`
}

// authActions are AWS's names of what can be tested.
var authActions = map[string]policy.Action{"CONNECT": policy.Connect, "PUBLISH": policy.Publish, "SUBSCRIBE": policy.Subscribe, "RECEIVE": policy.Receive}

func authAction(name string) (policy.Action, error) {
	action, ok := authActions[name]
	if !ok {
		return 0, invalid("actionType %q must be CONNECT, PUBLISH, SUBSCRIBE or RECEIVE", short(name))
	}
	return action, nil
}

const (
	maxAuthInfos     = 10 // AWS
	maxAuthResources = 100
)

type authResults struct {
	Results []authResult `json:"authResults"`
}

func testAuthorization(ctx context.Context, s *Server, c *call, in testInput) (*authResults, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	q := access.Question{ClientID: c.arg("clientId"), Add: in.Add, Skip: in.Skip}
	if in.Cognito != "" {
		return nil, invalid(noCognito)
	}
	if q.Target, err = s.existingTarget(ctx, book, in.Principal); err != nil {
		return nil, err
	}
	if len(in.Infos) == 0 || len(in.Infos) > maxAuthInfos {
		return nil, invalid("authInfos has %d entries; 1 to %d are taken", len(in.Infos), maxAuthInfos)
	}
	var requests []access.Request
	for _, info := range in.Infos {
		action, err := authAction(info.Action)
		if err != nil {
			return nil, err
		}
		if len(info.Resources) == 0 || len(info.Resources) > maxAuthResources {
			return nil, invalid("resources has %d entries; 1 to %d are taken", len(info.Resources), maxAuthResources)
		}
		requests = append(requests, access.Request{Action: action, Resources: info.Resources})
	}
	outcomes, err := book.TestAuthorization(ctx, q, requests)
	if err != nil {
		return nil, err
	}
	results := make([]authResult, 0, len(outcomes))
	for i, o := range outcomes {
		results = append(results, authResultOf(book, in.Infos[i], o))
	}
	return &authResults{results}, nil
}

type policyList struct {
	Policies []policyRef `json:"policies"`
}

type authResult struct {
	Info    authInfo   `json:"authInfo"`
	Allowed policyList `json:"allowed"`
	Denied  struct {
		Implicit policyList `json:"implicitDeny"`
		Explicit policyList `json:"explicitDeny"`
	} `json:"denied"`
	Decision string   `json:"authDecision"`
	Missing  []string `json:"missingContextValues"`
	// Matched is beyond AWS.
	Matched []matchedStatement `json:"matchedStatements"`
}

type matchedStatement struct {
	Policy    string `json:"policyName"`
	Statement int    `json:"statement"` // from 1
	Sid       string `json:"sid,omitempty"`
	Effect    string `json:"effect"`
	Resource  string `json:"resource"`
}

func authResultOf(book *access.Book, info authInfo, o access.Outcome) authResult {
	r := authResult{Info: info, Decision: o.Decision.String(), Missing: orNone(o.Missing), Matched: matchedOf(o)}
	r.Allowed.Policies = refs(book, o.Allowed)
	r.Denied.Implicit.Policies = refs(book, o.Implicit)
	r.Denied.Explicit.Policies = refs(book, o.Explicit)
	return r
}

func matchedOf(o access.Outcome) []matchedStatement {
	list := []matchedStatement{}
	for _, m := range o.Matches {
		effect := "Allow"
		if m.Deny {
			effect = "Deny"
		}
		list = append(list, matchedStatement{m.Policy, m.Statement + 1, m.Sid, effect, m.Resource})
	}
	return list
}

// The operations below are AWS's older ones, with the principal in a header.

const (
	oldPrincipalHeader = "x-amzn-iot-principal"
	oldPolicyHeader    = "x-amzn-iot-policy"
)

func attachPrincipalPolicy(ctx context.Context, s *Server, c *call) (*empty, error) {
	return attach(ctx, s, c, c.header(oldPrincipalHeader))
}

func detachPrincipalPolicy(ctx context.Context, s *Server, c *call) (*empty, error) {
	return detach(ctx, s, c, c.header(oldPrincipalHeader))
}

func listPrincipalPolicies(ctx context.Context, s *Server, c *call) (*policyPage, error) {
	return listPoliciesOf(ctx, s, c, c.header(oldPrincipalHeader), false, false)
}

type principalPageOutput struct {
	Principals []string `json:"principals"`
	Next       string   `json:"nextMarker,omitempty"`
}

func listPolicyPrincipals(_ context.Context, s *Server, c *call) (*principalPageOutput, error) {
	arns, next, err := listTargets(s, c, c.header(oldPolicyHeader), true)
	return &principalPageOutput{arns, next}, err
}
