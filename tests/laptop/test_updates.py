"""Updates of an endpoint on the laptop: a canary, a watch, all of the traffic, or back; the old fleet answers on.

A CloudWatch minute takes half a second here, and with it the waits of an update.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosted_account import ENDPOINT, INFERENCE, Here, artifact, hosted

from laptop import deployments, scaling
from laptop.errors import ServiceError

VARIANT = [{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": "AllTraffic"}]
MINUTE = 0.5


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(scaling, "MINUTE_SECONDS", MINUTE)
    monkeypatch.setattr(deployments, "MINUTE_SECONDS", MINUTE)
    with hosted(tmp_path) as made:
        scaling.install(made.account)
        yield made


def alarms(here: Here, config: str, slow_microseconds: int) -> list[dict[str, str]]:
    """As the platform puts them: any error, slow answers, and wrong answers that somebody has counted."""
    for name, namespace, metric, statistic, threshold in (
        ("errors", "AWS/SageMaker", "Invocation5XXErrors", "Sum", 0),
        ("latency", "AWS/SageMaker", "ModelLatency", "Average", slow_microseconds),
        ("answers", "ml-platform", "WrongAnswers", "Sum", 0),
    ):
        variant = VARIANT if namespace == "AWS/SageMaker" else VARIANT[:1]
        here.account.client("cloudwatch").put_metric_alarm(
            AlarmName=f"{config}-{name}",
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[*variant, {"Name": "EndpointConfigName", "Value": config}],
            Statistic=statistic,
            Period=60,
            EvaluationPeriods=1,
            Threshold=threshold,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )
    return [{"AlarmName": f"{config}-{name}"} for name in ("errors", "latency", "answers")]


def update(here: Here, config: str, *, wait: int, slow_microseconds: int = 5_000_000) -> None:
    size = {"Type": "CAPACITY_PERCENT", "Value": 50}
    here.call(
        "UpdateEndpoint",
        EndpointName=ENDPOINT,
        EndpointConfigName=config,
        RetainAllVariantProperties=True,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": wait},
                "TerminationWaitInSeconds": wait,
                "MaximumExecutionTimeoutInSeconds": 2 * wait + 600,
            },
            "AutoRollbackConfiguration": {"Alarms": alarms(here, config, slow_microseconds)},
        },
    )


class Load:
    """So many requests a second, each on its own, whether or not the one before has an answer."""

    def __init__(self, here: Here, per_second: int, body: bytes = b"[]") -> None:
        self.here, self.pause, self.body = here, 1 / per_second, body
        self.answers: list[tuple[int, str]] = []
        self.going = True

    async def _ask(self) -> None:
        headers = {"content-type": "application/json", "accept": "application/json"}
        status, _, content = await self.here.account.invoke(ENDPOINT, headers, self.body)  # type: ignore[misc]
        self.answers.append((status, content.decode()))

    async def _run(self) -> None:
        asked: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while self.going:
            asked.add(asyncio.create_task(self._ask()))
            due += self.pause
            await asyncio.sleep(max(due - time.monotonic(), 0))
        await asyncio.gather(*asked)

    def __enter__(self) -> Load:
        self.run = asyncio.run_coroutine_threadsafe(self._run(), self.here.loop)
        return self

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.run.result(30)

    def served(self, version: str) -> int:
        return sum(status == 200 and f'"version": "{version}"' in body for status, body in self.answers)


def instances(here: Here) -> int:
    return int(here.describe()["ProductionVariants"][0]["CurrentInstanceCount"])


def test_five_updates_under_fifty_requests_a_second_fail_none_and_reset_no_fleet(here: Here) -> None:
    here.endpoint("v0")
    grown = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]  # the config says one
    here.call("UpdateEndpointWeightsAndCapacities", EndpointName=ENDPOINT, DesiredWeightsAndCapacities=grown)
    here.settled()
    with Load(here, 50) as load:
        for number in range(1, 6):
            here.config(f"v{number}")
            update(here, f"v{number}", wait=60)
            described = here.settled()
            assert (described["EndpointConfigName"], described.get("FailureReason")) == (f"v{number}", None)
            assert instances(here) == 2
    assert {status for status, _ in load.answers} == {200}
    assert len(load.answers) > 200
    assert all(load.served(f"v{number}") for number in range(6))


def test_a_canary_gets_its_part_of_the_traffic_and_each_step_is_an_event(here: Here) -> None:
    here.endpoint("one", InitialInstanceCount=2)
    here.config("two")
    here.events.sent.clear()
    with Load(here, 100) as load:
        update(here, "two", wait=180)
        here.settled()
    steps = [
        event["detail"]
        for event in here.events.sent
        if event["detail-type"] == "SageMaker Endpoint Deployment State Change"
    ]
    told = [step["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0] for step in steps]
    assert [(one["Status"], one["StatusMessage"]) for one in told] == [
        ("ActivatingTraffic", "Activating traffic on canary capacity of 1 instance(s)."),
        (
            "Baking",
            "Baking for 180 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s).",
        ),
        ("ActivatingTraffic", "Activating traffic on full capacity of 2 instance(s)."),
        (
            "Baking",
            "Baking for 180 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 2 instance(s).",
        ),
    ]
    assert {step["EndpointConfigName"] for step in steps} == {"one"}
    assert {step["PendingDeploymentSummary"]["EndpointConfigName"] for step in steps} == {"two"}
    assert steps[0]["EndpointStatus"] == "UPDATING"
    assert isinstance(told[0]["StartTime"], int)
    # Both answered while the canary was watched; which one is left to chance, for one and a half seconds.
    assert min(load.served("one"), load.served("two")) > 10
    assert here.describe()["EndpointConfigName"] == "two"


CRASHES = INFERENCE.replace("def answer(", "count = 0\ndef answer(").replace(
    '    if body == b"bad":',
    '    global count\n    count += 1\n    if count == 100:\n        os._exit(3)\n    if body == b"bad":',
)
SLOW = INFERENCE.replace('    if body == b"bad":', '    time.sleep(0.4)\n    if body == b"bad":')
FAILS = INFERENCE.replace('    if body == b"bad":', '    raise RuntimeError("no")\n    if body == b"bad":')


@pytest.mark.parametrize(
    ("program", "rang"),
    [(FAILS, "bad-errors"), (SLOW, "bad-latency"), (CRASHES, "bad-errors")],
    ids=["fails", "slow", "crashes-at-the-100th-request"],
)
def test_a_bad_model_is_rolled_back_by_itself_and_the_old_one_never_stops_answering(
    here: Here, program: str, rang: str
) -> None:
    here.endpoint("good", InitialInstanceCount=2)
    before = here.pids()
    here.config("bad", artifact("bad", program=program.format(version="bad")))
    with Load(here, 100) as load:
        update(here, "bad", wait=600, slow_microseconds=200_000 if program == SLOW else 5_000_000)
        described = here.settled()
        served = load.served("good")
        time.sleep(0.3)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "good")
    assert described["FailureReason"] == f"The update was rolled back, because of alarms in ALARM: {rang}."
    assert here.pids() == before
    assert load.served("good") > served > 0
    assert {status for status, _ in load.answers[-10:]} == {200}
    changes = [one for one in here.events.sent if one["detail-type"] == "SageMaker Endpoint State Change"]
    statuses = [event["detail"]["EndpointStatus"] for event in changes]
    assert statuses[-2:] == ["ROLLING_BACK", "IN_SERVICE"]


def test_a_model_that_answers_wrongly_is_rolled_back_when_somebody_counts_it(here: Here) -> None:
    here.endpoint("good", InitialInstanceCount=2)
    here.config("wrong")
    update(here, "wrong", wait=600)
    dimensions = [VARIANT[0], {"Name": "EndpointConfigName", "Value": "wrong"}]
    counted = {"MetricName": "WrongAnswers", "Dimensions": dimensions, "Value": 1}
    while (
        here.describe()["EndpointStatus"] == "Updating"
    ):  # what is counted before the new fleet is watched is forgotten
        here.account.client("cloudwatch").put_metric_data(Namespace="ml-platform", MetricData=[counted])
        time.sleep(0.2)
    assert here.settled()["FailureReason"].endswith("wrong-answers.")
    assert here.invoke()[2]["version"] == "good"


def test_alarms_that_are_not_there_fail_the_update_before_any_instance_starts(here: Here) -> None:
    here.endpoint("one")
    here.config("two")
    here.call(
        "UpdateEndpoint",
        EndpointName=ENDPOINT,
        EndpointConfigName="two",
        DeploymentConfig={"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "nobody-made-it"}]}},
    )
    assert "do not exist: nobody-made-it" in here.settled()["FailureReason"]


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        ({"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 60}}, "at most 50%"),
        ({"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 3}}, "at most 50%"),
        ({"Type": "CANARY"}, "CanarySize is required"),
        ({"Type": "LINEAR"}, "not LINEAR"),
    ],
)
def test_what_no_canary_can_be_is_refused(routing: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        deployments.read_deployment({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}, 4)


def test_a_single_instance_has_no_half_to_give_to_a_canary() -> None:
    ten = {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}
    with pytest.raises(ServiceError, match="at most 50%"):
        deployments.read_deployment({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": ten}}, 1)
    [first, whole] = deployments.read_deployment(
        {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": ten}}, 10
    ).steps
    assert (first.share, whole.share) == (0.1, 1.0)
