"""`mlp hours` and `mlp snooze`: when an endpoint is on, what its nights save, and how to keep it on for once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.connection import CommandError, Connection
from cli.serving import app_of
from cli.terminal import Terminal
from mlplatform import holidays as calendars
from mlplatform import names
from mlplatform.aws_calls import tagged_resources
from mlplatform.errors import UnknownPrice
from mlplatform.facts import STACK_TAG, Endpoint, HostedEndpoint
from mlplatform.kinds import tagged_kind
from mlplatform.office_hours import (
    NO_HOURS,
    has_hours,
    keep_on_until,
    on_anyway,
    on_stretches,
    plan_office_hours,
    read_wish,
)
from mlplatform.opening_hours import BadHours, Hours, parse_hours
from mlplatform.parking import read_record
from mlplatform.restoring import hourly
from mlplatform.settings import Settings

console = Terminal()


def hours(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A dataset or an endpoint.", metavar="DATASET|ENDPOINT")],
    days: Annotated[int, typer.Option(min=1, max=366, help="How far ahead.")] = 7,
) -> None:
    """When an endpoint is on and off, and what the time off saves.

    Example: `mlp hours churn`, `mlp hours churn --days 31`
    """
    connection: Connection = context.obj
    settings, now = connection.settings, connection.now()
    found = find(connection, name)
    endpoint = found.hosted
    if not has_hours(endpoint):
        console.print(f"{endpoint.name} is {tagged_kind(endpoint.tags).value} {NO_HOURS}", highlight=False)
        return
    closed = holidays(connection, settings, now.date())
    end = now + timedelta(days=days)
    try:
        zone = zone_of(endpoint, settings).zone
        on = on_stretches(endpoint, settings, closed, now, end)
    except BadHours as error:
        raise CommandError(f"The hours of {endpoint.name} can't be understood: {error}.") from error
    try:
        usd_per_hour, formula = hourly(found.variants, settings.aws_region)
    except UnknownPrice as error:
        usd_per_hour, formula = None, str(error)
    table = Table(box=None, pad_edge=False)
    for column in ("from", "to", "", "hours", "saved"):
        table.add_column(column, justify="right" if column in ("hours", "saved") else "left")
    off_hours, at = Decimal(0), now
    for begins, ends, is_on in _alternating(on, now, end):
        length = _hours(ends - begins)
        off_hours += Decimal(0) if is_on else length
        table.add_row(
            f"{begins.astimezone(zone):%a %d %b %H:%M}",
            f"{ends.astimezone(zone):%a %d %b %H:%M}",
            "[green]on[/green]" if is_on else "off",
            f"{length:.2f}",
            "" if is_on or usd_per_hour is None else f"{length * usd_per_hour:.2f} USD",
        )
        at = ends
    console.print(table)
    total = _hours(at - now)
    share = f"{off_hours / total:.0%}" if total else "0%"
    console.print(f"off {off_hours:.2f} of {total:.2f} hours ({share}), times in {zone.key}", highlight=False)
    if usd_per_hour is None:
        console.print(f"what that saves is not known: {formula}", highlight=False)
    else:
        console.print(f"saves {off_hours * usd_per_hour:.2f} USD: {off_hours:.2f} hours x ({formula})", highlight=False)
    [decision] = plan_office_hours([endpoint], settings, closed, now)
    console.print(f"at the next tick: {decision.reason}", highlight=False)


def snooze(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset or an endpoint.", metavar="DATASET|ENDPOINT")],
    hours: Annotated[float | None, typer.Option(min=0.25, help="Keep it on for so many hours from now.")] = None,
    until: Annotated[str | None, typer.Option(help="2026-11-27T22:00, or 2026-11-27 for all of that day.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Back to its hours.")] = False,
) -> None:
    """Keep an endpoint on after hours, or wake it; its hours go on as before afterwards.

    Example: `mlp snooze churn --hours 2`, `mlp snooze churn --until 2026-11-27`, `mlp snooze churn --end`
    """
    if (hours is not None) + (until is not None) + end != 1:
        raise CommandError("Give one of --hours, --until and --end.")
    connection: Connection = context.obj
    found = find(connection, dataset)
    endpoint, arn = found.hosted, found.arn
    if end:
        connection.sagemaker.delete_tags(ResourceArn=arn, TagKeys=[names.KEEP_ON_TAG])
        console.print(f"{endpoint.name} keeps to its hours again from the next tick on", highlight=False)
        return
    if not has_hours(endpoint):
        said = f"{endpoint.name} is {tagged_kind(endpoint.tags).value} {NO_HOURS}; nothing was changed"
        console.print(said, highlight=False)
        return
    settings, now = connection.settings, connection.now()
    try:
        plan = zone_of(endpoint, settings)
        anyway = on_anyway(endpoint, settings, holidays(connection, settings, now.date()), now)
        moment = now + timedelta(hours=hours) if hours is not None else keep_on_until(until or "", plan)
    except BadHours as error:
        raise CommandError(f"{error}.") from error
    if moment <= now:
        raise CommandError(f"{moment.astimezone(plan.zone):%a %d %b %H:%M} ({plan.zone.key}) is over.")
    if anyway is not None and moment <= anyway:
        shown = f"{anyway.astimezone(plan.zone):%a %d %b %H:%M} ({plan.zone.key})"
        console.print(f"{endpoint.name} is on until {shown} anyway; nothing was changed", highlight=False)
        return
    value = moment.astimezone(plan.zone).isoformat(timespec="seconds")
    connection.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": names.KEEP_ON_TAG, "Value": value}])
    what = "stays on" if endpoint.status else "starts within 15 minutes and stays on"
    console.print(
        f"{endpoint.name} {what} until {moment.astimezone(plan.zone):%a %d %b %H:%M} ({plan.zone.key})", highlight=False
    )
    if connection.endpoint_url and not endpoint.status:
        console.print("To have it now: mlp laptop clock --advance 15m", highlight=False)


def zone_of(endpoint: HostedEndpoint, settings: Settings) -> Hours:
    """Raises BadHours."""
    return parse_hours(endpoint.tags.get(names.HOURS_TAG) or settings.office_hours, settings.time_zone)


@dataclass(frozen=True)
class Found:
    """An endpoint that a person named."""

    hosted: HostedEndpoint
    variants: list[dict[str, Any]]  # with their types and instances, as restoring.hourly has them
    arn: str  # of what has its tags about hours
    endpoint: Endpoint | None = None  # of a parked one there is none


def find(connection: Connection, name: str) -> Found:
    """Running or parked. Raises CommandError where it is neither."""
    name = name if name.startswith(f"{connection.stack}-") else connection.endpoint_name(name)
    one = app_of(connection).aws.endpoint(name)
    if one is None or one.status == "Deleting":
        return _parked(connection, name)  # what is put on an endpoint that goes is lost with it
    variants = [
        {
            "InstanceType": variant.instance_type,
            "DesiredInstanceCount": one.counts.get(variant.name) or variant.instance_count or 1,
        }
        for variant in one.variants
    ]
    return Found(HostedEndpoint(name, one.status, one.created, one.tags), variants, one.arn, one)


def _parked(connection: Connection, name: str) -> Found:
    for endpoint, arn in _all_parked(connection):
        if endpoint.name == name and endpoint.parked is not None:
            return Found(endpoint, [dict(one) for one in endpoint.parked.variants], arn)
    raise CommandError(f"There is no endpoint {name}, running or parked. `mlp status` shows what there is.")


def asleep(connection: Connection) -> dict[str, str]:
    """Until when each parked endpoint of the stack sleeps, by name: "until Mon 30 Nov 08:00 (UTC)"."""
    parked = [endpoint for endpoint, _ in _all_parked(connection)]
    if not parked:
        return {}
    settings, now = connection.settings, connection.now()
    closed = holidays(connection, settings, now.date())
    return {endpoint.name: _until(endpoint, settings, closed, now) for endpoint in parked}


def _until(endpoint: HostedEndpoint, settings: Settings, closed: frozenset[date], now: datetime) -> str:
    try:
        wish = read_wish(endpoint.tags, settings, closed, now)
    except BadHours as error:
        return f"until its hours can be understood: {error}"
    if wish.now.open or wish.kept_on(now):
        return "until a tick wakes it, within 15 minutes unless a spending ceiling holds it"
    if wish.now.until is None:
        return "for more than a year"
    return f"until {wish.now.until.astimezone(wish.hours.zone):%a %d %b %H:%M} ({wish.hours.zone.key})"


def _all_parked(connection: Connection) -> Iterator[tuple[HostedEndpoint, str]]:
    """Every parked endpoint, and the ARN that has its tags about hours."""
    wanted = {STACK_TAG: connection.stack, f"{names.PARKED_TAG}0": None}
    for arn, tags in tagged_resources(connection.call, ["sagemaker:endpoint-config"], wanted).items():
        record = read_record(tags)
        if record is not None:
            yield HostedEndpoint(record.endpoint, None, None, record.tags, record), arn


def holidays(connection: Connection, settings: Settings, today: date) -> frozenset[date]:
    try:
        return app_of(connection).aws.holidays(today)
    except calendars.BadCalendar as error:
        console.print(f"[yellow]{names.HOLIDAYS_KEY} is not observed: {error}[/yellow]", highlight=False)
        return calendars.listed(settings.holidays)


def _alternating(
    on: list[tuple[datetime, datetime]], begin: datetime, end: datetime
) -> list[tuple[datetime, datetime, bool]]:
    rows: list[tuple[datetime, datetime, bool]] = []
    at = begin
    for begins, ends in on:
        if begins > at:
            rows.append((at, begins, False))
        rows.append((begins, ends, True))
        at = ends
    return [*rows, (at, end, False)] if at < end else rows


def _hours(length: timedelta) -> Decimal:
    return Decimal(str(length.total_seconds())) / 3600
