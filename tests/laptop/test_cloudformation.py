"""CloudFormation on the laptop: templates that become real resources, or fail by name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import s3_backends

from laptop import cloudformation_types, stack
from laptop.account import Account
from laptop.cloudformation_template import Scope, parse_template
from laptop.errors import ServiceError
from laptop.server import running

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    moto_api_backend.reset()
    with running() as account:
        yield account


def template(resources: dict[str, Any], **sections: Any) -> str:
    return json.dumps({"Resources": resources, **sections})


def settled(account: Account, name: str) -> dict[str, Any]:
    """The stack's description once nothing is in progress any more."""
    client = account.client("cloudformation")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
        if not shown["StackStatus"].endswith("_IN_PROGRESS"):
            return shown
        time.sleep(0.02)
    raise AssertionError(shown)


def create(account: Account, name: str, body: str, **options: Any) -> dict[str, Any]:
    made = account.client("cloudformation").create_stack(
        StackName=name, TemplateBody=body, Capabilities=CAPABILITIES, **options
    )
    return settled(account, made["StackId"])


def update(account: Account, name: str, body: str, **options: Any) -> dict[str, Any]:
    account.client("cloudformation").update_stack(
        StackName=name, TemplateBody=body, Capabilities=CAPABILITIES, **options
    )
    return settled(account, name)


def resources(account: Account, name: str) -> dict[str, str]:
    shown = account.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    return {one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in shown}


QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {"DelaySeconds": "7"}}


def test_resources_are_made_in_the_order_of_their_dependencies_and_outputs_resolved(account: Account) -> None:
    body = template(
        {
            "Policy": {
                "Type": "AWS::SQS::QueuePolicy",
                "Properties": {
                    "Queues": [{"Ref": "Jobs"}],
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Principal": "*",
                                "Action": "sqs:*",
                                "Resource": {"Fn::GetAtt": "Jobs.Arn"},
                            }
                        ],
                    },
                },
            },
            "Jobs": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": {"Fn::Sub": "${AWS::StackName}-jobs"},
                    "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 3},
                },
            },
            "Dead": QUEUE,
        },
        Outputs={"Arn": {"Value": {"Fn::GetAtt": ["Jobs", "Arn"]}, "Description": "where jobs wait"}},
    )
    shown = create(account, "ordered", body, Tags=[{"Key": "Project", "Value": "shop"}])
    assert shown["StackStatus"] == "CREATE_COMPLETE"
    arn = "arn:aws:sqs:us-east-1:123456789012:ordered-jobs"
    assert shown["Outputs"] == [{"OutputKey": "Arn", "OutputValue": arn, "Description": "where jobs wait"}]
    sqs = account.client("sqs")
    made = resources(account, "ordered")
    attributes = sqs.get_queue_attributes(QueueUrl=made["Jobs"], AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["Policy"])["Statement"][0]["Resource"] == arn
    assert "ordered-Dead-" in json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
    dead = sqs.get_queue_attributes(QueueUrl=made["Dead"], AttributeNames=["DelaySeconds"])["Attributes"]
    assert dead["DelaySeconds"] == "7"
    assert sqs.list_queue_tags(QueueUrl=made["Dead"])["Tags"] == {"Project": "shop"}


