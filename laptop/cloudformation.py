"""AWS CloudFormation with the SAM transform: stacks that really make their resources, and fail by name when they can't.

Templates with the transform are translated by SAM's own translator. Resources are made in the order of their
dependencies by calls to the account's own API (laptop/cloudformation_types.py). A failed creation is rolled back to
ROLLBACK_COMPLETE, a failed update to UPDATE_ROLLBACK_COMPLETE, with the reason in the events. moto's CloudFormation is
not used: it ignores resource types and properties that it does not know, and does not roll back.

Stack states and messages: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html.
"""

from __future__ import annotations

import copy
import ipaddress
import itertools
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.cloudformation_types import Context, Made, ResourceFailure, kind_of, text
from laptop.errors import ServiceError
from laptop.runtime_api import CallbackListener

SAM = "AWS::Serverless-2016-10-31"
# SAM looks AWS's managed policies up by name; every other policy is given by ARN or in full.
_MANAGED_POLICIES = {
    name: f"arn:aws:iam::aws:policy/{path}{name}"
    for path, names in (
        ("service-role/", ("AWSLambdaBasicExecutionRole", "AWSLambdaSQSQueueExecutionRole")),
        ("", ("AWSXrayWriteOnlyAccess", "AWSXRayDaemonWriteAccess", "CloudWatchLambdaInsightsExecutionRolePolicy")),
    )
    for name in names
}
_PSEUDO = {
    "AWS::AccountId": ACCOUNT_ID,
    "AWS::NotificationARNs": [],
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()
_LONGEST_BODY = 51_200  # bytes; longer templates must come from S3
_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
}
_RESOURCE_MEMBERS = {
    "Condition",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdateReplacePolicy",
}
_SUB = re.compile(r"\$\{(!?)([^}]*)\}")
_LOGICAL_ID = re.compile(r"[A-Za-z0-9]+")
_STACK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")


def refused(message: str) -> ServiceError:
    return ServiceError("ValidationError", message, 400)


# ------------------------------------------------------------------------------------------------------- Templates


def parse_template(body: str) -> dict[str, Any]:
    """JSON or YAML with the short forms of the intrinsic functions. Raises ServiceError(ValidationError)."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def intrinsic(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        if suffix == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}

    Loader.add_multi_constructor("!", intrinsic)
    try:
        parsed = yaml.load(body, Loader)  # noqa: S506 - derives from the safe loader
    except yaml.YAMLError as error:
        raise refused(f"Template format error: YAML not well-formed. ({str(error).splitlines()[0]})") from None
    if not isinstance(parsed, dict):
        raise refused("Template format error: unsupported structure.")
    template: dict[str, Any] = _plain(parsed)
    unknown = sorted(set(template) - _SECTIONS - {"Globals"})
    if unknown:
        raise refused(f"Invalid template property or properties {unknown}")
    if not template.get("Resources"):
        raise refused("Template format error: At least one Resources member must be defined.")
    return template


def _plain(value: Any) -> Any:
    """YAML reads an unquoted 2012-10-17 as a date; a template means the text."""
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value.isoformat() if isinstance(value, date) else value


def translate(template: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The template without the SAM transform. Raises ServiceError(ValidationError) with the translator's findings."""
    transforms = template.get("Transform") or []
    transforms = [transforms] if isinstance(transforms, str) else transforms
    for transform in transforms:
        if transform != SAM:
            raise refused(f"No transform named {transform} found.")
    if not transforms:
        return template
    import boto3
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of usage statistics that nobody collects
    translator = Translator(None, Parser(), boto_session=boto3.session.Session(region_name=REGION))
    try:
        translated = translator.translate(
            copy.deepcopy(template),
            parameter_values=dict(parameters),
            get_managed_policy_map=lambda: dict(_MANAGED_POLICIES),
        )
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise refused(f"Transform {SAM} failed with: {error.message} {causes}") from None
    result: dict[str, Any] = json.loads(json.dumps(translated))
    result.pop("Transform", None)
    return result


def check_structure(template: dict[str, Any]) -> None:
    """What CloudFormation refuses before it makes anything. Raises ServiceError(ValidationError)."""
    resources, parameters = template["Resources"], template.get("Parameters") or {}
    conditions = template.get("Conditions") or {}
    for logical_id, resource in resources.items():
        if not _LOGICAL_ID.fullmatch(logical_id):
            raise refused(f"Template format error: Resource name {logical_id} is non alphanumeric.")
        if not isinstance(resource, dict) or "Type" not in resource:
            raise refused(
                f"Template format error: [/Resources/{logical_id}] Every Resources object must contain a Type member."
            )
        unknown = sorted(set(resource) - _RESOURCE_MEMBERS)
        if unknown:
            raise refused(f"Invalid template resource property '{unknown[0]}'")
        if resource.get("Condition") not in (None, *conditions):
            raise refused(
                f"Template format error: Condition {resource['Condition']} of resource {logical_id} is not defined"
            )
        for name in _depends_on(resource):
            if name not in resources:
                raise refused(
                    f"Template format error: Unresolved resource dependencies [{name}] in the Resources block"
                )
    for block in ("Resources", "Outputs"):
        names = _references(template.get(block) or {})
        unresolved = sorted(names - set(resources) - set(parameters) - set(_PSEUDO) - _SPECIAL)
        if unresolved:
            raise refused(
                f"Template format error: Unresolved resource dependencies [{', '.join(unresolved)}] "
                f"in the {block} block of the template"
            )


_SPECIAL = {"AWS::NoValue", "AWS::StackId", "AWS::StackName"}


def _uses(resource: Mapping[str, Any]) -> set[str]:
    """Logical ids that a resource refers to or depends on, parameters and pseudo parameters among them."""
    return {*_references(resource.get("Properties") or {}), *_depends_on(resource)}


def _depends_on(resource: Mapping[str, Any]) -> list[str]:
    names = resource.get("DependsOn") or []
    return [names] if isinstance(names, str) else list(names)


