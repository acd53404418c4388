"""What is on the bill arrives in the morning's report, to the cent, through every part that is involved on AWS."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("second-laptop")
TAGS = {"Project": "ml-platform", "ml-platform:dataset": "bill-check"}


def invoked(laptop: Any, function: str, event: dict[str, Any]) -> dict[str, Any]:
    """As the function's schedule does it."""
    answer = laptop.client("lambda").invoke(FunctionName=f"ml-platform-{function}", Payload=json.dumps(event).encode())
    decided: dict[str, Any] = json.load(answer["Payload"])
    assert "FunctionError" not in answer, decided
    return decided


def make_report(laptop: Any) -> dict[str, Any]:
    """The report's numbers, with Cost Explorer asked afresh."""
    now = laptop.connection.now().isoformat()
    decided = invoked(laptop, "report-costs", {"scheduled_time": now, "fresh": True})
    assert decided["decision"] == "ReportCosts", decided
    bucket = laptop.connection.outputs["ArtifactBucketName"]
    found = laptop.s3.list_objects_v2(Bucket=bucket, Prefix="reports/")["Contents"]
    key = max(entry["Key"] for entry in found if entry["Key"].endswith(".json"))
    numbers: dict[str, Any] = json.loads(laptop.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return numbers


def test_a_line_on_the_bill_is_in_the_mornings_report_to_the_cent(laptop: Any) -> None:
    yesterday = laptop.connection.now().astimezone(UTC).date() - timedelta(days=1)
    for line in (
        {"service": "Amazon SageMaker", "usd": 12.3451, "tags": TAGS},
        {"service": "Amazon Simple Storage Service", "usd": 0.25, "tags": {"Project": "ml-platform"}},
        {"service": "AWS Lambda", "usd": 1.0},
        {"service": "Tax", "usd": 1.5},
        {"service": "Amazon SageMaker", "usd": -0.5},
    ):
        laptop.post("/_laptop/bill", {**line, "day": yesterday.isoformat()})
    invoked(laptop, "activate-cost-tags", {})  # billing knows a tag once something with it was billed
    report = make_report(laptop)
    # Other tests may have moved the clock over a day on which something ran: the bill is what there is besides.
    bill = [line for line in laptop.get("/_laptop/bill") if line["day"] == yesterday.isoformat()]
    billed = sum(Decimal(str(line["usd"])) for line in bill)
    total = Decimal(report["services"]["total"]["yesterday"])
    assert total == billed.quantize(Decimal("0.01"), ROUND_HALF_UP) >= Decimal("14.60")
    rows = {row["name"]: Decimal(row["yesterday"]) for row in report["services"]["rows"]}
    assert sum(rows.values()) == total
    assert (rows["Tax"], rows["Credits"]) == (Decimal("1.50"), Decimal("-0.50"))
    datasets = {row["name"]: Decimal(row["yesterday"]) for row in report["datasets"]["rows"]}
    assert sum(datasets.values()) == total - Decimal("1.00")  # tax and credits belong to no dataset
    assert datasets["bill-check"] in {Decimal("12.34"), Decimal("12.35")}  # whichever makes the column add up
    assert datasets["not tagged"] >= Decimal("1.00")
    assert report["requests"] < 10
    assert report["missing"] == []


def test_the_report_reaches_slack_with_a_link_to_a_page_that_opens(laptop: Any) -> None:
    yesterday = laptop.connection.now().astimezone(UTC).date() - timedelta(days=1)
    laptop.post("/_laptop/bill", {"service": "AWS Lambda", "usd": 2.0, "day": yesterday.isoformat()})
    report = make_report(laptop)
    total = report["services"]["total"]
    amount = f"${Decimal(total['yesterday']):,.2f} yesterday"
    message = next(one for one in laptop.inbox(amount) if one["channel"] == "slack")
    link = re.search(r"<(http://[^|>]*)\|", json.dumps(message["blocks"]))
    assert link is not None
    with urllib.request.urlopen(link[1], timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/html")
        page = answer.read().decode()
    assert f"${Decimal(total['month_to_date']):,.2f}" in page
    assert datetime.fromisoformat(report["day"]).strftime("%B %Y") in page
