"""Dates and times as numbers, the same way in training and in serving. All texts of a column share one form.

Read alike by every Python that runs this: 3.10 in the pipelines' processing steps, 3.12 in training and serving. So ISO
dates have an expression of their own, since what datetime.fromisoformat takes has grown with 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

ISO = "iso"
_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:Z|([+-])(\d{2}):?(\d{2}))?)?"
)
_UTC = timezone.utc  # noqa: UP017 - datetime.UTC is new in 3.11
_DAY = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y-%m", "%d %b %Y", "%b %d, %Y")
_TIME = ("", " %H:%M", " %H:%M:%S")
FORMS = (ISO, *(day + time for day in _DAY for time in _TIME))
PARTS = ("day", "month", "weekday", "day of month", "hour")
_MOST_LOOKED_AT = 1000  # different texts
_SHARE = 0.99  # of them that must be dates; a few typing errors are missing values
_FEWEST = 3  # different dates; two might as well be categories
_SHORTEST = 6  # characters: 1/2/26 may be a date, 3.5 is not


def form_of(texts: Sequence[str]) -> str | None:
    """The form of a column's different texts; None if they are not dates. 03/04/2026 is the 4th of March, unless
    another text has a day above 12 in front."""
    some = texts[:: max(1, len(texts) // _MOST_LOOKED_AT)]
    if len(some) < _FEWEST or min(map(len, some)) < _SHORTEST:
        return None
    for form in FORMS:
        read = _reader(form)
        allowed = int(len(some) * (1 - _SHARE))
        for text in some:
            if np.isnan(read(text)):
                allowed -= 1
                if allowed < 0:
                    break
        else:
            return form
    return None


def days(cells: Sequence[Any], form: str) -> NDArray[np.float64]:
    """Days since 1970, with the time as their fraction; NaN for what is missing or no such date."""
    read = _reader(form)
    return np.array([read(cell) if isinstance(cell, str) else np.nan for cell in cells], dtype=np.float64)


def parts(of: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows x PARTS: days since 1970; 1 to 12; 0 (Monday) to 6; 1 to 31; 0 to 24."""
    missing = np.isnan(of)
    whole = np.floor(np.where(missing, 0, of))
    date = whole.astype(np.int64).astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    found = np.column_stack(
        (of, month.astype(np.int64) % 12 + 1, (whole + 3) % 7, (date - month).astype(np.int64) + 1, (of - whole) * 24)
    )
    found[missing] = np.nan
    return found


def _reader(form: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        text = text.strip()
        try:
            time = _iso(text) if form == ISO else datetime.strptime(text, form).replace(tzinfo=_UTC)
        except ValueError:
            return np.nan
        return time.timestamp() / 86400

    return read


def _iso(text: str) -> datetime:
    """A day, with or without a time, a fraction of its second and an offset; without one it is UTC.

    Raises ValueError for anything else.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    time = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_UTC)
    time += timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        time += -offset if sign == "+" else offset
    return time
