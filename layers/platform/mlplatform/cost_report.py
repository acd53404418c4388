"""What was spent, saved and is to come: facts become one report whose figures add up to the cent. Pure.

Days are UTC days, as Cost Explorer counts them, and the report is about the month of yesterday. Every table is rounded
so that its rows add up to its total, and its total is the bill rounded once: the cents that rounding leaves over go to
the rows that lost most by it.
"""

from __future__ import annotations

import calendar
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from mlplatform import prices
from mlplatform.dollars import CENT, NOTHING, money, precise
from mlplatform.errors import UnknownPrice
from mlplatform.facts import DATASET_TAG, CostFacts, CostLine, JobRun, Saving, TaggedCost
from mlplatform.recommendations import Recommendation
from mlplatform.records import dataclass
from mlplatform.settings import Settings
from mlplatform.words import counted

UNTAGGED = "not tagged"
THE_PLATFORM = "the platform itself"
# Kinds of charge that no resource causes (RECORD_TYPE, Cost Explorer API): each has a row of its own.
APART = {"Tax": "Tax", "Credit": "Credits", "Refund": "Refunds"}
SAGEMAKER = "Amazon SageMaker"
_COST_EXPLORER_REGION = "us-east-1"  # its only endpoint, whatever the stack's region (AWS General Reference)
_MOVERS = 5
_WEEK = 7
_ENOUGH_PREDICTIONS = 100  # of fewer, what a thousand cost says nothing


@dataclass(frozen=True)
class Row:
    """One line of a table, in cents exact."""

    name: str
    yesterday: Decimal
    month_to_date: Decimal
    last_month: Decimal  # the same days of the month before


@dataclass(frozen=True)
class Table:
    """Rows that add up to the total, column by column."""

    rows: tuple[Row, ...]
    total: Row


@dataclass(frozen=True)
class Day:
    """One day of the month, by service, for the chart. Not rounded."""

    day: date
    amounts: Mapping[str, Decimal]
    estimated: bool

    @property
    def total(self) -> Decimal:
        return sum(self.amounts.values(), NOTHING)


@dataclass(frozen=True)
class Budget:
    """How far the month's budget is used up."""

    usd: Decimal
    spent_usd: Decimal
    runs_out_on: date | None
    spending: str  # a clause: what is spent of it, and on what
    outlook: str  # a clause: what is left, and how long it lasts

    @property
    def sentence(self) -> str:
        return f"{self.spending}: {self.outlook}"

    @property
    def left_usd(self) -> Decimal:
        return self.usd - self.spent_usd


@dataclass(frozen=True)
class Mover:
    """A service that cost noticeably more or less than in the week before."""

    name: str
    yesterday: Decimal
    usual: Decimal  # the mean of the days before
    cause: str  # a sentence; says so where the platform does not know it

    @property
    def change(self) -> Decimal:
        return self.yesterday - self.usual


@dataclass(frozen=True)
class UnitCost:
    """What one of something costs. Not rounded to cents: it may be less than one."""

    name: str
    usd: Decimal
    formula: str


@dataclass(frozen=True)
class SavingsOfKind:
    """The ledger's entries of one kind."""

    kind: str
    usd: Decimal
    entries: tuple[Saving, ...]
    caveat: str  # what the amount does not say


@dataclass(frozen=True)
class Report:
    """One morning's report. None where the figure is not known; `missing` says why."""

    stack: str
    environment: str
    made_on: date
    day: date  # yesterday, and with it the month the report is about
    compared_until: date  # the last of the same days last month
    currency: str
    estimated: bool  # whether AWS may still change yesterday's figure
    month_estimated: bool
    services: Table | None
    projects: Table | None
    datasets: Table | None
    untagged_percent: Decimal | None
    days: tuple[Day, ...]  # of the month, up to yesterday
    days_last_month: tuple[Day, ...]  # the whole month before
    month_end: Decimal | None  # so far, and what is forecast
    forecast: str  # a sentence
    budget: Budget
    movers: tuple[Mover, ...]
    unit_costs: tuple[UnitCost, ...]
    savings: tuple[SavingsOfKind, ...]
    saved_usd: Decimal
    own_usd: Decimal | None  # what the platform itself cost, month to date
    requests: int
    requests_usd: Decimal
    other_currencies: tuple[tuple[str, Decimal], ...]  # month to date; not in any other figure
    missing: tuple[str, ...]
    advice: tuple[Recommendation, ...] = ()
    advice_usd: Decimal = NOTHING  # a month, of alternatives the best
    not_looked_at: tuple[str, ...] = ()  # what the advice leaves out, as it could not be read


