"""boto3 against a real gateway: every operation of AWS IoT that a gateway must have, with its answers, pages and errors.

.ci/clients starts the gateway and sets MUSTER_ENDPOINT, MUSTER_MQTT_PORT, AWS_CA_BUNDLE and AWS's usual variables.
"""

import json
import os
import subprocess
import tempfile
import time
import unittest
import unittest.mock

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(region_name=os.environ["AWS_DEFAULT_REGION"], retries={"max_attempts": 1}, parameter_validation=True)
called = set()


def client(service):
    made = boto3.client(service, endpoint_url=os.environ["MUSTER_ENDPOINT"], config=CONFIG)
    made.meta.events.register("before-call", lambda model, **_: called.add(model.name))
    return made


iot = client("iot")
data = client("iot-data")

# What a gateway must answer and this version of boto3 can ask; newer operations are npm's part.
MUST = """
CreateThing DescribeThing UpdateThing DeleteThing ListThings
CreateThingType DescribeThingType ListThingTypes DeprecateThingType DeleteThingType
CreateThingGroup DescribeThingGroup UpdateThingGroup DeleteThingGroup ListThingGroups AddThingToThingGroup RemoveThingFromThingGroup
ListThingGroupsForThing ListThingsInThingGroup UpdateThingGroupsForThing
CreateDynamicThingGroup UpdateDynamicThingGroup DeleteDynamicThingGroup
UpdateIndexingConfiguration GetIndexingConfiguration DescribeIndex ListIndices SearchIndex GetStatistics GetCardinality GetPercentiles
GetBucketsAggregation
CreateBillingGroup DescribeBillingGroup UpdateBillingGroup DeleteBillingGroup ListBillingGroups AddThingToBillingGroup
RemoveThingFromBillingGroup ListThingsInBillingGroup TagResource UntagResource ListTagsForResource
CreateKeysAndCertificate CreateCertificateFromCsr RegisterCertificate RegisterCertificateWithoutCA DescribeCertificate ListCertificates
UpdateCertificate DeleteCertificate AttachThingPrincipal DetachThingPrincipal ListThingPrincipals ListPrincipalThings
CreatePolicy GetPolicy ListPolicies DeletePolicy CreatePolicyVersion GetPolicyVersion ListPolicyVersions DeletePolicyVersion
SetDefaultPolicyVersion AttachPolicy DetachPolicy ListAttachedPolicies ListTargetsForPolicy GetEffectivePolicies TestAuthorization
AttachPrincipalPolicy DetachPrincipalPolicy ListPrincipalPolicies ListPolicyPrincipals
CreateFleetMetric DescribeFleetMetric UpdateFleetMetric DeleteFleetMetric ListFleetMetrics
DescribeEventConfigurations UpdateEventConfigurations DescribeEndpoint
Publish GetRetainedMessage ListRetainedMessages
""".split()


def tearDownModule():
    missing = [name for name in MUST if name not in called]
    assert not missing, f"never called: {missing}"


class Case(unittest.TestCase):
    maxDiff = None

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as refusal:
            call(**arguments)
        self.assertEqual(refusal.exception.response["Error"]["Code"], code, refusal.exception)
        self.assertTrue(refusal.exception.response["Error"]["Message"], "an error without a sentence")
        return refusal.exception.response

    def pages(self, call, items, **arguments):
        """All items of a listing with nextToken, two on a page."""
        found, token = [], None
        for _ in range(1000):
            answer = call(maxResults=2, **arguments, **({"nextToken": token} if token else {}))
            self.assertLessEqual(len(answer[items]), 2)
            found += answer[items]
            token = answer.get("nextToken")
            if not token:
                return found
        self.fail("the pages do not end")

    def marked(self, call, items, **arguments):
        """All items of a listing with marker, two on a page."""
        found, marker = [], None
        for _ in range(1000):
            answer = call(pageSize=2, **arguments, **({"marker": marker} if marker else {}))
            self.assertLessEqual(len(answer[items]), 2)
            found += answer[items]
            marker = answer.get("nextMarker")
            if not marker:
                return found
        self.fail("the pages do not end")

    def thing(self, name, **arguments):
        made = iot.create_thing(thingName=name, **arguments)
        self.addCleanup(iot.delete_thing, thingName=name)
        return made


