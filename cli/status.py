"""`mlp status`: what there is, read with list calls: none per dataset where one serves all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.measure import Measurement
from rich.table import Table

from cli import card, hours, models, pipeline, tuning
from cli.connection import CommandError, Connection
from cli.follow import outcome_of
from cli.serving import app_of, size
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.facts import Approval

_COLUMNS = ("dataset", "verdict", "job", "model", "endpoint", "instances")
_ANY_WIDTH = 1000
console = Terminal()


def status(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset, with its reasons.")] = None,
) -> None:
    """What is there: datasets, their last verdict, job, model and endpoint.

    Example: `mlp status`, `mlp --laptop status churn`
    """
    found = rows(context.obj, dataset)
    if not found and dataset is not None:
        raise CommandError(f"Nothing is known of {dataset}; mlp status lists every dataset that was dropped.")
    if not found:
        console.print("Nothing has been dropped yet.")
        return
    console.print(table(found, context.obj, console.width if console.is_terminal else None), soft_wrap=False)
    for line in notes(found):
        console.print(line, highlight=False, markup=False)
    for row in found:
        if row.reason and (dataset or row.verdict in ("rejected", "held")):
            console.print(f"{row.dataset}: {row.reason}", highlight=False, markup=False)
        if row.outcome:
            whose = "what became of it" if dataset else row.dataset
            console.print(f"{whose}: {row.outcome}", highlight=False, markup=False)
    if dataset and found[0].model and (link := card.where(context.obj, dataset, found[0].model)):
        console.print(f"the model's card: `mlp card {dataset}`, or {link}", highlight=False)
    elif any(row.model for row in found):
        console.print("a model's card, with how well it does and on what data: `mlp card DATASET`", highlight=False)
    for name in (name for row in found for name in row.waiting):
        console.print(models.waits(name), highlight=False)
    sleeper = next((row.dataset for row in found if row.asleep), None)
    if sleeper:
        console.print(f"To wake one sooner: `mlp snooze {sleeper} --hours 2`", highlight=False)


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
    outcome: str = ""  # what became of the newest version's job, where it is asked for or nothing serves


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
                _told(connection, dataset, verdict)
                if only or not (endpoint in endpoints or endpoint in asleep)
                else "",
            )
        )
    return found


def table(rows: Sequence[Row], connection: Connection, width: int | None = None) -> Table:
    """A model is shown by what tells it from the dataset's others; names are not broken where they fit.

    What is long is in `notes`; in a terminal that is too narrow nevertheless the models are left to `mlp models`.
    """
    shown = _table(rows, connection, models=True)
    if width is not None and Measurement.get(console, console.options.update(width=_ANY_WIDTH), shown).maximum > width:
        return _table(rows, connection, models=False)
    return shown


def _table(rows: Sequence[Row], connection: Connection, *, models: bool) -> Table:
    shown = Table(box=None, pad_edge=False)
    columns = [column for column in _COLUMNS if models or column != "model"]
    for column in columns:
        shown.add_column(column, overflow="fold", no_wrap=column in ("dataset", "model"))
    for row in rows:
        model = row.model.removeprefix(f"{connection.endpoint_name(row.dataset)}-")
        cells = (row.dataset, row.verdict, _first(row.job), model, _first(row.endpoint), _first(row.instances))
        shown.add_row(*(cell for cell, column in zip(cells, _COLUMNS, strict=True) if column in columns))
    return shown


def notes(rows: Sequence[Row]) -> list[str]:
    """What is too long for a cell, once for all datasets of which it is true."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for whole in (row.job, row.endpoint, row.instances):
            if whole != _first(whole):
                said.setdefault(whole, []).append(row.dataset)
    return [f"{', '.join(datasets)}: {whole}" for whole, datasets in said.items()]


def _first(text: str) -> str:
    """Of "tuning Completed, 4 of 4 trials" and "asleep until Monday" what a cell has room for."""
    return re.split(", | until | for ", text, maxsplit=1)[0]


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


def _datasets(connection: Connection) -> list[str]:
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=names.DATASETS_PREFIX, Delimiter="/"
    )
    found = [entry["Prefix"].split("/")[1] for page in pages for entry in page.get("CommonPrefixes", [])]
    return sorted(found, key=by_number)


def by_number(name: str) -> list[str | int]:
    """A key that puts wine2 before wine10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


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
