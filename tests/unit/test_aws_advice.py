"""Reading what the advice is planned over: in pages, as units the planner understands, and never half."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mlplatform.aws_advice import read_advice_facts
from mlplatform.errors import AwsError
from mlplatform.facts import STACK_TAG, Parked
from mlplatform.opening_hours import BadHours, hours_per_week
from mlplatform.parking import record_tags
from mlplatform.recommendations import AdviceFacts

NOW = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
DEV = {"Environment": "dev", STACK_TAG: "shop"}


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def endpoint(name: str, status: str = "InService", **tags: str) -> dict[str, Any]:
    return {
        "EndpointName": name,
        "EndpointArn": f"{ARN}:endpoint/{name}",
        "EndpointConfigName": f"{name}-config",
        "EndpointStatus": status,
        "CreationTime": NOW - timedelta(days=30),
        "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentInstanceCount": 2}],
        "Tags": tag_list(DEV | tags),
    }


class Aws:
    """An account as its answers: what is not given is empty. Remembers what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        self.asked.append((operation, request))
        answer = self.answers.get(operation, {})
        if isinstance(answer, Exception):
            raise answer
        return dict(answer(request) if callable(answer) else answer)

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.asked)


def search(*endpoints: dict[str, Any], jobs: tuple[dict[str, Any], ...] = ()) -> Callable[[dict[str, Any]], Any]:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        found = endpoints if request["Resource"] == "Endpoint" else jobs
        return {"Results": [{request["Resource"]: one} for one in found]}

    return answer


