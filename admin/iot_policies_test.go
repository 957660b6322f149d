package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// commandLine is the AWS CLI with what these tests want of it.
type commandLine struct{ *awsCLI }

// ok runs a command, which must succeed and print all of wants.
func (c commandLine) ok(args []string, wants ...string) string {
	c.t.Helper()
	code, out, errs := c.run(args...)
	if code != 0 {
		c.t.Fatalf("aws iot %s: %d %s", strings.Join(args, " "), code, errs)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			c.t.Fatalf("aws iot %s: %q is not in\n%s", strings.Join(args, " "), want, out)
		}
	}
	return out
}

// fails runs a command, which must be refused with a text in its error.
func (c commandLine) fails(args []string, want string) {
	c.t.Helper()
	code, out, errs := c.run(args...)
	if code == 0 || !strings.Contains(errs, want) {
		c.t.Fatalf("aws iot %s: %d, want %s in\n%s%s", strings.Join(args, " "), code, want, out, errs)
	}
}

func words(text string) []string { return strings.Fields(text) }

const publishDocument = `{"Version":"2012-10-17","Statement":[{"Sid":"own","Effect":"Allow","Action":["iot:Connect","iot:Publish"],` +
	`"Resource":["arn:aws:iot:*:*:client/*","arn:aws:iot:*:*:topic/a/*"]},{"Sid":"quiet","Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/a/loud"}]}`

