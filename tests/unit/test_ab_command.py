"""What `mlp ab` says of two models: from CloudWatch's numbers, and from rows whose labels are known."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOON
from cli.connection import CommandError, Connection
from cli.labelled import Answers, Labelled, ask, by_class, by_error, read, same
from cli.variants import Seen, beginning, findings, measure, period_of, rounded, seen
from laptop.service_model import validate

SPOKEN = ("churn/2", "churn/3")


def of(requests: int = 1000, failed: int = 0, refused: int = 0, means: tuple[float, ...] = ()) -> Seen:
    return Seen(requests, failed, refused, None, None, means)


def test_failures_are_told_with_the_difference_its_chance_and_what_it_takes() -> None:
    failures, refusals, latency = findings(of(9000, 90), of(1000, 30))
    # 1 % and 3 %: pooled 0.012, z = 0.02 / sqrt(0.012 x 0.988 x (1/9000 + 1/1000)) = 5.51
    assert failures.startswith("The challenger fails more often: 3 % against 1 % (+0.92 to +3.1 points")
    assert "two-proportion z-test, p < 0.001" in failures
    # 1 - 0.05 ** (1 / 1000) is 0.299 %
    assert refusals.startswith("Neither refuses a request so far. After 1,000 of them")
    assert "less than 0.3 %" in refusals
    assert "5 of them at least, and there are 0 and 0" in latency


def test_what_is_undecided_says_how_many_more_requests_would_tell() -> None:
    failures, *_ = findings(of(1000, 10), of(1000, 14))
    # p = 0.012: (1.95996 sqrt(0.047424) + 0.84162 sqrt(0.0198 + 0.027608))^2 / 0.004^2 = 23,257; 21,257 more
    assert failures.startswith("Whether the challenger fails more or less often is undecided: 1.4 % against 1 %")
    assert failures.endswith("It takes about 22,000 more requests to see a difference of this size.")


def test_latency_is_compared_by_the_means_of_minutes() -> None:
    calm, slow = tuple(1000.0 + n for n in range(10)), tuple(3000.0 + n for n in range(10))
    *_, latency = findings(of(means=calm), of(means=slow))
    assert latency.startswith("The challenger is slower by 2 ms on average")
    *_, latency = findings(of(means=(1000.0, 1400.0) * 5), of(means=(1010.0, 1400.0) * 5))
    assert latency.startswith("Whether the challenger is slower or faster is undecided: 0.005 ms apart")
    assert "more minutes" in latency


def test_nothing_is_compared_before_both_were_asked() -> None:
    assert list(findings(of(), of(0))) == ["Not both have had requests yet, so that there is nothing to compare."]


@pytest.mark.parametrize(("days", "period"), [(0.1, 60), (3, 60), (4, 300), (40, 3600), (70, 3600)])
def test_the_period_is_one_that_cloudwatch_still_has(days: float, period: int) -> None:
    assert period_of(timedelta(days=days)) == period


def test_what_came_before_the_challengers_first_request_does_not_count() -> None:
    before, after = NOON, NOON + timedelta(minutes=1)
    values: Mapping[str, Mapping[datetime, float]] = {
        f"{metric}_alltraffic": {before: 5.0, after: 3.0}
        for metric in ("requests", "failed", "refused", "took", "answers", "slowest")
    }
    found = seen(values, "AllTraffic", after, 60)
    assert (found.requests, found.failed, found.mean_microseconds, found.means) == (3, 3, 3.0, (3.0,))


def test_the_period_in_which_the_challenger_came_counts_only_where_there_are_few() -> None:
    minutes = [NOON + timedelta(minutes=n) for n in range(8)]
    counts = dict.fromkeys(minutes, 0.0) | dict.fromkeys(minutes[2:], 4.0)
    assert beginning(counts, NOON) == minutes[3]
    assert beginning({minutes[1]: 0.0, minutes[2]: 4.0}, NOON) == minutes[2]


def test_one_call_brings_all_numbers_of_both_models() -> None:
    asked: list[dict[str, Any]] = []

    class CloudWatch:
        def get_paginator(self, operation: str) -> CloudWatch:
            assert operation == "get_metric_data"
            return self

        def paginate(self, **request: Any) -> list[dict[str, Any]]:
            asked.append(request)
            return [
                {
                    "MetricDataResults": [
                        {"Id": one["Id"], "Timestamps": [NOON], "Values": [4.0]} for one in request["MetricDataQueries"]
                    ]
                }
            ]

    class Here(Connection):
        def client(self, service: str, **_: Any) -> Any:
            return CloudWatch()

    live, challenger = measure(Here("shop", None, None), "shop-churn", NOON - timedelta(hours=5), NOON)
    [request] = asked
    assert validate("cloudwatch", "GetMetricData", request) == []
    assert len(request["MetricDataQueries"]) == 12
    assert (live.requests, challenger.requests, challenger.p99_microseconds) == (4, 4, 4.0)


@pytest.mark.parametrize(("count", "said"), [(7, 7), (21, 21), (3871, 3900), (21_257, 22_000), (100, 100)])
def test_an_estimate_has_two_digits(count: int, said: int) -> None:
    assert rounded(count) == said


# ---- outcomes ----


def test_classes_are_compared_on_the_rows_that_only_one_has_right() -> None:
    """20 rows; 2 only the live one has right, 10 only the other: p = 0.0386 (test_significance)."""
    labels = ["yes"] * 20
    live = Answers(("yes",) * 8 + ("no",) * 12, True)
    challenger = Answers(("no",) * 2 + ("yes",) * 16 + ("no",) * 2, True)
    said = list(by_class(labels, live, challenger, SPOKEN))
    assert said[:3] == [
        "churn/2 has 8 right (40.0 %).",
        "churn/3 has 16 right (80.0 %).",
        "2 rows only churn/2 has right, 10 only churn/3, 5 to 1.",
    ]
    assert said[3].startswith("churn/3 is better: 400 more of 1,000 such rows right (")
    assert "McNemar's exact test, p = 0.039" in said[3]


def test_few_rows_say_how_many_more_would_tell() -> None:
    live, challenger = Answers(("a", "a", "b", "b"), True), Answers(("a", "b", "a", "b"), True)
    *_, verdict = by_class(["a", "b", "a", "a"], live, challenger, SPOKEN)
    # 3 right against 1, of 4: d = 0.5, v = 0.5: (1.95996 x 0.7071 + 0.84162 x 0.5)^2 / 0.25 = 13.06, so 14; 10 more
    assert verdict.startswith("Whether churn/3 is better is undecided: 500 more of 1,000 such rows right")
    assert "about 10 more rows" in verdict
    *_, verdict = by_class(["a", "b", "a", "a"], live, live, SPOKEN)
    assert verdict == "On these rows churn/3 is neither better nor worse."


def test_numbers_are_compared_by_how_far_off_they_are() -> None:
    live, challenger = Answers((12.0, 8.0, 13.0, 6.0), False), Answers((11.0, 9.5, 10.5, 9.5), False)
    said = list(by_error(["10"] * 4, live, challenger, SPOKEN))
    # off by 2, 2, 3, 4 and by 1, 0.5, 0.5, 0.5: differences -1, -1.5, -2.5, -3.5
    assert said[0].startswith("churn/2 is off by 2.75 on average")
    assert said[2].startswith("churn/3 is better: nearer by 2.12 on average")
    with pytest.raises(CommandError, match="row 2 is 'many'"):
        list(by_error(["1", "many"], live, challenger, SPOKEN))


@pytest.mark.parametrize(
    ("said", "label", "right"), [("yes", "yes", True), (1, "1.0", True), (1.0, "1", True), ("no", "yes", False)]
)
def test_a_class_is_the_label_as_text_or_as_the_same_number(said: Any, label: str, right: bool) -> None:
    assert same(said, label) is right


@pytest.mark.parametrize(
    ("content", "label", "trained", "header", "labels"),
    [
        ("a,b,y\n1,2,no\n3,4,yes\n5,6,\n", None, {}, ("a", "b"), ("no", "yes")),
        ("y;a;b\nno;1;2\n", None, {"hp_label_column": "0"}, ("a", "b"), ("no",)),
        ("a,b,y\n1,2,no\n", "b", {"hp_label_column": "2"}, ("a", "y"), ("2",)),
        ("no,1,2\nyes,3,4\n", None, {"hp_header": "false", "hp_label_column": "0"}, (), ("no", "yes")),
    ],
)
def test_the_label_is_where_training_found_it_or_where_a_person_says(
    tmp_path: Path,
    content: str,
    label: str | None,
    trained: dict[str, str],
    header: tuple[str, ...],
    labels: tuple[str, ...],
) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text(content)
    found = read(file, label, trained)
    assert (found.header, found.labels) == (header, labels)
    assert len(found.rows[0]) == 2


def test_a_table_that_can_not_be_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "labelled.csv"
    with pytest.raises(CommandError, match="There is no file"):
        read(file, None, {})
    file.write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="has no column price; it has a, b"):
        read(file, "price", {})
    with pytest.raises(
        CommandError, match=r"has 2 columns \(a, b\), and .* label in column 3: the label seems to be mis"
    ):
        read(file, None, {"hp_label_column": "2"})
    file.write_text("a,b\n1,\n2,\n")
    with pytest.raises(CommandError, match="no row with a label"):
        read(file, None, {})


def test_each_model_is_asked_for_the_same_rows_by_its_name() -> None:
    asked: list[dict[str, Any]] = []

    class Runtime:
        def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
            asked.append(request)
            rows = request["Body"].decode().splitlines()[1:]
            return {"Body": io.BytesIO(json.dumps({"predictions": [1] * len(rows), "probabilities": []}).encode())}

    class Here(Connection):
        def client(self, service: str, **_: Any) -> Any:
            return Runtime()

    labelled = Labelled(("a",), tuple((str(n),) for n in range(501)), ("1",) * 501, "y")
    found = ask(Here("shop", None, None), "churn", "Challenger", labelled)
    assert (len(found.predictions), found.classes) == (501, True)
    assert [one["TargetVariant"] for one in asked] == ["Challenger"] * 2
    assert asked[1]["Body"] == b"a\n500\n"
