"""`mlp logs`: what functions, training jobs and endpoints logged, in one order of time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names

FUNCTIONS = (
    "start-training",
    "deploy-model",
    "configure-autoscaling",
    "compare-models",
    "keep-office-hours",
    "watch-spend",
    "report-costs",
    "activate-cost-tags",
    "notify",
    "publish-model-code",
    "govern-resources",
    "tear-down",
)
_TOOLKIT = re.compile(
    r"""\d{4}-\d\d-\d\d\ [\d:,]+\ (sagemaker-training-toolkit|botocore\.\w+)\s+INFO\b
    | (Training\ Env|Environment\ variables|Invoking\ script\ with\ the\ following\ command):$
    | Returning\ the\ value\ itself$
    | (SM_\w+|PYTHONPATH)=                       # an environment variable
    | \s*([{}\[\]]|\[\]|{})?,?\s*$ | \s+"[^"]*"(:\s.*)?,?$  # the environment as JSON
    | \S*(python[\d.]*|torchrun)\s.*\btrain\.py\b""",
    re.VERBOSE,
)
TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
console = Terminal()


@dataclass(frozen=True)
class LogQuery:
    """What to read of a log group."""

    group: str
    stream_prefix: str = ""  # of the streams' names; all without
    pattern: str = ""  # a CloudWatch Logs filter pattern
    dataset: str = ""  # only the streams of its training jobs: a prefix may be that of others too


def logs(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A function (start-training), `training`, a job or a dataset.")] = "",
    minutes: Annotated[float, typer.Option(help="How far back.")] = 60,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Logs of the functions, of training jobs and of endpoints.

    Saved queries for more than that (errors, money, a dataset's story, slow calls) are in CloudWatch Logs Insights, in
    the stack's folder. Example: `mlp logs` (all decisions), `mlp logs deploy-model`, `mlp logs churn --follow`
    """
    connection: Connection = context.obj
    since = connection.now() - timedelta(minutes=minutes)
    groups = _groups(connection, what)
    seen: set[str] = set()
    while True:
        for line in lines(connection, groups, since, seen):
            console.print(line, highlight=False, markup=False, hang=len("18:05:00 "))
        if not follow:
            break
        time.sleep(1 if connection.endpoint_url else 3)
    if not seen:
        if what not in ("", "training", *FUNCTIONS) and not _is_known(connection, what):
            raise CommandError(
                f"Nothing is known of {what}: it is no function, job or dataset. mlp status lists the datasets, "
                "mlp logs --help what else there is."
            )
        console.print(f"No log lines in the last {minutes:g} minutes; --minutes looks further back.")
    elif any(one.dataset for one in groups):
        console.print("Without what the training toolkit tells of itself; `mlp logs training` has all.", style="dim")


def _is_known(connection: Connection, what: str) -> bool:
    """Whether there is data, or an endpoint, of that dataset, or of a job's."""
    dataset = names.dataset_of(connection.stack, what) or what.removeprefix(f"{connection.stack}-")
    prefix = f"{names.DATASETS_PREFIX}{dataset}/"
    stored = connection.s3.list_objects_v2(Bucket=connection.data_bucket, Prefix=prefix, MaxKeys=1)
    return stored["KeyCount"] > 0 or connection.endpoint(connection.endpoint_name(dataset)) is not None


def _groups(connection: Connection, what: str) -> list[LogQuery]:
    if not what:
        return [LogQuery(connection.function_log_group(name), pattern='"decision"') for name in FUNCTIONS]
    if what in FUNCTIONS:
        return [LogQuery(connection.function_log_group(what))]
    if what == "training":
        return [LogQuery(TRAINING_LOG_GROUP)]
    own = f"{connection.stack}-"
    return [
        LogQuery(TRAINING_LOG_GROUP, what)
        if what.startswith(own)
        else LogQuery(TRAINING_LOG_GROUP, f"{own}{what}-", dataset=what),
        LogQuery(f"/aws/sagemaker/Endpoints/{connection.endpoint_name(what)}"),
        LogQuery(f"/aws/sagemaker/InferenceComponents/{connection.endpoint_name(what)}"),
    ]


def lines(connection: Connection, groups: Sequence[LogQuery], since: datetime, seen: set[str]) -> Iterator[str]:
    """New log lines in time order; `seen` remembers event ids."""
    events = [
        {**event, "group": one.group}
        for one in groups
        for event in read(connection, one, since.timestamp())
        if event["eventId"] not in seen and not (one.dataset and _is_noise(event["message"]))
    ]
    widest = max(len(_source(one.group)) for one in groups)
    for event in sorted(events, key=lambda event: event["timestamp"]):
        seen.add(event["eventId"])
        at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%H:%M:%S")
        yield f"{at} {_source(event['group']):<{widest}} {_readable(event['message'])}"


def _source(group: str) -> str:
    return group.rpartition("/")[2]


def read(connection: Connection, query: LogQuery, since: float) -> list[dict[str, Any]]:
    """The group's events from then on, in seconds since the epoch; none where nothing has been logged yet."""
    request: dict[str, Any] = {"logGroupName": query.group, "startTime": int(since * 1000)}
    if query.stream_prefix:
        request["logStreamNamePrefix"] = query.stream_prefix
    if query.pattern:
        request["filterPattern"] = query.pattern
    try:
        pages = connection.logs.get_paginator("filter_log_events").paginate(**request)
        events = [event for page in pages for event in page["events"]]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return []
    return [event for event in events if not query.dataset or _is_of(connection.stack, query, event)]


def _is_of(stack: str, query: LogQuery, event: Mapping[str, Any]) -> bool:
    """A training job's streams are named `<job>/<host>`."""
    job, _, _ = event["logStreamName"].partition("/")
    return names.dataset_of(stack, job) == query.dataset


def _is_noise(message: str) -> bool:
    """What SageMaker's training toolkit tells of itself and of its environment, over a hundred lines, before train.py
    begins (sagemaker_training/logging_config.py in github.com/aws/sagemaker-training-toolkit has the words)."""
    return _TOOLKIT.match(message) is not None


def _readable(message: str) -> str:
    """A decision's log record is JSON; people want the decision and its reason."""
    try:
        record = json.loads(message)
        return f"{record['decision']}: {record['message']}"
    except (ValueError, TypeError, KeyError):
        return message.rstrip()
