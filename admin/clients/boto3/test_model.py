"""Every limit that AWS's own model of the service states, broken on purpose against a real gateway: boto3 brings the model along.

A name of the wrong form, a number out of its range, a word that is none of a list, a member left out: each is refused as AWS refuses it, before
anything else is looked at, so with InvalidRequestException even where the resource is not there. EXCEPT has where this gateway takes more, on purpose.
"""

import os
import re
import unittest

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from test_iot import MUST

CONFIG = Config(region_name=os.environ["AWS_DEFAULT_REGION"], retries={"max_attempts": 1}, parameter_validation=False)
iot = boto3.client("iot", endpoint_url=os.environ["MUSTER_ENDPOINT"], config=CONFIG)
model = iot.meta.service_model

# Operation (or *), member, what is broken: docs/api.md, "What differs from AWS", says why.
EXCEPT = {
    ("*", "maxResults", "above"),  # pages may be larger
    ("*", "thingGroupDescription", "pattern"),  # descriptions may be in any script
    ("*", "thingTypeDescription", "pattern"),
    ("*", "billingGroupDescription", "pattern"),
    ("*", "description", "pattern"),
    ("CreateFleetMetric", "period", "below"),  # from a second on
    ("UpdateFleetMetric", "period", "below"),
    ("UpdateFleetMetric", "indexName", "missing"),  # there is one
    ("UpdateDynamicThingGroup", "thingGroupProperties", "missing"),  # nothing to change
}
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
GROUP = "arn:aws:iot:local:123456789012:thinggroup/model"
VALUES = {
    "queryString": "*", "policyDocument": POLICY, "aggregationField": "registry.version", "period": 60, "indexName": "AWS_Things", "policyVersionId": "1",
    "aggregationType": {"name": "Statistics", "values": ["count"]}, "bucketsAggregationType": {"termsAggregation": {"maxBuckets": 5}},
    "principal": GROUP, "target": GROUP, "resourceArn": GROUP, "tags": [{"Key": "a", "Value": "b"}], "tagKeys": ["a"], "newStatus": "INACTIVE",
    "authInfos": [{"actionType": "PUBLISH", "resources": ["arn:aws:iot:local:123456789012:topic/a"]}], "certificateId": "0" * 64,
}


def value(name, shape):
    """What the member of a request may be; resources are called model, and few of them are there."""
    if name in VALUES:
        return VALUES[name]
    return {"structure": {}, "map": {}, "list": [], "integer": 1, "long": 1, "boolean": False}.get(shape.type_name, "model")


def breaks(shape, in_path):
    limits = shape.metadata
    if shape.type_name == "string":
        if limits.get("enum"):
            yield "enum", "nonsense"
        if "max" in limits:
            yield "too long", "a" * (limits["max"] + 1)
        pattern = limits.get("pattern", "").replace(r"\p{Graph}", "!-~")
        text = "a b" if in_path else "a b!\u00e9"
        if pattern and r"\p" not in pattern and not re.fullmatch(pattern, text):
            yield "pattern", text
    if shape.type_name in ("integer", "long", "double"):
        if "max" in limits:
            yield "above", limits["max"] + 1
        if "min" in limits:
            yield "below", limits["min"] - 1


class Limits(unittest.TestCase):
    def test_limits(self):
        tried = 0
        for name in MUST:
            if name not in model.operation_names:
                continue
            members = model.operation_model(name).input_shape.members if model.operation_model(name).input_shape else {}
            required = model.operation_model(name).input_shape.required_members if members else []
            good = {key: value(key, members[key]) for key in required}
            cases = [(key, "missing", {k: v for k, v in good.items() if k != key}) for key in required if members[key].serialization.get("location") != "uri"]
            for key, shape in members.items():
                cases += [(key, what, good | {key: wrong}) for what, wrong in breaks(shape, shape.serialization.get("location") == "uri")]
                if shape.type_name == "structure":
                    cases += [(inner, what, good | {key: good.get(key, {}) | {inner: wrong}})
                              for inner, within in shape.members.items() for what, wrong in breaks(within, False)]
            for key, what, arguments in cases:
                if (name, key, what) in EXCEPT or ("*", key, what) in EXCEPT:
                    continue
                tried += 1
                with self.subTest(operation=name, member=key, what=what):
                    with self.assertRaises(ClientError) as refusal:
                        getattr(iot, xform_name(name))(**arguments)
                    answer = refusal.exception.response
                    self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 400, answer["Error"])
                    declared = [shape.name for shape in model.operation_model(name).error_shapes]
                    self.assertIn(answer["Error"]["Code"], declared)
        self.assertGreater(tried, 150)


if __name__ == "__main__":
    unittest.main(verbosity=2)
