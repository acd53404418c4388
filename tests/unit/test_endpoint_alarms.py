"""The alarms of an endpoint. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace

import pytest

import builders
from laptop.service_model import validate
from mlplatform.endpoint_alarms import (
    WATCHED,
    differing,
    endpoint_alarms,
    update_alarm_names,
    update_alarms,
    wrong_answer,
)
from mlplatform.facts import HostingKind


def test_the_requests_are_ones_that_cloudwatch_accepts() -> None:
    made = endpoint_alarms(builders.endpoint(), builders.settings())
    assert tuple(one["AlarmName"].removeprefix("ml-platform-churn-") for one in made) == WATCHED[HostingKind.REAL_TIME]
    for one in made:
        assert validate("cloudwatch", "PutMetricAlarm", one) == []


def test_what_an_update_is_rolled_back_by_watches_the_new_config_alone_and_tells_nobody() -> None:
    made = update_alarms("ml-platform-churn", builders.JOB, "churn", builders.settings())
    assert tuple(one["AlarmName"] for one in made) == update_alarm_names(builders.JOB, None, builders.JOB)
    for one in made:
        assert validate("cloudwatch", "PutMetricAlarm", one) == []
        assert {"Name": "EndpointConfigName", "Value": builders.JOB} in one["Dimensions"]
        assert one["ActionsEnabled"] is False
    assert validate("cloudwatch", "PutMetricData", wrong_answer("ml-platform-churn", builders.JOB)) == []


@pytest.mark.parametrize(("instance_type", "percent"), [("ml.c5.large", 180), ("ml.m5.4xlarge", 1440)])
def test_cpu_is_judged_by_all_cores_of_the_instance_type(instance_type: str, percent: int) -> None:
    """90 % of 2 and of 16 cores."""
    made = endpoint_alarms(builders.endpoint(instance_type=instance_type), builders.settings())
    assert made[2]["Threshold"] == percent


def test_a_serverless_endpoint_has_no_cpu_to_watch() -> None:
    made = endpoint_alarms(builders.endpoint(instance_type=None, kind=HostingKind.SERVERLESS), builders.settings())
    assert [one["AlarmName"].removeprefix("ml-platform-churn-") for one in made] == ["latency", "errors"]


def test_what_is_described_as_it_was_asked_for_differs_in_nothing() -> None:
    wanted = endpoint_alarms(builders.endpoint(), builders.settings())
    there = [{**one, "Dimensions": one["Dimensions"][::-1], "ActionsEnabled": False} for one in wanted]
    assert differing(wanted, there) == ()
    assert differing(wanted, there[1:]) == wanted[:1]
    assert differing(wanted, [*there[:2], {**there[2], "Threshold": 50.0}]) == wanted[2:]
    # An update to a larger type changes what its cores can do.
    larger = endpoint_alarms(replace(builders.endpoint(), instance_type="ml.c5.xlarge"), builders.settings())
    assert differing(larger, there) == larger[2:]


def test_what_a_queued_model_refuses_rings_no_alarm() -> None:
    """InvocationFailures would count a caller's bad input too."""
    made = endpoint_alarms(builders.endpoint(kind=HostingKind.ASYNCHRONOUS), builders.settings())
    assert [one["MetricName"] for one in made] == [
        "ApproximateAgeOfOldestRequest",
        "Invocation5XXErrors",
        "CPUUtilization",
    ]