def month_start(day: date) -> date:
    return day.replace(day=1)


def month_last(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def same_day_last_month(day: date) -> date:
    """The same day of the month before; its last day where it has fewer."""
    before = month_start(day) - timedelta(days=1)
    return before.replace(day=min(day.day, before.day))


def apportion(amounts: Sequence[Decimal], total: Decimal | None = None) -> list[Decimal]:
    """The amounts in whole cents that add up to the total, by default theirs rounded: the largest remainders gain."""
    goal = (sum(amounts, NOTHING) if total is None else total).quantize(CENT, ROUND_HALF_UP)
    rounded = [amount.quantize(CENT, ROUND_FLOOR) for amount in amounts]
    over = int((goal - sum(rounded, NOTHING)) / CENT)
    if not amounts:
        return []
    by_remainder = sorted(range(len(amounts)), key=lambda index: rounded[index] - amounts[index])
    if over < 0:
        by_remainder.reverse()
    for turn in range(abs(over)):
        rounded[by_remainder[turn % len(by_remainder)]] += CENT if over > 0 else -CENT
    return rounded


def plan_report(facts: CostFacts, settings: Settings) -> Report:
    """Never fails for lack of facts: what is not known is None, and said."""
    day = facts.today - timedelta(days=1)
    compared = same_day_last_month(day)
    missing = list(facts.missing)
    currency, lines, others = _one_currency(facts.lines or ())
    if facts.lines is not None and not facts.lines:
        missing.append(
            "Cost Explorer answered without any cost: nothing was billed since the first of last month, or it was "
            "switched on less than a day ago."
        )
    known = bool(facts.lines)
    spans = _Spans(day, compared)
    services = _service_table(lines, spans) if known else None
    projects, datasets, gap = None, None, None
    tagged = [cost for cost in facts.tagged or () if cost.currency == currency]
    if services is not None and tagged:
        usage = _usage(services)
        projects, gap = _table(((c.project or UNTAGGED, c.day, c.amount) for c in tagged), spans, usage)
        if any(cost.dataset for cost in tagged):
            datasets, _ = _table(((_dataset_row(c.project, c.dataset), c.day, c.amount) for c in tagged), spans, usage)
    if gap is not None:
        missing.append(gap)
    # Where nothing carries a dataset although SageMaker was used, the tag is not active yet: then nobody can tell.
    told_apart = any(cost.dataset for cost in tagged) or not any(line.service == SAGEMAKER for line in lines)
    if tagged and not told_apart:
        missing.append(
            f"No cost carries the tag {DATASET_TAG}, which takes up to a day from its activation: what datasets and "
            "what the platform itself cost can't be told apart yet."
        )
    untagged = _row(projects, UNTAGGED)
    month_end, forecast = _forecast(facts, day, services, currency)
    daily = _days(lines)
    jobs, unpriced = _priced(facts.jobs, settings.aws_region)
    missing += unpriced
    own = None
    if tagged and known and told_apart:
        platform = [c.amount for c in tagged if c.project == settings.project and not c.dataset and spans.month(c.day)]
        platform += [line.amount for line in lines if line.service == "AWS Cost Explorer" and spans.month(line.day)]
        own = sum(platform, NOTHING).quantize(CENT, ROUND_HALF_UP)
    return Report(
        stack=settings.stack_name,
        environment=settings.environment,
        made_on=facts.today,
        day=day,
        compared_until=compared,
        currency=currency,
        estimated=any(line.estimated for line in lines if line.day == day) or not known,
        month_estimated=any(line.estimated for line in lines if spans.month(line.day)),
        services=services,
        projects=projects,
        datasets=datasets,
        untagged_percent=_percent(untagged.month_to_date, _total(projects)) if untagged else None,
        days=tuple(one for one in daily if spans.month(one.day)),
        days_last_month=tuple(one for one in daily if one.day < month_start(day)),
        month_end=month_end,
        forecast=forecast,
        budget=_budget(facts, settings, spans, services, projects, tagged, currency),
        movers=_movers(lines, day, jobs, facts) if known else (),
        unit_costs=_unit_costs(jobs, datasets, facts),
        savings=(savings := _savings(facts.savings)),
        saved_usd=sum((kind.usd for kind in savings), NOTHING),
        own_usd=own,
        requests=facts.requests,
        requests_usd=facts.requests * prices.usd("cost_explorer.request", _COST_EXPLORER_REGION),
        other_currencies=tuple(
            (name, sum((line.amount for line in others if line.currency == name and spans.month(line.day)), NOTHING))
            for name in sorted({line.currency for line in others})
        ),
        missing=tuple(missing),
    )


# ---- tables ----


@dataclass(frozen=True)
class _Spans:
    """Which days a column is about."""

    day: date
    compared: date

    def yesterday(self, day: date) -> bool:
        return day == self.day

    def month(self, day: date) -> bool:
        return month_start(self.day) <= day <= self.day

    def last_month(self, day: date) -> bool:
        return month_start(self.compared) <= day <= self.compared

    @property
    def columns(self) -> tuple[Callable[[date], bool], ...]:
        return self.yesterday, self.month, self.last_month


def _one_currency(lines: Iterable[CostLine]) -> tuple[str, list[CostLine], list[CostLine]]:
    """The bill's currency, its lines, and the lines in other currencies: amounts of two currencies are never added.

    Cost Explorer writes "N/A" as the unit of amounts that are nothing.
    """
    real = [line for line in lines if line.amount or line.currency != "N/A"]
    counts: dict[str, int] = defaultdict(int)
    for line in real:
        counts[line.currency] += 1
    currency = "USD" if "USD" in counts or not counts else max(sorted(counts), key=lambda name: counts[name])
    return (
        currency,
        [line for line in real if line.currency == currency],
        [line for line in real if line.currency != currency],
    )


def _sums(items: Iterable[tuple[str, date, Decimal]], spans: _Spans) -> dict[str, list[Decimal]]:
    sums: dict[str, list[Decimal]] = {}
    for name, day, amount in items:
        row = sums.setdefault(name, [NOTHING] * 3)
        for index, within in enumerate(spans.columns):
            if within(day):
                row[index] += amount
    return {name: row for name, row in sums.items() if any(row)}


def _rows(sums: Mapping[str, Sequence[Decimal]], goals: Sequence[Decimal | None]) -> tuple[Row, ...]:
    names = list(sums)
    columns = [apportion([sums[name][index] for name in names], goal) for index, goal in enumerate(goals)]
    return tuple(Row(name, *(column[place] for column in columns)) for place, name in enumerate(names))


def _total_row(rows: Sequence[Row], name: str = "Total") -> Row:
    return Row(
        name,
        sum((row.yesterday for row in rows), NOTHING),
        sum((row.month_to_date for row in rows), NOTHING),
        sum((row.last_month for row in rows), NOTHING),
    )


def _service_table(lines: Sequence[CostLine], spans: _Spans) -> Table:
    """Services by what they cost this month, and after them tax, credits and refunds."""
    items = ((APART.get(line.record_type, line.service), line.day, line.amount) for line in lines)
    rows = _rows(_sums(items, spans), [None] * 3)
    apart = list(APART.values())
    ordered = sorted(rows, key=lambda row: (row.name in apart, -row.month_to_date, -row.last_month, row.name))
    return Table(tuple(ordered), _total_row(rows))


def _usage(services: Table) -> Row:
    return _total_row([row for row in services.rows if row.name not in APART.values()], "Total of use")


def _table(items: Iterable[tuple[str, date, Decimal]], spans: _Spans, usage: Row) -> tuple[Table, str | None]:
    """The same money by tag. What Cost Explorer's two answers differ by gets a row and a sentence."""
    sums = _sums(items, spans)
    goals = [usage.yesterday, usage.month_to_date, usage.last_month]
    differences = [goal - sum((row[i] for row in sums.values()), NOTHING) for i, goal in enumerate(goals)]
    note = None
    if any(abs(difference) >= CENT * (len(sums) + 1) for difference in differences):
        sums["not in this answer"] = differences
        note = (
            "Cost Explorer's answer by tag and its answer by service differ, because the bill changed between the two "
            'or one of them is incomplete: the difference is the row "not in this answer".'
        )
    rows = _rows(sums, goals)
    ordered = sorted(rows, key=lambda row: (row.name == UNTAGGED, -row.month_to_date, -row.last_month, row.name))
    return Table(tuple(ordered), _total_row(rows, usage.name)), note


def _dataset_row(project: str, dataset: str) -> str:
    if dataset:
        return dataset
    return THE_PLATFORM if project else UNTAGGED


def _row(table: Table | None, name: str) -> Row | None:
    return next((row for row in table.rows if row.name == name), None) if table else None


def _total(table: Table | None) -> Decimal:
    return table.total.month_to_date if table else NOTHING


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    return (part / whole * 100).quantize(Decimal("0.1"), ROUND_HALF_UP) if whole > 0 else None


def _days(lines: Iterable[CostLine]) -> list[Day]:
    amounts: dict[date, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: NOTHING))
    estimated: set[date] = set()
    for line in lines:
        amounts[line.day][APART.get(line.record_type, line.service)] += line.amount
        if line.estimated:
            estimated.add(line.day)
    return [Day(day, dict(amounts[day]), day in estimated) for day in sorted(amounts)]