// csrFile writes a certificate request and returns its path.
func csrFile(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "device.csr")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPolicyCommands drives every policy operation with the AWS CLI.
func TestPolicyCommands(t *testing.T) {
	t.Parallel()
	g := openGateway(t, nil).bootstrap()
	aws := commandLine{g.openAWS()}
	group := "arn:aws:iot:local:123456789012:thinggroup/city"
	g.iot("POST", "/thing-groups/city", "{}").want(200)
	g.iot("POST", "/thing-groups/street", `{"parentGroupName":"city"}`).want(200)
	g.iot("POST", "/things/lamp-1", "").want(200)
	var made struct{ CertificateARN, CertificateID, CertificatePEM string }
	out := aws.ok([]string{"create-certificate-from-csr", "--certificate-signing-request", "file://" + csrFile(t), "--set-as-active"}, "BEGIN CERTIFICATE")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	cert := made.CertificateARN

	create := func(name, document string) []string {
		return []string{"create-policy", "--policy-name", name, "--policy-document", document}
	}
	aws.ok(create("own", publishDocument), `"policyArn": "arn:aws:iot:local:123456789012:policy/own"`, `"policyVersionId": "1"`)
	aws.fails(create("own", publishDocument), "ResourceAlreadyExistsException")
	aws.fails(create("bad", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Fly","Resource":"*"}]}`), "MalformedPolicyException")
	aws.fails(append(create("tagged", publishDocument), "--tags", "Key=a*b,Value=1"), "InvalidRequestException")
	aws.fails([]string{"get-policy", "--policy-name", "tagged"}, "ResourceNotFoundException") // all or nothing
	aws.ok(append(create("tagged", publishDocument), "--tags", "Key=team,Value=light"))
	aws.ok([]string{"list-tags-for-resource", "--resource-arn", "arn:aws:iot:local:123456789012:policy/tagged"}, `"light"`)
	aws.ok(words("delete-policy --policy-name tagged"))
	aws.fails([]string{"list-tags-for-resource", "--resource-arn", "arn:aws:iot:local:123456789012:policy/tagged"}, "ResourceNotFoundException")
	aws.fails([]string{"get-policy", "--policy-name", "none"}, "ResourceNotFoundException")
	aws.ok(words("get-policy --policy-name own"), `"defaultVersionId": "1"`, `"creationDate"`, `a/loud`)

	// versions
	for i := 2; i <= 5; i++ {
		args := []string{"create-policy-version", "--policy-name", "own", "--policy-document", publishDocument}
		if i == 3 {
			args = append(args, "--set-as-default")
		}
		aws.ok(args, fmt.Sprintf(`"policyVersionId": "%d"`, i), fmt.Sprintf(`"isDefaultVersion": %v`, i == 3))
	}
	aws.fails([]string{"create-policy-version", "--policy-name", "own", "--policy-document", publishDocument}, "VersionsLimitExceededException")
	aws.fails(words("delete-policy-version --policy-name own --policy-version-id 3"), "DeleteConflictException")
	aws.fails(words("delete-policy --policy-name own"), "DeleteConflictException")
	aws.ok(words("set-default-policy-version --policy-name own --policy-version-id 1"))
	aws.ok(words("get-policy-version --policy-name own --policy-version-id 1"), `"isDefaultVersion": true`)
	aws.fails(words("get-policy-version --policy-name own --policy-version-id 9"), "ResourceNotFoundException")
	if out := aws.ok(words("list-policy-versions --policy-name own")); strings.Count(out, "versionId") != 5 {
		t.Fatal(out)
	}
	for i := 2; i <= 5; i++ {
		aws.ok([]string{"delete-policy-version", "--policy-name", "own", "--policy-version-id", fmt.Sprint(i)})
	}

	// attachments
	aws.ok([]string{"attach-policy", "--policy-name", "own", "--target", cert})
	aws.ok([]string{"attach-policy", "--policy-name", "own", "--target", group})
	aws.fails([]string{"attach-policy", "--policy-name", "own", "--target", "arn:aws:iot:local:123456789012:cert/" + strings.Repeat("0", 64)}, "ResourceNotFoundException")
	aws.fails([]string{"attach-policy", "--policy-name", "own", "--target", group + "x"}, "ResourceNotFoundException")
	aws.fails([]string{"attach-policy", "--policy-name", "own", "--target", "lamp-1"}, "InvalidRequestException")
	aws.ok([]string{"list-attached-policies", "--target", cert}, `"policyName": "own"`)
	if out := aws.ok([]string{"list-attached-policies", "--target", strings.Replace(group, "city", "street", 1)}); strings.Contains(out, "own") {
		t.Fatal(out)
	}
	aws.ok([]string{"list-attached-policies", "--recursive", "--target", strings.Replace(group, "city", "street", 1)}, `"policyName": "own"`)
	aws.ok(words("list-targets-for-policy --policy-name own"), cert, group)
	aws.fails(words("list-targets-for-policy --policy-name none"), "ResourceNotFoundException")
	aws.fails(words("delete-policy --policy-name own"), "DeleteConflictException")

	// decisions
	aws.ok([]string{"get-effective-policies", "--principal", cert, "--thing-name", "lamp-1"}, `"policyName": "own"`, "a/loud")
	aws.ok([]string{"get-effective-policies", "--thing-name", "lamp-1"}, `"policyName": "muster-default"`)
	aws.fails([]string{"get-effective-policies", "--thing-name", "none"}, "ResourceNotFoundException")
	test := func(action, resource, decision string, more ...string) {
		t.Helper()
		aws.ok(append([]string{"test-authorization", "--principal", cert, "--client-id", "lamp-1",
			"--auth-infos", "actionType=" + action + ",resources=arn:aws:iot:local:123456789012:" + resource}, more...), `"authDecision": "`+decision+`"`)
	}
	test("PUBLISH", "topic/a/b", "ALLOWED")
	test("PUBLISH", "topic/a/loud", "EXPLICIT_DENY")
	test("SUBSCRIBE", "topicfilter/a/b", "IMPLICIT_DENY")
	test("CONNECT", "client/x", "ALLOWED")
	test("PUBLISH", "topic/a/loud", "IMPLICIT_DENY", "--policy-names-to-skip", "own")
	aws.ok(create("more", strings.Replace(publishDocument, "topic/a/*", "topic/more", 1)))
	test("PUBLISH", "topic/more", "ALLOWED", "--policy-names-to-add", "more")
	r := g.iot("POST", "/test-authorization?clientId=lamp-1", `{"principal":"`+cert+`","authInfos":[{"actionType":"PUBLISH","resources":["arn:aws:iot:local:1:topic/a/loud"]}]}`).want(200)
	if !strings.Contains(r.text, `"matchedStatements":[{"policyName":"own","statement":1,"sid":"own","effect":"Allow","resource":"arn:aws:iot:local:1:topic/a/loud"},{"policyName":"own","statement":2,"sid":"quiet","effect":"Deny"`) {
		t.Fatal(r.text)
	}
	for body, want := range map[string]string{
		`{"principal":"` + cert + `","authInfos":[]}`:                                                                "InvalidRequestException",
		`{"principal":"` + cert + `","authInfos":[{"actionType":"FLY","resources":["x"]}]}`:                          "InvalidRequestException",
		`{"principal":"` + cert + `","authInfos":[{"actionType":"PUBLISH","resources":["x"]}]}`:                      "InvalidRequestException",
		`{"cognitoIdentityPoolId":"x","authInfos":[{"actionType":"PUBLISH","resources":["arn:aws:iot:::topic/x"]}]}`: "InvalidRequestException",
	} {
		g.iot("POST", "/test-authorization", body).awsError(400, want)
	}

	// the older operations
	aws.ok([]string{"attach-principal-policy", "--policy-name", "more", "--principal", cert})
	aws.ok([]string{"list-principal-policies", "--principal", cert}, `"policyName": "more"`, `"policyName": "own"`)
	if out := aws.ok(words("list-policy-principals --policy-name own")); !strings.Contains(out, cert) || strings.Contains(out, "thinggroup") {
		t.Fatal(out)
	}
	aws.ok([]string{"detach-principal-policy", "--policy-name", "more", "--principal", cert})
	aws.fails([]string{"detach-principal-policy", "--policy-name", "none", "--principal", cert}, "ResourceNotFoundException")

	aws.ok([]string{"detach-policy", "--policy-name", "own", "--target", cert})
	aws.ok([]string{"detach-policy", "--policy-name", "own", "--target", cert}) // no error
	aws.ok([]string{"detach-policy", "--policy-name", "own", "--target", group})
	aws.ok(words("delete-policy --policy-name own"))
	aws.ok(words("delete-policy --policy-name more"))
	aws.fails(words("delete-policy --policy-name own"), "ResourceNotFoundException")

	// pages
	for i := range 7 {
		g.iot("POST", fmt.Sprintf("/policies/p%d", i), policyBody(publishDocument)).want(200)
	}
	var names []string
	for marker := ""; ; {
		var page struct {
			Policies   []struct{ PolicyName string }
			NextMarker string
		}
		g.as(adminToken, "GET", "/iot/policies?pageSize=3&isAscendingOrder=true&marker="+marker, "").want(200).json(&page)
		for _, p := range page.Policies {
			names = append(names, p.PolicyName)
		}
		if marker = page.NextMarker; marker == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "p0 p1 p2 p3 p4 p5 p6" {
		t.Fatal(got)
	}
	var page struct{ NextMarker string }
	if err := json.Unmarshal([]byte(aws.ok(words("list-policies --page-size 2 --ascending-order"), `"p0"`, `"p1"`)), &page); err != nil {
		t.Fatal(err)
	}
	aws.ok([]string{"list-policies", "--page-size", "2", "--ascending-order", "--marker", page.NextMarker}, `"p2"`, `"p3"`)
	for _, bad := range []string{"pageSize=0", "pageSize=251", "marker=!", "marker=bm9wZQ==", "isAscendingOrder=maybe"} {
		g.as(adminToken, "GET", "/iot/policies?"+bad, "").awsError(400, "InvalidRequestException")
	}
	// tags of a new policy follow the rules of all tags, and a policy that is refused for them is not there
	for tags, want := range map[string]string{
		`[{"Key":"a","Value":"1"},{"Key":"a","Value":"2"}]`:                      `the key "a" is there twice`,
		`[` + strings.Join(numbered(`{"Key":"k%d","Value":"v"}`, 51), ",") + `]`: "at most 50, these are 51",
	} {
		body := `{"policyDocument":` + strconv.Quote(publishDocument) + `,"tags":` + tags + `}`
		if e := g.iot("POST", "/policies/tagged", body).awsError(400, "InvalidRequestException"); !strings.Contains(e["message"], want) {
			t.Errorf("%s: %s", tags, e["message"])
		}
		g.iot("GET", "/policies/tagged", "").awsError(404, "ResourceNotFoundException")
	}
	// a viewer reads, and changes nothing
	viewer := g.token("viewer")
	g.as(viewer, "GET", "/iot/policies", "").want(200)
	g.as(viewer, "POST", "/iot/policies/x", policyBody(publishDocument)).awsError(403, "AccessDeniedException")
	g.as(viewer, "PUT", "/iot/certificates/"+made.CertificateID+"?newStatus=INACTIVE", "").awsError(403, "AccessDeniedException")
}

func policyBody(document string) string {
	text, err := json.Marshal(map[string]string{"policyDocument": document})
	if err != nil {
		panic(err)
	}
	return string(text)
}
