"""A CloudFormation template: read, translated from SAM, checked as AWS checks it, and its intrinsic functions resolved.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
"""

from __future__ import annotations

import copy
import ipaddress
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from laptop.account import ACCOUNT_ID, REGION
from laptop.cloudformation_types import Made, ResourceFailure, text
from laptop.errors import ServiceError

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


def refused(message: str) -> ServiceError:
    return ServiceError("ValidationError", message, 400)


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


def uses(resource: Mapping[str, Any]) -> set[str]:
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
    waiting = {name: (uses(resource) & set(resources)) - {name} for name, resource in resources.items()}
    ordered: list[str] = []
    while waiting:
        free = [name for name, needed in waiting.items() if not needed & set(waiting)]
        if not free:
            raise refused(f"Circular dependency between resources: [{', '.join(waiting)}]")
        for name in free:
            del waiting[name]
        ordered += free
    return ordered
