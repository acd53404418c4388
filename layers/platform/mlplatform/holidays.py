"""Public holidays: the list in the settings, and an iCalendar file such as calendar sites offer (RFC 5545)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

from mlplatform.errors import UserError

_FARTHEST_DAYS = 400  # holidays of a yearly rule, and of an event that lasts, are named so far ahead
_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?")


class BadCalendar(UserError):
    """The file is no iCalendar, or an event in it can't be understood; the message names the event."""


def listed(text: str) -> frozenset[date]:
    """Dates as `2026-12-25,2027-01-01`. Raises ValueError."""
    return frozenset(date.fromisoformat(part.strip()) for part in text.split(",") if part.strip())


def from_calendar(content: bytes, today: date) -> frozenset[date]:
    """The days of the all-day events, those of yearly rules from a year before `today` to a year after it.

    Events with a time of day are appointments and no holidays, and are passed over. Raises BadCalendar.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadCalendar(f"It is not UTF-8 text, as iCalendar files are: {error}") from error
    lines = re.sub(r"\r?\n[ \t]", "", text).splitlines()  # long lines are folded (RFC 5545, section 3.1)
    if not lines or lines[0].strip().upper() != "BEGIN:VCALENDAR":
        raise BadCalendar("It does not begin with BEGIN:VCALENDAR")
    found: set[date] = set()
    for event in _events(lines):
        found.update(_days(event, today))
    return frozenset(found)


def _events(lines: list[str]) -> Iterator[dict[str, str]]:
    """Each event's properties, without their parameters, by name."""
    event: dict[str, str] | None = None
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.split(";")[0].strip().upper(), value.strip()
        if (name, value.upper()) == ("BEGIN", "VEVENT"):
            event = {}
        elif (name, value.upper()) == ("END", "VEVENT") and event is not None:
            yield event
            event = None
        elif event is not None:
            event.setdefault(name, value)


def _days(event: dict[str, str], today: date) -> Iterator[date]:
    called = event.get("SUMMARY") or event.get("UID") or "an event"
    start = event.get("DTSTART", "")
    if "T" in start or event.get("STATUS", "").upper() == "CANCELLED":
        return
    try:
        first = _date(start)
        length = _length(event, first)
        for year in _years(event, first, today):
            begin = first if year == first.year else _same_day(first, year)
            if begin is not None:
                yield from (begin + timedelta(day) for day in range(length))
    except ValueError as error:
        raise BadCalendar(f"{called!r}: {error}") from error


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{8}", text):
        raise ValueError(f"{text!r} is not a date such as 20261225")
    return date.fromisoformat(text)


def _length(event: dict[str, str], first: date) -> int:
    """In days; DTEND is the day after the last."""
    if "DTEND" in event:
        days = (_date(event["DTEND"]) - first).days
    elif "DURATION" in event:
        match = _DURATION.fullmatch(event["DURATION"])
        if match is None:
            raise ValueError(f"its duration {event['DURATION']!r} is not in days")
        days = int(match[1] or 0) * 7 + int(match[2] or 0)
    else:
        days = 1
    if days > _FARTHEST_DAYS:
        raise ValueError(f"it lasts {days} days")
    return max(days, 1)


def _years(event: dict[str, str], first: date, today: date) -> Iterator[int]:
    rule = dict(part.partition("=")[::2] for part in event.get("RRULE", "").upper().split(";") if part)
    if not rule:
        yield first.year
        return
    if rule.get("FREQ") != "YEARLY" or set(rule) - {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY"}:
        raise ValueError(f"its rule {event['RRULE']!r} is not a plain yearly one; write its dates out")
    if rule.get("BYMONTH", str(first.month)) != str(first.month) or (
        rule.get("BYMONTHDAY", str(first.day)) != str(first.day)
    ):
        raise ValueError(f"its rule {event['RRULE']!r} names another day than its start")
    every = int(rule.get("INTERVAL", "1"))
    last = min(_date(rule["UNTIL"][:8]).year if "UNTIL" in rule else today.year + 1, today.year + 1)
    if "COUNT" in rule:
        last = min(last, first.year + every * (int(rule["COUNT"]) - 1))
    if every < 1:
        raise ValueError(f"its rule {event['RRULE']!r} has no interval")
    yield from (year for year in range(first.year, last + 1, every) if year >= today.year - 1)


def _same_day(first: date, year: int) -> date | None:
    """None for 29 February in a year that has none."""
    try:
        return first.replace(year=year)
    except ValueError:
        return None
