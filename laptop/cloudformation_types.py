"""CloudFormation's resource types: how each is created, updated and deleted by calls to the account's own API.

Properties, return values of Ref and Fn::GetAtt, and what forces a replacement follow each type's page in the template
reference, https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html. A
type or a property that is not in here fails the stack by name: nothing is ever skipped.
"""

from __future__ import annotations

import io
import json
import secrets
import string
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.runtime_api import CallbackListener

Properties = dict[str, Any]


class ResourceFailure(Exception):
    """Why a resource could not be created, updated or deleted, as CloudFormation words it."""


@dataclass
class Made:
    """A resource that exists: what Ref and Fn::GetAtt return for it."""

    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    ref: str | None = None  # if it is not the physical id


class Context:
    """What a resource type gets to work with, for one resource of one stack."""

    def __init__(
        self, account: Account, callbacks: CallbackListener, stack: tuple[str, str], logical_id: str, kind: str
    ) -> None:
        self.account = account
        self.callbacks = callbacks
        self.stack_name, self.stack_id = stack
        self.logical_id = logical_id
        self.kind = kind
        self.tags: dict[str, str] = {}  # the stack's, which its resources get too

    def call(self, service: str, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """One API call as the administrator. Values are turned into the types of the service model: a template's
        "30" becomes 30 where a number is due. Raises botocore's ClientError or ResourceFailure."""
        from botocore import xform_name

        client = self.account.client(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        answer: dict[str, Any] = getattr(client, xform_name(operation))(**fitted(parameters, shape, operation))
        return answer

    def name(self, longest: int = 255, *, lower: bool = False) -> str:
        """A generated physical name: stack, logical id and twelve random characters."""
        random = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(12))
        start = f"{self.stack_name}-{self.logical_id}"[: longest - 13]
        name = f"{start}-{random}"
        return name.lower() if lower else name

    def tag_list(self, properties: Properties) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tag_map(properties).items()]

    def tag_map(self, properties: Properties) -> dict[str, str]:
        own = properties.get("Tags") or {}
        if isinstance(own, list):
            own = {tag["Key"]: tag["Value"] for tag in own}
        return {key: str(value) for key, value in {**self.tags, **own}.items()}


def fitted(value: Any, shape: Any, where: str) -> Any:
    """A template's value in the types that the service model wants. Raises ResourceFailure for an unknown member."""
    if shape is None:
        return value
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            unknown = sorted(set(value) - set(shape.members))
            if unknown:
                raise ResourceFailure(f"{where} has no member {', '.join(unknown)}")
            return {
                name: fitted(member, shape.members[name], f"{where}.{name}")
                for name, member in value.items()
                if member is not None
            }
        case "list" if isinstance(value, list):
            return [fitted(member, shape.member, f"{where}[{index}]") for index, member in enumerate(value)]
        case "map" if isinstance(value, Mapping):
            return {str(name): fitted(member, shape.value, f"{where}.{name}") for name, member in value.items()}
        case "integer" | "long" if isinstance(value, (str, float)):
            return _number(value, int, where)
        case "float" | "double" if isinstance(value, str):
            return _number(value, float, where)
        case "boolean" if isinstance(value, str):
            if value.lower() not in ("true", "false"):
                raise ResourceFailure(f"{where} must be true or false, not {value}")
            return value.lower() == "true"
        case "string":
            return text(value)
        case _:
            return value


