"""When an endpoint is meant to run: the grammar of its opening hours, and the moments that follow from them.

    hours   = "always-on" | window { " / " window } [ " @" zone ]
    window  = days " " HH:MM "-" HH:MM          24-hour clock, 24:00 is the day's end
    days    = "daily" | range { "+" range }
    range   = day [ "-" day ]                   mon tue wed thu fri sat sun; fri-mon wraps
    zone    = "UTC" | an IANA name such as Europe/Berlin

`mon-fri 08:00-18:00 / sat 10:00-14:00 @Europe/Berlin` is an example. It is written with what a tag's value may hold
(letters, digits, spaces and `_.:/=+-@`), hence no commas. A window that ends before it begins wraps past midnight, and
belongs to the day on which it opens. Hours are wall-clock hours: a moment that the clocks skip in spring stands for the
moment of the change, one that comes twice in autumn for the first of the two, as EventBridge Scheduler has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from mlplatform.errors import UserError
from mlplatform.names import HOURS_TAG
from mlplatform.records import dataclass

ALWAYS_ON = "always-on"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_WINDOW = re.compile(r"(\S+) +(\d{1,2}):(\d{2}) *- *(\d{1,2}):(\d{2})")
_ZONE = re.compile(r"UTC|(?!posix/|right/)[A-Z]\w*(/[A-Z][\w+-]*)+")
_FARTHEST_DAYS = 400  # how far the next opening is looked for: more than a year of holidays

# A stretch of open time, in UTC; the end does not belong to it.
Opening = tuple[datetime, datetime]


class BadHours(UserError):
    """Opening hours that can't be understood; the message says what is wrong and how it should look."""


@dataclass(frozen=True)
class Window:
    """One opening on each of some days."""

    days: frozenset[int]  # 0 is Monday
    opens: int  # minutes after midnight
    closes: int  # the same; at or before `opens` it is the next day's


@dataclass(frozen=True)
class Hours:
    """Parsed opening hours. Without windows they never close."""

    windows: tuple[Window, ...]
    zone: ZoneInfo

    @property
    def always_on(self) -> bool:
        return not self.windows


@dataclass(frozen=True)
class Moment:
    """How the hours stand at one moment. Times are in UTC, and None where there is no such time within a year."""

    open: bool
    since: datetime | None  # when the stretch that the moment lies in began
    until: datetime | None  # when it ends: the next boundary


def is_prod(tags: Mapping[str, str], otherwise: str) -> bool:
    """Whether an endpoint with these tags is of production; `otherwise` is the Environment of one that does not say."""
    return tags.get("Environment", otherwise).lower() in {"prod", "production"}


def exempt(tags: Mapping[str, str], otherwise: str) -> bool:
    """Whether an endpoint has no hours at all: in production, unless its own tag gives it some."""
    return is_prod(tags, otherwise) and HOURS_TAG not in tags


def find_zone(name: str) -> ZoneInfo:
    """Raises BadHours. Abbreviations are refused: IST is a different place to an Indian and to an Irish reader."""
    if not _ZONE.fullmatch(name):
        raise BadHours(f"{name!r} is not an IANA time zone; write UTC, or a name such as Europe/Berlin")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # no such zone; not a name at all; a folder of zones
        raise BadHours(f"There is no time zone {name!r}; write UTC, or a name such as Europe/Berlin") from error


@lru_cache(4096)
def parse_hours(text: str, zone: str) -> Hours:
    """`zone` holds where the text names none. Raises BadHours."""
    written, at, named = text.strip().partition("@")
    found = find_zone(named.strip() if at else zone)
    if written.strip().lower() == ALWAYS_ON:
        return Hours((), found)
    if not written.strip():
        raise BadHours("There is no open hour; write such as mon-fri 08:00-18:00, or always-on")
    return Hours(tuple(_window(part.strip()) for part in written.split(" / ")), found)


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text.lower())
    if match is None:
        raise BadHours(f"{text!r} is not a window; write such as mon-fri 08:00-18:00, and ' / ' between windows")
    days, *digits = match.groups()
    opens, closes = _minutes(*digits[:2]), _minutes(*digits[2:])
    if opens == closes:
        raise BadHours(f"{text!r} closes when it opens; write 00:00-24:00 for a whole day, or leave it out for none")
    if opens == _DAY_MINUTES:
        raise BadHours(f"{text!r} opens at 24:00; write 00:00 of the day after")
    return Window(_days(days), opens, closes)


