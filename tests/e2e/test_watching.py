"""A schedule that does not run any more, and who tells of it; and the saved queries on what functions really logged."""

from __future__ import annotations

from typing import Any

import pytest

from laptop.insights import Query
from mlplatform.observability import ABOUT

from .conftest import STACK, Laptop, eventually

pytestmark = pytest.mark.xdist_group("second-laptop")
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

    return eventually(read, 60, f"the alarm was never {state}")


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


def test_the_saved_queries_find_what_functions_really_wrote(laptop: Laptop) -> None:
    """Each is run; every field that it names is in some line, so that none is misspelt."""
    functions, logs = laptop.client("lambda"), laptop.client("logs")
    functions.invoke(FunctionName=f"{STACK}-watch-spend", Payload=b"{}")
    failed = functions.invoke(FunctionName=f"{STACK}-start-training", Payload=b'{"Records": "none"}')
    assert "FunctionError" in failed
    laptop.put("storyteller", "data.csv", "one,two\n1,\n")
    laptop.inbox("dataset storyteller was rejected")

    def rows(query: dict[str, Any]) -> list[dict[str, str]]:
        query_id = logs.start_query(
            logGroupNames=query["logGroupNames"],
            startTime=0,
            endTime=2**32,
            queryString=query["queryString"].replace("{{dataset}}", "storyteller"),
        )["queryId"]
        answer = logs.get_query_results(queryId=query_id)
        assert answer["status"] == "Complete"
        return [{one["field"]: one["value"] for one in row} for row in answer["results"]]

    saved = {
        one["name"].removeprefix(f"{STACK}/"): one
        for one in logs.describe_query_definitions(queryDefinitionNamePrefix=f"{STACK}/")["queryDefinitions"]
    }
    found = {name: rows(query) for name, query in saved.items()}
    assert all(found.values()), "each finds something"
    everything = saved["Decisions"] | {"queryString": "fields @message | filter ispresent(@message)"}
    for name, query in saved.items():
        for field in Query(query["queryString"].replace("{{dataset}}", "storyteller")).fields:
            # Of what a decision is about, the unit test of observability.py knows; a result has a name of its own.
            if field not in ABOUT and f" as {field}" not in query["queryString"]:
                assert rows(everything | {"queryString": f"filter ispresent({field}) | limit 1"}), (name, field)
    story = [(one["function_name"].removeprefix(f"{STACK}-"), one["decision"]) for one in found["Story of a dataset"]]
    assert ("start-training", "RejectDataset") in story  # and notify's line, once that has ended too
    assert any(one["exception_name"] == "BadEvent" for one in found["Errors"])
    assert "RecordSpend" in {one["decision"] for one in found["Money"]}
    counted = {one["@log"].rpartition("-")[0].rpartition("/")[2]: one for one in found["Calls, cold starts and memory"]}
    assert float(counted[f"{STACK}-watch"]["cold_starts"]) >= 1
