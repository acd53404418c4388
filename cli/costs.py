"""`mlp costs`: the newest report of what was spent, saved and is to come, in the terminal or as its page."""

from __future__ import annotations

import json
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import resuming
from cli.connection import CommandError, Connection
from cli.terminal import Terminal

app = typer.Typer(invoke_without_command=True, help="What was spent, what was saved, what is to come.")
console = Terminal()


@app.callback()
def show(
    context: typer.Context,
    open_page: Annotated[bool, typer.Option("--open", help="Open the report's page in a browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The raw numbers.")] = False,
) -> None:
    """The newest report. It is made every morning; `mlp logs report-costs` tells of the making.

    Example: `mlp costs`, `mlp costs --open`, `mlp --laptop costs --json`
    """
    if context.invoked_subcommand is not None:
        return
    connection: Connection = context.obj
    key = newest(connection)
    if key is None:
        at = connection.parameters["ReportTime"]
        sooner = f" To have it now: mlp laptop clock --to {at}" if connection.endpoint_url else ""
        raise CommandError(f"There is no report yet; one is made every morning at {at}.{sooner}")
    content = read(connection, key)
    if as_json:
        sys.stdout.write(content.decode() + "\n")
        return
    if open_page:
        page = Path(tempfile.mkdtemp(prefix="mlp-")) / Path(key).with_suffix(".html").name
        page.write_bytes(read(connection, key.removesuffix(".json") + ".html"))
        webbrowser.open(page.as_uri())
        console.print(f"opened {page}")
        return
    document: dict[str, Any] = json.loads(content)
    console.print(document["text"], highlight=False, markup=False)
    console.print("as a page: mlp costs --open")


def newest(connection: Connection) -> str | None:
    """The key of the newest report's numbers. Keys are dates, so the last one in order is the newest."""
    pages = connection.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket(connection), Prefix="reports/")
    return max(
        (entry["Key"] for page in pages for entry in page.get("Contents", []) if entry["Key"].endswith(".json")),
        default=None,
    )


def read(connection: Connection, key: str) -> bytes:
    return bytes(connection.s3.get_object(Bucket=bucket(connection), Key=key)["Body"].read())


def bucket(connection: Connection) -> str:
    return connection.outputs["ArtifactBucketName"]


@app.command()
def resume(context: typer.Context) -> None:
    """Lift the hold that a spending ceiling put on new trainings, and start what had to wait.

    For the rest of the day or month that the hold was for. Stopped endpoints come back within a quarter of an hour.

    Example: `mlp costs resume`
    """
    connection: Connection = context.obj
    period = resuming.lift(connection)
    waiting = resuming.start_what_waits(connection)
    if period is None and not waiting:
        console.print("Nothing is on hold, and nothing waits.")
        return
    if period is not None:
        console.print(f"the hold for {period} is lifted; stopped endpoints are started at the next quarter of an hour")
        if connection.endpoint_url:
            console.print("To have them now: mlp laptop clock --advance 15m", highlight=False)
    for dataset in waiting:
        console.print(f"{dataset} had to wait and is looked at again: mlp status {dataset}", highlight=False)