# ---- what is to come ----


def _forecast(facts: CostFacts, day: date, services: Table | None, currency: str) -> tuple[Decimal | None, str]:
    last = month_last(day)
    if day == last:
        return None, f"There is no forecast: {_month(day)} is over."
    if facts.forecast is None:
        return None, facts.forecast_note or "There is no forecast: Cost Explorer was not asked."
    if services is None:
        return None, "There is no forecast for the month, because what was spent so far is not known."
    if facts.forecast.currency != currency:
        return None, (
            f"There is no forecast in {currency}: Cost Explorer's is {facts.forecast.amount} {facts.forecast.currency}."
        )
    rest = facts.forecast.amount.quantize(CENT, ROUND_HALF_UP)
    so_far = services.total.month_to_date
    return so_far + rest, (
        f"{money(so_far + rest, currency)} by the end of {_month(day)}: {money(so_far, currency)} so far and "
        f"{money(rest, currency)} that Cost Explorer forecasts for {_span(facts.forecast.start, last)}."
    )


def _budget(
    facts: CostFacts,
    settings: Settings,
    spans: _Spans,
    services: Table | None,
    projects: Table | None,
    tagged: Sequence[TaggedCost],
    currency: str,
) -> Budget:
    """The budget counts what carries the project's tag; where no cost does yet, the whole account stands in for it."""
    budget = Decimal(settings.monthly_budget_usd)
    day, last = spans.day, month_last(spans.day)
    if services is None or currency != "USD":
        why = "what was spent is not known" if services is None else f"the bill is in {currency}"
        return Budget(
            budget, NOTHING, None, f"How much of the budget of {money(budget)} is left is not known", f"{why}."
        )
    row = _row(projects, settings.project)
    if row is not None:
        spent, whose = row.month_to_date, f"on what is tagged Project = {settings.project}"
        by_day = _by_day((c.day, c.amount) for c in tagged if c.project == settings.project)
    else:
        spent, whose = services.total.month_to_date, "in the whole account, because no cost carries the project's tag"
        by_day = _by_day((line.day, line.amount) for line in facts.lines or () if line.currency == currency)
    left = budget - spent
    month = [(one, amount) for one, amount in sorted(by_day.items()) if spans.month(one)]
    spending = f"{money(spent)} of {money(budget)} is spent {whose}"
    if left <= 0:
        crossed, so_far = day, NOTHING
        for one, amount in month:
            so_far += amount
            if so_far >= budget - CENT / 2:
                crossed = one
                break
        over = f", and {money(-left)} went over it" if left else ""
        return Budget(budget, spent, crossed, spending, f"it ran out on {_day(crossed)}{over}.")
    if day == last:
        return Budget(budget, spent, None, spending, f"{money(left)} was left at the month's end.")
    pace, of = _pace(by_day, day)
    if pace <= 0:
        return Budget(budget, spent, None, spending, f"{money(left)} is left, and nothing is being spent.")
    days_left = int((left / pace).to_integral_value(ROUND_CEILING))
    if days_left > (last - day).days:
        lasts = f"{money(left)} is left, which lasts through {_month(day)} at {money(pace)} a day, {of}."
        return Budget(budget, spent, None, spending, lasts)
    out = day + timedelta(days=days_left)
    runs_out = f"{money(left)} is left, which runs out on {_day(out)} at {money(pace)} a day, {of}."
    return Budget(budget, spent, out, spending, runs_out)


