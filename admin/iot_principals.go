package admin

import (
	"context"
	"slices"
	"strings"

	"muster/pki"
	"muster/registry"
	"muster/registry/access"
)

// principalRoutes say which certificates stand for which things.
var principalRoutes = []route{
	{method: "PUT", pattern: "/things/{thingName}/principals", op: "AttachThingPrincipal", scope: identity, audited: true,
		query: "thingPrincipalType", headers: principalHeader, handle: plain(attachThingPrincipal)},
	{method: "DELETE", pattern: "/things/{thingName}/principals", op: "DetachThingPrincipal", scope: identity, audited: true,
		headers: principalHeader, handle: plain(detachThingPrincipal)},
	{method: "GET", pattern: "/things/{thingName}/principals", op: "ListThingPrincipals", scope: read,
		query: paged + " thingPrincipalType", handle: plain(listThingPrincipals)},
	{method: "GET", pattern: "/things/{thingName}/principals-v2", op: "ListThingPrincipalsV2", scope: read,
		query: paged + " thingPrincipalType", handle: plain(listThingPrincipalsV2)},
	{method: "GET", pattern: "/principals/things", op: "ListPrincipalThings", scope: read,
		query: paged + " thingPrincipalType", headers: principalHeader, handle: plain(listPrincipalThings)},
	{method: "GET", pattern: "/principals/things-v2", op: "ListPrincipalThingsV2", scope: read,
		query: paged + " thingPrincipalType", headers: principalHeader, handle: plain(listPrincipalThingsV2)},
}

const (
	principalHeader = "x-amzn-principal"
	exclusiveThing  = "EXCLUSIVE_THING"
	sharedThing     = "NON_EXCLUSIVE_THING"
)

// principal reads the certificate in the header.
func (s *Server) principal(ctx context.Context, c *call) (*access.Book, access.CertID, error) {
	book, err := s.accessOf()
	if err != nil {
		return nil, access.CertID{}, err
	}
	t, err := s.existingTarget(ctx, book, c.header(principalHeader))
	if err == nil && t.Group != 0 {
		err = invalid("%s must be the ARN of a certificate", principalHeader)
	}
	c.target = strings.TrimSpace(c.target + " " + t.Cert.String())
	return book, t.Cert, err
}

// principalType reads thingPrincipalType; "" where it is not given.
func principalType(c *call) (string, error) {
	kind := c.arg("thingPrincipalType")
	if kind != "" && kind != exclusiveThing && kind != sharedThing {
		return "", invalid("thingPrincipalType %q must be %s or %s", short(kind), exclusiveThing, sharedThing)
	}
	return kind, nil
}

func typeOfPrincipal(exclusive bool) string {
	if exclusive {
		return exclusiveThing
	}
	return sharedThing
}

func attachThingPrincipal(ctx context.Context, s *Server, c *call) (*empty, error) {
	if err := registry.CheckName("thingName", c.labels[0]); err != nil {
		return nil, err
	}
	kind, err := principalType(c)
	if err != nil {
		return nil, err
	}
	book, id, err := s.principal(ctx, c)
	if err != nil {
		return nil, err
	}
	thing, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	cert, err := s.certificate(ctx, id.String())
	if err != nil {
		return nil, err
	}
	if cert.Status == pki.Revoked {
		return nil, invalid("the certificate was revoked: it can stand for nothing")
	}
	return &empty{}, book.AttachThing(ctx, thing.ID, id, kind == exclusiveThing)
}

func detachThingPrincipal(ctx context.Context, s *Server, c *call) (*empty, error) {
	if err := registry.CheckName("thingName", c.labels[0]); err != nil {
		return nil, err
	}
	book, id, err := s.principal(ctx, c)
	if err != nil {
		return nil, err
	}
	thing, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, err
	}
	was, err := book.DetachThing(ctx, thing.ID, id)
	if err == nil && !was {
		err = notFound("the certificate %s is not attached to thing %q", id, thing.Name)
	}
	return &empty{}, err
}

type principalList struct {
	Principals []string `json:"principals"`
	NextToken  string   `json:"nextToken,omitempty"`
}

