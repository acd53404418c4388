"""mlp: the platform from the command line, on AWS and on the laptop alike."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from typing import Annotated

import typer
from botocore.exceptions import ClientError

from cli import advice, costs, govern, hours, laptop_clock, models, pipeline, slack, terminal
from cli.ab import ab
from cli.card import card
from cli.check import check
from cli.connection import AWS_ERRORS, LAPTOP_REGION, CommandError, Connection, explain, laptop_url
from cli.doctor import doctor
from cli.drop import drop
from cli.hosting import hosting
from cli.loadtest import loadtest
from cli.logs import logs
from cli.predict import predict
from cli.status import status
from cli.summary import summary
from cli.teardown import teardown
from cli.terminal import Terminal
from cli.tuning import tune
from mlplatform.errors import PlatformError

_STACK = "ml-platform"
_COMMANDS = (  # in the order of `mlp --help`
    hours.hours,
    hours.snooze,
    card,
    ab,
    check,
    doctor,
    govern.govern,
    govern.keep,
    hosting,
    loadtest,
    tune,
    teardown,
    models.models,
    models.approve,
    models.reject,
    models.rollback,
    drop,
    status,
    predict,
    logs,
    summary,
)
_GROUPS = {"slack": slack.app, "laptop": laptop_clock.app, "costs": costs.app, "pipeline": pipeline.app}
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Drop a CSV, get an endpoint. On AWS by your default credentials; with `--laptop` on this machine.",
)
for command in _COMMANDS:
    app.command()(command)
for name, group in _GROUPS.items():
    app.add_typer(group, name=name)
costs.app.command()(advice.advice)
costs.app.command()(advice.apply)


def commands() -> tuple[str, ...]:
    """What can stand behind `mlp`."""
    return tuple(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"mlp {importlib.metadata.version('ml-platform')}")
        raise typer.Exit


@app.callback()
def connect(
    context: typer.Context,
    laptop: Annotated[bool, typer.Option("--laptop", help="Use the laptop of `make up`, at port PORT (4566).")] = False,
    stack: Annotated[str, typer.Option(help="The CloudFormation stack's name.", envvar="MLP_STACK")] = _STACK,
    region: Annotated[str | None, typer.Option(help="The AWS region; by default your profile's.")] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Chooses the account."""
    url = laptop_url() if laptop or os.environ.get("AWS_ENDPOINT_URL") else None
    if url and region not in (None, LAPTOP_REGION):
        raise CommandError(f"The laptop's account has {LAPTOP_REGION} alone; leave --region {region} out.")
    named = () if stack == _STACK else ("--stack", stack)
    asked = [*(["--laptop"] if url else []), *named, *(["--region", region] if region else [])]
    port = os.environ.get("PORT") if url and not os.environ.get("AWS_ENDPOINT_URL") else None
    program = terminal.program(sys.argv[0], shutil.which("mlp"), port)
    terminal.choose(asked, context.command.commands, program)  # type: ignore[attr-defined]
    context.obj = Connection(stack=stack, endpoint_url=url, region=region)


def main() -> None:
    """The `mlp` command: every expected error becomes one sentence and exit code 1."""
    # --laptop chooses the account, so it is understood behind the command as well as before it.
    if "--laptop" in sys.argv[2:]:
        sys.argv.remove("--laptop")
        sys.argv.insert(1, "--laptop")
    try:
        app(standalone_mode=True)
    except CommandError as error:
        Terminal(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        sys.exit(1)
    except PlatformError as error:
        if os.environ.get("MLP_DEBUG"):
            raise
        Terminal(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        sys.exit(2)
    except AWS_ERRORS as error:
        if os.environ.get("MLP_DEBUG"):
            raise
        url = laptop_url() if {"--laptop", "laptop"} & {*sys.argv[1:2]} or os.environ.get("AWS_ENDPOINT_URL") else None
        text = explain(error, Connection("", url, None))
        Terminal(stderr=True).print(f"[red]{text}[/red]", highlight=False)
        sys.exit(1 if not isinstance(error, ClientError) else 2)


if __name__ == "__main__":
    main()
