"""Each function's policy against the calls that its code makes: all of them are allowed, and nothing else is.

The calls are read from the code (the function, the planners it asks, the methods of mlplatform.aws that apply their
decisions), so a call that is added without its permission fails here, and so does a permission without a call.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from template.template import ROOT, listed, resources, statements

from laptop.iam import Decision, evaluate, required

LAYER = ROOT / "layers" / "platform" / "mlplatform"
AWS_MODULES = sorted(LAYER.glob("aws*.py"))
BOTOCORE = botocore.session.get_session()
SERVICES = frozenset(BOTOCORE.get_available_services())
FUNCTIONS = sorted(path.stem for path in (ROOT / "functions").glob("*.py"))
ARTIFACTS, DATA = "artifactbucket-name", "databucket-name"
MODEL_CARD = f"{ARTIFACTS}/models/flowers/shop-flowers-0123456789ab-abc123/metrics.json"
RELEASE = f"{ARTIFACTS}/releases/flowers/00003-20261124073000.json"
LEDGER = f"{ARTIFACTS}/ledger/2026-11/spot-0123456789abcdef.json"
QUEUED = f"{ARTIFACTS}/queued/flowers/inputs/smoke-test.json"
# Which objects a function's S3 calls are about. A call that is not here fails: say what it touches.
OBJECTS = {
    ("start_training", "ListObjectsV2"): [f"{DATA}/datasets/flowers/"],
    ("start_training", "HeadObject"): [f"{DATA}/verdicts/flowers/0123456789ab.json"],
    ("start_training", "GetObject"): [f"{DATA}/datasets/flowers/iris.csv", f"{ARTIFACTS}/spend/hold.json"],
    ("start_training", "PutObject"): [
        f"{DATA}/verdicts/flowers/0123456789ab.json",
        f"{ARTIFACTS}/manifests/flowers/0123456789ab.json",
    ],
    ("deploy_model", "GetObject"): [f"{ARTIFACTS}/training-output/shop-flowers/output/model.tar.gz", MODEL_CARD],
    ("deploy_model", "ListObjectsV2"): [MODEL_CARD, f"{ARTIFACTS}/ledger/told/ml.p5.48xlarge.json", RELEASE],
    ("deploy_model", "PutObject"): [
        MODEL_CARD,
        LEDGER,
        RELEASE,
        f"{ARTIFACTS}/notices/shop-flowers-0123456789ab-abc123/ended-failed.json",
    ],
    ("compare_models", "GetObject"): [f"{ARTIFACTS}/training-output/shop-flowers/output/model.tar.gz", MODEL_CARD],
    ("compare_models", "ListObjectsV2"): [MODEL_CARD],
    ("compare_models", "PutObject"): [MODEL_CARD],
    ("configure_autoscaling", "GetObject"): [MODEL_CARD, QUEUED],
    ("configure_autoscaling", "ListObjectsV2"): [f"{ARTIFACTS}/notices/shop-flowers/config-Failed.json", QUEUED],
    ("configure_autoscaling", "PutObject"): [f"{ARTIFACTS}/notices/shop-flowers/config-Failed.json", LEDGER, QUEUED],
    ("keep_office_hours", "GetObject"): [
        f"{ARTIFACTS}/config/holidays.ics",
        f"{ARTIFACTS}/spend/hold.json",
        MODEL_CARD,
        QUEUED,
    ],
    ("keep_office_hours", "ListObjectsV2"): [f"{ARTIFACTS}/notices/shop-flowers/hours.json", QUEUED],
    ("keep_office_hours", "PutObject"): [f"{ARTIFACTS}/notices/shop-flowers/hours.json", LEDGER, QUEUED],
    ("watch_spend", "GetObject"): [f"{ARTIFACTS}/spend/2026-11.json", f"{ARTIFACTS}/spend/hold.json"],
    ("watch_spend", "ListObjectsV2"): [f"{ARTIFACTS}/spend/told/2026-11-23-warning.json"],
    ("watch_spend", "PutObject"): [
        f"{ARTIFACTS}/spend/2026-11.json",
        f"{ARTIFACTS}/spend/hold.json",
        f"{ARTIFACTS}/spend/told/2026-11-23-warning.json",
        f"{ARTIFACTS}/notices/schedules/report-costs-2026-11-23.json",
        LEDGER,
    ],
    ("watch_spend", "DeleteObject"): [f"{ARTIFACTS}/spend/hold.json"],
    ("report_costs", "GetObject"): [f"{ARTIFACTS}/cost-explorer/2026-11-24.json", LEDGER],
    ("report_costs", "ListObjectsV2"): [f"{ARTIFACTS}/ledger/2026-11/", f"{ARTIFACTS}/reports/2026-11-24.json"],
    **{
        ("report_costs", operation): [ARTIFACTS]
        for operation in ("ListBuckets", "GetBucketLifecycleConfiguration", "GetBucketTagging")
    },
    ("report_costs", "PutObject"): [
        f"{ARTIFACTS}/reports/2026-11-24.html",
        f"{ARTIFACTS}/reports/2026-11-24.json",
        f"{ARTIFACTS}/cost-explorer/2026-11-24.json",
    ],
    ("activate_cost_tags", "GetObject"): [f"{ARTIFACTS}/notices/cost-tags/active.json"],
    ("activate_cost_tags", "ListObjectsV2"): [f"{ARTIFACTS}/notices/cost-tags/active.json"],
    ("activate_cost_tags", "PutObject"): [f"{ARTIFACTS}/notices/cost-tags/refused.json"],
    ("govern_resources", "ListObjectsV2"): [f"{ARTIFACTS}/notices/governance/2026-11-23.json"],
    ("govern_resources", "ListBuckets"): [ARTIFACTS],
    ("govern_resources", "PutObject"): [f"{ARTIFACTS}/notices/governance/2026-11-23.json"],
    ("publish_model_code", "PutObject"): [
        f"{ARTIFACTS}/code/abc123/sourcedir.tar.gz",
        f"{ARTIFACTS}/code/abc123/pipelines/def456/xgboost.json",
    ],
}
SAGEMAKER_ARN = "arn:aws:sagemaker:us-east-1:123456789012"
CONFIG = "endpoint-config/shop-flowers-0123456789ab-abc123"
GROUP = "model-package-group/shop-flowers"
ALARM_ARN = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:shop-flowers-latency"
SCALING_ARN = "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/0123abcd"
TAGGED = {  # the same for the tags of what exists already
    ("start_training", "ListTags"): [
        "training-job/shop-flowers-0123456789ab-abc123",
        "hyper-parameter-tuning-job/shop-flowers-t0123456789a",
        "endpoint/shop-flowers",
    ],
    ("deploy_model", "ListTags"): [
        "training-job/shop-flowers-0123456789ab-abc123",
        "hyper-parameter-tuning-job/shop-flowers-t0123456789a",
        "endpoint/shop-flowers",
        CONFIG,
        GROUP,
    ],
    ("deploy_model", "AddTags"): ["endpoint/shop-flowers", CONFIG],
    ("deploy_model", "DeleteTags"): [CONFIG],
    ("compare_models", "ListTags"): ["endpoint/shop-flowers", GROUP],
    ("compare_models", "AddTags"): ["endpoint/shop-flowers"],
    ("configure_autoscaling", "ListTags"): ["endpoint/shop-flowers", CONFIG],
    ("configure_autoscaling", "AddTags"): ["endpoint/shop-flowers"],
    ("configure_autoscaling", "DeleteTags"): [CONFIG],
    ("keep_office_hours", "ListTags"): ["endpoint/shop-flowers", CONFIG],
    ("keep_office_hours", "AddTags"): ["endpoint/shop-flowers", CONFIG],
    ("keep_office_hours", "DeleteTags"): [CONFIG],
    ("govern_resources", "ListTags"): [CONFIG],
    ("govern_resources", "DeleteTags"): [CONFIG],
    ("govern_resources", "AddTags"): [
        "endpoint/shop-flowers",
        CONFIG,
        "model/shop-flowers",
        "model-package-group/shop-flowers",
    ],
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
    "sagemaker:UpdateInferenceComponentRuntimeConfig",
    "iam:CreateServiceLinkedRole",
}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


Place = tuple[ast.AST, Path | None]  # a piece of code; the module whose functions it calls, or None inside of Aws


@functools.cache
def methods() -> dict[str, Place]:
    """Of Aws, what is mixed into it, and what they stand on."""
    found: dict[str, Place] = {}
    classes = [(node, path) for path in AWS_MODULES for node in tree(path).body if isinstance(node, ast.ClassDef)]
    mixed = {base.id for node, _ in classes for base in node.bases if isinstance(base, ast.Name)}
    for node, path in classes:
        for method in node.body if node.name in mixed | {"Aws"} else []:
            if isinstance(method, ast.FunctionDef):
                found[method.name] = method, path
    return found


@functools.cache
def defined(path: Path) -> dict[str, Place]:
    """A module's functions and classes, by name."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: (node, path) for node in tree(path).body if isinstance(node, kinds) and node.name != "Aws"}