def _minutes(hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > _DAY_MINUTES:
        raise BadHours(f"{hours}:{minutes} is not a time of day; write 00:00 to 24:00")
    return total


def _days(text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        for day in (first, last) if dash else (first,):
            if day not in DAYS:
                raise BadHours(f"{day!r} is not a day; write {' '.join(DAYS)} or daily, as in mon-fri or mon+wed")
        begin = DAYS.index(first)
        length = (DAYS.index(last) - begin) % 7 if dash else 0
        found |= {(begin + offset) % 7 for offset in range(length + 1)}
    return frozenset(found)


# ---- moments ----


def openings(hours: Hours, holidays: Iterable[date], begin: datetime, end: datetime) -> list[Opening]:
    """The stretches of open time between two moments, in order, touching ones joined. No window opens on a holiday."""
    if hours.always_on:
        return [(begin.astimezone(UTC), end.astimezone(UTC))]
    # A window may last into the next day, so that the day before counts too.
    day, last = begin.astimezone(hours.zone).date() - timedelta(1), end.astimezone(hours.zone).date()
    closed, found = frozenset(holidays), list[Opening]()
    while day <= last:
        if day not in closed:
            found += [_opening(window, day, hours.zone) for window in hours.windows if day.weekday() in window.days]
        day += timedelta(1)
    return [(max(one[0], begin), min(one[1], end)) for one in joined(found) if one[0] < end and one[1] > begin]


def hours_per_week(hours: str, zone: str) -> Decimal:
    """How long they are open in a week without holidays or a change of the clocks. Raises BadHours."""
    monday = datetime(2001, 1, 8, tzinfo=UTC)
    week = openings(parse_hours(hours, zone), (), monday, monday + timedelta(days=7))
    return Decimal(sum(int((closes - opens).total_seconds()) for opens, closes in week)) / 3600


def joined(stretches: Iterable[Opening]) -> list[Opening]:
    """In order, with those that touch or overlap made one; a night's change of the clocks may leave nothing of one."""
    found: list[Opening] = []
    for opens, closes in sorted(one for one in stretches if one[0] < one[1]):
        if found and opens <= found[-1][1]:
            found[-1] = (found[-1][0], max(closes, found[-1][1]))
        else:
            found.append((opens, closes))
    return found


def _opening(window: Window, day: date, zone: ZoneInfo) -> Opening:
    closes = window.closes if window.closes > window.opens else window.closes + _DAY_MINUTES
    return _instant(day, window.opens, zone), _instant(day, closes, zone)


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The first moment, in UTC, at which the zone's clocks show that time or a later one."""
    days, minutes = divmod(minutes, _DAY_MINUTES)
    wall = datetime.combine(day + timedelta(days), time(*divmod(minutes, 60)))
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), wall.replace(tzinfo=zone).astimezone(UTC)
    if early >= late:  # the same moment, or one that comes twice: fold 0 is the first
        return late
    # In a gap the offsets before and after the change give moments after and before it; the change lies between.
    while late - early > timedelta(minutes=1):
        middle = early + (late - early) / 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            early = middle
        else:
            late = middle
    return late.replace(second=0, microsecond=0)


@lru_cache(4096)
def moment(hours: Hours, holidays: frozenset[date], now: datetime) -> Moment:
    """How the hours stand at `now`, and the boundaries on both sides of it."""
    if hours.always_on:
        return Moment(True, None, None)
    found = Moment(False, None, None)
    for reach_days in (1, 4, 16, _FARTHEST_DAYS):
        reach = timedelta(reach_days)
        begin, end = now - reach, now + reach
        stretches = openings(hours, holidays, begin, end)
        current = next((one for one in stretches if one[0] <= now < one[1]), None)
        if current is not None:
            since, until = current
        else:
            since = max((closes for _, closes in stretches if closes <= now), default=begin)
            until = min((opens for opens, _ in stretches if opens > now), default=end)
        # What touches the edge of the stretch that was looked at may go on beyond it.
        found = Moment(current is not None, None if since <= begin else since, None if until >= end else until)
        if found.since and found.until:
            break
    return found
