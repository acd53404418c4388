"""Metrics, alarms and auto scaling on the laptop. Minutes are ended by hand here: nothing waits for a clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hosted_account import LocalAccount
from moto import mock_aws

from laptop.alarms import judge
from laptop.asynchronous import AsyncConfig, Queue
from laptop.clock import Clock
from laptop.errors import ServiceError
from laptop.hosting import Endpoint, Hosting, Variant
from laptop.journal import Journal
from laptop.metrics import InvocationCounters, MetricStore, Statistics, key, put_invocations
from laptop.scaling import Scaling
from laptop.scaling_policies import stepped

RESOURCE = "endpoint/shop/variant/AllTraffic"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
TARGET = {"ServiceNamespace": "sagemaker", "ResourceId": RESOURCE, "ScalableDimension": DIMENSION}
INVOCATIONS = {
    "TargetValue": 100.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleOutCooldown": 0,
    "ScaleInCooldown": 0,
}
CPU = {
    "TargetValue": 70.0,
    "CustomizedMetricSpecification": {
        "MetricName": "CPUUtilization",
        "Namespace": "/aws/sagemaker/Endpoints",
        "Dimensions": [
            {"Name": "EndpointName", "Value": "shop"},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
        "Statistic": "Average",
    },
    "ScaleOutCooldown": 0,
    "ScaleInCooldown": 0,
}


class Process:
    """An instance that exists only as a number of busy percent."""

    def __init__(self, cpu_percent: float) -> None:
        self.cpu_percent = cpu_percent
        self.alive, self.stopping = True, False

    def usage(self) -> tuple[float, float]:
        return self.cpu_percent, 10.0

    def hangs(self) -> bool:
        return False

    def stop(self, *, drain: bool) -> None:
        self.alive = False


class Fleet(Hosting):
    """Hosting whose instances are not processes, so that a scaling takes no time."""

    cpu_percent = 5.0

    def _start_instances(self, *arguments: Any) -> Any:
        return tuple(Process(self.cpu_percent) for _ in range(arguments[-1]))


class Events:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        self.sent.append((detail_type, detail))


class Here:
    def __init__(self, account: LocalAccount, instance_type: str = "ml.c5.large") -> None:
        self.account = account
        self.hosting = Fleet(account)
        account.closers.append(self.hosting.close)
        self.scaling = Scaling(account, self.hosting)
        now = account.clock.now()
        fleet: Any = (Process(5.0),)
        self.variant = Variant("AllTraffic", "m", instance_type, 1.0, 1, {}, Path(), fleet)
        self.endpoint = Endpoint("shop", "config", now, now, status="InService", variants=(self.variant,))
        self.hosting.endpoints["shop"] = self.endpoint

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.account.operations["application-autoscaling"][operation](request)

    def register(self, low: int = 1, high: int = 5) -> None:
        self.call("RegisterScalableTarget", **TARGET, MinCapacity=low, MaxCapacity=high)
        self.settled()

    def policy(self, name: str, configuration: dict[str, Any]) -> dict[str, Any]:
        return self.call(
            "PutScalingPolicy",
            **TARGET,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=configuration,
        )

    def settled(self) -> None:
        deadline = time.monotonic() + 60
        while self.endpoint.status != "InService" and time.monotonic() < deadline:
            time.sleep(0.005)
        assert self.endpoint.status == "InService"

    def minutes(self, count: int, requests: int) -> int:
        """Lets `count` minutes with so many requests each pass; the number of instances after them."""
        for _ in range(count):
            for _ in range(requests):
                self.variant.counters.record(200, 0.001, 0.0001)
            self.scaling.minute()
            self.settled()
        return len(self.variant.fleet)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[LocalAccount]:
    with mock_aws():
        clock = Clock()
        made = LocalAccount(port=0, home=tmp_path, clock=clock, journal=Journal(clock))
        made.events = Events()
        yield made
        for close in made.closers:
            close()


@pytest.fixture
def here(account: LocalAccount) -> Here:
    return Here(account)


def refused(work: Callable[[], Any]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        work()
    return caught.value


def test_three_minutes_over_the_target_scale_out_to_what_the_traffic_needs(here: Here) -> None:
    here.register()
    here.policy("invocations", INVOCATIONS)
    assert here.minutes(2, requests=350) == 1
    assert here.minutes(1, requests=350) == 4  # 350 requests at 100 per instance


def test_concurrent_requests_over_the_target_scale_out_after_one_minute(here: Here) -> None:
    here.register()
    here.policy(
        "concurrency",
        {
            "TargetValue": 2.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
            },
        },
    )
    for _ in range(50):
        here.variant.counters.record(200, 0.28, 0.0001)  # 14 s of work in a minute of 2 s: 7 at a time
    assert here.minutes(1, requests=0) == 4


def test_fifteen_quiet_minutes_scale_in_and_fourteen_do_not(here: Here) -> None:
    here.register()
    here.policy("invocations", INVOCATIONS)
    assert here.minutes(3, requests=350) == 4
    assert here.minutes(14, requests=50) == 4
    assert here.minutes(2, requests=50) == 1


def test_an_endpoint_without_any_request_scales_in_to_its_minimum(here: Here) -> None:
    here.register(low=2)
    here.policy("invocations", INVOCATIONS)
    assert here.minutes(3, requests=1000) == 5
    assert here.minutes(16, requests=0) == 2


def test_traffic_between_the_low_threshold_and_the_target_changes_nothing(here: Here) -> None:
    here.register()
    here.policy("invocations", INVOCATIONS)
    here.minutes(3, requests=200)
    assert len(here.variant.fleet) == 2
    assert here.minutes(16, requests=190) == 2  # 95 per instance: under 100, over 90


def test_the_largest_capacity_that_any_policy_wants_wins_and_the_bounds_hold(here: Here) -> None:
    here.register(high=4)
    here.policy("invocations", INVOCATIONS)
    here.policy("cpu", CPU)
    here.variant.fleet[0].cpu_percent = 205.0  # type: ignore[attr-defined]
    assert here.minutes(3, requests=150) == 3  # requests want 2, CPU wants 205 / 70
    assert here.minutes(3, requests=5000) == 4


def test_scale_in_waits_until_every_policy_agrees(here: Here) -> None:
    here.hosting.cpu_percent = 65.0  # between 63 and 70: the CPU policy wants no change
    here.register()
    here.policy("invocations", INVOCATIONS)
    here.minutes(3, requests=200)
    here.policy("cpu", CPU)
    for instance in here.variant.fleet:
        instance.cpu_percent = 65.0  # type: ignore[attr-defined]
    assert here.minutes(16, requests=10) == 2


def test_a_cooldown_delays_the_next_scale_out(here: Here) -> None:
    here.register()
    here.policy("invocations", {**INVOCATIONS, "ScaleOutCooldown": 300})
    assert here.minutes(3, requests=200) == 2
    assert here.minutes(4, requests=500) == 2


def test_a_scaling_is_told_by_activity_journal_and_endpoint_events(here: Here) -> None:
    here.register()
    alarms = here.policy("invocations", INVOCATIONS)["Alarms"]
    here.minutes(3, requests=200)
    (activity,) = here.call("DescribeScalingActivities", ServiceNamespace="sagemaker")["ScalingActivities"]
    deadline = time.monotonic() + 60
    while activity["StatusCode"] != "Successful" and time.monotonic() < deadline:
        (activity,) = here.call("DescribeScalingActivities", ServiceNamespace="sagemaker")["ScalingActivities"]
    assert activity["Description"] == "Setting desired instance count to 2."
    assert activity["Cause"] == f"monitor alarm {alarms[0]['AlarmName']} in state ALARM triggered policy invocations"
    assert activity["StatusCode"] == "Successful"
    (entry,) = [entry for entry in here.account.journal.entries() if entry["kind"] == "scaling"]
    assert (entry["before"], entry["after"]) == (1, 2)
    events: Any = here.account.events
    statuses = [detail["EndpointStatus"] for kind, detail in events.sent if kind == "SageMaker Endpoint State Change"]
    assert statuses == ["UPDATING", "IN_SERVICE"]


def test_a_policy_owns_a_high_and_a_low_alarm_that_go_with_it(here: Here) -> None:
    here.register()
    made = here.policy("invocations", INVOCATIONS)
    assert here.policy("invocations", INVOCATIONS) == made
    cloudwatch = here.account.client("cloudwatch")
    high, low = sorted(cloudwatch.describe_alarms()["MetricAlarms"], key=lambda alarm: alarm["AlarmName"])
    assert high["AlarmName"].startswith(f"TargetTracking-{RESOURCE}-AlarmHigh-")
    assert (high["Threshold"], high["EvaluationPeriods"], high["Period"]) == (100.0, 3, 60)
    assert low["AlarmName"].startswith(f"TargetTracking-{RESOURCE}-AlarmLow-")
    assert (low["Threshold"], low["EvaluationPeriods"]) == (90.0, 15)
    here.call("DeregisterScalableTarget", **TARGET)
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    described = here.account.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    assert described["ScalingPolicies"] == []


def test_a_scalable_target_is_tagged_when_it_is_made_and_afterwards(here: Here) -> None:
    made = here.call("RegisterScalableTarget", **TARGET, MinCapacity=1, MaxCapacity=2, Tags={"Owner": "someone"})
    where = {"ResourceARN": made["ScalableTargetARN"]}
    here.call("TagResource", **where, Tags={"Project": "shop"})
    assert here.call("ListTagsForResource", **where) == {"Tags": {"Owner": "someone", "Project": "shop"}}
    here.call("UntagResource", **where, TagKeys=["Owner"])
    assert here.call("ListTagsForResource", **where) == {"Tags": {"Project": "shop"}}
    here.call("DeregisterScalableTarget", **TARGET)
    assert refused(lambda: here.call("ListTagsForResource", **where)).code == "ResourceNotFoundException"


def test_registering_brings_the_count_inside_the_bounds_at_once(here: Here) -> None:
    here.register(low=3)
    assert len(here.variant.fleet) == 3
    here.register(low=1, high=2)
    assert len(here.variant.fleet) == 2


STEPS = {
    "AdjustmentType": "ChangeInCapacity",
    "StepAdjustments": [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
    ],
    "Cooldown": 0,
}


@pytest.mark.parametrize(
    ("configuration", "now", "breach", "wanted"),
    [
        (STEPS, 2, 0.0, 3),
        (STEPS, 2, 9.9, 3),
        (STEPS, 2, 10.0, 5),
        (STEPS, 2, -1.0, 2),  # no step is meant for it
        ({**STEPS, "AdjustmentType": "ExactCapacity"}, 2, 50.0, 3),
        ({**STEPS, "AdjustmentType": "PercentChangeInCapacity", "MinAdjustmentMagnitude": 2}, 10, 0.0, 12),
        (
            {
                "AdjustmentType": "PercentChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -50}],
            },
            5,
            -3.0,
            3,  # half of five is 2.5, rounded down to 2
        ),
    ],
)
def test_a_step_is_chosen_by_how_far_the_metric_is_over_the_threshold(
    configuration: dict[str, Any], now: int, breach: float, wanted: int
) -> None:
    assert stepped(configuration, now, breach) == wanted


def test_a_step_policy_acts_while_an_alarm_with_its_arn_rings(here: Here) -> None:
    here.register(high=4)
    put = {**TARGET, "PolicyName": "steps", "PolicyType": "StepScaling"}
    arn = here.call("PutScalingPolicy", **put, StepScalingPolicyConfiguration=STEPS)["PolicyARN"]
    here.account.client("cloudwatch").put_metric_alarm(
        AlarmName="busy",
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": "shop"}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=5,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[arn],
    )
    assert here.minutes(2, 6) == 3  # one more in each minute
    assert here.minutes(1, 2) == 3
    assert here.minutes(1, 20) == 4  # three more, but four are the most
    gap = {**STEPS, "StepAdjustments": [{"MetricIntervalUpperBound": 1}, {"MetricIntervalLowerBound": 2}]}
    assert "gap" in refused(lambda: here.call("PutScalingPolicy", **put, StepScalingPolicyConfiguration=gap)).message


def test_an_asynchronous_variant_goes_to_zero_when_its_queue_is_empty(here: Here) -> None:
    config = AsyncConfig(output="s3://artifacts/answers")
    here.endpoint.queue = Queue(here.endpoint, config, here.account, here.hosting)
    here.register(low=0, high=4)
    backlog = {
        "TargetValue": 5.0,
        "CustomizedMetricSpecification": {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": "shop"}],
            "Statistic": "Average",
        },
        "ScaleInCooldown": 0,
        "ScaleOutCooldown": 0,
    }
    here.policy("backlog", backlog)
    for number in range(12):
        here.endpoint.queue.working.add(str(number))
    assert here.minutes(3, 0) == 3  # 12 for one instance, where 5 are wanted
    here.endpoint.queue.working.clear()
    assert here.minutes(14, 0) == 3
    assert here.minutes(1, 0) == 0
    assert here.minutes(3, 0) == 0  # nothing tells of the backlog of each of no instances


def test_what_cannot_be_scaled_is_refused(here: Here, account: LocalAccount) -> None:
    nobody = {**TARGET, "ResourceId": "endpoint/nobody/variant/AllTraffic", "MinCapacity": 1, "MaxCapacity": 2}
    assert "not found" in refused(lambda: here.call("RegisterScalableTarget", **nobody)).message
    crossed = refused(lambda: here.call("RegisterScalableTarget", **TARGET, MinCapacity=3, MaxCapacity=2))
    assert crossed.code == "ValidationException"
    zero = refused(lambda: here.call("RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2))
    assert "minimum capacity of a real-time variant is 1" in zero.message
    without_target = refused(lambda: here.policy("invocations", INVOCATIONS))
    assert without_target.code == "ObjectNotFoundException"
    assert without_target.message.startswith("No scalable target registered for service namespace: sagemaker")
    burstable = Here(account, instance_type="ml.t2.medium")
    assert "burstable" in refused(burstable.register).message


def test_a_scaled_variant_keeps_its_instance_type_and_its_place_until_deregistered(here: Here) -> None:
    here.register()
    for name, variant in (("bigger", "AllTraffic"), ("renamed", "Other")):
        here.hosting.configs.all[name] = {
            "EndpointConfigName": name,
            "ProductionVariants": [{"VariantName": variant, "ModelName": "m", "InstanceType": "ml.c5.xlarge"}],
        }
        update = {"EndpointName": "shop", "EndpointConfigName": name}
        message = refused(lambda update=update: here.hosting.update_endpoint(update)).message
        assert message == (
            'The variant(s) "[AllTraffic]" must be deregistered as a scalable target with AutoScaling before they can '
            "be removed or have their instance type updated."
        )


def test_deleting_the_endpoint_deregisters_its_scaling(here: Here) -> None:
    here.register()
    here.policy("invocations", INVOCATIONS)
    here.hosting.delete_endpoint({"EndpointName": "shop"})
    scaling = here.account.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    assert scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"] == []


def test_the_metrics_of_a_minute_are_in_cloudwatch_as_sagemaker_writes_them(here: Here) -> None:
    for status in (200, 200, 200, 400):
        here.variant.counters.record(status, 0.002, 0.0005)
    here.scaling.minute()
    cloudwatch = here.account.client("cloudwatch")
    now = datetime.now(UTC)

    def statistic(name: str, of: str, namespace: str = "AWS/SageMaker") -> float:
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": "EndpointName", "Value": "shop"}, {"Name": "VariantName", "Value": "AllTraffic"}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=60,
            Statistics=[of],
        )["Datapoints"]
        return sum(point[of] for point in points)

    assert statistic("Invocations", "Sum") == 4
    assert statistic("InvocationsPerInstance", "Sum") == 4
    assert statistic("ModelLatency", "Average") == pytest.approx(2000)
    assert statistic("OverheadLatency", "Maximum") == pytest.approx(500)
    assert statistic("Invocation4XXErrors", "Average") == 0.25
    assert statistic("Invocation5XXErrors", "Sum") == 0
    assert statistic("CPUUtilization", "Average", "/aws/sagemaker/Endpoints") == 5.0


def test_invocations_per_instance_shares_the_requests_among_the_instances() -> None:
    with mock_aws():
        store, counters = MetricStore(), InvocationCounters()
        for _ in range(9):
            counters.record(200, 0.001, 0.001)
        put_invocations(
            store, {"EndpointName": "shop", "VariantName": "v"}, counters.take(), instances=3, at=datetime.now(UTC)
        )
        store.advance()
        dimensions = (("EndpointName", "shop"), ("VariantName", "v"))
        (found,) = store.periods(key("AWS/SageMaker", "InvocationsPerInstance", dimensions), 1, 1)
        assert found is not None
        assert found.value("Sum") == pytest.approx(3)


def test_a_dead_letter_raises_the_alarm_and_the_topic_hears_of_it(here: Here) -> None:
    sqs, sns, cloudwatch = (here.account.client(name) for name in ("sqs", "sns", "cloudwatch"))
    dead = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    ear = sqs.create_queue(QueueName="ear")["QueueUrl"]
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    ear_arn = sqs.get_queue_attributes(QueueUrl=ear, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=ear_arn)
    cloudwatch.put_metric_alarm(
        AlarmName="dead-letters",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "dead-letters"}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
        AlarmActions=[topic],
    )
    here.scaling.minute()
    assert cloudwatch.describe_alarms()["MetricAlarms"][0]["StateValue"] == "OK"
    sqs.send_message(QueueUrl=dead, MessageBody="lost")
    here.scaling.minute()
    here.scaling.minute()
    assert cloudwatch.describe_alarms()["MetricAlarms"][0]["StateValue"] == "ALARM"
    messages = sqs.receive_message(QueueUrl=ear, MaxNumberOfMessages=10)["Messages"]
    assert len(messages) == 1  # one change of state is one message
    told = json.loads(json.loads(messages[0]["Body"])["Message"])
    assert (told["AlarmName"], told["NewStateValue"], told["OldStateValue"]) == ("dead-letters", "ALARM", "OK")
    assert told["Trigger"]["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert told["Trigger"]["Dimensions"] == [{"value": "dead-letters", "name": "QueueName"}]


@pytest.mark.parametrize(
    ("values", "needed", "treat", "expected"),
    [
        ([5.0, 5.0, 5.0], 3, "missing", "ALARM"),
        ([5.0, 5.0, 0.0], 3, "missing", "OK"),
        ([5.0, 0.0, 5.0], 2, "missing", "ALARM"),
        ([None, None, None], 3, "missing", "INSUFFICIENT_DATA"),
        ([None, None, 5.0], 3, "missing", "ALARM"),
        ([5.0, 5.0, None], 3, "missing", "before"),
        ([0.0, None, None], 3, "missing", "OK"),
        ([None, None, None], 3, "notBreaching", "OK"),
        ([None, None, None], 3, "breaching", "ALARM"),
        ([None, None, None], 3, "ignore", "before"),
        ([5.0, None, 5.0], 3, "ignore", "before"),
        ([5.0, None, 5.0], 3, "breaching", "ALARM"),
        ([5.0, None, 5.0], 3, "notBreaching", "OK"),
    ],
)
def test_missing_datapoints_are_treated_as_the_alarm_says(
    values: list[float | None], needed: int, treat: str, expected: str
) -> None:
    state = judge(
        values,
        breaches=lambda value: value > 1,
        datapoints_to_alarm=needed,
        treat_missing_data=treat,
        state="before",
    )
    assert state == expected


def test_a_period_of_five_minutes_gathers_five_minutes() -> None:
    with mock_aws():
        store = MetricStore()
        for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
            store.put("N", "M", {}, Statistics(1, value, value, value), unit="Count", at=datetime.now(UTC))
            store.advance()
        newest, before = store.periods(key("N", "M", ()), 5, 2)
        assert newest is not None
        assert before is not None
        assert (newest.value("Sum"), before.value("Sum")) == (20.0, 1.0)


def test_an_alarm_on_two_hours_follows_the_clock_that_schedules_follow(here: Here) -> None:
    cloudwatch = here.account.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="missed-ticks",
        Namespace="AWS/Lambda",
        MetricName="Invocations",
        Dimensions=[{"Name": "FunctionName", "Value": "tick"}],
        Statistic="Sum",
        Period=300,
        EvaluationPeriods=24,
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="missing",
    )

    def state() -> str:
        here.scaling.minute()
        found: str = cloudwatch.describe_alarms()["MetricAlarms"][0]["StateValue"]
        return found

    def ticked() -> None:
        at = here.account.clock.now()
        here.scaling.store.put(
            "AWS/Lambda", "Invocations", {"FunctionName": "tick"}, Statistics(1, 1, 1, 1), unit="Count", at=at
        )

    assert state() == "INSUFFICIENT_DATA"
    ticked()
    for _ in range(5):  # minutes at the laptop's pace change nothing
        assert state() == "OK"
    here.account.clock.advance(3600)
    ticked()
    here.account.clock.advance(6900)
    assert state() == "OK"  # 1 h 55 min ago
    here.account.clock.advance(600)
    assert state() == "INSUFFICIENT_DATA"
    ticked()
    assert state() == "OK"