@functools.cache
def used(node: ast.AST) -> tuple[tuple[str, str], ...]:
    """What is used in a piece of code: (of what, name), each once; of nothing for a plain name."""
    found: dict[tuple[str, str], None] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            found[part.value.id, part.attr] = None
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Attribute):
            found[part.value.attr, part.attr] = None
        elif isinstance(part, ast.Name):
            found["", part.id] = None
    return tuple(found)


def sources(function: str) -> list[ast.Module]:
    """The function's file and the modules of the layer that work with an App like it, for several functions."""
    own = tree(ROOT / "functions" / f"{function}.py")
    shared = {name for name, _ in imported(own) if (LAYER / f"{name}.py").exists()}
    return [own, *(one for name in sorted(shared) if ("app", "App") in imported(one := tree(LAYER / f"{name}.py")))]


@functools.cache
def imported(module: ast.Module) -> tuple[tuple[str, str], ...]:
    """(module, name) of `from mlplatform.module import name` and its like; (module, "") of `from mlplatform import`."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "mlplatform":
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module.removeprefix("mlplatform."), alias.name) for alias in node.names]
    return tuple(found)


@functools.cache
def decisions_of(function: str) -> set[str]:
    """What a function and the planners it uses construct, however deep."""
    made: set[str] = set()
    for module in sources(function):
        made |= {name for _, name in used(module)}
        waiting = [(name, wanted) for name, wanted in imported(module)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            name, wanted = waiting.pop()
            path = LAYER / f"{name}.py"
            if (
                (name, wanted) in seen
                or name in ("app", "decisions", "facts")
                or not path.exists()
                or path in AWS_MODULES
            ):
                continue
            seen.add((name, wanted))
            place = defined(path).get(wanted)
            if place is not None:
                made |= {used_name for _, used_name in used(place[0])}
                waiting += [(name, other) for _, other in used(place[0]) if other in defined(path)]
                waiting += [
                    one for one in imported(tree(path)) if one[1] in {used_name for _, used_name in used(place[0])}
                ]
    return made


def applied(decisions: set[str]) -> list[Place]:
    """The branches of Aws.apply that a function can reach."""
    apply, path = methods()["apply"]
    match = next(node for node in ast.walk(apply) if isinstance(node, ast.Match))
    reached: list[Place] = []
    for case in match.cases:
        kinds = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
        if any(isinstance(k, ast.MatchClass) and isinstance(k.cls, ast.Name) and k.cls.id in decisions for k in kinds):
            reached += [(node, path) for node in case.body]
    return reached


def asked(call: ast.Call, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A service and an operation side by side among the arguments: the call that is made, by whichever function."""
    said = [
        argument.value if isinstance(argument, ast.Constant) else texts.get(getattr(argument, "id", ""))
        for argument in call.args
    ]
    for service, operation in pairwise(said):
        if service in SERVICES and isinstance(operation, str) and operation.islower():  # an error names it otherwise
            yield str(service), operation


