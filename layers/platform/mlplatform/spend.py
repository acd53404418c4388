"""The meter: what has run, times the price list, hours before AWS's own figures; and what follows from a ceiling.

How it counts. Each tick looks at what exists, and computes what each thing has cost *up to now*; it never adds "an
hour's worth". The month's object (`spend/<yyyy-mm>.json`) holds one entry per run, and three rules keep it right:

- A serverless endpoint's entry is replaced as a whole: what CloudWatch has of its requests' time in the month, times
  its memory, times the price of a GB-second. Time that passed with another memory is counted at the present one.
- A job's entry is replaced as a whole: instances x seconds x price, from the job's own times. While it runs, the
  seconds are those since its start; once it has ended, SageMaker's billable seconds. Looking at a job twice, or not
  for a day, makes no difference.
- An endpoint says when it was created and how many instances it has now, but not how many it had. Its entry therefore
  remembers up to when it was counted, and only the time after that is added, at the present fleet: a repeated tick
  adds nothing, a late tick adds all of the time since, a missed one is made up for by the next. If the object is
  lost, the endpoint is counted anew from its creation, or from the first of the month.

Two ticks at once compute the same from the same; the last one to write wins, and should it be the older one, the next
tick counts on from there. The first tick of a month closes the month before.

What it can't see: what came and went between two ticks, the time between the last tick and an endpoint's end, and what
is not billed by instance and time (requests, storage, data): the meter is too low by these. When in an hour a fleet was
scaled it does not see either, which errs both ways, by an hour of the difference at the most. One thing is counted too
high on purpose: a spot job that still runs has the full price, because its discount is known at its end only. It is
marked as an estimate; estimates may warn, but never stop anything, and neither does a forecast, of which this module
knows nothing.

At a ceiling the meter itself stops nothing. It writes the hold (`spend/hold.json`), which start_training obeys at the
next drop and keep_office_hours at its next tick: while it is there, dev endpoints are closed, and parked like every
night; those that have no hours, being serverless, asynchronous or scaled to zero, are not. One function
decides what runs, so that no two of them can pull in different directions.

Days and months are UTC, as in AWS's bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from mlplatform import ledger, prices
from mlplatform.decisions import Decision, HoldLaunches, LiftHold, Notify, RecordSaving, RecordSpend, Request
from mlplatform.errors import UnknownPrice
from mlplatform.facts import (
    DATASET_TAG,
    Hold,
    HostingKind,
    Metered,
    Run,
    Saving,
    SavingKind,
    SpendFacts,
    SpendMonth,
)
from mlplatform.holds import PREFIX, day_of, month_end, month_start, period_end
from mlplatform.kinds import tagged_kind
from mlplatform.model_cost import open_hours
from mlplatform.names import REQUIRED_TAGS, bare, hosting_wishes
from mlplatform.settings import Settings

TOLD = f"{PREFIX}told/"  # remembers what people were told
METRIC = "SpendUsd"
WARN_AT = Decimal("0.8")
# What a ceiling that is reached does, by the stack's environment.
AT_A_CEILING = {
    "dev": "dev endpoints are stopped (except serverless, asynchronous and scale-to-zero ones, which cost only while "
    "they are asked), and new trainings are refused",
    "staging": "new trainings are refused; endpoints of staging go on",
    "prod": "nothing is stopped or refused in prod",
}
# The tags by which spending is split: where all runs have the same value, the stack's own sum says it already.
SPLIT_BY = REQUIRED_TAGS
_MICRO = Decimal("0.000001")
_DATA_PER_CALL = 1000  # PutMetricData, CloudWatch API reference: at most 1000 metrics a call
_INDEX_LAG = timedelta(hours=1)  # Search is eventually consistent; what is seen twice is counted once


def month_key(month: str) -> str:
    return f"{PREFIX}{month}.json"


def changed_since(month: SpendMonth) -> datetime:
    """Jobs that have not changed since then are counted already."""
    return month_start(month.month) if month.through is None else month.through - _INDEX_LAG


# ---- counting ----


def meter(month: SpendMonth, runs: Iterable[Run], until: datetime, region: str) -> SpendMonth:
    """The month with everything counted up to `until`, but not beyond the month's end."""
    end = min(until, month_end(month.month))
    items = dict(month.items)
    unpriced: list[str] = []
    for run in runs:
        before = items.get(run.key)
        if run.started is None or run.started >= end or (before is not None and before.final):
            continue
        try:
            per_hour = sum(
                (count * prices.usd_per_hour(kind, run.use, region) for kind, count in run.fleet), start=Decimal(0)
            )
        except UnknownPrice as error:
            unpriced.append(f"{run.name} is not counted: {error}")
            continue
        if run.gb_seconds is not None:
            try:
                items[run.key] = _by_use(run, region, month.month, end)
            except UnknownPrice as error:
                unpriced.append(f"{run.name} is not counted: {error}")
            continue
        count = _job if run.job else _standing
        items[run.key] = count(run, before, per_hour, month_start(month.month), end)
    through = end if month.through is None else max(month.through, end)
    return replace(month, items=items, through=through, unpriced=tuple(sorted(set(unpriced))))


