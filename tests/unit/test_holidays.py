"""Holidays from a list and from an iCalendar file."""

from __future__ import annotations

from datetime import date

import pytest

from mlplatform.holidays import BadCalendar, from_calendar, listed

TODAY = date(2026, 11, 23)


def calendar(*events: str) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", *(f"BEGIN:VEVENT\n{event}\nEND:VEVENT" for event in events)]
    return "\n".join([*lines, "END:VCALENDAR", ""]).replace("\n", "\r\n").encode()


def test_a_list_is_dates_between_commas() -> None:
    assert listed(" 2026-12-25, 2027-01-01 ") == {date(2026, 12, 25), date(2027, 1, 1)}
    assert listed("") == frozenset()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("DTSTART;VALUE=DATE:20261225\nSUMMARY:Christmas", ["2026-12-25"]),
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227", ["2026-12-25", "2026-12-26"]),
        ("DTSTART;VALUE=DATE:20261231\nDURATION:P2D", ["2026-12-31", "2027-01-01"]),
        ("DTSTART;VALUE=DATE:20201003\nRRULE:FREQ=YEARLY", ["2025-10-03", "2026-10-03", "2027-10-03"]),
        ("DTSTART;VALUE=DATE:20200229\nRRULE:FREQ=YEARLY;INTERVAL=2", []),  # 2026 has none
        ("DTSTART;VALUE=DATE:20201003\nRRULE:FREQ=YEARLY;UNTIL=20251231", ["2025-10-03"]),
        ("DTSTART;VALUE=DATE:20261225\nSTATUS:CANCELLED", []),
        ("DTSTART:20261225T090000Z\nDTEND:20261225T100000Z\nSUMMARY:an appointment", []),
        ("SUMMARY:folded\n DTSTART:ignored\nDTSTART;VALUE\n =DATE:20261225", ["2026-12-25"]),
    ],
)
def test_all_day_events_are_holidays(event: str, expected: list[str]) -> None:
    assert sorted(from_calendar(calendar(event), TODAY)) == [date.fromisoformat(day) for day in expected]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"date,name\n2026-12-25,Christmas\n", "BEGIN:VCALENDAR"),
        (b"", "BEGIN:VCALENDAR"),
        (b"\xff\xfe\x00", "UTF-8"),
        (calendar("SUMMARY:Christmas\nDTSTART;VALUE=DATE:20261340"), "Christmas"),
        (calendar("SUMMARY:Christmas"), "Christmas"),
        (calendar("SUMMARY:Thanksgiving\nDTSTART;VALUE=DATE:20201126\nRRULE:FREQ=YEARLY;BYDAY=4TH"), "Thanksgiving"),
        (calendar("SUMMARY:For ever\nDTSTART;VALUE=DATE:20200101\nDTEND;VALUE=DATE:20990101"), "For ever"),
    ],
)
def test_a_calendar_that_cannot_be_read_is_an_error_that_names_the_event(content: bytes, said: str) -> None:
    with pytest.raises(BadCalendar, match=said):
        from_calendar(content, TODAY)
