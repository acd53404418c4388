"""Endpoints whose instances go while nobody asks: judged through their queue, scaled, and never woken. On moto."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from deployed_endpoint import ENDPOINT, deploy, in_service

import builders
from builders import JOB, Account
from mlplatform import names
from mlplatform.decisions import ConfigureAutoscaling, Notify, Skip

ARTIFACTS = "ml-platform-artifacts"
TAGS = {names.HOSTING_TAG: "kind=asynchronous max_instances=2", names.KIND_TAG: "asynchronous"}


def deployed(account: Account, answer: Callable[[str, str], None], count: int = 1, **tags: str) -> None:
    """An asynchronous endpoint; `answer` writes what comes of a request to one of two keys, answer and failure."""
    deploy(account, tags={**TAGS, **tags})
    config = account.client("sagemaker").describe_endpoint_config(EndpointConfigName=JOB)
    account.answers["describe_endpoint_config"] = config | {"AsyncInferenceConfig": {"OutputConfig": {}}}
    found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    variant = {"VariantName": names.VARIANT, "CurrentInstanceCount": count}
    account.answers["describe_endpoint"] = found | {"ProductionVariants": [variant]}

    def queue(parameters: Mapping[str, Any]) -> dict[str, Any]:
        key = parameters["InputLocation"].removeprefix(f"s3://{ARTIFACTS}/")
        assert account.document(key, ARTIFACTS) == builders.SAMPLE_JSON["request"]
        answer("queued/churn/answers/1.out", "queued/churn/failures/1.out")
        return {
            "OutputLocation": f"s3://{ARTIFACTS}/queued/churn/answers/1.out",
            "FailureLocation": f"s3://{ARTIFACTS}/queued/churn/failures/1.out",
        }

    account.answers["invoke_endpoint_async"] = queue


def says(account: Account, predictions: list[str]) -> Callable[[str, str], None]:
    def write(answer: str, _: str) -> None:
        account.put(
            answer, json.dumps(builders.SAMPLE_JSON["response"] | {"predictions": predictions}).encode(), ARTIFACTS
        )

    return write


def nothing(_answer: str, _failure: str) -> None:
    """Its queue is long."""


def test_it_is_asked_through_s3_and_scales_to_nothing_with_an_alarm_that_wakes_it(account: Account) -> None:
    deployed(account, says(account, ["yes"]))
    decision = in_service(account)
    assert isinstance(decision, ConfigureAutoscaling), decision.reason
    assert "answers as expected; it scales from 0 to 2 instances" in decision.reason
    [target] = account.called("register_scalable_target")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 2)
    policies = account.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    arns = {one["PolicyName"]: one["PolicyARN"] for one in policies["ScalingPolicies"]}
    [alarm] = account.client("cloudwatch").describe_alarms(AlarmNames=[f"{ENDPOINT}-wake"])["MetricAlarms"]
    assert alarm["AlarmActions"] == [arns[f"{ENDPOINT}-wake"]]
    account.calls.clear()
    assert isinstance(in_service(account), Skip)
    assert account.called("put_scaling_policy") == account.called("put_metric_alarm") == []


def test_what_sleeps_is_not_woken_by_the_event_of_its_going_to_sleep(account: Account) -> None:
    deployed(account, nothing, count=0)
    decision = in_service(account)
    assert account.called("invoke_endpoint_async") == account.called("invoke_endpoint") == []
    assert "was not judged now, because it sleeps" in decision.reason


def test_no_answer_within_half_a_minute_proves_nothing_and_is_looked_at_again(account: Account) -> None:
    deployed(account, nothing, **{names.LOOK_TAG: "component"})
    decision = in_service(account)
    assert isinstance(decision, ConfigureAutoscaling)
    assert "its queue has not come to the stored row within 30 seconds" in decision.reason
    assert not decision.last_tags


@pytest.mark.parametrize("refused", [False, True])
def test_a_wrong_answer_and_a_failure_are_told_and_nothing_is_scaled(account: Account, refused: bool) -> None:
    def fails(_: str, failure: str) -> None:
        account.put(failure, b"row 1 has 3 columns", ARTIFACTS)

    deployed(account, fails if refused else says(account, ["no"]))
    decision = in_service(account)
    assert isinstance(decision, Notify)
    assert "answers wrongly" in decision.subject
    assert ("row 1 has 3 columns" in decision.reason) is refused
    assert account.called("register_scalable_target") == []
