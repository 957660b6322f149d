package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const arn = "arn:aws:iot:local:123456789012:"

// TestGroupsByAWSCLI runs every operation of static groups with the AWS CLI.
func TestGroupsByAWSCLI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	aws := g.openAWS()
	var made struct{ ThingGroupName, ThingGroupArn, ThingGroupId string }
	create := []string{"create-thing-group", "--thing-group-name", "north", "--thing-group-properties",
		"thingGroupDescription=cold,attributePayload={attributes={floor=2,city=ulm}}", "--tags", "Key=cost,Value=a b"}
	aws.ok(&made, create...)
	if made.ThingGroupName != "north" || made.ThingGroupArn != arn+"thinggroup/north" || len(made.ThingGroupId) != 36 {
		t.Fatalf("%+v", made)
	}
	again := made
	if aws.ok(&again, create...); again != made {
		t.Fatalf("the same again: %+v", again)
	}
	aws.fails("ResourceAlreadyExistsException", "another parent", "create-thing-group", "--thing-group-name", "north")
	aws.fails("ResourceNotFoundException", `parentGroupName: thing group "none" does not exist`, "create-thing-group", "--thing-group-name", "x", "--parent-group-name", "none")
	aws.fails("InvalidRequestException", "at most 50 at a time, these are 51", "create-thing-group", "--thing-group-name", "x", "--thing-group-properties",
		"attributePayload={attributes={"+strings.Join(numbered("k%d=v", 51), ",")+"}}")
	aws.ok(nil, "create-thing-group", "--thing-group-name", "city", "--parent-group-name", "north")
	aws.ok(nil, "create-thing-group", "--thing-group-name", "street", "--parent-group-name", "city")
	aws.ok(nil, "create-thing-group", "--thing-group-name", "south")

	type description struct {
		ThingGroupName       string
		Version              int
		ThingGroupProperties struct {
			ThingGroupDescription string
			AttributePayload      struct{ Attributes map[string]string }
		}
		ThingGroupMetadata struct {
			ParentGroupName         string
			RootToParentThingGroups []struct{ GroupName, GroupArn string }
			CreationDate            time.Time
		}
	}
	var described description
	aws.ok(&described, "describe-thing-group", "--thing-group-name", "north")
	if p := described.ThingGroupProperties; p.ThingGroupDescription != "cold" || fmt.Sprint(p.AttributePayload.Attributes) != "map[city:ulm floor:2]" ||
		described.Version != 1 || time.Since(described.ThingGroupMetadata.CreationDate) > time.Minute {
		t.Fatalf("%+v", described)
	}
	aws.ok(&described, "describe-thing-group", "--thing-group-name", "street")
	if m := described.ThingGroupMetadata; m.ParentGroupName != "city" || fmt.Sprint(m.RootToParentThingGroups) != "[{north "+arn+"thinggroup/north} {city "+arn+"thinggroup/city}]" {
		t.Fatalf("%+v", m)
	}
	aws.fails("ResourceNotFoundException", `thing group "none" does not exist`, "describe-thing-group", "--thing-group-name", "none")

	if out := aws.ok(nil, "update-thing-group", "--thing-group-name", "north", "--expected-version", "1", "--thing-group-properties",
		"thingGroupDescription=colder,attributePayload={attributes={floor=,room=7},merge=true}"); out != `{"version":2}` {
		t.Fatal(out)
	}
	aws.fails("VersionConflictException", "has version 2, expectedVersion is 1", "update-thing-group", "--thing-group-name", "north",
		"--expected-version", "1", "--thing-group-properties", "thingGroupDescription=x")
	described = description{}
	aws.ok(&described, "describe-thing-group", "--thing-group-name", "north")
	if p := described.ThingGroupProperties; p.ThingGroupDescription != "colder" || fmt.Sprint(p.AttributePayload.Attributes) != "map[city:ulm room:7]" {
		t.Fatalf("%+v", p)
	}

	list := func(want string, args ...string) {
		t.Helper()
		var page struct{ ThingGroups []struct{ GroupName string } }
		aws.ok(&page, append([]string{"list-thing-groups", "--page-size", "2"}, args...)...)
		var names []string
		for _, group := range page.ThingGroups {
			names = append(names, group.GroupName)
		}
		if got := strings.Join(names, " "); got != want {
			t.Fatalf("%v\n got %s\nwant %s", args, got, want)
		}
	}
	list("city north south street")
	list("north south", "--no-recursive")
	list("city", "--parent-group", "north")
	list("city street", "--parent-group", "north", "--recursive")
	list("south street", "--name-prefix-filter", "s")
	aws.fails("ResourceNotFoundException", `thing group "none"`, "list-thing-groups", "--parent-group", "none")

	for i := range 5 {
		g.iot("POST", fmt.Sprintf("/things/lamp-%d", i), "").want(200)
	}
	aws.ok(nil, "add-thing-to-thing-group", "--thing-group-name", "north", "--thing-name", "lamp-0")
	aws.ok(nil, "add-thing-to-thing-group", "--thing-group-arn", arn+"thinggroup/city", "--thing-arn", arn+"thing/lamp-1", "--override-dynamic-groups")
	for _, thing := range []string{"lamp-2", "lamp-3"} {
		aws.ok(nil, "add-thing-to-thing-group", "--thing-group-name", "street", "--thing-name", thing)
	}
	aws.fails("InvalidRequestException", `2 groups of the hierarchy of "north"`, "add-thing-to-thing-group", "--thing-group-name", "north", "--thing-name", "lamp-2")
	aws.fails("ResourceNotFoundException", `thing "none"`, "add-thing-to-thing-group", "--thing-group-name", "north", "--thing-name", "none")
	aws.fails("InvalidRequestException", "is no ARN of a thing of this gateway", "add-thing-to-thing-group", "--thing-group-name", "north", "--thing-arn", "arn:aws:iot:x:1:thing/lamp-2")
	aws.fails("InvalidRequestException", "thingGroupName or thingGroupArn is missing", "add-thing-to-thing-group", "--thing-name", "lamp-2")

	things := func(want string, args ...string) {
		t.Helper()
		var page struct{ Things []string }
		aws.ok(&page, append([]string{"list-things-in-thing-group", "--page-size", "1"}, args...)...)
		if got := strings.Join(page.Things, " "); got != want {
			t.Fatalf("%v\n got %s\nwant %s", args, got, want)
		}
	}
	things("lamp-0", "--thing-group-name", "north")
	things("lamp-0 lamp-1 lamp-2 lamp-3", "--thing-group-name", "north", "--recursive")
	things("", "--thing-group-name", "south")
	aws.fails("ResourceNotFoundException", `thing group "none"`, "list-things-in-thing-group", "--thing-group-name", "none")

	aws.ok(nil, "update-thing-groups-for-thing", "--thing-name", "lamp-2", "--thing-groups-to-add", "south", "north", "--thing-groups-to-remove", "street")
	if out := aws.ok(nil, "list-thing-groups-for-thing", "--thing-name", "lamp-2", "--page-size", "1"); out !=
		`{"thingGroups":[{"groupName":"north","groupArn":"`+arn+`thinggroup/north"},{"groupName":"south","groupArn":"`+arn+`thinggroup/south"}]}` {
		t.Fatal(out)
	}
	aws.fails("ResourceNotFoundException", `thing "none"`, "list-thing-groups-for-thing", "--thing-name", "none")
	aws.ok(nil, "remove-thing-from-thing-group", "--thing-group-name", "north", "--thing-name", "lamp-2")
	things("lamp-0 lamp-1 lamp-3", "--thing-group-name", "north", "--recursive")

	// both indices know
	if out := aws.ok(nil, "search-index", "--query-string", "thingGroupNames:s*"); !strings.Contains(out, `"thingName":"lamp-2"`) || !strings.Contains(out, `"thingGroupNames":["south"]`) {
		t.Fatal(out)
	}
	var groups struct {
		ThingGroups []struct {
			ThingGroupName, ThingGroupDescription string
			Attributes                            map[string]string
			ParentGroupNames                      []string
		}
	}
	aws.ok(&groups, "search-index", "--index-name", "AWS_ThingGroups", "--query-string", "parentGroupNames:north OR attributes.room:7")
	if fmt.Sprint(groups.ThingGroups) != "[{city  map[] [north]} {north colder map[city:ulm room:7] []} {street  map[] [north city]}]" {
		t.Fatal(groups.ThingGroups)
	}
	aws.ok(nil, "describe-index", "--index-name", "AWS_ThingGroups")
	aws.fails("InvalidAggregationException", "only AWS_Things", "get-cardinality", "--index-name", "AWS_ThingGroups", "--query-string", "*", "--aggregation-field", "attributes.city")

	aws.fails("InvalidRequestException", "has 1 groups below it", "delete-thing-group", "--thing-group-name", "north")
	aws.fails("VersionConflictException", "expectedVersion is 9", "delete-thing-group", "--thing-group-name", "street", "--expected-version", "9")
	aws.ok(nil, "delete-thing-group", "--thing-group-name", "street", "--expected-version", "1")
	aws.ok(nil, "delete-thing-group", "--thing-group-name", "street") // as AWS: no error
	aws.fails("ResourceNotFoundException", `thing group "street"`, "describe-thing-group", "--thing-group-name", "street")
}

