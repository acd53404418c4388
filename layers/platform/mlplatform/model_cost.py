"""What a model costs: its training once, and its hosting every month for as long as it is live."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from mlplatform import kinds, names, prices
from mlplatform.errors import UnknownPrice
from mlplatform.facts import HostingKind, TrainingJob
from mlplatform.holidays import listed
from mlplatform.opening_hours import BadHours, exempt, hours_per_week, openings, parse_hours
from mlplatform.records import dataclass
from mlplatform.settings import Settings

_CENT = Decimal("0.01")


@dataclass(frozen=True)
class HostingCost:
    """A month of an endpoint at its fewest instances: more of them, under load, cost more."""

    usd_per_month: Decimal | None  # None where there is no price; `formula` says so
    formula: str  # with its numbers, so that anybody can check it


def hosting_cost(instance_type: str, instances: int, tags: Mapping[str, str], settings: Settings) -> HostingCost:
    """At list price, for the hours that its schedule lets it run: `tags` are the endpoint's, or those it will have.

    In prod an endpoint runs all hours unless it is tagged with others (office_hours.py). Holidays are not counted.
    """
    hours = open_hours_per_week(tags, settings)
    try:
        price = prices.usd_per_hour(instance_type, "hosting", settings.aws_region)
    except UnknownPrice as error:
        return HostingCost(None, f"not known: {error}")
    month_hours = prices.HOURS_PER_MONTH * hours / prices.HOURS_PER_WEEK
    usd = (instances * price * month_hours).quantize(_CENT)
    return HostingCost(usd, f"{instances} x {instance_type} at {price} USD an hour, {month_hours:.0f} hours a month")


def open_hours_per_week(tags: Mapping[str, str], settings: Settings) -> Decimal:
    """How long an endpoint with these tags runs, of 168 hours: all of them in prod without a tag, or by a bad tag."""
    if exempt(tags, settings.environment):
        return prices.HOURS_PER_WEEK
    try:
        return hours_per_week(tags.get(names.HOURS_TAG) or settings.office_hours, settings.time_zone)
    except BadHours:
        return prices.HOURS_PER_WEEK  # a tag that can't be read leaves the endpoint running


def open_hours(tags: Mapping[str, str], settings: Settings, begin: datetime, end: datetime) -> Decimal:
    """For how many hours between two moments an endpoint with these tags would run in real time."""
    length = Decimal(str((end - begin).total_seconds())) / prices.SECONDS_PER_HOUR
    if exempt(tags, settings.environment):
        return length
    try:
        hours = parse_hours(tags.get(names.HOURS_TAG) or settings.office_hours, settings.time_zone)
    except BadHours:
        return length  # left running, as above
    stretches = openings(hours, listed(settings.holidays), begin, end)
    seconds = sum((one[1] - one[0]).total_seconds() for one in stretches)
    return Decimal(str(seconds)) / prices.SECONDS_PER_HOUR


def wished_hosting_cost(tags: Mapping[str, str], settings: Settings) -> HostingCost:
    """Of the endpoint that a model with these tags gets: what its job.json asked for, else the stack's usual."""
    wanted = kinds.hosting(tags, settings)
    if wanted.kind is HostingKind.SERVERLESS:
        return _serverless_cost(wanted, settings.aws_region)
    return hosting_cost(wanted.instance_type, wanted.fewest, tags, settings)


def _serverless_cost(wanted: kinds.Hosting, region: str) -> HostingCost:
    """Of a month in which nobody asks, which is its fewest; what each request adds is said."""
    from mlplatform.hosting import (  # whoever compares kinds pays for it
        SERVERLESS_OVERHEAD_SECONDS,
        USUAL_MODEL_SECONDS,
    )

    try:
        second = prices.usd("serverless.gb_second", region)
    except UnknownPrice as error:
        return HostingCost(None, f"not known: {error}")
    each = (USUAL_MODEL_SECONDS + SERVERLESS_OVERHEAD_SECONDS) * wanted.memory_gb * second
    return HostingCost(
        Decimal("0.00"),
        f"serverless: nothing while nobody asks, and about {(each * 10**6).quantize(_CENT)} USD for a million requests "
        f"with {wanted.memory_gb} GB",
    )


def training_usd(job: TrainingJob, region: str) -> Decimal | None:
    """What was billed for a training job, at list price; None where SageMaker or the table of prices does not say.

    Managed spot bills BillableTimeInSeconds at the on-demand price (DescribeTrainingJob, SageMaker API reference).
    """
    if job.billable_seconds is None:
        return None
    try:
        price = prices.usd_per_hour(job.instance_type, "training", region)
    except UnknownPrice:
        return None
    return job.billable_seconds * job.instance_count * price / prices.SECONDS_PER_HOUR
