package admin

import (
	"fmt"
	"slices"
	"strings"
)

// parameter is a parameter of the query, or a header, in the OpenAPI document.
type parameter struct {
	kind  string // JSON's: string, integer, number or boolean; "[]string" may be there more than once
	about string
}

// The two pagers of AWS.
const (
	paged  = "maxResults nextToken"
	marked = "pageSize marker isAscendingOrder"
)

// parameters are all that routes read besides paths and bodies. A name means the same wherever it is.
var parameters = map[string]parameter{
	"maxResults":       {"integer", "Most items on the page, from 1; default 250."},
	"nextToken":        {"string", "nextToken of the page before; none for the first."},
	"pageSize":         {"integer", "Most items on the page, 1 to 250; default 250."},
	"marker":           {"string", "nextMarker of the page before; none for the first."},
	"isAscendingOrder": {"boolean", "Ascending order; default descending."},
	"limit":            {"integer", "Most items on the page, from 1."},
	"cursor":           {"string", "nextCursor of the page before; none for the first."},
	"minRevision":      {"integer", "X-Muster-Revision of a change that the answer must have seen."},
	"expectedVersion":  {"integer", "The version that the resource must have; none: any."},

	"thingName":               {"string", "Name of a thing."},
	"thingTypeName":           {"string", "Only those of this thing type."},
	"attributeName":           {"string", "Only things that have this attribute."},
	"attributeValue":          {"string", "And with this value."},
	"usePrefixAttributeValue": {"boolean", "attributeValue is the beginning of the value."},
	"parentGroup":             {"string", "Only groups below this one."},
	"namePrefixFilter":        {"string", "Only names that begin with this."},
	"recursive":               {"boolean", "Deeper levels as well."},
	"endpointType":            {"string", "iot:Data-ATS (default), iot:Data or iot:Jobs."},
	"resourceArn":             {"string", "ARN of a resource."},
	"thingPrincipalType":      {"string", "EXCLUSIVE_THING or NON_EXCLUSIVE_THING."},

	"setAsActive":  {"boolean", "Make the certificate ACTIVE; default INACTIVE."},
	"setAsDefault": {"boolean", "Make the version the one in force."},
	"newStatus":    {"string", "ACTIVE, INACTIVE or REVOKED."},
	"forceDelete":  {"boolean", "Even where policies are attached."},
	"clientId":     {"string", "MQTT client id to test with."},

	"qos":                {"integer", "0 or 1; default 0."},
	"retain":             {"boolean", "Keep the message for later subscribers."},
	"contentType":        {"string", "MQTT 5 content type."},
	"responseTopic":      {"string", "MQTT 5 response topic."},
	"messageExpiry":      {"integer", "MQTT 5 message expiry in seconds; 0: none."},
	"cleanSession":       {"boolean", "End the session as well."},
	"preventWillMessage": {"boolean", "Do not publish the will."},

	"q":      {"string", "A query in the language of docs/queries.md, or its beginning."},
	"at":     {"integer", "Where in q the cursor is, in characters; default the end."},
	"by":     {"string", "The field that is counted by, such as thingTypeName or attributes.city."},
	"then":   {"string", "The field that the things of each value are counted by; none: they are not."},
	"state":  {"string", "connected, offline (was connected) or never."},
	"type":   {"string", "Only things of this thing type."},
	"sort":   {"string", "What to sort by; with - before it, descending."},
	"parent": {"string", "Only groups below this one; default the roots."},
	"prefix": {"string", "Only names that begin with this."},
	"below":  {"boolean", "All levels instead of one."},

	"query":     {"string", "A PromQL expression."},
	"time":      {"string", "Unix seconds or RFC 3339; default now."},
	"timeout":   {"string", "How long the query may take, such as 5s."},
	"start":     {"string", "Unix seconds or RFC 3339."},
	"end":       {"string", "Unix seconds or RFC 3339."},
	"step":      {"string", "Seconds, or a duration such as 15s."},
	"match[]":   {"[]string", "A series selector."},
	"metric":    {"string", "Only this metric."},
	"precision": {"string", "Unit of timestamps: ns (default), us, ms, s, m or h."},

	principalHeader:                        {"string", "ARN of a certificate."},
	oldPrincipalHeader:                     {"string", "ARN of a certificate or a thing group."},
	oldPolicyHeader:                        {"string", "Name of a policy."},
	"x-amz-mqtt5-payload-format-indicator": {"string", "UTF8_DATA or UNSPECIFIED_BYTES."},
	"x-amz-mqtt5-correlation-data":         {"string", "MQTT 5 correlation data, base64."},
	"x-amz-mqtt5-user-properties":          {"string", "Base64 of a JSON array of objects, each with names and texts."},
}

// arg returns a parameter of the query, "" where it is not given. The row of the route declares it.
func (c *call) arg(name string) string {
	mustDeclare(c.route.op, c.route.query, name)
	return string(c.http.QueryArgs().Peek(name))
}

// header returns a header of the request, "" where it is not given. The row of the route declares it.
func (c *call) header(name string) string {
	mustDeclare(c.route.op, c.route.headers, name)
	return string(c.http.Request.Header.Peek(name))
}

func mustDeclare(op, declared, name string) {
	if !slices.Contains(strings.Fields(declared), name) {
		panic(fmt.Sprintf("BUG: %s reads %s, which its row does not declare", op, name))
	}
}
