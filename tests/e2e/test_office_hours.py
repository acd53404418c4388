"""A night, and the morning after it: an endpoint is parked and comes back as it was, in every field that AWS shows."""

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

pytestmark = pytest.mark.xdist_group("hours")
DATASET = "sleeper"
ENDPOINT = names.endpoint(STACK, DATASET)
RESOURCE = f"endpoint/{ENDPOINT}/variant/{names.VARIANT}"
VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def next_weekday(weekday: int, hour: int, after: datetime) -> datetime:
    """The first such moment after another; 0 is Monday."""
    day = after.replace(hour=hour, minute=0, second=0, microsecond=0)
    return day + timedelta(days=(weekday - day.weekday()) % 7 or 7)


def tick(laptop: Laptop, at: datetime) -> list[dict[str, str]]:
    """What the schedule would send at that moment; the decisions about the endpoint of this test."""
    answer = laptop.client("lambda").invoke(
        FunctionName=f"{STACK}-keep-office-hours",
        Payload=json.dumps({"scheduled_time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}).encode(),
    )
    decisions: list[dict[str, str]] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, decisions
    return [one for one in decisions if ENDPOINT in one["reason"]]


def status(laptop: Laptop) -> str | None:
    try:
        return str(laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"])
    except ClientError:
        return None


def described(laptop: Laptop) -> dict[str, Any]:
    """Everything that AWS tells about the endpoint, its config, its scaling and its alarms."""
    scaling, cloudwatch = laptop.connection.autoscaling, laptop.client("cloudwatch")
    endpoint = laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    config = laptop.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[RESOURCE])["ScalableTargets"]
    found = {
        "endpoint": endpoint,
        "endpoint_tags": tags(laptop, endpoint["EndpointArn"]),
        "config": config,
        "config_tags": tags(laptop, config["EndpointConfigArn"]),
        "targets": targets,
        "target_tags": [scaling.list_tags_for_resource(ResourceARN=t["ScalableTargetARN"])["Tags"] for t in targets],
        "policies": scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=RESOURCE)[
            "ScalingPolicies"
        ],
        "scheduled": scaling.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=RESOURCE)[
            "ScheduledActions"
        ],
        "alarms": cloudwatch.describe_alarms(AlarmNamePrefix=ENDPOINT)["MetricAlarms"],
    }
    plain: dict[str, Any] = without(found)
    return plain


def without(value: Any) -> Any:
    """Leaves out what AWS makes anew each time: times, ARNs of scaling, the scaling policies' own alarms."""
    anew = {
        *("CreationTime", "LastModifiedTime", "ScalableTargetARN", "PolicyARN", "Alarms", "ScheduledActionARN"),
        *("ResponseMetadata", "StateUpdatedTimestamp", "StateTransitionedTimestamp", "StateReason", "StateReasonData"),
        *("StateValue", "AlarmConfigurationUpdatedTimestamp"),
    }
    if isinstance(value, dict):
        return {key: without(item) for key, item in value.items() if key not in anew}
    return [without(item) for item in value] if isinstance(value, list) else value


def tags(laptop: Laptop, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in laptop.sagemaker.list_tags(ResourceArn=arn)["Tags"]}


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """One of its own: a night stops every endpoint of the stack, and its clock does not go back."""
    running = start_laptop()
    try:
        yield running
    finally:
        stop_laptop(running)


@pytest.fixture(scope="module")
def sleeper(laptop: Laptop) -> str:
    """An endpoint that somebody has changed in every way that must survive the night."""
    laptop.put(DATASET, names.JOB_SPEC_FILE, SHORT)
    laptop.put(DATASET, "customers.csv", customers(seed=5))
    verdict = laptop.verdict(DATASET)
    assert verdict["verdict"] == "accepted", verdict
    laptop.endpoint_serving(DATASET, verdict["job_name"])
    laptop.scaling_policies(DATASET)
    scaling = laptop.connection.autoscaling
    # Set by hand: the stack's own upper bound is 5.
    scaling.register_scalable_target(
        **VARIANT, MinCapacity=1, MaxCapacity=4, SuspendedState={"DynamicScalingInSuspended": True}
    )
    scaling.put_scheduled_action(
        **VARIANT,
        ScheduledActionName="lunch",
        Schedule="cron(0 11 ? * MON-FRI *)",
        Timezone="Europe/Berlin",
        ScalableTargetAction={"MinCapacity": 2, "MaxCapacity": 4},
    )
    for name, enabled in (("slow", True), ("muted", False)):
        laptop.client("cloudwatch").put_metric_alarm(
            AlarmName=f"{ENDPOINT}-{name}",
            Namespace="AWS/SageMaker",
            MetricName="ModelLatency",
            Dimensions=[{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": names.VARIANT}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1_000_000,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[laptop.connection.outputs["AlertsTopicArn"]],
            ActionsEnabled=enabled,
        )
    arn = laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    laptop.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "Team", "Value": "growth"}])
    laptop.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=ENDPOINT,
        DesiredWeightsAndCapacities=[{"VariantName": names.VARIANT, "DesiredInstanceCount": 2}],
    )
    eventually(lambda: _instances(laptop) == 2 or None, 60, "there are not two instances")
    return str(verdict["job_name"])


def _instances(laptop: Laptop) -> int:
    [variant] = laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT).get("ProductionVariants", [{}])
    return int(variant.get("CurrentInstanceCount", 0)) if status(laptop) == "InService" else 0


