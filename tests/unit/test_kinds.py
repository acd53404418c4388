"""How a model is hosted: what job.json wishes, as requests. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_JOB, card, endpoint, training_job
from laptop.service_model import validate
from mlplatform import kinds, names, sleeping
from mlplatform.autoscaling import check_endpoint, plan_autoscaling
from mlplatform.decisions import (
    ConfigureAutoscaling,
    DeployModel,
    FinishDeployment,
    MakeComponent,
    Notify,
    RejectDataset,
    Skip,
)
from mlplatform.deployment import Live, plan_deployment
from mlplatform.facts import Component, Endpoint, HostingKind, Parked, Prediction, Unasked
from mlplatform.training import plan_training

ZERO = "kind=scale-to-zero"
QUEUE = "kind=asynchronous max_instances=2"
SERVERLESS = "kind=serverless max_concurrency=20 memory_gb=4"
RIGHT = Prediction(True, "as expected")
SETTINGS = builders.settings()


def config(hosting: str, model: str = LIVE_JOB) -> str:
    return kinds.config_name(kinds.hosting({names.HOSTING_TAG: hosting}, SETTINGS), model, "ml-platform-churn")


def serverless(**changed: Any) -> Endpoint:
    """With 4 GB, and up to 20 requests at a time."""
    one = endpoint(
        kind=HostingKind.SERVERLESS,
        instance_type=None,
        instance_count=None,
        memory_gb=4,
        max_concurrency=20,
        config_name=config(SERVERLESS),
    )
    one = replace(one, tags={**one.tags, names.HOSTING_TAG: SERVERLESS, names.KIND_TAG: "serverless"})
    return replace(one, **changed)


def deployed(hosting: str, live: Endpoint | None = None, parked: Parked | None = None) -> DeployModel:
    job = training_job(
        inputs={"live_model": builders.LIVE_ARTIFACT}, tags={**training_job().tags, names.HOSTING_TAG: hosting}
    )
    serving = None if live is None else Live(live, job=None, card=card(test=0.8), parked=parked)
    decision = plan_deployment(job, card(test=0.9, live=0.8 if live else None), serving, SETTINGS)
    assert isinstance(decision, DeployModel), decision.reason
    for operation, request in {
        "CreateModel": decision.model,
        "CreateEndpointConfig": decision.endpoint_config,
        "CreateEndpoint" if decision.move or not decision.exists else "UpdateEndpoint": decision.endpoint,
        "AddTags": {"ResourceArn": endpoint().arn, "Tags": names.tag_list(decision.endpoint_tags)},
    }.items():
        assert validate("sagemaker", operation, request) == [], operation
    return decision


def test_a_model_that_is_to_be_serverless_gets_memory_and_concurrency_and_no_instances() -> None:
    decision = deployed(SERVERLESS)
    assert decision.endpoint_config["ProductionVariants"] == [
        {
            "VariantName": "AllTraffic",
            "ModelName": JOB,
            "ServerlessConfig": {"MemorySizeInMB": 4096, "MaxConcurrency": 20},
            "InitialVariantWeight": 1.0,
        }
    ]
    assert decision.endpoint["EndpointConfigName"] == decision.endpoint_config["EndpointConfigName"] != JOB
    assert decision.endpoint_tags.items() >= {names.KIND_TAG: "serverless", names.WANTED_TAG: JOB}.items()
    assert "hosted serverless, 4 GB, up to 20 requests at a time" in decision.reason


def test_without_a_wish_a_new_endpoint_is_real_time_and_a_live_one_stays_as_it_is() -> None:
    assert "InstanceType" in deployed("").endpoint_config["ProductionVariants"][0]
    stays = deployed("", serverless())
    assert stays.endpoint_config["ProductionVariants"][0]["ServerlessConfig"] == {
        "MemorySizeInMB": 4096,
        "MaxConcurrency": 20,
    }
    assert stays.endpoint_tags[names.HOSTING_TAG] == SERVERLESS


def test_an_update_of_a_serverless_endpoint_has_no_fleet_to_shift_keep_or_watch() -> None:
    for hosting in (SERVERLESS, "kind=real-time"):
        decision = deployed(hosting, serverless())
        assert decision.exists
        assert decision.endpoint.keys() == {"EndpointName", "EndpointConfigName"}
        assert (decision.alarms, decision.deregister) == ((), None)
        assert decision.endpoint_tags[names.KIND_TAG] == names.hosting_wishes(decision.endpoint_tags)["kind"]


def test_a_config_has_the_name_of_its_model_unless_it_is_of_another_kind_or_size() -> None:
    longest = f"ml-platform-{'a' * 32}-0123456789ab-a1b2c"
    assert len(longest) == names.NAME_LIMIT
    models = (longest, longest.replace("a1b2c", "fffff"))
    made = [config(text, model) for model in models for text in ("", SERVERLESS, "kind=serverless memory_gb=2", QUEUE)]
    assert made[0] == longest
    assert len(set(made)) == len(made)
    for name in made:
        assert validate("sagemaker", "DeleteEndpointConfig", {"EndpointConfigName": name}) == []
        assert name.startswith(longest[:50])


def test_a_config_that_scales_to_zero_knows_no_model_and_is_the_same_for_all_of_them() -> None:
    assert config(ZERO, JOB) == config(ZERO, LIVE_JOB) != config(f"{ZERO} max_instances=3")
    assert config(ZERO).startswith("ml-platform-churn--z")


@pytest.mark.parametrize(
    ("live", "wanted", "allowed"),
    [
        ("real-time", "serverless", False),
        ("serverless", "real-time", True),
        ("real-time", "real-time", True),
        ("serverless", "serverless", True),
        ("serverless", "asynchronous", False),
        ("asynchronous", "real-time", False),
        ("real-time", "asynchronous", False),
        ("real-time", "scale-to-zero", False),
        ("scale-to-zero", "real-time", False),
    ],
)
def test_what_aws_changes_in_place(live: str, wanted: str, allowed: bool) -> None:
    assert kinds.in_place(HostingKind(live), HostingKind(wanted)) is allowed


def test_a_stopped_endpoint_that_becomes_serverless_is_made_at_once_with_the_wishes_of_people() -> None:
    parked = Parked(
        "ml-platform-churn", LIVE_JOB, datetime(2026, 11, 27, 18, tzinfo=UTC), {names.KEEP_TAG: "always"}, ()
    )
    decision = deployed(SERVERLESS, endpoint(status="Parked"), parked)
    assert (decision.exists, decision.parked) == (False, None)
    tags = {tag["Key"]: tag["Value"] for tag in decision.endpoint["Tags"]}
    assert tags.items() >= {names.KEEP_TAG: "always", names.KIND_TAG: "serverless"}.items()


def test_a_serverless_endpoint_in_service_is_not_scaled_but_watched_for_errors_and_latency() -> None:
    decision = plan_autoscaling(serverless(), RIGHT, SETTINGS)
    assert isinstance(decision, ConfigureAutoscaling)
    assert (decision.target, decision.policies) == ({}, ())
    assert "nothing to scale" in decision.reason
    assert [one["AlarmName"] for one in decision.alarms] == ["ml-platform-churn-latency", "ml-platform-churn-errors"]
    for one in decision.alarms:
        assert validate("cloudwatch", "PutMetricAlarm", one) == []


def test_a_serverless_endpoint_that_was_busy_is_updated_to_the_config_of_its_kind() -> None:
    busy = serverless()
    decision = check_endpoint(replace(busy, tags={**busy.tags, names.WANTED_TAG: JOB}), SETTINGS)
    assert isinstance(decision, FinishDeployment)
    assert decision.endpoint == deployed(SERVERLESS, serverless()).endpoint
    assert decision.model == JOB


def queue(**changed: Any) -> Endpoint:
    """Asynchronous, with one instance."""
    one = endpoint(kind=HostingKind.ASYNCHRONOUS, config_name=config(QUEUE))
    one = replace(one, tags={**one.tags, names.HOSTING_TAG: QUEUE, names.KIND_TAG: "asynchronous"})
    return replace(one, **changed)


def zero(component: Component | None = None, **changed: Any) -> Endpoint:
    """Scales to zero, and serves with one copy."""
    one = endpoint(
        kind=HostingKind.SCALE_TO_ZERO,
        config_name=config(ZERO),
        component=component or Component("InService", LIVE_JOB, 1),
    )
    tags = {names.HOSTING_TAG: ZERO, names.KIND_TAG: "scale-to-zero", names.LOOK_TAG: "component"}
    return replace(one, tags={**one.tags, **tags}, **changed)


def test_an_asynchronous_model_answers_into_the_artifact_bucket_and_begins_with_one_instance() -> None:
    request = deployed(QUEUE).endpoint_config
    assert request["AsyncInferenceConfig"] == {
        "OutputConfig": {
            "S3OutputPath": "s3://ml-platform-artifacts/queued/churn/answers/",
            "S3FailurePath": "s3://ml-platform-artifacts/queued/churn/failures/",
        }
    }
    [variant] = request["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.large", 1)


def test_what_scales_to_zero_is_an_endpoint_without_a_model_that_may_lose_all_its_instances() -> None:
    decision = deployed(ZERO)
    request = decision.endpoint_config
    [variant] = request["ProductionVariants"]
    assert "ModelName" not in variant
    # as many as the stack's five copies may need, and one for a copy of the next model
    assert variant["ManagedInstanceScaling"] == {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 6}
    assert request["ExecutionRoleArn"] == SETTINGS.training_role_arn
    assert decision.endpoint_tags[names.LOOK_TAG] == "component"


def test_it_gets_its_model_as_a_component_once_it_is_in_service() -> None:
    decision = check_endpoint(replace(zero(), component=None, model_name=None), SETTINGS)
    assert isinstance(decision, MakeComponent)
    assert validate("sagemaker", "CreateInferenceComponent", decision.component) == []
    assert decision.component["InferenceComponentName"] == decision.component["EndpointName"] == "ml-platform-churn"
    assert decision.component["Specification"] == {
        "ModelName": LIVE_JOB,
        "ComputeResourceRequirements": {"NumberOfCpuCoresRequired": 1.0, "MinMemoryRequiredInMb": 256},
    }
    assert decision.component["RuntimeConfig"] == {"CopyCount": 1}


@pytest.mark.parametrize(
    ("component", "wanted", "outcome", "said"),
    [
        (Component("Creating", LIVE_JOB, 0), LIVE_JOB, Skip, "is Creating"),
        (Component("Updating", LIVE_JOB, 1), JOB, Skip, "is Updating"),
        (
            Component("Failed", LIVE_JOB, 0, failure_reason="no memory left."),
            LIVE_JOB,
            Notify,
            "no memory left. Its log",
        ),
        (Component("Failed", LIVE_JOB, 0), JOB, MakeComponent, f"failed, and is made anew with {JOB}"),
        (Component("InService", LIVE_JOB, 1), JOB, FinishDeployment, "was busy"),
    ],
)
def test_a_component_is_looked_at_before_its_endpoint_is_scaled(
    component: Component, wanted: str, outcome: type, said: str
) -> None:
    asked = {names.ASKED_TAG: LIVE_JOB, names.WANTED_TAG: wanted}
    one = replace(zero(component), model_name=component.model_name)
    decision = check_endpoint(replace(one, tags={**one.tags, **asked}), SETTINGS)
    assert isinstance(decision, outcome)
    assert said in decision.reason  # type: ignore[attr-defined]


def test_a_model_that_scales_to_zero_keeps_the_memory_of_a_copy_where_the_next_job_does_not_say() -> None:
    asked = f"{ZERO} memory_gb=1"
    decision = deployed("", replace(zero(), tags={**zero().tags, names.HOSTING_TAG: asked}))
    assert decision.component is not None
    need = decision.component["Specification"]["ComputeResourceRequirements"]
    assert need["MinMemoryRequiredInMb"] == 512, "as much of it as an ml.c5.large is sure to give"
    assert decision.endpoint_tags[names.HOSTING_TAG] == asked
    assert deployed("", zero()).endpoint_tags[names.HOSTING_TAG] == ZERO


def test_in_a_network_of_its_own_it_is_the_endpoint_that_is_placed_there() -> None:
    private = builders.settings(subnet_ids="subnet-0a", security_group_id="sg-0c")
    request = kinds.config_request(kinds.hosting({names.HOSTING_TAG: ZERO}, private), JOB, "e", zero().tags, private)
    assert request["VpcConfig"] == {"Subnets": ["subnet-0a"], "SecurityGroupIds": ["sg-0c"]}
    assert validate("sagemaker", "CreateEndpointConfig", request) == []


@pytest.mark.parametrize(
    ("instance_type", "asked", "reserved_mib"),
    [
        ("ml.g5.xlarge", "", 1024),  # of 16 GiB, as it was seen to fit
        ("ml.c5.large", "", 256),  # the same sixteenth of 4 GiB
        ("ml.m5.4xlarge", "", 1024),
        ("ml.m5.4xlarge", " memory_gb=4", 4096),  # of 64 GiB
        ("ml.m5.4xlarge", " memory_gb=6", 6144),
        ("ml.c5.large", " memory_gb=2", 512),  # an older wish, held to an eighth
    ],
)
def test_a_copy_reserves_no_more_memory_than_an_instance_is_sure_to_give(
    instance_type: str, asked: str, reserved_mib: int
) -> None:
    text = f"{ZERO} instance_type={instance_type}{asked}"
    assert kinds.hosting({names.HOSTING_TAG: text}, SETTINGS).reserved_mib == reserved_mib


def test_a_reservation_that_may_never_fit_is_refused_before_anything_is_trained() -> None:
    def planned(**hosting: Any) -> Any:
        job_json = {"hosting": {"kind": "scale-to-zero", **hosting}}
        return plan_training(builders.drop(job_json=job_json), None, SETTINGS)

    decision = planned(memory_gb=1)
    assert isinstance(decision, RejectDataset)
    assert (
        "'hosting.memory_gb' 1, but of an ml.c5.large a copy can't be sure to get more than 0.5 GB" in decision.reason
    )
    assert isinstance(planned(memory_gb=3, instance_type="ml.g5.xlarge"), RejectDataset)
    assert not isinstance(planned(memory_gb=2, instance_type="ml.g5.xlarge"), RejectDataset)
    assert not isinstance(planned(), RejectDataset)


def test_a_new_model_replaces_the_one_in_the_component_and_the_endpoint_stays() -> None:
    decision = deployed(ZERO, zero())
    assert decision.component is not None
    assert validate("sagemaker", "UpdateInferenceComponent", decision.component) == []
    assert decision.component["Specification"]["ModelName"] == JOB
    assert decision.endpoint["EndpointConfigName"] == zero().config_name
    assert decision.deregister is None


@pytest.mark.parametrize(
    ("sleeper", "resource", "metric", "target", "cooldowns", "wakes", "minutes"),
    [
        (
            queue(),
            "endpoint/ml-platform-churn/variant/AllTraffic",
            "ApproximateBacklogSizePerInstance",
            5.0,
            (300, 600),
            "HasBacklogWithoutCapacity",
            2,
        ),
        (
            zero(),
            "inference-component/ml-platform-churn",
            "SageMakerInferenceComponentInvocationsPerCopy",
            1000.0,
            (60, 300),
            "NoCapacityInvocationFailures",
            1,
        ),
    ],
)
def test_a_sleeper_scales_to_nothing_and_wakes_by_a_step_policy_and_its_alarm(
    sleeper: Endpoint, resource: str, metric: str, target: float, cooldowns: tuple[int, int], wakes: str, minutes: int
) -> None:
    decision = plan_autoscaling(sleeper, RIGHT, SETTINGS)
    assert isinstance(decision, ConfigureAutoscaling)
    assert validate("application-autoscaling", "RegisterScalableTarget", decision.target) == []
    assert (decision.target["ResourceId"], decision.target["MinCapacity"]) == (resource, 0)
    assert decision.target["MaxCapacity"] == (2 if sleeper.kind is HostingKind.ASYNCHRONOUS else 5)
    load, wake = decision.policies
    for policy in (load, wake):
        assert validate("application-autoscaling", "PutScalingPolicy", policy) == []
        assert policy["ResourceId"] == resource
    tracked = load["TargetTrackingScalingPolicyConfiguration"]
    assert metric in str(tracked)
    assert (tracked["TargetValue"], tracked["ScaleOutCooldown"], tracked["ScaleInCooldown"]) == (target, *cooldowns)
    steps = wake["StepScalingPolicyConfiguration"]
    assert steps["AdjustmentType"] == "ExactCapacity", "callers who go on failing start no second one"
    assert steps["StepAdjustments"] == [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]
    assert decision.wake is not None
    assert validate("cloudwatch", "PutMetricAlarm", {**decision.wake, "AlarmActions": ["arn:aws:autoscaling:x"]}) == []
    assert (decision.wake["MetricName"], decision.wake["EvaluationPeriods"]) == (wakes, minutes)
    assert (decision.wake["ComparisonOperator"], decision.wake["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    for one in decision.alarms:
        assert validate("cloudwatch", "PutMetricAlarm", one) == []


def test_what_sleeps_is_not_judged_and_says_what_callers_see() -> None:
    queued, asleep = queue(instance_count=0), zero(Component("InService", LIVE_JOB, 0))
    assert sleeping.asleep(queue()) == sleeping.asleep(zero()) == sleeping.asleep(endpoint()) == ""
    assert "none is lost" in sleeping.asleep(queued)
    assert "calls fail" in sleeping.asleep(asleep)
    decision = plan_autoscaling(asleep, Unasked(sleeping.asleep(asleep)), SETTINGS)
    assert isinstance(decision, ConfigureAutoscaling)
    assert "was not judged now" in decision.reason


def test_what_a_config_says_of_its_kind() -> None:
    variant = {"VariantName": "AllTraffic", "ModelName": JOB, "InstanceType": "ml.c5.large"}
    assert kinds.kind_of({"ProductionVariants": [variant]}) is HostingKind.REAL_TIME
    assert kinds.kind_of({"ProductionVariants": [{"ModelName": JOB, "ServerlessConfig": {}}]}) is HostingKind.SERVERLESS
    assert kinds.kind_of({}) is HostingKind.REAL_TIME
    for text, kind in ((QUEUE, HostingKind.ASYNCHRONOUS), (ZERO, HostingKind.SCALE_TO_ZERO)):
        assert kinds.kind_of(deployed(text).endpoint_config) is kind


def test_in_a_network_of_its_own_serverless_is_refused_before_anything_is_trained() -> None:
    private = builders.settings(subnet_ids="subnet-0a", security_group_id="sg-0c")
    job_json = {"hosting": {"kind": "serverless"}}
    decision = plan_training(builders.drop(job_json=job_json), None, private)
    assert isinstance(decision, RejectDataset)
    assert "'hosting.kind' serverless" in decision.reason
    assert not isinstance(plan_training(builders.drop(job_json=job_json), None, SETTINGS), RejectDataset)


def test_who_goes_back_to_an_older_model_keeps_the_kind_that_is_live() -> None:
    assert kinds.as_live(SERVERLESS, endpoint()) == "kind=real-time"
    assert kinds.as_live(SERVERLESS, serverless()) == SERVERLESS
    assert kinds.as_live("min_instances=2", endpoint()) == "min_instances=2"
    assert kinds.as_live("min_instances=2", serverless()) == "kind=serverless"
