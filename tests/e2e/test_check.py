"""`mlp check` against a running laptop: what is kept, and what somebody broke by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.check import PROMISES
from cli.main import app

from .conftest import Laptop, eventually

pytestmark = pytest.mark.xdist_group("second-laptop")


@pytest.fixture
def check(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", laptop.url)

    def run() -> tuple[int, dict[str, dict[str, str]]]:
        result = CliRunner().invoke(app, ["check", "--json"])
        lines = json.loads(result.output)
        assert [line["promise"] for line in lines] == [promise for promise, _ in PROMISES]
        return result.exit_code, {line["promise"]: line for line in lines}

    return run


def test_each_promise_has_a_line_and_what_is_broken_by_hand_is_named(laptop: Laptop, check: Any) -> None:
    # An endpoint that another test has just made gets its alarms a moment after it serves.
    eventually(lambda: check()[1]["alarms"]["state"] == "pass" or None, 60, "an alarm is missing")
    _, before = check()
    for promise in (
        "stack",
        "budget",
        "alarms",
        "people are told",
        "failures are told",
        "schedules and rules",
        "lifecycle",
    ):
        assert before[promise]["state"] == "pass", before[promise]
    assert before["roles"]["state"] == "pass", before["roles"]
    assert before["failures are told"]["reason"].startswith("10 functions tell the alerts topic, 2 the dead letters")
    assert "ml.c5.large for endpoint usage: 20" in before["quotas"]["reason"]

    bucket = laptop.connection.data_bucket
    logs, name = laptop.client("logs"), "/aws/lambda/ml-platform-notify"
    policy = laptop.s3.get_bucket_policy(Bucket=bucket)["Policy"]
    body = laptop.client("cloudwatch").get_dashboard(DashboardName="ml-platform-overview")["DashboardBody"]
    laptop.client("events").disable_rule(Name="ml-platform-training-ended")
    functions = laptop.client("lambda")
    failing = functions.get_function_event_invoke_config(FunctionName="ml-platform-report-costs")["DestinationConfig"]
    functions.delete_function_event_invoke_config(FunctionName="ml-platform-report-costs")
    laptop.s3.delete_bucket_policy(Bucket=bucket)
    logs.delete_retention_policy(logGroupName=name)
    laptop.client("cloudwatch").delete_dashboards(DashboardNames=["ml-platform-overview"])
    try:
        code, after = check()
    finally:
        laptop.client("events").enable_rule(Name="ml-platform-training-ended")
        functions.put_function_event_invoke_config(
            FunctionName="ml-platform-report-costs", MaximumRetryAttempts=2, DestinationConfig=failing
        )
        laptop.s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        logs.put_retention_policy(logGroupName=name, retentionInDays=7)
        laptop.client("cloudwatch").put_dashboard(DashboardName="ml-platform-overview", DashboardBody=body)
    assert code == 1
    broken = {promise: line["reason"] for promise, line in after.items() if line["state"] == "fail"}
    assert broken["schedules and rules"] == "the rule ml-platform-training-ended is DISABLED"
    assert broken["buckets are closed"] == f"{bucket}: takes requests without TLS"
    assert broken["logs are short-lived"] == f"{name} keeps everything"
    assert "GetDashboard" in broken["dashboard"]
    assert broken["failures are told"] == "ml-platform-report-costs fails without a word: its failures go nowhere"