def test_a_weekend_off_and_everything_as_it_was_on_monday(laptop: Laptop, sleeper: str) -> None:
    before = described(laptop)
    counted = {part: len(before[part]) for part in ("targets", "policies", "scheduled", "alarms")}
    assert counted == {"targets": 1, "policies": 2, "scheduled": 1, "alarms": 5}  # three are the platform's own
    assert before["targets"][0]["MaxCapacity"] == 4  # the change to two instances did not set it back
    saturday = next_weekday(5, 12, laptop.connection.now())
    monday = next_weekday(0, 9, saturday)
    [stopped] = tick(laptop, saturday)
    assert stopped["decision"] == "StopEndpoint", stopped
    eventually(lambda: status(laptop) is None or None, 60, "the endpoint did not go")
    alarms = laptop.client("cloudwatch").describe_alarms(AlarmNamePrefix=ENDPOINT)["MetricAlarms"]
    assert [alarm["ActionsEnabled"] for alarm in alarms] == [False] * 5
    [again] = tick(laptop, saturday + timedelta(minutes=15))
    assert (again["decision"], "is parked" in again["reason"]) == ("Skip", True)
    [started] = tick(laptop, monday)
    assert started["decision"] == "StartEndpoint", started
    laptop.function_entry("configure-autoscaling", "is back after")
    eventually(lambda: not parking(laptop, sleeper) or None, 60, "the record did not go")
    assert _instances(laptop) == 2  # its config says one
    assert described(laptop) == before
    [back] = laptop.inbox(f"{ENDPOINT} is back")[:1]
    assert "to start, and has the scaling and the alarms that it had" in json.dumps(back)
    [quiet] = tick(laptop, monday + timedelta(minutes=15))
    assert quiet["decision"] == "Skip", quiet


def parking(laptop: Laptop, config: str) -> set[str]:
    arn = laptop.sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    return {key for key in tags(laptop, arn) if key.startswith(names.PARKED_TAG)}


def mlp(laptop: Laptop, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**os.environ, "AWS_ENDPOINT_URL": laptop.url, "COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_a_snooze_wakes_a_parked_endpoint_for_as_long_as_it_says(laptop: Laptop, sleeper: str) -> None:
    saturday = next_weekday(5, 12, laptop.connection.now())
    assert tick(laptop, saturday)[0]["decision"] == "StopEndpoint"
    eventually(lambda: status(laptop) is None or None, 60, "the endpoint did not go")
    assert "starts within 15 minutes" in mlp(laptop, "snooze", DATASET, "--until", f"{saturday:%Y-%m-%d}T20:00")
    [woken] = tick(laptop, saturday + timedelta(minutes=15))
    assert woken["decision"] == "StartEndpoint", woken
    eventually(lambda: (not parking(laptop, sleeper) and _instances(laptop) == 2) or None, 60, "it is not back")
    [kept] = tick(laptop, saturday + timedelta(hours=7, minutes=45))
    assert (kept["decision"], "kept on until" in kept["reason"]) == ("Skip", True)
    [over] = tick(laptop, saturday + timedelta(hours=8))
    assert over["decision"] == "StopEndpoint", over
    mlp(laptop, "snooze", DATASET, "--end")


def test_no_endpoint_starts_on_a_holiday_of_the_calendar(laptop: Laptop, sleeper: str) -> None:
    monday = next_weekday(0, 9, next_weekday(5, 12, laptop.connection.now()))
    calendar = f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:{monday:%Y%m%d}\nEND:VEVENT\nEND:VCALENDAR\n"
    bucket = laptop.connection.outputs["ArtifactBucketName"]
    laptop.s3.put_object(Bucket=bucket, Key=names.HOLIDAYS_KEY, Body=calendar.encode())
    eventually(lambda: status(laptop) is None or None, 60, "the endpoint did not go")
    [parked] = tick(laptop, monday)
    assert (parked["decision"], "is parked" in parked["reason"]) == ("Skip", True)
    [started] = tick(laptop, monday + timedelta(days=1))
    assert started["decision"] == "StartEndpoint", started
    eventually(lambda: (not parking(laptop, sleeper) and _instances(laptop) == 2) or None, 60, "it is not back")
    laptop.s3.delete_object(Bucket=bucket, Key=names.HOLIDAYS_KEY)


def test_the_schedules_keep_the_hours_when_the_clock_runs(laptop: Laptop, sleeper: str) -> None:
    """Nothing is called here but the clock: the evening stops it, the morning brings it back."""
    arn = laptop.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    laptop.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": names.HOURS_TAG, "Value": "daily 08:00-18:00"}])
    now = laptop.connection.now()
    evening = now.replace(hour=18, minute=5, second=0, microsecond=0)
    evening += timedelta(days=0 if evening > now + timedelta(minutes=15) else 1)
    morning = evening.replace(hour=8) + timedelta(days=1)
    before = described(laptop)
    laptop.post("/_laptop/clock", {"to": evening.isoformat()})
    eventually(lambda: status(laptop) is None or None, 60, "the endpoint did not go")
    plan = mlp(laptop, "hours", DATASET, "--days", "1")
    assert f"is parked: it opens at {morning:%a %d %b} 08:00" in plan
    assert "off 14.00 of 24.00 hours" in plan
    asleep = f"asleep until {morning:%a %d %b} 08:00 (UTC)"
    assert asleep in mlp(laptop, "status", DATASET)
    refused = mlp(laptop, "predict", DATASET, "--json", "{}", code=1)
    assert asleep in refused
    assert f"mlp --laptop snooze {DATASET}" in refused
    laptop.post("/_laptop/clock", {"to": morning.isoformat()})
    eventually(lambda: (not parking(laptop, sleeper) and _instances(laptop) == 2) or None, 60, "it is not back")
    assert described(laptop) == before
