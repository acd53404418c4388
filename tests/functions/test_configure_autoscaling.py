"""An endpoint in service is checked, then scaled, or people are told. On moto."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from deployed_endpoint import ENDPOINT, answers, card, deploy, failed, in_service

import builders
from builders import JOB, Account
from configure_autoscaling import check_canary
from mlplatform import events, names
from mlplatform.decisions import ConfigureAutoscaling, Decision, FinishDeployment, Notify, RejectUpdate, Skip
from mlplatform.endpoint_alarms import update_alarms
from mlplatform.errors import AwsError
from mlplatform.names import scalable_target


def policies(account: Account) -> list[dict[str, Any]]:
    scaling = account.client("application-autoscaling")
    return scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]  # type: ignore[no-any-return]


def test_an_endpoint_in_service_is_asked_for_a_prediction_and_then_scales(account: Account) -> None:
    deploy(account)
    assert isinstance(in_service(account), ConfigureAutoscaling)
    [asked] = account.called("invoke_endpoint")
    assert json.loads(asked["Body"]) == {"features": [[0.5, 0.25]]}
    [target] = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 5)
    assert sorted(policy["PolicyName"] for policy in policies(account)) == [
        f"{ENDPOINT}-cpu",
        f"{ENDPOINT}-invocations",
    ]
    assert account.called("register_scalable_target")[0]["Tags"]["Owner"] == "ml-team"


def alarms(account: Account) -> dict[str, dict[str, Any]]:
    found = account.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{ENDPOINT}-")["MetricAlarms"]
    return {one["AlarmName"]: one for one in found}


def test_an_endpoint_in_service_is_watched_for_latency_errors_and_cpu(account: Account) -> None:
    deploy(account)
    in_service(account)
    made = alarms(account)
    assert {name: (one["MetricName"], one["Threshold"]) for name, one in made.items()} == {
        f"{ENDPOINT}-latency": ("ModelLatency", 1_000_000.0),
        f"{ENDPOINT}-errors": ("Invocation5XXErrors", 10.0),
        f"{ENDPOINT}-cpu": ("CPUUtilization", 180.0),  # 90 % of two cores
    }
    for one in made.values():
        assert one["AlarmActions"] == [account.settings.alerts_topic_arn]
        assert one["TreatMissingData"] == "notBreaching"
        assert {(part["Name"], part["Value"]) for part in one["Dimensions"]} == {
            ("EndpointName", ENDPOINT),
            ("VariantName", names.VARIANT),
        }
    tags = account.client("cloudwatch").list_tags_for_resource(ResourceARN=made[f"{ENDPOINT}-cpu"]["AlarmArn"])["Tags"]
    assert {"Key": "ml-platform:stack", "Value": "ml-platform"} in tags
    assert {"Key": "Owner", "Value": "ml-team"} in tags


def test_an_alarm_that_somebody_deleted_or_bent_comes_back_and_one_that_is_switched_off_stays_off(
    account: Account,
) -> None:
    deploy(account)
    in_service(account)
    cloudwatch = account.client("cloudwatch")
    cloudwatch.delete_alarms(AlarmNames=[f"{ENDPOINT}-latency"])
    cloudwatch.disable_alarm_actions(AlarmNames=[f"{ENDPOINT}-cpu"])
    errors = {key: value for key, value in account.called("put_metric_alarm")[1].items() if key != "Tags"}
    cloudwatch.put_metric_alarm(**errors | {"Threshold": 1000})
    account.calls.clear()
    assert isinstance(in_service(account), ConfigureAutoscaling)
    put = [one["AlarmName"] for one in account.called("put_metric_alarm")]
    assert put == [f"{ENDPOINT}-latency", f"{ENDPOINT}-errors"]
    assert alarms(account)[f"{ENDPOINT}-errors"]["Threshold"] == 10.0
    assert alarms(account)[f"{ENDPOINT}-cpu"]["ActionsEnabled"] is False


def test_the_event_after_each_scaling_action_changes_nothing_and_tells_nobody(account: Account) -> None:
    deploy(account)
    in_service(account)
    assert len(account.alerts()) == 1
    assert isinstance(in_service(account), Skip)
    assert account.alerts() == []
    assert len(account.called("put_scaling_policy")) == 2


def test_new_scaling_settings_reach_an_endpoint_that_scales_already_without_new_tags(account: Account) -> None:
    deploy(account)
    in_service(account)
    account.settings = builders.settings(max_instances=7)
    assert isinstance(in_service(account), ConfigureAutoscaling)
    [target] = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert target["MaxCapacity"] == 7
    assert "Tags" not in account.called("register_scalable_target")[-1]


def bounds(account: Account) -> tuple[int, int]:
    [target] = account.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    return target["MinCapacity"], target["MaxCapacity"]


def set_by_hand(account: Account, low: int, high: int) -> None:
    account.client("application-autoscaling").register_scalable_target(
        **scalable_target(ENDPOINT), MinCapacity=low, MaxCapacity=high
    )


def test_bounds_that_a_person_set_are_left_alone_and_said(account: Account) -> None:
    deploy(account)
    in_service(account)
    set_by_hand(account, 1, 4)
    account.settings = builders.settings(max_instances=7)  # nor do the stack's settings go before a person's
    decision = in_service(account)
    assert isinstance(decision, Skip)
    assert "1 to 4 instances (as somebody set by hand; the platform's own 1 to 7 are left aside)" in decision.reason
    assert bounds(account) == (1, 4)


def test_bounds_that_a_person_set_back_are_the_platforms_again(account: Account) -> None:
    deploy(account)
    in_service(account)
    set_by_hand(account, 1, 4)
    in_service(account)
    set_by_hand(account, 1, 5)
    account.settings = builders.settings(max_instances=7)
    assert isinstance(in_service(account), ConfigureAutoscaling)
    assert bounds(account) == (1, 7)


@pytest.mark.parametrize(
    ("asked", "then", "held"),
    [
        ({}, {"max_instances": 9}, (1, 9)),
        ({"max_instances": 8}, {"max_instances": 9}, (1, 9)),
        ({"max_instances": 8}, {"max_instances": 8}, (1, 4)),  # it was trained again, and nobody asked for anything new
        ({"max_instances": 8}, {}, (1, 4)),
    ],
)
def test_a_newer_deployment_replaces_bounds_set_by_hand_if_its_job_json_asks_for_others(
    account: Account, asked: dict[str, int], then: dict[str, int], held: tuple[int, int]
) -> None:
    deploy(account, tags=names.hosting_tag(asked))
    in_service(account)
    set_by_hand(account, 1, 4)
    sagemaker = account.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": names.HOSTING_TAG, "Value": names.hosting_tag(then).get(names.HOSTING_TAG, "")}]
    )
    decision = in_service(account)
    assert bounds(account) == held
    said = "as job.json now asks, in place of the 1 to 4 that somebody set by hand"
    assert (said in decision.reason) == (held == (1, 9))


def test_what_job_json_asked_for_goes_before_the_stacks_settings(account: Account) -> None:
    hosting = names.hosting_tag({"min_instances": 2, "max_instances": 9, "invocations_per_instance": 50})
    deploy(account, tags=hosting)
    decision = in_service(account)
    assert isinstance(decision, ConfigureAutoscaling)
    assert (decision.target["MinCapacity"], decision.target["MaxCapacity"]) == (2, 9)
    assert decision.policies[0]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 50.0


def test_concurrent_requests_are_a_third_policy_for_as_long_as_job_json_asks_for_them(account: Account) -> None:
    deploy(account, tags=names.hosting_tag({"concurrent_requests_per_instance": 8}))
    decision = in_service(account)
    assert "on 1000 invocations a minute, 8 concurrent requests or 70 % CPU each" in decision.reason
    *_, third = policies(account)
    assert third["PolicyName"] == f"{ENDPOINT}-concurrency"
    tracked = third["TargetTrackingScalingPolicyConfiguration"]
    assert tracked["TargetValue"] == 8.0
    assert tracked["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    }
    sagemaker = account.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": names.HOSTING_TAG, "Value": ""}])
    assert isinstance(in_service(account), ConfigureAutoscaling)
    assert [one["PolicyName"] for one in policies(account)] == [f"{ENDPOINT}-invocations", f"{ENDPOINT}-cpu"]
    assert isinstance(in_service(account), Skip), "and then there is nothing to change"


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"predictions": ["no"], "probabilities": [[0.2, 0.8]], "classes": ["no", "yes"]}, "predictions"),
        ({"predictions": ["yes"], "probabilities": [[0.8, 0.2]], "classes": ["no", "yes"]}, "probabilities"),
        ("nonsense", "predictions"),
    ],
)
def test_a_wrong_answer_is_told_and_not_scaled(account: Account, response: Any, said: str) -> None:
    deploy(account)
    answers(account, response)
    decision = in_service(account)
    assert isinstance(decision, Notify)
    assert said in decision.reason
    assert policies(account) == []


def test_a_model_that_refuses_the_sample_is_told(account: Account) -> None:
    deploy(account)

    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("sagemaker-runtime", "InvokeEndpoint", "ModelError", "Received server error (500)")

    account.answers["invoke_endpoint"] = refuse
    decision = in_service(account)
    assert isinstance(decision, Notify)
    assert "Received server error (500)" in decision.reason


def test_an_update_that_failed_is_told_once_although_the_endpoint_is_in_service(account: Account) -> None:
    deploy(account)
    in_service(account)
    account.alerts()
    failed(account)
    decision = in_service(account, FailureReason="The container did not pass the ping health check.")
    assert isinstance(decision, Notify)
    assert "ping health check" in decision.reason
    assert f"it still serves {JOB}" in decision.reason
    assert "mlp logs churn" in decision.reason
    assert isinstance(in_service(account), Skip)
    assert len(account.alerts()) == 1


def test_the_same_model_failing_once_more_is_told_once_more(account: Account) -> None:
    deploy(account)
    in_service(account)
    failed(account)
    in_service(account)
    account.alerts()
    arn = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    again = [{"Key": names.ASKED_AT_TAG, "Value": "2026-11-28T15:00:00+00:00"}]
    account.client("sagemaker").add_tags(ResourceArn=arn, Tags=again)
    assert isinstance(in_service(account), Notify)
    assert isinstance(in_service(account), Skip)
    assert len(account.alerts()) == 1


def test_scaling_that_an_update_took_away_comes_back_when_the_update_fails(account: Account) -> None:
    deploy(account)
    in_service(account)
    account.client("application-autoscaling").deregister_scalable_target(**scalable_target(ENDPOINT))
    failed(account)
    assert isinstance(in_service(account), Notify)
    assert len(policies(account)) == 2


def test_bounds_set_by_hand_outlive_a_change_of_the_instance_type(account: Account) -> None:
    larger = names.hosting_tag({"instance_type": "ml.m5.large"})
    waiting = {names.WANTED_TAG: builders.LIVE_JOB, names.ASKED_TAG: JOB}
    deploy(account, tags=larger | waiting | names.bounds_tag((1, 5)))
    set_by_hand(account, 2, 4)
    assert isinstance(in_service(account), FinishDeployment)
    scaling = account.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    card(account, builders.LIVE_JOB)
    assert isinstance(in_service(account), ConfigureAutoscaling)
    assert bounds(account) == (2, 4)


def test_the_alarms_of_an_update_end_with_it(account: Account) -> None:
    deploy(account)
    failed(account)
    watched = {f"{ENDPOINT}-{what}" for what in ("latency", "errors", "cpu")}
    extra = {f"{builders.LIVE_JOB}-update-{what}" for what in ("latency", "errors", "answers")}
    assert set(alarms(account)) == extra
    in_service(account)
    assert set(alarms(account)) == watched


def baking(account: Account, *, response: Any, version: str) -> Decision:
    """An update to LIVE_JOB, of which AWS's sample event tells that it is watched."""
    found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    pending = {"EndpointStatus": "Updating", "PendingDeploymentSummary": {"EndpointConfigName": builders.LIVE_JOB}}
    account.answers["describe_endpoint"] = found | pending
    card(account, builders.LIVE_JOB)
    replies = iter([builders.SAMPLE_JSON["response"] | {"model_version": JOB}] * 3)
    account.answers["invoke_endpoint"] = lambda _: {
        "ResponseMetadata": {"HTTPStatusCode": 200},
        "Body": io.BytesIO(json.dumps(next(replies, response | {"model_version": version})).encode()),
    }
    event = builders.sample_event("sagemaker_endpoint_deployment_state_change")
    event["detail"]["EndpointName"] = ENDPOINT
    return check_canary(account.app(), events.endpoint_changed(event))


