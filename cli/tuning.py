"""`mlp tune`: asks for a tuning of what lies under a dataset, and how far one is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from cli.connection import CommandError, Connection
from cli.drop import stored_version
from cli.follow import follow_to_end
from cli.serving import app_of
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.aws_runs import search, training_run
from mlplatform.aws_tuning import read_tuning
from mlplatform.errors import DataRejected, UnknownPrice
from mlplatform.facts import JobStatus, TuningJob
from mlplatform.job_spec import parse_job_spec
from mlplatform.tuning import cost

console = Terminal()


def tune(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name; its files have been dropped.")],
    max_jobs: Annotated[int | None, typer.Option(help="How many trials; by default 20.")] = None,
    max_parallel_jobs: Annotated[int | None, typer.Option(help="How many at a time; by default 2.")] = None,
    objective: Annotated[str | None, typer.Option(help="By default validation:loss.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="By default the stack's TuningMaxCostUsd.")] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=SMALLEST..LARGEST[:log], or NAME=VALUE,VALUE; may be repeated."),
    ] = None,
    network: Annotated[str | None, typer.Option(help="mlp, or tabm: slower, and often better on real tables.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay, and tell what happens, to the end.")] = False,
) -> None:
    """Tune the hyperparameters of a dataset's model: the best of many trials goes through the gate.

    Writes the wish into job.json beside the data, which makes a new version of the dataset and so starts the tuning.
    What job.json asked for before stays, and so does the wish: a later drop of new data is tuned too.

    Example: `mlp tune churn --follow`, `mlp tune churn --max-jobs 40 --range dropout=0..0.5 --range hidden_size=64,128`
    """
    connection: Connection = context.obj
    key = f"{names.DATASETS_PREFIX}{dataset}/{names.JOB_SPEC_FILE}"
    spec = _stored(connection, key)
    assert_none_runs(dataset, app_of(connection).aws.tunings_of(dataset))
    asked = spec.get("tuning")
    wishes: dict[str, Any] = dict(asked) if isinstance(asked, dict) else {}
    given = {
        "max_jobs": max_jobs,
        "max_parallel_jobs": max_parallel_jobs,
        "objective": objective,
        "max_cost_usd": max_cost_usd,
    }
    wishes |= {name: value for name, value in given.items() if value is not None}
    if ranges:
        wishes["ranges"] = wishes.get("ranges", {}) | dict(map(_range, ranges))
    if asked:
        wishes["round"] = wishes.get("round", 1) + 1  # or the same job.json would be the same version
    spec = {**spec, "tuning": wishes}
    if network is not None:
        spec["hyperparameters"] = {**spec.get("hyperparameters", {}), "network": network}
    content = json.dumps(spec, indent=1).encode()
    try:
        parse_job_spec(content)
    except DataRejected as error:
        raise CommandError(error.reason) from error
    since = connection.now().timestamp() - 1
    connection.s3.put_object(Bucket=connection.data_bucket, Key=key, Body=content, ContentType="application/json")
    version = stored_version(connection, dataset)
    console.print(f"asked for a tuning of [bold]{dataset}[/bold], version {version}")
    if follow:
        follow_to_end(connection, console, dataset, version, since)
    else:
        console.print(f"see how far it is: mlp status {dataset}")


def assert_none_runs(dataset: str, tunings: Iterable[TuningJob]) -> None:
    """A second tuning beside one that runs would cost as much again, and learn nothing from it. Raises CommandError."""
    for job in tunings:
        if job.status in (JobStatus.IN_PROGRESS, JobStatus.STOPPING):
            ended = sum(count for status, count in job.trials.items() if status != "InProgress")
            raise CommandError(
                f"A tuning of {dataset} runs already, {job.name}: {ended} of {job.jobs} trials ended. Wait for its end "
                f"(mlp status {dataset}), from which the next one goes on, or end it with aws sagemaker "
                f"stop-hyper-parameter-tuning-job --hyper-parameter-tuning-job-name {job.name}"
            )


def _stored(connection: Connection, key: str) -> dict[str, Any]:
    """job.json as it is; empty where there is none. Raises CommandError where there is no dataset either."""
    folder = key.removesuffix(names.JOB_SPEC_FILE)
    listed = connection.s3.list_objects_v2(Bucket=connection.data_bucket, Prefix=folder, MaxKeys=2)
    keys = [entry["Key"] for entry in listed.get("Contents", [])]
    if not [one for one in keys if one != key]:
        raise CommandError(f"Nothing has been dropped under {folder}. Drop the data first: mlp drop FILE.csv")
    try:
        stored = connection.s3.get_object(Bucket=connection.data_bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return {}
        raise
    try:
        spec: dict[str, Any] = json.loads(stored)
        parse_job_spec(stored)
    except (ValueError, DataRejected) as error:
        raise CommandError(f"The dataset's {names.JOB_SPEC_FILE} can't be read: {error}") from error
    return spec


def _range(text: str) -> tuple[str, Any]:
    """`dropout=0..0.5`, `learning_rate=1e-4..1e-2:log` or `hidden_size=64,128`. Raises CommandError."""
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        if ".." not in value:
            return name, {"values": [_number_or_text(part) for part in value.split(",")]}
        ends, _, scale = value.partition(":")
        smallest, largest = ends.split("..")
        return name, {"min": _number(smallest), "max": _number(largest), **({"scale": scale} if scale else {})}
    except ValueError:
        raise CommandError(
            f"{text!r} is no range. Write NAME=SMALLEST..LARGEST, :log behind it for a log scale, or NAME=VALUE,VALUE."
        ) from None


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _number_or_text(text: str) -> int | float | str:
    try:
        return _number(text)
    except ValueError:
        return text


# ---- how far one is ----


def described(connection: Connection, name: str) -> TuningJob:
    return read_tuning(
        connection.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name), tags={}
    )


def progress(connection: Connection, name: str) -> str:
    """Trials, the best so far and what they have cost, in some words."""
    job = described(connection, name)
    ended = sum(count for status, count in job.trials.items() if status != "InProgress")
    usd = spent(connection, name)
    parts = [f"tuning {job.status.value}, {ended} of {job.jobs} trials"]
    if job.best_value is not None:
        parts.append(f"best {job.objective} {job.best_value:.4g}")
    if usd is not None:
        parts.append(f"{usd:.4f} USD")
    return ", ".join(parts)


def spent(connection: Connection, name: str) -> Decimal | None:
    """What a tuning's trials have cost; None where there is no price."""

    def call(_service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        method: Callable[..., dict[str, Any]] = getattr(connection.sagemaker, operation)
        return method(**parameters)

    own = {"Name": f"Tags.{names.TUNING_TAG}", "Operator": "Equals", "Value": name}
    found = search(call, "TrainingJob", {"Filters": [own]})
    now: datetime = connection.now()
    try:
        return cost([training_run(one["TrainingJob"]) for one in found], connection.sagemaker.meta.region_name, now)
    except UnknownPrice:
        return None
