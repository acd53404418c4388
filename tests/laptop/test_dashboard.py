"""The stack's dashboard, drawn from the laptop's metrics."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from template.template import resources

from builders import NOON
from laptop.account import REGION
from laptop.dashboard import Line, NotDrawn, lines, matching
from laptop.metrics import (
    AsyncCounters,
    InvocationCounters,
    Key,
    MetricStore,
    ServerlessCounters,
    Statistics,
    key,
    put_asynchronous,
    put_backlog,
    put_component,
    put_reserved,
    put_serverless,
)

ENDPOINTS = "AWS/SageMaker,EndpointName,VariantName"


def metric(endpoint: str, name: str = "Invocations", namespace: str = "AWS/SageMaker") -> Key:
    return key(namespace, name, [("EndpointName", endpoint), ("VariantName", "AllTraffic")])


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ("EndpointName=shop EndpointName=two", ["shop-two-flowers"]),  # each term is a token of the name
        ("EndpointName=shop", ["shop-flowers", "shop-two-flowers"]),
        ("EndpointName=flow", []),  # a part of a token is no token
        ('EndpointName="shop-flowers"', ["shop-flowers"]),  # in quotes, the whole value
        ('EndpointName="shop"', []),
        ("SHOP", ["shop-flowers", "shop-two-flowers"]),  # anywhere, and whatever the case
        ('MetricName="ModelLatency"', []),
    ],
)
def test_a_search_finds_what_cloudwatch_would(terms: str, found: list[str]) -> None:
    keys = [
        metric("shop-flowers"),
        metric("shop-two-flowers"),
        metric("other"),
        key("AWS/SQS", "Sent", [("Q", "shop")]),
    ]
    matched = [dict(one[2])["EndpointName"] for one in matching(iter(keys), ENDPOINTS, terms)]
    assert sorted(matched) == found


def test_a_search_is_for_exactly_the_dimensions_of_its_schema() -> None:
    narrower = key("AWS/SageMaker", "Invocations", [("EndpointName", "shop-flowers")])
    assert list(matching(iter([narrower]), ENDPOINTS, "shop")) == []


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MetricStore:
    """Two minutes of one endpoint: 3 requests, then 5."""
    data: list[Any] = []
    filled = MetricStore()
    monkeypatch.setattr(MetricStore, "_backend", staticmethod(lambda: type("Backend", (), {"metric_data": data})))
    for requests in (3.0, 5.0):
        filled.put(
            "AWS/SageMaker",
            "Invocations",
            {"EndpointName": "shop-flowers", "VariantName": "AllTraffic"},
            Statistics(requests, requests, 1, 1),
            unit="None",
            at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        filled.advance()
    return filled


def test_a_line_has_a_point_for_each_minute_with_data(store: MetricStore) -> None:
    expression = f"SEARCH('{{{ENDPOINTS}}} EndpointName=shop MetricName=\"Invocations\"', 'Sum')"
    [line] = lines({"metrics": [[{"expression": expression, "id": "q1"}]], "period": 60}, store)
    assert line == Line("shop-flowers", (None,) * 28 + (3.0, 5.0))


def test_a_named_metric_is_drawn_with_the_widgets_statistic_over_its_period(store: MetricStore) -> None:
    row = ["AWS/SageMaker", "Invocations", "EndpointName", "shop-flowers", "VariantName", "AllTraffic"]
    [line] = lines({"metrics": [row], "period": 120, "stat": "SampleCount"}, store)
    assert line.points[-1] == 8.0


def test_an_expression_that_is_no_search_is_named_as_not_drawn(store: MetricStore) -> None:
    with pytest.raises(NotDrawn, match=r"the expression SUM\(METRICS\(\)\)"):
        lines({"metrics": [[{"expression": "SUM(METRICS())", "id": "e1"}]]}, store)


def test_the_stacks_own_dashboard_can_be_drawn_whole(store: MetricStore) -> None:
    [dashboard] = resources("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    assert [widget["type"] for widget in widgets] == ["metric"] * 15 + ["alarm"]
    drawn = {w["properties"]["title"]: lines(w["properties"], store) for w in widgets if w["type"] == "metric"}
    assert [line.label for line in drawn["Invocations a minute"]] == ["shop-flowers"]
    assert dashboard["DashboardName"] == "shop-overview"
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", ())]
    assert len(rows) <= 50, "a dashboard is free that refers to up to 50 metrics (Amazon CloudWatch pricing)"


@pytest.mark.parametrize("name", ["shop-flowers", "other-flowers"])
def test_what_each_kind_of_hosting_measures_is_in_its_widget_for_this_stack_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As laptop/endpoint_metrics.py writes a minute of each kind; by its endpoint's or its component's name."""
    data: list[Any] = []
    monkeypatch.setattr(MetricStore, "_backend", staticmethod(lambda: type("Backend", (), {"metric_data": data})))
    one, answered = MetricStore(), InvocationCounters()
    variant, component = {"EndpointName": name, "VariantName": "AllTraffic"}, {"InferenceComponentName": name}
    answered.record(200, 0.0015, 0.0002)
    put_component(one, component, answered, copies=2, without_capacity=3, at=NOON)
    put_reserved(one, component, [(50.0, 64.0)], cpus=None, memory_mb=256, at=NOON)
    put_backlog(one, name, backlog=4, oldest_seconds=70.0, instances=0, at=NOON)
    put_asynchronous(one, variant, AsyncCounters(processed=5, failures=1), NOON)
    put_serverless(one, variant, ServerlessCounters(setup_us=seen(3e6), concurrency=seen(0.4)), NOON)
    one.advance()
    [dashboard] = resources("AWS::CloudWatch::Dashboard").values()
    drawn = {
        widget["properties"]["title"].partition(":")[2].strip(): [
            (line.label.removesuffix(name).strip(), line.points[-1]) for line in lines(widget["properties"], one)
        ]
        for widget in json.loads(dashboard["DashboardBody"])["widgets"]
        if widget["properties"]["title"].startswith(("Scaled to zero", "Asynchronous", "Serverless"))
    }
    assert drawn == {
        title: (expected if name.startswith("shop-") else [])
        for title, expected in {
            "calls that each copy gets a minute, and calls that found none": [("a copy", 0.5), ("found none", 3.0)],
            "percent in use of what a copy reserves": [("CPU", 50.0), ("memory", 25.0)],
            "requests that wait, and those done or failed a minute": [("waiting", 4.0), ("done", 5.0), ("failed", 1.0)],
            "age of the oldest request, in seconds": [("", 70.0)],
            "cold starts, in microseconds": [("", 3e6)],
            "requests at a time, of as many as it takes": [("", 0.4)],
        }.items()
    }


