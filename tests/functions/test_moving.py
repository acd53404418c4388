"""An endpoint moves to another kind of hosting, event by event, whatever step fails. On moto."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from deployed_endpoint import ENDPOINT, answers, deploy
from trained_account import better_than, deploy_first, end, train

import builders
from builders import JOB, LIVE_JOB, Account
from compare_models import compare_models
from configure_autoscaling import configure_autoscaling
from mlplatform import events, names
from mlplatform.decisions import (
    AbandonMove,
    AskApproval,
    Decision,
    DeployModel,
    RetireStandIn,
    Skip,
    StartMove,
    StartTraining,
    SwitchOver,
)
from mlplatform.errors import AwsError
from mlplatform.facts import AbTestAsked, EndpointChanged, HostingKind
from start_training import start_training

STAND_IN = names.stand_in(ENDPOINT)


def event(account: Account, name: str = ENDPOINT) -> Decision:
    return configure_autoscaling(account.app(), EndpointChanged(name, "InService"))


def wish(account: Account, hosting: str) -> None:
    """As `mlp hosting --move-to` writes it."""
    arn = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    tags = {names.HOSTING_TAG: hosting, names.BEFORE_TAG: "kind=real-time", names.LOOK_TAG: "move"}
    account.client("sagemaker").add_tags(ResourceArn=arn, Tags=names.tag_list(tags))


def kinds(account: Account) -> dict[str, str]:
    """Each endpoint that is there: serverless or real-time."""
    sagemaker, found = account.client("sagemaker"), {}
    for entry in sagemaker.list_endpoints()["Endpoints"]:
        config = sagemaker.describe_endpoint(EndpointName=entry["EndpointName"])["EndpointConfigName"]
        variant = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
        found[entry["EndpointName"]] = "serverless" if variant.get("ServerlessConfig") else "real-time"
    return found


def quiet_for_an_hour(account: Account) -> None:
    """Nobody calls the stand-in, and the endpoint was made an hour ago."""
    account.answers["get_metric_data"] = {"MetricDataResults": [{"Id": "m0", "Values": []}]}

    def earlier(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = account.client("sagemaker").describe_endpoint(**parameters)
        except ClientError:
            return None
        return found | {key: found[key] - timedelta(hours=1) for key in ("CreationTime", "LastModifiedTime")}

    account.answers["describe_endpoint"] = earlier


def settle(account: Account) -> list[str]:
    """Ticks until nothing changes any more: the decisions of the way."""
    done: list[str] = []
    quiet = 0
    for _ in range(12):
        before = len(done)
        for name in (STAND_IN, ENDPOINT):
            try:
                decision = event(account, name)
            except AwsError:
                done.append("error")
                continue
            if not isinstance(decision, Skip):
                done.append(type(decision).__name__)
        quiet = quiet + 1 if len(done) == before else 0
        if quiet == 2:
            return done
    raise AssertionError(f"it does not settle: {done}")


def test_a_real_time_endpoint_becomes_serverless_by_way_of_a_stand_in(account: Account) -> None:
    deploy(account)
    event(account)
    wish(account, "kind=serverless memory_gb=4 max_concurrency=9")
    assert isinstance(event(account), StartMove)
    assert kinds(account) == {ENDPOINT: "real-time", STAND_IN: "serverless"}
    assert isinstance(event(account, STAND_IN), SwitchOver)
    assert kinds(account) == {ENDPOINT: "serverless", STAND_IN: "serverless"}
    account.answers["get_metric_data"] = {"MetricDataResults": [{"Id": "m0", "Values": [1.0]}]}
    configured = event(account)
    assert isinstance(configured, Skip)
    assert "nothing to scale" in configured.reason
    alarms = account.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{ENDPOINT}-")["MetricAlarms"]
    assert {one["AlarmName"] for one in alarms} == {f"{ENDPOINT}-latency", f"{ENDPOINT}-errors"}, (
        "none for a CPU is left"
    )
    assert isinstance(event(account, STAND_IN), Skip), "somebody calls it"
    quiet_for_an_hour(account)
    assert isinstance(event(account, STAND_IN), RetireStandIn)
    assert kinds(account) == {ENDPOINT: "serverless"}
    assert settle(account) == []


def test_a_new_kind_that_answers_wrongly_leaves_the_endpoint_as_it_was(account: Account) -> None:
    deploy(account)
    event(account)
    account.alerts()
    wish(account, "kind=serverless")
    event(account)
    answers(account, {"predictions": ["no"]})
    assert isinstance(event(account, STAND_IN), AbandonMove)
    assert kinds(account) == {ENDPOINT: "real-time"}
    told = [one["Subject"] for one in account.alerts()]
    assert any("stays as it is" in one for one in told), told
    answers(account, builders.SAMPLE_JSON["response"])
    assert settle(account) == []


@pytest.mark.parametrize("told", [True, False])
def test_what_a_quota_forbids_is_told_once_and_not_tried_again(account: Account, told: bool) -> None:
    """Whether the account tells the quota, or SageMaker only says so when it is asked for the stand-in."""
    deploy(account)
    event(account)
    account.alerts()
    quota = "Maximum number of serverless endpoints"
    if told:
        account.answers["list_service_quotas"] = {"Quotas": [{"QuotaName": quota, "Value": 0.0}]}
    else:

        def refuse(_: Mapping[str, Any]) -> None:
            said = f"The account-level service limit '{quota}' is 0, with current utilization of 0."
            raise AwsError("sagemaker", "CreateEndpoint", "ResourceLimitExceeded", said)

        account.answers["create_endpoint"] = refuse
    wish(account, "kind=serverless")
    configs = len(account.called("create_endpoint_config"))
    decision = event(account)
    assert isinstance(decision, AbandonMove)
    assert quota in decision.reason
    assert kinds(account) == {ENDPOINT: "real-time"}
    assert settle(account) == []
    assert len(account.called("create_endpoint_config")) == configs + (not told), "nothing is made of what is known"
    said = [alert["Message"] for alert in account.alerts()]
    assert len(said) == (1 if told else 2), "that it begins is said before SageMaker refuses"
    assert quota in said[-1]
    assert "real-time and serves" in said[-1]


def test_a_region_without_scaling_to_zero_is_told_once_and_takes_the_wish_back(account: Account) -> None:
    deploy(account)
    event(account)
    account.alerts()

    def refuse(parameters: Mapping[str, Any]) -> None:
        if "ManagedInstanceScaling" in parameters["ProductionVariants"][0]:
            said = "Min instance count needs to be greater than 0 for enabled managed instance scaling"
            raise AwsError("sagemaker", "CreateEndpointConfig", "ValidationException", said)

    account.answers["create_endpoint_config"] = refuse
    wish(account, "kind=scale-to-zero")
    decision = event(account)
    assert isinstance(decision, AbandonMove)
    assert "Min instance count needs to be greater than 0" in decision.reason
    assert kinds(account) == {ENDPOINT: "real-time"}
    assert settle(account) == []


@pytest.mark.parametrize("operation", ["create_endpoint", "delete_endpoint", "add_tags"])
@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_fails_or_is_the_last_one_the_next_ticks_finish_the_move(
    account: Account, operation: str, after: bool
) -> None:
    deploy(account)
    event(account)
    wish(account, "kind=serverless")
    quiet_for_an_hour(account)
    failures = [operation]

    def fail(parameters: Mapping[str, Any]) -> None:
        if failures:
            failures.pop()
            if after:
                service = "sns" if operation == "publish" else "sagemaker"
                getattr(account.client(service), operation)(**parameters)
            raise AwsError("sagemaker", operation, "ThrottlingException", "Rate exceeded")

    account.answers[operation] = fail
    assert "error" in settle(account)
    assert kinds(account) == {ENDPOINT: "serverless"}


@pytest.mark.parametrize(
    ("before", "name", "operation", "subject"),
    [
        ([], ENDPOINT, "create_endpoint", "ml-platform-churn moves"),
        ([ENDPOINT], STAND_IN, "delete_endpoint", "Endpoint ml-platform-churn moves"),
        ([ENDPOINT, STAND_IN, ENDPOINT], STAND_IN, "delete_endpoint", "ml-platform-churn has moved"),
    ],
)
def test_who_dies_after_the_last_change_has_told_people_before_and_they_are_told_once(
    account: Account, before: list[str], name: str, operation: str, subject: str
) -> None:
    deploy(account)
    event(account)
    wish(account, "kind=serverless")
    quiet_for_an_hour(account)
    for one in before:
        event(account, one)
    account.alerts()

    def die(parameters: Mapping[str, Any]) -> None:
        del account.answers[operation]
        getattr(account.client("sagemaker"), operation)(**parameters)
        raise RuntimeError("the function's time is over")

    account.answers[operation] = die
    with pytest.raises(RuntimeError):
        event(account, name)
    [told] = account.alerts()
    assert subject in told["Subject"]
    settle(account)
    assert kinds(account) == {ENDPOINT: "serverless"}
    assert told["Message"] not in [one["Message"] for one in account.alerts()]


def test_a_job_that_asks_for_another_kind_starts_the_move_with_its_model(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}"
    account.client("sagemaker").add_tags(
        ResourceArn=arn, Tags=[{"Key": names.HOSTING_TAG, "Value": "kind=serverless memory_gb=3"}]
    )
    account.alerts()
    decision = end(account)
    assert isinstance(decision, DeployModel)
    [told] = [one["Message"] for one in account.alerts() if "moves from real-time" in one["Message"]]
    assert told.count("moves from real-time") == 1
    assert "First ml-platform-churn--stand-in is made and judged" in decision.reason
    assert kinds(account) == {ENDPOINT: "real-time", STAND_IN: "serverless"}
    found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    assert found["EndpointConfigName"] == LIVE_JOB
    answers(account, builders.SAMPLE_JSON["response"])
    quiet_for_an_hour(account)
    assert settle(account) == ["SwitchOver", "ConfigureAutoscaling", "RetireStandIn"]
    assert kinds(account) == {ENDPOINT: "serverless"}
    config = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    [variant] = account.client("sagemaker").describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    assert (variant["ModelName"], variant["ServerlessConfig"]["MemorySizeInMB"]) == (JOB, 3072)


def test_a_job_whose_stand_in_sagemaker_refuses_for_a_quota_waits_and_leaves_no_wish_behind(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    sagemaker = account.client("sagemaker")
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}"
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": names.HOSTING_TAG, "Value": "kind=serverless"}])

    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("sagemaker", "CreateEndpoint", "ResourceLimitExceeded", "serverless endpoints: 0")

    account.answers["create_endpoint"] = refuse
    assert isinstance(end(account), AskApproval)
    found = sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    tags = {one["Key"]: one["Value"] for one in sagemaker.list_tags(ResourceArn=found["EndpointArn"])["Tags"]}
    assert not tags.get(names.LOOK_TAG)
    assert "kind" not in names.hosting_wishes(tags)
    assert tags[names.WANTED_TAG] == LIVE_JOB


def test_while_an_endpoint_is_made_anew_its_stand_in_says_what_a_new_model_has_to_beat(account: Account) -> None:
    dropped = account.put("datasets/churn/data.csv", builders.csv())
    deploy(account)
    event(account)
    wish(account, "kind=serverless")
    event(account)
    account.client("sagemaker").delete_endpoint(EndpointName=ENDPOINT)
    started = start_training(account.app(), events.dataset_arrived(dropped))
    assert isinstance(started, StartTraining), started.reason
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"] for one in started.request["InputDataConfig"]}
    assert channels["live_model"]["S3Uri"] == "s3://b/k"
    refused = compare_models(account.app(), AbTestAsked("churn", "start", "", 0.1))
    assert "on its way to another kind of hosting" in refused.reason


def test_a_job_that_leaves_the_kind_to_the_platform_gets_the_cheapest_and_is_told_why(account: Account) -> None:
    train(account)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}"
    account.client("sagemaker").add_tags(
        ResourceArn=arn, Tags=[{"Key": names.HOSTING_TAG, "Value": "kind=auto requests_per_day=1000"}]
    )
    decision = end(account)
    assert isinstance(decision, DeployModel)
    assert "For 1,000 requests a day: serverless (2 GB) is the cheapest" in decision.reason
    assert any(line.startswith("real-time (") for line in decision.difference)
    assert kinds(account) == {ENDPOINT: "serverless"}


def test_calls_that_found_no_capacity_are_calls_of_what_sleeps(account: Account) -> None:
    def answer(parameters: Mapping[str, Any]) -> dict[str, Any]:
        values = {"Invocations": [], "NoCapacityInvocationFailures": [1.0, 2.0]}
        found = [(one["Id"], one["MetricStat"]["Metric"]) for one in parameters["MetricDataQueries"]]
        assert all(metric["Dimensions"][0]["Name"] == "InferenceComponentName" for _, metric in found)
        return {"MetricDataResults": [{"Id": key, "Values": values[metric["MetricName"]]} for key, metric in found]}

    account.answers["get_metric_data"] = answer
    sleeper = builders.endpoint(kind=HostingKind.SCALE_TO_ZERO)
    assert account.app().aws.calls(sleeper, builders.NOON) == 3


@pytest.mark.parametrize(("told", "waiting"), [([3.0, 9.0], 3), ([0.0, 9.0], 0), ([], 0)])
def test_what_waits_in_a_queue_is_what_its_last_minute_told(account: Account, told: list[float], waiting: int) -> None:
    account.answers["get_metric_data"] = {"MetricDataResults": [{"Id": "m0", "Values": told}]}
    assert account.app().aws.waiting(builders.endpoint(kind=HostingKind.ASYNCHRONOUS)) == waiting
    [asked] = account.called("get_metric_data")
    assert asked["ScanBy"] == "TimestampDescending"
