"""The template as CloudFormation sees it: transformed by SAM's translator, intrinsics resolved for one stack."""

from __future__ import annotations

import copy
import functools
import re
import tomllib
from pathlib import Path
from typing import Any

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "template.yaml").read_text()
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
TAGS = ["Project", "Environment", "CostCenter", "Owner"]
_PSEUDO = {
    "AWS::StackName": "shop",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}


class _Session:
    region_name = "us-east-1"


@functools.cache
def raw() -> dict[str, Any]:
    """As written: with SAM's resources and CloudFormation's intrinsics."""
    template: dict[str, Any] = yaml_parse(TEXT)
    return template


@functools.cache
def transformed() -> dict[str, Any]:
    """As CloudFormation gets it. The translator wants code in S3, where `sam package` would put it."""
    template = copy.deepcopy(raw())
    for resource in [*template["Resources"].values(), {"Properties": template["Globals"]["Function"]}]:
        for where in ("CodeUri", "ContentUri"):
            if where in resource["Properties"]:
                resource["Properties"][where] = f"s3://packages/{resource['Properties'][where]}"
    translated: dict[str, Any] = Translator({}, Parser(), boto_session=_Session()).translate(template, {})
    return translated


def resources(kind: str | None = None) -> dict[str, dict[str, Any]]:
    """Logical id -> properties, resolved; of one resource type, or all."""
    return {
        name: resolved(resource["Properties"])
        for name, resource in transformed()["Resources"].items()
        if kind in (None, resource["Type"])
    }


def resolved(value: Any) -> Any:
    """With parameters at their defaults. Physical names that CloudFormation would make up are `<id>-name`."""
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return _ref(value["Ref"])
    if set(value) == {"Fn::GetAtt"}:
        logical, attribute = (
            value["Fn::GetAtt"] if isinstance(value["Fn::GetAtt"], list) else value["Fn::GetAtt"].split(".")
        )
        return _attribute(logical, attribute)
    if set(value) == {"Fn::Select"}:
        index, items = value["Fn::Select"]
        return resolved(items)[int(index)]
    if set(value) == {"Fn::Split"}:
        separator, text = value["Fn::Split"]
        return resolved(text).split(separator)
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"]
        return separator.join(resolved(parts))
    if set(value) == {"Fn::If"}:
        condition, then, otherwise = value["Fn::If"]
        return resolved(then if _holds(transformed()["Conditions"][condition]) else otherwise)
    if set(value) == {"Fn::Sub"}:
        text, own = value["Fn::Sub"] if isinstance(value["Fn::Sub"], list) else (value["Fn::Sub"], {})
        return re.sub(
            r"\$\{([^}]+)\}",
            lambda found: str(
                resolved(own[found[1]])
                if found[1] in own
                else _attribute(*found[1].split("."))
                if "." in found[1]
                else _ref(found[1])
            ),
            text,
        )
    return {key: resolved(item) for key, item in value.items()}


def _holds(condition: Any) -> bool:
    match condition:
        case {"Fn::Not": [inner]}:
            return not _holds(inner)
        case {"Fn::Equals": [one, other]}:
            return bool(resolved(one) == resolved(other))
    raise KeyError(f"no condition of this kind here: {condition}")


def _ref(name: str) -> Any:
    if name in _PSEUDO:
        return _PSEUDO[name]
    template = transformed()
    if name in template["Parameters"]:
        return template["Parameters"][name]["Default"]
    kind, properties = template["Resources"][name]["Type"], template["Resources"][name]["Properties"]
    match kind:
        case "AWS::SNS::Topic" | "AWS::Lambda::LayerVersion":
            return _attribute(name, "Arn")
        case "AWS::Lambda::Function":
            return resolved(properties["FunctionName"])
        case "AWS::Logs::LogGroup":
            return resolved(properties["LogGroupName"])
        case "AWS::CloudWatch::Dashboard":
            return resolved(properties["DashboardName"])
        case "AWS::Budgets::Budget":
            return resolved(properties["Budget"]["BudgetName"])
        case "AWS::CE::AnomalyMonitor":
            return f"arn:aws:ce::123456789012:anomalymonitor/{name.lower()}"
        case "AWS::SQS::Queue":
            return f"https://sqs.us-east-1.amazonaws.com/123456789012/{resolved(properties['QueueName'])}"
    return f"{name.lower()}-name"


def _attribute(name: str, attribute: str) -> str:
    resource = transformed()["Resources"][name]
    kind, properties = resource["Type"], resource["Properties"]
    here = "us-east-1:123456789012"
    match kind, attribute:
        case "AWS::S3::Bucket", "Arn":
            return f"arn:aws:s3:::{_ref(name)}"
        case "AWS::SQS::Queue", "Arn":
            return f"arn:aws:sqs:{here}:{resolved(properties['QueueName'])}"
        case "AWS::SQS::Queue", "QueueName":
            return str(resolved(properties["QueueName"]))
        case "AWS::SNS::Topic", "Arn":
            return f"arn:aws:sns:{here}:{resolved(properties['TopicName'])}"
        case "AWS::IAM::Role", "Arn":
            return f"arn:aws:iam::123456789012:role/{_ref(name)}"
        case "AWS::Lambda::Function", "Arn":
            return f"arn:aws:lambda:{here}:function:{resolved(properties['FunctionName'])}"
        case "AWS::Lambda::LayerVersion", "Arn":
            return f"arn:aws:lambda:{here}:layer:{resolved(properties['LayerName'])}:1"
        case "AWS::Logs::LogGroup", "Arn":
            return f"arn:aws:logs:{here}:log-group:{resolved(properties['LogGroupName'])}:*"
        case "AWS::Events::Rule", "Arn":
            return f"arn:aws:events:{here}:rule/{resolved(properties['Name'])}"
        case "AWS::CloudWatch::Alarm", "Arn":
            return f"arn:aws:cloudwatch:{here}:alarm:{resolved(properties['AlarmName'])}"
        case "Custom::ModelCode", "Uri":
            return "s3://artifactbucket-name/code/abc123/sourcedir.tar.gz"
        case "Custom::ModelCode", "Pipelines":
            return "code/abc123/pipelines/def456/"
        case "Custom::ModelCode", "Digest":
            return "abc123"
    raise KeyError(f"{kind} has no attribute {attribute} here")


def statements(role: str) -> list[dict[str, Any]]:
    """The statements of a role's policies."""
    policies = resources("AWS::IAM::Role")[role]["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    """Policies write one thing without a list."""
    return value if isinstance(value, list) else [value]
