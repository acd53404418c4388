"""A tick in an account: what it calls, and what it leaves for the next one when something fails. On moto."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from builders import JOB, Account
from keep_office_hours import keep_office_hours
from mlplatform import names
from mlplatform.decisions import (
    ClearFailedStart,
    ConfigureAutoscaling,
    Decision,
    ForgetParking,
    Notify,
    RestoreCapacity,
    RestoreEndpoint,
    Skip,
    StartEndpoint,
    StopEndpoint,
)
from mlplatform.errors import AwsError

ENDPOINT = "ml-platform-churn"
ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012"
READS = ["get_object", "get_object", "get_resources", "list_endpoints"]  # holidays, hold, tags, states
SCALABLE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{ENDPOINT}/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def saturday() -> datetime:
    """The next one at noon: moto's endpoints are created now."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return noon + timedelta(days=(5 - noon.weekday()) % 7 or 7)


MONDAY = timedelta(days=1, hours=21)  # after a Saturday's noon: 09:00


def deploy(account: Account, config: str = JOB, **tags: str) -> None:
    sagemaker = account.client("sagemaker")
    sagemaker.create_model(
        ModelName=config,
        ExecutionRoleArn=account.settings.training_role_arn,
        PrimaryContainer={"Image": "image", "ModelDataUrl": "s3://b/k"},
    )
    variant = {"VariantName": names.VARIANT, "ModelName": config, "InstanceType": "ml.c5.large"}
    ours = names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn")
    sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[variant | {"InitialInstanceCount": 1}],
        Tags=names.tag_list(ours),
    )
    sagemaker.create_endpoint(
        EndpointName=ENDPOINT,
        EndpointConfigName=config,
        Tags=names.tag_list(ours | {names.WANTED_TAG: config, names.ASKED_TAG: config, **tags}),
    )
    for file, document in (("metrics.json", builders.metrics_json()), ("sample.json", builders.SAMPLE_JSON)):
        account.put(f"models/churn/{config}/{file}", json.dumps(document).encode(), "ml-platform-artifacts")
    account.answers["invoke_endpoint"] = lambda _: {
        "ResponseMetadata": {"HTTPStatusCode": 200},
        "Body": io.BytesIO(json.dumps(builders.SAMPLE_JSON["response"]).encode()),
    }
    account.answers["get_resources"] = lambda _: tagged(account)
    account.answers["list_tags_for_resource"] = {"Tags": {"Owner": "ml-team"}}  # moto does not have it
    account.client("application-autoscaling").register_scalable_target(**SCALABLE, MinCapacity=1, MaxCapacity=4)


def tagged(account: Account) -> dict[str, Any]:
    """GetResources, which moto does not have for SageMaker."""
    sagemaker, rows = account.client("sagemaker"), []
    for kind, listed, arn in (
        ("endpoint", "Endpoints", "EndpointArn"),
        ("endpoint-config", "EndpointConfigs", "EndpointConfigArn"),
    ):
        operation = getattr(sagemaker, f"list_{kind.replace('-', '_')}s")
        for one in operation()[listed]:
            rows.append({"ResourceARN": one[arn], "Tags": sagemaker.list_tags(ResourceArn=one[arn])["Tags"]})
    return {"ResourceTagMappingList": rows}


def tick(account: Account, at: datetime) -> list[Decision]:
    account.calls.clear()
    return keep_office_hours(account.app(), at)


