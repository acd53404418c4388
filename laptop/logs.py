"""CloudWatch Logs is moto's; what it leaves out of FilterLogEvents is added here."""

from __future__ import annotations

from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.logs.models import logs_backends

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError


def install(account: Account) -> None:
    """moto overlooks `logStreamNamePrefix`, so that one job's log would hold every job's lines."""
    account.operations.setdefault("logs", {})["FilterLogEvents"] = _filter_log_events


def _filter_log_events(request: dict[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html"""
    backend = logs_backends[ACCOUNT_ID][REGION]
    group_name = request.get("logGroupName") or request["logGroupIdentifier"].split(":log-group:")[-1].removesuffix(
        ":*"
    )
    streams = request.get("logStreamNames", [])
    prefix = request.get("logStreamNamePrefix")
    if prefix and streams:
        raise ServiceError("InvalidParameterException", "logStreamNames and logStreamNamePrefix exclude each other")
    if prefix:
        group = backend.groups.get(group_name)
        streams = [name for name in (group.streams if group else {}) if name.startswith(prefix)]
        if group and not streams:
            return {"events": [], "searchedLogStreams": []}
    try:
        events, next_token, searched = backend.filter_log_events(
            group_name,
            streams,
            request.get("startTime"),  # type: ignore[arg-type]
            request.get("endTime"),  # type: ignore[arg-type]
            request.get("limit"),
            request.get("nextToken"),
            request.get("filterPattern"),  # type: ignore[arg-type]
            request.get("interleaved", False),
        )
    except JsonRESTError as error:
        raise ServiceError(error.error_type, str(error.message)) from error
    answer: dict[str, Any] = {"events": events, "searchedLogStreams": searched}
    return {**answer, "nextToken": next_token} if next_token else answer
