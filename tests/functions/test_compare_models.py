"""An A/B test from beginning to end: compare-models starts it, configure-autoscaling brings it about. On moto."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from deployed_endpoint import ENDPOINT, card, deploy, in_service

import builders
from builders import JOB, LIVE_JOB, Account
from cli.doctor import examine
from compare_models import compare_models
from deploy_model import release_model
from mlplatform import events
from mlplatform.decisions import (
    Decision,
    DeployModel,
    EndAbTest,
    FinishDeployment,
    Refuse,
    ShareTraffic,
    Skip,
    StartAbTest,
)
from mlplatform.endpoint_alarms import challenger_alarms
from mlplatform.errors import AwsError
from mlplatform.facts import CHALLENGER, Approval, PackageChanged
from mlplatform.names import scalable_target


def package(account: Account) -> str:
    """The challenger's, registered as the gate does."""
    sagemaker = account.client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=ENDPOINT)
    container = {"Image": "image", "ModelDataUrl": "s3://b/k"}
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=ENDPOINT,
        ModelApprovalStatus="Approved",
        ModelPackageDescription=f"Trained by {LIVE_JOB}.",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": [],
            "SupportedResponseMIMETypes": [],
        },
        CustomerMetadataProperties={"gate": "passed", "training_job": LIVE_JOB},
    )["ModelPackageArn"]
    card(account, LIVE_JOB)
    return arn


def ask(account: Account, action: str, weight: float = 0.0, arn: str = "") -> Decision:
    event = {"dataset": "churn", "action": action, "weight": weight, "package": arn}
    return compare_models(account.app(), events.ab_test_asked(event))


def variants(account: Account) -> dict[str, tuple[float, int]]:
    """Weight and instances by variant."""
    found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["ProductionVariants"]
    return {one["VariantName"]: (one.get("DesiredWeight", 0.0), one["DesiredInstanceCount"]) for one in found}


def scaled(account: Account) -> set[str]:
    scaling = account.client("application-autoscaling")
    found = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    return {one["ResourceId"].rpartition("/")[2] for one in found}


def alarms(account: Account) -> set[str]:
    found = account.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{ENDPOINT}-")["MetricAlarms"]
    return {one["AlarmName"] for one in found}


def not_registered(_: Mapping[str, Any]) -> None:
    """moto says ValidationException (Errors of DeregisterScalableTarget, Application Auto Scaling API reference)."""
    raise AwsError("application-autoscaling", "DeregisterScalableTarget", "ObjectNotFoundException", "No such target")


def begun(account: Account) -> str:
    deploy(account)
    in_service(account)
    arn = package(account)
    assert isinstance(ask(account, "start", 0.2, arn), StartAbTest)
    return arn


def test_a_challenger_gets_traffic_once_it_answered_and_is_scaled_and_watched_and_leaves_nothing(
    account: Account,
) -> None:
    arn = begun(account)
    assert variants(account)["Challenger"] == (0.0, 1)
    account.calls.clear()
    assert isinstance(in_service(account), ShareTraffic)
    asked = [one["TargetVariant"] for one in account.called("invoke_endpoint")]
    assert asked == ["AllTraffic", "Challenger"], "each is asked for its own, whatever the weights"
    order = [
        name for name, _ in account.calls if name in {"put_metric_alarm", "update_endpoint_weights_and_capacities"}
    ]
    assert order == ["put_metric_alarm"] * 3 + ["update_endpoint_weights_and_capacities"]
    assert variants(account) == {"AllTraffic": (0.8, 1), "Challenger": (0.2, 1)}
    assert scaled(account) == {"AllTraffic", "Challenger"}
    assert set(challenger_alarms(ENDPOINT)) < alarms(account)
    account.alerts()
    assert isinstance(in_service(account), Skip), "the event that the share itself ends with"
    assert isinstance(ask(account, "start", 0.2, arn), Skip)
    assert account.alerts() == []

    assert isinstance(ask(account, "weigh", 0.5), ShareTraffic)
    assert variants(account)["Challenger"] == (0.5, 1)
    assert [one["EndpointConfigName"] for one in account.called("update_endpoint")] == []

    assert isinstance(ask(account, "drop"), EndAbTest)
    [alert] = account.alerts()[-1:]
    assert "leaves ml-platform-churn" in alert["Message"]
    in_service(account)
    assert list(variants(account)) == ["AllTraffic"]
    assert scaled(account) == {"AllTraffic"}
    assert not set(challenger_alarms(ENDPOINT)) & alarms(account)


def test_a_promotion_is_an_approval_and_takes_two_updates_of_which_the_second_is_watched(account: Account) -> None:
    arn = begun(account)
    in_service(account)
    account.calls.clear()
    approved = PackageChanged(
        arn, ENDPOINT, 1, Approval.APPROVED, new=False, fields=("ModelApprovalStatus",), stamp="1"
    )
    released = release_model(account.app(), approved)
    assert isinstance(released, DeployModel)
    assert "The A/B test of churn/1 ends with that." in released.reason
    assert variants(account).keys() == {"AllTraffic"}
    assert scaled(account) == {"AllTraffic"}
    then = in_service(account)
    assert isinstance(then, FinishDeployment)
    first, second = account.called("update_endpoint")
    assert (first["EndpointConfigName"], second["EndpointConfigName"]) == (JOB, LIVE_JOB)
    assert "DeploymentConfig" not in first
    assert len(second["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]) == 3
    assert isinstance(in_service(account), Skip), "its scaling was never gone"
    assert not set(challenger_alarms(ENDPOINT)) & alarms(account)
    assert isinstance(ask(account, "drop"), Refuse)


def test_the_doctor_finds_what_a_challenger_lacks_and_configure_autoscaling_gives_it(account: Account) -> None:
    begun(account)
    [unasked] = [one.reason for one in examine(account.app()) if "traffic" in one.reason]
    assert unasked == "its challenger gets 0 % of the traffic, and not what it should."
    in_service(account)
    assert list(examine(account.app())) == []
    account.client("cloudwatch").delete_alarms(AlarmNames=[challenger_alarms(ENDPOINT)[0]])
    account.client("application-autoscaling").deregister_scalable_target(**scalable_target(ENDPOINT, CHALLENGER))
    assert [one.reason for one in examine(account.app())] == [
        "it does not scale: its scaling is not registered.",
        "its alarm ml-platform-churn-Challenger-latency is missing.",
    ]
    in_service(account)
    assert list(examine(account.app())) == []


def test_a_challenger_that_answers_wrongly_gets_no_request(account: Account) -> None:
    begun(account)
    right = builders.SAMPLE_JSON["response"]

    def answer(parameters: Mapping[str, Any]) -> dict[str, Any]:
        said = {**right, "predictions": ["no"]} if parameters.get("TargetVariant") == "Challenger" else right
        return {"ResponseMetadata": {"HTTPStatusCode": 200}, "Body": io.BytesIO(json.dumps(said).encode())}

    account.answers["invoke_endpoint"] = answer
    account.answers["deregister_scalable_target"] = not_registered
    account.alerts()
    ended = in_service(account)
    assert isinstance(ended, EndAbTest)
    assert not ended.good
    assert account.called("update_endpoint_weights_and_capacities") == []
    assert any("gets no traffic" in one["Message"] for one in account.alerts())
    in_service(account)
    assert list(variants(account)) == ["AllTraffic"]