def config_tags(account: Account, config: str = JOB) -> dict[str, str]:
    found = account.client("sagemaker").list_tags(ResourceArn=f"{ARN}:endpoint-config/{config}")["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


def refuse(service: str, operation: str, message: str) -> Any:
    def answer(_: Mapping[str, Any]) -> None:
        raise AwsError(service, operation, "ThrottlingException", message)

    return answer


def test_a_quiet_tick_costs_its_pages_and_nothing_per_endpoint(account: Account) -> None:
    deploy(account, **{names.HOURS_TAG: "always-on"})
    [decision] = tick(account, saturday())
    assert isinstance(decision, Skip)
    assert sorted(operation for operation, _ in account.calls) == READS
    assert account.alerts() == []


def test_a_stopped_endpoint_leaves_its_record_and_comes_back_from_it(account: Account) -> None:
    deploy(account, **{names.HOURS_TAG: "mon-fri 08:00-18:00"})
    [stopped] = tick(account, saturday())
    assert isinstance(stopped, StopEndpoint), stopped
    assert account.client("sagemaker").list_endpoints()["Endpoints"] == []
    assert config_tags(account)[names.HOURS_TAG] == "mon-fri 08:00-18:00"
    assert [alert["Subject"] for alert in account.alerts()] == ["Office hours: 1 stopped"]
    [parked] = tick(account, saturday() + timedelta(hours=1))
    assert isinstance(parked, Skip)
    [started] = tick(account, saturday() + MONDAY)
    assert isinstance(started, StartEndpoint)
    assert account.alerts() == []  # it tells when it is back


def test_a_stop_that_half_happened_is_finished_with_what_was_recorded_first(account: Account) -> None:
    deploy(account)
    account.answers["delete_endpoint"] = refuse("sagemaker", "DeleteEndpoint", "slow down")
    [failed] = tick(account, saturday())
    assert isinstance(failed, Notify)
    assert "DeleteEndpoint failed with ThrottlingException" in failed.reason
    before = config_tags(account)
    # Scaling was already gone when the deletion failed: a second look would find none.
    account.client("application-autoscaling").deregister_scalable_target(**SCALABLE)
    del account.answers["delete_endpoint"]
    [stopped] = tick(account, saturday() + timedelta(minutes=15))
    assert isinstance(stopped, StopEndpoint)
    assert config_tags(account) == before
    [started] = tick(account, saturday() + MONDAY)
    assert isinstance(started, StartEndpoint)


def test_one_endpoints_trouble_is_told_once_a_day_and_is_not_the_others(account: Account) -> None:
    deploy(account)
    account.answers["delete_endpoint"] = refuse("sagemaker", "DeleteEndpoint", "slow down")
    for minutes in (0, 15, 30):
        tick(account, saturday() + timedelta(minutes=minutes))
    assert [alert["Subject"] for alert in account.alerts()] == [f"Office hours of {ENDPOINT} are not kept"]
    tick(account, saturday() + timedelta(days=1))
    assert len(account.alerts()) == 1


def test_a_failed_start_is_told_cleared_and_started_again(account: Account) -> None:
    deploy(account)
    tick(account, saturday())
    tick(account, saturday() + MONDAY)
    account.alerts()
    account.answers["list_endpoints"] = lambda _: {
        "Endpoints": [
            {
                "EndpointName": ENDPOINT,
                "EndpointArn": f"{ARN}:endpoint/{ENDPOINT}",
                "EndpointStatus": "Failed",
                "CreationTime": datetime.now(UTC),
                "LastModifiedTime": datetime.now(UTC),
            }
        ]
    }
    [cleared] = tick(account, saturday() + MONDAY + timedelta(minutes=15))
    assert isinstance(cleared, ClearFailedStart)
    assert [alert["Subject"] for alert in account.alerts()] == ["Office hours: 1 failed to start"]
    del account.answers["list_endpoints"]
    [started] = tick(account, saturday() + MONDAY + timedelta(minutes=30))
    assert isinstance(started, StartEndpoint)


def test_a_restoration_whose_event_was_lost_is_made_up_for(account: Account) -> None:
    deploy(account)
    tick(account, saturday())
    account.client("application-autoscaling").deregister_scalable_target(**SCALABLE)  # as deleting does on AWS
    tick(account, saturday() + MONDAY)
    account.alerts()
    [restored] = tick(account, saturday() + MONDAY + timedelta(minutes=15))
    assert isinstance(restored, RestoreEndpoint), restored
    [target] = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    assert not any(key.startswith(names.PARKED_TAG) for key in config_tags(account))
    assert [alert["Subject"] for alert in account.alerts()] == [f"ml-platform: {ENDPOINT} is back"]
    [quiet] = tick(account, saturday() + MONDAY + timedelta(minutes=30))
    assert isinstance(quiet, Skip)


def unchecked(account: Account) -> str:
    found = account.client("sagemaker").list_tags(ResourceArn=f"{ARN}:endpoint/{ENDPOINT}")["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}.get(names.UNCHECKED_TAG, "")


def test_a_deployment_whose_event_was_lost_is_checked_and_scales_all_the_same(account: Account) -> None:
    deploy(account, **{names.UNCHECKED_TAG: JOB, names.HOURS_TAG: "always-on"})
    now = datetime.now(UTC)  # by moto's clock
    [young] = tick(account, now + timedelta(minutes=5))
    assert isinstance(young, Skip)
    assert account.called("invoke_endpoint") == []
    [checked] = tick(account, now + timedelta(minutes=20))
    assert isinstance(checked, ConfigureAutoscaling)
    assert "answers as expected" in checked.reason
    assert unchecked(account) == ""
    [quiet] = tick(account, now + timedelta(minutes=35))
    assert isinstance(quiet, Skip)
    assert account.called("describe_endpoint") == []


def test_a_model_that_answers_wrongly_is_told_once_and_not_asked_at_every_tick(account: Account) -> None:
    deploy(account, **{names.UNCHECKED_TAG: JOB, names.HOURS_TAG: "always-on"})
    later = datetime.now(UTC) + timedelta(minutes=20)
    account.answers["invoke_endpoint"] = lambda _: {
        "ResponseMetadata": {"HTTPStatusCode": 200},
        "Body": io.BytesIO(b'{"predictions": ["other"]}'),
    }
    [told] = tick(account, later)
    assert isinstance(told, Notify)
    assert "smoke test failed" in told.reason
    assert unchecked(account) == ""
    [quiet] = tick(account, later + timedelta(minutes=15))
    assert isinstance(quiet, Skip)
    assert account.called("invoke_endpoint") == []


def test_what_was_not_checked_is_stopped_after_hours_like_any_other(account: Account) -> None:
    deploy(account, **{names.UNCHECKED_TAG: JOB})
    [stopped] = tick(account, saturday())
    assert isinstance(stopped, StopEndpoint)


def test_an_endpoint_that_runs_a_copy_of_its_config_is_parked_in_its_own_and_comes_back(account: Account) -> None:
    """SageMaker's own, named by a random id, which an endpoint has been seen with after its capacity changed."""
    deploy(account)
    sagemaker, copy = account.client("sagemaker"), "7f4e1944-1817-4891-9bef-e055a90787a4"
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=JOB)["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName=copy, ProductionVariants=variants)

    def scaled() -> None:
        account.answers["describe_endpoint"] = {
            **sagemaker.describe_endpoint(EndpointName=ENDPOINT),
            "EndpointConfigName": copy,
        }

    scaled()
    [stopped] = tick(account, saturday())
    assert isinstance(stopped, StopEndpoint), stopped
    assert (config_tags(account, copy), f"{names.PARKED_TAG}0" in config_tags(account)) == ({}, True)
    [started] = tick(account, saturday() + MONDAY)
    assert isinstance(started, StartEndpoint)
    assert started.endpoint["EndpointConfigName"] == JOB
    scaled()
    [restored] = tick(account, saturday() + MONDAY + timedelta(minutes=15))
    assert isinstance(restored, RestoreEndpoint), restored
    assert not any(key.startswith(names.PARKED_TAG) for key in config_tags(account))


def test_both_models_of_an_a_b_test_are_parked_and_come_back_with_their_shares(account: Account) -> None:
    """The config gives the challenger no traffic: its share is in the record."""
    other = builders.LIVE_JOB
    deploy(account, **names.challenger_tag(other, 2, 0.2, "2026-11-23T12:00:00+00:00"))
    sagemaker, ab = account.client("sagemaker"), names.ab_config(ENDPOINT, JOB, other)
    image = {"Image": "image", "ModelDataUrl": "s3://b/k"}
    role = account.settings.training_role_arn
    sagemaker.create_model(ModelName=other, ExecutionRoleArn=role, PrimaryContainer=image)
    [live] = sagemaker.describe_endpoint_config(EndpointConfigName=JOB)["ProductionVariants"]
    challenger = {**live, "VariantName": "Challenger", "ModelName": other, "InitialVariantWeight": 0.0}
    sagemaker.create_endpoint_config(EndpointConfigName=ab, ProductionVariants=[live, challenger])
    account.answers["update_endpoint"]({"EndpointName": ENDPOINT, "EndpointConfigName": ab})
    share = [{"VariantName": "AllTraffic", "DesiredWeight": 0.8}, {"VariantName": "Challenger", "DesiredWeight": 0.2}]
    weigh = account.answers["update_endpoint_weights_and_capacities"]
    weigh({"EndpointName": ENDPOINT, "DesiredWeightsAndCapacities": share})
    scalable = SCALABLE | {"ResourceId": f"endpoint/{ENDPOINT}/variant/Challenger"}
    account.client("application-autoscaling").register_scalable_target(**scalable, MinCapacity=1, MaxCapacity=3)

    [stopped] = tick(account, saturday())
    assert isinstance(stopped, StopEndpoint), stopped
    for one in (SCALABLE, scalable):
        account.client("application-autoscaling").deregister_scalable_target(**one)  # as deleting does on AWS
    [started] = tick(account, saturday() + MONDAY)
    assert isinstance(started, StartEndpoint)
    assert started.endpoint["EndpointConfigName"] == ab
    [shared] = tick(account, saturday() + MONDAY + timedelta(minutes=15))
    assert isinstance(shared, RestoreCapacity), shared
    assert shared.capacity["DesiredWeightsAndCapacities"] == share
    [restored] = tick(account, saturday() + MONDAY + timedelta(minutes=30))
    assert isinstance(restored, RestoreEndpoint), restored
    assert [one["TargetVariant"] for one in account.called("invoke_endpoint")] == ["AllTraffic"]
    found = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    bounds = {one["ResourceId"].rpartition("/")[2]: one["MaxCapacity"] for one in found["ScalableTargets"]}
    assert bounds == {"AllTraffic": 4, "Challenger": 3}


def test_a_record_that_is_gone_but_still_told_of_does_not_touch_scaling(account: Account) -> None:
    """GetResources is consistent in the end only."""
    deploy(account)
    tick(account, saturday())
    late = tagged(account)
    tick(account, saturday() + MONDAY)
    tick(account, saturday() + MONDAY + timedelta(minutes=15))
    late["ResourceTagMappingList"] += tagged(account)["ResourceTagMappingList"][:1]
    account.answers["get_resources"] = late
    [decision] = tick(account, saturday() + MONDAY + timedelta(minutes=30))
    assert isinstance(decision, Skip), decision
    assert account.called("register_scalable_target") == []


def test_a_spending_hold_stops_a_dev_endpoint_until_its_day_is_over(account: Account) -> None:
    deploy(account, **{names.HOURS_TAG: "always-on"})
    hold = {"period": f"{saturday():%Y-%m-%d}", "reason": "Too much.", "since": saturday().isoformat()}
    account.put("spend/hold.json", json.dumps(hold).encode(), "ml-platform-artifacts")
    [stopped] = tick(account, saturday())
    assert isinstance(stopped, StopEndpoint), stopped
    [held] = tick(account, saturday() + timedelta(hours=11, minutes=45))
    assert isinstance(held, Skip)
    [started] = tick(account, saturday() + timedelta(hours=12))
    assert isinstance(started, StartEndpoint)


def test_the_saving_of_a_night_is_written_once(account: Account) -> None:
    deploy(account)
    tick(account, saturday())
    parked = config_tags(account)
    # As if the record's deletion were lost, so that the night is looked at twice.
    account.answers["list_tags"] = lambda parameters: (
        {"Tags": names.tag_list(parked)} if "endpoint-config" in parameters["ResourceArn"] else None
    )
    tick(account, saturday() + MONDAY)
    later = saturday() + MONDAY
    account.answers["describe_endpoint"] = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT) | {
        "CreationTime": later,
        "LastModifiedTime": later + timedelta(minutes=5),
    }
    for _ in range(2):
        tick(account, later + timedelta(minutes=15))
    [entry] = account.keys("ml-platform-artifacts", "ledger/")
    document = account.document(entry, "ml-platform-artifacts")
    assert (document["kind"], document["dataset"]) == ("night", "churn")
    assert document["usd"] == "4.590000"  # 45 hours at 0.102 USD


def test_a_model_that_was_deployed_while_parked_stays_with_the_tags_of_people(account: Account) -> None:
    deploy(account, Team="growth")
    tick(account, saturday())
    deploy(account, builders.LIVE_JOB)
    [forgotten] = tick(account, saturday() + MONDAY)
    assert isinstance(forgotten, ForgetParking), forgotten
    found = account.client("sagemaker").list_tags(ResourceArn=f"{ARN}:endpoint/{ENDPOINT}")["Tags"]
    tags = {tag["Key"]: tag["Value"] for tag in found}
    assert (tags["Team"], tags[names.WANTED_TAG]) == ("growth", builders.LIVE_JOB)
    assert not any(key.startswith(names.PARKED_TAG) for key in config_tags(account))


def test_a_holiday_in_the_calendar_is_observed_and_a_broken_calendar_told_once(account: Account) -> None:
    deploy(account)
    monday = saturday() + MONDAY
    event = f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:{monday:%Y%m%d}\nEND:VEVENT\nEND:VCALENDAR\n"
    account.put(names.HOLIDAYS_KEY, event.encode(), "ml-platform-artifacts")
    [stopped] = tick(account, monday)
    assert isinstance(stopped, StopEndpoint)
    account.alerts()
    account.put(names.HOLIDAYS_KEY, b"Monday is off", "ml-platform-artifacts")
    told, started = tick(account, monday)
    assert isinstance(told, Notify)
    assert isinstance(started, StartEndpoint)
    tick(account, monday + timedelta(minutes=15))
    subjects = [alert["Subject"] for alert in account.alerts()]
    assert subjects.count("The calendar of holidays can't be read") == 1


@pytest.mark.parametrize("tag", [names.HOURS_TAG, names.KEEP_ON_TAG])
def test_a_malformed_tag_is_told_once_and_the_endpoint_runs_on(account: Account, tag: str) -> None:
    deploy(account, **{tag: "9 to 5"})
    for minutes in (0, 15, 30):
        tick(account, saturday() + timedelta(minutes=minutes))
    assert [alert["Subject"] for alert in account.alerts()] == [f"Bad office hours of {ENDPOINT}"]
    assert len(account.client("sagemaker").list_endpoints()["Endpoints"]) == 1
