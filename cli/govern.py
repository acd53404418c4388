"""`mlp govern` and `mlp keep`: what would be tidied up and why, and what is to be left alone."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import typer

from cli.connection import CommandError, Connection
from cli.hours import find
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.governance import ALWAYS

console = Terminal(highlight=False)


def govern(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it now; without, it is only shown.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it, as without --yes.")] = False,
) -> None:
    """What is old, orphaned or badly tagged, and what will be done about it: every decision with its reason.

    What others made without the required tags is told too, with whoever made it. It is never touched.
    The stack does the same by itself every morning. Example: `mlp govern`, `mlp govern --dry-run`, `mlp govern --yes`
    """
    if yes and dry_run:
        raise CommandError("Give --yes or --dry-run, not both.")
    connection: Connection = context.obj
    moment = f"{connection.now():%Y-%m-%dT%H:%M:%SZ}"
    decisions = connection.decide("govern-resources", {"scheduled_time": moment, "dry_run": not yes})
    for one in decisions:
        console.print(f"{one['decision']:<14} {one['reason']}", markup=False, hang=4)
    acts = sum(one["decision"] not in ("Skip", "ReportUntagged") for one in decisions)
    if not decisions:
        console.print("There is nothing that functions made, and nothing without tags: nothing is to be tidied up.")
    elif yes:
        console.print(f"{acts} done")
    else:
        done = "To do it now: mlp govern --yes" if acts else "Nothing needs doing."
        console.print(f"Nothing was changed. {done}")


def keep(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset or an endpoint.", metavar="DATASET|ENDPOINT")],
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="For so many days from today.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to and with that day, such as 2026-12-24.")] = None,
    always: Annotated[bool, typer.Option("--always", help="For good.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Let it grow old again.")] = False,
) -> None:
    """Keep an endpoint of dev from being ended because of its age.

    Example: `mlp keep churn --days 14`, `mlp keep churn --always`, `mlp keep churn --end`
    """
    if (days is not None) + (until is not None) + always + end != 1:
        raise CommandError("Give one of --days, --until, --always and --end.")
    connection: Connection = context.obj
    found = find(connection, dataset)
    endpoint, arn = found.hosted, found.arn
    if end:
        # Asked for while it slept, the wish lies with its config.
        config = endpoint.tags.get(names.WANTED_TAG) if endpoint.status else None
        for one in [arn, *([names.config_arn(arn, config)] if config else [])]:
            connection.sagemaker.delete_tags(ResourceArn=one, TagKeys=[names.KEEP_TAG])
        console.print(f"{endpoint.name} grows old again")
        return
    today = connection.now().date()
    if always:
        value, said = ALWAYS, "for good"
    else:
        day = today + timedelta(days=days) if days is not None else _day(until or "")
        if day < today:
            raise CommandError(f"{day} is over.")
        value, said = day.isoformat(), f"until {day:%A}, {day}"
    connection.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": names.KEEP_TAG, "Value": value}])
    console.print(f"{endpoint.name} is kept {said}; its nights stay off")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not a day such as 2026-12-24.") from error
