package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"muster/pki"
	"muster/registry/access"
	"muster/registry/policy"
)

// policyAPIRoutes are what AWS's API cannot say about policies.
var policyAPIRoutes = []route{
	{method: "POST", pattern: "/api/policies/simulate", op: "simulatePolicy", scope: read, readsByPost: true,
		about: "What would be decided if a policy had another document", handle: body(simulatePolicy)},
}

// simulateInput asks about a thing, or where it names none, about the document alone.
type simulateInput struct {
	PolicyName string            `json:"policyName"`     // whose version in force the document replaces; "": one more policy
	Document   string            `json:"policyDocument"` // "": what is in force now
	ThingName  string            `json:"thingName"`
	ClientID   string            `json:"clientId"` // "": the name of the thing
	Requests   []simulateRequest `json:"requests"`
}

// simulateRequest is an action on a topic, a topic filter or, for CONNECT, as a client id.
type simulateRequest struct {
	Action   string `json:"actionType"`
	Resource string `json:"resource"`
}

const maxSimulated = 100

type simulateOutput struct {
	Principal string            `json:"principal,omitempty"` // the certificate that was judged; left out: none, as on the plain listener
	InForce   bool              `json:"inForce"`             // whether the thing has the policy; if not, it was judged as if it had
	Results   []simulatedResult `json:"results"`
}

type simulatedResult struct {
	simulateRequest
	Decision    string             `json:"decision"`
	DecisionNow string             `json:"decisionNow,omitempty"` // with what is in force; only for a thing
	Matched     []matchedStatement `json:"matchedStatements"`
	Missing     []string           `json:"missingContextValues"`
}

// classes are the classes of ARNs by action.
var classes = map[policy.Action]string{policy.Connect: "client/", policy.Publish: "topic/", policy.Subscribe: "topicfilter/", policy.Receive: "topic/"}

func simulatePolicy(ctx context.Context, s *Server, _ *call, in simulateInput) (*simulateOutput, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, err
	}
	if n := len(in.Requests); n == 0 || n > maxSimulated {
		return nil, invalid("requests has %d entries; 1 to %d are taken", n, maxSimulated)
	}
	arn := strings.TrimSuffix(book.PolicyARN(""), "policy/")
	requests := make([]access.Request, len(in.Requests))
	for i, r := range in.Requests {
		action, err := authAction(r.Action)
		if err != nil {
			return nil, err
		}
		if r.Resource == "" {
			return nil, invalid("requests: the resource of number %d is missing: a topic, a topic filter or a client id", i+1)
		}
		requests[i] = access.Request{Action: action, Resources: []string{arn + classes[action] + r.Resource}}
	}
	q, err := s.connectionOf(ctx, book, in.ThingName)
	if err != nil {
		return nil, err
	}
	if in.ClientID != "" {
		q.ClientID = in.ClientID
	}
	out := &simulateOutput{Results: make([]simulatedResult, len(requests))}
	if q.Target != (access.Target{}) {
		out.Principal = book.TargetARN(q.Target)
	}
	var now []access.Outcome
	if in.ThingName != "" {
		out.InForce = slices.ContainsFunc(book.EffectivePolicies(q.Target, q.Thing), func(p access.Effective) bool { return p.Name == in.PolicyName })
		if now, err = book.TestAuthorization(ctx, q, requests); err != nil {
			return nil, err
		}
	}
	if in.Document != "" {
		q.Draft = &access.Draft{Policy: cmp.Or(in.PolicyName, "draft"), Document: in.Document}
	}
	outcomes, err := book.TestAuthorization(ctx, q, requests)
	if err != nil {
		return nil, err
	}
	for i, o := range outcomes {
		r := simulatedResult{simulateRequest: in.Requests[i], Decision: o.Decision.String(), Matched: matchedOf(o), Missing: orNone(o.Missing)}
		if now != nil {
			r.DecisionNow = now[i].Decision.String()
		}
		out.Results[i] = r
	}
	return out, nil
}

// connectionOf returns the question about a connection of a thing: with a certificate of it that is active, else with any, else with none.
func (s *Server) connectionOf(ctx context.Context, book *access.Book, name string) (access.Question, error) {
	q := access.Question{ClientID: name}
	if name == "" {
		return q, nil
	}
	thing, err := s.registry.Thing(name)
	if err != nil {
		return q, err
	}
	q.Thing = thing.ID
	for _, c := range book.CertsOf(thing.ID) {
		cert, err := s.certificate(ctx, c.ID.String())
		if err != nil {
			return q, err
		}
		if active := cert.Status == pki.Active; active || q.Target == (access.Target{}) {
			q.Target = access.Target{Cert: c.ID}
			if active {
				break
			}
		}
	}
	return q, nil
}