def seen(value: float) -> Statistics:
    return Statistics(1, value, value, value)


def test_a_percentile_is_one_of_the_values_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 to 100 ms, in two minutes: the 99th percentile is 99 ms, to 1 %, in what is drawn and in GetMetricData."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    where = {"EndpointName": "shop-flowers", "VariantName": "Challenger"}
    with mock_aws():
        one = MetricStore()
        for first in (1, 51):
            values = Statistics()
            for value in range(first, first + 50):
                values.add(value * 1000.0)
            one.put("AWS/SageMaker", "ModelLatency", where, values, unit="Microseconds", at=NOON)
            one.advance()
        row = ["AWS/SageMaker", "ModelLatency", *(part for pair in where.items() for part in pair)]
        [line] = lines({"metrics": [row], "period": 120, "stat": "p99"}, one)
        assert line.points[-1] == pytest.approx(99_000, rel=0.01)
        metric = {
            "Namespace": "AWS/SageMaker",
            "MetricName": "ModelLatency",
            "Dimensions": [{"Name": name, "Value": value} for name, value in where.items()],
        }
        asked = boto3.client("cloudwatch", region_name=REGION).get_metric_data(
            MetricDataQueries=[
                {"Id": stat, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}} for stat in ("p50", "p99")
            ],
            StartTime=NOON - timedelta(minutes=1),
            EndTime=NOON + timedelta(minutes=1),
        )["MetricDataResults"]
        assert [found["Values"][0] for found in asked] == pytest.approx([50_000, 99_000], rel=0.01)
