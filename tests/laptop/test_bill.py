"""The bill has what really ran, at the list price, on the days on which it ran. Cents are worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from billed_account import BilledAccount, bill_of, billed_account

from laptop.errors import ServiceError

ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/ml-platform-cancer"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:training-job/one"


@pytest.fixture
def account() -> BilledAccount:
    account = billed_account(2026, 11, 23, 18, 0)
    account.tags[ENDPOINT] = {"Project": "ml-platform", "ml-platform:dataset": "cancer"}
    return account


def usd(account: BilledAccount) -> dict[tuple[str, str], Decimal]:
    return {(line.day.isoformat(), line.usage_type): line.usd for line in bill_of(account).lines()}


def test_an_instance_costs_its_hours_on_each_day_of_utc_that_it_ran(account: BilledAccount) -> None:
    account.bill.instance_started("i-1", "ml.m5.large", ENDPOINT)
    account.clock.move(2026, 11, 25, 8, 30)
    # 0.115 USD an hour: 6 h on Monday, 24 h on Tuesday, 8.5 h on Wednesday
    assert usd(account) == {
        ("2026-11-23", "USE1-Host:ml.m5.large"): Decimal("0.69"),
        ("2026-11-24", "USE1-Host:ml.m5.large"): Decimal("2.76"),
        ("2026-11-25", "USE1-Host:ml.m5.large"): Decimal("0.9775"),
    }


def test_a_stopped_instance_costs_no_more_however_often_the_bill_is_looked_at(account: BilledAccount) -> None:
    account.bill.instance_started("i-1", "ml.m5.large", ENDPOINT)
    for minute in range(1, 60):
        account.clock.move(2026, 11, 23, 18, minute)
        account.lines()
    account.clock.move(2026, 11, 23, 19, 0)
    account.bill.instance_stopped("i-1")
    account.bill.instance_stopped("i-1")
    account.clock.move(2026, 11, 24, 8, 0)
    assert usd(account) == {("2026-11-23", "USE1-Host:ml.m5.large"): Decimal("0.115")}


def test_two_instances_cost_twice_as_much_on_one_line(account: BilledAccount) -> None:
    account.bill.instance_started("i-1", "ml.c5.large", ENDPOINT)
    account.bill.instance_started("i-2", "ml.c5.large", ENDPOINT)
    account.clock.move(2026, 11, 23, 20, 0)
    assert usd(account) == {("2026-11-23", "USE1-Host:ml.c5.large"): Decimal("0.408")}  # 2 x 2 h x 0.102


def test_a_serverless_request_costs_its_milliseconds_of_memory_and_its_data(account: BilledAccount) -> None:
    account.bill.serverless_ran(ENDPOINT, 2048, 250, 1024**3, 512 * 1024**2)
    assert usd(account) == {
        ("2026-11-23", "USE1-ServerlessInf:Mem-2GB"): Decimal("0.00001"),  # 0.25 s x 2 GB x 0.00002
        ("2026-11-23", "USE1-Hst:Data-Bytes-In"): Decimal("0.016"),
        ("2026-11-23", "USE1-Hst:Data-Bytes-Out"): Decimal("0.008"),
    }


def test_time_is_charged_with_the_tags_that_the_endpoint_had(account: BilledAccount) -> None:
    account.bill.instance_started("i-1", "ml.m5.large", ENDPOINT)
    account.clock.move(2026, 11, 23, 19, 0)
    account.lines()
    account.tags[ENDPOINT] = {"Project": "other"}
    account.clock.move(2026, 11, 23, 21, 0)
    assert {tuple(sorted(line["tags"].values())): line["usd"] for line in account.lines()} == {
        ("cancer", "ml-platform"): 0.115,
        ("other",): 0.23,
    }


def test_a_training_job_costs_its_billable_seconds_times_its_instances(account: BilledAccount) -> None:
    account.tags[JOB] = {"Project": "ml-platform"}
    account.bill.training_ended(JOB, {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2}, 90)
    (line,) = account.lines()
    # 2 x 90 s at 0.23 USD an hour
    assert line == {
        "day": "2026-11-23",
        "service": "Amazon SageMaker",
        "usage_type": "USE1-Train:ml.m5.xlarge",
        "usd": 0.0115,
        "tags": {"Project": "ml-platform"},
    }


def test_a_function_costs_its_requests_and_its_gigabyte_seconds(account: BilledAccount) -> None:
    for _ in range(1000):
        account.bill.function_ran({"Project": "ml-platform"}, 500, 512, "arm64")
    assert usd(account) == {
        ("2026-11-23", "Request-ARM"): Decimal("0.0002"),  # 1,000 of 0.20 USD a million
        ("2026-11-23", "Lambda-GB-Second-ARM"): Decimal("0.00333335"),  # 1,000 x 0.5 s x 0.5 GB x 0.0000133334
    }


def test_what_has_no_price_is_named_in_the_event_log_and_not_a_zero_on_the_bill(account: BilledAccount) -> None:
    account.bill.instance_started("i-1", "ml.p99.large", ENDPOINT)
    account.clock.move(2026, 11, 24, 18, 0)
    assert account.lines() == []
    assert [entry["error"] for entry in account.journal.entries() if "ml.p99.large" in entry.get("error", "")]


def test_a_line_can_be_added_for_any_day_and_is_todays_without_one(account: BilledAccount) -> None:
    account.put(450, tags={"Project": "ml-platform"})
    account.put("-12.34", "Amazon Simple Storage Service", day="2026-10-31", usage_type="TimedStorage-ByteHrs")
    assert account.lines() == [
        {
            "day": "2026-10-31",
            "service": "Amazon Simple Storage Service",
            "usage_type": "TimedStorage-ByteHrs",
            "usd": -12.34,
            "tags": {},
        },
        {
            "day": "2026-11-23",
            "service": "Amazon SageMaker",
            "usage_type": "",
            "usd": 450.0,
            "tags": {"Project": "ml-platform"},
        },
    ]


def test_an_added_amount_is_exactly_the_one_that_was_written(account: BilledAccount) -> None:
    for _ in range(10):
        account.put(0.1)
    assert sum(line.usd for line in bill_of(account).lines()) == Decimal("1.0")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ({"usd": 1}, "'service'"),
        ({"service": 5, "usd": 1}, "'service'"),
        ({"service": "Tax"}, "'usd'"),
        ({"service": "Tax", "usd": "much"}, "'usd'"),
        ({"service": "Tax", "usd": True}, "'usd'"),
        ({"service": "Tax", "usd": float("inf")}, "'usd'"),
        ({"service": "Tax", "usd": 1, "day": "today"}, "'day'"),
        ({"service": "Tax", "usd": 1, "tags": ["Project"]}, "'tags'"),
        ({"service": "Tax", "usd": 1, "tags": {"Project": 1}}, "'tags'"),
        ({"service": "Tax", "usd": 1, "date": "2026-11-23"}, "no date"),
    ],
)
def test_what_cannot_be_a_line_is_refused_by_name(account: BilledAccount, line: dict[str, Any], named: str) -> None:
    with pytest.raises(ServiceError, match=named) as refused:
        account.routes["POST /_laptop/bill"](line)
    assert refused.value.status == 400
    assert account.lines() == []