func numbered(format string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}

// TestBillingGroupsByAWSCLI runs every operation of billing groups and tags with the AWS CLI.
func TestBillingGroupsByAWSCLI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	aws := g.openAWS()
	if out := aws.ok(nil, "create-billing-group", "--billing-group-name", "acme", "--billing-group-properties", "billingGroupDescription=a tenant",
		"--tags", "Key=cost,Value=7"); !strings.Contains(out, `"billingGroupArn":"`+arn+`billinggroup/acme"`) {
		t.Fatal(out)
	}
	aws.fails("ResourceAlreadyExistsException", "another description", "create-billing-group", "--billing-group-name", "acme")
	aws.ok(nil, "create-billing-group", "--billing-group-name", "blue")
	if out := aws.ok(nil, "describe-billing-group", "--billing-group-name", "acme"); !strings.Contains(out, `"version":1,"billingGroupProperties":{"billingGroupDescription":"atenant"},"billingGroupMetadata":{"creationDate":"20`) {
		t.Fatal(out)
	}
	aws.fails("ResourceNotFoundException", `billing group "none"`, "describe-billing-group", "--billing-group-name", "none")
	if out := aws.ok(nil, "update-billing-group", "--billing-group-name", "acme", "--billing-group-properties", "billingGroupDescription=new", "--expected-version", "1"); out != `{"version":2}` {
		t.Fatal(out)
	}
	aws.fails("VersionConflictException", "has version 2", "update-billing-group", "--billing-group-name", "acme", "--billing-group-properties", "{}", "--expected-version", "1")
	if out := aws.ok(nil, "list-billing-groups", "--page-size", "1"); out != `{"billingGroups":[{"groupName":"acme","groupArn":"`+arn+`billinggroup/acme"},{"groupName":"blue","groupArn":"`+arn+`billinggroup/blue"}]}` {
		t.Fatal(out)
	}
	if out := aws.ok(nil, "list-billing-groups", "--name-prefix-filter", "b"); strings.Contains(out, "acme") || !strings.Contains(out, "blue") {
		t.Fatal(out)
	}

	aws.ok(nil, "create-thing", "--thing-name", "a", "--billing-group-name", "acme")
	aws.fails("ResourceAlreadyExistsException", "billing group", "create-thing", "--thing-name", "a")
	aws.fails("ResourceNotFoundException", `billing group "none"`, "create-thing", "--thing-name", "b", "--billing-group-name", "none")
	aws.ok(nil, "create-thing", "--thing-name", "b")
	aws.ok(nil, "add-thing-to-billing-group", "--billing-group-arn", arn+"billinggroup/acme", "--thing-name", "b")
	if out := aws.ok(nil, "describe-thing", "--thing-name", "b"); !strings.Contains(out, `"billingGroupName":"acme"`) {
		t.Fatal(out)
	}
	if out := aws.ok(nil, "list-things-in-billing-group", "--billing-group-name", "acme", "--page-size", "1"); out != `{"things":["a","b"]}` {
		t.Fatal(out)
	}
	aws.ok(nil, "add-thing-to-billing-group", "--billing-group-name", "blue", "--thing-name", "b") // it moves
	aws.ok(nil, "remove-thing-from-billing-group", "--billing-group-name", "acme", "--thing-name", "b")
	if out := aws.ok(nil, "search-index", "--query-string", "billingGroupName:blue"); !strings.Contains(out, `"thingName":"b"`) || strings.Contains(out, `"thingName":"a"`) {
		t.Fatal(out)
	}
	aws.fails("InvalidRequestException", `billing group "acme" has 1 things`, "delete-billing-group", "--billing-group-name", "acme")
	aws.ok(nil, "remove-thing-from-billing-group", "--billing-group-name", "acme", "--thing-name", "a")

	tags := func(want string, resource string) {
		t.Helper()
		if out := aws.ok(nil, "list-tags-for-resource", "--resource-arn", arn+resource); out != `{"tags":[`+want+`]}` {
			t.Fatal(out)
		}
	}
	tags(`{"Key":"cost","Value":"7"}`, "billinggroup/acme")
	aws.ok(nil, "tag-resource", "--resource-arn", arn+"billinggroup/acme", "--tags", "Key=cost,Value=8", "Key=owner,Value=ü@x")
	tags(`{"Key":"cost","Value":"8"},{"Key":"owner","Value":"ü@x"}`, "billinggroup/acme")
	aws.ok(nil, "untag-resource", "--resource-arn", arn+"billinggroup/acme", "--tag-keys", "cost", "none")
	tags(`{"Key":"owner","Value":"ü@x"}`, "billinggroup/acme")
	aws.ok(nil, "create-thing-group", "--thing-group-name", "g")
	aws.ok(nil, "create-thing-type", "--thing-type-name", "t", "--tags", "Key=k,Value=v")
	aws.ok(nil, "tag-resource", "--resource-arn", arn+"thinggroup/g", "--tags", "Key=k,Value=v")
	tags(`{"Key":"k","Value":"v"}`, "thinggroup/g")
	tags(`{"Key":"k","Value":"v"}`, "thingtype/t")
	many := []string{"tag-resource", "--resource-arn", arn + "thinggroup/g", "--tags"}
	aws.ok(nil, append(many, numbered("Key=k%d,Value=", 49)...)...)
	aws.fails("LimitExceededException", "at most 50, this one would have 51", append(many, "Key=one,Value=")...)
	for resource, words := range map[string]string{
		arn + "thinggroup/none": `there is no thinggroup "none"`, arn + "thing/a": "a thing has no tags", "arn:aws:s3:::bucket": "is no ARN of this gateway",
	} {
		kind := "InvalidRequestException"
		if strings.HasSuffix(resource, "none") {
			kind = "ResourceNotFoundException"
		}
		aws.fails(kind, words, "tag-resource", "--resource-arn", resource, "--tags", "Key=a,Value=b")
	}
	aws.fails("InvalidRequestException", "begins with aws:", "tag-resource", "--resource-arn", arn+"thinggroup/g", "--tags", "Key=aws:x,Value=b")
	aws.fails("InvalidRequestException", "there twice", "tag-resource", "--resource-arn", arn+"thinggroup/g", "--tags", "Key=a,Value=b", "Key=a,Value=c")

	aws.ok(nil, "delete-billing-group", "--billing-group-name", "acme", "--expected-version", "2")
	aws.fails("ResourceNotFoundException", "billinggroup", "list-tags-for-resource", "--resource-arn", arn+"billinggroup/acme")
	// its tags do not come back with the name
	aws.ok(nil, "create-billing-group", "--billing-group-name", "acme")
	tags("", "billinggroup/acme")
}