def _number(value: str | float, kind: Callable[[Any], Any], where: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise ResourceFailure(f"{where} must be a number, not {value}") from None


def text(value: Any) -> str:
    """As CloudFormation writes a value where a string is due: booleans in lower case, documents as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value)


def picked(properties: Properties, *names: str) -> Properties:
    return {name: properties[name] for name in names if name in properties}


class Kind:
    """One resource type. `create` makes it; `update` changes it in place; `delete` removes it."""

    properties: frozenset[str] | None = frozenset()  # None: any
    replacing: frozenset[str] = frozenset()  # a change of these needs a new resource
    named_by: str | None = None  # the property with the physical name

    def create(self, context: Context, properties: Properties) -> Made:
        raise NotImplementedError

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        raise NotImplementedError

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        raise NotImplementedError

    def must_replace(self, old: Properties, new: Properties) -> bool:
        return any(old.get(name) != new.get(name) for name in self.replacing)


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


class Bucket(Kind):
    properties = _set(
        "BucketName BucketEncryption PublicAccessBlockConfiguration OwnershipControls VersioningConfiguration "
        "NotificationConfiguration LifecycleConfiguration CorsConfiguration Tags"
    )
    replacing = _set("BucketName")
    named_by = "BucketName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("BucketName") or context.name(63, lower=True)
        context.call("s3", "CreateBucket", Bucket=name)
        made = Made(
            name,
            {
                "Arn": f"arn:aws:s3:::{name}",
                "DomainName": f"{name}.s3.amazonaws.com",
                "RegionalDomainName": f"{name}.s3.{REGION}.amazonaws.com",
            },
        )
        try:
            return self.update(context, made, {}, properties)
        except Exception:
            context.call("s3", "DeleteBucket", Bucket=name)
            raise

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        bucket = made.physical_id
        steps: dict[str, tuple[str, str | None, Callable[[Any], dict[str, Any]]]] = {
            "BucketEncryption": (
                "PutBucketEncryption",
                "DeleteBucketEncryption",
                lambda value: {
                    "ServerSideEncryptionConfiguration": {
                        "Rules": [
                            {
                                **picked(rule, "BucketKeyEnabled"),
                                "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                            }
                            for rule in value["ServerSideEncryptionConfiguration"]
                        ]
                    }
                },
            ),
            "PublicAccessBlockConfiguration": (
                "PutPublicAccessBlock",
                "DeletePublicAccessBlock",
                lambda value: {"PublicAccessBlockConfiguration": value},
            ),
            "OwnershipControls": (
                "PutBucketOwnershipControls",
                "DeleteBucketOwnershipControls",
                lambda value: {"OwnershipControls": value},
            ),
            "VersioningConfiguration": (
                "PutBucketVersioning",
                None,
                lambda value: {"VersioningConfiguration": value},
            ),
            "NotificationConfiguration": (
                "PutBucketNotificationConfiguration",
                None,
                lambda value: {"NotificationConfiguration": _notifications(value)},
            ),
            "LifecycleConfiguration": (
                "PutBucketLifecycleConfiguration",
                "DeleteBucketLifecycle",
                lambda value: {"LifecycleConfiguration": {"Rules": [_lifecycle(rule) for rule in value["Rules"]]}},
            ),
            "CorsConfiguration": (
                "PutBucketCors",
                "DeleteBucketCors",
                lambda value: {"CORSConfiguration": {"CORSRules": value["CorsRules"]}},
            ),
        }
        for name, (put, remove, arguments) in steps.items():
            if name in new and new[name] != old.get(name):
                context.call("s3", put, Bucket=bucket, **arguments(new[name]))
            elif name in old and name not in new:
                if remove:
                    context.call("s3", remove, Bucket=bucket)
                elif name == "VersioningConfiguration":
                    context.call("s3", put, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
                else:
                    context.call("s3", put, Bucket=bucket, NotificationConfiguration={})
        tags = context.tag_list(new)
        if tags:
            context.call("s3", "PutBucketTagging", Bucket=bucket, Tagging={"TagSet": tags})
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("s3", "DeleteBucket", Bucket=made.physical_id)


def _notifications(value: Properties) -> dict[str, Any]:
    unknown = set(value) - {"EventBridgeConfiguration"}
    if unknown:
        raise ResourceFailure(f"The laptop delivers S3 events by EventBridge only, not {', '.join(sorted(unknown))}")
    enabled = (value.get("EventBridgeConfiguration") or {}).get("EventBridgeEnabled", True)
    return {"EventBridgeConfiguration": {}} if text(enabled) == "true" else {}


def _lifecycle(rule: Properties) -> dict[str, Any]:
    """A lifecycle rule as the API spells it; the template spells the days, the id and the filter differently."""
    known = _set(
        "Id Status Prefix TagFilters Transitions Transition ExpirationInDays ExpirationDate ExpiredObjectDeleteMarker "
        "NoncurrentVersionExpiration NoncurrentVersionTransitions AbortIncompleteMultipartUpload "
        "ObjectSizeGreaterThan ObjectSizeLessThan"
    )
    if unknown := set(rule) - known:
        raise ResourceFailure(f"Encountered unsupported property {sorted(unknown)[0]}")
    conditions = [("Prefix", rule["Prefix"])] if "Prefix" in rule else []
    conditions += [(name, int(rule[name])) for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if name in rule]
    tags = rule.get("TagFilters") or []
    scope: dict[str, Any]
    if len(conditions) + len(tags) > 1:
        scope = {"And": {**dict(conditions), **({"Tags": tags} if tags else {})}}
    elif tags:
        scope = {"Tag": tags[0]}
    else:
        scope = dict(conditions) or {"Prefix": ""}
    expiration = {}
    if "ExpirationInDays" in rule:
        expiration["Days"] = rule["ExpirationInDays"]
    if "ExpirationDate" in rule:
        expiration["Date"] = rule["ExpirationDate"]
    if "ExpiredObjectDeleteMarker" in rule:
        expiration["ExpiredObjectDeleteMarker"] = rule["ExpiredObjectDeleteMarker"]
    shown = {
        "Status": rule["Status"],
        "Filter": scope,
        **({"ID": rule["Id"]} if "Id" in rule else {}),
        **({"Expiration": expiration} if expiration else {}),
        **picked(rule, "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"),
    }
    transitions = rule.get("Transitions") or ([rule["Transition"]] if "Transition" in rule else [])
    if transitions:
        shown["Transitions"] = [
            {"StorageClass": one["StorageClass"], "Days": one["TransitionInDays"]} for one in transitions
        ]
    if "NoncurrentVersionTransitions" in rule:
        shown["NoncurrentVersionTransitions"] = [
            {"StorageClass": one["StorageClass"], "NoncurrentDays": one["TransitionInDays"]}
            for one in rule["NoncurrentVersionTransitions"]
        ]
    return shown


class BucketPolicy(Kind):
    properties = _set("Bucket PolicyDocument")
    replacing = _set("Bucket")

    def create(self, context: Context, properties: Properties) -> Made:
        context.call("s3", "PutBucketPolicy", Bucket=properties["Bucket"], Policy=properties["PolicyDocument"])
        return Made(properties["Bucket"])

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        return self.create(context, new)

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("s3", "DeleteBucketPolicy", Bucket=made.physical_id)


class Topic(Kind):
    _attributes = (
        "DisplayName",
        "KmsMasterKeyId",
        "SignatureVersion",
        "TracingConfig",
        "FifoTopic",
        "ContentBasedDeduplication",
    )
    properties = _set("TopicName Subscription Tags") | set(_attributes)
    replacing = _set("TopicName FifoTopic")
    named_by = "TopicName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("TopicName") or context.name(256)
        attributes = {key: text(value) for key, value in picked(properties, *self._attributes).items()}
        arn = context.call("sns", "CreateTopic", Name=name, Attributes=attributes, Tags=context.tag_list(properties))[
            "TopicArn"
        ]
        for subscription in properties.get("Subscription") or []:
            context.call("sns", "Subscribe", TopicArn=arn, **subscription)
        return Made(arn, {"TopicArn": arn, "TopicName": name})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        for name in self._attributes:
            if old.get(name) != new.get(name):
                value = text(new.get(name, ""))
                context.call(
                    "sns", "SetTopicAttributes", TopicArn=made.physical_id, AttributeName=name, AttributeValue=value
                )
        if tags := context.tag_list(new):
            context.call("sns", "TagResource", ResourceArn=made.physical_id, Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sns", "DeleteTopic", TopicArn=made.physical_id)


class TopicPolicy(Kind):
    properties = _set("Topics PolicyDocument")

    def create(self, context: Context, properties: Properties) -> Made:
        self._put(context, properties)
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._put(context, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        """SNS has no call to remove a topic's policy; the topic goes with the stack, or keeps it."""

    @staticmethod
    def _put(context: Context, properties: Properties) -> None:
        for arn in properties["Topics"]:
            context.call(
                "sns",
                "SetTopicAttributes",
                TopicArn=arn,
                AttributeName="Policy",
                AttributeValue=properties["PolicyDocument"],
            )


class Subscription(Kind):
    _attributes = (
        "DeliveryPolicy",
        "FilterPolicy",
        "FilterPolicyScope",
        "RawMessageDelivery",
        "RedrivePolicy",
        "SubscriptionRoleArn",
    )
    properties = _set("TopicArn Protocol Endpoint Region") | set(_attributes)
    replacing = _set("TopicArn Protocol Endpoint")

    def create(self, context: Context, properties: Properties) -> Made:
        attributes = {key: text(value) for key, value in picked(properties, *self._attributes).items()}
        arn = context.call(
            "sns",
            "Subscribe",
            **picked(properties, "TopicArn", "Protocol", "Endpoint"),
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        return Made(arn, {"Arn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        for name in self._attributes:
            if old.get(name) != new.get(name):
                context.call(
                    "sns",
                    "SetSubscriptionAttributes",
                    SubscriptionArn=made.physical_id,
                    AttributeName=name,
                    AttributeValue=text(new.get(name, "")),
                )
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sns", "Unsubscribe", SubscriptionArn=made.physical_id)


class Queue(Kind):
    _attributes = (
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "ReceiveMessageWaitTimeSeconds",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "VisibilityTimeout",
    )
    properties = _set("QueueName Tags") | set(_attributes)
    replacing = _set("QueueName FifoQueue")
    named_by = "QueueName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("QueueName") or context.name(80)
        attributes = {key: text(value) for key, value in picked(properties, *self._attributes).items()}
        url = context.call(
            "sqs", "CreateQueue", QueueName=name, Attributes=attributes, tags=context.tag_map(properties)
        )["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}"
        return Made(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        changed = {key: text(new[key]) for key in self._attributes if key in new and new[key] != old.get(key)}
        if changed:
            context.call("sqs", "SetQueueAttributes", QueueUrl=made.physical_id, Attributes=changed)
        if tags := context.tag_map(new):
            context.call("sqs", "TagQueue", QueueUrl=made.physical_id, Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sqs", "DeleteQueue", QueueUrl=made.physical_id)


class QueuePolicy(Kind):
    properties = _set("Queues PolicyDocument")

    def create(self, context: Context, properties: Properties) -> Made:
        self._put(context, properties["Queues"], text(properties["PolicyDocument"]))
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._put(context, new["Queues"], text(new["PolicyDocument"]))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._put(context, properties["Queues"], "")

    @staticmethod
    def _put(context: Context, queues: list[str], policy: str) -> None:
        for url in queues:
            context.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes={"Policy": policy})


class LogGroup(Kind):
    properties = _set("LogGroupName RetentionInDays KmsKeyId LogGroupClass Tags")
    replacing = _set("LogGroupName LogGroupClass")
    named_by = "LogGroupName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("LogGroupName") or context.name(512)
        renamed = {"KmsKeyId": "kmsKeyId", "LogGroupClass": "logGroupClass"}
        options = {ours: properties[theirs] for theirs, ours in renamed.items() if theirs in properties}
        context.call("logs", "CreateLogGroup", logGroupName=name, tags=context.tag_map(properties), **options)
        made = Made(name, {"Arn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{name}:*"})
        return self.update(context, made, {}, properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if "RetentionInDays" in new:
            days = new["RetentionInDays"]
            context.call("logs", "PutRetentionPolicy", logGroupName=made.physical_id, retentionInDays=days)
        elif "RetentionInDays" in old:
            context.call("logs", "DeleteRetentionPolicy", logGroupName=made.physical_id)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("logs", "DeleteLogGroup", logGroupName=made.physical_id)


class QueryDefinition(Kind):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-logs-querydefinition.html"""

    properties = _set("Name QueryString LogGroupNames QueryLanguage Parameters")

    def create(self, context: Context, properties: Properties) -> Made:
        made = context.call("logs", "PutQueryDefinition", **self._request(properties))["queryDefinitionId"]
        return Made(made, {"QueryDefinitionId": made})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("logs", "PutQueryDefinition", queryDefinitionId=made.physical_id, **self._request(new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("logs", "DeleteQueryDefinition", queryDefinitionId=made.physical_id)

    def _request(self, properties: Properties) -> Properties:
        names = {"Name": "name", "QueryString": "queryString", "LogGroupNames": "logGroupNames"}
        request = {ours: properties[theirs] for theirs, ours in names.items() if theirs in properties}
        if "QueryLanguage" in properties:
            request["queryLanguage"] = properties["QueryLanguage"]
        if "Parameters" in properties:
            members = {"Name": "name", "DefaultValue": "defaultValue", "Description": "description"}
            request["parameters"] = [
                {ours: one[theirs] for theirs, ours in members.items() if theirs in one}
                for one in properties["Parameters"]
            ]
        return request


class Role(Kind):
    properties = _set(
        "RoleName AssumeRolePolicyDocument Description ManagedPolicyArns MaxSessionDuration Path PermissionsBoundary "
        "Policies Tags"
    )
    replacing = _set("RoleName Path")
    named_by = "RoleName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("RoleName") or context.name(64)
        role = context.call(
            "iam",
            "CreateRole",
            RoleName=name,
            AssumeRolePolicyDocument=properties["AssumeRolePolicyDocument"],
            Tags=context.tag_list(properties),
            **picked(properties, "Description", "MaxSessionDuration", "Path", "PermissionsBoundary"),
        )["Role"]
        made = Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})
        try:
            self._policies(context, name, {}, properties)
        except Exception:
            self.delete(context, made, properties)
            raise
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        name = made.physical_id
        document = new["AssumeRolePolicyDocument"]
        context.call("iam", "UpdateAssumeRolePolicy", RoleName=name, PolicyDocument=document)
        context.call("iam", "UpdateRole", RoleName=name, **picked(new, "Description", "MaxSessionDuration"))
        self._policies(context, name, old, new)
        if tags := context.tag_list(new):
            context.call("iam", "TagRole", RoleName=name, Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        name = made.physical_id
        for policy in context.call("iam", "ListRolePolicies", RoleName=name)["PolicyNames"]:
            context.call("iam", "DeleteRolePolicy", RoleName=name, PolicyName=policy)
        for policy in context.call("iam", "ListAttachedRolePolicies", RoleName=name)["AttachedPolicies"]:
            context.call("iam", "DetachRolePolicy", RoleName=name, PolicyArn=policy["PolicyArn"])
        context.call("iam", "DeleteRole", RoleName=name)

    @staticmethod
    def _policies(context: Context, name: str, old: Properties, new: Properties) -> None:
        before = {policy["PolicyName"]: policy["PolicyDocument"] for policy in old.get("Policies") or []}
        after = {policy["PolicyName"]: policy["PolicyDocument"] for policy in new.get("Policies") or []}
        for policy, document in after.items():
            if document != before.get(policy):
                context.call("iam", "PutRolePolicy", RoleName=name, PolicyName=policy, PolicyDocument=document)
        for policy in before.keys() - after.keys():
            context.call("iam", "DeleteRolePolicy", RoleName=name, PolicyName=policy)
        attached, wanted = set(old.get("ManagedPolicyArns") or []), set(new.get("ManagedPolicyArns") or [])
        for arn in sorted(wanted - attached):
            context.call("iam", "AttachRolePolicy", RoleName=name, PolicyArn=arn)
        for arn in sorted(attached - wanted):
            context.call("iam", "DetachRolePolicy", RoleName=name, PolicyArn=arn)


class InlinePolicy(Kind):
    properties = _set("PolicyName PolicyDocument Roles")
    replacing = _set("PolicyName")

    def create(self, context: Context, properties: Properties) -> Made:
        for role in properties.get("Roles") or []:
            context.call("iam", "PutRolePolicy", RoleName=role, **picked(properties, "PolicyName", "PolicyDocument"))
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        for role in set(old.get("Roles") or []) - set(new.get("Roles") or []):
            context.call("iam", "DeleteRolePolicy", RoleName=role, PolicyName=old["PolicyName"])
        self.create(context, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for role in properties.get("Roles") or []:
            context.call("iam", "DeleteRolePolicy", RoleName=role, PolicyName=properties["PolicyName"])


class ManagedPolicy(Kind):
    properties = _set("ManagedPolicyName PolicyDocument Description Path Roles")
    replacing = _set("ManagedPolicyName Description Path")
    named_by = "ManagedPolicyName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("ManagedPolicyName") or context.name(128)
        options = picked(properties, "PolicyDocument", "Description", "Path")
        arn = context.call("iam", "CreatePolicy", PolicyName=name, **options)["Policy"]["Arn"]
        for role in properties.get("Roles") or []:
            context.call("iam", "AttachRolePolicy", RoleName=role, PolicyArn=arn)
        return Made(arn, {"PolicyArn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        arn, before, after = made.physical_id, set(old.get("Roles") or []), set(new.get("Roles") or [])
        if old["PolicyDocument"] != new["PolicyDocument"]:
            document = new["PolicyDocument"]
            context.call("iam", "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
        for role in sorted(after - before):
            context.call("iam", "AttachRolePolicy", RoleName=role, PolicyArn=arn)
        for role in sorted(before - after):
            context.call("iam", "DetachRolePolicy", RoleName=role, PolicyArn=arn)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for role in properties.get("Roles") or []:
            context.call("iam", "DetachRolePolicy", RoleName=role, PolicyArn=made.physical_id)
        for version in context.call("iam", "ListPolicyVersions", PolicyArn=made.physical_id)["Versions"]:
            if not version["IsDefaultVersion"]:
                identifier = version["VersionId"]
                context.call("iam", "DeletePolicyVersion", PolicyArn=made.physical_id, VersionId=identifier)
        context.call("iam", "DeletePolicy", PolicyArn=made.physical_id)


class Function(Kind):
    _configuration = (
        "DeadLetterConfig",
        "Description",
        "Environment",
        "EphemeralStorage",
        "FileSystemConfigs",
        "Handler",
        "KmsKeyArn",
        "Layers",
        "LoggingConfig",
        "MemorySize",
        "Role",
        "Runtime",
        "Timeout",
        "TracingConfig",
    )
    properties = _set("FunctionName Code Architectures PackageType ReservedConcurrentExecutions Tags") | set(
        _configuration
    )
    replacing = _set("FunctionName PackageType")
    named_by = "FunctionName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("FunctionName") or context.name(64)
        made = context.call(
            "lambda",
            "CreateFunction",
            FunctionName=name,
            Code=self._code(properties["Code"]),
            Tags=context.tag_map(properties),
            **self._settings(properties),
            **picked(properties, "Architectures", "PackageType"),
        )
        self._reserve(context, name, {}, properties)
        return Made(name, {"Arn": made["FunctionArn"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        name = made.physical_id
        if picked(old, *self._configuration) != picked(new, *self._configuration):
            settings = {"Layers": [], "Environment": {"Variables": {}}, **self._settings(new)}
            context.call("lambda", "UpdateFunctionConfiguration", FunctionName=name, **settings)
        if old["Code"] != new["Code"] or old.get("Architectures") != new.get("Architectures"):
            code = {**self._code(new["Code"]), **picked(new, "Architectures")}
            context.call("lambda", "UpdateFunctionCode", FunctionName=name, **code)
        self._reserve(context, name, old, new)
        if tags := context.tag_map(new):
            context.call("lambda", "TagResource", Resource=made.attributes["Arn"], Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("lambda", "DeleteFunction", FunctionName=made.physical_id)

    def _settings(self, properties: Properties) -> Properties:
        settings = picked(properties, *self._configuration)
        if "KmsKeyArn" in settings:
            settings["KMSKeyArn"] = settings.pop("KmsKeyArn")
        return settings

    @staticmethod
    def _code(code: Properties) -> Properties:
        if "ZipFile" not in code:
            return picked(code, "S3Bucket", "S3Key", "S3ObjectVersion")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("index.py", code["ZipFile"])
        return {"ZipFile": buffer.getvalue()}

    @staticmethod
    def _reserve(context: Context, name: str, old: Properties, new: Properties) -> None:
        number = new.get("ReservedConcurrentExecutions")
        if number is not None:
            context.call("lambda", "PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=number)
        elif old.get("ReservedConcurrentExecutions") is not None:
            context.call("lambda", "DeleteFunctionConcurrency", FunctionName=name)


class LayerVersion(Kind):
    _all = ("LayerName", "Description", "Content", "CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo")
    properties = frozenset(_all)
    replacing = frozenset(_all)

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("LayerName") or context.name(140)
        options = picked(properties, "Description", "CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo")
        arn = context.call("lambda", "PublishLayerVersion", LayerName=name, Content=properties["Content"], **options)[
            "LayerVersionArn"
        ]
        return Made(arn, {"LayerVersionArn": arn})

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        name, version = made.physical_id.rsplit(":", 2)[-2:]
        context.call("lambda", "DeleteLayerVersion", LayerName=name, VersionNumber=version)


class LayerVersionPermission(Kind):
    _all = ("Action", "LayerVersionArn", "OrganizationId", "Principal")
    properties = frozenset(_all)
    replacing = frozenset(_all)

    def create(self, context: Context, properties: Properties) -> Made:
        name, version = properties["LayerVersionArn"].rsplit(":", 2)[-2:]
        statement = context.name(100)
        context.call(
            "lambda",
            "AddLayerVersionPermission",
            LayerName=name,
            VersionNumber=version,
            StatementId=statement,
            **picked(properties, "Action", "OrganizationId", "Principal"),
        )
        return Made(f"{properties['LayerVersionArn']}#{statement}")

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        arn, _, statement = made.physical_id.partition("#")
        name, version = arn.rsplit(":", 2)[-2:]
        context.call(
            "lambda",
            "RemoveLayerVersionPermission",
            LayerName=name,
            VersionNumber=version,
            StatementId=statement,
        )


class Permission(Kind):
    _all = (
        "Action",
        "EventSourceToken",
        "FunctionName",
        "FunctionUrlAuthType",
        "Principal",
        "PrincipalOrgID",
        "SourceAccount",
        "SourceArn",
    )
    properties = frozenset(_all)
    replacing = frozenset(_all)

    def create(self, context: Context, properties: Properties) -> Made:
        statement = context.name(100)
        context.call("lambda", "AddPermission", StatementId=statement, **properties)
        return Made(statement, {"Id": statement})

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call(
            "lambda", "RemovePermission", FunctionName=properties["FunctionName"], StatementId=made.physical_id
        )


class EventInvokeConfig(Kind):
    properties = _set("FunctionName Qualifier DestinationConfig MaximumEventAgeInSeconds MaximumRetryAttempts")
    replacing = _set("FunctionName Qualifier")

    def create(self, context: Context, properties: Properties) -> Made:
        context.call("lambda", "PutFunctionEventInvokeConfig", **properties)
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("lambda", "PutFunctionEventInvokeConfig", **new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("lambda", "DeleteFunctionEventInvokeConfig", **picked(properties, "FunctionName", "Qualifier"))


class EventSourceMapping(Kind):
    _all = (
        "BatchSize",
        "Enabled",
        "EventSourceArn",
        "FilterCriteria",
        "FunctionName",
        "FunctionResponseTypes",
        "MaximumBatchingWindowInSeconds",
        "ScalingConfig",
    )
    properties = _set("Tags") | set(_all)
    replacing = _set("EventSourceArn")

    def create(self, context: Context, properties: Properties) -> Made:
        made = context.call(
            "lambda",
            "CreateEventSourceMapping",
            **picked(properties, *self._all),
            Tags=context.tag_map(properties),
        )
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:event-source-mapping:{made['UUID']}"
        return Made(made["UUID"], {"Id": made["UUID"], "EventSourceMappingArn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        changes = {name: new[name] for name in self._all if name != "EventSourceArn" and name in new}
        context.call("lambda", "UpdateEventSourceMapping", UUID=made.physical_id, **changes)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("lambda", "DeleteEventSourceMapping", UUID=made.physical_id)


class Rule(Kind):
    _all = ("Description", "EventBusName", "EventPattern", "RoleArn", "ScheduleExpression", "State")
    properties = _set("Name Targets Tags") | set(_all)
    replacing = _set("Name EventBusName")
    named_by = "Name"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("Name") or context.name(64)
        arn = self._put(context, name, properties, Tags=context.tag_list(properties))
        made = Made(name, {"Arn": arn})
        try:
            self._targets(context, made, {}, properties)
        except Exception:
            context.call("events", "DeleteRule", Name=name)
            raise
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._put(context, made.physical_id, new)
        self._targets(context, made, old, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._targets(context, made, properties, {})
        context.call("events", "DeleteRule", Name=made.physical_id, **picked(properties, "EventBusName"))

    def _put(self, context: Context, name: str, properties: Properties, **more: Any) -> str:
        arn: str = context.call("events", "PutRule", Name=name, **picked(properties, *self._all), **more)["RuleArn"]
        return arn

    @staticmethod
    def _targets(context: Context, made: Made, old: Properties, new: Properties) -> None:
        kept = {target["Id"] for target in new.get("Targets") or []}
        gone = sorted({target["Id"] for target in old.get("Targets") or []} - kept)
        if gone:
            context.call("events", "RemoveTargets", Rule=made.physical_id, Ids=gone, **picked(old, "EventBusName"))
        if kept:
            answer = context.call(
                "events",
                "PutTargets",
                Rule=made.physical_id,
                Targets=new["Targets"],
                **picked(new, "EventBusName"),
            )
            for failure in answer.get("FailedEntries", ()):
                raise ResourceFailure(f"Target {failure['TargetId']}: {failure['ErrorMessage']}")


class Schedule(Kind):
    _all = (
        "Description",
        "EndDate",
        "FlexibleTimeWindow",
        "GroupName",
        "KmsKeyArn",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "StartDate",
        "State",
        "Target",
    )
    properties = _set("Name") | set(_all)
    replacing = _set("Name GroupName")
    named_by = "Name"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("Name") or context.name(64)
        answer = context.call("scheduler", "CreateSchedule", Name=name, **picked(properties, *self._all))
        return Made(name, {"Arn": answer["ScheduleArn"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("scheduler", "UpdateSchedule", Name=made.physical_id, **picked(new, *self._all))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("scheduler", "DeleteSchedule", Name=made.physical_id, **picked(properties, "GroupName"))


class Alarm(Kind):
    _all = (
        "ActionsEnabled",
        "AlarmActions",
        "AlarmDescription",
        "ComparisonOperator",
        "DatapointsToAlarm",
        "Dimensions",
        "EvaluateLowSampleCountPercentile",
        "EvaluationPeriods",
        "ExtendedStatistic",
        "InsufficientDataActions",
        "MetricName",
        "Metrics",
        "Namespace",
        "OKActions",
        "Period",
        "Statistic",
        "Threshold",
        "ThresholdMetricId",
        "TreatMissingData",
        "Unit",
    )
    properties = _set("AlarmName Tags") | set(_all)
    replacing = _set("AlarmName")
    named_by = "AlarmName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("AlarmName") or context.name(255)
        settings = picked(properties, *self._all)
        context.call("cloudwatch", "PutMetricAlarm", AlarmName=name, Tags=context.tag_list(properties), **settings)
        return Made(name, {"Arn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT_ID}:alarm:{name}"})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("cloudwatch", "PutMetricAlarm", AlarmName=made.physical_id, **picked(new, *self._all))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("cloudwatch", "DeleteAlarms", AlarmNames=[made.physical_id])


class Dashboard(Kind):
    properties = _set("DashboardName DashboardBody Tags")
    replacing = _set("DashboardName")
    named_by = "DashboardName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("DashboardName") or context.name(255)
        tags = context.tag_list(properties)  # of a new dashboard only (PutDashboard, API reference)
        context.call("cloudwatch", "PutDashboard", DashboardName=name, Tags=tags, **picked(properties, "DashboardBody"))
        return Made(name)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        name = made.physical_id
        context.call("cloudwatch", "PutDashboard", DashboardName=name, **picked(new, "DashboardBody"))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("cloudwatch", "DeleteDashboards", DashboardNames=[made.physical_id])


class Parameter(Kind):
    _all = ("AllowedPattern", "DataType", "Description", "Policies", "Tier", "Type", "Value")
    properties = _set("Name Tags") | set(_all)
    replacing = _set("Name")
    named_by = "Name"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("Name") or context.name(512)
        if properties["Type"] == "SecureString":
            raise ResourceFailure("CloudFormation cannot create a SecureString parameter")
        context.call(
            "ssm", "PutParameter", Name=name, Tags=context.tag_list(properties), **picked(properties, *self._all)
        )
        return Made(name, picked(properties, "Type", "Value"))

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("ssm", "PutParameter", Name=made.physical_id, Overwrite=True, **picked(new, *self._all))
        return Made(made.physical_id, picked(new, "Type", "Value"))

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ssm", "DeleteParameter", Name=made.physical_id)


class ModelPackageGroup(Kind):
    properties = _set("ModelPackageGroupName ModelPackageGroupDescription ModelPackageGroupPolicy Tags")
    replacing = _set("ModelPackageGroupName ModelPackageGroupDescription")
    named_by = "ModelPackageGroupName"

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties["ModelPackageGroupName"]
        arn = context.call(
            "sagemaker",
            "CreateModelPackageGroup",
            ModelPackageGroupName=name,
            Tags=context.tag_list(properties),
            **picked(properties, "ModelPackageGroupDescription"),
        )["ModelPackageGroupArn"]
        return Made(arn, {"ModelPackageGroupArn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if tags := context.tag_list(new):
            context.call("sagemaker", "AddTags", ResourceArn=made.physical_id, Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        name = properties["ModelPackageGroupName"]
        context.call("sagemaker", "DeleteModelPackageGroup", ModelPackageGroupName=name)


class Pipeline(Kind):
    """AWS::SageMaker::Pipeline. Its S3 location is spelled otherwise than the API's; it has no attributes."""

    properties = _set(
        "PipelineName PipelineDisplayName PipelineDescription PipelineDefinition RoleArn Tags ParallelismConfiguration"
    )
    replacing = _set("PipelineName")
    named_by = "PipelineName"
    _plain = ("PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration")

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties["PipelineName"]
        context.call(
            "sagemaker",
            "CreatePipeline",
            PipelineName=name,
            Tags=context.tag_list(properties),
            **self._definition(properties),
            **picked(properties, *self._plain),
        )
        return Made(name)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        arn = context.call(
            "sagemaker",
            "UpdatePipeline",
            PipelineName=made.physical_id,
            **self._definition(new),
            **picked(new, *self._plain),
        )["PipelineArn"]
        if tags := context.tag_list(new):
            context.call("sagemaker", "AddTags", ResourceArn=arn, Tags=tags)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sagemaker", "DeletePipeline", PipelineName=made.physical_id)

    @staticmethod
    def _definition(properties: Properties) -> Properties:
        definition = properties["PipelineDefinition"]
        if "PipelineDefinitionBody" in definition:
            return {"PipelineDefinition": definition["PipelineDefinitionBody"]}
        where = definition["PipelineDefinitionS3Location"]
        location = {"Bucket": where["Bucket"], "ObjectKey": where["Key"]}
        if "Version" in where:
            location["VersionId"] = where["Version"]
        return {"PipelineDefinitionS3Location": location}


class Custom(Kind):
    """A custom resource: a function that is sent the request, and answers at the ResponseURL.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/crpg-ref.html
    """

    properties = None
    replacing = _set("ServiceToken")
    default_timeout_seconds = 3600.0

    def create(self, context: Context, properties: Properties) -> Made:
        return self._ask(context, "Create", properties, {})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        """A new PhysicalResourceId in the answer means a replacement; the caller deletes the old one."""
        return self._ask(
            context,
            "Update",
            new,
            {"PhysicalResourceId": made.physical_id, "OldResourceProperties": _strings(_without_timeout(old))},
        )

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._ask(context, "Delete", properties, {"PhysicalResourceId": made.physical_id})

    def _ask(self, context: Context, request_type: str, properties: Properties, more: Properties) -> Made:
        answered = threading.Event()
        answer: dict[str, Any] = {}

        def accept(body: bytes) -> None:
            try:
                answer.update(json.loads(body))
            except (ValueError, TypeError):
                answer.update({"Status": "FAILED", "Reason": "Invalid response object: not a JSON object"})
            answered.set()

        request_id = secrets.token_hex(16)
        request = {
            "RequestType": request_type,
            "RequestId": request_id,
            "ResponseURL": context.callbacks.url(accept),
            "StackId": context.stack_id,
            "LogicalResourceId": context.logical_id,
            "ResourceType": context.kind,
            "ResourceProperties": _strings(_without_timeout(properties)),
            **more,
        }
        seconds = float(properties.get("ServiceTimeout") or self.default_timeout_seconds)
        token = str(properties["ServiceToken"])
        if ":function:" not in token:
            raise ResourceFailure("The laptop asks functions only: ServiceToken must be a function's ARN")
        # As in AWS the call is asynchronous: a function that fails is tried again, and only its answer counts.
        context.account.functions.invoke_async(token, json.dumps(request).encode())
        if not answered.wait(seconds):
            raise ResourceFailure(
                f"CloudFormation did not receive a response from your Custom Resource. Please check your logs for "
                f"requestId [{request_id}]. If you are using the Python cfn-response module, you may need to update "
                f"your Lambda function code so that CloudFormation can attach the updated version."
            )
        if answer.get("Status") != "SUCCESS":
            reason = answer.get("Reason") or "no reason given"
            raise ResourceFailure(f"Received response status [FAILED] from custom resource. Message returned: {reason}")
        physical_id = answer.get("PhysicalResourceId")
        if not physical_id:
            raise ResourceFailure("Invalid PhysicalResourceId")
        return Made(str(physical_id), dict(answer.get("Data") or {}))


def _without_timeout(properties: Properties) -> Properties:
    return {name: value for name, value in properties.items() if name != "ServiceTimeout"}


def _strings(value: Any) -> Any:
    """CloudFormation hands every scalar of a custom resource's properties over as a string."""
    if isinstance(value, dict):
        return {name: _strings(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_strings(member) for member in value]
    return text(value)


class Budget(Kind):
    """AWS::Budgets::Budget. Its name lies inside of `Budget`; its notifications can't be changed in place."""

    properties = _set("Budget NotificationsWithSubscribers ResourceTags")
    replacing = _set("NotificationsWithSubscribers ResourceTags")

    def must_replace(self, old: Properties, new: Properties) -> bool:
        named = old["Budget"].get("BudgetName") != new["Budget"].get("BudgetName")
        return named or super().must_replace(old, new)

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties["Budget"].get("BudgetName") or context.name(100)
        context.call(
            "budgets",
            "CreateBudget",
            AccountId=ACCOUNT_ID,
            Budget=self._budget(name, properties),
            ResourceTags=_resource_tags(context, properties),
            **picked(properties, "NotificationsWithSubscribers"),
        )
        return Made(name)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("budgets", "UpdateBudget", AccountId=ACCOUNT_ID, NewBudget=self._budget(made.physical_id, new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("budgets", "DeleteBudget", AccountId=ACCOUNT_ID, BudgetName=made.physical_id)

    @staticmethod
    def _budget(name: str, properties: Properties) -> Properties:
        return {**properties["Budget"], "BudgetName": name}


class AnomalyMonitor(Kind):
    """AWS::CE::AnomalyMonitor. A custom monitor's specification is JSON text in a template, a structure in the API."""

    properties = _set("MonitorDimension MonitorName MonitorSpecification MonitorType ResourceTags")
    replacing = _set("MonitorDimension MonitorSpecification MonitorType ResourceTags")

    def create(self, context: Context, properties: Properties) -> Made:
        monitor = picked(properties, "MonitorName", "MonitorType", "MonitorDimension")
        if "MonitorSpecification" in properties:
            monitor["MonitorSpecification"] = _json_property(properties, "MonitorSpecification")
        arn = context.call(
            "ce", "CreateAnomalyMonitor", AnomalyMonitor=monitor, ResourceTags=_resource_tags(context, properties)
        )["MonitorArn"]
        return Made(arn, {"MonitorArn": arn})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("ce", "UpdateAnomalyMonitor", MonitorArn=made.physical_id, MonitorName=new["MonitorName"])
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ce", "DeleteAnomalyMonitor", MonitorArn=made.physical_id)


class AnomalySubscription(Kind):
    _all = ("Frequency", "MonitorArnList", "Subscribers", "SubscriptionName", "Threshold")
    properties = _set("ThresholdExpression ResourceTags") | set(_all)
    replacing = _set("ResourceTags")

    def create(self, context: Context, properties: Properties) -> Made:
        arn = context.call(
            "ce",
            "CreateAnomalySubscription",
            AnomalySubscription=self._settings(properties),
            ResourceTags=_resource_tags(context, properties),
        )["SubscriptionArn"]
        return Made(arn, {"SubscriptionArn": arn, "AccountId": ACCOUNT_ID})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("ce", "UpdateAnomalySubscription", SubscriptionArn=made.physical_id, **self._settings(new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ce", "DeleteAnomalySubscription", SubscriptionArn=made.physical_id)

    def _settings(self, properties: Properties) -> Properties:
        settings = picked(properties, *self._all)
        if "ThresholdExpression" in properties:
            settings["ThresholdExpression"] = _json_property(properties, "ThresholdExpression")
        return settings


def _resource_tags(context: Context, properties: Properties) -> list[dict[str, str]]:
    return context.tag_list({"Tags": properties.get("ResourceTags")})


def _json_property(properties: Properties, name: str) -> Any:
    try:
        return json.loads(properties[name])
    except (TypeError, ValueError):
        raise ResourceFailure(f"{name} must be a text that holds JSON, not {properties[name]}") from None


KINDS: dict[str, Kind] = {
    "AWS::Budgets::Budget": Budget(),
    "AWS::CE::AnomalyMonitor": AnomalyMonitor(),
    "AWS::CE::AnomalySubscription": AnomalySubscription(),
    "AWS::CloudFormation::CustomResource": Custom(),
    "AWS::CloudWatch::Alarm": Alarm(),
    "AWS::CloudWatch::Dashboard": Dashboard(),
    "AWS::Events::Rule": Rule(),
    "AWS::IAM::ManagedPolicy": ManagedPolicy(),
    "AWS::IAM::Policy": InlinePolicy(),
    "AWS::IAM::Role": Role(),
    "AWS::Lambda::EventInvokeConfig": EventInvokeConfig(),
    "AWS::Lambda::EventSourceMapping": EventSourceMapping(),
    "AWS::Lambda::Function": Function(),
    "AWS::Lambda::LayerVersion": LayerVersion(),
    "AWS::Lambda::LayerVersionPermission": LayerVersionPermission(),
    "AWS::Lambda::Permission": Permission(),
    "AWS::Logs::LogGroup": LogGroup(),
    "AWS::Logs::QueryDefinition": QueryDefinition(),
    "AWS::S3::Bucket": Bucket(),
    "AWS::S3::BucketPolicy": BucketPolicy(),
    "AWS::SNS::Subscription": Subscription(),
    "AWS::SNS::Topic": Topic(),
    "AWS::SNS::TopicPolicy": TopicPolicy(),
    "AWS::SQS::Queue": Queue(),
    "AWS::SQS::QueuePolicy": QueuePolicy(),
    "AWS::SSM::Parameter": Parameter(),
    "AWS::SageMaker::ModelPackageGroup": ModelPackageGroup(),
    "AWS::SageMaker::Pipeline": Pipeline(),
    "AWS::Scheduler::Schedule": Schedule(),
}


def kind_of(resource_type: str) -> Kind:
    """Raises ResourceFailure for a type that the laptop does not have."""
    if resource_type.startswith("Custom::"):
        return KINDS["AWS::CloudFormation::CustomResource"]
    if resource_type.startswith("AWS::EC2::"):
        from laptop.cloudformation_network import KINDS as NETWORK  # which needs this module, and few stacks need it

        if resource_type in NETWORK:
            return NETWORK[resource_type]
    if resource_type not in KINDS:
        raise ResourceFailure(f"The laptop has no resource type {resource_type}")
    return KINDS[resource_type]
