"""A schedule that does not run any more, and who tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import STACK, Laptop, eventually

pytestmark = pytest.mark.xdist_group("laptop")
HOUR = 3600


def switch(laptop: Laptop, schedule: str, state: str) -> None:
    """What the console does: the schedule as it is, in another state."""
    scheduler = laptop.client("scheduler")
    found = scheduler.get_schedule(Name=f"{STACK}-{schedule}")
    kept = ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target", "Description")
    scheduler.update_schedule(**{key: found[key] for key in kept}, State=state)


def alarm(laptop: Laptop, state: str) -> dict[str, Any]:
    """The alarm, once it is in that state."""

    def read() -> dict[str, Any] | None:
        [found] = laptop.client("cloudwatch").describe_alarms(AlarmNames=[f"{STACK}-missed-ticks"])["MetricAlarms"]
        evaluated = "Initial alarm creation" not in found["StateReason"]
        return found if evaluated and found["StateValue"] == state else None

    return eventually(read, 10, f"the alarm was never {state}")


def test_who_looks_after_the_schedules_is_looked_after_by_an_alarm(laptop: Laptop) -> None:
    laptop.client("lambda").invoke(FunctionName=f"{STACK}-watch-spend", Payload=b"{}")
    alarm(laptop, "OK")
    switch(laptop, "watch-spend", "DISABLED")
    switch(laptop, "keep-office-hours", "DISABLED")
    try:
        laptop.post("/_laptop/clock", {"advance_seconds": 2.2 * HOUR})
        alarm(laptop, "INSUFFICIENT_DATA")
        assert f"{STACK}-watch-spend has not run for two hours" in str(laptop.inbox("missed-ticks"))
    finally:
        switch(laptop, "watch-spend", "ENABLED")
    laptop.post("/_laptop/clock", {"advance_seconds": HOUR})
    alarm(laptop, "OK")
    assert "its schedule is DISABLED" in str(laptop.inbox("keep-office-hours does not run"))
    switch(laptop, "keep-office-hours", "ENABLED")