def metrics(values: dict[str, dict[int, float]]) -> Callable[[dict[str, Any]], Any]:
    """Metric name -> days ago -> value."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        results = []
        for query in request["MetricDataQueries"]:
            points = values.get(query["MetricStat"]["Metric"]["MetricName"], {})
            results.append(
                {
                    "Id": query["Id"],
                    "Timestamps": [MIDNIGHT - timedelta(days=ago) for ago in points],
                    "Values": list(points.values()),
                }
            )
        return {"MetricDataResults": results}

    return answer


CONFIG = {"ProductionVariants": [{"VariantName": "AllTraffic", "InstanceType": "ml.m5.xlarge", "ModelName": "churn-1"}]}


def read(aws: Aws) -> AdviceFacts:
    return read_advice_facts(
        aws, stack="shop", region="us-east-1", now=NOW, office_hours="mon-fri 08:00-18:00", time_zone="UTC"
    )


def test_an_endpoints_metrics_become_what_the_planner_asks_for() -> None:
    aws = Aws(
        search=search(endpoint("shop-churn")),
        describe_endpoint_config=CONFIG,
        get_metric_data=metrics(
            {
                "Invocations": {9: 700.0, 8: 300.0, 7: 0.0},
                "ModelLatency": {9: 100_000.0, 8: 300_000.0},  # microseconds
                "CPUUtilization": {9: 120.0, 8: 40.0},  # of four cores
                "MemoryUtilization": {9: 20.0, 8: 30.0},
            }
        ),
    )
    (found,) = read(aws).endpoints
    assert (found.instance_type, found.instance_count, found.hours_per_week) == ("ml.m5.xlarge", 2, 50)
    assert (found.invocations, found.idle_days, found.observed_days) == (1000, 7, 14)
    assert (found.latency_seconds, found.cpu_peak_percent, found.memory_peak_percent) == (Decimal("0.2"), 30, 30)


def test_an_endpoint_that_was_made_anew_this_morning_is_judged_by_what_was_measured_before() -> None:
    morning = {**endpoint("shop-churn"), "CreationTime": NOW - timedelta(minutes=30)}
    aws = Aws(
        search=search(morning),
        describe_endpoint_config=CONFIG,
        get_metric_data=metrics({"Invocations": {5: 40.0}, "CPUUtilization": {9: 20.0, 5: 20.0, 0: 20.0}}),
    )
    (found,) = read(aws).endpoints
    # from midnight nine days ago until half past seven, and four whole days since the last call
    assert (found.observed_days, found.idle_days) == (Decimal("9.3125"), 4)


@pytest.mark.parametrize(
    ("tags", "hours"),
    [
        ({}, 50),
        ({"ml-platform:hours": "daily 00:00-12:00"}, 84),
        ({"ml-platform:hours": "always-on"}, 168),
        ({"ml-platform:hours": "nonsense"}, 168),
        ({"Environment": "prod"}, 168),
        ({"Environment": "prod", "ml-platform:hours": "sat 10:00-14:00"}, 4),
        ({STACK_TAG: "another"}, 168),
    ],
)
def test_an_endpoint_runs_as_long_as_its_office_hours_let_it(tags: dict[str, str], hours: int) -> None:
    aws = Aws(search=search(endpoint("shop-churn", **tags)), describe_endpoint_config=CONFIG)
    assert read(aws).endpoints[0].hours_per_week == hours


def test_endpoints_come_in_pages_with_one_call_each_for_their_type() -> None:
    def pages(request: dict[str, Any]) -> dict[str, Any]:
        if request["Resource"] != "Endpoint":
            return {}
        page = int(request.get("NextToken", 0))
        some = [{"Endpoint": endpoint(f"shop-{page}-{n}")} for n in range(100)]
        return {"Results": some, **({"NextToken": str(page + 1)} if page < 2 else {})}

    aws = Aws(search=pages, describe_endpoint_config=CONFIG)
    assert len(read(aws).endpoints) == 300
    assert aws.count("describe_endpoint_config") == 300
    assert aws.count("get_metric_data") == 3  # 300 x 4 metrics, 500 to a call


def alarm(name: str, endpoint_name: str = "shop-churn") -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": endpoint_name}]
    return {"AlarmName": name, "AlarmArn": f"arn:{name}", "Dimensions": dimensions, "Period": 60}


@pytest.mark.parametrize("operation", ["search", "list_endpoints", "get_resources"])
def test_no_alarm_is_left_over_where_not_everything_could_be_read(operation: str) -> None:
    answers: dict[str, Any] = {"describe_alarms": {"MetricAlarms": [alarm("a")]}}
    assert len(read(Aws(**answers)).alarms) == 1
    refused = AwsError("any", operation, "AccessDenied", "no")
    lacking = read(Aws(**answers, **{operation: refused}))
    assert lacking.alarms == ()
    assert any("AccessDenied" in said for said in lacking.missing)


def test_what_governance_deletes_is_not_advised_about_and_who_sleeps_is_known() -> None:
    """The stack's own alarms carry its tag. A parked endpoint is one of its configs' tags."""
    parked = record_tags(Parked("shop-asleep", "shop-asleep-1", NOW, {}, (), (), (), (), ()), DEV)
    tagged = {"sagemaker:endpoint-config": ("arn:config", parked), "cloudwatch:alarm": ("arn:ours", DEV)}

    def resources(request: dict[str, Any]) -> dict[str, Any]:
        (kind,) = request["ResourceTypeFilters"]
        arn, tags = tagged[kind]
        return {"ResourceTagMappingList": [{"ResourceARN": arn, "Tags": tag_list(tags)}]}

    alarms = {"MetricAlarms": [alarm("ours"), alarm("a-persons"), alarm("on-it", "shop-there")]}
    there = {"Endpoints": [{"EndpointName": "shop-there"}]}
    found = read(Aws(get_resources=resources, describe_alarms=alarms, list_endpoints=there))
    assert [one.name for one in found.alarms] == ["a-persons"]
    assert found.asleep == {"shop-asleep"}


def test_a_part_that_may_not_be_read_is_said_and_the_rest_is_read() -> None:
    groups = {"logGroups": [{"logGroupName": "/g", "creationTime": 0, "storedBytes": 7}]}
    found = read(Aws(list_buckets=AwsError("s3", "ListBuckets", "AccessDenied", "no"), describe_log_groups=groups))
    assert found.missing == ("buckets (ListBuckets: AccessDenied)",)
    assert [(group.name, group.stored_bytes, group.retention_days) for group in found.log_groups] == [("/g", 7, None)]


def test_a_page_token_that_repeats_ends_the_reading() -> None:
    found = read(Aws(describe_log_groups={"logGroups": [], "nextToken": "again"}))
    assert found.missing == ("log groups (describe_log_groups: RepeatedToken)",)


def test_jobs_that_ended_are_counted_by_what_was_billed() -> None:
    ended: dict[str, Any] = {
        "TrainingJobName": "one",
        "TrainingJobStatus": "Completed",
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 3},
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://b/c"},
        "TrainingTimeInSeconds": 100,
        "BillableTimeInSeconds": 30,
    }
    running = {**ended, "TrainingJobStatus": "InProgress"}
    (job,) = read(Aws(search=search(jobs=(ended, running)))).jobs
    assert (job.spot, job.checkpoints, job.instance_count, job.training_seconds, job.billable_seconds) == (
        True,
        True,
        3,
        100,
        30,
    )


def test_a_bucket_is_as_old_as_what_it_held_a_month_ago() -> None:
    gib = float(2**30)
    aws = Aws(
        list_buckets={"Buckets": [{"Name": "b"}]},
        get_bucket_lifecycle_configuration=AwsError("s3", "x", "NoSuchLifecycleConfiguration", ""),
        get_bucket_tagging=AwsError("s3", "x", "NoSuchTagSet", ""),
        get_metric_data=metrics({"BucketSizeBytes": {31: 70 * gib, 30: 80 * gib, 1: 100 * gib}}),
    )
    (bucket,) = read(aws).buckets
    assert (bucket.lifecycle, bucket.standard_gb, bucket.standard_gb_month_ago) == (False, 100, 80)


def test_a_gateway_that_moved_nothing_is_told_from_a_new_one() -> None:
    def gateway(name: str, days: int) -> dict[str, Any]:
        return {"NatGatewayId": name, "VpcId": "vpc-1", "CreateTime": NOW - timedelta(days=days)}

    aws = Aws(
        describe_nat_gateways={"NatGateways": [gateway("old", 20), gateway("new", 1)]},
        describe_vpc_endpoints={"VpcEndpoints": [{"VpcId": "vpc-1", "VpcEndpointType": "Gateway"}]},
    )
    assert [(one.id, one.gb, one.s3_gateway_endpoint) for one in read(aws).nat_gateways] == [
        ("old", Decimal(0), True),
        ("new", None, True),
    ]


def test_hours_are_counted_over_a_plain_week() -> None:
    assert hours_per_week("mon-fri 08:00-18:00 / sat 10:00-14:00", "Europe/Berlin") == 54
    assert hours_per_week("always-on", "UTC") == 168
    with pytest.raises(BadHours):
        hours_per_week("whenever", "UTC")