def _pace(by_day: Mapping[date, Decimal], day: date) -> tuple[Decimal, str]:
    """What is spent in a day, and how that is known.

    Yesterday's figure is still growing, so the seven days before it tell, unless there was nothing before it.
    """
    first = min(by_day)
    earlier = [day - timedelta(days=n) for n in range(1, _WEEK + 1) if day - timedelta(days=n) >= first]
    before = sum((by_day.get(one, NOTHING) for one in earlier), NOTHING)
    if before > 0:
        return before / len(earlier), f"the mean of the {counted(len(earlier), 'day')} before yesterday"
    return by_day.get(day, NOTHING), "as yesterday"


def _by_day(items: Iterable[tuple[date, Decimal]]) -> dict[date, Decimal]:
    sums: dict[date, Decimal] = defaultdict(lambda: NOTHING)
    for day, amount in items:
        sums[day] += amount
    return dict(sums)


# ---- why ----


@dataclass(frozen=True)
class _PricedJob:
    run: JobRun
    usd: Decimal


def _priced(jobs: Iterable[JobRun], region: str) -> tuple[list[_PricedJob], list[str]]:
    priced, unknown = [], set()
    for job in jobs:
        try:
            hourly = prices.usd_per_hour(job.instance_type, "training", region)
        except UnknownPrice as error:
            unknown.add(str(error))
            continue
        priced.append(_PricedJob(job, hourly * job.billable_seconds * job.instance_count / prices.SECONDS_PER_HOUR))
    return priced, sorted(unknown)