func listThingPrincipals(_ context.Context, s *Server, c *call) (*principalList, error) {
	names, next, err := thingPrincipals(s, c, func(arn string, _ bool) string { return arn })
	return &principalList{names, next}, err
}

type principalListed struct {
	Principal string `json:"principal"`
	Type      string `json:"thingPrincipalType"`
}

type principalListV2 struct {
	Principals []principalListed `json:"thingPrincipalObjects"`
	NextToken  string            `json:"nextToken,omitempty"`
}

func listThingPrincipalsV2(_ context.Context, s *Server, c *call) (*principalListV2, error) {
	items, next, err := thingPrincipals(s, c, func(arn string, exclusive bool) principalListed {
		return principalListed{arn, typeOfPrincipal(exclusive)}
	})
	return &principalListV2{items, next}, err
}

// thingPrincipals returns a page of the certificates of a thing, and the token of the next.
func thingPrincipals[Item any](s *Server, c *call, item func(arn string, exclusive bool) Item) (items []Item, token string, err error) {
	wanted, err := readPrincipalPage(c)
	if err != nil {
		return nil, "", err
	}
	book, err := s.accessOf()
	if err != nil {
		return nil, "", err
	}
	thing, err := s.registry.Thing(c.labels[0])
	if err != nil {
		return nil, "", err
	}
	items, token = cutPrincipals(wanted, book.CertsOf(thing.ID),
		func(cert access.CertOf) (string, bool) { return cert.ID.String(), cert.Exclusive },
		func(cert access.CertOf) Item { return item(book.CertificateARN(cert.ID.String()), cert.Exclusive) })
	return items, token, nil
}

// principalPage is what a list of principals or their things was asked for.
type principalPage struct {
	after string
	limit int
	kind  string // "": both
}

func readPrincipalPage(c *call) (p principalPage, err error) {
	if p.after, p.limit, err = page(c); err == nil {
		p.kind, err = principalType(c)
	}
	return p, err
}

// cutPrincipals returns a page of a sorted list whose elements have a key that tells them apart, and the token of the next.
func cutPrincipals[T, Item any](p principalPage, all []T, key func(T) (name string, exclusive bool), item func(T) Item) (items []Item, token string) {
	all = slices.DeleteFunc(all, func(x T) bool {
		name, exclusive := key(x)
		return p.after != "" && name <= p.after || p.kind != "" && p.kind != typeOfPrincipal(exclusive)
	})
	next := ""
	if len(all) > p.limit {
		all = all[:p.limit]
		next, _ = key(all[p.limit-1])
	}
	items = make([]Item, 0, len(all))
	for _, x := range all {
		items = append(items, item(x))
	}
	return items, pageToken(next)
}

func listPrincipalThings(ctx context.Context, s *Server, c *call) (*thingNames, error) {
	names, next, err := principalThings(ctx, s, c, func(t access.ThingOf) string { return t.Name })
	return &thingNames{names, next}, err
}

type principalThing struct {
	Thing string `json:"thingName"`
	Type  string `json:"thingPrincipalType"`
}

type principalThingList struct {
	Things    []principalThing `json:"principalThingObjects"`
	NextToken string           `json:"nextToken,omitempty"`
}

func listPrincipalThingsV2(ctx context.Context, s *Server, c *call) (*principalThingList, error) {
	items, next, err := principalThings(ctx, s, c, func(t access.ThingOf) principalThing {
		return principalThing{t.Name, typeOfPrincipal(t.Exclusive)}
	})
	return &principalThingList{items, next}, err
}

// principalThings returns a page of the things of a certificate, and the token of the next.
func principalThings[Item any](ctx context.Context, s *Server, c *call, item func(access.ThingOf) Item) (items []Item, token string, err error) {
	wanted, err := readPrincipalPage(c)
	if err != nil {
		return nil, "", err
	}
	book, id, err := s.principal(ctx, c)
	if err != nil {
		return nil, "", err
	}
	items, token = cutPrincipals(wanted, book.ThingsOf(id), func(t access.ThingOf) (string, bool) { return t.Name, t.Exclusive }, item)
	return items, token, nil
}
