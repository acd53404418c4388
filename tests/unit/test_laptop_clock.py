"""What people may write for a time or a duration, and what it means in the stack's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cli.connection import CommandError
from cli.laptop_clock import acts, moment, seconds

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # 09:00 in Berlin


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("18:05", NOW, "2026-11-23T18:05:00+01:00"),
        ("8:05", NOW, "2026-11-24T08:05:00+01:00"),
        ("09:00", NOW, "2026-11-24T09:00:00+01:00"),
        ("Mon 10:00", NOW, "2026-11-23T10:00:00+01:00"),
        ("monday 8:05", NOW, "2026-11-30T08:05:00+01:00"),
        ("SUN 00:30", NOW, "2026-11-29T00:30:00+01:00"),
        ("Sun 02:30", datetime(2027, 3, 27, 12, tzinfo=UTC), "2027-04-04T02:30:00+02:00"),
        ("2026-11-30T08:05", NOW, "2026-11-30T08:05:00+01:00"),
        ("2026-11-30T08:05:00Z", NOW, "2026-11-30T08:05:00+00:00"),
        ("02:30", datetime(2027, 3, 27, 12, tzinfo=UTC), "2027-03-29T02:30:00+02:00"),  # there is none on the 28th
        ("02:30", datetime(2026, 10, 24, 12, tzinfo=UTC), "2026-10-25T02:30:00+02:00"),  # the first of two
    ],
)
def test_a_time_of_day_is_the_next_one_in_the_stacks_zone(text: str, now: datetime, expected: str) -> None:
    assert moment(text, now, BERLIN).isoformat() == expected


@pytest.mark.parametrize("text", ["24:00", "noon", "2026-11-22T08:00", "18:5", "May 10:00", "Mon"])
def test_what_is_no_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        moment(text, NOW, BERLIN)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d2h30m", 95400)])
def test_a_duration_adds_up_its_parts(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h2", "2 h", "-2h", "2w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        seconds(text)


def test_of_what_functions_decided_each_act_is_a_line_of_its_own_and_routine_is_none() -> None:
    decisions = [
        {"decision": "Skip", "reason": "a sleeps already."},
        {"decision": "StopEndpoint", "reason": "b stops; it opens at 08:00."},
        {"decision": "StopEndpoint", "reason": "c stops."},
        {"decision": "RecordSpend", "reason": "Nothing new."},
        {"batchItemFailures": []},
    ]
    assert acts(decisions) == ["StopEndpoint: b stops; it opens at 08:00.", "StopEndpoint: c stops."]
