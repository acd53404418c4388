"""Opening hours: what can be written, and which moments follow. Times in the tables were read off a calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from mlplatform.opening_hours import BadHours, moment, openings, parse_hours

DEFAULT = "mon-fri 08:00-18:00"
NIGHTS = "daily 22:00-06:00 @Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def is_open(text: str, at: str, *holidays: str, zone: str = "UTC") -> bool:
    days = frozenset(date.fromisoformat(day) for day in holidays)
    return moment(parse_hours(text, zone), days, utc(at)).open


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        (DEFAULT, "2026-11-23 07:59", False),  # a Monday
        (DEFAULT, "2026-11-23 08:00", True),
        (DEFAULT, "2026-11-23 17:59", True),
        (DEFAULT, "2026-11-23 18:00", False),
        (DEFAULT, "2026-11-28 12:00", False),  # a Saturday
        ("mon-fri 08:00-18:00 / sat 10:00-14:00", "2026-11-28 12:00", True),
        ("mon+wed 08:00-18:00", "2026-11-24 12:00", False),
        ("mon+wed 08:00-18:00", "2026-11-25 12:00", True),
        ("fri-mon 08:00-18:00", "2026-11-29 12:00", True),  # Sunday
        ("fri-mon 08:00-18:00", "2026-11-24 12:00", False),
        ("mon-fri 22:00-06:00", "2026-11-28 05:59", True),  # Friday's night
        ("mon-fri 22:00-06:00", "2026-11-29 05:59", False),
        ("daily 00:00-24:00", "2026-11-28 23:59", True),
        ("always-on", "2026-11-28 03:00", True),
        ("MON-FRI 8:00-18:00", "2026-11-23 08:00", True),
        ("mon-fri 08:00-18:00 @Europe/Berlin", "2026-11-23 07:00", True),
        ("mon-fri 08:00-18:00 @America/New_York", "2026-11-23 12:59", False),
        ("mon-fri 08:00-18:00 @Asia/Kolkata", "2026-11-23 02:30", True),  # half past two is eight there
    ],
)
def test_an_endpoint_is_open_in_its_windows_and_at_no_other_time(text: str, at: str, expected: bool) -> None:
    assert is_open(text, at) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no open hour"),
        ("@Europe/Berlin", "no open hour"),
        ("mon-fri 08:00-08:00", "closes when it opens"),
        ("mon-fri", "not a window"),
        ("mon-fri 8-18", "not a window"),
        ("mon-fri 08:00-25:00", "not a time of day"),
        ("mon-fri 08:60-18:00", "not a time of day"),
        ("mon-fri 24:00-06:00", "opens at 24:00"),
        ("mo-fr 08:00-18:00", "'mo' is not a day"),
        ("mon-fri 08:00-12:00/13:00-18:00", "not a window"),
        ("mon-fri 08:00-18:00 @IST", "not an IANA time zone"),
        ("mon-fri 08:00-18:00 @Europe/Atlantis", "no time zone"),
        ("mon-fri 08:00-18:00 @Europe", "not an IANA time zone"),
        ("mon-fri 08:00-18:00 @", "not an IANA time zone"),
        ("mon-fri 08:00-18:00 @../etc/passwd", "not an IANA time zone"),
        ("sometimes", "not a window"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_is_wrong_and_how_it_should_look(text: str, said: str) -> None:
    with pytest.raises(BadHours, match=said):
        parse_hours(text, "UTC")


@pytest.mark.parametrize(
    ("text", "begin", "end", "expected"),
    [
        # Spring 2026 in Berlin: 02:00 becomes 03:00 on 29 March, so that the night has seven hours.
        (NIGHTS, "2026-03-28 12:00", "2026-03-29 12:00", [("2026-03-28 21:00", "2026-03-29 04:00")]),
        # Autumn: 03:00 becomes 02:00 on 25 October, so that it has nine.
        (NIGHTS, "2026-10-24 12:00", "2026-10-25 12:00", [("2026-10-24 20:00", "2026-10-25 05:00")]),
        # 02:30 does not exist in spring: the change, at 01:00 UTC, stands for it.
        (
            "sun 02:30-06:00 @Europe/Berlin",
            "2026-03-28 12:00", "2026-03-29 12:00",
            [("2026-03-29 01:00", "2026-03-29 04:00")],
        ),
        # A window inside the hour that is skipped is no window.
        ("sun 02:10-02:50 @Europe/Berlin", "2026-03-28 12:00", "2026-03-29 12:00", []),
        # 02:30 comes twice in autumn: the first is meant, and what ends there does not open again an hour later.
        (
            "daily 22:00-02:30 @Europe/Berlin",
            "2026-10-24 12:00", "2026-10-25 12:00",
            [("2026-10-24 20:00", "2026-10-25 00:30")],
        ),
        # The same nights in New York: 8 March and 1 November.
        (
            "daily 00:00-04:00 @America/New_York",
            "2026-03-08 00:00", "2026-03-09 00:00",
            [("2026-03-08 05:00", "2026-03-08 08:00")],
        ),
        (
            "daily 00:00-04:00 @America/New_York",
            "2026-11-01 00:00", "2026-11-02 00:00",
            [("2026-11-01 04:00", "2026-11-01 09:00")],
        ),
        # Half an hour on Lord Howe Island, 4 October.
        (
            "sun 02:15-06:00 @Australia/Lord_Howe",
            "2026-10-03 00:00", "2026-10-04 00:00",
            [("2026-10-03 15:30", "2026-10-03 19:00")],
        ),
        # Month, leap and year ends.
        ("mon-fri 08:00-18:00", "2026-11-30 12:00", "2026-12-01 12:00",
         [("2026-11-30 12:00", "2026-11-30 18:00"), ("2026-12-01 08:00", "2026-12-01 12:00")]),
        ("daily 22:00-06:00", "2028-02-28 12:00", "2028-02-29 12:00", [("2028-02-28 22:00", "2028-02-29 06:00")]),
        ("thu 22:00-06:00", "2026-12-31 00:00", "2027-01-02 00:00", [("2026-12-31 22:00", "2027-01-01 06:00")]),
        # Touching and overlapping windows are one.
        ("daily 08:00-12:00 / daily 12:00-18:00 / daily 11:00-13:00", "2026-11-23 00:00", "2026-11-24 00:00",
         [("2026-11-23 08:00", "2026-11-23 18:00")]),
        # From Friday evening to Monday morning nothing is open.
        (DEFAULT, "2026-11-27 18:00", "2026-11-30 08:00", []),
    ],
)  # fmt: skip
def test_openings_follow_the_wall_clock(text: str, begin: str, end: str, expected: list[tuple[str, str]]) -> None:
    found = openings(parse_hours(text, "UTC"), (), utc(begin), utc(end))
    assert found == [(utc(opens), utc(closes)) for opens, closes in expected]


def test_no_window_opens_on_a_holiday_but_the_night_before_ends_as_always() -> None:
    assert not is_open(DEFAULT, "2026-12-25 12:00", "2026-12-25")
    assert is_open(DEFAULT, "2026-12-24 12:00", "2026-12-25")
    assert is_open("daily 22:00-06:00", "2026-12-25 05:00", "2026-12-25")
    assert not is_open("daily 22:00-06:00", "2026-12-25 23:00", "2026-12-25")
    assert is_open("always-on", "2026-12-25 12:00", "2026-12-25")


def test_a_holiday_is_one_in_the_zone_of_the_hours() -> None:
    """16:00 UTC on the 24th is already the 25th in Tokyo."""
    assert not is_open("daily 00:00-24:00 @Asia/Tokyo", "2026-12-24 16:00", "2026-12-25")
    assert is_open("daily 00:00-24:00 @Asia/Tokyo", "2026-12-25 16:00", "2026-12-25")


@pytest.mark.parametrize(
    ("text", "at", "since", "until"),
    [
        (DEFAULT, "2026-11-23 12:00", "2026-11-23 08:00", "2026-11-23 18:00"),
        (DEFAULT, "2026-11-28 12:00", "2026-11-27 18:00", "2026-11-30 08:00"),
        ("daily 08:00-24:00 / daily 00:00-02:00", "2026-11-23 23:00", "2026-11-23 08:00", "2026-11-24 02:00"),
        ("daily 00:00-24:00", "2026-11-23 12:00", None, None),
        ("always-on", "2026-11-23 12:00", None, None),
    ],
)
def test_the_boundaries_on_both_sides_of_a_moment(text: str, at: str, since: str | None, until: str | None) -> None:
    found = moment(parse_hours(text, "UTC"), frozenset(), utc(at))
    assert found.since == (utc(since) if since else None)
    assert found.until == (utc(until) if until else None)


def test_a_boundary_is_found_beyond_a_long_holiday() -> None:
    closed = frozenset(date(2026, 12, day) for day in range(1, 32))
    found = moment(parse_hours(DEFAULT, "UTC"), closed, utc("2026-12-15 12:00"))
    assert (found.since, found.until) == (utc("2026-11-30 18:00"), utc("2027-01-01 08:00"))