class Things(Case):
    def test_thing(self):
        made = self.thing("boto-lamp", attributePayload={"attributes": {"city": "ulm"}})
        self.assertRegex(made["thingArn"], r"^arn:aws:iot:[a-z0-9-]+:\d{12}:thing/boto-lamp$")
        self.assertEqual(iot.create_thing(thingName="boto-lamp", attributePayload={"attributes": {"city": "ulm"}}), made | {"ResponseMetadata": unittest.mock.ANY})
        conflict = self.refused("ResourceAlreadyExistsException", iot.create_thing, thingName="boto-lamp")
        self.assertEqual(conflict["resourceArn"], made["thingArn"])
        iot.update_thing(thingName="boto-lamp", attributePayload={"attributes": {"floor": "2"}, "merge": True}, expectedVersion=1)
        thing = iot.describe_thing(thingName="boto-lamp")
        self.assertEqual((thing["version"], thing["attributes"], thing["thingId"]), (2, {"city": "ulm", "floor": "2"}, made["thingId"]))
        self.refused("VersionConflictException", iot.update_thing, thingName="boto-lamp", attributePayload={"attributes": {}}, expectedVersion=1)
        self.refused("VersionConflictException", iot.delete_thing, thingName="boto-lamp", expectedVersion=1)
        self.refused("ResourceNotFoundException", iot.describe_thing, thingName="nobody")
        self.refused("InvalidRequestException", iot.create_thing, thingName="boto-bad", attributePayload={"attributes": {"a b": "x"}})
        for i in range(4):
            self.thing(f"boto-page-{i}", attributePayload={"attributes": {"page": "yes"}})
        names = [each["thingName"] for each in self.pages(iot.list_things, "things", attributeName="page", attributeValue="yes")]
        self.assertEqual(names, [f"boto-page-{i}" for i in range(4)])

    def test_type(self):
        iot.create_thing_type(thingTypeName="boto-type", thingTypeProperties={"thingTypeDescription": "a type", "searchableAttributes": ["city"]})
        described = iot.describe_thing_type(thingTypeName="boto-type")
        self.assertEqual(described["thingTypeProperties"]["searchableAttributes"], ["city"])
        self.assertFalse(described["thingTypeMetadata"]["deprecated"])
        self.assertIn("boto-type", [each["thingTypeName"] for each in self.pages(iot.list_thing_types, "thingTypes")])
        self.refused("InvalidRequestException", iot.delete_thing_type, thingTypeName="boto-type")
        iot.deprecate_thing_type(thingTypeName="boto-type")
        self.refused("InvalidRequestException", iot.create_thing, thingName="boto-late", thingTypeName="boto-type")
        iot.deprecate_thing_type(thingTypeName="boto-type", undoDeprecate=True)
        self.thing("boto-typed", thingTypeName="boto-type", attributePayload={"attributes": {str(n): "x" for n in range(10)}})
        self.refused("InvalidRequestException", iot.delete_thing_type, thingTypeName="boto-type")


