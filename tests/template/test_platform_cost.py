"""What the platform itself costs, computed from its template at default settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from template.template import ROOT, transformed

from mlplatform import prices
from mlplatform.errors import UnknownPrice
from mlplatform.platform_cost import calls_per_month, markdown, platform_cost, total

REGION = "us-east-1"


class OneDollar:
    """Everything costs a dollar, so that list prices are quantities."""

    def usd_per_hour(self, instance_type: str, use: str, region: str) -> Decimal:
        return Decimal(1)

    def usd(self, item: str, region: str) -> Decimal:
        return Decimal(1)


def test_the_platform_itself_costs_under_three_dollars_even_at_list_price() -> None:
    """But for its dashboard, of which every account has three for nothing: a fourth is 3 dollars by itself."""
    lines = platform_cost(transformed()["Resources"], prices, REGION)
    after_allowances, list_price = total(lines)
    assert 0 < after_allowances < 3
    assert total(line for line in lines if line.resource != "Dashboard")[1] < 3 < list_price < 6


def test_the_documentation_says_what_the_template_costs() -> None:
    lines = platform_cost(transformed()["Resources"], prices, REGION)
    assert markdown(lines) in (ROOT / "docs" / "own-cost.md").read_text()


def test_a_resource_that_nobody_has_priced_is_an_error() -> None:
    with pytest.raises(UnknownPrice, match="Lake is an AWS::Timestream::Database"):
        platform_cost({"Lake": {"Type": "AWS::Timestream::Database"}}, prices, REGION)


@pytest.mark.parametrize(
    ("expression", "a_month"),
    [
        ("rate(1 hour)", "730"),
        ("rate(15 minutes)", "2920"),
        ("rate(2 days)", "15.21"),
        ("cron(0/15 * * * ? *)", "2920"),
        ("cron(5,35 8-17 * * ? *)", "608.33"),  # 2 x 10 a day
        ("cron(0 9 ? * MON-FRI *)", "21.73"),  # 30.41667 x 5 / 7
        ("cron(0 9 1 * ? *)", "1"),
        ("cron(0 9 L 1-6 ? *)", "0.5"),
        ({"Fn::Sub": "cron(${Minute} ${Hour} * * ? *)"}, "30.42"),
        ({"Fn::Join": ["", ["cron(", {"Ref": "Minute"}, " 7 * * ? *)"]]}, "30.42"),
    ],
)
def test_a_schedule_is_so_many_calls_a_month(expression: Any, a_month: str) -> None:
    assert calls_per_month(expression).quantize(Decimal("0.01")) == Decimal(a_month)


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="no schedule expression"):
        calls_per_month("every now and then")


def scheduled(expression: str, actions: list[str]) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"Policies": [{"PolicyDocument": {"Statement": [statement]}}]},
        },
        "Job": {
            "Type": "AWS::Lambda::Function",
            "Properties": {"MemorySize": 512, "Architectures": ["arm64"], "Role": {"Fn::GetAtt": ["Role", "Arn"]}},
        },
        "Clock": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {"ScheduleExpression": expression, "Target": {"Arn": {"Fn::GetAtt": ["Job", "Arn"]}}},
        },
    }


def test_a_scheduled_function_is_charged_for_its_calls_time_logs_and_cost_explorer() -> None:
    lines = platform_cost(scheduled("rate(1 day)", ["ce:GetCostAndUsage"]), OneDollar(), REGION)
    found = {line.formula.split(" ", 1)[1].split(" at ")[0]: line.list_usd for line in lines if line.resource == "Job"}
    calls = Decimal(730) / 24
    assert found == {
        "calls": calls / 10**6,
        "GB-seconds": calls,  # 2 s of half a gigabyte
        "GB of logs": calls * Decimal("0.000003"),
        "reads of S3": calls * 2 / 1000,
        "writes to S3": calls / 1000,
        "requests to Cost Explorer": calls * 3,
    }


def test_a_function_that_only_users_data_starts_is_not_the_platforms_cost() -> None:
    resources = scheduled("rate(1 day)", [])
    del resources["Clock"]
    assert platform_cost(resources, OneDollar(), REGION) == ()


def test_what_is_above_an_allowance_is_paid_for() -> None:
    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Period": 300}}
    quick = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Period": 10}}
    few = platform_cost({str(n): alarm for n in range(10)}, prices, REGION)
    many = platform_cost({str(n): alarm for n in range(15)} | {"quick": quick}, prices, REGION)
    assert total(few) == (0, 1)
    # 5 of 15 at 0.1; the high-resolution one at 0.3 has no allowance
    after_allowances, list_price = total(many)
    assert (round(after_allowances, 6), list_price) == (Decimal("0.8"), Decimal("1.8"))


def test_a_queue_that_feeds_a_function_is_polled_all_month() -> None:
    # 5 connections x 3 polls a minute x 60 x 730
    (line,) = platform_cost({"Source": {"Type": "AWS::Lambda::EventSourceMapping"}}, OneDollar(), REGION)
    assert line.list_usd * 10**6 == 657_000
    assert line.usd == 0
