"""A hold on launches, and the UTC days and months that it is for. The meter (spend.py) decides on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from mlplatform.facts import Hold

PREFIX = "spend/"
HOLD_KEY = f"{PREFIX}hold.json"
RESUMED_KEY = f"{PREFIX}resumed.json"


def day_of(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def month_of(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m}"


def month_start(month: str) -> datetime:
    return datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)


def month_end(month: str) -> datetime:
    """The first moment after it."""
    return (month_start(month) + timedelta(days=32)).replace(day=1)


def previous_month(month: str) -> str:
    return month_of(month_start(month) - timedelta(days=1))


def period_end(period: str) -> datetime:
    """The first moment after a day (2026-11-23) or a month (2026-11). Raises ValueError for anything else."""
    if len(period) == len("2026-11"):
        return month_end(period)
    return datetime.fromisoformat(period).replace(tzinfo=UTC) + timedelta(days=1)


def hold_applies(hold: Hold, now: datetime) -> bool:
    """Whether launches are to be refused. A hold ends with its period even if nobody is there to remove it."""
    return now < period_end(hold.period)


def hold_document(hold: Hold) -> dict[str, str]:
    return {"period": hold.period, "reason": hold.reason, "since": hold.since.isoformat()}


def read_hold(found: Mapping[str, str]) -> Hold:
    """The reverse of hold_document. Raises KeyError or ValueError for anything else."""
    period_end(found["period"])
    return Hold(found["period"], found["reason"], datetime.fromisoformat(found["since"]))