class Groups(Case):
    def group(self, name, **arguments):
        made = iot.create_thing_group(thingGroupName=name, **arguments)
        self.addCleanup(iot.delete_thing_group, thingGroupName=name)
        return made

    def test_static(self):
        top = self.group("boto-top", thingGroupProperties={"thingGroupDescription": "all", "attributePayload": {"attributes": {"owner": "ana"}}})
        self.group("boto-mid", parentGroupName="boto-top")
        self.group("boto-leaf", parentGroupName="boto-mid")
        self.refused("ResourceAlreadyExistsException", iot.create_thing_group, thingGroupName="boto-top")
        self.refused("ResourceNotFoundException", iot.create_thing_group, thingGroupName="boto-x", parentGroupName="nobody")
        leaf = iot.describe_thing_group(thingGroupName="boto-leaf")
        self.assertEqual([each["groupName"] for each in leaf["thingGroupMetadata"]["rootToParentThingGroups"]], ["boto-top", "boto-mid"])
        self.assertEqual(leaf["thingGroupMetadata"]["parentGroupName"], "boto-mid")
        self.assertEqual(leaf["version"], 1)
        version = iot.update_thing_group(thingGroupName="boto-top", expectedVersion=1, thingGroupProperties={
            "thingGroupDescription": "every", "attributePayload": {"attributes": {"site": "1"}, "merge": True}})["version"]
        self.assertEqual(version, 2)
        properties = iot.describe_thing_group(thingGroupName="boto-top")["thingGroupProperties"]
        self.assertEqual(properties["attributePayload"]["attributes"], {"owner": "ana", "site": "1"})
        self.refused("VersionConflictException", iot.update_thing_group, thingGroupName="boto-top", expectedVersion=1, thingGroupProperties={})
        names = lambda **arguments: sorted(each["groupName"] for each in self.pages(iot.list_thing_groups, "thingGroups", **arguments))
        self.assertEqual(names(parentGroup="boto-top", recursive=True), ["boto-leaf", "boto-mid"])
        self.assertEqual(names(parentGroup="boto-top"), ["boto-mid"])
        self.assertEqual(names(namePrefixFilter="boto-l"), ["boto-leaf"])

        self.thing("boto-member")
        iot.add_thing_to_thing_group(thingGroupName="boto-leaf", thingName="boto-member")
        self.assertEqual(iot.list_things_in_thing_group(thingGroupName="boto-top")["things"], [])
        self.assertEqual(iot.list_things_in_thing_group(thingGroupName="boto-top", recursive=True)["things"], ["boto-member"])
        of = lambda: [each["groupName"] for each in self.pages(iot.list_thing_groups_for_thing, "thingGroups", thingName="boto-member")]
        self.assertEqual(of(), ["boto-leaf"])
        self.refused("InvalidRequestException", iot.add_thing_to_thing_group, thingGroupName="boto-top", thingName="boto-member")
        self.refused("InvalidRequestException", iot.delete_thing_group, thingGroupName="boto-top")
        self.group("boto-other")
        iot.update_thing_groups_for_thing(thingName="boto-member", thingGroupsToAdd=["boto-other"], thingGroupsToRemove=["boto-leaf"])
        self.assertEqual(of(), ["boto-other"])
        found = iot.search_index(queryString="thingGroupNames:boto-other")["things"]
        self.assertEqual([(each["thingName"], each["thingGroupNames"]) for each in found], [("boto-member", ["boto-other"])])
        iot.remove_thing_from_thing_group(thingGroupArn=iot.describe_thing_group(thingGroupName="boto-other")["thingGroupArn"], thingName="boto-member")
        self.assertEqual(of(), [])
        self.assertTrue(top["thingGroupArn"].endswith(":thinggroup/boto-top"))

    def test_dynamic(self):
        made = iot.create_dynamic_thing_group(thingGroupName="boto-dynamic", queryString="attributes.floor>3")
        self.assertEqual((made["indexName"], made["queryVersion"], made["queryString"]), ("AWS_Things", "2017-09-30", "attributes.floor>3"))
        self.thing("boto-high", attributePayload={"attributes": {"floor": "7"}})
        self.thing("boto-low", attributePayload={"attributes": {"floor": "1"}})
        members = lambda: iot.list_things_in_thing_group(thingGroupName="boto-dynamic")["things"]
        self.assertEqual(members(), ["boto-high"])
        iot.update_thing(thingName="boto-low", attributePayload={"attributes": {"floor": "9"}})
        self.assertEqual(members(), ["boto-high", "boto-low"])
        described = iot.describe_thing_group(thingGroupName="boto-dynamic")
        self.assertEqual((described["status"], described["queryString"], described["indexName"]), ("ACTIVE", "attributes.floor>3", "AWS_Things"))
        iot.update_dynamic_thing_group(thingGroupName="boto-dynamic", thingGroupProperties={}, queryString="attributes.floor>8")
        self.assertEqual(members(), ["boto-low"])
        self.refused("InvalidRequestException", iot.add_thing_to_thing_group, thingGroupName="boto-dynamic", thingName="boto-high")
        self.refused("InvalidRequestException", iot.delete_thing_group, thingGroupName="boto-dynamic")
        self.refused("InvalidQueryException", iot.create_dynamic_thing_group, thingGroupName="boto-wrong", queryString="attributes.floor:[1 TO")
        iot.delete_dynamic_thing_group(thingGroupName="boto-dynamic")
        self.refused("ResourceNotFoundException", iot.describe_thing_group, thingGroupName="boto-dynamic")

    def test_billing(self):
        made = iot.create_billing_group(billingGroupName="boto-tenant", billingGroupProperties={"billingGroupDescription": "a tenant"}, tags=[{"Key": "cost", "Value": "17"}])
        self.thing("boto-billed", billingGroupName="boto-tenant")
        self.assertEqual(iot.describe_thing(thingName="boto-billed")["billingGroupName"], "boto-tenant")
        self.assertEqual(iot.list_things_in_billing_group(billingGroupName="boto-tenant")["things"], ["boto-billed"])
        self.assertEqual(iot.update_billing_group(billingGroupName="boto-tenant", billingGroupProperties={"billingGroupDescription": "t"})["version"], 2)
        self.assertEqual(iot.describe_billing_group(billingGroupName="boto-tenant")["billingGroupProperties"]["billingGroupDescription"], "t")
        iot.create_billing_group(billingGroupName="boto-tenant-2")
        iot.add_thing_to_billing_group(billingGroupName="boto-tenant-2", thingName="boto-billed")
        self.assertEqual(iot.list_things_in_billing_group(billingGroupName="boto-tenant")["things"], [])
        iot.remove_thing_from_billing_group(billingGroupName="boto-tenant-2", thingName="boto-billed")
        names = [each["groupName"] for each in self.pages(iot.list_billing_groups, "billingGroups", namePrefixFilter="boto-")]
        self.assertEqual(names, ["boto-tenant", "boto-tenant-2"])

        arn = made["billingGroupArn"]
        iot.tag_resource(resourceArn=arn, tags=[{"Key": "env", "Value": "test"}])
        tags = lambda: {each["Key"]: each["Value"] for each in iot.list_tags_for_resource(resourceArn=arn)["tags"]}
        self.assertEqual(tags(), {"cost": "17", "env": "test"})
        iot.untag_resource(resourceArn=arn, tagKeys=["cost"])
        self.assertEqual(tags(), {"env": "test"})
        for name in names:
            iot.delete_billing_group(billingGroupName=name)
        self.refused("ResourceNotFoundException", iot.describe_billing_group, billingGroupName="boto-tenant")


