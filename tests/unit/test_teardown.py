"""What is ended, and in which order, when the stack goes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cli.teardown import Kept, what_it_costs
from mlplatform import aws_owned
from mlplatform.decisions import EndResource
from mlplatform.errors import AwsError
from mlplatform.facts import Owned, OwnedKind
from mlplatform.teardown import plan_teardown, said

STACK = "shop"


def ended(*owned: Owned) -> list[str]:
    return [one.name for one in plan_teardown(owned, STACK).ends]


def test_where_nothing_is_left_there_is_nothing_to_do() -> None:
    step = plan_teardown((), STACK)
    assert (step.ends, step.waiting) == ((), ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tuning-job", "training-job"),
        ("pipeline-execution", "endpoint"),
        ("training-job", "endpoint"),
        ("component-scaling", "inference-component"),
        ("inference-component", "endpoint"),
        ("endpoint", "endpoint-config"),
        ("endpoint", "model"),
        ("endpoint", "scaling-target"),
        ("model-package", "model-package-group"),
        ("log-group", "model-package-group"),
    ],
)
def test_what_something_depends_on_goes_after_it(first: OwnedKind, second: OwnedKind) -> None:
    assert ended(Owned(second, "later"), Owned(first, "now")) == ["now"]


@pytest.mark.parametrize("state", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
def test_an_endpoint_that_sagemaker_would_not_delete_now_is_waited_for_and_its_config_too(state: str) -> None:
    busy = Owned("endpoint", "shop-flowers", state)
    step = plan_teardown((busy, Owned("endpoint-config", "shop-flowers-1")), STACK)
    assert step.ends == ()
    assert step.waiting == (busy,)


@pytest.mark.parametrize("state", ["InService", "Failed", "OutOfService", "UpdateRollbackFailed"])
def test_an_endpoint_in_any_other_state_is_deleted(state: str) -> None:
    assert ended(Owned("endpoint", "shop-flowers", state)) == ["shop-flowers"]


def test_a_job_that_stops_already_is_not_stopped_again() -> None:
    stopping, running = Owned("training-job", "a", "Stopping"), Owned("training-job", "b", "InProgress")
    assert ended(stopping, running) == ["b"]


def test_each_end_says_what_goes_and_why() -> None:
    [one] = plan_teardown((Owned("endpoint", "shop-flowers", "InService"),), STACK).ends
    assert one.reason == "Endpoint shop-flowers is deleted: the stack shop that made it goes."
    [two] = plan_teardown((Owned("training-job", "shop-flowers-1", "InProgress"),), STACK).ends
    assert two.reason == "Training job shop-flowers-1 is stopped: the stack shop that made it goes."


def test_what_is_left_is_counted_in_words() -> None:
    assert said(()) == "nothing"
    assert said((Owned("model", "a"), Owned("model", "b"), Owned("log-group", "c"))) == "2 models, 1 log group"


def test_what_a_bucket_costs_that_has_no_price_is_unknown_and_not_nothing() -> None:
    data, models = Kept("data", 2, 2048, Decimal("0.25")), Kept("models", 1, 1024, None)
    assert what_it_costs([data]) == "What was kept costs $0.2500 a month."
    assert what_it_costs([models]) == "What models costs is unknown."
    assert what_it_costs([data, models]) == (
        "What models costs is unknown; the rest that was kept costs $0.2500 a month."
    )


@pytest.mark.parametrize("tagged_too", [True, False], ids=["its tags are told", "its tags are not told"])
def test_an_inference_component_its_scaling_alarm_and_log_are_found_and_ended_by_their_own_names(
    tagged_too: bool,
) -> None:
    """It has its endpoint's name, by which what can't be tagged is known to be the stack's."""
    tagged = [{"Key": "ml-platform:stack", "Value": STACK}]
    arn, at = "arn:aws:sagemaker:us-east-1:123456789012:", datetime(2026, 11, 28, tzinfo=UTC)
    component = {"InferenceComponentName": "shop-flowers", "InferenceComponentArn": f"{arn}inference-component/f"}
    alarm = {"AlarmName": "shop-flowers-wake", "AlarmArn": "arn:alarm"}
    target = {"ResourceId": "inference-component/shop-flowers", "ScalableTargetARN": "arn:t", "CreationTime": at}
    ended: list[tuple[str, dict[str, Any]]] = []
    listed = [component["InferenceComponentArn"]] if tagged_too else []
    answers: dict[str, Any] = {
        "get_resources": {
            "ResourceTagMappingList": [
                {"ResourceARN": one, "Tags": tagged} for one in (*listed, f"{arn}endpoint/e", "arn:alarm")
            ]
        },
        "list_inference_components": {
            "InferenceComponents": [
                {
                    **component,
                    "InferenceComponentStatus": "InService",
                    "EndpointName": "shop-flowers",
                    "CreationTime": at,
                }
            ]
        },
        "list_endpoints": {
            "Endpoints": [
                {
                    "EndpointName": "shop-flowers",
                    "EndpointArn": f"{arn}endpoint/e",
                    "EndpointStatus": "InService",
                    "CreationTime": at,
                }
            ]
        },
        "describe_scalable_targets": {"ScalableTargets": [target]},
        "list_tags_for_resource": {"Tags": {"ml-platform:stack": STACK}},
        "describe_alarms": {
            "MetricAlarms": [
                {**alarm, "Dimensions": [{"Name": "InferenceComponentName", "Value": "shop-flowers"}]},
            ]
        },
    }

    def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        if operation == "get_parameter":
            raise AwsError("ssm", operation, "ParameterNotFound", "")
        if operation == "describe_log_groups":
            prefix = parameters["logGroupNamePrefix"]
            return {"logGroups": [{"logGroupName": f"{prefix}flowers", "creationTime": 0}]}
        if operation.startswith(("delete", "deregister")):
            ended.append((operation, parameters))
        return dict(answers.get(operation, {}))

    found = aws_owned.read_owned(call, STACK)
    assert {(one.kind, one.about) for one in found} == {
        ("inference-component", "shop-flowers"),
        ("component-scaling", "shop-flowers"),
        ("endpoint", "shop-flowers"),
        ("log-group", "shop-flowers"),
        ("alarm", "shop-flowers"),
    }
    assert sum(one.kind == "log-group" for one in found) == 2
    for one in found:
        if one.kind in ("inference-component", "component-scaling"):
            aws_owned.end(call, EndResource("it goes", one.kind, one.name))
    assert sorted(operation for operation, _ in ended) == ["delete_inference_component", "deregister_scalable_target"]
    [scaling] = [parameters for operation, parameters in ended if operation == "deregister_scalable_target"]
    assert scaling["ScalableDimension"] == "sagemaker:inference-component:DesiredCopyCount"