def test_an_unknown_type_fails_the_stack_by_name_and_rolls_back(account: Account) -> None:
    body = template({"Jobs": QUEUE, "Cluster": {"Type": "AWS::EKS::Cluster", "DependsOn": "Jobs"}})
    shown = create(account, "unknown-type", body)
    assert shown["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "The laptop has no resource type AWS::EKS::Cluster" in shown["StackStatusReason"]
    events = account.client("cloudformation").describe_stack_events(StackName="unknown-type")["StackEvents"]
    told = [(event["LogicalResourceId"], event["ResourceStatus"]) for event in reversed(events)]
    assert ("Cluster", "CREATE_FAILED") in told
    assert told[-2:] == [("Jobs", "DELETE_COMPLETE"), ("unknown-type", "ROLLBACK_COMPLETE")]
    assert not [url for url in account.client("sqs").list_queues().get("QueueUrls", []) if "unknown-type" in url]


def test_an_unknown_property_fails_the_stack_by_name(account: Account) -> None:
    body = template({"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"DelaySecond": 1}}})
    shown = create(account, "unknown-property", body)
    assert "Jobs: Encountered unsupported property DelaySecond" in shown["StackStatusReason"]


def test_what_the_service_refuses_fails_the_stack_with_the_services_reason(account: Account) -> None:
    body = template({"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "a b"}}})
    shown = create(account, "refused-by-logs", body)
    assert shown["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "logGroupName" in shown["StackStatusReason"]


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ({"Type": "String"}, {}, r"Parameters: \[P\] must have values"),
        ({"Type": "String", "Default": "a"}, {"Q": "x"}, r"Parameters: \[Q\] do not exist in the template"),
        ({"Type": "String", "AllowedValues": ["dev", "prod"]}, {"P": "test"}, "'P' must be one of AllowedValues"),
        ({"Type": "String", "AllowedPattern": "[a-z]+"}, {"P": "abc1"}, r"'P' must match pattern \[a-z\]\+"),
        ({"Type": "Number", "MinValue": 2}, {"P": "1"}, "'P' must be a number not less than 2"),
        ({"Type": "Number", "MaxValue": 2}, {"P": "3"}, "'P' must be a number not greater than 2"),
        ({"Type": "Number"}, {"P": "many"}, "'P' must be a number"),
        ({"Type": "String", "MinLength": 3}, {"P": "ab"}, "'P' must contain at least 3 characters"),
        ({"Type": "String", "MaxLength": 1}, {"P": "ab"}, "'P' must contain at most 1 characters"),
        (
            {"Type": "String", "AllowedPattern": "a", "ConstraintDescription": "just a"},
            {"P": "b"},
            "Parameter P failed to satisfy constraint: just a",
        ),
    ],
)
def test_parameters_are_held_against_their_constraints(
    account: Account, declared: dict[str, Any], given: dict[str, str], message: str
) -> None:
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    with pytest.raises(ClientError, match=message):
        create(account, "constrained", template({"Jobs": QUEUE}, Parameters={"P": declared}), Parameters=parameters)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("Resources: {A: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref B}}}", r"resource dependencies \[B\]"),
        ("Resources: {A: {Type: AWS::SQS::Queue, DependsOn: B}}", r"resource dependencies \[B\]"),
        ("Resources: {A: {Properties: {}}}", "must contain a Type member"),
        ("Resources: {A: {Type: AWS::SQS::Queue, Deletion: Retain}}", "Invalid template resource property 'Deletion'"),
        ("Resources: {}", "At least one Resources member must be defined"),
        ("Resources: [", "YAML not well-formed"),
        (
            "Resources: {A: {Type: AWS::SQS::Queue, DependsOn: B}, B: {Type: AWS::SQS::Queue, DependsOn: A}}",
            r"Circular dependency between resources: \[A, B\]",
        ),
        ("Transform: Other\nResources: {A: {Type: AWS::SQS::Queue}}", "No transform named Other found"),
    ],
)
def test_a_malformed_template_is_refused_before_anything_is_made(account: Account, body: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create(account, "malformed", body)


def test_a_role_needs_a_capability(account: Account) -> None:
    body = template({"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}})
    client = account.client("cloudformation")
    with pytest.raises(client.exceptions.InsufficientCapabilitiesException, match="CAPABILITY_IAM"):
        client.create_stack(StackName="incapable", TemplateBody=body)


def test_intrinsic_functions_give_what_cloudformation_gives() -> None:
    source = {
        "Conditions": {"Big": {"Fn::Equals": [{"Ref": "Size"}, "big"]}, "Small": {"Fn::Not": [{"Condition": "Big"}]}},
        "Mappings": {"Ports": {"us-east-1": {"http": 80}}},
    }
    made = {"Topic": cloudformation_types.Made("arn:topic", {"TopicName": "alerts"})}
    scope = Scope(source, ("shop", "arn:stack"), {"Size": "big", "Names": ["a", "b"]}, made, dict)

    def resolved(value: str) -> Any:
        return scope.resolve(parse_template(f"Resources: {{A: {{V: {value}}}}}")["Resources"]["A"])["V"]

    assert resolved("!Ref Topic") == "arn:topic"
    assert resolved("!GetAtt Topic.TopicName") == "alerts"
    assert resolved('!Sub "${AWS::StackName}-${Topic.TopicName}-${!Literal}"') == "shop-alerts-${Literal}"
    assert resolved('!Sub ["${x}!", {x: !Ref Size}]') == "big!"
    assert resolved('!Join ["-", [a, !Ref Size, 1, true]]') == "a-big-1-true"
    assert resolved('!Select [1, !Split [",", "a,b,c"]]') == "b"
    assert resolved("!FindInMap [Ports, !Ref AWS::Region, http]") == 80
    assert resolved("!If [Big, 1, 2]") == 1
    assert resolved("[a, !If [Small, b, !Ref AWS::NoValue]]") == ["a"]
    assert resolved("{kept: 1, gone: !Ref AWS::NoValue}") == {"kept": 1}
    assert resolved("{Version: 2012-10-17}") == {"Version": "2012-10-17"}
    assert scope.condition("Small") is False
    with pytest.raises(cloudformation_types.ResourceFailure, match="does not support attribute type Colour"):
        resolved("!GetAtt Topic.Colour")


def test_a_resource_whose_condition_does_not_hold_is_not_made(account: Account) -> None:
    body = template(
        {"Jobs": QUEUE, "Mail": {**QUEUE, "Condition": "HasMail"}},
        Parameters={"Mail": {"Type": "String", "Default": ""}},
        Conditions={"HasMail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Mail"}, ""]}]}},
    )
    create(account, "conditional", body)
    assert set(resources(account, "conditional")) == {"Jobs"}
    update(account, "conditional", body, Parameters=[{"ParameterKey": "Mail", "ParameterValue": "a@b.c"}])
    assert set(resources(account, "conditional")) == {"Jobs", "Mail"}