class Index(Case):
    def test_index(self):
        iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"},
                                          thingGroupIndexingConfiguration={"thingGroupIndexingMode": "ON"})
        self.assertEqual(iot.get_indexing_configuration()["thingGroupIndexingConfiguration"]["thingGroupIndexingMode"], "ON")
        self.assertEqual(sorted(iot.list_indices()["indexNames"]), ["AWS_ThingGroups", "AWS_Things"])
        self.assertEqual(iot.describe_index(indexName="AWS_Things")["indexStatus"], "ACTIVE")
        for i in range(5):
            self.thing(f"boto-index-{i}", attributePayload={"attributes": {"level": str(i), "half": "low" if i < 2 else "high"}})
        query = "thingName:boto-index-*"
        found = self.pages(iot.search_index, "things", queryString=query + " AND attributes.level>=1")
        self.assertEqual([each["thingName"] for each in found], [f"boto-index-{i}" for i in range(1, 5)])
        statistics = iot.get_statistics(queryString=query, aggregationField="attributes.level")["statistics"]
        self.assertEqual({key: statistics[key] for key in ("count", "sum", "average", "minimum", "maximum", "variance")},
                         {"count": 5, "sum": 10.0, "average": 2.0, "minimum": 0.0, "maximum": 4.0, "variance": 2.0})
        self.assertEqual(iot.get_cardinality(queryString=query, aggregationField="attributes.half")["cardinality"], 2)
        percentiles = iot.get_percentiles(queryString=query, aggregationField="attributes.level", percents=[50])["percentiles"]
        self.assertEqual(percentiles, [{"percent": 50.0, "value": 2.0}])
        buckets = iot.get_buckets_aggregation(queryString=query, aggregationField="attributes.half", bucketsAggregationType={"termsAggregation": {"maxBuckets": 1}})
        self.assertEqual((buckets["totalCount"], buckets["buckets"]), (5, [{"keyValue": "high", "count": 3}]))
        self.refused("InvalidQueryException", iot.search_index, queryString="a AND (")
        self.refused("InvalidAggregationException", iot.get_statistics, queryString="*", aggregationField="nothing")
        iot.create_thing_group(thingGroupName="boto-found", thingGroupProperties={"thingGroupDescription": "searched for"})
        groups = iot.search_index(indexName="AWS_ThingGroups", queryString="thingGroupName:boto-found")["thingGroups"]
        self.assertEqual([each["thingGroupName"] for each in groups], ["boto-found"])
        iot.delete_thing_group(thingGroupName="boto-found")

    def test_metric(self):
        arguments = {"metricName": "boto-metric", "queryString": "thingName:boto-*", "period": 60, "aggregationField": "registry.version",
                     "aggregationType": {"name": "Statistics", "values": ["count", "maximum"]}}
        made = iot.create_fleet_metric(**arguments, tags=[{"Key": "team", "Value": "north"}])
        self.assertEqual(iot.list_tags_for_resource(resourceArn=made["metricArn"])["tags"], [{"Key": "team", "Value": "north"}])
        self.assertTrue(made["metricArn"].endswith(":fleetmetric/boto-metric"))
        self.refused("ResourceAlreadyExistsException", iot.create_fleet_metric, **arguments | {"period": 120})
        described = iot.describe_fleet_metric(metricName="boto-metric")
        self.assertEqual((described["period"], described["version"], described["indexName"]), (60, 1, "AWS_Things"))
        iot.update_fleet_metric(metricName="boto-metric", indexName="AWS_Things", period=300, expectedVersion=1)
        self.assertEqual(iot.describe_fleet_metric(metricName="boto-metric")["period"], 300)
        self.assertIn("boto-metric", [each["metricName"] for each in self.pages(iot.list_fleet_metrics, "fleetMetrics")])
        iot.delete_fleet_metric(metricName="boto-metric")
        self.refused("ResourceNotFoundException", iot.describe_fleet_metric, metricName="boto-metric")
        self.refused("ResourceNotFoundException", iot.list_tags_for_resource, resourceArn=made["metricArn"])

    def test_events_and_endpoint(self):
        iot.update_event_configurations(eventConfigurations={"THING": {"Enabled": True}})
        self.assertTrue(iot.describe_event_configurations()["eventConfigurations"]["THING"]["Enabled"])
        self.assertRegex(iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"], r"^[^:/]+(:\d+)?$")


def openssl(*arguments, text=None):
    return subprocess.run(["openssl", *arguments], input=text, capture_output=True, check=True, text=True).stdout


def document(*topics, effect="Allow", action="iot:Publish"):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": [action], "Resource": [f"arn:aws:iot:*:*:topic/{topic}" for topic in topics]}]})


class Certificates(Case):
    def key_and_csr(self, name):
        folder = tempfile.mkdtemp()
        key = os.path.join(folder, "key.pem")
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        return key, openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")

    def drop(self, certificate_id):
        iot.delete_certificate(certificateId=certificate_id, forceDelete=True)

    def certificate(self, name, active=True):
        _, csr = self.key_and_csr(name)
        made = iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=active)
        def clean():
            iot.update_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
            self.drop(made["certificateId"])
        self.addCleanup(clean)
        return made

    def test_certificate(self):
        self.thing("boto-device")
        made = self.certificate("boto-device", active=False)
        described = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
        self.assertEqual((described["status"], described["certificatePem"]), ("INACTIVE", made["certificatePem"]))
        iot.update_certificate(certificateId=made["certificateId"], newStatus="ACTIVE")
        iot.attach_thing_principal(thingName="boto-device", principal=made["certificateArn"])
        self.assertEqual(iot.list_thing_principals(thingName="boto-device")["principals"], [made["certificateArn"]])
        self.assertEqual(iot.list_principal_things(principal=made["certificateArn"])["things"], ["boto-device"])
        self.refused("InvalidRequestException", iot.delete_thing, thingName="boto-device")  # attached
        self.refused("CertificateStateException", iot.delete_certificate, certificateId=made["certificateId"])
        self.assertIn(made["certificateId"], [each["certificateId"] for each in self.marked(iot.list_certificates, "certificates")])
        iot.detach_thing_principal(thingName="boto-device", principal=made["certificateArn"])
        self.assertEqual(iot.list_thing_principals(thingName="boto-device")["principals"], [])
        self.refused("ResourceNotFoundException", iot.describe_certificate, certificateId="0" * 64)
        self.refused("InvalidRequestException", iot.create_certificate_from_csr, certificateSigningRequest="no CSR")

    def test_registered(self):
        key, _ = self.key_and_csr("boto-own")
        own = openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=boto-own", "-days", "30")
        made = iot.register_certificate_without_ca(certificatePem=own, status="INACTIVE")
        self.assertEqual(iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]["certificateMode"], "SNI_ONLY")
        self.refused("ResourceAlreadyExistsException", iot.register_certificate_without_ca, certificatePem=own)
        self.drop(made["certificateId"])
        self.refused("CertificateValidationException", iot.register_certificate, certificatePem="no certificate")

    def test_keys_stay_on_devices(self):
        self.refused("InvalidRequestException", iot.create_keys_and_certificate)

    def test_policies(self):
        made = iot.create_policy(policyName="boto-policy", policyDocument=document("a"))
        self.assertEqual(made["policyVersionId"], "1")
        self.refused("ResourceAlreadyExistsException", iot.create_policy, policyName="boto-policy", policyDocument=document("b"))
        self.refused("MalformedPolicyException", iot.create_policy, policyName="boto-bad", policyDocument='{"Version":"2012-10-17"}')
        iot.create_policy_version(policyName="boto-policy", policyDocument=document("a", "b"), setAsDefault=True)
        self.assertEqual(json.loads(iot.get_policy(policyName="boto-policy")["policyDocument"]), json.loads(document("a", "b")))
        self.assertEqual(iot.get_policy(policyName="boto-policy")["defaultVersionId"], "2")
        iot.set_default_policy_version(policyName="boto-policy", policyVersionId="1")
        versions = {each["versionId"]: each["isDefaultVersion"] for each in iot.list_policy_versions(policyName="boto-policy")["policyVersions"]}
        self.assertEqual(versions, {"1": True, "2": False})
        self.assertFalse(iot.get_policy_version(policyName="boto-policy", policyVersionId="2")["isDefaultVersion"])
        self.refused("DeleteConflictException", iot.delete_policy, policyName="boto-policy")
        self.refused("DeleteConflictException", iot.delete_policy_version, policyName="boto-policy", policyVersionId="1")
        for _ in range(3):
            iot.create_policy_version(policyName="boto-policy", policyDocument=document("c"))
        self.refused("VersionsLimitExceededException", iot.create_policy_version, policyName="boto-policy", policyDocument=document("d"))
        for version in ("2", "3", "4", "5"):
            iot.delete_policy_version(policyName="boto-policy", policyVersionId=version)
        self.assertIn("boto-policy", [each["policyName"] for each in self.marked(iot.list_policies, "policies")])

        self.thing("boto-allowed")
        arn = self.certificate("boto-allowed")["certificateArn"]
        iot.attach_thing_principal(thingName="boto-allowed", principal=arn)
        self.addCleanup(iot.detach_thing_principal, thingName="boto-allowed", principal=arn)
        iot.attach_policy(policyName="boto-policy", target=arn)
        self.assertEqual(iot.list_targets_for_policy(policyName="boto-policy")["targets"], [arn])
        self.assertEqual([each["policyName"] for each in iot.list_attached_policies(target=arn)["policies"]], ["boto-policy"])
        self.refused("DeleteConflictException", iot.delete_policy, policyName="boto-policy")

        group = iot.create_thing_group(thingGroupName="boto-denied")["thingGroupArn"]
        iot.add_thing_to_thing_group(thingGroupName="boto-denied", thingName="boto-allowed")
        iot.create_policy(policyName="boto-deny", policyDocument=document("a/secret", effect="Deny"))
        iot.attach_policy(policyName="boto-deny", target=group)
        effective = {each["policyName"] for each in iot.get_effective_policies(principal=arn, thingName="boto-allowed")["effectivePolicies"]}
        self.assertEqual(effective, {"boto-policy", "boto-deny"})
        resources = [f"arn:aws:iot:local:{made['policyArn'].split(':')[4]}:topic/{topic}" for topic in ("a", "z", "a/secret")]
        decide = lambda resource, **more: iot.test_authorization(principal=arn, clientId="boto-allowed", authInfos=[
            {"actionType": "PUBLISH", "resources": [resource]}], **more)["authResults"][0]
        self.assertEqual([decide(resource)["authDecision"] for resource in resources[:2]], ["ALLOWED", "IMPLICIT_DENY"])
        self.assertEqual(decide(resources[0])["allowed"]["policies"][0]["policyName"], "boto-policy")
        self.assertEqual(decide(resources[2])["authDecision"], "EXPLICIT_DENY")
        self.assertEqual(decide(resources[0], policyNamesToSkip=["boto-policy"])["authDecision"], "IMPLICIT_DENY")

        iot.detach_policy(policyName="boto-deny", target=group)
        iot.delete_thing_group(thingGroupName="boto-denied")
        iot.delete_policy(policyName="boto-deny")
        iot.detach_policy(policyName="boto-policy", target=arn)
        iot.attach_principal_policy(policyName="boto-policy", principal=arn)
        self.assertEqual([each["policyName"] for each in self.marked(iot.list_principal_policies, "policies", principal=arn)], ["boto-policy"])
        self.assertEqual(iot.list_policy_principals(policyName="boto-policy")["principals"], [arn])
        iot.detach_principal_policy(policyName="boto-policy", principal=arn)
        iot.delete_policy(policyName="boto-policy")
        self.refused("ResourceNotFoundException", iot.get_policy, policyName="boto-policy")


class Data(Case):
    def test_retained(self):
        payload = bytes(range(256))
        for topic in ("boto/retained/1", "boto/retained/2", "boto/retained/3"):
            data.publish(topic=topic, qos=1, retain=True, payload=payload)
        message = data.get_retained_message(topic="boto/retained/2")
        self.assertEqual((message["payload"], message["qos"], message["topic"]), (payload, 1, "boto/retained/2"))
        self.assertLess(abs(message["lastModifiedTime"] / 1000 - time.time()), 60)
        topics = [each["topic"] for each in self.pages(data.list_retained_messages, "retainedTopics")]
        self.assertTrue({"boto/retained/1", "boto/retained/2", "boto/retained/3"} <= set(topics))
        for topic in ("boto/retained/1", "boto/retained/2", "boto/retained/3"):
            data.publish(topic=topic, retain=True, payload=b"")
        self.refused("ResourceNotFoundException", data.get_retained_message, topic="boto/retained/2")
        self.refused("InvalidRequestException", data.publish, topic="a/+/b", payload=b"x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
