"""Policies are evaluated as IAM does, and each call needs what the Service Authorization Reference says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.iam import Decision, allows_service, evaluate, required
from laptop.server import running

BUCKET = "arn:aws:s3:::data"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:training-job/ml-platform-iris"


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def decide(
    *statements: dict[str, Any], action: str = "s3:GetObject", resource: str = f"{BUCKET}/a", **context: Any
) -> str:
    keys = {key.replace("_", ":"): value for key, value in context.items()}
    return evaluate([policy(*statements)], action, resource, keys).value


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], Decision.NOT_ALLOWED),
        ([allow("s3:GetObject")], Decision.ALLOWED),
        ([allow("S3:getobject")], Decision.ALLOWED),
        ([allow("s3:Get*", f"{BUCKET}/*")], Decision.ALLOWED),
        ([allow("s3:Get?bject", f"{BUCKET}/?")], Decision.ALLOWED),
        ([allow("s3:GetObject", BUCKET)], Decision.NOT_ALLOWED),
        ([allow("s3:PutObject")], Decision.NOT_ALLOWED),
        ([allow("*"), deny("s3:*", f"{BUCKET}/*")], Decision.DENIED),
        ([deny("s3:GetObject"), allow("*")], Decision.DENIED),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], Decision.ALLOWED),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], Decision.NOT_ALLOWED),
        ([{"Effect": "Deny", "Action": "*", "NotResource": f"{BUCKET}/*"}, allow("*")], Decision.ALLOWED),
        ([allow("*", "arn:aws:s3:*")], Decision.NOT_ALLOWED),  # a wildcard does not reach across colons
    ],
)
def test_a_deny_wins_over_an_allow_and_nothing_is_allowed_by_itself(
    statements: list[dict[str, Any]], expected: Decision
) -> None:
    assert decide(*statements) == expected


@pytest.mark.parametrize(
    ("condition", "context", "met"),
    [
        (
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            {"iam_PassedToService": "sagemaker.amazonaws.com"},
            True,
        ),
        (
            {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            {"iam_PassedToService": "lambda.amazonaws.com"},
            False,
        ),
        ({"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}, {}, False),
        ({"StringEqualsIfExists": {"iam:PassedToService": "sagemaker.amazonaws.com"}}, {}, True),
        ({"StringNotEquals": {"s3:prefix": "a"}}, {}, True),
        ({"StringNotEquals": {"s3:prefix": "a"}}, {"s3_prefix": "a"}, False),
        ({"StringLike": {"s3:prefix": ["datasets/*", "x"]}}, {"s3_prefix": "datasets/iris"}, True),
        (
            {"ArnLike": {"aws:SourceArn": "arn:aws:events:*:123456789012:rule/*"}},
            {"aws_SourceArn": "arn:aws:events:us-east-1:123456789012:rule/r"},
            True,
        ),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws_SecureTransport": "true"}, False),
        ({"Null": {"aws:TagKeys": True}}, {}, True),
        ({"Null": {"aws:TagKeys": "true"}}, {"aws_TagKeys": ["a"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws_TagKeys": ["a", "b"]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws_TagKeys": ["a", "c"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws_TagKeys": ["c", "b"]}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {}, False),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3_max-keys": "9"}, True),
        ({"StringEquals": {"AWS:PRINCIPALACCOUNT": "1"}}, {"aws_PrincipalAccount": "1"}, True),
    ],
)
def test_conditions_hold_as_iam_documents_them(condition: Any, context: dict[str, Any], met: bool) -> None:
    decision = decide(allow("s3:GetObject", Condition=condition), **context)
    assert decision == (Decision.ALLOWED if met else Decision.NOT_ALLOWED)


def test_a_condition_operator_that_does_not_exist_is_an_error_and_no_silent_no() -> None:
    with pytest.raises(ServiceError, match="StringSimilar"):
        decide(allow("*", Condition={"StringSimilar": {"a": "b"}}))


def test_a_queue_policy_lets_only_the_service_and_the_rule_it_names() -> None:
    document = policy(
        allow(
            "sqs:SendMessage",
            Principal={"Service": "events.amazonaws.com"},
            Condition={"ArnEquals": {"aws:SourceArn": "arn:aws:events:us-east-1:1:rule/a"}},
        )
    )
    queue = "arn:aws:sqs:us-east-1:1:q"
    rule_a = {"aws:SourceArn": "arn:aws:events:us-east-1:1:rule/a"}
    rule_b = {"aws:SourceArn": "arn:aws:events:us-east-1:1:rule/b"}
    assert allows_service(document, "events.amazonaws.com", "sqs:SendMessage", queue, rule_a)
    assert not allows_service(document, "events.amazonaws.com", "sqs:SendMessage", queue, rule_b)
    assert not allows_service(document, "sns.amazonaws.com", "sqs:SendMessage", queue, rule_a)


@pytest.mark.parametrize(
    ("service", "operation", "params", "needs"),
    [
        ("s3", "HeadObject", {"Bucket": "data", "Key": "a b"}, [("s3:GetObject", f"{BUCKET}/a b")]),
        ("s3", "ListObjectsV2", {"Bucket": "data"}, [("s3:ListBucket", BUCKET)]),
        ("s3", "CompleteMultipartUpload", {"Bucket": "data", "Key": "a"}, [("s3:PutObject", f"{BUCKET}/a")]),
        (
            "s3",
            "CopyObject",
            {"Bucket": "data", "Key": "b", "CopySource": "other/a%20b"},
            [("s3:GetObject", "arn:aws:s3:::other/a b"), ("s3:PutObject", f"{BUCKET}/b")],
        ),
        (
            "sagemaker",
            "CreateTrainingJob",
            {"TrainingJobName": "ml-platform-iris", "RoleArn": "role", "Tags": [{"Key": "a", "Value": "b"}]},
            [("sagemaker:CreateTrainingJob", JOB), ("iam:PassRole", "role"), ("sagemaker:AddTags", JOB)],
        ),
        (
            "sagemaker-runtime",
            "InvokeEndpointAsync",
            {"EndpointName": "e", "InputLocation": "s3://data/a"},
            [("sagemaker:InvokeEndpointAsync", "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e")],
        ),
        (
            "sagemaker",
            "CreateInferenceComponent",
            {"InferenceComponentName": "C", "EndpointName": "e", "Specification": {"ModelName": "m"}},
            [
                (
                    "sagemaker:CreateInferenceComponent",
                    "arn:aws:sagemaker:us-east-1:123456789012:inference-component/c",
                ),
                ("sagemaker:CreateInferenceComponent", "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"),
            ],
        ),
        (
            "sagemaker",
            "DeleteInferenceComponent",
            {"InferenceComponentName": "c"},
            [("sagemaker:DeleteInferenceComponent", "arn:aws:sagemaker:us-east-1:123456789012:inference-component/c")],
        ),
        (
            "sagemaker",
            "CreateEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "c"},
            [
                ("sagemaker:CreateEndpoint", "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"),
                ("sagemaker:CreateEndpoint", "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/c"),
            ],
        ),
        ("sagemaker", "ListEndpoints", {}, [("sagemaker:ListEndpoints", "*")]),
        (
            "sqs",
            "DeleteMessageBatch",
            {"QueueUrl": "http://127.0.0.1:1/123456789012/q"},
            [("sqs:DeleteMessage", "arn:aws:sqs:us-east-1:123456789012:q")],
        ),
        (
            "ssm",
            "GetParameter",
            {"Name": "/ml-platform/slack-webhook"},
            [("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/ml-platform/slack-webhook")],
        ),
        (
            "application-autoscaling",
            "RegisterScalableTarget",
            {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/e/variant/AllTraffic", "Tags": {"a": "b"}},
            [
                (
                    "application-autoscaling:RegisterScalableTarget",
                    "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/*",
                ),
                (
                    "application-autoscaling:TagResource",
                    "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/*",
                ),
                ("sagemaker:DescribeEndpoint", "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"),
                (
                    "sagemaker:UpdateEndpointWeightsAndCapacities",
                    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e",
                ),
            ],
        ),
        (
            "ce",
            "GetCostAndUsage",
            {"Granularity": "DAILY"},
            [("ce:GetCostAndUsage", "arn:aws:ce:us-east-1:123456789012:/GetCostAndUsage")],
        ),
        (
            "ce",
            "DeleteAnomalyMonitor",
            {"MonitorArn": "arn:aws:ce::123456789012:anomalymonitor/a"},
            [("ce:DeleteAnomalyMonitor", "arn:aws:ce::123456789012:anomalymonitor/a")],
        ),
        (
            "budgets",
            "CreateBudget",
            {"Budget": {"BudgetName": "monthly"}, "ResourceTags": [{"Key": "Project", "Value": "a"}]},
            [
                ("budgets:ModifyBudget", "arn:aws:budgets::123456789012:budget/monthly"),
                ("budgets:TagResource", "arn:aws:budgets::123456789012:budget/monthly"),
            ],
        ),
        (
            "budgets",
            "DescribeBudget",
            {"BudgetName": "monthly"},
            [("budgets:ViewBudget", "arn:aws:budgets::123456789012:budget/monthly")],
        ),
        ("budgets", "DescribeBudgets", {}, [("budgets:ViewBudget", "arn:aws:budgets::123456789012:budget/*")]),
        ("sts", "GetCallerIdentity", {}, []),
        ("kms", "ListKeys", {}, [("kms:ListKeys", "*")]),
        (
            "sagemaker",
            "StartPipelineExecution",
            {"PipelineName": "shop-auto"},
            [("sagemaker:StartPipelineExecution", "arn:aws:sagemaker:us-east-1:123456789012:pipeline/shop-auto")],
        ),
        (
            "sagemaker",
            "ListPipelineExecutionSteps",
            {"PipelineExecutionArn": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/shop-auto/execution/a1"},
            [
                (
                    "sagemaker:ListPipelineExecutionSteps",
                    "arn:aws:sagemaker:us-east-1:123456789012:pipeline/shop-auto/execution/a1",
                )
            ],
        ),
        (
            "sagemaker",
            "ListPipelineExecutions",
            {"PipelineName": "shop-auto"},
            [("sagemaker:ListPipelineExecutions", "arn:aws:sagemaker:us-east-1:123456789012:pipeline/shop-auto")],
        ),
    ],
)
def test_calls_need_the_actions_and_resources_of_the_service_authorization_reference(
    service: str, operation: str, params: dict[str, Any], needs: list[tuple[str, str]]
) -> None:
    assert [(need.action, need.resource) for need in required(service, operation, params)] == needs


def test_passing_a_role_tells_to_whom() -> None:
    needs = required("sagemaker", "CreateTrainingJob", {"TrainingJobName": "a", "RoleArn": "role"})
    assert needs[1].context == {"iam:PassedToService": "sagemaker.amazonaws.com"}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as running_account:
        yield running_account


@pytest.fixture(scope="module")
def role(account: Account) -> str:
    iam = account.client("iam")
    trust = policy({"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"})
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(
        RoleName="reader", PolicyName="read", PolicyDocument=json.dumps(policy(allow("s3:GetObject", f"{BUCKET}/*")))
    )
    iam.attach_role_policy(
        RoleName="reader", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    )
    s3 = account.client("s3")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="a", Body=b"content")
    return str(arn)


def refusal(call: Any, **params: Any) -> Any:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]


def test_a_role_may_do_what_its_inline_and_attached_policies_allow(account: Account, role: str) -> None:
    body = account.client("s3", role).get_object(Bucket="data", Key="a")["Body"].read()
    account.client("logs", role).create_log_group(logGroupName="/aws/lambda/reader")
    assert body == b"content"


def test_a_refusal_names_the_session_the_action_and_the_resource_and_is_in_the_event_log(
    account: Account, role: str
) -> None:
    error = refusal(account.client("s3", role).put_object, Bucket="data", Key="b", Body=b"")
    message = (
        "User: arn:aws:sts::123456789012:assumed-role/reader/laptop is not authorized to perform: s3:PutObject "
        "on resource: arn:aws:s3:::data/b because no identity-based policy allows the s3:PutObject action"
    )
    assert error == {"Code": "AccessDenied", "Message": message}
    logged = [entry for entry in account.journal.entries() if entry["kind"] == "refused"][-1]
    assert (logged["action"], logged["resource"], logged["reason"]) == ("s3:PutObject", "arn:aws:s3:::data/b", message)


def test_json_services_refuse_with_their_own_code(account: Account, role: str) -> None:
    error = refusal(account.client("sagemaker", role).list_training_jobs)
    assert error["Code"] == "AccessDeniedException"
    assert "sagemaker:ListTrainingJobs" in error["Message"]


def test_who_may_not_list_a_bucket_is_not_told_that_an_object_is_missing(account: Account, role: str) -> None:
    assert refusal(account.client("s3", role).get_object, Bucket="data", Key="missing")["Code"] == "AccessDenied"
    assert refusal(account.client("s3").get_object, Bucket="data", Key="missing")["Code"] == "NoSuchKey"


def test_a_role_is_named_by_its_caller_identity(account: Account, role: str) -> None:
    identity = account.client("sts", role).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::123456789012:assumed-role/reader/laptop"


def test_a_service_takes_only_a_role_that_trusts_it(account: Account, role: str) -> None:
    assert account.identities.credentials(role, principal="lambda.amazonaws.com")["aws_access_key_id"]
    with pytest.raises(ServiceError, match=r"does not name sagemaker\.amazonaws\.com"):
        account.identities.credentials(role, principal="sagemaker.amazonaws.com")


def test_the_first_scaling_of_an_account_needs_the_right_to_make_the_service_linked_role(
    account: Account, role: str
) -> None:
    iam = account.client("iam")
    call = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/none/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "MinCapacity": 1,
        "MaxCapacity": 2,
    }
    scaling = allow(["application-autoscaling:*", "sagemaker:*"])
    iam.put_role_policy(RoleName="reader", PolicyName="scale", PolicyDocument=json.dumps(policy(scaling)))
    client = account.client("application-autoscaling", role)
    error = refusal(client.register_scalable_target, **call)
    assert error["Code"] == "AccessDeniedException"
    assert "iam:CreateServiceLinkedRole" in error["Message"]
    assert "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint" in error["Message"]


def test_a_changed_policy_counts_from_the_next_call_on(account: Account, role: str) -> None:
    queue = account.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    client = account.client("sqs", role)
    assert refusal(client.send_message, QueueUrl=queue, MessageBody="x")["Code"] == "AccessDeniedException"
    account.client("iam").put_role_policy(
        RoleName="reader", PolicyName="send", PolicyDocument=json.dumps(policy(allow("sqs:SendMessage")))
    )
    assert client.send_message(QueueUrl=queue, MessageBody="x")["MessageId"]
