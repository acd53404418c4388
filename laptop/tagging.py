"""The Resource Groups Tagging API's GetResources: every resource of the account by its tags.

https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html. The tags of what the
laptop implements lie in `account.tags`; those of the rest are moto's, which is asked only when a call wants them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError

_PAGE = 50
# Services whose resources are the laptop's own, so that moto has nothing to add.
_OWN = frozenset({"sagemaker", "scheduler"})


class Tagging:
    def __init__(self, account: Account) -> None:
        self._account = account

    def get_resources(self, params: dict[str, Any]) -> dict[str, Any]:
        """Pages in the order of the ARNs; a resource without any tag is never in them."""
        types = params.get("ResourceTypeFilters") or []
        filters = params.get("TagFilters") or []
        arns = params.get("ResourceARNList") or []
        if arns and (types or filters or params.get("ResourcesPerPage") or params.get("PaginationToken")):
            raise _invalid("ResourceARNList can't be combined with filters or paging.")
        for one in types:
            if not re.fullmatch(r"[a-z0-9-]+(:[a-zA-Z0-9-]+)?", one):
                raise _invalid(f"{one} is not a resource type: service or service:type.")
        size = int(params.get("ResourcesPerPage") or _PAGE)
        if not 1 <= size <= 100:
            raise _invalid("ResourcesPerPage must be between 1 and 100.")
        after = _read_token(params["PaginationToken"]) if params.get("PaginationToken") else ""
        tags = self._tags(types)
        chosen = sorted(
            arn
            for arn, found in tags.items()
            if arn > after
            and found
            and (not arns or arn in arns)
            and (not types or any(is_of_type(arn, one) for one in types))
            and all(_has(found, one) for one in filters)
        )
        page = chosen[:size]
        return {
            "ResourceTagMappingList": [
                {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags[arn].items()]}
                for arn in page
            ],
            "PaginationToken": _write_token(page[-1]) if len(chosen) > size else "",
        }

    def _tags(self, types: list[str]) -> dict[str, Mapping[str, str]]:
        own: dict[str, Mapping[str, str]] = {arn: dict(found) for arn, found in list(self._account.tags.items())}
        services = {one.partition(":")[0] for one in types}
        if types and services <= _OWN:
            return own
        if types and services <= {*_OWN, "cloudwatch"}:
            return {**_tags_of_alarms(), **own}
        from moto.resourcegroupstaggingapi.models import resourcegroupstaggingapi_backends

        backend = resourcegroupstaggingapi_backends[ACCOUNT_ID][REGION]
        others = {one.arn: dict(one.tags) for one in backend._get_resources_generator()}
        return {**others, **_tags_of_alarms(), **own}


def _tags_of_alarms() -> dict[str, Mapping[str, str]]:
    """moto keeps the tags of alarms, and leaves them out of its own list."""
    from moto.cloudwatch.models import cloudwatch_backends

    backend = cloudwatch_backends[ACCOUNT_ID][REGION]
    alarms = [alarm.alarm_arn for alarm in list(backend.alarms.values())]
    return {arn: backend.tagger.get_tag_dict_for_resource(arn) for arn in alarms}


def is_of_type(arn: str, wanted: str) -> bool:
    """Whether an ARN is of `service` or of `service:type`, where the type is the part before the resource's name."""
    parts = arn.split(":", 5)
    service, _, kind = wanted.partition(":")
    resource = parts[5] if len(parts) == 6 else ""
    # A queue, a topic and a bucket have nothing but their name there.
    typed = re.match(r"([A-Za-z0-9-]+)[/:]", resource)
    plain = {"s3": "bucket", "sqs": "queue", "sns": "topic"}.get(parts[2], "") if len(parts) > 2 else ""
    return len(parts) == 6 and parts[2] == service and kind in ("", typed[1] if typed else plain)


def _has(tags: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    values = wanted.get("Values") or []
    return wanted["Key"] in tags and (not values or tags[wanted["Key"]] in values)


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


def _write_token(arn: str) -> str:
    return base64.urlsafe_b64encode(arn.encode()).decode()


def _read_token(token: str) -> str:
    try:
        arn = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        arn = ""
    if not arn.startswith("arn:"):
        raise ServiceError("PaginationTokenExpiredException", "The pagination token is not valid.")
    return arn


def install(account: Account) -> None:
    """Adds the operation; tags are written by each service's own API."""
    account.operations["resourcegroupstaggingapi"] = {"GetResources": Tagging(account).get_resources}
