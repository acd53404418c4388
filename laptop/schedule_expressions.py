"""When a schedule runs: AWS's cron, rate and at expressions, in any time zone.

Syntax, and the two nights of daylight saving: "Schedule types in EventBridge Scheduler",
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html. Rules of EventBridge have the same cron and
rate (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html), always in UTC. The general
cron libraries know neither AWS's `?`, `W` and years nor what Scheduler does on those nights.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if number}
_DAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
_YEARS = (1970, 2199)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class BadExpression(ValueError):
    """What is wrong with an expression, in one sentence."""


class Expression(Protocol):
    """When something runs."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after an aware moment, in UTC; None if there is none any more."""


def parse(text: str, zone: ZoneInfo, begin: datetime) -> Expression:
    """Reads an expression. A rate counts from `begin`. Raises BadExpression."""
    match = re.fullmatch(r"(cron|rate|at)\((.*)\)", text.strip(), re.DOTALL)
    if match is None:
        raise BadExpression(f"Invalid Schedule Expression {text}.")
    kind, inner = match.groups()
    if kind == "cron":
        return Cron.parse(inner, zone)
    if kind == "rate":
        return Rate.parse(inner, begin)
    return At.parse(inner, zone)


@dataclass(frozen=True)
class Rate:
    """Every so often, counted in elapsed time: rate(1 day) is 24 hours, also when the clocks change."""

    every: timedelta
    begin: datetime

    @classmethod
    def parse(cls, text: str, begin: datetime) -> Rate:
        match = re.fullmatch(r"\s*([1-9]\d*)\s+(minute|hour|day)(s?)\s*", text)
        if match is None or (match[1] == "1") == bool(match[3]):
            raise BadExpression(f"Invalid rate({text}): a number and minute(s), hour(s) or day(s), as in rate(1 hour).")
        return cls(int(match[1]) * _UNITS[match[2]], begin)

    def next_after(self, moment: datetime) -> datetime:
        if moment < self.begin:
            return self.begin
        return self.begin + ((moment - self.begin) // self.every + 1) * self.every


@dataclass(frozen=True)
class At:
    """Once. A local time that the clocks jump over never comes."""

    moment: datetime | None

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> At:
        try:
            local = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 the zone is the schedule's
        except ValueError:
            raise BadExpression(f"Invalid at({text}): expected at(yyyy-mm-ddThh:mm:ss).") from None
        return cls(_moment(local, zone))

    def next_after(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment is not None and self.moment > moment else None


@dataclass(frozen=True)
class Cron:
    """Times on the clock of a place."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    years: frozenset[int]
    on_day: Callable[[date], bool]
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Cron:
        fields = text.upper().split()
        if len(fields) != 6:
            raise BadExpression(f"Invalid cron({text}): it has {len(fields)} fields, and needs 6.")
        minutes, hours, days, months, weekdays, years = fields
        if (days == "?") == (weekdays == "?"):
            raise BadExpression(f"Invalid cron({text}): exactly one of day-of-month and day-of-week must be '?'.")
        return cls(
            minutes=tuple(sorted(_numbers(minutes, 0, 59))),
            hours=tuple(sorted(_numbers(hours, 0, 23))),
            months=_numbers(months, 1, 12, _MONTHS),
            years=_numbers(years, *_YEARS),
            on_day=_day_of_month(days) if weekdays == "?" else _day_of_week(weekdays),
            zone=zone,
        )

    def next_after(self, moment: datetime) -> datetime | None:
        """A time that the clocks jump over is skipped; in the hour that comes twice, only the first counts."""
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        for candidate in self._from(local.replace(second=0, microsecond=0)):
            found = _moment(candidate, self.zone)
            if found is not None and found > moment:
                return found
        return None

    def _from(self, begin: datetime) -> Iterator[datetime]:
        day = begin.date()
        while day.year <= max(self.years):
            if day.year not in self.years:
                day = date(day.year + 1, 1, 1)
            elif day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            else:
                if self.on_day(day):
                    times = (
                        datetime.combine(day, time(hour, minute)) for hour in self.hours for minute in self.minutes
                    )
                    yield from (one for one in times if one >= begin)
                day += timedelta(days=1)


def _moment(local: datetime, zone: ZoneInfo) -> datetime | None:
    """A local time in UTC, the first of two; None if the clocks jump over it."""
    moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return moment if moment.astimezone(zone).replace(tzinfo=None) == local else None


def _numbers(field: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    """A field of `,` `-` `*` and `/`. Raises BadExpression."""
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = _number(first, low, high, names, field)
            end = _number(last, low, high, names, field) if dash else high if slash else begin
        if end < begin or (slash and not (step.isdecimal() and int(step) > 0)):
            raise BadExpression(f"Invalid cron field {field}: {part} is no range from {low} to {high}.")
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, low: int, high: int, names: dict[str, int] | None, field: str) -> int:
    value = (names or {}).get(text, int(text) if text.isdecimal() else None)
    if value is None or not low <= value <= high:
        raise BadExpression(f"Invalid cron field {field}: {text!r} is not between {low} and {high}.")
    return value


def _day_of_month(field: str) -> Callable[[date], bool]:
    tests: list[Callable[[date], bool]] = []
    plain = []
    for part in field.split(","):
        if part == "L":
            tests.append(lambda day: day.day == _last(day))
        elif match := re.fullmatch(r"(\d+|L)W", part):
            wanted = None if match[1] == "L" else _number(match[1], 1, 31, None, field)
            tests.append(lambda day, wanted=wanted: day == _nearest_weekday(day, wanted))  # type: ignore[misc]
        else:
            plain.append(part)
    days = _numbers(",".join(plain), 1, 31) if plain else frozenset()
    return lambda day: day.day in days or any(test(day) for test in tests)


def _last(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, wanted: int | None) -> date | None:
    """The weekday nearest to a day of this month (None: its last), within the month."""
    last = _last(day)
    if wanted is not None and wanted > last:
        return None
    near = day.replace(day=wanted or last)
    if near.weekday() == 5:  # Saturday
        return near - timedelta(days=1) if near.day > 1 else near + timedelta(days=2)
    if near.weekday() == 6:
        return near + timedelta(days=1) if near.day < last else near - timedelta(days=2)
    return near


def _day_of_week(field: str) -> Callable[[date], bool]:
    tests: list[Callable[[date], bool]] = []
    plain = []
    for part in field.split(","):
        if match := re.fullmatch(r"(\w+)#([1-5])", part):
            weekday, nth = _number(match[1], 1, 7, _DAYS, field), int(match[2])
            tests.append(lambda day, w=weekday, n=nth: _weekday(day) == w and (day.day - 1) // 7 + 1 == n)  # type: ignore[misc]
        elif (match := re.fullmatch(r"(\w+)L", part)) and part not in _DAYS:
            weekday = _number(match[1], 1, 7, _DAYS, field)
            tests.append(lambda day, w=weekday: _weekday(day) == w and day.day > _last(day) - 7)  # type: ignore[misc]
        else:
            plain.append("7" if part == "L" else part)
    days = _numbers(",".join(plain), 1, 7, _DAYS) if plain else frozenset()
    return lambda day: _weekday(day) in days or any(test(day) for test in tests)


def _weekday(day: date) -> int:
    """As AWS counts: 1 is Sunday."""
    return day.isoweekday() % 7 + 1