def test_a_new_model_that_answers_wrongly_is_counted_for_the_alarm_and_told_once(account: Account) -> None:
    deploy(account)
    wrong = builders.SAMPLE_JSON["response"] | {"predictions": ["no"]}
    decision = baking(account, response=wrong, version=builders.LIVE_JOB)
    assert isinstance(decision, RejectUpdate)
    assert len(account.called("invoke_endpoint")) == 4  # three answers were the old model's
    [counted] = account.called("put_metric_data")
    answers_alarm = update_alarms(ENDPOINT, builders.LIVE_JOB, "churn", account.settings)[2]
    assert counted["Namespace"] == answers_alarm["Namespace"]
    assert counted["MetricData"][0]["MetricName"] == answers_alarm["MetricName"]
    assert counted["MetricData"][0]["Dimensions"] == answers_alarm["Dimensions"]
    baking(account, response=wrong, version=builders.LIVE_JOB)
    assert len(account.called("put_metric_data")) == 2
    [alert] = account.alerts()
    assert "rolled back" in alert["Message"]


@pytest.mark.parametrize(("version", "said"), [(builders.LIVE_JOB, "answers as expected"), (JOB, "its alarms watch")])
def test_a_new_model_that_answers_well_or_not_yet_is_left_to_its_alarms(
    account: Account, version: str, said: str
) -> None:
    deploy(account)
    decision = baking(account, response=builders.SAMPLE_JSON["response"], version=version)
    assert isinstance(decision, Skip)
    assert said in decision.reason
    assert account.called("put_metric_data") == []