func TestMoveGroup(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	for _, pair := range [][2]string{{"a", ""}, {"b", "a"}, {"c", "b"}, {"d", ""}} {
		g.iot("POST", "/thing-groups/"+pair[0], fmt.Sprintf(`{"parentGroupName":%q}`, pair[1])).want(200)
	}
	g.iot("POST", "/things/t", "").want(200)
	revision := g.iot("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"c","thingName":"t"}`).want(200).header.Get("X-Muster-Revision")
	move := func(name, body string) reply { return g.as(adminToken, "POST", "/api/groups/"+name+"/move", body) }
	move("a", `{"parentGroupName":"c"}`).want(400)
	move("a", `{}`).want(400)
	move("none", `{"parentGroupName":"c"}`).want(404)
	move("b", `{"parentGroupName":"none"}`).want(404)
	move("b", `{"parentGroupName":"d","expectedVersion":2}`).want(409)
	if text := move("b", `{"parentGroupName":"d","expectedVersion":1}`).want(200).text; text != `{"parentGroupName":"d","version":2}` {
		t.Fatal(text)
	}
	var tree struct {
		Groups []struct {
			ThingGroupName, ParentGroupName string
			Groups, Things, AllThings       int
		}
	}
	g.as(adminToken, "GET", "/api/groups", "").want(200).json(&tree)
	if fmt.Sprint(tree.Groups) != "[{a  0 0 0} {d  1 0 1}]" {
		t.Fatal(tree.Groups)
	}
	g.as(adminToken, "GET", "/api/groups?parent=b", "").want(200).json(&tree)
	if fmt.Sprint(tree.Groups) != "[{c b 0 1 1}]" {
		t.Fatal(tree.Groups)
	}
	g.as(adminToken, "GET", "/api/groups?below=true", "").want(200).json(&tree)
	if fmt.Sprint(tree.Groups) != "[{a  0 0 0} {b d 1 0 1} {c b 0 1 1} {d  1 0 1}]" {
		t.Fatal(tree.Groups)
	}
	// a revision that a write returned is reached; a later one is not
	search := func(min string) reply {
		return g.iot("POST", "/indices/search", `{"queryString":"group:d","minRevision":`+min+`}`)
	}
	if text := search(revision).want(200).text; !strings.Contains(text, `"thingName":"t"`) {
		t.Fatal(text)
	}
	search(revision+"000").awsError(409, "VersionConflictException")
	g.as(adminToken, "GET", "/api/things?q=group:d&minRevision="+revision, "").want(200)
	g.as(adminToken, "GET", "/api/things?q=group:d&minRevision="+revision+"000", "").want(409)
	g.as(adminToken, "GET", "/api/things?q=group:d&minRevision=x", "").want(400)
}

func TestThingTypesByAWSCLI(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	aws := g.openAWS()
	aws.ok(nil, "create-thing-type", "--thing-type-name", "lamp", "--thing-type-properties", "thingTypeDescription=light,searchableAttributes=city,floor")
	aws.fails("InvalidRequestException", "searchableAttributes: at most 3", "create-thing-type", "--thing-type-name", "x", "--thing-type-properties", "searchableAttributes=a,b,c,d")
	// this CLI is older than the operation
	g.iot("PATCH", "/thing-types/lamp", `{"thingTypeProperties":{"thingTypeDescription":"lights","mqtt5Configuration":{"propagatingAttributes":[
		{"userPropertyKey":"c","thingAttribute":"city"},{"userPropertyKey":"id","connectionAttribute":"iot:ClientId"}]}}}`).want(200)
	if text := g.iot("GET", "/thing-types/lamp", "").want(200).text; !strings.Contains(text, `"thingTypeProperties":{"thingTypeDescription":"lights","searchableAttributes":["city","floor"],"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"c","thingAttribute":"city"},{"userPropertyKey":"id","connectionAttribute":"iot:ClientId"}]}}`) {
		t.Fatal(text)
	}
	g.iot("PATCH", "/thing-types/lamp", `{"thingTypeProperties":{"searchableAttributes":["x"]}}`).awsError(400, "InvalidRequestException")
	g.iot("PATCH", "/thing-types/lamp", `{"thingTypeProperties":{"mqtt5Configuration":{"propagatingAttributes":[{"userPropertyKey":"c"}]}}}`).awsError(400, "InvalidRequestException")
	g.iot("PATCH", "/thing-types/none", `{}`).awsError(404, "ResourceNotFoundException")
	if out := aws.ok(nil, "list-thing-types", "--thing-type-name", "lamp"); !strings.Contains(out, `"thingTypeDescription":"lights"`) {
		t.Fatal(out)
	}
	aws.fails("InvalidRequestException", "is not deprecated", "delete-thing-type", "--thing-type-name", "lamp")
	aws.ok(nil, "deprecate-thing-type", "--thing-type-name", "lamp")
	aws.fails("InvalidRequestException", "is deprecated and takes no new things", "create-thing", "--thing-name", "a", "--thing-type-name", "lamp")
	aws.fails("InvalidRequestException", "it can be deleted after 5m0s", "delete-thing-type", "--thing-type-name", "lamp")
	aws.ok(nil, "deprecate-thing-type", "--thing-type-name", "lamp", "--undo-deprecate")
	aws.ok(nil, "create-thing", "--thing-name", "a", "--thing-type-name", "lamp", "--attribute-payload", "attributes={city=ulm,watt=seven}")
	if out := aws.ok(nil, "describe-thing-type", "--thing-type-name", "lamp"); !strings.Contains(out, `"deprecated":false`) {
		t.Fatal(out)
	}

	// the schema: a dry run, then in force
	schema := `{"attributes":{"watt":{"type":"number","required":true,"unit":"W"},"city":{"enum":["ulm","oslo"],"default":"ulm"},"since":{"type":"time"}}}`
	path := "/api/thing-types/lamp/schema"
	if text := g.as(adminToken, "GET", path, "").want(200).text; text != `{"attributes":{},"version":0}` {
		t.Fatal(text)
	}
	g.as(adminToken, "GET", "/api/thing-types/none/schema", "").want(404)
	if text := g.as(adminToken, "POST", path+"/check", schema).want(200).text; text !=
		`{"things":1,"violating":1,"examples":[{"thingName":"a","message":"attribute watt: \"seven\" is not a number, such as -1.5"}]}` {
		t.Fatal(text)
	}
	g.as(adminToken, "PUT", path, schema).want(200)
	g.as(adminToken, "PUT", path, `{"attributes":{"watt":{"type":"int"}}}`).want(400)
	g.as(adminToken, "PUT", path, `{"attributes":{"watt":{"typ":"number"}}}`).want(400)
	g.as(adminToken, "PUT", "/api/thing-types/none/schema", schema).want(404)
	aws.fails("InvalidRequestException", "attribute watt: the thing type requires it, a number", "create-thing", "--thing-name", "b", "--thing-type-name", "lamp")
	aws.fails("InvalidRequestException", `attribute city: "rome" is not one of ulm, oslo`, "create-thing", "--thing-name", "b", "--thing-type-name", "lamp", "--attribute-payload", "attributes={city=rome,watt=7}")
	for range 2 {
		aws.ok(nil, "create-thing", "--thing-name", "b", "--thing-type-name", "lamp", "--attribute-payload", "attributes={watt=7}")
	}
	if out := aws.ok(nil, "describe-thing", "--thing-name", "b"); !strings.Contains(out, `"attributes":{"city":"ulm","watt":"7"}`) {
		t.Fatal(out)
	}
	aws.fails("InvalidRequestException", `attribute since: "noon" is not a time`, "update-thing", "--thing-name", "b", "--attribute-payload", "attributes={since=noon},merge=true")
	aws.fails("InvalidRequestException", `attribute watt: "seven"`, "update-thing", "--thing-name", "a", "--attribute-payload", "attributes={x=1},merge=true")
	aws.ok(nil, "update-thing", "--thing-name", "a", "--attribute-payload", "attributes={watt=1},merge=true")
	if text := g.as(adminToken, "GET", path, "").want(200).text; !strings.Contains(text, `"watt":{"type":"number","required":true,"unit":"W"}`) {
		t.Fatal(text)
	}
	// of two who change it, the later one is told
	second := strings.Replace(schema, "{", `{"expectedVersion":1,`, 1)
	if text := g.as(adminToken, "PUT", path, strings.Replace(second, `"W"`, `"kW"`, 1)).want(200).text; !strings.HasSuffix(text, `"version":2}`) {
		t.Fatal(text)
	}
	if kind := g.as(adminToken, "PUT", path, second).want(409).kind(); kind != "stale" {
		t.Fatal(kind)
	}
	g.as(adminToken, "PUT", path, strings.Replace(second, "1", "-1", 1)).want(400)
	g.as(adminToken, "DELETE", path+"?expectedVersion=1", "").want(409)
	g.as(adminToken, "DELETE", path+"?expectedVersion=2", "").want(204)
	g.as(adminToken, "DELETE", path, "").want(204)
	if text := g.as(adminToken, "GET", path, "").want(200).text; text != `{"attributes":{},"version":3}` {
		t.Fatal(text)
	}
	aws.ok(nil, "update-thing", "--thing-name", "a", "--attribute-payload", "attributes={watt=x},merge=true")
}
