"""What a request asks a CloudFormation stack to be: template and parameters, refused as CloudFormation refuses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from laptop.account import Account
from laptop.cloudformation_template import (
    check_parameters,
    check_structure,
    in_order,
    parse_template,
    refused,
    translate,
)
from laptop.cloudformation_types import text
from laptop.errors import ServiceError

_LONGEST_BODY = 51_200  # bytes; longer templates must come from S3


@dataclass(frozen=True)
class Plan:
    """What a request asks a stack to be. `template` is the translated one, `body` the text that was handed in."""

    body: str
    template: dict[str, Any]
    given: dict[str, str]
    parameters: dict[str, Any]


def read_plan(account: Account, request: Mapping[str, Any], before: Plan | None = None) -> Plan:
    """`before` is what the stack is now. Raises ServiceError for a template or parameters that are refused."""
    body = before.body if before is not None and request.get("UsePreviousTemplate") else body_of(account, request)
    template = parse_template(body)
    given: dict[str, str] = {}
    for parameter in request.get("Parameters") or ():
        key = parameter["ParameterKey"]
        if parameter.get("UsePreviousValue"):
            if before is None or key not in (template.get("Parameters") or {}):
                raise refused(f"Invalid input for parameter key {key}. Cannot specify usePreviousValue as true")
            if key in before.given:
                given[key] = before.given[key]
        else:
            given[key] = str(parameter.get("ParameterValue", ""))
    parameters = check_parameters(template.get("Parameters") or {}, given)
    shown = {name: ",".join(value) if isinstance(value, list) else value for name, value in parameters.items()}
    translated = translate(template, shown)
    check_structure(translated)
    in_order(translated["Resources"])
    capabilities = set(request.get("Capabilities") or ())
    if template.get("Transform") and "ChangeSetName" not in request and "CAPABILITY_AUTO_EXPAND" not in capabilities:
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


def body_of(account: Account, request: Mapping[str, Any]) -> str:
    """The text of the template that a request has or points at. Raises ServiceError."""
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
    if host.startswith(("s3.", "s3-")) or host == f"127.0.0.1:{account.port}":
        bucket, _, key = path.partition("/")
    else:
        bucket, key = host.split(".s3", 1)[0], path
    from botocore.exceptions import ClientError

    try:
        return str(account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())
    except ClientError as error:
        raise refused(f"S3 error: {error.response['Error']['Message']}") from None


def shown_parameters(plan: Plan) -> list[dict[str, str]]:
    """As the API tells them: those with NoEcho are hidden."""
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