def test_a_bucket_gets_everything_that_its_template_says(account: Account) -> None:
    days = {"StorageClass": "STANDARD_IA", "TransitionInDays": 30}
    body = template(
        {
            "Data": {
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "BucketEncryption": {
                        "ServerSideEncryptionConfiguration": [
                            {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                        ]
                    },
                    "PublicAccessBlockConfiguration": {"BlockPublicAcls": True, "BlockPublicPolicy": "true"},
                    "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                    "VersioningConfiguration": {"Status": "Enabled"},
                    "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
                    "LifecycleConfiguration": {
                        "Rules": [
                            {"Id": "old", "Status": "Enabled", "Prefix": "datasets/", "Transitions": [days]},
                            {
                                "Id": "leftovers",
                                "Status": "Enabled",
                                "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                            },
                        ]
                    },
                    "Tags": [{"Key": "Project", "Value": "shop"}],
                },
            }
        }
    )
    assert create(account, "storage", body)["StackStatus"] == "CREATE_COMPLETE"
    bucket = resources(account, "storage")["Data"]
    s3 = account.client("s3")
    assert bucket.startswith("storage-data-")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] is True
    stored = s3_backends["123456789012"]["aws"].buckets[bucket]  # moto's API keeps this one to itself
    assert stored.notification_configuration is not None
    assert stored.notification_configuration.event_bridge is not None
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "Project", "Value": "shop"}]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rules[0]["Transitions"] == [{"Days": 30, "StorageClass": "STANDARD_IA"}]
    assert rules[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_an_update_changes_adds_and_removes_and_a_failed_one_is_undone(account: Account) -> None:
    def body(delay: int, *names: str) -> str:
        return template({name: {**QUEUE, "Properties": {"DelaySeconds": delay}} for name in names})

    create(account, "changing", body(1, "A", "B"))
    before = resources(account, "changing")
    assert update(account, "changing", body(2, "A", "C"))["StackStatus"] == "UPDATE_COMPLETE"
    after = resources(account, "changing")
    assert set(after) == {"A", "C"}
    assert after["A"] == before["A"]
    sqs = account.client("sqs")

    def delay() -> str:
        return str(sqs.get_queue_attributes(QueueUrl=after["A"], AttributeNames=["All"])["Attributes"]["DelaySeconds"])

    assert delay() == "2"
    with pytest.raises(ClientError, match="No updates are to be performed"):
        update(account, "changing", body(2, "A", "C"))
    broken = json.loads(body(3, "A", "D"))
    broken["Resources"]["Z"] = {"Type": "AWS::EKS::Cluster", "DependsOn": ["A", "D"]}
    shown = update(account, "changing", json.dumps(broken))
    assert shown["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "AWS::EKS::Cluster" in shown["StackStatusReason"]
    assert set(resources(account, "changing")) == {"A", "C"}
    assert delay() == "2"


def test_a_replaced_resource_is_new_first_and_the_old_one_goes_afterwards(account: Account) -> None:
    def body(name: str) -> str:
        return template({"Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}})

    create(account, "replacing", body("first-name"))
    update(account, "replacing", body("second-name"))
    urls = account.client("sqs").list_queues()["QueueUrls"]
    assert [url.rsplit("/", 1)[1] for url in urls if url.endswith("-name")] == ["second-name"]


def test_deleting_a_stack_removes_its_resources_but_those_it_retains(account: Account) -> None:
    body = template({"Jobs": QUEUE, "Data": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}})
    identifier = create(account, "leaving", body)["StackId"]
    made = resources(account, "leaving")
    client = account.client("cloudformation")
    client.delete_stack(StackName="leaving")
    assert settled(account, identifier)["StackStatus"] == "DELETE_COMPLETE"
    with pytest.raises(ClientError, match="Stack with id leaving does not exist"):
        client.describe_stacks(StackName="leaving")
    assert account.client("s3").head_bucket(Bucket=made["Data"])
    with pytest.raises(ClientError, match=r"NonExistentQueue|does not exist"):
        account.client("sqs").get_queue_attributes(QueueUrl=made["Jobs"], AttributeNames=["All"])


def test_a_bucket_with_objects_keeps_its_stack_from_being_deleted(account: Account) -> None:
    create(account, "full", template({"Data": {"Type": "AWS::S3::Bucket"}}))
    bucket = resources(account, "full")["Data"]
    account.client("s3").put_object(Bucket=bucket, Key="a", Body=b"1")
    account.client("cloudformation").delete_stack(StackName="full")
    shown = settled(account, "full")
    assert shown["StackStatus"] == "DELETE_FAILED"
    assert "[Data]" in shown["StackStatusReason"]


def test_a_change_set_shows_what_would_change_and_then_does_it(account: Account) -> None:
    client = account.client("cloudformation")

    def change_set(kind: str, delay: int) -> dict[str, Any]:
        client.create_change_set(
            StackName="reviewed",
            ChangeSetName=f"change-{delay}",
            ChangeSetType=kind,
            TemplateBody=template({"Jobs": {**QUEUE, "Properties": {"DelaySeconds": delay}}}),
        )
        shown: dict[str, Any] = client.describe_change_set(StackName="reviewed", ChangeSetName=f"change-{delay}")
        return shown

    first = change_set("CREATE", 1)
    assert first["Changes"][0]["ResourceChange"]["Action"] == "Add"
    assert client.describe_stacks(StackName="reviewed")["Stacks"][0]["StackStatus"] == "REVIEW_IN_PROGRESS"
    client.execute_change_set(StackName="reviewed", ChangeSetName="change-1")
    assert settled(account, "reviewed")["StackStatus"] == "CREATE_COMPLETE"
    second = change_set("UPDATE", 2)
    change = second["Changes"][0]["ResourceChange"]
    assert (change["Action"], change["Replacement"]) == ("Modify", "False")
    client.execute_change_set(StackName="reviewed", ChangeSetName="change-2")
    assert settled(account, "reviewed")["StackStatus"] == "UPDATE_COMPLETE"
    client.create_change_set(
        StackName="reviewed",
        ChangeSetName="nothing",
        TemplateBody=template({"Jobs": {**QUEUE, "Properties": {"DelaySeconds": 2}}}),
    )
    third = client.describe_change_set(StackName="reviewed", ChangeSetName="nothing")
    assert third["Status"] == "FAILED"
    assert "didn't contain changes" in third["StatusReason"]


CUSTOM = """
import json, urllib.request
def handler(event, context):
    properties, old = event["ResourceProperties"], event.get("OldResourceProperties", {})
    print(json.dumps(event))
    failed = properties.get("Fail") == event["RequestType"]
    answer = {
        "Status": "FAILED" if failed else "SUCCESS", "Reason": "told to", "StackId": event["StackId"],
        "RequestId": event["RequestId"], "LogicalResourceId": event["LogicalResourceId"],
        "PhysicalResourceId": event.get("PhysicalResourceId", "thing-1"),
        "Data": {"Seen": event["RequestType"] + properties["Size"] + old.get("Size", "")},
    }
    body = json.dumps(answer).encode()
    request = urllib.request.Request(event["ResponseURL"], body, {"Content-Type": ""}, method="PUT")
    urllib.request.urlopen(request)
    return {"reason": event["RequestType"]}
"""


def custom(size: int, fail: str = "never") -> str:
    return template(
        {
            "Worker": {
                "Type": "AWS::Serverless::Function",
                "Properties": {
                    "Handler": "index.handler",
                    "Runtime": "python3.13",
                    "InlineCode": CUSTOM,
                    "Timeout": 10,
                },
            },
            "Thing": {
                "Type": "Custom::Thing",
                "Properties": {
                    "ServiceToken": {"Fn::GetAtt": ["Worker", "Arn"]},
                    "ServiceTimeout": 20,
                    "Size": size,
                    "Fail": fail,
                },
            },
        },
        Transform="AWS::Serverless-2016-10-31",
        Outputs={"Seen": {"Value": {"Fn::GetAtt": ["Thing", "Seen"]}}},
    )


def test_a_custom_resource_asks_its_function_at_creation_update_and_deletion(account: Account) -> None:
    shown = create(account, "custom", custom(1))
    assert shown["StackStatus"] == "CREATE_COMPLETE"
    assert shown["Outputs"][0]["OutputValue"] == "Create1"
    assert update(account, "custom", custom(2))["Outputs"][0]["OutputValue"] == "Update21"
    failed = update(account, "custom", custom(3, fail="Update"))
    assert failed["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "Message returned: told to" in failed["StackStatusReason"]
    account.client("cloudformation").delete_stack(StackName="custom")
    assert settled(account, shown["StackId"])["StackStatus"] == "DELETE_COMPLETE"
    asked = [entry["reason"] for entry in account.journal.entries() if entry["kind"] == "function"]
    assert asked == ["Create", "Update", "Update", "Update", "Delete"]


def test_a_custom_resource_that_fails_rolls_the_stack_back_with_its_reason(account: Account) -> None:
    shown = create(account, "custom-failing", custom(1, fail="Create"))
    assert shown["StackStatus"] == "ROLLBACK_COMPLETE"
    assert (
        "Received response status [FAILED] from custom resource. Message returned: told to"
        in shown["StackStatusReason"]
    )


def test_an_invalid_serverless_document_is_refused_with_the_translators_reason(account: Account) -> None:
    body = template(
        {"F": {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "a.b", "Runtime": "python3.13"}}},
        Transform="AWS::Serverless-2016-10-31",
    )
    with pytest.raises(ClientError, match=r"Transform AWS::Serverless-2016-10-31 failed with: .*\[F\]"):
        create(account, "invalid-sam", body)


def test_the_platforms_own_template_deploys_and_every_resource_of_it_exists(account: Account) -> None:
    outputs = stack.deploy(account, "shop")
    assert outputs["AlertsTopicArn"] == "arn:aws:sns:us-east-1:123456789012:shop-alerts"
    shown = account.client("cloudformation").describe_stack_resources(StackName="shop")["StackResources"]
    assert {one["ResourceStatus"] for one in shown} == {"CREATE_COMPLETE"}
    listed = account.client("lambda").list_functions()["Functions"]
    names = {one["FunctionName"] for one in listed if one["FunctionName"].startswith("shop-")}
    assert {"shop-start-training", "shop-deploy-model", "shop-notify", "shop-publish-model-code"} <= names
    s3 = account.client("s3")
    published = s3.list_objects_v2(Bucket=outputs["ArtifactBucketName"], Prefix="code/")["Contents"]
    assert {"sourcedir.tar.gz", "train.py"} <= {entry["Key"].rsplit("/", 1)[1] for entry in published}
    assert stack.deploy(account, "shop") == outputs


def test_a_private_network_is_made_and_goes_with_its_stack(account: Account) -> None:
    """In it: two subnets without a way out but the gateway endpoint to S3, which training and hosting are told of."""
    stack.deploy(account, "closed", {"Network": "private"})
    ec2 = account.client("ec2")
    mine = [{"Name": "tag:Project", "Values": ["ml-platform"]}]
    [vpc] = ec2.describe_vpcs(Filters=mine)["Vpcs"]
    inside = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnets = ec2.describe_subnets(Filters=inside)["Subnets"]
    assert sorted(one["CidrBlock"] for one in subnets) == ["10.42.0.0/23", "10.42.2.0/23"]
    assert len({one["AvailabilityZone"] for one in subnets}) == 2
    [gateway] = ec2.describe_vpc_endpoints(Filters=inside)["VpcEndpoints"]
    assert (gateway["VpcEndpointType"], gateway["ServiceName"]) == ("Gateway", "com.amazonaws.us-east-1.s3")
    assert ec2.describe_nat_gateways(Filters=inside)["NatGateways"] == []
    function = account.client("lambda").get_function_configuration(FunctionName="closed-start-training")
    told = function["Environment"]["Variables"]
    assert sorted(told["SUBNET_IDS"].split(",")) == sorted(one["SubnetId"] for one in subnets)
    [group] = ec2.describe_security_groups(GroupIds=[told["SECURITY_GROUP_ID"]])["SecurityGroups"]
    assert [rule["UserIdGroupPairs"][0]["GroupId"] for rule in group["IpPermissions"]] == [group["GroupId"]]
    account.client("cloudformation").delete_stack(StackName="closed")
    account.client("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName="closed", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    assert ec2.describe_vpcs(Filters=mine)["Vpcs"] == []


def test_a_deployment_that_fails_says_why(account: Account) -> None:
    with pytest.raises(ServiceError, match="Environment"):
        stack.deploy(account, "misconfigured", {"Environment": "moon"})


def test_the_same_files_pack_into_the_same_bytes_without_what_tools_leave_behind() -> None:
    folder = stack.ROOT / "layers" / "platform"
    import io
    import zipfile

    packed = stack.packed(folder)
    assert packed == stack.packed(folder)
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert "python/mlplatform/names.py" in names
    assert not [name for name in names if "__pycache__" in name or "Makefile" in name]
