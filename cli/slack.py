"""`mlp slack`: where alerts go in Slack."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names

app = typer.Typer(no_args_is_help=True, help="Where alerts go in Slack.")
console = Terminal()


@app.command("set")
def store(
    context: typer.Context,
    url: Annotated[str, typer.Option(prompt="Incoming webhook URL", hide_input=True, help="Asked for if left out.")],
) -> None:
    """Store the incoming webhook, encrypted, in SSM Parameter Store (free).

    Example: `mlp slack set` (asks without showing it)
    """
    connection: Connection = context.obj
    local = connection.endpoint_url is not None and url.startswith("http://")  # the laptop's own inbox
    if not url.startswith("https://") and not local:
        raise CommandError("A Slack incoming webhook starts with https://hooks.slack.com/services/")
    connection.client("ssm").put_parameter(
        Name=names.slack_webhook(connection.stack), Value=url, Type="SecureString", Overwrite=True
    )
    console.print("stored; the next alert goes there")
