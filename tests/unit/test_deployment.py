"""The quality gate, as a table. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_ARTIFACT, NOON, card, endpoint, training_job
from laptop.service_model import validate
from mlplatform import kinds, names
from mlplatform.decisions import DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.deployment import Live, plan_deployment, skip_job, update_request
from mlplatform.errors import TryAgain
from mlplatform.facts import JobStatus, Task, UnreadableCard

COMPARED = {"live_model": LIVE_ARTIFACT}
NAN = float("nan")


def live(**changed: Any) -> Live:
    older = training_job(name=builders.LIVE_JOB, created=NOON - timedelta(hours=1))
    return Live(endpoint(**changed), job=older, card=card(test=0.85))


@pytest.mark.parametrize(
    ("new", "deployed"),
    [
        (card(test=0.9), True),
        (card(test=0.51), True),
        (card(test=0.5), False),
        (card(test=0.4), False),
        (card(test=NAN), False),
        (replace(card(), metrics=replace(card().metrics, test={})), False),
        (card(task=Task.REGRESSION, test=2.0, r2=0.1), True),
        (card(task=Task.REGRESSION, test=2.0, r2=0.0), False),
        (card(task=Task.REGRESSION, test=2.0, r2=NAN), False),
    ],
)
def test_the_first_model_goes_live_if_it_beats_chance(new: Any, deployed: bool) -> None:
    decision = plan_deployment(training_job(), new, None, builders.settings())
    assert isinstance(decision, DeployModel if deployed else KeepLiveModel)


@pytest.mark.parametrize(
    ("new", "deployed", "said"),
    [
        (card(test=0.91, live=0.90), True, "0.9100"),
        (card(test=0.90, live=0.90), False, "no better"),
        (card(test=0.89, live=0.90), False, "no better"),
        (card(test=NAN, live=0.90), False, "no usable roc_auc"),
        (card(task=Task.REGRESSION, test=1.9, live=2.0), True, "1.9000"),
        (card(task=Task.REGRESSION, test=2.0, live=2.0), False, "no better"),
        (card(task=Task.REGRESSION, test=2.1, live=2.0), False, "no better"),
        (card(test=0.9, live_error="it has other columns."), True, "(it has other columns)"),
        (card(test=0.5, live_error="it has other columns"), False, "is not deployed either"),
        (card(test=0.9, live=NAN), True, "could not be scored"),
    ],
)
def test_a_later_model_has_to_beat_the_live_one_on_the_same_rows(new: Any, deployed: bool, said: str) -> None:
    decision = plan_deployment(training_job(inputs=COMPARED), new, live(), builders.settings())
    assert isinstance(decision, DeployModel if deployed else KeepLiveModel)
    assert said in decision.reason


@pytest.mark.parametrize("status", ["InService", "Updating", "Creating", "Parked"])
@pytest.mark.parametrize(
    ("inputs", "new", "said"),
    [
        (COMPARED, card(test=0.91, live=0.90), "0.9100 on the new test rows, better than the live model's 0.9000"),
        (COMPARED, card(test=0.91, live=0.95), "has passed its gate; it goes live"),
        ({}, card(test=0.9), "better than chance (0.5); the first model goes live"),
    ],
)
def test_a_model_whose_deployment_was_begun_is_not_judged_against_itself(
    inputs: dict[str, str], new: Any, said: str, status: str
) -> None:
    """The function was killed after it had the endpoint created or updated, and before it had told anybody."""
    tags = endpoint().tags | {names.WANTED_TAG: JOB}
    own = training_job().artifact_uri
    serving = Live(endpoint(status=status, tags=tags, model_name=JOB, artifact_uri=own), job=training_job(), card=new)
    decision = plan_deployment(training_job(inputs=inputs), new, serving, builders.settings())
    assert isinstance(decision, DeployModel)
    assert said in decision.reason
    assert "follows when that is over" not in decision.reason, "what it waits for is itself"


@pytest.mark.parametrize(
    ("live_hours", "new", "theirs", "deployed", "said"),
    [
        (-1, 0.9, 0.85, True, "newer one replaces it"),
        (-1, 0.8, 0.85, False, "live model stays"),
        (-1, 0.9, None, False, "was not compared"),
        (+1, 0.99, 0.85, False, "the newer one stays"),
    ],
)
def test_a_job_that_finishes_after_another_model_went_live_does_not_push_out_a_newer_one(
    live_hours: int, new: float, theirs: float | None, deployed: bool, said: str
) -> None:
    other = training_job(name=builders.LIVE_JOB, created=NOON + timedelta(hours=live_hours))
    serving = Live(endpoint(), other, None if theirs is None else card(test=theirs))
    job = training_job(inputs={"live_model": "s3://ml-platform-artifacts/training-output/older/output/model.tar.gz"})
    decision = plan_deployment(job, card(test=new, live=0.7), serving, builders.settings())
    assert isinstance(decision, DeployModel if deployed else KeepLiveModel)
    assert said in decision.reason


@pytest.mark.parametrize(
    ("training", "billable", "said"),
    [
        (300, 100, "Spot billed 100 of 300 training seconds, 67% saved."),
        (300, 300, "Spot billed 300 of 300 training seconds, 0% saved."),
        (300, 0, "Spot billed 0 of 300 training seconds, 100% saved."),
        (None, None, "SageMaker gives no billed time for it."),
        (0, 0, "Nothing was billed for it yet."),
        (300, None, "SageMaker gives no billed time for it."),
    ],
)
def test_the_reason_says_what_spot_saved_where_it_is_known(
    training: int | None, billable: int | None, said: str
) -> None:
    job = training_job(training_seconds=training, billable_seconds=billable)
    assert said in plan_deployment(job, card(), None, builders.settings()).reason


@pytest.mark.parametrize("serving", [None, live()])
@pytest.mark.parametrize("host", ["", "instance_type=ml.g4dn.xlarge min_instances=2"])
@pytest.mark.parametrize("network", [{}, {"subnet_ids": "subnet-0a,subnet-0b", "security_group_id": "sg-0c"}])
def test_the_requests_are_ones_that_sagemaker_accepts(serving: Live | None, host: str, network: Any) -> None:
    tags = {**training_job().tags, names.HOSTING_TAG: host}
    job = training_job(inputs=COMPARED if serving else {}, tags=tags)
    decision = plan_deployment(job, card(test=0.9, live=0.8), serving, builders.settings(**network))
    assert isinstance(decision, DeployModel)
    assert ("VpcConfig" in decision.model) is bool(network)
    for operation, request in {
        "CreateModelPackage": decision.model_package,
        "CreateModel": decision.model,
        "CreateEndpointConfig": decision.endpoint_config,
        "UpdateEndpoint" if serving else "CreateEndpoint": decision.endpoint,
        "AddTags": {"ResourceArn": endpoint().arn, "Tags": names.tag_list(decision.endpoint_tags)},
    }.items():
        assert validate("sagemaker", operation, request) == [], operation
    [variant] = decision.endpoint_config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == (
        ("ml.g4dn.xlarge", 2) if host else ("ml.c5.large", 1)
    )


def test_an_update_to_another_instance_type_names_the_scaling_that_stands_in_its_way() -> None:
    job = training_job(inputs=COMPARED)
    decision = plan_deployment(job, card(test=0.9, live=0.8), live(instance_type="ml.m5.large"), builders.settings())
    assert isinstance(decision, DeployModel)
    assert decision.deregister is not None
    assert validate("application-autoscaling", "DeregisterScalableTarget", decision.deregister) == []
    same = plan_deployment(job, card(test=0.9, live=0.8), live(), builders.settings())
    assert isinstance(same, DeployModel)
    assert same.deregister is None


@pytest.mark.parametrize("status", ["Failed", "UpdateRollbackFailed"])
def test_a_dead_endpoint_counts_as_none_and_is_replaced(status: str) -> None:
    decision = plan_deployment(training_job(), card(test=0.6, live=0.9), live(status=status), builders.settings())
    assert isinstance(decision, DeployModel)
    assert decision.replace
    assert validate("sagemaker", "CreateEndpoint", decision.endpoint) == []


def test_an_endpoint_on_its_way_out_is_waited_for() -> None:
    with pytest.raises(TryAgain, match="being deleted"):
        plan_deployment(training_job(), card(), live(status="Deleting"), builders.settings())


@pytest.mark.parametrize("absent", [None, UnreadableCard("it has no metrics.json")])
def test_a_completed_job_without_a_readable_model_is_told(absent: UnreadableCard | None) -> None:
    decision = plan_deployment(training_job(), absent, None, builders.settings())
    assert isinstance(decision, Notify)
    assert "Nothing was deployed" in decision.reason


def test_a_failed_job_without_a_reason_still_makes_a_sentence() -> None:
    job = training_job(status=JobStatus.FAILED, secondary_status="Failed", failure_reason=None)
    decision = plan_deployment(job, None, None, builders.settings())
    assert isinstance(decision, Notify)
    assert decision.reason == (
        f"Training job {JOB} failed: SageMaker gave no reason. Spot billed 100 of 300 training seconds, 67% saved."
    )


@pytest.mark.parametrize(
    ("changed", "outcome", "said"),
    [
        ({"tags": {}}, False, "not a training job that ml-platform started"),
        ({"tags": {**training_job().tags, "ml-platform:stack": "other"}}, False, "not a training job"),
        ({"name": "tuning-2026-001-abc"}, False, "not a training job"),
        ({"status": JobStatus.IN_PROGRESS}, False, "InProgress"),
        ({"status": JobStatus.STOPPING}, False, "Stopping"),
        ({}, True, "already had its outcome"),
        ({}, False, None),
    ],
)
def test_what_is_not_ours_not_over_or_done_already_is_skipped(
    changed: dict[str, Any], outcome: bool, said: str | None
) -> None:
    skip = skip_job(training_job(**changed), outcome, builders.settings())
    assert (skip is None) if said is None else (isinstance(skip, Skip) and said in skip.reason)


@pytest.mark.parametrize(
    ("instances", "routing"),
    [
        # A canary is half of the fleet at most, which no part of one instance is.
        (1, {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}),
        (
            2,
            {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
                "WaitIntervalInSeconds": 600,
            },
        ),
    ],
)
def test_an_update_is_watched_before_the_old_fleet_ends(instances: int, routing: dict[str, Any]) -> None:
    request = update_request(
        builders.endpoint(instance_count=instances), JOB, kinds.hosting({}, builders.settings()), builders.settings()
    )
    assert validate("sagemaker", "UpdateEndpoint", request) == []
    assert request["RetainAllVariantProperties"] is True
    policy = request["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == routing
    assert (policy["TerminationWaitInSeconds"], policy["MaximumExecutionTimeoutInSeconds"]) == (600, 3000)
    rolled_back_by = [one["AlarmName"] for one in request["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]]
    assert rolled_back_by == [f"{JOB}-update-{what}" for what in ("errors", "latency", "answers")]
