"""A day on which the ceiling is reached: a warning, a hold, a drop that waits, and people who lift it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlplatform import names

from .conftest import STACK, Laptop, eventually, start_laptop, stop_laptop
from .customers import SHORT, customers

pytestmark = pytest.mark.xdist_group("spending")
ENDPOINT = names.endpoint(STACK, "spender")
CEILING_USD = "1"  # a day: ml.c5.large, at 0.102 USD an hour, passes 80 % of it at 8 o'clock and all of it at 10


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """One of its own: a hold stops every endpoint of the stack."""
    running = start_laptop()
    try:
        client, name = running.client("lambda"), f"{STACK}-watch-spend"
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables | {"DAILY_CEILING_USD": CEILING_USD}}
        )
        yield running
    finally:
        stop_laptop(running)


def tick(laptop: Laptop, function: str, at: datetime) -> list[str]:
    """What the schedule would send at that moment; what the function decided."""
    answer = laptop.client("lambda").invoke(
        FunctionName=f"{STACK}-{function}",
        Payload=json.dumps({"scheduled_time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}).encode(),
    )
    decisions = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, decisions
    # The clock has not moved, so that the other functions have not run at that moment; they are no matter here.
    return [one["decision"] for one in decisions if "has not run" not in one["reason"]]


def objects(laptop: Laptop, prefix: str) -> dict[str, Any]:
    bucket = laptop.connection.outputs["ArtifactBucketName"]
    found = laptop.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        entry["Key"]: json.loads(laptop.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
        for entry in found
    }


def status(laptop: Laptop) -> str | None:
    try:
        return str(laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"])
    except ClientError:
        return None


def drop(laptop: Laptop, dataset: str, seed: int) -> dict[str, Any]:
    laptop.put(dataset, names.JOB_SPEC_FILE, SHORT)
    laptop.put(dataset, "customers.csv", customers(seed=seed))
    return laptop.verdict(dataset)


def test_a_ceiling_warns_then_holds_until_people_resume(laptop: Laptop) -> None:
    verdict = drop(laptop, "spender", 11)
    laptop.endpoint_serving("spender", verdict["job_name"])
    laptop.scaling_policies("spender")

    def saved() -> dict[str, Any] | None:
        return objects(laptop, "ledger/") or None

    [saving] = eventually(saved, 60, "nothing is in the ledger").values()
    assert verdict["job_name"] in saving["key"]
    assert "0.23 USD/hour for ml.m5.xlarge" in saving["formula"]

    today = laptop.connection.now().replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today + timedelta(days=7 - today.weekday())
    assert tick(laptop, "watch-spend", monday + timedelta(hours=8)) == ["RecordSpend", "Notify"]
    assert laptop.inbox("of the daily ceiling are spent")

    assert tick(laptop, "watch-spend", monday + timedelta(hours=10)) == ["RecordSpend", "HoldLaunches"]
    assert laptop.inbox("a spending ceiling is reached")
    month = objects(laptop, f"spend/{monday:%Y-%m}.json")[f"spend/{monday:%Y-%m}.json"]
    assert month["days"][f"{monday:%Y-%m-%d}"] == "1.020000"  # ten hours of one ml.c5.large

    tick(laptop, "keep-office-hours", monday + timedelta(hours=10, minutes=15))
    eventually(lambda: True if status(laptop) is None else None, 60, f"{ENDPOINT} was not stopped")

    held = drop(laptop, "waiter", 12)
    assert held["verdict"] == "held"
    assert "mlp costs resume" in held["reason"]
    assert laptop.inbox("has to wait")

    resumed = subprocess.run(
        [sys.executable, "-m", "cli.main", "costs", "resume"],
        env={**os.environ, "AWS_ENDPOINT_URL": laptop.url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert f"the hold for {monday:%Y-%m-%d} is lifted" in resumed
    assert "waiter had to wait and is looked at again" in resumed

    def accepted() -> dict[str, Any] | None:
        verdict = laptop.verdict("waiter")
        return verdict if verdict["verdict"] == "accepted" else None

    assert eventually(accepted, 60, "what waited was not started")["job_name"]
    tick(laptop, "keep-office-hours", monday + timedelta(hours=10, minutes=30))
    eventually(lambda: status(laptop) == "InService" or None, 60, f"{ENDPOINT} did not come back")
    assert tick(laptop, "watch-spend", monday + timedelta(hours=11)) == ["RecordSpend"]
    assert "spend/hold.json" not in objects(laptop, "spend/hold.json")
