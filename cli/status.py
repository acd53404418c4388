"""What `mlp status` and `mlp logs` show, read with list calls: none per dataset where one serves all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from rich.table import Table

from cli import hours, pipeline, tuning
from cli.connection import Connection
from cli.follow import outcome_of
from cli.serving import app_of, size
from mlplatform import names
from mlplatform.facts import Approval


@dataclass(frozen=True)
class LogQuery:
    """What to read of a log group."""

    group: str
    stream_prefix: str = ""  # of the streams' names; all without
    pattern: str = ""  # a CloudWatch Logs filter pattern
    dataset: str = ""  # only the streams of its training jobs: a prefix may be that of others too


@dataclass(frozen=True)
class Row:
    """One dataset, as text."""

    dataset: str
    verdict: str
    job: str
    model: str
    endpoint: str
    instances: str
    reason: str
    asleep: bool
    waiting: tuple[str, ...] = ()  # models that wait for an approval, such as churn/3
    outcome: str = ""  # what became of the newest version's job, where one dataset is asked for


def rows(connection: Connection, only: str | None = None) -> list[Row]:
    """One row per dataset that was dropped, in alphabetical order."""
    datasets = _datasets(connection) if only is None else [only]
    verdict_keys = _latest_verdicts(connection)
    jobs = newest_jobs(
        connection.sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=connection.stack, SortBy="CreationTime", SortOrder="Descending"
        ),
        connection.stack,
        datasets,
    )
    endpoints = {
        entry["EndpointName"]: entry["EndpointStatus"]
        for page in connection.sagemaker.get_paginator("list_endpoints").paginate(NameContains=connection.stack)
        for entry in page["Endpoints"]
    }
    executed: dict[str, str] = {}
    if any(dataset not in jobs for dataset in datasets):  # an execution's steps have names of their own
        for one in reversed(pipeline.executions(connection)):
            executed[pipeline.dataset_of(connection, one)] = f"pipeline {one.status}"
    missing = any(connection.endpoint_name(dataset) not in endpoints for dataset in datasets)
    asleep = hours.asleep(connection) if missing else {}
    waiting = _waiting(connection)
    aws = app_of(connection).aws if endpoints else None
    found = []
    for dataset in datasets:
        verdict = _read_verdict(connection, verdict_keys.get(dataset))
        job = jobs.get(dataset)
        endpoint = connection.endpoint_name(dataset)
        if only and not (verdict or job or dataset in executed or endpoint in endpoints or endpoint in asleep):
            continue
        serving = aws.endpoint(endpoint) if aws is not None and endpoint in endpoints else None
        found.append(
            Row(
                dataset,
                verdict.get("verdict", "not judged yet"),
                executed.get(dataset, "") if "pipeline" in verdict else _job(connection, verdict, job),
                (serving.model_name or "") if serving else "",
                endpoints.get(endpoint) or (f"asleep {asleep[endpoint]}" if endpoint in asleep else "none"),
                size(connection, serving) if serving else "",
                verdict.get("reason", ""),
                endpoint not in endpoints and endpoint in asleep,
                tuple(f"{dataset}/{version}" for version in waiting.get(endpoint, ())),
                _told(connection, dataset, verdict) if only else "",
            )
        )
    return found


def table(rows: Sequence[Row], connection: Connection) -> Table:
    """A model is shown by what tells it from the dataset's others; names are not broken where they fit."""
    shown = Table(box=None, pad_edge=False)
    for column in ("dataset", "verdict", "job", "model", "endpoint", "instances"):
        shown.add_column(column, overflow="fold", no_wrap=column in ("dataset", "model"))
    for row in rows:
        model = row.model.removeprefix(f"{connection.endpoint_name(row.dataset)}-")
        shown.add_row(row.dataset, row.verdict, row.job, model, row.endpoint, row.instances)
    return shown


def _told(connection: Connection, dataset: str, verdict: Mapping[str, Any]) -> str:
    found = outcome_of(connection, dataset, verdict["job_name"]) if verdict.get("job_name") else None
    return str(found["reason"]) if found else ""


