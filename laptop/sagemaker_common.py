"""What the SageMaker services of the laptop share: ARNs, refusals, tags, pages, roles, and the images it can run."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import unquote

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError

Item = TypeVar("Item")

TAGS_LIMIT = 50  # per resource: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)[:@](?P<tag>.+)"
)
_S3_URI = re.compile(r"(?:s3|https)://(?P<bucket>[^/]+)/?(?P<key>.*)", re.DOTALL)


def arn(kind: str, name: str) -> str:
    """For example `arn:aws:sagemaker:us-east-1:123456789012:training-job/NAME`."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:{kind}/{name}"


def invalid(message: str) -> ServiceError:
    """The refusal that SageMaker gives for most things, also for "there is no such resource"."""
    return ServiceError("ValidationException", message)


def epoch_milliseconds(moment: datetime) -> str:
    """Times in SageMaker's events: milliseconds since 1970 as text.

    Source: the sample events of https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """
    return str(int(moment.timestamp() * 1000))


def event_value(value: Any) -> Any:
    """A value of a Describe call as SageMaker's events spell it: times as epoch_milliseconds, all else as it is."""
    if isinstance(value, datetime):
        return epoch_milliseconds(value)
    if isinstance(value, dict):
        return {name: event_value(item) for name, item in value.items()}
    return [event_value(item) for item in value] if isinstance(value, list) else value


def as_datetime(value: Any) -> datetime:
    """A timestamp parameter, whichever way the protocol spelled it."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str) and not re.fullmatch(r"[0-9.]+", value):
        found = datetime.fromisoformat(value)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(value), UTC)


def between(moment: datetime, after: Any, before: Any) -> bool:
    """Whether a resource's time passes the `...After` and `...Before` filters of a List call."""
    return (after is None or moment > as_datetime(after)) and (before is None or moment < as_datetime(before))


