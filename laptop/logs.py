"""CloudWatch Logs is moto's; what it leaves out of FilterLogEvents is added here, and all of Logs Insights.

moto answers any query with every line, whatever its filter; the queries here are really run (laptop/insights.py).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.logs.models import logs_backends

from laptop import insights
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.clock import Clock
from laptop.errors import ServiceError


def install(account: Account) -> None:
    """moto overlooks `logStreamNamePrefix`, so that one job's log would hold every job's lines."""
    queries = Queries(account.clock)
    account.operations.setdefault("logs", {}).update(
        {
            "FilterLogEvents": _filter_log_events,
            "StartQuery": queries.start,
            "GetQueryResults": queries.results,
            "StopQuery": queries.stop,
            "DescribeQueries": queries.describe,
            "PutQueryDefinition": queries.save,
            "DescribeQueryDefinitions": queries.saved,
            "DeleteQueryDefinition": queries.forget,
        }
    )


@dataclass
class Queries:
    """Logs Insights: saved queries, and queries that have ended by the time that StartQuery answers."""

    clock: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _run: dict[str, dict[str, Any]] = field(default_factory=dict)  # as GetQueryResults and DescribeQueries tell it
    _saved: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html"""
        if request.get("queryLanguage", "CWLI") != "CWLI":
            raise ServiceError("InvalidParameterException", "The laptop has only the language CWLI.")
        named = [
            *([request["logGroupName"]] if "logGroupName" in request else []),
            *request.get("logGroupNames", []),
            *(_group_name(one) for one in request.get("logGroupIdentifiers", [])),
        ]
        if not named:
            raise ServiceError("InvalidParameterException", "Name the log groups to be queried.")
        groups = logs_backends[ACCOUNT_ID][REGION].groups
        for name in named:
            if name not in groups:
                raise ServiceError("ResourceNotFoundException", f"Log group '{name}' does not exist.")
        lines = list(_lines(groups, named, request["startTime"], request["endTime"]))
        try:
            rows, matched = insights.run(request["queryString"], lines, request.get("limit", insights.MOST_ROWS))
        except insights.MalformedQuery as error:
            raise ServiceError("MalformedQueryException", str(error)) from error
        query_id = str(uuid.uuid4())
        scanned = float(sum(len(one["@message"].encode()) for one in lines))
        with self._lock:
            self._run[query_id] = {
                "queryId": query_id,
                "queryString": request["queryString"],
                "queryLanguage": "CWLI",
                "createTime": self.clock.now_ms(),
                "logGroupName": named[0],
                "status": "Complete",
                "statistics": {
                    "recordsMatched": float(matched),
                    "recordsScanned": float(len(lines)),
                    "bytesScanned": scanned,
                    "logGroupsScanned": float(len(named)),
                },
                "results": [[{"field": name, "value": _shown(value)} for name, value in one] for one in rows],
            }
        return {"queryId": query_id}

    def results(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = self._run.get(request["queryId"])
        if found is None:
            raise ServiceError("ResourceNotFoundException", f"Query {request['queryId']} does not exist.")
        return {key: found[key] for key in ("queryLanguage", "results", "statistics", "status")}

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        self.results(request)
        raise ServiceError("InvalidParameterException", f"Query {request['queryId']} has ended already.")

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        told = ("queryId", "queryString", "queryLanguage", "createTime", "logGroupName", "status")
        with self._lock:
            found = [
                {key: one[key] for key in told}
                for one in reversed(self._run.values())
                if request.get("logGroupName") in (None, one["logGroupName"])
                and request.get("status") in (None, one["status"])
            ]
        return {"queries": found[: request.get("maxResults", 1000)]}

    def save(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whether a saved query can be run is told when it is, as in AWS."""
        query_id = request.get("queryDefinitionId") or str(uuid.uuid4())
        kept = ("name", "queryString", "queryLanguage", "logGroupNames", "parameters")
        with self._lock:
            if "queryDefinitionId" in request and query_id not in self._saved:
                raise ServiceError("ResourceNotFoundException", f"Query definition {query_id} does not exist.")
            self._saved[query_id] = {
                "queryLanguage": "CWLI",
                **{key: request[key] for key in kept if key in request},
                "queryDefinitionId": query_id,
                "lastModified": self.clock.now_ms(),
            }
        return {"queryDefinitionId": query_id}

    def saved(self, request: dict[str, Any]) -> dict[str, Any]:
        prefix = request.get("queryDefinitionNamePrefix", "")
        with self._lock:
            found = sorted(self._saved.values(), key=lambda one: str(one["name"]))
        return {"queryDefinitions": [one for one in found if one["name"].startswith(prefix)]}

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._saved.pop(request["queryDefinitionId"], None) is None:
                message = f"Query definition {request['queryDefinitionId']} does not exist."
                raise ServiceError("ResourceNotFoundException", message)
        return {"success": True}


def _lines(groups: Any, names: list[str], start: int, end: int) -> Iterator[insights.Row]:
    """Of these groups, from one second of the epoch to another, both included."""
    for name in dict.fromkeys(names):
        for stream_name, stream in list(groups[name].streams.items()):
            for event in list(stream.events):
                if start * 1000 <= event.timestamp <= end * 1000 + 999:
                    yield insights.row(event.timestamp, event.message, name, stream_name)


def _shown(value: Any) -> str:
    """Numbers without a fraction that says nothing."""
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _group_name(identifier: str) -> str:
    return identifier.rsplit(":log-group:", maxsplit=1)[-1].removesuffix(":*")


def _filter_log_events(request: dict[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html"""
    backend = logs_backends[ACCOUNT_ID][REGION]
    group_name = request.get("logGroupName") or _group_name(request["logGroupIdentifier"])
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
