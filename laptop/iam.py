"""Who may do what: identity-based policies evaluated as IAM does, for every call that a role makes.

Evaluation: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
Which action and resource each operation needs: the Service Authorization Reference,
https://docs.aws.amazon.com/service-authorization/latest/reference/
Credentials that do not belong to a role are the account's administrator. The policies themselves live in moto's IAM.
"""

from __future__ import annotations

import fnmatch
import functools
import ipaddress
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.aws_request import Call
from laptop.errors import ServiceError
from laptop.trail import ADMINISTRATOR
from mlplatform.capacity import types_of

Context = Mapping[str, str | list[str]]
Params = Mapping[str, Any]


class Decision(StrEnum):
    """What the policies say to one action on one resource."""

    ALLOWED = "allowed"
    DENIED = "explicit deny"
    NOT_ALLOWED = "implicit deny"


@dataclass(frozen=True)
class Need:
    """One permission that a call needs."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


# --- evaluation --------------------------------------------------------------------------------------------------


def evaluate(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context) -> Decision:
    """An explicit deny wins, then an allow, else nothing is allowed. Raises ServiceError for an unknown condition."""
    lowered = {key.lower(): value for key, value in context.items()}
    decision = Decision.NOT_ALLOWED
    for policy in policies:
        for statement in _as_list(policy.get("Statement", [])):
            if not _applies(statement, action, resource, lowered):
                continue
            if statement["Effect"] == "Deny":
                return Decision.DENIED
            decision = Decision.ALLOWED
    return decision


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    if "Action" in statement:
        if not any(_like(action.lower(), pattern.lower()) for pattern in _as_list(statement["Action"])):
            return False
    elif any(_like(action.lower(), pattern.lower()) for pattern in _as_list(statement.get("NotAction", []))):
        return False
    if "Resource" in statement:
        if not any(_arn_like(resource, _filled(pattern, context)) for pattern in _as_list(statement["Resource"])):
            return False
    elif any(_arn_like(resource, _filled(pattern, context)) for pattern in _as_list(statement.get("NotResource", []))):
        return False
    return all(
        _condition(operator, key, [_text(value) for value in _as_list(wanted)], context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.lru_cache(4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    # Only * and ? are special in IAM; fnmatch's brackets are not.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _like(text: str, pattern: str) -> bool:
    return pattern == "*" or _pattern(pattern).match(text) is not None


def _arn_like(arn: str, pattern: str) -> bool:
    """Each of the six parts of an ARN is matched for itself; wildcards do not reach across the colons between them."""
    if pattern == "*":
        return True
    parts, patterns = arn.split(":", 5), pattern.split(":", 5)
    return len(parts) == len(patterns) and all(map(_like, parts, patterns))


def _filled(pattern: str, context: Context) -> str:
    """Policy variables such as ${aws:PrincipalAccount} replaced by their values."""

    def value(match: re.Match[str]) -> str:
        found = context.get(match[1].lower())
        return found if isinstance(found, str) else match[0]

    return re.sub(r"\$\{([^}]+)\}", value, pattern) if "${" in pattern else pattern


def _number(test: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda have, want: test(float(have), float(want))


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda have, want: have == want,
    "StringEqualsIgnoreCase": lambda have, want: have.lower() == want.lower(),
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda have, want: have.lower() == want.lower(),
    "NumericEquals": _number(lambda have, want: have == want),
    "NumericLessThan": _number(lambda have, want: have < want),
    "NumericLessThanEquals": _number(lambda have, want: have <= want),
    "NumericGreaterThan": _number(lambda have, want: have > want),
    "NumericGreaterThanEquals": _number(lambda have, want: have >= want),
    "DateLessThan": lambda have, want: have < want,  # both in ISO 8601 and UTC
    "DateGreaterThan": lambda have, want: have > want,
    "IpAddress": lambda have, want: ipaddress.ip_address(have) in ipaddress.ip_network(want, strict=False),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "NotIpAddress": "IpAddress",
}


def _condition(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    name = operator
    quantifier = ""
    if name.startswith(("ForAllValues:", "ForAnyValue:")):
        quantifier, _, name = name.partition(":")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    present = context.get(key.lower())
    have = [] if present is None else _as_list(present)
    if name == "Null":
        return (not have) == (wanted[0].lower() == "true")
    negated = name in _NEGATED
    test = _OPERATORS.get(_NEGATED.get(name, name))
    if test is None:
        raise ServiceError("MalformedPolicyDocument", f"The laptop does not know the condition operator '{operator}'.")
    if not have:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)

    def matches(value: str) -> bool:
        return any(test(value, _filled(want, context)) for want in wanted) != negated

    return any(map(matches, have)) if quantifier == "ForAnyValue" else all(map(matches, have))


def allows_service(policy: Mapping[str, Any], service: str, action: str, resource: str, context: Context) -> bool:
    """Whether a resource's own policy lets an AWS service such as `events.amazonaws.com` act on it."""
    statements = [
        statement for statement in _as_list(policy.get("Statement", [])) if _names(statement.get("Principal"), service)
    ]
    return evaluate([{"Statement": statements}], action, resource, context) is Decision.ALLOWED


