// Package gosdk holds tests alone: AWS's SDK for Go against a real gateway. They are a module of their own, so that the server does
// not depend on the SDK. .ci/clients starts the gateway and sets MUSTER_ENDPOINT, AWS_CA_BUNDLE and AWS's usual variables.
package gosdk

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
)

// config returns what all clients of the gateway share.
func config(t *testing.T) aws.Config {
	t.Helper()
	endpoint := os.Getenv("MUSTER_ENDPOINT")
	if endpoint == "" {
		t.Skip("MUSTER_ENDPOINT is not set: .ci/clients starts a gateway and sets it")
	}
	root, err := os.ReadFile(os.Getenv("AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return aws.Config{
		BaseEndpoint: &endpoint, Region: os.Getenv("AWS_DEFAULT_REGION"), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}
}

// must returns the answer of a call that must succeed: must(t)(client.CreateThing(...)).
func must[T any](t *testing.T) func(T, error) T {
	return func(answer T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// wantError fails unless err is of the SDK's type E.
func wantError[E error](t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[E](err); !ok {
		t.Errorf("the error is %v, want a %T", err, *new(E))
	}
}

func TestThings(t *testing.T) {
	ctx, client := context.Background(), iot.NewFromConfig(config(t))
	for _, name := range []string{"go-a", "go-b", "go-c"} {
		must[*iot.CreateThingOutput](t)(client.CreateThing(ctx, &iot.CreateThingInput{
			ThingName: &name, AttributePayload: &types.AttributePayload{Attributes: map[string]string{"sdk": "go"}},
		}))
		t.Cleanup(func() { client.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &name}) })
	}
	var names []string
	pages := iot.NewListThingsPaginator(client, &iot.ListThingsInput{
		AttributeName: aws.String("sdk"), AttributeValue: aws.String("go"), MaxResults: aws.Int32(2),
	})
	for pages.HasMorePages() {
		page := must[*iot.ListThingsOutput](t)(pages.NextPage(ctx))
		for _, thing := range page.Things {
			names = append(names, *thing.ThingName)
		}
	}
	if want := []string{"go-a", "go-b", "go-c"}; !slices.Equal(names, want) {
		t.Errorf("things %v, want %v", names, want)
	}
	_, err := client.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("go-a")})
	wantError[*types.ResourceAlreadyExistsException](t, err)
	_, err = client.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("go-a"), ExpectedVersion: aws.Int64(9), AttributePayload: &types.AttributePayload{}})
	wantError[*types.VersionConflictException](t, err)
	_, err = client.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("nobody")})
	wantError[*types.ResourceNotFoundException](t, err)
	_, err = client.SearchIndex(ctx, &iot.SearchIndexInput{QueryString: aws.String("a AND (")})
	wantError[*types.InvalidQueryException](t, err)
}

func TestGroupsFollowThings(t *testing.T) {
	ctx, client := context.Background(), iot.NewFromConfig(config(t))
	name, group := aws.String("go-member"), aws.String("go-dynamic")
	must[*iot.CreateThingOutput](t)(client.CreateThing(ctx, &iot.CreateThingInput{ThingName: name}))
	t.Cleanup(func() { client.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: name}) })
	made := must[*iot.CreateDynamicThingGroupOutput](t)(client.CreateDynamicThingGroup(ctx, &iot.CreateDynamicThingGroupInput{
		ThingGroupName: group, QueryString: aws.String("attributes.level>=5"),
	}))
	if *made.QueryVersion != "2017-09-30" || *made.IndexName != "AWS_Things" {
		t.Errorf("the group has the index %s and the query version %s", *made.IndexName, *made.QueryVersion)
	}
	t.Cleanup(func() { client.DeleteDynamicThingGroup(ctx, &iot.DeleteDynamicThingGroupInput{ThingGroupName: group}) })
	for level, want := range map[string]int{"4": 0, "5": 1, "6": 1} {
		must[*iot.UpdateThingOutput](t)(client.UpdateThing(ctx, &iot.UpdateThingInput{
			ThingName: name, AttributePayload: &types.AttributePayload{Attributes: map[string]string{"level": level}},
		}))
		members := must[*iot.ListThingsInThingGroupOutput](t)(client.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: group}))
		if len(members.Things) != want {
			t.Errorf("with level %s the group has the members %v, want %d", level, members.Things, want)
		}
	}
	described := must[*iot.DescribeThingGroupOutput](t)(client.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: group}))
	if described.Status != types.DynamicGroupStatusActive {
		t.Errorf("status %s", described.Status)
	}
}

func TestPolicyOfCertificate(t *testing.T) {
	ctx, client := context.Background(), iot.NewFromConfig(config(t))
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	csr := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "go-device"}}, key))
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	certificate := must[*iot.CreateCertificateFromCsrOutput](t)(client.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{
		CertificateSigningRequest: &text, SetAsActive: true,
	}))
	policy := aws.String("go-policy")
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/go/*"}]}`
	must[*iot.CreatePolicyOutput](t)(client.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: policy, PolicyDocument: &document}))
	must[*iot.AttachPolicyOutput](t)(client.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: policy, Target: certificate.CertificateArn}))
	_, err := client.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: policy})
	wantError[*types.DeleteConflictException](t, err)
	_, err = client.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("go-bad"), PolicyDocument: aws.String("{}")})
	wantError[*types.MalformedPolicyException](t, err)
	for topic, want := range map[string]types.AuthDecision{"go/1": types.AuthDecisionAllowed, "og/1": types.AuthDecisionImplicitDeny} {
		answer := must[*iot.TestAuthorizationOutput](t)(client.TestAuthorization(ctx, &iot.TestAuthorizationInput{
			Principal: certificate.CertificateArn, AuthInfos: []types.AuthInfo{
				{ActionType: types.ActionTypePublish, Resources: []string{"arn:aws:iot:local:123456789012:topic/" + topic}},
			},
		}))
		if got := answer.AuthResults[0].AuthDecision; got != want {
			t.Errorf("publish to %s: %s, want %s", topic, got, want)
		}
	}
	must[*iot.DetachPolicyOutput](t)(client.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: policy, Target: certificate.CertificateArn}))
	must[*iot.DeletePolicyOutput](t)(client.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: policy}))
	must[*iot.UpdateCertificateOutput](t)(client.UpdateCertificate(ctx, &iot.UpdateCertificateInput{
		CertificateId: certificate.CertificateId, NewStatus: types.CertificateStatusInactive,
	}))
	must[*iot.DeleteCertificateOutput](t)(client.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: certificate.CertificateId}))
}

func TestRetained(t *testing.T) {
	ctx, client := context.Background(), iotdataplane.NewFromConfig(config(t))
	topic, payload := aws.String("go/retained/ä"), []byte{0, 1, 255}
	must[*iotdataplane.PublishOutput](t)(client.Publish(ctx, &iotdataplane.PublishInput{Topic: topic, Qos: 1, Retain: true, Payload: payload}))
	message := must[*iotdataplane.GetRetainedMessageOutput](t)(client.GetRetainedMessage(ctx, &iotdataplane.GetRetainedMessageInput{Topic: topic}))
	if !bytes.Equal(message.Payload, payload) {
		t.Errorf("the retained message is %x, want %x", message.Payload, payload)
	}
	must[*iotdataplane.PublishOutput](t)(client.Publish(ctx, &iotdataplane.PublishInput{Topic: topic, Retain: true}))
}