@functools.cache
def calls(function: str) -> frozenset[tuple[str, str]]:
    """(service, operation) of every API call that a function may make."""
    waiting: list[Place] = []
    for module in sources(function):
        for of, name in used(module):
            if of == "aws":
                waiting += applied(decisions_of(function)) if name == "apply" else [methods()[name]]
    found: set[tuple[str, str]] = set()
    seen: set[int] = set()
    while waiting:
        node, path = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        texts = {
            assignment.targets[0].id: str(assignment.value.value)
            for assignment in ast.walk(node)
            if isinstance(assignment, ast.Assign)
            and isinstance(assignment.targets[0], ast.Name)
            and isinstance(assignment.value, ast.Constant)
        }
        for call in ast.walk(node):
            if isinstance(call, ast.Call):
                found |= set(asked(call, texts))
        for of, name in used(node):
            if of == "self" and not isinstance(node, ast.ClassDef):  # a class beside Aws is taken whole
                waiting += [methods()[name]] if name in methods() and name != "apply" else []
            elif of == "" and path is not None:
                waiting += [defined(path)[name]] if name in defined(path) else []
                waiting += [
                    defined(LAYER / f"{module}.py")[name]
                    for module, wanted in imported(tree(path))
                    if wanted == name
                    and LAYER / f"{module}.py" in AWS_MODULES
                    and name in defined(LAYER / f"{module}.py")
                ]
            elif LAYER / f"{of}.py" in AWS_MODULES:
                waiting += [defined(LAYER / f"{of}.py")[name]] if name in defined(LAYER / f"{of}.py") else []
    return frozenset(found)


@functools.cache
def service_model(service: str) -> Any:
    return BOTOCORE.get_service_model(service)