def _names(principal: Any, service: str) -> bool:
    if isinstance(principal, Mapping):
        everybody = "*" in _as_list(principal.get("AWS", []))
        return (
            everybody
            or service in _as_list(principal.get("Service", []))
            or "*" in _as_list(principal.get("Service", []))
        )
    return bool(principal == "*")


# --- what each operation needs -----------------------------------------------------------------------------------

_PREFIXES = {
    "sagemaker-runtime": "sagemaker",
    "sagemaker-metrics": "sagemaker",
    "resourcegroupstaggingapi": "tag",
    "service-quotas": "servicequotas",
}
_SCALING_SERVICE = "sagemaker.application-autoscaling.amazonaws.com"
_SCALING_ROLE_ARN = (
    f"arn:aws:iam::{ACCOUNT_ID}:role/aws-service-role/{_SCALING_SERVICE}/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_FREE = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")}

_S3_ACTIONS = {
    "HeadObject": "GetObject",
    "SelectObjectContent": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListParts": "ListMultipartUploadParts",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListBuckets": "ListAllMyBuckets",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}


def _s3(operation: str, params: Params) -> list[Need]:
    bucket = f"arn:aws:s3:::{params.get('Bucket', '')}"
    action = f"s3:{_S3_ACTIONS.get(operation, operation)}"
    if operation == "ListBuckets":
        return [Need(action, "*")]
    if operation == "DeleteObjects":
        keys = [entry["Key"] for entry in params.get("Delete", {}).get("Objects", [])]
        return [Need("s3:DeleteObject", f"{bucket}/{key}") for key in keys]
    if "Key" not in params:
        context = {
            f"s3:{name}": str(params[member])
            for name, member in (("prefix", "Prefix"), ("delimiter", "Delimiter"), ("max-keys", "MaxKeys"))
            if member in params
        }
        return [Need(action, bucket, context)]
    if params.get("VersionId") and action in {"s3:GetObject", "s3:DeleteObject"}:
        action += "Version"
    needs = [Need(action, f"{bucket}/{params['Key']}")]
    if operation in {"CopyObject", "UploadPartCopy"}:
        source = params.get("CopySource", "")
        path = source if isinstance(source, str) else f"{source.get('Bucket')}/{source.get('Key')}"
        path = unquote(path.partition("?versionId=")[0]).removeprefix("/")
        needs = [
            Need("s3:GetObject", f"arn:aws:s3:::{path}"),
            Need("s3:PutObject", f"{bucket}/{params['Key']}"),
        ]
    if operation == "GetObjectAttributes":
        needs.append(Need("s3:GetObject", f"{bucket}/{params['Key']}"))
    if params.get("Tagging") and operation in {"PutObject", "CopyObject", "CreateMultipartUpload"}:
        needs.append(Need("s3:PutObjectTagging", f"{bucket}/{params['Key']}"))
    return needs