def test_a_model_that_waited_for_a_busy_endpoint_is_deployed_when_it_is_free(account: Account) -> None:
    deploy(account, tags={names.WANTED_TAG: builders.LIVE_JOB, names.ASKED_TAG: JOB})
    assert isinstance(in_service(account), FinishDeployment)
    found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    assert found["EndpointConfigName"] == builders.LIVE_JOB
    tags = account.client("sagemaker").list_tags(ResourceArn=found["EndpointArn"])["Tags"]
    assert {"Key": names.ASKED_TAG, "Value": builders.LIVE_JOB} in tags
    order = [operation for operation, _ in account.calls if operation in {"put_metric_alarm", "update_endpoint"}]
    assert order == [*["put_metric_alarm"] * 3, "update_endpoint"]


@pytest.mark.parametrize("status", ["Failed", "UpdateRollbackFailed", "OutOfService"])
def test_an_endpoint_that_serves_nobody_is_told(account: Account, status: str) -> None:
    deploy(account)
    decision = in_service(account, EndpointStatus=status, FailureReason="No capacity")
    assert isinstance(decision, Notify)
    assert "No capacity" in decision.reason


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "Deleting"])
def test_an_event_that_is_late_is_judged_by_what_the_endpoint_is_now(account: Account, status: str) -> None:
    deploy(account)
    assert isinstance(in_service(account, EndpointStatus=status), Skip)
    assert policies(account) == []


def test_a_burstable_instance_type_gets_a_reason_instead_of_scaling(account: Account) -> None:
    deploy(account, instance_type="ml.t2.medium")
    decision = in_service(account)
    assert isinstance(decision, ConfigureAutoscaling)
    assert "ml.t2.medium" in decision.reason
    assert policies(account) == []
    assert sorted(alarms(account)) == [f"{ENDPOINT}-cpu", f"{ENDPOINT}-errors", f"{ENDPOINT}-latency"]
    assert isinstance(in_service(account), Skip)


def test_endpoints_of_others_and_deleted_ones_are_left_alone(account: Account) -> None:
    assert isinstance(in_service(account), Skip)
    deploy(account, tags={"ml-platform:stack": "another"})
    assert isinstance(in_service(account), Skip)
    assert account.called("invoke_endpoint") == []


def test_the_handler_answers_with_decision_and_reason(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    import configure_autoscaling as function

    monkeypatch.setattr(function, "live_app", account.app)
    answer = function.handler(builders.sample_event("sagemaker_endpoint_state_change"), builders.LambdaContext())
    assert answer == {"decision": "Skip", "reason": "There is no endpoint MyEndpoint any more."}