def split_s3_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/key` -> bucket and key (the key may be empty). Raises ServiceError for anything else."""
    match = _S3_URI.fullmatch(uri)
    if match is None or not uri.startswith("s3://"):
        raise invalid(f'The S3 URI "{uri}" is not valid. Expected s3://bucket/key.')
    return match["bucket"], match["key"]


# ------------------------------------------------------------------------------------------------------------------
# Pages


def page(
    items: Sequence[Item], parameters: Mapping[str, Any], key: Callable[[Item], str], default_size: int
) -> tuple[list[Item], dict[str, str]]:
    """One page of a List call, and `{"NextToken": ...}` if there are more. `key` identifies an item in the token.

    Raises ServiceError for a token that this account did not hand out.
    """
    start = 0
    if token := parameters.get("NextToken"):
        last = _read_token(token)
        start = next((position + 1 for position, item in enumerate(items) if key(item) == last), -1)
        if start < 0:
            raise invalid("Invalid NextToken.")
    size = int(parameters.get("MaxResults") or default_size)
    chosen = list(items[start : start + size])
    if start + size < len(items):
        return chosen, {"NextToken": base64.urlsafe_b64encode(json.dumps(key(chosen[-1])).encode()).decode()}
    return chosen, {}


def rows_page(
    rows: list[dict[str, Any]], request: dict[str, Any], member: str, name: str, status: str = "EndpointStatus"
) -> dict[str, Any]:
    """The List operations' filters, order (newest first by default) and pages."""
    sort_key = {"Name": name, "Status": status}.get(request.get("SortBy", ""), "CreationTime")
    rows = [
        row
        for row in rows
        if request.get("NameContains", "") in row[name]
        and between(row["CreationTime"], request.get("CreationTimeAfter"), request.get("CreationTimeBefore"))
        and between(
            row.get("LastModifiedTime", row["CreationTime"]),
            request.get("LastModifiedTimeAfter"),
            request.get("LastModifiedTimeBefore"),
        )
    ]
    rows.sort(key=lambda row: row[sort_key], reverse=request.get("SortOrder", "Descending") == "Descending")
    chosen, more = page(rows, request, lambda row: str(row[name]), 10)
    return {member: chosen, **more}


def _read_token(token: str) -> str:
    try:
        return str(json.loads(base64.urlsafe_b64decode(token.encode())))
    except (binascii.Error, ValueError):
        raise invalid("Invalid NextToken.") from None


# ------------------------------------------------------------------------------------------------------------------
# Tags


def read_tags(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """The Tags parameter as a mapping. Raises ServiceError for a reserved or repeated key."""
    found: dict[str, str] = {}
    for tag in tags or ():
        key, value = tag["Key"], tag["Value"]
        if key.lower().startswith("aws:"):
            raise invalid("aws: prefixed tag key names are not allowed for external use.")
        if key in found:
            raise invalid(f"Duplicate tag keys found. Please note that tag keys are case insensitive: {key}")
        found[key] = value
    return found


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tag_operations(account: Account) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """AddTags, ListTags and DeleteTags for every SageMaker ARN in `account.tags`, whichever part of the laptop owns it.

    A resource has an entry in `account.tags` for as long as it exists, an empty one when it has no tags; an ARN
    without an entry is refused as unknown.
    """

    def known(parameters: Mapping[str, Any]) -> dict[str, str]:
        found = account.tags.get(parameters["ResourceArn"])
        if found is None:
            raise invalid(f"Could not find the resource with ARN {parameters['ResourceArn']}.")
        return found

    def add(parameters: dict[str, Any]) -> dict[str, Any]:
        present, added = known(parameters), read_tags(parameters["Tags"])
        if len(present.keys() | added.keys()) > TAGS_LIMIT:
            raise ServiceError(
                "ResourceLimitExceeded", f"A resource has at most {TAGS_LIMIT} tags: {parameters['ResourceArn']}"
            )
        present.update(added)
        return {"Tags": write_tags(present)}

    def list_(parameters: dict[str, Any]) -> dict[str, Any]:
        chosen, more = page(write_tags(known(parameters)), parameters, lambda tag: tag["Key"], TAGS_LIMIT)
        return {"Tags": chosen, **more}

    def delete(parameters: dict[str, Any]) -> dict[str, Any]:
        present = known(parameters)
        for key in parameters["TagKeys"]:
            present.pop(key, None)
        return {}

    return {"AddTags": add, "ListTags": list_, "DeleteTags": delete}


# ------------------------------------------------------------------------------------------------------------------
# Roles and images


def assert_role_trusts_sagemaker(account: Account, role_arn: str) -> None:
    """Raises ServiceError, worded as SageMaker does, unless the role exists and SageMaker may assume it."""
    from botocore.exceptions import ClientError

    refusal = invalid(
        f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role."
    )
    try:
        role = account.client("iam").get_role(RoleName=role_arn.rsplit("/", 1)[-1])["Role"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchEntity":
            raise refusal from None
        raise
    trust = role["AssumeRolePolicyDocument"]
    if isinstance(trust, str):
        trust = json.loads(unquote(trust))
    if role["Arn"] != role_arn or not any(map(_allows_sagemaker, _list(trust.get("Statement", [])))):
        raise refusal


def _allows_sagemaker(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = _list(principal.get("Service", [])) if isinstance(principal, dict) else []
    return (
        statement.get("Effect") == "Allow"
        and any(action in ("sts:AssumeRole", "sts:*", "*") for action in _list(statement.get("Action", [])))
        and (principal == "*" or "sagemaker.amazonaws.com" in services)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def assert_runnable_image(image: str, *repositories: str) -> str:
    """The image's repository. Raises ServiceError unless it is one of AWS's images that the laptop stands in for.

    `repositories` are for example `pytorch-training` and `sagemaker-xgboost`. The laptop has no Docker: it runs what
    the container would run on this machine's Python, and can't run other images. A region other than the account's is
    refused as AWS does (an image must lie in the job's region, https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AlgorithmSpecification.html).
    """
    match = _ECR_IMAGE.fullmatch(image)
    if match is None:
        raise invalid(
            f'The image "{image}" is not valid. Provide an Amazon Elastic Container Registry path such as '
            f"763104351884.dkr.ecr.{REGION}.amazonaws.com/{repositories[0]}:TAG."
        )
    if match["region"] != REGION:
        raise invalid(f'The image "{image}" lies in {match["region"]}; it must be in the same region, {REGION}.')
    if match["repository"] not in repositories:
        raise invalid(
            f'The laptop runs only AWS\'s {" and ".join(repositories)} images, without Docker; "{image}" needs AWS.'
        )
    return match["repository"]