def _movers(lines: Sequence[CostLine], day: date, jobs: Sequence[_PricedJob], facts: CostFacts) -> tuple[Mover, ...]:
    first = min(line.day for line in lines)
    week = [day - timedelta(days=n) for n in range(1, _WEEK + 1) if day - timedelta(days=n) >= first]
    if not week:
        return ()
    now: dict[str, Decimal] = defaultdict(lambda: NOTHING)
    before: dict[str, Decimal] = defaultdict(lambda: NOTHING)
    for line in lines:
        name = APART.get(line.record_type, line.service)
        if line.day == day:
            now[name] += line.amount
        elif line.day in week:
            before[name] += line.amount
    movers = [
        Mover(
            name,
            now[name].quantize(CENT, ROUND_HALF_UP),
            (before[name] / len(week)).quantize(CENT, ROUND_HALF_UP),
            "",
        )
        for name in sorted({*now, *before})
    ]
    moved = sorted((one for one in movers if one.change), key=lambda one: (-abs(one.change), one.name))[:_MOVERS]
    return tuple(Mover(one.name, one.yesterday, one.usual, _cause(one, day, jobs, facts)) for one in moved)


def _cause(mover: Mover, day: date, jobs: Sequence[_PricedJob], facts: CostFacts) -> str:
    """What the platform saw of it; only of SageMaker does it know who used it."""
    if mover.name in APART.values():
        return "AWS books it on the day it arises; nothing that runs causes it."
    if mover.name != SAGEMAKER:
        return "The platform does not know what caused it."
    seen = []
    if mover.change > 0:
        ended = sorted((job for job in jobs if job.run.ended.date() == day), key=lambda job: -job.usd)
        for job in ended[:2]:
            seen.append(f"training job {job.run.name} was billed {precise(job.usd)}")
        if len(ended) > 2:
            rest = sum((job.usd for job in ended[2:]), NOTHING)
            seen.append(f"{counted(len(ended) - 2, 'more training job')} {precise(rest)}")
        seen += [f"endpoint {one.name} was started" for one in facts.endpoints if one.created.date() == day]
        seen += [
            f"endpoint {one.name} was started the day before, and this was its first whole day"
            for one in facts.endpoints
            if one.created.date() == day - timedelta(days=1)
        ]
    else:
        nights = [one for one in facts.savings if one.kind == "night" and one.at.date() == day]
        if nights:
            endpoints = counted(len(nights), "endpoint")
            seen.append(f"{endpoints} slept, which saved {precise(sum((one.usd for one in nights), NOTHING))}")
        if not any(job.run.ended.date() == day for job in jobs):
            seen.append("no training job ended")
    if not seen:
        return "No job ended that would explain it, and no endpoint that is there now was started on these two days."
    text = "; ".join(seen)
    return f"{text[0].upper()}{text[1:]}."


