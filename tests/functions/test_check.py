"""What `mlp check` says of the alarms of an endpoint that sleeps. On moto."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from deployed_endpoint import ENDPOINT, AccountsConnection, deploy

from builders import JOB, Account
from cli.check import Found, Stack, alarms, not_ok
from mlplatform import names
from mlplatform.endpoint_alarms import endpoint_alarms
from mlplatform.facts import Endpoint
from mlplatform.sleeping import policies, wake_alarm

TARGET = names.scalable_target(ENDPOINT)


@pytest.fixture
def asleep(account: Account) -> Account:
    """An asynchronous endpoint with everything that it should have."""
    deploy(account)
    sagemaker, scaling = account.client("sagemaker"), account.client("application-autoscaling")
    sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    variant = {"VariantName": names.VARIANT, "ModelName": JOB, "InstanceType": "ml.c5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="queued",
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://ml-platform-artifacts/answers"}},
    )
    tags = names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn")
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="queued", Tags=names.tag_list(tags))
    scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=2)
    for policy in policies(found(account), account.settings):
        scaling.put_scaling_policy(**policy)
    for alarm in endpoint_alarms(found(account), account.settings):
        account.client("cloudwatch").put_metric_alarm(**alarm)
    wake(account, policy_arn(account))
    return account


def found(account: Account) -> Endpoint:
    endpoint = account.app().aws.endpoint(ENDPOINT)
    assert endpoint is not None
    return endpoint


def policy_arn(account: Account) -> str:
    there = account.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    return next(str(one["PolicyARN"]) for one in there["ScalingPolicies"] if one["PolicyName"] == f"{ENDPOINT}-wake")


def wake(account: Account, action: str) -> None:
    alarm = wake_alarm(found(account), account.settings)
    account.client("cloudwatch").put_metric_alarm(**alarm, AlarmActions=[action])


def looking(account: Account) -> Stack:
    stack = Stack(AccountsConnection(account))
    stack.__dict__["resources"] = []  # the template's own alarms are tested on the laptop
    return stack


def test_what_sleeps_needs_an_alarm_that_wakes_it_beside_those_that_tell(asleep: Account) -> None:
    stack, cloudwatch = looking(asleep), asleep.client("cloudwatch")
    assert alarms(stack) == Found((), "3 tell the alerts topic, 1 wake an endpoint")
    cloudwatch.delete_alarms(AlarmNames=[f"{ENDPOINT}-wake"])
    assert alarms(stack).wrong == (f"{ENDPOINT}-wake does not exist",)
    wake(asleep, asleep.settings.alerts_topic_arn)  # which tells people, and starts nothing
    assert alarms(stack).wrong == (f"{ENDPOINT}-wake wakes nothing",)
    wake(asleep, policy_arn(asleep))
    asleep.client("application-autoscaling").delete_scaling_policy(PolicyName=f"{ENDPOINT}-wake", **TARGET)
    assert alarms(stack).wrong == (f"{ENDPOINT}-wake wakes nothing",)


def test_an_alarm_that_is_younger_than_what_it_looks_back_over_is_not_said_to_ring() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    ticks = {"StateValue": "INSUFFICIENT_DATA", "InsufficientDataActions": ["a topic"], "Period": 300}

    def alarm(name: str, age: timedelta, **said: object) -> dict[str, object]:
        made = {"AlarmName": name, "EvaluationPeriods": 24, "AlarmConfigurationUpdatedTimestamp": now - age}
        return {**ticks, **made, **said}

    found = [
        alarm("new", timedelta(minutes=119)),  # it looks back two hours
        alarm("missed", timedelta(minutes=121)),
        alarm("quiet", timedelta(days=9), InsufficientDataActions=[]),
        alarm("loud", timedelta(minutes=1), StateValue="ALARM"),
    ]
    assert not_ok(found, now) == (["loud", "missed (no data)"], ["new"])