def _references(value: Any) -> set[str]:
    """Every name that Ref, Fn::GetAtt and Fn::Sub mention."""
    if isinstance(value, list):
        return set().union(*(_references(member) for member in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    if len(value) == 1:
        (name, argument) = next(iter(value.items()))
        if name == "Ref" and isinstance(argument, str):
            return {argument}
        if name == "Fn::GetAtt":
            parts = argument.split(".") if isinstance(argument, str) else argument
            return {parts[0]} | _references(parts[1:])
        if name == "Fn::Sub":
            pattern, own = (argument, {}) if isinstance(argument, str) else argument
            names = {found[1].split(".")[0] for found in _SUB.findall(pattern) if not found[0]}
            return (names - set(own)) | _references(own)
    return set().union(*(_references(member) for member in value.values())) if value else set()


def check_parameters(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The values that Ref returns. Raises ServiceError(ValidationError) in AWS's words."""
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise refused(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    missing = [name for name, one in declared.items() if name not in given and "Default" not in one]
    if missing:
        raise refused(f"Parameters: [{', '.join(missing)}] must have values")
    return {name: _parameter(name, one, text(given.get(name, one.get("Default")))) for name, one in declared.items()}


def _parameter(name: str, declared: Mapping[str, Any], value: str) -> Any:
    kind = declared.get("Type", "String")
    described = declared.get("ConstraintDescription")

    def unless(passed: bool, message: str) -> None:
        if not passed:
            told = f"Parameter {name} failed to satisfy constraint: {described}" if described else message
            raise refused(told)

    values = [one.strip() for one in value.split(",")] if kind.startswith("List<") or "List" in kind else [value]
    for one in values:
        if "AllowedValues" in declared:
            allowed = [text(option) for option in declared["AllowedValues"]]
            unless(one in allowed, f"Parameter '{name}' must be one of AllowedValues")
        if "AllowedPattern" in declared:
            pattern = declared["AllowedPattern"]
            unless(re.fullmatch(pattern, one) is not None, f"Parameter '{name}' must match pattern {pattern}")
        if "Number" in kind:
            try:
                number = float(one)
            except ValueError:
                raise refused(f"Parameter '{name}' must be a number.") from None
            lowest, highest = declared.get("MinValue"), declared.get("MaxValue")
            unless(
                lowest is None or number >= float(lowest), f"Parameter '{name}' must be a number not less than {lowest}"
            )
            unless(
                highest is None or number <= float(highest),
                f"Parameter '{name}' must be a number not greater than {highest}",
            )
        shortest, longest = declared.get("MinLength"), declared.get("MaxLength")
        unless(
            shortest is None or len(one) >= int(shortest),
            f"Parameter '{name}' must contain at least {shortest} characters",
        )
        unless(
            longest is None or len(one) <= int(longest),
            f"Parameter '{name}' must contain at most {longest} characters",
        )
    if "List" in kind:
        return values
    return value


# ------------------------------------------------------------------------------------------------------ Intrinsics


class Scope:
    """Resolves the intrinsic functions of one template, for given parameters and the resources made so far."""

    def __init__(
        self,
        template: Mapping[str, Any],
        stack: tuple[str, str],
        parameters: Mapping[str, Any],
        made: Mapping[str, Made],
        exports: Callable[[], Mapping[str, str]],
    ) -> None:
        self._template = template
        self._names = {**_PSEUDO, "AWS::StackName": stack[0], "AWS::StackId": stack[1], **parameters}
        self._made = made
        self._exports = exports
        self._conditions: dict[str, bool] = {}

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            conditions = self._template.get("Conditions") or {}
            if name not in conditions:
                raise refused(f"Template format error: Unresolved condition {name}")
            self._conditions[name] = self._true(conditions[name])
        return self._conditions[name]

    def resolve(self, value: Any) -> Any:
        """A value without intrinsic functions. Raises ResourceFailure for what cannot be resolved."""
        resolved = self._value(value)
        return None if resolved is _NO_VALUE else resolved

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(self._value, value) if one is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name == "Ref":
                return self._ref(argument)
            if (
                name == "Condition"
                and isinstance(argument, str)
                and argument in (self._template.get("Conditions") or {})
            ):
                return self.condition(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        members = {name: self._value(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._names:
            return self._names[name]
        if name in self._made:
            return self._made[name].ref or self._made[name].physical_id
        raise ResourceFailure(f"Unresolved resource dependencies [{name}] in the Resources block of the template")

    def _get_att(self, argument: Any) -> Any:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else (argument[0], argument[1:])
        path = attribute if isinstance(attribute, str) else ".".join(str(self._value(part)) for part in attribute)
        if name not in self._made:
            raise ResourceFailure(f"Unresolved resource dependencies [{name}] in the Resources block of the template")
        found = self._made[name].attributes
        if path in found:
            return found[path]
        raise ResourceFailure(f"Template error: resource {name} does not support attribute type {path} in Fn::GetAtt")

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Fn::GetAtt":
                return self._get_att(argument)
            case "Fn::Sub":
                return self._sub(argument)
            case "Fn::Join":
                separator, parts = argument
                return separator.join(text(part) for part in self._value(parts))
            case "Fn::If":
                return self._value(argument[1] if self.condition(argument[0]) else argument[2])
            case "Fn::Select":
                index, options = self._value(argument)
                return options[int(index)]
            case "Fn::Split":
                separator, whole = self._value(argument)
                return whole.split(separator)
            case "Fn::FindInMap":
                found: Any = self._template.get("Mappings") or {}
                for key in self._value(argument)[:3]:
                    if key not in found:
                        raise ResourceFailure(f"Template error: Unable to get mapping for {argument}")
                    found = found[key]
                return found
            case "Fn::Base64":
                import base64

                return base64.b64encode(text(self._value(argument)).encode()).decode()
            case "Fn::ToJsonString":
                return json.dumps(self._value(argument))
            case "Fn::Length":
                return len(self._value(argument))
            case "Fn::Cidr":
                block, count, bits = (self._value(part) for part in argument)
                parts = ipaddress.ip_network(text(block)).subnets(new_prefix=32 - int(bits))
                return [str(part) for part in itertools.islice(parts, int(count))]
            case "Fn::GetAZs":
                return [f"{REGION}{zone}" for zone in "abcdef"]
            case "Fn::ImportValue":
                wanted = self._value(argument)
                exports = self._exports()
                if wanted not in exports:
                    raise ResourceFailure(f"No export named {wanted} found.")
                return exports[wanted]
            case "Fn::Equals" | "Fn::And" | "Fn::Or" | "Fn::Not":
                return self._true({name: argument})
            case _:
                raise ResourceFailure(f"The laptop has no intrinsic function {name}")

    def _sub(self, argument: Any) -> str:
        pattern, own = (argument, {}) if isinstance(argument, str) else argument

        def replace(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{name}}}"
            if name in own:
                return text(self._value(own[name]))
            return text(self._get_att(name) if "." in name else self._ref(name))

        return _SUB.sub(replace, pattern)

    def _true(self, expression: Any) -> bool:
        if not isinstance(expression, dict) or len(expression) != 1:
            raise refused("Template format error: Conditions can only be boolean operations")
        name, argument = next(iter(expression.items()))
        match name:
            case "Fn::Equals":
                one, other = self._value(argument)
                return text(one) == text(other)
            case "Fn::Not":
                return not self._true(argument[0])
            case "Fn::And":
                return all(self._true(one) for one in argument)
            case "Fn::Or":
                return any(self._true(one) for one in argument)
            case "Condition":
                return self.condition(argument)
            case _:
                raise refused(f"Template format error: {name} is not a condition function")


def in_order(resources: Mapping[str, Any]) -> list[str]:
    """Logical ids, each after what it refers to or depends on. Raises ServiceError for a circle."""
    waiting = {name: (_uses(resource) & set(resources)) - {name} for name, resource in resources.items()}
    ordered: list[str] = []
    while waiting:
        free = [name for name, needed in waiting.items() if not needed & set(waiting)]
        if not free:
            raise refused(f"Circular dependency between resources: [{', '.join(waiting)}]")
        for name in free:
            del waiting[name]
        ordered += free
    return ordered


# ---------------------------------------------------------------------------------------------------------- Stacks


@dataclass(frozen=True)
class Plan:
    """What a request asks a stack to be. `template` is the translated one, `body` the text that was handed in."""

    body: str
    template: dict[str, Any]
    given: dict[str, str]
    parameters: dict[str, Any]


@dataclass
class Resource:
    """A resource of a stack: what was asked for, and what was made."""

    logical_id: str
    type: str
    properties: dict[str, Any]
    definition: dict[str, Any]
    made: Made | None
    status: str
    reason: str | None
    at: datetime


@dataclass
class Stack:
    """A stack as it is."""

    name: str
    id: str
    plan: Plan
    tags: dict[str, str]
    capabilities: list[str]
    options: dict[str, Any]
    created: datetime
    status: str
    reason: str | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    change_set_id: str | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    gone: dict[str, Resource] = field(default_factory=dict)  # what a deletion has deleted, or left to itself
    outputs: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def made(self) -> dict[str, Made]:
        return {name: resource.made for name, resource in self.resources.items() if resource.made is not None}

    @property
    def listed(self) -> dict[str, Resource]:
        """As the API tells them: those of a deleted stack are told of for 90 days (ListStackResources, reference)."""
        return {**self.gone, **self.resources} if self.status.startswith("DELETE") else dict(self.resources)


@dataclass
class ChangeSet:
    """A change that was asked for and not carried out yet."""

    name: str
    id: str
    kind: str  # CREATE or UPDATE
    stack: Stack
    plan: Plan
    request: dict[str, Any]
    changes: list[dict[str, Any]]
    created: datetime
    status: str
    reason: str | None
    execution: str


class CloudFormation:
    """All stacks of the account, and the operations of the service on them."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._stacks: list[Stack] = []
        self._change_sets: list[ChangeSet] = []
        self._lock = threading.RLock()
        self.callbacks = CallbackListener()
        account.closers.append(self.callbacks.close)
        operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CancelUpdateStack": self._not_cancelled,
            "CreateChangeSet": self._create_change_set,
            "CreateStack": self._create_stack,
            "DeleteChangeSet": self._delete_change_set,
            "DeleteStack": self._delete_stack,
            "DescribeChangeSet": self._describe_change_set,
            "DescribeStackEvents": self._describe_stack_events,
            "DescribeStackResource": self._describe_stack_resource,
            "DescribeStackResources": self._describe_stack_resources,
            "DescribeStacks": self._describe_stacks,
            "ExecuteChangeSet": self._execute_change_set,
            "GetTemplate": self._get_template,
            "GetTemplateSummary": self._get_template_summary,
            "ListChangeSets": self._list_change_sets,
            "ListExports": self._list_exports,
            "ListStackResources": self._list_stack_resources,
            "ListStacks": self._list_stacks,
            "UpdateStack": self._update_stack,
            "UpdateTerminationProtection": self._update_termination_protection,
            "ValidateTemplate": self._validate_template,
        }
        account.operations.setdefault("cloudformation", {}).update(operations)

    def stack(self, name: str) -> Stack:
        """The stack with that name or id. Raises ServiceError(ValidationError) if there is none."""
        with self._lock:
            for stack in reversed(self._stacks):
                if stack.id == name or (stack.name == name and stack.status != "DELETE_COMPLETE"):
                    return stack
        raise refused(f"Stack with id {name} does not exist")

    # Create, update, delete

    def _create_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["StackName"]
        plan = self._read(request)
        with self._lock:
            self._assert_free(name)
            stack = self._new(name, plan.body, request)
            self._adopt(stack, plan, request)
            self._stacks.append(stack)
        self._start(lambda: self._create(stack))
        return {"StackId": stack.id}

    def _update_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        plan = self._read(request, stack)
        with self._lock:
            self._assert_updatable(stack)
            wanted_tags = _tags(request) if "Tags" in request else stack.tags
            before = (stack.plan.template, stack.plan.parameters, stack.tags)
            if (plan.template, plan.parameters, wanted_tags) == before:
                raise refused("No updates are to be performed.")
            stack.settled.clear()
            self._say(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        self._start(lambda: self._update(stack, plan, request))
        return {"StackId": stack.id}

    def _delete_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            stack = self.stack(request["StackName"])
        except ServiceError:
            return {}  # as AWS does
        if stack.options.get("EnableTerminationProtection"):
            raise refused(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        with self._lock:
            if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
                raise refused(f"Stack:{stack.id} is in {stack.status} state and can not be deleted.")
            if stack.status == "DELETE_COMPLETE":
                return {}
            stack.settled.clear()
            self._say(stack, "DELETE_IN_PROGRESS", "User Initiated")
        self._start(lambda: self._delete(stack, set(request.get("RetainResources") or ())))
        return {}

    def _read(self, request: dict[str, Any], before: Stack | None = None) -> Plan:
        """Raises ServiceError for a template or parameters that CloudFormation refuses."""
        body = before.plan.body if before is not None and request.get("UsePreviousTemplate") else self._body(request)
        template = parse_template(body)
        given: dict[str, str] = {}
        for parameter in request.get("Parameters") or ():
            key = parameter["ParameterKey"]
            if parameter.get("UsePreviousValue"):
                if before is None or key not in (template.get("Parameters") or {}):
                    raise refused(f"Invalid input for parameter key {key}. Cannot specify usePreviousValue as true")
                if key in before.plan.given:
                    given[key] = before.plan.given[key]
            else:
                given[key] = str(parameter.get("ParameterValue", ""))
        parameters = check_parameters(template.get("Parameters") or {}, given)
        shown = {name: ",".join(value) if isinstance(value, list) else value for name, value in parameters.items()}
        translated = translate(template, shown)
        check_structure(translated)
        in_order(translated["Resources"])
        capabilities = set(request.get("Capabilities") or ())
        if (
            template.get("Transform")
            and "ChangeSetName" not in request
            and "CAPABILITY_AUTO_EXPAND" not in capabilities
        ):
            raise ServiceError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_AUTO_EXPAND]")
        kinds = {resource["Type"]: resource for resource in translated["Resources"].values()}
        named = any(
            resource["Type"].startswith("AWS::IAM::")
            and {"RoleName", "ManagedPolicyName", "UserName", "GroupName"} & set(resource.get("Properties") or {})
            for resource in translated["Resources"].values()
        )
        if named and "CAPABILITY_NAMED_IAM" not in capabilities:
            raise ServiceError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]")
        if any(kind.startswith("AWS::IAM::") for kind in kinds) and not (
            capabilities & {"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"}
        ):
            raise ServiceError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
        return Plan(body, translated, given, parameters)

    def _body(self, request: dict[str, Any]) -> str:
        if "TemplateBody" in request:
            body = str(request["TemplateBody"])
            if len(body.encode()) > _LONGEST_BODY:
                raise refused(
                    "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must "
                    f"have length less than or equal to {_LONGEST_BODY}"
                )
            return body
        if "TemplateURL" not in request:
            raise refused("Either Template URL or Template Body must be specified.")
        url = urlsplit(request["TemplateURL"])
        host, path = url.netloc, unquote(url.path).strip("/")
        if host.startswith(("s3.", "s3-")) or host == f"127.0.0.1:{self._account.port}":
            bucket, _, key = path.partition("/")
        else:
            bucket, key = host.split(".s3", 1)[0], path
        from botocore.exceptions import ClientError

        try:
            return str(self._account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        except ClientError as error:
            raise refused(f"S3 error: {error.response['Error']['Message']}") from None

    def _new(self, name: str, body: str, request: dict[str, Any]) -> Stack:
        if not _STACK_NAME.fullmatch(name):
            raise refused(
                f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: Member must "
                "satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
            )
        identifier = f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{name}/{uuid.uuid4()}"
        now = self._account.clock.now()
        return Stack(name, identifier, Plan(body, {}, {}, {}), _tags(request), [], {}, now, "CREATE_IN_PROGRESS")

    @staticmethod
    def _adopt(stack: Stack, plan: Plan, request: dict[str, Any]) -> None:
        stack.plan = plan
        stack.capabilities = list(request.get("Capabilities") or stack.capabilities)
        if "Tags" in request:
            stack.tags = _tags(request)
        for name in ("DisableRollback", "EnableTerminationProtection", "OnFailure", "RoleARN", "NotificationARNs"):
            if name in request:
                stack.options[name] = request[name]

    def _assert_free(self, name: str) -> None:
        if any(stack.name == name and stack.status != "DELETE_COMPLETE" for stack in self._stacks):
            raise ServiceError("AlreadyExistsException", f"Stack [{name}] already exists")

    @staticmethod
    def _assert_updatable(stack: Stack) -> None:
        if not re.fullmatch(r"(CREATE|UPDATE|UPDATE_ROLLBACK|IMPORT)_COMPLETE", stack.status):
            raise refused(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name="cloudformation").start()

    def _create(self, stack: Stack) -> None:
        self._say(stack, "CREATE_IN_PROGRESS", "User Initiated")
        failure = self._bring(stack, {})
        if failure is None:
            self._finish(stack, "CREATE_COMPLETE", None)
            return
        on_failure = stack.options.get("OnFailure") or ("DO_NOTHING" if stack.options.get("DisableRollback") else None)
        if on_failure == "DO_NOTHING":
            self._finish(stack, "CREATE_FAILED", failure)
            return
        self._say(stack, "ROLLBACK_IN_PROGRESS", f"{failure}. Rollback requested by user.")
        kept = self._remove(stack, list(reversed(stack.resources)), rolling_back=True)
        self._finish(stack, "ROLLBACK_FAILED" if kept else "ROLLBACK_COMPLETE", failure)

    def _update(self, stack: Stack, plan: Plan, request: dict[str, Any]) -> None:
        before, tags_before = stack.plan, stack.tags
        old = {name: copy.copy(resource) for name, resource in stack.resources.items()}
        self._adopt(stack, plan, request)
        replaced: dict[str, Resource] = {}
        failure = self._bring(stack, replaced)
        if failure is None:
            stack.updated = self._account.clock.now()
            self._say(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None)
            gone = [name for name in stack.resources if name not in self._wanted(stack)]
            order = {name: index for index, name in enumerate(in_order(before.template["Resources"]))}
            self._remove(stack, sorted(gone, key=lambda name: -order.get(name, 0)))
            for resource in replaced.values():
                self._discard(stack, resource)
            self._finish(stack, "UPDATE_COMPLETE", None)
            return
        self._say(stack, "UPDATE_ROLLBACK_IN_PROGRESS", failure)
        stack.plan, stack.tags = before, tags_before
        # New resources go, changed ones go back, replaced ones are still there.
        made_since = [name for name in stack.resources if name not in old]
        abandoned = []
        for name, resource in replaced.items():
            abandoned.append(stack.resources[name])
            stack.resources[name] = resource
        second = self._bring(stack, {})
        self._remove(stack, list(reversed(made_since)), rolling_back=True)
        for resource in abandoned:
            self._discard(stack, resource)
        self._finish(stack, "UPDATE_ROLLBACK_FAILED" if second else "UPDATE_ROLLBACK_COMPLETE", second or failure)

    def _delete(self, stack: Stack, retained: set[str]) -> None:
        for name in retained:
            stack.resources.pop(name, None)
        kept = self._remove(stack, list(reversed(self._made_order(stack))))
        if kept:
            reason = f"The following resource(s) failed to delete: [{', '.join(kept)}]. "
            self._finish(stack, "DELETE_FAILED", reason)
            return
        stack.deleted = self._account.clock.now()
        self._finish(stack, "DELETE_COMPLETE", None)

    @staticmethod
    def _made_order(stack: Stack) -> list[str]:
        order = {name: index for index, name in enumerate(in_order(stack.plan.template.get("Resources") or {}))}
        return sorted(stack.resources, key=lambda name: order.get(name, -1))

    def _wanted(self, stack: Stack) -> dict[str, dict[str, Any]]:
        """The template's resources whose condition holds."""
        scope = self._scope(stack)
        return {
            name: resource
            for name, resource in stack.plan.template["Resources"].items()
            if "Condition" not in resource or scope.condition(resource["Condition"])
        }

    def _scope(self, stack: Stack, plan: Plan | None = None) -> Scope:
        plan = plan or stack.plan
        return Scope(plan.template, (stack.name, stack.id), plan.parameters, stack.made, self._exports)

    def _bring(self, stack: Stack, replaced: dict[str, Resource]) -> str | None:
        """Creates and changes resources until they are as the template says; the reason if one cannot be."""
        wanted = self._wanted(stack)
        for name in in_order(wanted):
            definition = wanted[name]
            existing = stack.resources.get(name)
            verb = "CREATE" if existing is None or existing.made is None else "UPDATE"
            attempted = existing.properties if existing else {}
            try:
                scope = self._scope(stack)
                properties = scope.resolve(definition.get("Properties") or {})
                kind = kind_of(definition["Type"])
                if kind.properties is not None:
                    unknown = sorted(set(properties) - kind.properties)
                    if unknown:
                        raise ResourceFailure(f"Encountered unsupported property {unknown[0]}")
                context = self._context(stack, name, definition["Type"])
                if existing is None or existing.made is None:
                    self._tell(stack, name, definition, properties, None, "CREATE_IN_PROGRESS", None)
                    made = kind.create(context, properties)
                elif existing.type != definition["Type"]:
                    raise ResourceFailure(f"Update of resource type is not permitted for {name}")
                elif existing.properties == properties:
                    existing.definition = definition
                    continue
                else:
                    self._tell(stack, name, definition, existing.properties, existing.made, "UPDATE_IN_PROGRESS", None)
                    attempted = properties
                    if kind.must_replace(existing.properties, properties):
                        if kind.named_by and existing.properties.get(kind.named_by) == properties.get(
                            kind.named_by, object()
                        ):
                            named = properties[kind.named_by]
                            raise ResourceFailure(
                                "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
                                f"Rename {named} and update the stack again."
                            )
                        made = kind.create(context, properties)
                        replaced[name] = existing
                    else:
                        made = kind.update(context, existing.made, existing.properties, properties)
                        if made.physical_id != existing.made.physical_id:
                            replaced[name] = existing
            except Exception as error:
                reason = _reason(error)
                made_before = existing.made if existing else None
                # With the properties that were tried, so that a rollback puts the old ones back.
                self._tell(stack, name, definition, attempted, made_before, f"{verb}_FAILED", reason)
                self._account.journal.record(
                    "stack", stack=stack.name, resource=name, status=f"{verb}_FAILED", reason=reason
                )
                return f"The following resource(s) failed to {verb.lower()}: [{name}]. {name}: {reason}"
            self._tell(stack, name, definition, properties, made, f"{verb}_COMPLETE", None)
        return self._output(stack)

    def _output(self, stack: Stack) -> str | None:
        scope = self._scope(stack)
        outputs = []
        try:
            for name, output in (stack.plan.template.get("Outputs") or {}).items():
                if "Condition" in output and not scope.condition(output["Condition"]):
                    continue
                shown = {"OutputKey": name, "OutputValue": text(scope.resolve(output["Value"]))}
                if "Description" in output:
                    shown["Description"] = output["Description"]
                if "Export" in output:
                    shown["ExportName"] = text(scope.resolve(output["Export"]["Name"]))
                outputs.append(shown)
        except (ResourceFailure, ServiceError) as error:
            return _reason(error)
        stack.outputs = outputs
        return None

    def _remove(self, stack: Stack, names: list[str], rolling_back: bool = False) -> list[str]:
        """Deletes resources in that order; the names of those that could not be. What these use is left as it is."""
        kept: list[str] = []
        used: set[str] = set()
        for name in names:
            resource = stack.resources[name]
            if name in used:
                used |= _uses(resource.definition)
                continue
            policy = resource.definition.get("DeletionPolicy", "Delete")
            if resource.made is None:
                self._tell_again(stack, resource, "DELETE_COMPLETE", None)
                continue
            if policy == "Retain" or (policy == "RetainExceptOnCreate" and not rolling_back):
                self._tell_again(stack, resource, "DELETE_SKIPPED", None)
                continue
            if self._discard(stack, resource):
                kept.append(name)
                used |= _uses(resource.definition)
        return kept

    def _discard(self, stack: Stack, resource: Resource) -> str | None:
        """Deletes one resource; the reason if that fails."""
        from botocore.exceptions import ClientError

        if resource.made is None:
            return None
        current = stack.resources.get(resource.logical_id)
        replaced = current is not resource and current is not None
        if replaced and resource.definition.get("UpdateReplacePolicy") == "Retain":
            return None
        if not replaced:
            self._tell_again(stack, resource, "DELETE_IN_PROGRESS", None)
        try:
            context = self._context(stack, resource.logical_id, resource.type)
            kind_of(resource.type).delete(context, resource.made, resource.properties)
        except Exception as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if not re.search(r"NotFound|NoSuch|NonExistent", code):
                reason = _reason(error)
                if not replaced:
                    self._tell_again(stack, resource, "DELETE_FAILED", reason)
                self._account.journal.record(
                    "stack", stack=stack.name, resource=resource.logical_id, status="DELETE_FAILED", reason=reason
                )
                return reason
        if not replaced:
            resource.made = None
            self._tell_again(stack, resource, "DELETE_COMPLETE", None)
        return None

    def _context(self, stack: Stack, logical_id: str, kind: str) -> Context:
        context = Context(self._account, self.callbacks, (stack.name, stack.id), logical_id, kind)
        context.tags = dict(stack.tags)
        return context

    # What is told about it

    def _tell(
        self,
        stack: Stack,
        name: str,
        definition: dict[str, Any],
        properties: dict[str, Any],
        made: Made | None,
        status: str,
        reason: str | None,
    ) -> None:
        now = self._account.clock.now()
        resource = Resource(name, definition["Type"], properties, definition, made, status, reason, now)
        stack.resources[name] = resource
        self._event(stack, name, resource.type, made.physical_id if made else "", status, reason, properties)

    def _tell_again(self, stack: Stack, resource: Resource, status: str, reason: str | None) -> None:
        physical_id = resource.made.physical_id if resource.made else ""
        resource.status, resource.reason, resource.at = status, reason, self._account.clock.now()
        self._event(stack, resource.logical_id, resource.type, physical_id, status, reason, resource.properties)
        if status in ("DELETE_COMPLETE", "DELETE_SKIPPED"):
            stack.resources.pop(resource.logical_id, None)
            stack.gone[resource.logical_id] = resource

    def _say(self, stack: Stack, status: str, reason: str | None) -> None:
        stack.status, stack.reason = status, reason
        self._event(stack, stack.name, "AWS::CloudFormation::Stack", stack.id, status, reason, None)
        self._account.journal.record("stack", stack=stack.name, status=status, reason=reason)

    def _finish(self, stack: Stack, status: str, reason: str | None) -> None:
        self._say(stack, status, reason)
        stack.settled.set()

    def _event(
        self,
        stack: Stack,
        logical_id: str,
        kind: str,
        physical_id: str,
        status: str,
        reason: str | None,
        properties: dict[str, Any] | None,
    ) -> None:
        event = {
            "StackId": stack.id,
            "EventId": str(uuid.uuid4()),
            "StackName": stack.name,
            "LogicalResourceId": logical_id,
            "PhysicalResourceId": physical_id,
            "ResourceType": kind,
            "Timestamp": self._account.clock.now(),
            "ResourceStatus": status,
        }
        if reason:
            event["ResourceStatusReason"] = reason
        if properties:
            event["ResourceProperties"] = json.dumps(properties)
        stack.events.append(event)

    # Describe and list

    def _describe_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("StackName"):
            return {"Stacks": [_shown(self.stack(request["StackName"]))]}
        with self._lock:
            return {"Stacks": [_shown(stack) for stack in self._stacks if stack.status != "DELETE_COMPLETE"]}

    def _list_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("StackStatusFilter")
        with self._lock:
            stacks = [stack for stack in self._stacks if not wanted or stack.status in wanted]
        return {"StackSummaries": [_summary(stack) for stack in reversed(stacks)]}

    def _describe_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        if "PhysicalResourceId" in request and "StackName" not in request:
            stacks = [
                stack
                for stack in self._stacks
                if any(made.physical_id == request["PhysicalResourceId"] for made in stack.made.values())
            ]
            if not stacks:
                raise refused(f"Stack for {request['PhysicalResourceId']} does not exist")
        else:
            stacks = [self.stack(request["StackName"])]
        stack = stacks[0]
        logical_id = request.get("LogicalResourceId")
        return {
            "StackResources": [
                {"StackName": stack.name, "StackId": stack.id, **_resource(resource), "Timestamp": resource.at}
                for name, resource in stack.listed.items()
                if logical_id in (None, name)
            ]
        }

    def _describe_stack_resource(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        resource = stack.resources.get(request["LogicalResourceId"])
        if resource is None:
            raise refused(f"Resource {request['LogicalResourceId']} does not exist for stack {stack.name}")
        shown = {"StackName": stack.name, "StackId": stack.id, **_resource(resource)}
        shown |= {
            "LastUpdatedTimestamp": resource.at,
            "Metadata": json.dumps(resource.definition.get("Metadata") or {}),
        }
        return {"StackResourceDetail": shown}

    def _list_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        return {
            "StackResourceSummaries": [
                {**_resource(resource), "LastUpdatedTimestamp": resource.at} for resource in stack.listed.values()
            ]
        }

    def _describe_stack_events(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"StackEvents": list(reversed(self.stack(request["StackName"]).events))}

    def _get_template(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        original = request.get("TemplateStage") == "Original"
        plan = stack.plan
        body = plan.body if original or SAM not in plan.body else json.dumps(plan.template)
        return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}

    def _get_template_summary(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("StackName"):
            body = self.stack(request["StackName"]).plan.body
        else:
            body = self._body(request)
        template = parse_template(body)
        kinds = sorted({resource["Type"] for resource in template["Resources"].values()})
        transforms = template.get("Transform") or []
        shown: dict[str, Any] = {"Parameters": _declared(template), "ResourceTypes": kinds}
        if "Description" in template:
            shown["Description"] = template["Description"]
        if transforms:
            shown["DeclaredTransforms"] = [transforms] if isinstance(transforms, str) else transforms
        if any(kind.startswith(("AWS::IAM::", "AWS::Serverless::Function")) for kind in kinds):
            shown["Capabilities"] = ["CAPABILITY_IAM"]
            shown["CapabilitiesReason"] = "The following resource(s) require capabilities: [AWS::IAM::Role]"
        return shown

    def _validate_template(self, request: dict[str, Any]) -> dict[str, Any]:
        template = parse_template(self._body(request))
        keys = ("ParameterKey", "DefaultValue", "NoEcho", "Description")
        parameters = [{key: one[key] for key in keys if key in one} for one in _declared(template)]
        shown: dict[str, Any] = {"Parameters": parameters}
        if "Description" in template:
            shown["Description"] = template["Description"]
        return shown

    def _exports(self) -> dict[str, str]:
        with self._lock:
            return {
                output["ExportName"]: output["OutputValue"]
                for stack in self._stacks
                if stack.status != "DELETE_COMPLETE"
                for output in stack.outputs
                if "ExportName" in output
            }

    def _list_exports(self, request: dict[str, Any]) -> dict[str, Any]:
        exports = [
            {"ExportingStackId": stack.id, "Name": output["ExportName"], "Value": output["OutputValue"]}
            for stack in self._stacks
            if stack.status != "DELETE_COMPLETE"
            for output in stack.outputs
            if "ExportName" in output
        ]
        return {"Exports": exports}

    def _update_termination_protection(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        stack.options["EnableTerminationProtection"] = request["EnableTerminationProtection"]
        return {"StackId": stack.id}

    def _not_cancelled(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        raise refused(f"CancelUpdateStack cannot be called from current stack status: {stack.status}")

    # Change sets

    def _create_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        name, kind = request["StackName"], request.get("ChangeSetType", "UPDATE")
        with self._lock:
            if kind == "CREATE":
                under_review = [
                    stack for stack in self._stacks if stack.name == name and stack.status == "REVIEW_IN_PROGRESS"
                ]
                if not under_review:
                    self._assert_free(name)
                before = None
            else:
                before = self.stack(name)
                self._assert_updatable(before)
        plan = self._read(request, before)
        with self._lock:
            if kind == "CREATE" and not under_review:
                stack = self._new(name, plan.body, request)
                self._stacks.append(stack)
                self._say(stack, "REVIEW_IN_PROGRESS", "User Initiated")
                stack.settled.set()
            else:
                stack = before or under_review[0]
            changes = self._changes(stack, plan)
            tags_changed = "Tags" in request and _tags(request) != stack.tags
            unchanged = kind == "UPDATE" and not changes and not tags_changed
            change_set = ChangeSet(
                request["ChangeSetName"],
                f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:changeSet/{request['ChangeSetName']}/{uuid.uuid4()}",
                kind,
                stack,
                plan,
                request,
                changes,
                self._account.clock.now(),
                "FAILED" if unchanged else "CREATE_COMPLETE",
                "The submitted information didn't contain changes. Submit different information to create a change set."
                if unchanged
                else None,
                "UNAVAILABLE" if unchanged else "AVAILABLE",
            )
            self._change_sets.append(change_set)
        return {"Id": change_set.id, "StackId": stack.id}

    def _changes(self, stack: Stack, plan: Plan) -> list[dict[str, Any]]:
        scope = self._scope(stack, plan)
        wanted = {
            name: resource
            for name, resource in plan.template["Resources"].items()
            if "Condition" not in resource or scope.condition(resource["Condition"])
        }
        changes: list[dict[str, Any]] = []
        for name in sorted({*wanted, *stack.resources}):
            existing, definition = stack.resources.get(name), wanted.get(name)
            change: dict[str, Any] = {"LogicalResourceId": name}
            if existing is None or existing.made is None:
                if definition is None:
                    continue
                change |= {"Action": "Add", "ResourceType": definition["Type"], "Scope": [], "Details": []}
            elif definition is None:
                change |= {"Action": "Remove", "ResourceType": existing.type, "Scope": [], "Details": []}
                change["PhysicalResourceId"] = existing.made.physical_id
            else:
                try:
                    properties = scope.resolve(definition.get("Properties") or {})
                    replaced = kind_of(definition["Type"]).must_replace(existing.properties, properties)
                    replacement = "True" if replaced else "False"
                except ResourceFailure:  # it refers to something that is not made yet
                    properties, replacement = None, "Conditional"
                if properties == existing.properties:
                    continue
                change |= {"Action": "Modify", "ResourceType": existing.type, "Scope": ["Properties"], "Details": []}
                change |= {"PhysicalResourceId": existing.made.physical_id, "Replacement": replacement}
            changes.append({"Type": "Resource", "ResourceChange": change})
        return changes

    def _change_set(self, request: dict[str, Any]) -> ChangeSet:
        name = request["ChangeSetName"]
        for change_set in reversed(self._change_sets):
            if change_set.id == name or (
                change_set.name == name and request.get("StackName") in (change_set.stack.name, change_set.stack.id)
            ):
                return change_set
        raise ServiceError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)

    def _describe_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        change_set = self._change_set(request)
        shown = {**_change_set_summary(change_set), "Changes": change_set.changes}
        shown["Parameters"] = _parameters(change_set.plan)
        shown["Capabilities"] = list(change_set.request.get("Capabilities") or [])
        shown["Tags"] = change_set.request.get("Tags") or []
        return shown

    def _list_change_sets(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stack(request["StackName"])
        return {"Summaries": [_change_set_summary(one) for one in self._change_sets if one.stack is stack]}

    def _delete_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            change_set = self._change_set(request)
        except ServiceError:
            return {}
        with self._lock:
            self._change_sets.remove(change_set)
        return {}

    def _execute_change_set(self, request: dict[str, Any]) -> dict[str, Any]:
        change_set = self._change_set(request)
        stack = change_set.stack
        with self._lock:
            if change_set.execution != "AVAILABLE":
                raise ServiceError(
                    "InvalidChangeSetStatus",
                    f"ChangeSet [{change_set.id}] cannot be executed in its current status of [{change_set.status}]",
                )
            if change_set.kind == "UPDATE":
                self._assert_updatable(stack)
            change_set.execution = "EXECUTE_COMPLETE"
            stack.change_set_id = change_set.id
            stack.settled.clear()
            if change_set.kind == "CREATE":
                stack.status = "CREATE_IN_PROGRESS"
                self._adopt(stack, change_set.plan, change_set.request)
            else:
                self._say(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        if change_set.kind == "CREATE":
            self._start(lambda: self._create(stack))
        else:
            self._start(lambda: self._update(stack, change_set.plan, change_set.request))
        return {}


def _reason(error: Exception) -> str:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        detail = error.response["Error"]
        metadata = error.response["ResponseMetadata"]
        return (
            f"{detail.get('Message')} (Service: {error.operation_name}, Status Code: {metadata.get('HTTPStatusCode')}, "
            f"Error Code: {detail.get('Code')})"
        )
    if isinstance(error, (ResourceFailure, ServiceError)):
        return str(error)
    if isinstance(error, KeyError):
        return f"Properties validation failed: required key {error} not found"
    return f"{type(error).__name__}: {error}"


def _tags(request: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}


def _parameters(plan: Plan) -> list[dict[str, str]]:
    hidden = {
        name
        for name, one in (plan.template.get("Parameters") or {}).items()
        if text(one.get("NoEcho", False)) == "true"
    }
    return [
        {
            "ParameterKey": name,
            "ParameterValue": "****" if name in hidden else ",".join(value) if isinstance(value, list) else value,
        }
        for name, value in plan.parameters.items()
    ]


def _declared(template: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for name, one in (template.get("Parameters") or {}).items():
        parameter: dict[str, Any] = {"ParameterKey": name, "ParameterType": one.get("Type", "String")}
        if "Default" in one:
            parameter["DefaultValue"] = text(one["Default"])
        if "Description" in one:
            parameter["Description"] = one["Description"]
        parameter["NoEcho"] = text(one.get("NoEcho", False)) == "true"
        if "AllowedValues" in one:
            parameter["ParameterConstraints"] = {"AllowedValues": [text(value) for value in one["AllowedValues"]]}
        shown.append(parameter)
    return shown


def _shown(stack: Stack) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "StackId": stack.id,
        "StackName": stack.name,
        "Parameters": _parameters(stack.plan),
        "CreationTime": stack.created,
        "StackStatus": stack.status,
        "DisableRollback": bool(stack.options.get("DisableRollback", False)),
        "NotificationARNs": list(stack.options.get("NotificationARNs") or []),
        "Capabilities": stack.capabilities,
        "Outputs": stack.outputs,
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        "EnableTerminationProtection": bool(stack.options.get("EnableTerminationProtection", False)),
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
        "RollbackConfiguration": {},
    }
    optional = {
        "StackStatusReason": stack.reason,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "ChangeSetId": stack.change_set_id,
        "Description": stack.plan.template.get("Description"),
        "RoleARN": stack.options.get("RoleARN"),
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def _summary(stack: Stack) -> dict[str, Any]:
    shown = {
        "StackId": stack.id,
        "StackName": stack.name,
        "CreationTime": stack.created,
        "StackStatus": stack.status,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }
    optional = {
        "TemplateDescription": stack.plan.template.get("Description"),
        "StackStatusReason": stack.reason,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def _resource(resource: Resource) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "LogicalResourceId": resource.logical_id,
        "ResourceType": resource.type,
        "ResourceStatus": resource.status,
        "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
    }
    if resource.made is not None:
        shown["PhysicalResourceId"] = resource.made.physical_id
    if resource.reason:
        shown["ResourceStatusReason"] = resource.reason
    return shown


def _change_set_summary(change_set: ChangeSet) -> dict[str, Any]:
    shown = {
        "StackId": change_set.stack.id,
        "StackName": change_set.stack.name,
        "ChangeSetId": change_set.id,
        "ChangeSetName": change_set.name,
        "ExecutionStatus": change_set.execution,
        "Status": change_set.status,
        "CreationTime": change_set.created,
    }
    if change_set.reason:
        shown["StatusReason"] = change_set.reason
    if "Description" in change_set.request:
        shown["Description"] = change_set.request["Description"]
    return shown


_installed: dict[int, CloudFormation] = {}


def of(account: Account) -> CloudFormation:
    """The account's CloudFormation. Raises KeyError before `install`."""
    return _installed[account.port]


def install(account: Account) -> None:
    """Registers the service's operations."""
    _installed[account.port] = CloudFormation(account)