def _unit_costs(jobs: Sequence[_PricedJob], datasets: Table | None, facts: CostFacts) -> tuple[UnitCost, ...]:
    units = []
    if jobs:
        total = sum((job.usd for job in jobs), NOTHING)
        billed = sum(job.run.billable_seconds * job.run.instance_count for job in jobs)
        units.append(
            UnitCost(
                "per training job",
                total / len(jobs),
                f"{counted(len(jobs), 'job')} this month, {billed:,} billed instance-seconds, {precise(total)} by the "
                "price list",
            )
        )
    named = (
        [row for row in datasets.rows if row.name not in {THE_PLATFORM, UNTAGGED, "not in this answer"}]
        if datasets
        else []
    )
    if named:
        total = sum((row.month_to_date for row in named), NOTHING)
        units.append(
            UnitCost(
                "per dataset",
                total / len(named),
                f"{money(total)} of training and hosting this month / {counted(len(named), 'dataset')}",
            )
        )
    for row in named:
        asked = facts.predictions.get(row.name, 0)
        if asked >= _ENOUGH_PREDICTIONS and row.month_to_date > 0:
            units.append(
                UnitCost(
                    f"per 1,000 predictions of {row.name}",
                    row.month_to_date / asked * 1000,
                    f"{money(row.month_to_date)} of training and hosting this month / {asked:,} predictions (the "
                    "platform's own check after each start and change among them) x 1,000",
                )
            )
    return tuple(units)


_CAVEATS = {
    "spot": "Against the on-demand price of the same seconds. A short job saves cents, however high the percentage.",
    "night": "A closed endpoint refuses every request, and AWS counts none of them: who called at night is not known.",
    "scale-in": "Against the largest fleet of the same day, while it was on, by the hourly meter: changes that people "
    "make by hand count too, and so do the hours before the load came.",
    "serverless": "Against the real-time endpoint that it would have been, in its office hours. Where serverless cost "
    "more, the entry is a loss.",
    "scale-to-zero": "Against the real-time endpoint that it would have been, in its office hours, asynchronous ones "
    "included. While one wakes, callers get errors, or wait.",
}


def _savings(entries: Sequence[Saving]) -> tuple[SavingsOfKind, ...]:
    kinds: dict[str, list[Saving]] = defaultdict(list)
    for entry in entries:
        kinds[entry.kind].append(entry)
    sums = {kind: sum((entry.usd for entry in found), NOTHING) for kind, found in kinds.items()}
    cents = dict(zip(sums, apportion(list(sums.values())), strict=True))
    return tuple(
        SavingsOfKind(
            kind, cents[kind], tuple(sorted(kinds[kind], key=lambda one: (-one.usd, one.key))), _CAVEATS.get(kind, "")
        )
        for kind in sorted(sums, key=lambda kind: (-sums[kind], kind))
    )


# ---- words ----


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"


def _month(day: date) -> str:
    return f"{day:%B}"


def _span(first: date, last: date) -> str:
    return _day(first) if first == last else f"{_day(first)} to {_day(last)}"


# ---- numbers ----


def document(report: Report, text: str) -> str:
    """Every figure as JSON, amounts as text so that no digit is lost; and the report in words, for the terminal."""
    return json.dumps({"format": 1, **_plain(asdict(report)), "text": text}, indent=1, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else value