@functools.cache
def operations(service: str) -> dict[str, str]:
    """As they are spelled in Python, and as in the service's model."""
    return {xform_name(name): name for name in service_model(service).operation_names}


def requests(function: str, service: str, method: str) -> list[tuple[str, dict[str, Any]]]:
    """The operation and the parameters that its permissions depend on, for a dataset named flowers."""
    model = service_model(service)
    operation = operations(service)[method]
    members = model.operation_model(operation).input_shape.members
    if service == "s3":
        places = [place.partition("/") for place in OBJECTS[function, operation]]
        what = "Prefix" if operation == "ListObjectsV2" else "Key"
        return [(operation, {"Bucket": bucket, what: key}) for bucket, _, key in places]
    if "ResourceArn" in members:
        return [(operation, {"ResourceArn": f"{SAGEMAKER_ARN}:{name}"}) for name in TAGGED[function, operation]]
    everything: dict[str, Any] = {
        "ResourceARN": ALARM_ARN if service == "cloudwatch" else SCALING_ARN,
        "AlarmNames": ["shop-flowers-latency"],
        "AlarmName": "shop-flowers-latency",
        "Namespace": "ml-platform",
        "NotebookInstanceName": "anybodys",
        "clusterName": "anybodys",
        **({"name": "anybodys"} if service == "eks" else {}),
        "ProcessingJobName": "shop-prepare-p4jn9xou8a8s-x" if function == "deploy_model" else "anybodys",
        "PipelineName": "shop-xgboost",
        "PipelineExecutionArn": f"{SAGEMAKER_ARN}:pipeline/shop-xgboost/execution/p4jn9xou8a8s",
        "StackName": "arn:aws:cloudformation:us-east-1:123456789012:stack/shop/51af3dc0-da77-11e4-872e-1234567db123",
        "HyperParameterTuningJobName": "shop-flowers-0123456789ab-abc123",
        "ModelPackageName": "arn:aws:sagemaker:us-east-1:123456789012:model-package/shop-flowers/1",
        "logGroupName": "/aws/sagemaker/Endpoints/shop-flowers",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:shop-alerts",
        "Name": "shop-report-costs" if service == "scheduler" else "/shop/slack-webhook",
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/shop-flowers/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "PolicyType": "TargetTrackingScaling",
        "TrainingJobName": "shop-flowers-0123456789ab-abc123",
        "TrainingJobDefinition": {"RoleArn": "arn:aws:iam::123456789012:role/trainingrole-name"},
        "ModelName": "shop-flowers-0123456789ab-abc123",
        "EndpointConfigName": "shop-flowers-0123456789ab-abc123",
        "EndpointName": "shop-flowers",
        "InferenceComponentName": "shop-flowers",
        "ModelPackageGroupName": "shop-flowers",
        "ModelPackageArn": f"{SAGEMAKER_ARN}:model-package/shop-flowers/3",
        **({} if operation == "CreateModelPackage" else {"ModelPackageName": "shop-flowers/3"}),
        "RoleArn": "arn:aws:iam::123456789012:role/trainingrole-name",
        "ExecutionRoleArn": "arn:aws:iam::123456789012:role/trainingrole-name",
        "Tags": [{"Key": "Project", "Value": "ml-platform"}] if service == "sagemaker" else {"Project": "ml-platform"},
    }
    left_out = {"CreateModelPackage": {"Tags"}}.get(operation, set())
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


def test_whoever_may_be_the_first_to_scale_in_an_account_may_make_the_role_for_it() -> None:
    """RegisterScalableTarget makes it in its caller's name, once in an account."""
    for function in FUNCTIONS:
        allowed = {action for statement in statements(role_of(function)) for action in listed(statement["Action"])}
        if "application-autoscaling:RegisterScalableTarget" in allowed:
            assert "iam:CreateServiceLinkedRole" in allowed, function


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


def test_no_function_does_the_work_of_another_one() -> None:
    """What two of them do is in the layer: a function's file can be read, moved and packed by itself."""
    others = [
        (function, name)
        for function in FUNCTIONS
        for name, _ in imported(tree(ROOT / "functions" / f"{function}.py"))
        if name in FUNCTIONS
    ]
    assert others == []


def test_the_reading_of_the_code_finds_what_is_there() -> None:
    """Some calls picked by hand: a change of style in aws.py must not let the tests above pass by finding none."""
    assert ("sagemaker", "create_training_job") in calls("start_training")
    assert ("sagemaker", "create_hyper_parameter_tuning_job") in calls("start_training")
    assert ("sagemaker", "stop_hyper_parameter_tuning_job") in calls("watch_spend")
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
