"""How a model is hosted: what job.json wishes, as requests. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_JOB, card, endpoint, training_job
from laptop.service_model import validate
from mlplatform import kinds, names
from mlplatform.autoscaling import check_endpoint, plan_autoscaling
from mlplatform.decisions import ConfigureAutoscaling, DeployModel, FinishDeployment, RejectDataset
from mlplatform.deployment import Live, plan_deployment
from mlplatform.facts import Endpoint, HostingKind, Parked, Prediction
from mlplatform.training import plan_training

SERVERLESS = "kind=serverless max_concurrency=20 memory_gb=4"
RIGHT = Prediction(True, "as expected")
SETTINGS = builders.settings()


def serverless(**changed: Any) -> Endpoint:
    """With 4 GB, and up to 20 requests at a time."""
    one = endpoint(
        kind=HostingKind.SERVERLESS,
        instance_type=None,
        instance_count=None,
        memory_gb=4,
        max_concurrency=20,
        config_name=kinds.config_name(LIVE_JOB, kinds.hosting({names.HOSTING_TAG: SERVERLESS}, SETTINGS)),
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
        "UpdateEndpoint" if decision.exists else "CreateEndpoint": decision.endpoint,
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
    made = [
        kinds.config_name(model, kinds.hosting({names.HOSTING_TAG: text}, SETTINGS))
        for model in (longest, longest.replace("a1b2c", "ffffff"[:5]))
        for text in ("", SERVERLESS, "kind=serverless memory_gb=2")
    ]
    assert made[0] == longest
    assert len(set(made)) == len(made)
    for name in made:
        assert validate("sagemaker", "DeleteEndpointConfig", {"EndpointConfigName": name}) == []
        assert name.startswith(longest[:50])


@pytest.mark.parametrize(
    ("live", "wanted", "allowed"),
    [
        ("real-time", "serverless", False),
        ("serverless", "real-time", True),
        ("real-time", "real-time", True),
        ("serverless", "serverless", True),
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


def test_what_a_config_says_of_its_kind() -> None:
    variant = {"VariantName": "AllTraffic", "ModelName": JOB, "InstanceType": "ml.c5.large"}
    assert kinds.kind_of({"ProductionVariants": [variant]}) is HostingKind.REAL_TIME
    assert kinds.kind_of({"ProductionVariants": [{"ModelName": JOB, "ServerlessConfig": {}}]}) is HostingKind.SERVERLESS
    assert kinds.kind_of({}) is HostingKind.REAL_TIME


def test_in_a_network_of_its_own_serverless_is_refused_before_anything_is_trained() -> None:
    private = builders.settings(subnet_ids="subnet-0a", security_group_id="sg-0c")
    job_json = {"hosting": {"kind": "serverless"}}
    decision = plan_training(builders.drop(job_json=job_json), None, private)
    assert isinstance(decision, RejectDataset)
    assert "'hosting.kind' serverless" in decision.reason
    assert not isinstance(plan_training(builders.drop(job_json=job_json), None, SETTINGS), RejectDataset)
