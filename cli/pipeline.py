"""Executions of the stack's pipelines: what runs and ran, step by step, and starting one by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.table import Table

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names, pipelines

app = typer.Typer(no_args_is_help=True, help="Prepare, train, evaluate, register: the pipelines' executions.")
console = Terminal()


@dataclass(frozen=True)
class Execution:
    """One execution, as ListPipelineExecutions tells it."""

    arn: str
    pipeline: str
    name: str  # its display name: the stack's, the dataset's, version and code
    status: str
    started: datetime


@dataclass(frozen=True)
class Step:
    """One step of an execution, as text."""

    name: str
    status: str
    detail: str  # what ran, why it failed, or what came of it
    seconds: float | None


@app.command()
def start(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name; its newest data is taken.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="One of the pipeline's, as NAME=VALUE; repeat for more.")
    ] = None,
) -> None:
    """Start a pipeline once more for what was dropped; what it trains with is in its job.json.

    Example: `mlp pipeline start churn --parameter ApprovalStatus=PendingManualApproval`
    """
    connection: Connection = context.obj
    parameters = dict(map(_read, parameter or []))
    asked = {"dataset": dataset, "parameters": parameters, "stamp": connection.now().isoformat()}
    [said] = connection.decide("start-training", {"start_pipeline": asked})
    if said["decision"] != "StartPipeline":
        raise CommandError(said["reason"])
    console.print(said["reason"], highlight=False)
    console.print(f"see how far it is: mlp pipeline status {dataset}")


@app.command()
def status(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset, with the newest execution's steps.")] = None,
) -> None:
    """The newest executions; of one dataset also the steps of the newest.

    Example: `mlp pipeline status`, `mlp --laptop pipeline status churn`
    """
    connection: Connection = context.obj
    found = [one for one in executions(connection) if dataset is None or dataset_of(connection, one) == dataset]
    if not found:
        console.print("No pipeline has run yet." if dataset is None else f"No pipeline has run for {dataset} yet.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("dataset", "pipeline", "execution", "status", "started"):
        table.add_column(column, overflow="fold")
    for one in found:
        row = (dataset_of(connection, one), one.pipeline, one.name, one.status, f"{one.started:%Y-%m-%d %H:%M}")
        table.add_row(*row)
    console.print(table)
    if dataset is None:
        return
    console.print(f"\n{found[0].name}:", highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("step", "status", "seconds", ""):
        table.add_column(column, overflow="fold")
    for step in steps(connection, found[0].arn):
        table.add_row(step.name, step.status, "" if step.seconds is None else f"{step.seconds:.0f}", step.detail)
    console.print(table)


def executions(connection: Connection) -> list[Execution]:
    """Of all of the stack's pipelines, the newest hundred of each, newest first."""
    found = [
        execution
        for definition in pipelines.DEFINITIONS
        for execution in _of_pipeline(connection, pipelines.pipeline_name(connection.stack, definition))
    ]
    return sorted(found, key=lambda one: one.started, reverse=True)


def find_execution(connection: Connection, pipeline: str, name: str) -> Execution | None:
    """By its display name; None while there is none."""
    return next((one for one in _of_pipeline(connection, pipeline) if one.name == name), None)


def dataset_of(connection: Connection, execution: Execution) -> str:
    """Nothing of one that was started by other means, which may have any name."""
    return names.dataset_of(connection.stack, execution.name) or ""


def steps(connection: Connection, execution_arn: str) -> list[Step]:
    """In the order of their starts."""
    pages = connection.sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=execution_arn
    )
    found = sorted(
        (step for page in pages for step in page["PipelineExecutionSteps"]), key=lambda step: step["StartTime"]
    )
    return [
        Step(
            step["StepName"],
            step["StepStatus"],
            _detail(step),
            (step["EndTime"] - step["StartTime"]).total_seconds() if "EndTime" in step else None,
        )
        for step in found
    ]


def _detail(step: dict[str, Any]) -> str:
    if "FailureReason" in step:
        return str(step["FailureReason"])
    about: dict[str, str] = next(iter(step.get("Metadata", {}).values()), {})
    said = f"is {about['Outcome']}" if "Outcome" in about else about.get("Arn", "").rsplit(":", 1)[-1]
    return f"{said} (from the cache)" if "CacheHitResult" in step else said


def _of_pipeline(connection: Connection, pipeline: str) -> Iterator[Execution]:
    try:
        page = connection.sagemaker.list_pipeline_executions(PipelineName=pipeline, MaxResults=100)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFound":  # a stack from before there were pipelines
            return
        raise
    for one in page["PipelineExecutionSummaries"]:
        arn = one["PipelineExecutionArn"]
        yield Execution(
            arn,
            pipeline,
            one.get("PipelineExecutionDisplayName", arn.rsplit("/", 1)[-1]),
            one["PipelineExecutionStatus"],
            one["StartTime"],
        )


def _read(text: str) -> tuple[str, Any]:
    """`LeastScore=0.8`: numbers are numbers."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"{text!r} is no parameter; write NAME=VALUE, such as ApprovalStatus=PendingManualApproval.")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, read if isinstance(read, int | float) and not isinstance(read, bool) else value
