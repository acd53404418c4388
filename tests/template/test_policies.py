"""Each function's policy against the calls that its code makes: all of them are allowed, and nothing else is.

The calls are read from the code (the function, the planners it asks, the methods of mlplatform.aws that apply their
decisions), so a call that is added without its permission fails here, and so does a permission without a call.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from template.template import ROOT, listed, resources, statements

from laptop.iam import Decision, evaluate, required

LAYER = ROOT / "layers" / "platform" / "mlplatform"
FUNCTIONS = sorted(path.stem for path in (ROOT / "functions").glob("*.py"))
ARTIFACTS, DATA = "artifactbucket-name", "databucket-name"
MODEL_CARD = f"{ARTIFACTS}/models/flowers/shop-flowers-0123456789ab-abc123/metrics.json"
# Which objects a function's S3 calls are about. A call that is not here fails: say what it touches.
OBJECTS = {
    ("start_training", "ListObjectsV2"): [f"{DATA}/datasets/flowers/", f"{DATA}/verdicts/flowers/0123456789ab.json"],
    ("start_training", "GetObject"): [f"{DATA}/datasets/flowers/iris.csv"],
    ("start_training", "PutObject"): [
        f"{DATA}/verdicts/flowers/0123456789ab.json",
        f"{ARTIFACTS}/manifests/flowers/0123456789ab.json",
    ],
    ("deploy_model", "GetObject"): [f"{ARTIFACTS}/training-output/shop-flowers/output/model.tar.gz", MODEL_CARD],
    ("deploy_model", "ListObjectsV2"): [MODEL_CARD],
    ("deploy_model", "PutObject"): [MODEL_CARD],
    ("configure_autoscaling", "GetObject"): [MODEL_CARD],
    ("configure_autoscaling", "ListObjectsV2"): [
        MODEL_CARD,
        f"{ARTIFACTS}/notices/shop-flowers/config-Failed.json",
    ],
    ("configure_autoscaling", "PutObject"): [f"{ARTIFACTS}/notices/shop-flowers/config-Failed.json"],
    ("publish_model_code", "PutObject"): [f"{ARTIFACTS}/code/abc123/sourcedir.tar.gz"],
}
SAGEMAKER_ARN = "arn:aws:sagemaker:us-east-1:123456789012"
TAGGED = {  # the same for the tags of what exists already
    ("start_training", "ListTags"): ["training-job/shop-flowers-0123456789ab-abc123", "endpoint/shop-flowers"],
    ("deploy_model", "ListTags"): ["training-job/shop-flowers-0123456789ab-abc123", "endpoint/shop-flowers"],
    ("deploy_model", "AddTags"): ["endpoint/shop-flowers"],
    ("configure_autoscaling", "ListTags"): ["endpoint/shop-flowers"],
    ("configure_autoscaling", "AddTags"): ["endpoint/shop-flowers"],
}
# Permissions that no call of the code shows: Lambda needs them for the function, S3 to tell what is absent, and
# Application Auto Scaling for what it does in its caller's name.
UNSEEN = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:SendMessage",
    "sns:Publish",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "s3:ListBucket",
    "application-autoscaling:TagResource",
    "cloudwatch:PutMetricAlarm",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:DeleteAlarms",
    "sagemaker:UpdateEndpointWeightsAndCapacities",
    "iam:CreateServiceLinkedRole",
}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def methods() -> dict[str, ast.FunctionDef]:
    aws = next(node for node in tree(LAYER / "aws.py").body if isinstance(node, ast.ClassDef) and node.name == "Aws")
    return {node.name: node for node in aws.body if isinstance(node, ast.FunctionDef)}


def called(node: ast.AST) -> Iterator[tuple[ast.Attribute, ast.Call]]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            yield call.func, call


def decisions_of(function: str) -> set[str]:
    """The decisions that the planners of a function make."""
    made: set[str] = set()
    for node in tree(ROOT / "functions" / f"{function}.py").body:
        if isinstance(node, ast.ImportFrom) and any(name.name.startswith("plan_") for name in node.names):
            planner = LAYER / f"{(node.module or '').rpartition('.')[2]}.py"
            made |= {
                c.func.id for c in ast.walk(tree(planner)) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)
            }
    return made


def applied(decisions: set[str]) -> list[ast.AST]:
    """The branches of Aws.apply that a function can reach."""
    match = next(node for node in ast.walk(methods()["apply"]) if isinstance(node, ast.Match))
    reached: list[ast.AST] = []
    for case in match.cases:
        kind = case.pattern.cls if isinstance(case.pattern, ast.MatchClass) else None
        if isinstance(kind, ast.Name) and kind.id in decisions:
            reached += case.body
    return reached


@functools.cache
def calls(function: str) -> frozenset[tuple[str, str]]:
    """(service, operation) of every API call that a function may make."""
    waiting: list[ast.AST] = []
    for used, _ in called(tree(ROOT / "functions" / f"{function}.py")):
        if isinstance(used.value, ast.Attribute) and used.value.attr == "aws":
            waiting += applied(decisions_of(function)) if used.attr == "apply" else [methods()[used.attr]]
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        texts = {
            assignment.targets[0].id: assignment.value.value
            for assignment in ast.walk(node)
            if isinstance(assignment, ast.Assign)
            and isinstance(assignment.targets[0], ast.Name)
            and isinstance(assignment.value, ast.Constant)
        }
        for used, call in called(node):
            if not (isinstance(used.value, ast.Name) and used.value.id == "self"):
                continue
            if used.attr in ("_call", "_found", "_unless"):
                service, operation = call.args[1:3] if used.attr == "_unless" else call.args[:2]
                assert isinstance(operation, ast.Constant), ast.unparse(call)
                name = texts[service.id] if isinstance(service, ast.Name) else service.value  # type: ignore[attr-defined]
                found.add((str(name), str(operation.value)))
            elif used.attr in methods() and used.attr not in seen:
                seen.add(used.attr)
                waiting.append(methods()[used.attr])
    return frozenset(found)


@functools.cache
def service_model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def requests(function: str, service: str, method: str) -> list[tuple[str, dict[str, Any]]]:
    """The operation and the parameters that its permissions depend on, for a dataset named flowers."""
    model = service_model(service)
    operation = next(name for name in model.operation_names if xform_name(name) == method)
    members = model.operation_model(operation).input_shape.members
    if service == "s3":
        places = [place.partition("/") for place in OBJECTS[function, operation]]
        what = "Prefix" if operation == "ListObjectsV2" else "Key"
        return [(operation, {"Bucket": bucket, what: key}) for bucket, _, key in places]
    if "ResourceArn" in members:
        return [(operation, {"ResourceArn": f"{SAGEMAKER_ARN}:{name}"}) for name in TAGGED[function, operation]]
    everything: dict[str, Any] = {
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:shop-alerts",
        "Name": "/shop/slack-webhook",
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/shop-flowers/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "PolicyType": "TargetTrackingScaling",
        "TrainingJobName": "shop-flowers-0123456789ab-abc123",
        "ModelName": "shop-flowers-0123456789ab-abc123",
        "EndpointConfigName": "shop-flowers-0123456789ab-abc123",
        "EndpointName": "shop-flowers",
        "ModelPackageGroupName": "shop-flowers",
        "RoleArn": "arn:aws:iam::123456789012:role/trainingrole-name",
        "ExecutionRoleArn": "arn:aws:iam::123456789012:role/trainingrole-name",
        "Tags": [{"Key": "Project", "Value": "ml-platform"}] if service == "sagemaker" else {"Project": "ml-platform"},
    }
    left_out = {"CreateEndpointConfig": {"ExecutionRoleArn"}, "CreateModelPackage": {"Tags"}}.get(operation, set())
    return [(operation, {key: everything[key] for key in members if key in everything and key not in left_out})]


def role_of(function: str) -> str:
    return "".join(part.title() for part in function.split("_")) + "Role"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_call_of_a_function_is_allowed_on_what_it_is_about(function: str) -> None:
    policies = [policy["PolicyDocument"] for policy in resources("AWS::IAM::Role")[role_of(function)]["Policies"]]
    refused = []
    for service, method in sorted(calls(function)):
        for operation, parameters in requests(function, service, method):
            for need in required(service, operation, parameters):
                if evaluate(policies, need.action, need.resource, need.context) is not Decision.ALLOWED:
                    refused.append(f"{need.action} on {need.resource}")
    assert refused == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_may_do_what_its_code_never_does(function: str) -> None:
    allowed = {action for statement in statements(role_of(function)) for action in listed(statement["Action"])}
    used = {
        need.action
        for service, method in calls(function)
        for operation, parameters in requests(function, service, method)
        for need in required(service, operation, parameters)
    }
    assert allowed - used - UNSEEN == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_not_touch_another_stack(function: str) -> None:
    """Whatever names a resource by the stack ends the stack's name with a dash or a slash."""
    for statement in statements(role_of(function)):
        for resource in listed(statement["Resource"]):
            if "shop" in resource:
                name = resource[resource.index("shop") :]
                assert name.startswith(("shop-", "shop/")), statement["Sid"]
                assert "shop*" not in resource