# Member of the request that names the resource -> the resource's kind in its ARN.
_SAGEMAKER_KINDS = {
    "TrainingJobName": "training-job",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
    "ModelPackageGroupName": "model-package-group",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "PipelineName": "pipeline",
    "TransformJobName": "transform-job",
    "ProcessingJobName": "processing-job",
    "NotebookInstanceName": "notebook-instance",
    "InferenceComponentName": "inference-component",
}
_SAGEMAKER_PASSED_ROLES = {
    "CreateTrainingJob": ("RoleArn",),
    "CreateModel": ("ExecutionRoleArn",),
    "CreateEndpointConfig": ("ExecutionRoleArn",),
    "CreatePipeline": ("RoleArn",),
    "UpdatePipeline": ("RoleArn",),
    "CreateProcessingJob": ("RoleArn",),
}


def _sagemaker(operation: str, params: Params) -> list[Need]:
    action = f"sagemaker:{operation}"
    context = _tag_context(params)
    definition = params.get("TrainingJobDefinition", {})  # of a tuning job's trials
    cluster = params.get("ProcessingResources", {}).get("ClusterConfig", {})
    instance_type = {**definition, **params}.get("ResourceConfig", cluster).get("InstanceType")
    if instance_type:
        context["sagemaker:InstanceTypes"] = [instance_type]
    context.update(_variant_context(params.get("ProductionVariants", ())))
    if "PipelineExecutionArn" in params:
        return [Need(action, params["PipelineExecutionArn"], context)]
    if operation.startswith("List") and operation not in {"ListTags", "ListPipelineExecutions"}:
        return [Need(action, "*")]
    if "ResourceArn" in params:
        return [Need(action, params["ResourceArn"], context)]
    names = _sagemaker_resources(operation, params)
    needs = [Need(action, resource, context) for resource in names] or [Need(action, "*", context)]
    if definition.get("RoleArn"):
        needs.append(_pass_role(definition["RoleArn"], "sagemaker.amazonaws.com"))
    for member in _SAGEMAKER_PASSED_ROLES.get(operation, ()):
        if params.get(member):
            needs.append(_pass_role(params[member], "sagemaker.amazonaws.com"))
    if params.get("Tags") and names:
        needs.append(Need("sagemaker:AddTags", names[0], context))
    return needs


def _variant_context(variants: Sequence[Params]) -> dict[str, str | list[str]]:
    """Of CreateEndpointConfig (service authorization reference, "Condition keys for Amazon SageMaker")."""
    context: dict[str, str | list[str]] = {}
    types = sorted({kind for variant in variants for kind in types_of(variant)})
    if types:
        context["sagemaker:InstanceTypes"] = types
    for variant in variants:
        if "ServerlessConfig" in variant:
            context["sagemaker:ServerlessMemorySize"] = str(variant["ServerlessConfig"]["MemorySizeInMB"])
            context["sagemaker:ServerlessMaxConcurrency"] = str(variant["ServerlessConfig"]["MaxConcurrency"])
    return context


def _sagemaker_resources(operation: str, params: Params) -> list[str]:
    package = params.get("ModelPackageName") or params.get("ModelPackageArn")
    if package:
        return [package if package.startswith("arn:") else _sagemaker_arn("model-package", package)]
    if operation == "CreateModelPackage":
        # A versioned package is made under its group's name; its number is not known yet.
        return [_sagemaker_arn("model-package", f"{_last(params['ModelPackageGroupName'])}/*")]
    if operation in {"CreateEndpoint", "UpdateEndpoint"}:
        members = ["EndpointName", "EndpointConfigName"]
    elif operation in {"CreateInferenceComponent", "InvokeEndpoint"} and "InferenceComponentName" in params:
        members = ["InferenceComponentName", "EndpointName"]
    else:
        members = [member for member in _SAGEMAKER_KINDS if member in params][:1]
    return [_sagemaker_arn(_SAGEMAKER_KINDS[member], _last(params[member])) for member in members]


def _sagemaker_arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:{kind}/{name.lower()}"


def _last(name_or_arn: str) -> str:
    return name_or_arn.rsplit("/", 1)[-1]