def _job(run: Run, _before: Metered | None, per_hour: Decimal, start: datetime, end: datetime) -> Metered:
    assert run.started is not None
    stopped = min(run.ended or end, end)
    elapsed = Decimal(max((stopped - run.started).total_seconds(), 0))
    seconds = elapsed
    if run.billable_seconds is not None and run.ended is not None:
        length = Decimal((run.ended - run.started).total_seconds())
        # Of a job that ran over the end of the month, this month's share.
        seconds = run.billable_seconds * (elapsed / length if length > 0 else Decimal(1))
    share = seconds / elapsed if elapsed else Decimal(0)
    days = {
        day: (share * part * per_hour / prices.SECONDS_PER_HOUR).quantize(_MICRO)
        for day, part in _seconds_by_day(max(run.started, start), stopped)
    }
    ended = run.ended is not None and run.ended <= end
    known = ended and not (run.spot and run.billable_seconds is None)
    return Metered(run.use, run.name, _kept(run.tags), days, stopped, final=known, estimate=run.spot and not known)


def _by_use(run: Run, region: str, month: str, end: datetime) -> Metered:
    price = prices.usd("serverless.gb_second", region)
    days = {
        day: (seconds * price).quantize(_MICRO)
        for day, seconds in (run.gb_seconds or {}).items()
        if day.startswith(month)
    }
    return Metered(run.use, run.name, _kept(run.tags), days, end)


def _standing(run: Run, before: Metered | None, per_hour: Decimal, start: datetime, end: datetime) -> Metered:
    assert run.started is not None
    since = max(before.through if before else run.started, run.started, start)
    days = dict(before.days) if before else {}
    fleets = {day: dict(seconds) for day, seconds in before.fleets.items()} if before else {}
    for day, seconds in _seconds_by_day(since, end):
        days[day] = days.get(day, Decimal(0)) + (seconds * per_hour / prices.SECONDS_PER_HOUR).quantize(_MICRO)
        of_day = fleets.setdefault(day, {})
        of_day[per_hour] = of_day.get(per_hour, Decimal(0)) + seconds
    fleets = fleets if run.use == "hosting" else {}
    return Metered(run.use, run.name, _kept(run.tags), days, max(since, end), fleets=fleets)


def _kept(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: tags[key] for key in (DATASET_TAG, *SPLIT_BY) if key in tags}


