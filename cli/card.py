"""`mlp card`: a model's card, in a browser or as a file."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import ClientError

from cli import costs, models
from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names, registry

console = Terminal()


def card(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The dataset, or one of its models: churn/3.", metavar="DATASET")],
    save: Annotated[Path | None, typer.Option(help="Write the page to this file instead of opening it.")] = None,
) -> None:
    """Open a model's card: how well it does, on what data, at what cost. Of a dataset it is the live model's.

    Example: `mlp card churn`, `mlp card churn/3`, `mlp card churn --save card.html`
    """
    connection: Connection = context.obj
    group, chosen = models.find(connection, model)
    chosen = chosen or group.live or group.packages[0]
    key = names.model_card_key(group.dataset, registry.model_name(chosen))
    try:
        page = costs.read(connection, key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"NoSuchKey", "404"}:
            raise
        name = f"{group.dataset}/{chosen.version}"
        raise CommandError(f"{name} has no card: it was registered before there were cards, or by hand.") from error
    if save is not None:
        save.write_bytes(page)
        console.print(f"written to {save}", highlight=False)
        return
    target = Path(tempfile.mkdtemp(prefix="mlp-")) / f"{registry.model_name(chosen)}.html"
    target.write_bytes(page)
    webbrowser.open(target.as_uri())
    console.print(f"opened {target}", highlight=False)


def where(connection: Connection, dataset: str, model: str) -> str | None:
    """Where a browser shows the card of the model that serves under that name; None where it has none."""
    key, bucket = names.model_card_key(dataset, model), costs.bucket(connection)
    if not connection.s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents"):
        return None
    client = connection.s3
    return names.console_link(str(client.meta.endpoint_url), bucket, str(client.meta.region_name), key)