def _tag_context(params: Params) -> dict[str, str | list[str]]:
    tags = params.get("Tags")
    if not tags:
        return {}
    pairs = tags if isinstance(tags, Mapping) else {tag["Key"]: tag.get("Value", "") for tag in tags}
    return {**{f"aws:RequestTag/{key}": value for key, value in pairs.items()}, "aws:TagKeys": list(pairs)}


def _pass_role(role_arn: str, service: str) -> Need:
    return Need("iam:PassRole", role_arn, {"iam:PassedToService": service})


def _application_autoscaling(operation: str, params: Params) -> list[Need]:
    """The caller also needs what the service does in its name.

    https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html
    """
    action = f"application-autoscaling:{operation}"
    if operation.startswith("Describe"):
        return [Need(action, "*")]
    target = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT_ID}:scalable-target/*"
    context = {
        "application-autoscaling:service-namespace": params.get("ServiceNamespace", ""),
        "application-autoscaling:scalable-dimension": params.get("ScalableDimension", ""),
    }
    needs = [Need(action, params.get("ResourceARN", target), {**context, **_tag_context(params)})]
    if operation == "RegisterScalableTarget" and params.get("Tags"):
        needs.append(Need("application-autoscaling:TagResource", target, _tag_context(params)))
    resource_id = params.get("ResourceId", "")
    if operation == "RegisterScalableTarget" and resource_id.startswith("endpoint/"):
        endpoint = _sagemaker_arn("endpoint", resource_id.split("/")[1])
        needs.append(Need("sagemaker:DescribeEndpoint", endpoint))
        needs.append(Need("sagemaker:UpdateEndpointWeightsAndCapacities", endpoint))
    if operation == "RegisterScalableTarget" and resource_id.startswith("inference-component/"):
        component = _sagemaker_arn("inference-component", resource_id.split("/")[1])
        needs.append(Need("sagemaker:DescribeInferenceComponent", component))
        needs.append(Need("sagemaker:UpdateInferenceComponentRuntimeConfig", component))
    if operation == "PutScalingPolicy" and params.get("PolicyType") == "TargetTrackingScaling":
        alarms = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:TargetTracking-{resource_id}-*"
        needs.append(Need("cloudwatch:PutMetricAlarm", alarms))
        needs.append(Need("cloudwatch:DescribeAlarms", alarms))
    if operation in {"DeleteScalingPolicy", "DeregisterScalableTarget"}:
        alarms = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:TargetTracking-{resource_id}-*"
        needs.append(Need("cloudwatch:DeleteAlarms", alarms))
    return needs


def _sqs(operation: str, params: Params) -> list[Need]:
    action = f"sqs:{operation.removesuffix('Batch')}"
    name = _last(params.get("QueueUrl", "")) or params.get("QueueName")
    return [Need(action, f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}" if name else "*")]


def _sns(operation: str, params: Params) -> list[Need]:
    action = "sns:Publish" if operation == "PublishBatch" else f"sns:{operation}"
    resource = params.get("TopicArn") or params.get("TargetArn") or params.get("ResourceArn") or "*"
    if "SubscriptionArn" in params:
        resource = params["SubscriptionArn"].rpartition(":")[0]
    return [Need(action, resource)]


def _lambda(operation: str, params: Params) -> list[Need]:
    action = {"Invoke": "lambda:InvokeFunction"}.get(operation, f"lambda:{operation}")
    name = params.get("FunctionName")
    if not name:
        return [Need(action, "*")]
    arn = name if name.startswith("arn:") else f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"
    needs = [Need(action, arn, _tag_context(params))]
    if params.get("Role"):
        needs.append(_pass_role(params["Role"], "lambda.amazonaws.com"))
    return needs


def _logs(operation: str, params: Params) -> list[Need]:
    group = params.get("logGroupName") or params.get("logGroupIdentifier")
    if not group:
        return [Need(f"logs:{operation}", "*")]
    stream = params.get("logStreamName", "")
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group.rpartition('log-group:')[2]}:log-stream:{stream}"
    return [Need(f"logs:{operation}", arn)]


def _events(operation: str, params: Params) -> list[Need]:
    base = f"arn:aws:events:{REGION}:{ACCOUNT_ID}"
    if operation == "PutEvents":
        buses = {entry.get("EventBusName", "default") for entry in params.get("Entries", [])}
        sources = sorted({entry.get("Source", "") for entry in params.get("Entries", [])})
        return [
            Need("events:PutEvents", f"{base}:event-bus/{_last(bus)}", {"events:source": sources})
            for bus in sorted(buses)
        ]
    rule = params.get("Rule") or params.get("Name")
    return [Need(f"events:{operation}", f"{base}:rule/{rule}" if rule else "*")]


def _ssm(operation: str, params: Params) -> list[Need]:
    # A SecureString under the AWS managed key aws/ssm needs no permission on that key: its own policy grants it.
    names = params.get("Names") or [params[member] for member in ("Name", "Path") if member in params]
    base = f"arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/"
    arns = [name if name.startswith("arn:") else base + name.removeprefix("/") for name in names]
    if operation == "DescribeParameters":
        arns = []
    return [Need(f"ssm:{operation}", arn) for arn in arns] or [Need(f"ssm:{operation}", "*")]


def _cloudwatch(operation: str, params: Params) -> list[Need]:
    action = f"cloudwatch:{operation}"
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:"
    if operation == "PutMetricData":
        return [Need(action, "*", {"cloudwatch:namespace": params.get("Namespace", "")})]
    if "ResourceARN" in params:
        return [Need(action, params["ResourceARN"], _tag_context(params))]
    names = params.get("AlarmNames") or ([params["AlarmName"]] if "AlarmName" in params else [])
    if names:
        needs = [Need(action, alarm + name, _tag_context(params)) for name in names]
        if operation == "PutMetricAlarm" and params.get("Tags"):
            needs.append(Need("cloudwatch:TagResource", alarm + names[0], _tag_context(params)))
        return needs
    return [Need(action, f"{alarm}*" if operation == "DescribeAlarms" else "*")]


def _sts(operation: str, params: Params) -> list[Need]:
    return [Need(f"sts:{operation}", params.get("RoleArn", "*"))]


def _iam(operation: str, params: Params) -> list[Need]:
    base = f"arn:aws:iam::{ACCOUNT_ID}"
    if "RoleName" in params:
        needs = [Need(f"iam:{operation}", f"{base}:role/{params['RoleName']}")]
    else:
        needs = [Need(f"iam:{operation}", params.get("PolicyArn", "*"))]
    return needs


def _cloudformation(operation: str, params: Params) -> list[Need]:
    name = params.get("StackName")
    if not name:
        return [Need(f"cloudformation:{operation}", "*")]
    arn = name if name.startswith("arn:") else f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{name}/*"
    return [Need(f"cloudformation:{operation}", arn)]


def _ce(operation: str, params: Params) -> list[Need]:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscostexplorerservice.html

    A query without a billing view is held against the operation itself, as AWS's own refusals name it.
    """
    for member in ("MonitorArn", "SubscriptionArn", "ResourceArn", "BillingViewArn"):
        if member in params and not operation.startswith("GetAnomal"):
            return [Need(f"ce:{operation}", params[member])]
    return [Need(f"ce:{operation}", f"arn:aws:ce:{REGION}:{ACCOUNT_ID}:/{operation}")]


def _budgets(operation: str, params: Params) -> list[Need]:
    """Reading is ViewBudget and writing ModifyBudget, whatever the operation is called.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
    """
    if operation in {"ListTagsForResource", "TagResource", "UntagResource"}:
        return [Need(f"budgets:{operation}", params["ResourceARN"])]
    inner = params.get("Budget") or params.get("NewBudget") or {}
    name = params.get("BudgetName") or inner.get("BudgetName") or "*"
    action = "ViewBudget" if operation.startswith("Describe") else "ModifyBudget"
    resource = f"arn:aws:budgets::{ACCOUNT_ID}:budget/{name}"
    needs = [Need(f"budgets:{action}", resource)]
    if params.get("ResourceTags"):
        needs.append(Need("budgets:TagResource", resource))
    return needs


def _eks(operation: str, params: Params) -> list[Need]:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelastickubernetesservice.html"""
    name = params.get("clusterName") or params.get("name")
    return [Need(f"eks:{operation}", f"arn:aws:eks:{REGION}:{ACCOUNT_ID}:cluster/{name}" if name else "*")]


def _scheduler(operation: str, params: Params) -> list[Need]:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html"""
    action = f"scheduler:{operation}"
    arn = f"arn:aws:scheduler:{REGION}:{ACCOUNT_ID}"
    if "ResourceArn" in params:
        return [Need(action, params["ResourceArn"])]
    if operation.endswith("ScheduleGroup"):
        return [Need(action, f"{arn}:schedule-group/{params['Name']}")]
    if operation.endswith("Schedule"):
        needs = [Need(action, f"{arn}:schedule/{params.get('GroupName') or 'default'}/{params['Name']}")]
        role = params.get("Target", {}).get("RoleArn")
        return [*needs, *([_pass_role(role, "scheduler.amazonaws.com")] if role else [])]
    return [Need(action, "*")]


_NEEDS: dict[str, Callable[[str, Params], list[Need]]] = {
    "s3": _s3,
    "sagemaker": _sagemaker,
    "sagemaker-runtime": _sagemaker,
    "application-autoscaling": _application_autoscaling,
    "sqs": _sqs,
    "sns": _sns,
    "lambda": _lambda,
    "logs": _logs,
    "events": _events,
    "scheduler": _scheduler,
    "ssm": _ssm,
    "cloudwatch": _cloudwatch,
    "sts": _sts,
    "iam": _iam,
    "cloudformation": _cloudformation,
    "eks": _eks,
    "ce": _ce,
    "budgets": _budgets,
}


def required(service: str, operation: str, params: Params) -> list[Need]:
    """Every permission that a call needs; `service:Operation` on `*` where the table says nothing else."""
    if (service, operation) in _FREE:
        return []
    table = _NEEDS.get(service)
    if table is not None:
        return table(operation, params)
    return [Need(f"{_PREFIXES.get(service, service)}:{operation}", "*")]


# --- identities --------------------------------------------------------------------------------------------------


@functools.lru_cache(512)
def _document(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document


@dataclass(frozen=True)
class Session:
    """A role in use."""

    role_arn: str
    arn: str  # arn:aws:sts::...:assumed-role/<role>/<session>


class RoleIdentities:
    """Mints credentials for roles, recognises them, and holds calls against the roles' policies."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._sessions: dict[str, Session | None] = {}

    def credentials(self, role_arn: str, session_name: str = "laptop", principal: str | None = None) -> dict[str, str]:
        """Fresh credentials, as STS gives them to a service that acts with a role.

        `principal` is that service, such as `lambda.amazonaws.com`: the role's trust policy must let it.
        Raises ServiceError("AccessDenied") if there is no such role or it does not trust the service.
        """
        from moto.sts.models import sts_backends

        role = self._role(role_arn)
        if role is None or (principal is not None and not _trusts(role, principal)):
            reason = "there is no such role" if role is None else f"its trust policy does not name {principal}"
            raise ServiceError("AccessDenied", f"{role_arn} can't be assumed: {reason}.", 403)
        assumed = sts_backends[ACCOUNT_ID]["aws"].assume_role(
            region_name=REGION,
            role_session_name=session_name[:64],
            role_arn=role_arn,
            policy="",
            duration=12 * 3600,
            external_id="",
        )
        with self._lock:
            self._sessions[assumed.access_key_id] = Session(role_arn, assumed.arn)
        return {
            "aws_access_key_id": assumed.access_key_id,
            "aws_secret_access_key": assumed.secret_access_key,
            "aws_session_token": assumed.session_token,
        }

    def session(self, access_key: str) -> Session | None:
        """The role behind an access key; None for any other key."""
        if not access_key.startswith("ASIA"):
            return None
        with self._lock:
            if access_key in self._sessions:
                return self._sessions[access_key]
        from moto.sts.models import sts_backends

        assumed = sts_backends[ACCOUNT_ID]["aws"].get_assumed_role_from_access_key(access_key)
        found = Session(assumed.role_arn, assumed.arn) if assumed else None
        with self._lock:
            self._sessions[access_key] = found
        return found

    def authorize(self, call: Call) -> None:
        """Raises ServiceError if the caller is a role and its policies do not allow all that the call needs."""
        session = self.session(call.access_key)
        if session is None:
            return
        policies = self._policies(session.role_arn)
        needs = required(call.service, call.operation, call.params)
        first_scaling = (call.service, call.operation) == ("application-autoscaling", "RegisterScalableTarget")
        if first_scaling:
            needs = [*needs, *self._scaling_needs(call.params)]
        for need in needs:
            decision = evaluate(policies, need.action, need.resource, self._context(need, session))
            if decision is not Decision.ALLOWED:
                raise self._refusal(call, session, need, decision)
        if first_scaling:
            self._create_scaling_role()

    def _scaling_needs(self, params: Params) -> list[Need]:
        """What depends on the account's state: the endpoint's config, and the service-linked role on first use.

        https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html
        """
        needs = []
        resource = params.get("ResourceId", "").split("/")
        describe = self._account.operations.get("sagemaker", {}).get("DescribeEndpoint")
        if describe is not None and resource[0] == "endpoint" and len(resource) > 1:
            try:
                config = describe({"EndpointName": resource[1]})["EndpointConfigName"]
                needs.append(Need("sagemaker:DescribeEndpointConfig", _sagemaker_arn("endpoint-config", config)))
            except ServiceError:
                pass  # no such endpoint: the operation itself says so
        if self._role(_SCALING_ROLE_ARN) is None:
            needs.append(
                Need("iam:CreateServiceLinkedRole", _SCALING_ROLE_ARN, {"iam:AWSServiceName": _SCALING_SERVICE})
            )
        return needs

    def _create_scaling_role(self) -> None:
        from moto.iam.models import iam_backends

        if self._role(_SCALING_ROLE_ARN) is None:
            iam_backends[ACCOUNT_ID]["aws"].create_role(
                role_name=_last(_SCALING_ROLE_ARN),
                assume_role_policy_document=json.dumps(
                    {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Principal": {"Service": _SCALING_SERVICE},
                                "Action": "sts:AssumeRole",
                            }
                        ],
                    }
                ),
                path=f"/aws-service-role/{_SCALING_SERVICE}/",
                permissions_boundary=None,
                description="",
                tags=[],
                max_session_duration="3600",
            )

    def assert_allowed(self, role_arn: str, action: str, resource: str) -> None:
        """Raises ServiceError("AccessDeniedException") if the role's policies do not allow the action."""
        role_name = _last(role_arn)
        session = Session(role_arn, f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role_name}/{role_name}")
        need = Need(action, resource)
        decision = evaluate(self._policies(role_arn), action, resource, self._context(need, session))
        if decision is not Decision.ALLOWED:
            service, _, operation = action.partition(":")
            raise self._refusal(Call(service, operation, "json", {}, ""), session, need, decision)

    def allowed(self, access_key: str, action: str, resource: str) -> bool:
        """Whether the caller may; for answers that depend on another right, as S3's to a missing object."""
        session = self.session(access_key)
        if session is None:
            return True
        need = Need(action, resource)
        policies = self._policies(session.role_arn)
        return evaluate(policies, action, resource, self._context(need, session)) is Decision.ALLOWED

    def _context(self, need: Need, session: Session) -> Context:
        tags = self._account.tags.get(need.resource, {})
        return {
            "aws:PrincipalArn": session.role_arn,
            "aws:PrincipalAccount": ACCOUNT_ID,
            "aws:ResourceAccount": ACCOUNT_ID,
            "aws:RequestedRegion": REGION,
            "aws:SecureTransport": "true",  # the clients would use TLS on AWS
            "aws:SourceIp": "127.0.0.1",
            **{f"aws:ResourceTag/{key}": value for key, value in tags.items()},
            **need.context,
        }

    def _refusal(self, call: Call, session: Session, need: Need, decision: Decision) -> ServiceError:
        why = (
            "with an explicit deny in an identity-based policy"
            if decision is Decision.DENIED
            else f"because no identity-based policy allows the {need.action} action"
        )
        on = "" if need.resource == "*" else f" on resource: {need.resource}"
        message = f"User: {session.arn} is not authorized to perform: {need.action}{on} {why}"
        self._account.journal.record(
            "refused",
            service=call.service,
            operation=call.operation,
            action=need.action,
            resource=need.resource,
            role=session.role_arn,
            reason=message,
        )
        if call.service == "sns":
            return ServiceError("AuthorizationError", message, 403)
        if call.protocol in {"query", "rest-xml"}:
            return ServiceError("AccessDenied", message, 403)
        return ServiceError("AccessDeniedException", message, 403 if call.protocol == "rest-json" else 400)

    def _policies(self, role_arn: str) -> list[dict[str, Any]]:
        role = self._role(role_arn)
        if role is None:
            return []
        inline = [_document(text if isinstance(text, str) else json.dumps(text)) for text in role.policies.values()]
        managed = [
            _document(version.document)
            for policy in role.managed_policies.values()
            for version in policy.versions
            if version.version_id == policy.default_version_id
        ]
        return [*inline, *managed]

    def _role(self, role_arn: str) -> Any:
        from moto.iam.models import iam_backends

        for role in iam_backends[ACCOUNT_ID]["aws"].roles.values():
            if role.arn == role_arn:
                return role
        return None


def _trusts(role: Any, service: str) -> bool:
    document = role.assume_role_policy_document
    trust = _document(document) if isinstance(document, str) else document
    for statement in _as_list(trust.get("Statement", [])):
        if statement["Effect"] == "Allow" and _names(statement.get("Principal"), service):
            return True
    return False


def _load_managed_policies_once() -> None:
    """moto makes the 1,500 policies that AWS manages for each partition of the world; this account lives in one."""
    from moto.iam.models import IAMBackend

    load_all = IAMBackend._init_aws_policies
    if load_all.__name__ == "load_one_partition":  # an earlier account of this process did it
        return

    def load_one_partition(backend: IAMBackend) -> list[Any]:
        return list(load_all(backend)) if backend.region_name == "aws" else []

    setattr(IAMBackend, "_init_aws_policies", load_one_partition)  # noqa: B010


def _name_the_administrator_once() -> None:
    """Whoever has a key of nobody else's is the user that CloudTrail tells of, too."""
    from moto.sts.models import STSBackend

    told = STSBackend.get_caller_identity
    if told.__name__ == "with_administrator":  # an earlier account of this process did it
        return

    def with_administrator(backend: STSBackend, access_key_id: str, region: str) -> tuple[str, str, str]:
        user, arn, account = told(backend, access_key_id, region)
        return user, f"arn:aws:iam::{account}:user/{ADMINISTRATOR}" if arn.endswith(":user/moto") else arn, account

    setattr(STSBackend, "get_caller_identity", with_administrator)  # noqa: B010


def install(account: Account) -> None:
    """Makes roles count."""
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    def get_permission(bucket: Any, action: str, resource: str) -> PermissionResult:
        """moto takes a bucket policy's Deny for met when its condition is not, and so shuts a TLS-only bucket."""
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        statements = _as_list(_document(bucket.policy.decode()).get("Statement", []))
        public = [{"Statement": [one for one in statements if _names(one.get("Principal"), "")]}]
        decision = evaluate(public, action, resource, {"aws:SecureTransport": "true"})
        return {
            Decision.ALLOWED: PermissionResult.PERMITTED,
            Decision.DENIED: PermissionResult.DENIED,
            Decision.NOT_ALLOWED: PermissionResult.NEUTRAL,
        }[decision]

    setattr(FakeBucket, get_permission.__name__, get_permission)
    _load_managed_policies_once()
    _name_the_administrator_once()
    account.identities = RoleIdentities(account)