def _seconds_by_day(start: datetime, end: datetime) -> Iterable[tuple[str, Decimal]]:
    while start < end:
        midnight = (start.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        stop = min(midnight, end)
        yield day_of(start), Decimal(str((stop - start).total_seconds()))
        start = stop


def by_kind(
    month: SpendMonth, runs: Iterable[Run], since: datetime | None, now: datetime, settings: Settings
) -> list[RecordSaving]:
    """What endpoints that cost nothing while nobody asks saved on each day that is over, but was not yet at `since`.

    Against the real-time endpoint that each would have been: the stack's fewest instances, of the type that its
    job.json asks for, in the office hours of the day in which it was there. Where it cost more than that, the entry is
    a loss. An endpoint that is gone before its day is over has no entry.
    """
    today = _midnight(now)
    savings = []
    for run in runs:
        kind = tagged_kind(run.tags)
        if run.use != "hosting" or kind is HostingKind.REAL_TIME or run.started is None or bare(run.name) != run.name:
            continue
        day = _midnight(max(run.started, since or run.started, month_start(month.month)))
        while day < min(today, month_end(month.month)):
            item = month.items.get(run.key)
            cost = item.days.get(day_of(day), Decimal(0)) if item else Decimal(0)
            try:
                saving = _against_real_time(run, kind, day, cost, settings)
            except UnknownPrice:
                break  # the meter tells of a price that is missing
            if saving.usd:
                reason = f"{run.name} was {kind.value} on {day_of(day)}: {saving.formula}."
                savings.append(RecordSaving(reason, saving))
            day += timedelta(days=1)
    return savings


def _midnight(moment: datetime) -> datetime:
    """That its UTC day began with."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _against_real_time(run: Run, kind: HostingKind, day: datetime, cost: Decimal, settings: Settings) -> Saving:
    assert run.started is not None
    instance_type = hosting_wishes(run.tags).get("instance_type", settings.hosting_instance_type)
    hourly = settings.min_instances * prices.usd_per_hour(instance_type, "hosting", settings.aws_region)
    end = day + timedelta(days=1)
    hours = open_hours(run.tags, settings, max(run.started, day), end)
    usd = hours * hourly - cost
    formula = (
        f"{hours:.2f} open hours x {settings.min_instances} x {instance_type} at {hourly} USD/hour in real time - "
        f"{cost:.4f} USD {kind.value} = {usd:.4f} USD (list prices in {settings.aws_region})"
    )
    what: SavingKind = "serverless" if kind is HostingKind.SERVERLESS else "scale-to-zero"
    at = end - timedelta(seconds=1)
    return ledger.entry(what, f"{run.key} {day:%Y-%m-%d}", usd, formula, at, run.tags.get(DATASET_TAG))


def scaled_in(
    month: SpendMonth, since: datetime | None, now: datetime, region: str, but: Iterable[str] = ()
) -> list[RecordSaving]:
    """What scaling in saved on each day that is over, but was not yet at `since`.

    Against the largest fleet that the endpoint had on that day: what it would have cost to stand so big for all the
    time that it was on. Hours of the night are in none of it, because nothing is metered then. `but` has the keys of
    runs that by_kind is about.
    """
    first, today = ("" if since is None else day_of(since)), day_of(now)
    found: dict[tuple[str, str], dict[Decimal, Decimal]] = {}
    of: dict[str, Metered] = {}
    others = frozenset(but)
    for key, item in month.items.items():
        if key in others:
            continue
        arn = key.partition(" ")[0]
        of[arn] = item
        for day, fleets in item.fleets.items():
            if first <= day < today:
                seconds = found.setdefault((arn, day), {})
                for rate, more in fleets.items():
                    seconds[rate] = seconds.get(rate, Decimal(0)) + more
    savings = []
    for (arn, day), seconds in sorted(found.items()):
        largest = max(seconds)
        smaller = {rate: time / prices.SECONDS_PER_HOUR for rate, time in sorted(seconds.items()) if rate < largest}
        usd = sum((hours * (largest - rate) for rate, hours in smaller.items()), start=Decimal(0))
        if usd <= 0:
            continue
        parts = " + ".join(f"{hours:.2f} hours x ({largest} - {rate}) USD/hour" for rate, hours in smaller.items())
        formula = (
            f"{parts} = {usd:.4f} USD less than the day's largest fleet, at {largest} USD/hour, for all the time that "
            f"it was on (list price in {region})"
        )
        end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1) - timedelta(seconds=1)
        saving = ledger.entry("scale-in", f"{arn} {day}", usd, formula, end, of[arn].tags.get(DATASET_TAG))
        savings.append(RecordSaving(f"Scaling in saved {usd:.2f} USD on {of[arn].name} on {day}: {formula}.", saving))
    return savings


def total(month: SpendMonth, period: str, only: Callable[[Metered], bool] = lambda _: True) -> Decimal:
    """US dollars in the month, or on one of its days."""
    return sum(
        (
            usd
            for item in month.items.values()
            if only(item)
            for day, usd in item.days.items()
            if day.startswith(period)
        ),
        start=Decimal(0),
    )


def metric_data(month: SpendMonth, now: datetime, settings: Settings) -> tuple[Request, ...]:
    """PutMetricData: the UTC day's dollars so far, of the stack, by dataset, and by tag where tags differ.

    A level, not an increment: read it with the statistic Maximum. A tick that is repeated puts the same number again.
    """
    day = day_of(now)
    stack = {"Stack": settings.stack_name}
    values: dict[tuple[tuple[str, str], ...], Decimal] = {tuple(stack.items()): Decimal(0)}
    today = [(item, item.days[day]) for item in month.items.values() if day in item.days]
    splits = [tag for tag in SPLIT_BY if len({item.tags.get(tag, "") for item, _ in today}) > 1]
    for item, usd in today:
        tags = {tag: _dimension(value) for tag, value in item.tags.items() if value.strip()}
        dataset = tags.get(DATASET_TAG)
        dimensions = [stack, *([stack | {"Dataset": dataset}] if dataset else [])]
        dimensions += [stack | {tag: tags[tag]} for tag in splits if tag in tags]
        for one in dimensions:
            key = tuple(one.items())
            values[key] = values.get(key, Decimal(0)) + usd
    data = [
        {
            "MetricName": METRIC,
            "Dimensions": [{"Name": name, "Value": value} for name, value in key],
            "Timestamp": now,
            "Value": float(usd),
            "Unit": "None",
        }
        for key, usd in values.items()
    ]
    return tuple(
        {"Namespace": "ml-platform", "MetricData": data[at : at + _DATA_PER_CALL]}
        for at in range(0, len(data), _DATA_PER_CALL)
    )


def _dimension(value: str) -> str:
    """Tags may have any letters, a dimension's value only ASCII ("Dimension", CloudWatch API reference)."""
    return value.encode("ascii", "backslashreplace").decode()


# ---- deciding ----


def plan_spend(facts: SpendFacts, settings: Settings) -> list[Decision]:
    """What a tick does: count, tell, warn at 80 % of a ceiling, and at 100 % refuse what would cost more."""
    decisions: list[Decision] = []
    if facts.previous is not None:
        closed = meter(facts.previous, facts.runs, facts.now, settings.aws_region)
        # Before what says up to when was counted: after an error they are found again, and kept once.
        decisions += _saved(closed, facts.previous.through, facts, settings)
        reason = f"{closed.month} is over: {_dollars(total(closed, closed.month))} in all."
        decisions.append(RecordSpend(reason, month_key(closed.month), document(closed), ()))
    month = meter(facts.month, facts.runs, facts.now, settings.aws_region)
    decisions += _saved(month, facts.month.through, facts, settings)
    today = day_of(facts.now)
    reason = (
        f"{_dollars(total(month, today))} today and {_dollars(total(month, month.month))} this month (UTC) for "
        f"{len(month.items)} runs by {facts.now:%H:%M}, at list prices."
    )
    decisions.append(
        RecordSpend(reason, month_key(month.month), document(month), metric_data(month, facts.now, settings))
    )
    decisions += [
        Notify(f"{sentence} Until then the ceilings do not see it.", "Something runs without a known price", once)
        for sentence, once in ((one, f"{TOLD}{month.month}-{_slug(one)}.json") for one in month.unpriced)
    ]
    breaches = []
    for period, ceiling, name in (
        (month.month, settings.monthly_ceiling_usd, "monthly"),
        (today, settings.daily_ceiling_usd, "daily"),
    ):
        spent = total(month, period)
        certain = total(month, period, lambda item: not item.estimate)
        if certain >= ceiling:
            breaches.append((period, certain, ceiling, name))
        elif spent >= WARN_AT * ceiling:
            part = spent - certain
            decisions.append(_warning(period, spent, ceiling, name, settings.environment, estimated=part))
    return decisions + _at_a_ceiling(breaches, facts, settings)


def _saved(month: SpendMonth, since: datetime | None, facts: SpendFacts, settings: Settings) -> list[RecordSaving]:
    others = [run.key for run in facts.runs if tagged_kind(run.tags) is not HostingKind.REAL_TIME]
    return [
        *scaled_in(month, since, facts.now, settings.aws_region, others),
        *by_kind(month, facts.runs, since, facts.now, settings),
    ]


def _warning(
    period: str, spent: Decimal, ceiling: Decimal, name: str, environment: str, *, estimated: Decimal
) -> Notify:
    part = f", {_dollars(estimated)} of it for spot jobs that still run, before their discount" if estimated else ""
    return Notify(
        f"{_dollars(spent)} of the {name} ceiling of {_dollars(ceiling)} are spent for {period} (UTC): "
        f"{spent / ceiling:.0%}{part}. At 100 % {AT_A_CEILING[environment]}.",
        f"{spent / ceiling:.0%} of the {name} ceiling are spent",
        f"{TOLD}{period}-warning.json",
    )


def _at_a_ceiling(
    breaches: list[tuple[str, Decimal, Decimal, str]], facts: SpendFacts, settings: Settings
) -> list[Decision]:
    wanted = next((breach for breach in breaches if breach[0] not in facts.resumed), None)
    if wanted is None:
        return [_lift(facts.hold, breaches)] if facts.hold is not None else []
    period, spent, ceiling, name = wanted
    said = (
        f"{_dollars(spent)} are spent for {period} (UTC), the {name} ceiling is {_dollars(ceiling)}: "
        f"{AT_A_CEILING[settings.environment]}"
    )
    if settings.environment == "prod":
        once = f"{TOLD}{period}-ceiling.json"
        told = Notify(f"{said}.", f"The {name} ceiling is reached", once)
        # One from before the stack became prod would go on refusing trainings.
        return [told] if facts.hold is None else [told, _lifted(facts.hold, "the stack is prod now")]
    if facts.hold is not None and facts.hold.period == period:
        return []
    reason = (
        f"{said}. This lasts until {period_end(period):%Y-%m-%d %H:%M} UTC or until somebody runs `mlp costs resume`."
    )
    return [HoldLaunches(reason, Hold(period, reason, facts.now))]


def _lift(hold: Hold, breaches: list[tuple[str, Decimal, Decimal, str]]) -> LiftHold:
    return _lifted(hold, "people have resumed launches" if breaches else "spending is below the ceilings")


def _lifted(hold: Hold, why: str) -> LiftHold:
    return LiftHold(f"The hold for {hold.period} is lifted, since {why}: new trainings start again.", hold.period)


# ---- the object ----


def document(month: SpendMonth) -> dict[str, Any]:
    """The month as JSON, with sums for readers that need no more than those."""
    days: dict[str, Decimal] = {}
    datasets: dict[str, Decimal] = {}
    for item in month.items.values():
        for day, usd in item.days.items():
            days[day] = days.get(day, Decimal(0)) + usd
            dataset = item.tags.get(DATASET_TAG, "")
            datasets[dataset] = datasets.get(dataset, Decimal(0)) + usd
    return {
        "month": month.month,
        "through": None if month.through is None else month.through.isoformat(),
        "usd": str(sum(days.values(), start=Decimal(0))),
        "days": {day: str(usd) for day, usd in sorted(days.items())},
        "datasets": {dataset: str(usd) for dataset, usd in sorted(datasets.items())},
        "unpriced": list(month.unpriced),
        "items": {
            key: {
                "use": item.use,
                "name": item.name,
                "tags": dict(item.tags),
                "days": {day: str(usd) for day, usd in item.days.items()},
                "through": item.through.isoformat(),
                "final": item.final,
                "estimate": item.estimate,
                "fleets": {
                    day: {str(rate): str(seconds) for rate, seconds in of_day.items()}
                    for day, of_day in item.fleets.items()
                },
            }
            for key, item in month.items.items()
        },
        "configs": {config: [list(variant) for variant in variants] for config, variants in month.configs.items()},
    }


def read_month(found: Mapping[str, Any]) -> SpendMonth:
    """The reverse of document. Raises KeyError or ValueError for anything else."""
    return SpendMonth(
        month=found["month"],
        through=None if found["through"] is None else datetime.fromisoformat(found["through"]),
        items={
            key: Metered(
                item["use"],
                item["name"],
                item["tags"],
                {day: Decimal(usd) for day, usd in item["days"].items()},
                datetime.fromisoformat(item["through"]),
                item["final"],
                item["estimate"],
                {
                    day: {Decimal(rate): Decimal(seconds) for rate, seconds in of_day.items()}
                    for day, of_day in item.get("fleets", {}).items()  # months from before have none
                },
            )
            for key, item in found["items"].items()
        },
        configs={
            config: tuple((variant, kind) for variant, kind in variants)
            for config, variants in found["configs"].items()
        },
        unpriced=tuple(found["unpriced"]),
    )


def _dollars(usd: Decimal) -> str:
    return f"{usd:,.2f} USD"


def _slug(sentence: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in sentence).lower().split())[:120]