@pytest.mark.parametrize("function", ["start_training", "deploy_model", "configure_autoscaling"])
def test_a_config_that_sagemaker_named_can_be_read_and_not_used(function: str) -> None:
    policies = [policy["PolicyDocument"] for policy in resources("AWS::IAM::Role")[role_of(function)]["Policies"]]
    config = f"{SAGEMAKER_ARN}:endpoint-config/7f4e1944-1817-4891-9bef-e055a90787a4"
    assert evaluate(policies, "sagemaker:DescribeEndpointConfig", config, {}) is Decision.ALLOWED
    assert evaluate(policies, "sagemaker:UpdateEndpoint", config, {}) is Decision.NOT_ALLOWED


def test_the_reading_of_the_code_finds_what_is_there() -> None:
    """Some calls picked by hand: a change of style in aws.py must not let the tests above pass by finding none."""
    assert ("sagemaker", "create_training_job") in calls("start_training")
    assert ("sagemaker", "create_endpoint") in calls("deploy_model")
    assert ("application-autoscaling", "put_scaling_policy") in calls("configure_autoscaling")
    assert calls("publish_model_code") == {("s3", "put_object")}
    assert calls("notify") == {("ssm", "get_parameter")}


# ------------------------------------------------------------------------------------------------- SageMaker's role
TRAINING = [policy["PolicyDocument"] for policy in resources("AWS::IAM::Role")["TrainingRole"]["Policies"]]
LOGS = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker"


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("s3:GetObject", f"arn:aws:s3:::{DATA}/datasets/flowers/iris.csv", {}),
        ("s3:ListBucket", f"arn:aws:s3:::{DATA}", {"s3:prefix": "datasets/flowers/"}),
        ("s3:ListBucket", f"arn:aws:s3:::{DATA}", {}),
        ("s3:GetObject", f"arn:aws:s3:::{ARTIFACTS}/manifests/flowers/0123456789ab.json", {}),
        ("s3:GetObject", f"arn:aws:s3:::{ARTIFACTS}/code/abc123/sourcedir.tar.gz", {}),
        ("s3:GetObject", f"arn:aws:s3:::{ARTIFACTS}/training-output/job/output/model.tar.gz", {}),
        ("s3:PutObject", f"arn:aws:s3:::{ARTIFACTS}/training-output/job/output/model.tar.gz", {}),
        ("s3:PutObject", f"arn:aws:s3:::{ARTIFACTS}/checkpoints/flowers/v/epoch-1", {}),
        ("s3:DeleteObject", f"arn:aws:s3:::{ARTIFACTS}/checkpoints/flowers/v/epoch-1", {}),
        ("s3:ListBucket", f"arn:aws:s3:::{ARTIFACTS}", {"s3:prefix": "checkpoints/flowers/v/"}),
        ("logs:CreateLogGroup", f"{LOGS}/TrainingJobs:log-stream:", {}),
        ("logs:PutLogEvents", f"{LOGS}/TrainingJobs:log-stream:shop-flowers/algo-1-1", {}),
        ("logs:PutLogEvents", f"{LOGS}/Endpoints/shop-flowers:log-stream:AllTraffic/i-0", {}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}),
        ("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:763104351884:repository/pytorch-training", {}),
    ],
)
def test_sagemaker_can_train_and_host(action: str, resource: str, context: dict[str, str]) -> None:
    assert evaluate(TRAINING, action, resource, context) is Decision.ALLOWED


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("s3:PutObject", f"arn:aws:s3:::{DATA}/datasets/flowers/iris.csv", {}),
        ("s3:PutObject", f"arn:aws:s3:::{DATA}/verdicts/flowers/0123456789ab.json", {}),
        ("s3:PutObject", f"arn:aws:s3:::{ARTIFACTS}/code/abc123/sourcedir.tar.gz", {}),
        ("s3:DeleteObject", f"arn:aws:s3:::{ARTIFACTS}/training-output/job/output/model.tar.gz", {}),
        ("s3:DeleteObject", f"arn:aws:s3:::{DATA}/datasets/flowers/iris.csv", {}),
        ("s3:ListBucket", "arn:aws:s3:::somebody-elses", {}),
        ("s3:GetObject", "arn:aws:s3:::somebody-elses/secret.csv", {}),
        ("logs:PutLogEvents", f"{LOGS}/TrainingJobs:log-stream:other-job/algo-1-1", {}),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/Lambda"}),
        ("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:123456789012:repository/other", {}),
        ("sagemaker:CreateTrainingJob", f"{SAGEMAKER_ARN}:training-job/shop-flowers", {}),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/trainingrole-name", {}),
        ("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/shop/slack-webhook", {}),
    ],
)
def test_sagemaker_can_do_no_more_than_that(action: str, resource: str, context: dict[str, str]) -> None:
    assert evaluate(TRAINING, action, resource, context) is Decision.NOT_ALLOWED