def _waiting(connection: Connection) -> dict[str, list[int]]:
    """The numbers of the packages that wait for an approval, by group: one list call for all."""
    pages = connection.sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageType="Versioned",
        ModelApprovalStatus=Approval.PENDING.value,
        SortBy="CreationTime",
        SortOrder="Ascending",
    )
    found: dict[str, list[int]] = {}
    for page in pages:
        for one in page["ModelPackageSummaryList"]:
            found.setdefault(one["ModelPackageGroupName"], []).append(one["ModelPackageVersion"])
    return found


def _job(connection: Connection, verdict: Mapping[str, Any], newest: Mapping[str, Any] | None) -> str:
    """How far the job is that the verdict names, if that is a tuning, and else the newest training job."""
    name = verdict.get("job_name") or ""
    if names.is_tuning_job(name):
        return tuning.progress(connection, name)
    return newest["TrainingJobStatus"] if newest else ""


def log_lines(connection: Connection, groups: Sequence[LogQuery], since: datetime, seen: set[str]) -> Iterator[str]:
    """New log lines in time order; `seen` remembers event ids."""
    events: list[dict[str, Any]] = []
    for one in groups:
        query: dict[str, Any] = {"logGroupName": one.group, "startTime": int(since.timestamp() * 1000)}
        if one.stream_prefix:
            query["logStreamNamePrefix"] = one.stream_prefix
        if one.pattern:
            query["filterPattern"] = one.pattern
        try:
            for page in connection.logs.get_paginator("filter_log_events").paginate(**query):
                events += [
                    {**event, "group": one.group}
                    for event in page["events"]
                    if event["eventId"] not in seen and (not one.dataset or _is_of(connection.stack, one, event))
                ]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
    for event in sorted(events, key=lambda event: event["timestamp"]):
        seen.add(event["eventId"])
        at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%H:%M:%S")
        yield f"{at} {event['group'].rsplit('/', 1)[-1]:<32} {_readable(event['message'])}"


def _is_of(stack: str, query: LogQuery, event: Mapping[str, Any]) -> bool:
    """A training job's streams are named `<job>/<host>`."""
    job, _, _ = event["logStreamName"].partition("/")
    return names.dataset_of(stack, job) == query.dataset


def _readable(message: str) -> str:
    """A decision's log record is JSON; people want the decision and its reason."""
    try:
        record = json.loads(message)
        return f"{record['decision']}: {record['message']}"
    except (ValueError, TypeError, KeyError):
        return message.rstrip()


def _datasets(connection: Connection) -> list[str]:
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=names.DATASETS_PREFIX, Delimiter="/"
    )
    return sorted(entry["Prefix"].split("/")[1] for page in pages for entry in page.get("CommonPrefixes", []))


def _latest_verdicts(connection: Connection) -> dict[str, str]:
    latest: dict[str, tuple[datetime, str]] = {}
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=names.VERDICTS_PREFIX
    )
    for page in pages:
        for entry in page.get("Contents", []):
            dataset = entry["Key"].split("/")[1]
            if dataset not in latest or entry["LastModified"] > latest[dataset][0]:
                latest[dataset] = (entry["LastModified"], entry["Key"])
    return {dataset: key for dataset, (_, key) in latest.items()}


def _read_verdict(connection: Connection, key: str | None) -> dict[str, Any]:
    if key is None:
        return {}
    stored = connection.s3.get_object(Bucket=connection.data_bucket, Key=key)
    verdict: dict[str, Any] = json.loads(stored["Body"].read())
    return verdict


def newest_jobs(
    pages: Iterable[Mapping[str, Any]], stack: str, datasets: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """The first (newest) training job of each dataset, out of ListTrainingJobs' pages."""
    newest: dict[str, Mapping[str, Any]] = {}
    for page in pages:
        for entry in page["TrainingJobSummaries"]:
            dataset = names.dataset_of(stack, entry["TrainingJobName"])
            if dataset is not None and dataset in datasets:
                newest.setdefault(dataset, entry)
        if len(newest) == len(datasets):
            break
    return newest
