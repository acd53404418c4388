"""Logs Insights on the laptop: what a query answers, and what it refuses rather than answer wrongly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from laptop.insights import MalformedQuery, row, run

GROUP = "/aws/lambda/shop-tick"
NOON_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
REPORT = (
    "REPORT RequestId: 8f5c-1\tDuration: 102.50 ms\tBilled Duration: 254 ms\tMemory Size: 512 MB\t"
    "Max Memory Used: 96 MB\tInit Duration: 151.20 ms\t"
)


def line(minute: int, text: str) -> dict[str, Any]:
    return row(NOON_MS + minute * 60_000, text, GROUP, "stream-1")


def said(minute: int, decision: str, **more: Any) -> dict[str, Any]:
    return line(minute, json.dumps({"level": "INFO", "message": f"{decision} it.", "decision": decision, **more}))


LINES = [
    line(0, "START RequestId: 8f5c-1 Version: $LATEST"),
    said(1, "Skip", cold_start=True),
    said(2, "StopEndpoint", endpoint_name="shop-churn"),
    said(3, "StartTraining", dataset="churn", figures={"rows": 40, "of": [7, 8]}),
    line(4, REPORT),
    line(5, REPORT.replace("102.50", "900").replace("\tInit Duration: 151.20 ms", "")),
]


def answers(query: str) -> list[dict[str, Any]]:
    return [dict(one) for one in run(query, LINES)[0]]


def test_the_fields_of_a_report_are_in_milliseconds_and_bytes() -> None:
    found = line(4, REPORT)
    assert (found["@type"], found["@requestId"]) == ("REPORT", "8f5c-1")
    assert (found["@duration"], found["@billedDuration"], found["@initDuration"]) == (102.5, 254.0, 151.2)
    assert (found["@memorySize"], found["@maxMemoryUsed"]) == (512e6, 96e6)


def test_json_becomes_fields_with_dots_for_what_lies_deeper() -> None:
    found = LINES[3]
    assert (found["dataset"], found["figures.rows"], found["figures.of.1"]) == ("churn", 40, 8)
    assert LINES[1]["cold_start"] == 1


@pytest.mark.parametrize(
    ("condition", "minutes"),
    [
        ('decision = "Skip"', [1]),
        ("decision = 'Skip' or figures.rows > 39", [3, 1]),
        ('ispresent(decision) and decision != "Skip"', [3, 2]),
        ("not ispresent(decision)", [5, 4, 0]),
        ('decision in ["StopEndpoint", "Skip"]', [2, 1]),
        ('decision not in ["StopEndpoint", "Skip"]', [3]),
        ('endpoint_name like "churn"', [2]),
        ("@message like /Start(Training|Endpoint)/", [3]),
        ("message not like /Start/", [2, 1]),
        ('@type = "REPORT" and @duration / 1000 >= 0.9', [5]),
        ("@duration > 102.5", [5]),
        ("(figures.rows = 40 or figures.rows = 41) and dataset =~ /^ch/", [3]),
        ("figures.rows + 2 * 3 = 46", [3]),
        ("nothing = 1", []),
    ],
)
def test_a_filter_keeps_the_lines_for_which_it_holds_newest_first(condition: str, minutes: list[int]) -> None:
    found = answers(f"filter {condition} | fields @timestamp")
    assert found == [{"@timestamp": f"2026-11-24 12:{minute:02}:00.000"} for minute in minutes]


def test_fields_sort_and_limit() -> None:
    query = "fields decision, figures.rows / 4 as tenths | filter ispresent(decision) | sort decision asc | limit 2"
    assert answers(query) == [{"decision": "Skip"}, {"decision": "StartTraining", "tenths": 10.0}]
    assert answers("filter dataset = 'churn' | fields @message | display dataset") == [{"dataset": "churn"}]


def test_stats_count_and_measure_by_group() -> None:
    assert answers("filter ispresent(decision) | stats count(*) as n, latest(decision) as last by bin(1h)") == [
        {"bin(1h)": "2026-11-24 12:00:00.000", "n": 3, "last": "StartTraining"}
    ]
    query = (
        'filter @type = "REPORT" | stats count(@initDuration), avg(@duration) as mean, pct(@duration, 50) as half, '
        "min(@duration) as low, max(@maxMemoryUsed / 1000000) as mb, sum(@billedDuration) as billed by @log"
    )
    assert answers(query) == [
        {
            "@log": f"123456789012:{GROUP}",
            "count(@initDuration)": 1,
            "mean": 501.25,
            "half": 102.5,
            "low": 102.5,
            "mb": 96.0,
            "billed": 508.0,
        }
    ]
    assert answers("filter nothing = 1 | stats count(*) as n") == [{"n": 0}]


def test_how_many_lines_matched_is_counted_before_the_limit() -> None:
    rows, matched = run("filter ispresent(decision) | limit 1", LINES)
    assert (len(rows), matched) == (1, 3)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("parse @message 'a*' as b", "no command 'parse'"),
        ("filter isIpInSubnet(a, '10.0.0.0/8')", "expected"),
        ("fields upper(a)", "no function 'upper'"),
        ("stats stddev(a)", "no aggregate function 'stddev'"),
        ("sort @timestamp", "asc or desc"),
        ("filter message like 5", "a text in quotes"),
        ("filter dataset = '{{dataset}}'", "in the place of {{dataset}}"),
        ("filter a =", "ends where"),
        ("filter a # b", "can't read the query from '# b'"),
        ("", "empty"),
    ],
)
def test_what_the_laptop_lacks_is_refused_by_name(query: str, words: str) -> None:
    with pytest.raises(MalformedQuery) as caught:
        run(query, LINES)
    assert words in str(caught.value)
