"""Who of the functions on a schedule did not run, and what people read about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mlplatform.decisions import Notify, Skip
from mlplatform.facts import Ticking
from mlplatform.ticks import plan_ticks, spoken

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("function", "hours", "late"),
    [
        ("keep-office-hours", 0.25, False),
        ("keep-office-hours", 2.25, False),
        ("keep-office-hours", 2.3, True),
        ("deploy-model", 6, False),
        ("deploy-model", 6.1, True),
        ("report-costs", 25, False),  # the day on which the clocks go back
        ("report-costs", 26.1, True),
        ("govern-resources", 30, True),
        ("activate-cost-tags", 24, False),
    ],
)
def test_a_function_is_late_after_a_round_of_its_schedule_and_two_hours(
    function: str, hours: float, late: bool
) -> None:
    [said] = plan_ticks([Ticking(function, "ENABLED", LONG_AGO, ago(hours))], "shop", NOW)
    assert isinstance(said, Notify if late else Skip)


def test_the_notice_says_since_when_and_how_often_it_should_run_and_is_told_once_a_day() -> None:
    [said] = plan_ticks([Ticking("keep-office-hours", "ENABLED", LONG_AGO, ago(3))], "shop", NOW)
    assert isinstance(said, Notify)
    assert said.reason.startswith(
        "shop-keep-office-hours has not run since 2026-11-24 09:00 UTC, and should every 15 minutes."
    )
    assert "shop-dead-letters" in said.reason
    assert said.subject == "shop: keep-office-hours does not run"
    assert said.once == "notices/schedules/keep-office-hours-2026-11-24.json"


def test_what_has_not_run_for_longer_than_is_looked_back_is_late_too() -> None:
    [said] = plan_ticks([Ticking("report-costs", "ENABLED", LONG_AGO, None)], "shop", NOW)
    assert said.reason.startswith("shop-report-costs has not run for two days or more, and should every day.")


@pytest.mark.parametrize("last_run", [None, ago(40)])
def test_a_schedule_that_was_just_made_or_switched_on_again_gets_its_time(last_run: datetime | None) -> None:
    [said] = plan_ticks([Ticking("report-costs", "ENABLED", ago(26), last_run)], "shop", NOW)
    assert isinstance(said, Skip)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("DISABLED", "its schedule is DISABLED. Enable it in the console"),
        (None, "its schedule is gone. Make it anew as template.yaml has it"),
    ],
)
def test_a_schedule_that_is_off_or_gone_is_told_at_once(state: str | None, words: str) -> None:
    [said] = plan_ticks([Ticking("report-costs", state, ago(1), ago(1))], "shop", NOW)
    assert isinstance(said, Notify)
    assert words in said.reason


def test_each_function_that_does_not_run_is_told_and_the_others_are_not() -> None:
    fine = Ticking("govern-resources", "ENABLED", LONG_AGO, ago(1))
    said = plan_ticks([Ticking("report-costs"), fine, Ticking("keep-office-hours")], "shop", NOW)
    assert [type(one) for one in said] == [Notify, Notify]
    assert plan_ticks([fine, fine], "shop", NOW) == [Skip("All 2 functions on a schedule ran when they should have.")]


def test_durations_are_spoken_as_people_do() -> None:
    assert [spoken(timedelta(minutes=minutes)) for minutes in (1, 15, 60, 240, 1440)] == [
        "minute", "15 minutes", "hour", "4 hours", "day",
    ]  # fmt: skip
